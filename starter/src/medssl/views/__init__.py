"""Views: what a method sees of an image. Batched, on the device, every draw from a generator that is handed in."""

import torch
from torch import Generator, Tensor

from medssl.views.augment2d import Augment, to_float
from medssl.views.augment3d import Augment3D
from medssl.views.crops3d import Crop, MultiCrop3D, draw_crops
from medssl.views.foreground import Occupancy, foreground_mask
from medssl.views.halves import Halves, unsharp
from medssl.views.many import ManyViews
from medssl.views.masked import MaskedViews
from medssl.views.masks import Masks, multi_block, random_masks
from medssl.views.masks3d import blocks_3d, temporal, tubes
from medssl.views.mirror_masks import mirror_masks
from medssl.views.pair_views import View, draw_view, look, pair_targets, pair_views
from medssl.views.patches import sample_patches, scan_frame
from medssl.views.presets import preset
from medssl.views.shifts import SHIFTS, shift

__all__ = ["Augment", "Augment3D", "Crop", "Halves", "ManyViews", "MaskedViews", "Masks", "MultiCrop3D", "Occupancy",
           "OneView", "SHIFTS", "TwoViews", "View", "blocks_3d", "draw_crops", "draw_view", "foreground_mask", "look",
           "mirror_masks", "multi_block", "pair_targets", "pair_views", "preset", "random_masks", "sample_patches",
           "scan_frame", "shift", "temporal", "to_float", "tubes", "unsharp"]


class OneView:
    """A batch with "image" -> the same batch with one random view as "image"."""

    def __init__(self, augment: Augment):
        self.augment = augment

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.augment!r})"

    def __call__(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        return {**batch, "image": self.augment(batch["image"], generator)}


class TwoViews(OneView):
    """A batch with "image" -> the same batch with two independent views beside it, "view1" and "view2".

    Both come from one call, so noise is drawn after the flips and angles of the second, too, and changes none of them.
    """

    def __call__(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        first, second = self.augment(torch.cat([batch["image"]] * 2), generator).chunk(2)
        return {**batch, "view1": first, "view2": second}
