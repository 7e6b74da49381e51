"""Masks for volumes and clips: blocks measured in millimetres, tubes through all slices or frames, hidden frames."""

import math

import torch
from torch import Generator, Tensor

from medssl.errors import MedsslError
from medssl.views.masks import Masks, block_size, check, choose, pick, place, random_masks, redraw

TUBES = ((8, 0.15), (2, 0.7))  # V-JEPA: (blocks, share of the plane of each): many small ones, or a few large


def blocks_3d(grid: tuple[int, int, int], batch: int, generator: Generator, spacing, n_targets: int = 4,
              size_mm: tuple[float, float] | None = None, min_keep: int | None = None,
              foreground: Tensor | None = None, least_foreground: float = 0.25) -> Masks:
    """Blocks to predict in a volume, their three edges drawn in mm, separately; all else is seen.

    spacing: mm from token to token along (z, y, x), for the batch or [B,3]. A token of 8 × 8 × 8 voxels is 8 mm across
    a slice and may be 40 mm through them, so a cube of tokens is no cube in the patient; this one is. size_mm: the
    least and largest edge; None is 0.4 … 0.6 of the volume's mean side (the cube root of what it holds). An edge is a
    token at least and the grid at most. Images of another spacing have other blocks: these are cut, at random, to the
    tokens of the smallest. foreground: as in `masks.place`. min_keep: tokens seen at least; None is a quarter.
    """
    n = check(grid, batch, generator, 3)
    mm = torch.as_tensor(spacing, dtype=torch.float32, device=generator.device).expand(batch, 3)
    side = float((mm.prod(1) * n).mean()) ** (1 / 3)
    low, high = (0.4 * side, 0.6 * side) if size_mm is None else size_mm
    if not (mm > 0).all() or not 0 < low <= high:
        raise MedsslError(f"Blocks of {low:g} … {high:g} mm, tokens of {mm[0].tolist()} mm.", "lengths above 0 mm")
    edges = low + (high - low) * torch.rand(3, generator=generator, device=generator.device)
    tokens = (edges / mm).round().long().clamp(min=1).minimum(torch.tensor(grid, device=generator.device))
    sizes = tokens.expand(n_targets, batch, 3)

    def draw(rows: Tensor) -> tuple[Tensor, Tensor]:
        hidden = place(grid, sizes[:, rows], generator, pick(foreground, rows), least_foreground)
        return hidden, ~hidden.any(0)

    what = f"{n_targets} blocks of {tuple(tokens[0].tolist())} tokens on a grid of {tuple(grid)}"
    hidden, seen = redraw(draw, batch, n // 4 if min_keep is None else min_keep, what)
    return Masks(choose(seen, generator), choose(hidden, generator))


def tubes(grid: tuple[int, int, int], batch: int, generator: Generator,
          kinds: tuple[tuple[int, float], ...] = TUBES, aspect: tuple[float, float] = (0.75, 1.5),
          min_keep: int | None = None, foreground: Tensor | None = None, least_foreground: float = 0.25) -> Masks:
    """V-JEPA's masks (Bardes et al. 2024, arXiv 2404.08471): blocks of the plane, hidden in every frame or slice.

    Each batch takes one of the `kinds` (number of blocks, share of the plane) by chance; as published, every clip is
    seen with both. What any block covers is one target, T = 1; all else is seen. A patch cannot be copied from the
    frame before, because there it is hidden too. min_keep: columns of tokens seen at least; None is a tenth.
    """
    check(grid, batch, generator, 3)
    depth, plane, device = grid[0], grid[1:], generator.device
    count, share = kinds[int(torch.randint(len(kinds), (), generator=generator, device=device))]
    size = torch.tensor(block_size(plane, generator, (share, share), aspect)).expand(count, batch, 2)
    flat = None if foreground is None else foreground.float().mean(1)

    def draw(rows: Tensor) -> tuple[Tensor, Tensor]:
        hidden = place(plane, size[:, rows], generator, pick(flat, rows), least_foreground).any(0)
        return hidden[None], ~hidden

    what = f"{count} tubes of {tuple(size[0, 0].tolist())} tokens on a plane of {tuple(plane)}"
    hidden, seen = redraw(draw, batch, math.prod(plane) // 10 if min_keep is None else min_keep, what)
    at = torch.arange(depth, device=device)[:, None]
    return Masks(*(through(choose(member, generator), at, math.prod(plane)) for member in (seen, hidden)))


def temporal(grid: tuple[int, int, int], batch: int, generator: Generator, ratio: float = 0.5,
             spatial: float = 0.75) -> Masks:
    """Whole frames to predict, that share of them; in the others only 1 - `spatial` of the patches are seen.

    Each clip hides its own frames, and shows the same places in all frames that it shows. T = 1: the tokens of the
    hidden frames. A frame of the grid is as many pictures as the patch is long in time, and all of them are hidden.
    """
    check(grid, batch, generator, 3)
    frames, plane = grid[0], math.prod(grid[1:])
    if not (0 < ratio < 1 and 0 <= spatial < 1):
        raise MedsslError(f"{ratio=} of the frames, {spatial=} of the patches.", "shares below 1, ratio above 0")
    visible, hidden = random_masks((1, frames), batch, generator, ratio)
    places = torch.rand(batch, plane, generator=generator, device=generator.device).argsort(1)
    places = places[:, :max(1, round(plane * (1 - spatial)))].sort(1).values
    everywhere = torch.arange(plane, device=generator.device).expand(1, batch, -1)
    return Masks(through(places, visible[:, :, None].mT.reshape(batch, -1, 1), plane),
                 through(everywhere, hidden[..., None], plane))


def through(places: Tensor, frames: Tensor, plane: int) -> Tensor:
    """Tokens [...,F·K] of the places [...,K] of a plane, in each of the frames [...,F,1]."""
    return (frames * plane + places[..., None, :]).flatten(-2)
