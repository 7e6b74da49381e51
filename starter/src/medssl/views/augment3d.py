"""Random views of a batch of volumes: a light turn, another size, another place, in one resampling."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from medssl.errors import MedsslError


class Augment3D:
    """volumes [B,C,D,H,W], uint8 or float in [0, 1] -> float32 of the same shape, each volume with its own numbers.

    rotate: at most so many degrees either way about the z axis (patients lie on a table: they turn about no other).
    scale: larger or smaller by at most that fraction. translate: moved along each axis by at most that fraction of it.
    spacing (z, y, x): mm of a voxel; a turn where x and y differ would shear the organ, were it not made in mm.
    Beyond the edge is air: 0. No mirror: left and right of a patient are not the same organs.
    """

    def __init__(self, *, rotate: float = 0.0, scale: float = 0.0, translate: float = 0.0,
                 spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)):
        limits = {"rotate": (rotate, 180), "scale": (scale, 0.5), "translate": (translate, 0.5)}
        for name, (value, high) in limits.items():
            if not 0 <= value <= high:
                raise MedsslError(f"{name}={value} cannot be.", f"a number from 0 to {high}")
        if len(spacing) != 3 or not min(spacing) > 0:
            raise MedsslError(f"{spacing=} cannot be.", "mm of a voxel along z, y and x, each above 0")
        self.rotate, self.scale, self.translate, self.spacing = rotate, scale, translate, tuple(spacing)

    def __repr__(self) -> str:
        return (f"Augment3D(rotate={self.rotate}, scale={self.scale}, translate={self.translate}, "
                f"spacing={self.spacing})")

    def __call__(self, volumes: Tensor, generator: Generator) -> Tensor:
        if volumes.ndim != 5:
            raise MedsslError(f"These volumes have shape {list(volumes.shape)}.", "[B,C,D,H,W]",
                              "For one volume take volumes[None].")
        x = volumes / 255 if volumes.dtype == torch.uint8 else volumes.float()
        u = torch.rand(len(x), 5, generator=generator, device=generator.device).to(x.device) * 2 - 1
        return F.grid_sample(x, F.affine_grid(self.affine(u, x.shape[2:]), x.shape, align_corners=False),
                             padding_mode="zeros", align_corners=False)

    def affine(self, u: Tensor, shape: tuple[int, ...]) -> Tensor:
        """u [B,5] in [-1, 1) -> [B,3,4]: where each voxel q of the view comes from, p = A q + b, in the [-1, 1] of
        grid_sample, whose order is x, y, z. A = E⁻¹ (scale · R) E, E the half edges of the volume in mm."""
        angle, size = math.radians(self.rotate) * u[:, 0], 1 + self.scale * u[:, 1]
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
        edge = torch.tensor([n * mm for n, mm in zip(shape, self.spacing, strict=True)][::-1], device=u.device)
        A = size[:, None, None] * turn * edge / edge[:, None]
        return torch.cat([A, 2 * self.translate * u[:, 2:, None]], 2)
