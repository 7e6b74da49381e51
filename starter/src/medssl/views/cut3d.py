"""A box of a scan as a cube of voxels: cut from int16, resampled in one go, without folding fine detail into coarse."""

import math

import torch
from torch import Tensor


def cut_box(voxels: Tensor, low, size, side: int, beyond: float, flip=(False,) * 3, blur: float = 0.0) -> Tensor:
    """voxels [Z,Y,X] of any type, a box of `size` voxels from `low` on -> float32 [side,side,side].

    One small matrix an axis holds resampling, mirror and blur, so the box is read once and only the box becomes float.
    Beyond the scan lies the value `beyond`.
    """
    parts = [_weights(n, a, s, side, blur) for n, a, s in zip(voxels.shape, low, size, strict=True)]
    block = torch.sub(voxels[tuple(slice(first, last) for first, last, _ in parts)], float(beyond))  # now float
    z, y, x = (weights.flip(0) if mirrored else weights for (_, _, weights), mirrored in zip(parts, flip, strict=True))
    block = torch.matmul(y, torch.matmul(block, x.T))  # x and y first: slices are thick, so there is more to shrink
    return torch.tensordot(z, block, 1) + beyond


def _weights(n: int, low: int, size: int, side: int, blur: float) -> tuple[int, int, Tensor]:
    """(first, last, W [side, last-first]): out[i] = Σ_j W[i,j] in[j] for the voxels first <= j < last of an axis of n.

    The centre of out[i] lies at c = low - ½ + (i + ½) step, step = size/side. Where the box grows, out[i] is on the
    straight line between two voxels. Where it shrinks, it is the mean of that line over c ± w/2, w² = step² - 1, so
    that nothing between two new voxels is left out: W[i,j] = (H(c + w/2 - j) - H(c - w/2 - j)) / w, H the integral of
    the triangle. Either way a straight line of grey values stays exactly where it was. Rows sum to 1 over the voxels
    that exist; a centre outside the scan has a row of zeros.
    blur: standard deviation, in new voxels, of a Gaussian on top.
    """
    step = size / side
    w = math.sqrt(max(step**2 - 1, 0))
    centre = low - 0.5 + (torch.arange(side, dtype=torch.float64) + 0.5) * step
    first = min(max(0, int(low - 1 - w / 2)), n - 1)
    last = max(min(n, int(low + size + w / 2) + 2), first + 1)
    away = centre[:, None] - torch.arange(first, last)
    weights = (_integral(away + w / 2) - _integral(away - w / 2)) / w if w else (1 - away.abs()).clamp(min=0)
    weights *= ((centre >= -0.5) & (centre <= n - 0.5))[:, None]
    weights /= weights.sum(1, keepdim=True).clamp(min=1e-6)
    if blur > 0:
        distance = torch.arange(side) - torch.arange(side)[:, None]
        weights = torch.softmax(-(distance**2) / (2 * blur**2), 1, dtype=torch.float64) @ weights
    return first, last, weights.float()


def _integral(t: Tensor) -> Tensor:
    """∫ max(0, 1 - |u|) du from -∞ to t."""
    t = t.clamp(-1, 1)
    return 0.5 + t - t * t.abs() / 2
