"""Masked views: one view of each image, and the numbers of the patches that are seen and of those to predict."""

from collections.abc import Callable
from functools import partial
from inspect import signature

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from medssl.errors import MedsslError
from medssl.views.masks import Masks


class MaskedViews:
    """A batch with "image" -> the same with a view as "image", "context" int64 [B,K], "targets" [T,B,M] beside it.

    augment: a function of (images, generator), or None: the images as they are. make_masks: one of this package's, its
    settings fixed with functools.partial. patch: that of the encoder. spacing: mm per voxel (z, y, x) of volumes, also
    handed on as "spacing" [B,3], unless the batch brings its own. foreground: the grey value in [0, 1] above which a
    pixel is no background; targets then lie where there is something to see. Masks are given spacing and foreground if
    they know what to do with them.
    """

    def __init__(self, augment: Callable | None, make_masks: Callable[..., Masks], patch: int | tuple[int, ...], *,
                 spacing: tuple[float, float, float] | None = None, foreground: float | None = None):
        self.augment, self.make_masks, self.patch = augment, make_masks, patch
        self.spacing, self.foreground = spacing, foreground
        self.knows = set(signature(make_masks).parameters)
        if foreground is not None and "foreground" not in self.knows:
            raise MedsslError(f"foreground={foreground} for masks that ignore it.", "block masks or tubes")
        if foreground is not None and not 0 <= foreground < 1:
            raise MedsslError(f"foreground={foreground}", "a grey value from 0 (black) to below 1 (white)")

    def __repr__(self) -> str:
        masks, fixed = self.make_masks, {}
        if isinstance(masks, partial):
            masks, fixed = masks.func, masks.keywords
        named = ", ".join([masks.__name__, *(f"{name}={value!r}" for name, value in fixed.items())])
        own = "".join(f", {name}={value}" for name in ("spacing", "foreground")
                      if (value := getattr(self, name)) is not None)
        return f"MaskedViews({self.augment!r}, {named}, patch={self.patch}{own})"

    def __call__(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        images = batch["image"] if self.augment is None else self.augment(batch["image"], generator)
        sides = tuple(images.shape[2:])
        patch = self.patch if isinstance(self.patch, tuple) else (self.patch,) * len(sides)
        if len(patch) != len(sides) or any(side % p for side, p in zip(sides, patch, strict=True)):
            raise MedsslError(f"Images of {' × '.join(map(str, sides))}, patches of {self.patch}.",
                              "a patch size for each axis, of which the side is a multiple")
        grid, extra = tuple(side // p for side, p in zip(sides, patch, strict=True)), {}
        spacing = batch.get("spacing")
        if spacing is None and self.spacing is not None:
            spacing = torch.tensor(self.spacing).expand(len(images), -1)
        if spacing is not None and "spacing" in self.knows:
            extra["spacing"] = spacing.to(generator.device) * torch.tensor(patch, device=generator.device)
        if self.foreground is not None:
            extra["foreground"] = foreground_share(images, patch, self.foreground)
        masks = self.make_masks(grid, len(images), generator, **extra)
        about = {} if spacing is None else {"spacing": spacing.to(images.device)}
        return {**batch, "image": images, **about, "context": masks.context.to(images.device),
                "targets": masks.targets.to(images.device)}


def foreground_share(images: Tensor, patch: tuple[int, ...], level: float) -> Tensor:
    """[B,*grid]: the share of each token's pixels above a grey value in [0, 1], in any channel."""
    grey = level * 255 if images.dtype == torch.uint8 else level
    above = (images.amax(1, keepdim=True) > grey).float()
    return (F.avg_pool2d if len(patch) == 2 else F.avg_pool3d)(above, patch)[:, 0]
