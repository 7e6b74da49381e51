"""Two halves of a slice as two views, and the patches to reconstruct: what the UNet of week 13 is shown."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from medssl.errors import MedsslError
from medssl.views.augment2d import Augment, gaussian_blur, to_float
from medssl.views.mirror_masks import mirror_masks

GEOMETRY = ("crop", "flip", "vertical_flip", "rotate", "shear", "translate", "size")  # would move the midline
PHOTOMETRIC = {"brightness": 0.1, "contrast": 0.1, "noise": 0.05, "blur": 0.3, "blur_sigma": (0.3, 1.0)}


class Halves:
    """A batch with "image" [B,C,H,W] -> the same with "image" [B,C,size,size] float32 in [0, 1], "left" and "right"
    [B,C,size,size/2], and "mask" bool [B,rows,columns] of its patches: two mirror_masks side by side.

    The order is: resize, unsharp, a light global rotation if asked for (`rotate` degrees at most), the cut at the
    midline, photometric changes of each half. "image" is the one before these changes: the target of the
    reconstruction, and what the network is shown for it. So the halves differ by noise, intensity and blur, each with
    numbers of its own, and the reconstruction is not also a task of removing noise.

    "left" is the left half of the picture. augment: the changes of the halves; any that moves pixels is refused.
    """

    def __init__(self, size: int = 192, patch: int = 16, *, ratio: float = 0.35, radius: float = 2.0,
                 amount: float = 0.5, rotate: float = 0.0, augment: Augment | None = None):
        self.augment = Augment(**PHOTOMETRIC) if augment is None else augment
        if moving := [name for name in GEOMETRY if self.augment.settings[name]]:
            raise MedsslError(f"Halves that are changed by {', '.join(moving)}.", "changes that move no pixel",
                              "The halves would not meet at the midline any more; rotate= turns the whole image.")
        if size < 2 * patch or size % (2 * patch):
            raise MedsslError(f"{size} pixels, patches of {patch}.", f"a multiple of {2 * patch}: each half in patches")
        self.size, self.patch, self.ratio, self.radius, self.amount = size, patch, ratio, radius, amount
        self.rotate = Augment(rotate=rotate) if rotate else None
        self.grid = size // patch, size // (2 * patch)

    def __repr__(self) -> str:
        turn = f", rotate={self.rotate.settings['rotate']}" if self.rotate else ""
        return (f"Halves({self.size}, {self.patch}, ratio={self.ratio}, radius={self.radius}, amount={self.amount}"
                f"{turn}, augment={self.augment!r})")

    def __call__(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        image = self.prepare(batch["image"])
        mask = torch.cat(mirror_masks(self.grid, len(image), generator, self.ratio), 2).to(image.device)
        if self.rotate:
            image = self.rotate(image, generator)
        left, right = self.augment(torch.cat(image.chunk(2, 3)), generator).chunk(2)
        return {**batch, "image": image, "left": left, "right": right, "mask": mask}

    def prepare(self, images: Tensor) -> Tensor:
        """What has no chance in it, for probes as well: any size [B,C,H,W] -> [B,C,size,size], made sharper."""
        images = to_float(images)
        if images.shape[2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True).clamp(0, 1)
        return unsharp(images, self.radius, self.amount)


def unsharp(images: Tensor, radius: float = 2.0, amount: float = 0.5) -> Tensor:
    """x + amount · (x - G x), held within [0, 1]; G is a Gaussian blur with a standard deviation of `radius` pixels."""
    if not radius > 0 or amount < 0:
        raise MedsslError(f"unsharp with {radius=}, {amount=}.", "a radius above 0 and an amount of 0 or more")
    blurred = gaussian_blur(images, torch.full((len(images),), radius, device=images.device), math.ceil(3 * radius))
    return torch.lerp(blurred, images, 1 + amount).clamp_(0, 1)
