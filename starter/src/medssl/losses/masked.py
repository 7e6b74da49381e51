"""Reconstruction of what a mask names, and of nothing else."""

import torch
from torch import Tensor

from medssl.errors import MedsslError


def masked_error(prediction: Tensor, target: Tensor, mask: Tensor, l2: float = 0.0) -> Tensor:
    """Mean over the pixels p of masked patches, and over channels, of |x̂_p - x_p| + l2 · (x̂_p - x_p)².

    prediction and target [B,C,H,W]; mask bool [B,rows,columns], one entry a patch. A pixel outside the mask has the
    weight 0, so its gradient is exactly 0: where there is no loss, nothing is asked of the network.
    """
    inside = mask_of_pixels(mask, target)
    error = (prediction.float() - target.float())[inside.expand_as(target)]
    if not len(error):
        raise MedsslError("No patch is masked.", "one masked patch in the batch at least", "a larger ratio")
    return error.abs().mean() + (l2 * error.square().mean() if l2 else 0.0)


def mask_of_pixels(mask: Tensor, images: Tensor) -> Tensor:
    """bool [B,rows,columns] of patches -> bool [B,1,H,W] of the pixels of images [B,C,H,W]."""
    sides = images.shape[2:]
    if mask.dtype != torch.bool or mask.ndim != 3 or len(mask) != len(images) or \
            any(side % n for side, n in zip(sides, mask.shape[1:], strict=True)):
        raise MedsslError(f"A mask {mask.dtype} {list(mask.shape)} for images {list(images.shape)}.",
                          "bool [B,rows,columns], whole patches: H a multiple of rows, W of columns")
    rows, columns = (side // n for side, n in zip(sides, mask.shape[1:], strict=True))
    return mask.repeat_interleave(rows, 1).repeat_interleave(columns, 2)[:, None]
