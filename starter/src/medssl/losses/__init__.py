"""Losses: pure functions of tensors, in float32 whatever the precision around them."""

from medssl.losses.contrastive import chance_level, info_nce_queue, nt_xent, pair_cosines, supcon
from medssl.losses.dino import (
    dino_loss,
    entropies,
    koleo,
    sinkhorn,
    sinkhorn_floor,
    small_batch_warning,
    softmax_centre,
)
from medssl.losses.masked import mask_of_pixels, masked_error
from medssl.losses.sigreg import gaussian_level, random_directions, sigreg

__all__ = ["chance_level", "dino_loss", "entropies", "gaussian_level", "info_nce_queue", "koleo", "mask_of_pixels",
           "masked_error", "nt_xent", "pair_cosines", "random_directions", "sigreg", "sinkhorn", "sinkhorn_floor",
           "small_batch_warning", "softmax_centre", "supcon"]
