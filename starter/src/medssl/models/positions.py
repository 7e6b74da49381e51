"""Where a token lies, as numbers: sines and cosines of its place along every axis, in patches or in millimetres."""

import math

import torch
from torch import Tensor

from medssl.errors import MedsslError

SHORTEST, LONGEST = 16.0, 1024.0  # mm: twice a patch of 8 mm, and longer than a trunk


def positions(grid: tuple[int, ...], dim: int, step: Tensor | None = None) -> Tensor:
    """[N,dim] for the N tokens of a grid (rows, columns) or (z, rows, columns), counted row by row.

    Each axis has n = dim / (2 · axes) frequencies ω_k and 2n numbers: sin(p ω_k) for k = 0 … n - 1, then cos(p ω_k).
    What does not divide stays 0. p counts patches and ω_k = 10000^(-k/n); or, with step [B,axes], the mm from one token
    to the next in each volume, p is the mm from the volume's edge to the token's *centre*, wavelengths run from 16 mm
    to 1024 mm in equal ratios, and the answer is [B,N,dim]: the same organ has the same places in a fine and in a
    coarse scan. Nothing is learnt, so images of any size have positions.
    """
    axes, n = len(grid), dim // (2 * len(grid))
    if n < 1:
        raise MedsslError(f"Positions of {dim} numbers for {axes} axes.", f"{2 * axes} or more")
    device = None if step is None else step.device
    places = torch.stack(torch.meshgrid(*(torch.arange(side, device=device) for side in grid), indexing="ij"), -1)
    places = places.flatten(0, -2).float()
    if step is None:
        return _waves(places, 10000 ** (-torch.arange(n, device=device) / n), dim)
    return positions_mm((places + 0.5) * step.float()[:, None], dim)


def positions_mm(places: Tensor, dim: int) -> Tensor:
    """[...,dim] for places [...,axes] in mm, anywhere: those of a grid in mm are places like others."""
    n = dim // (2 * places.shape[-1])
    k = torch.arange(n, device=places.device)
    return _waves(places, 2 * math.pi / (SHORTEST * (LONGEST / SHORTEST) ** (k / max(1, n - 1))), dim)


def _waves(places: Tensor, frequencies: Tensor, dim: int) -> Tensor:
    angles = places[..., None] * frequencies  # [...,N,axes,n]
    waves = torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)
    return torch.nn.functional.pad(waves, (0, dim - waves.shape[-1]))
