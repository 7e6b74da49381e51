"""Many views of each image: some of most of it, and, if asked for, smaller ones of a part."""

import torch
from torch import Generator, Tensor

from medssl.errors import MedsslError
from medssl.views.augment2d import Augment


class ManyViews:
    """A batch with "image" -> the same with "global" [V,B,C,H,W] and, if any, "local" views [V,B,C,h,w] beside it.

    Global views are those of `augment`. Local ones differ in two settings only: the share of the area that is kept,
    and their side in pixels, by default half of the image's, at least 16: a fraction of a global view's arithmetic.
    All of them are independent draws from the one generator.
    """

    def __init__(self, augment: Augment, n_global: int = 4, n_local: int = 0, *,
                 local_crop: tuple[float, float] = (0.05, 0.3), local_size: int | None = None):
        if n_global < 1 or n_local < 0 or n_global + n_local < 2:
            raise MedsslError(f"{n_global} global and {n_local} local views.", "2 views or more, 1 of them global",
                              "views are compared with one another")
        self.augment, self.n_global, self.n_local = augment, n_global, n_local
        self.local_crop, self.local_size = local_crop, local_size

    def __repr__(self) -> str:
        local = f", local_crop={self.local_crop}, local_size={self.local_size}" if self.n_local else ""
        return f"ManyViews({self.augment!r}, {self.n_global}, {self.n_local}{local})"

    def __call__(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        images = batch["image"]
        seen = {**batch, "global": several(self.augment, images, self.n_global, generator)}
        if self.n_local:
            side = self.local_size or max(16, images.shape[-1] // 2)
            local = Augment(**self.augment.settings | {"crop": self.local_crop, "size": side})
            seen["local"] = several(local, images, self.n_local, generator)
        return seen


def several(augment, images: Tensor, count: int, generator: Generator) -> Tensor:
    """[count, B, C, h, w]: independent views, all from one call."""
    return torch.stack(augment(torch.cat([images] * count), generator).chunk(count))
