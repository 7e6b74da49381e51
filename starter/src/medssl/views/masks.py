"""Masks: which patches of an image a method sees, and which it must predict. Token numbers, drawn for each image.

A grid is (rows, columns), (z, rows, columns) or (t, rows, columns); its tokens are numbered row by row, as ViT.tokens
does. Every draw comes from the generator that is handed in. Every image has its own mask; only counts are those of the
batch, so that it stays a tensor: what one image has too many of is left out at random, and no edge is favoured.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from medssl.errors import MedsslError

TRIES = 100  # draws for one image before the blocks are said to be too large: a loop without end helps nobody


class Masks(NamedTuple):
    """The tokens that are seen, int64 [B,K], and those to predict, [T,B,M]: T blocks an image, none of them seen."""

    context: Tensor
    targets: Tensor


def random_masks(grid: tuple[int, ...], batch: int, generator: Generator, ratio: float = 0.75) -> Masks:
    """Hide that share of the tokens, each as likely as any other, and predict them all: T = 1.

    As in MAE (He et al. 2022, arXiv 2111.06377). A hidden patch has seen neighbours, so much of it can be guessed from
    them: blocks ask for more.
    """
    n = check(grid, batch, generator)
    if not 0 < ratio < 1 or n < 2:
        raise MedsslError(f"ratio={ratio} of {n} tokens.", "a share between 0 and 1, of 2 tokens or more")
    hidden = min(max(1, round(n * ratio)), n - 1)
    order = torch.rand(batch, n, generator=generator, device=generator.device).argsort(1)
    return Masks(order[:, hidden:].sort(1).values, order[:, :hidden].sort(1).values[None])


def multi_block(grid: tuple[int, int], batch: int, generator: Generator, n_targets: int = 4,
                scale: tuple[float, float] = (0.15, 0.2), aspect: tuple[float, float] = (0.75, 1.5),
                context_scale: tuple[float, float] = (0.85, 1.0), min_keep: int | None = None,
                foreground: Tensor | None = None, least_foreground: float = 0.25) -> Masks:
    """I-JEPA's masks (Assran et al. 2023, arXiv 2301.08243): blocks to predict; one large block, less these, is seen.

    scale: a block's share of the area; aspect: its rows to its columns. Both are drawn once a batch, separately; the
    place of each block is its image's own. min_keep: tokens seen at least; None is a quarter of the grid (as
    published 10 of 196, but the image that sees least sets the number for its batch). foreground: as in `place`.
    """
    n, one = check(grid, batch, generator, 2), torch.ones(n_targets, batch, 1, dtype=torch.int64)
    size = one * torch.tensor(block_size(grid, generator, scale, aspect))
    large = one[:1] * torch.tensor(block_size(grid, generator, context_scale, (1.0, 1.0)))

    def draw(rows: Tensor) -> tuple[Tensor, Tensor]:
        hidden = place(grid, size[:, rows], generator, pick(foreground, rows), least_foreground)
        return hidden, place(grid, large[:, rows], generator)[0] & ~hidden.any(0)

    hidden, seen = redraw(draw, batch, n // 4 if min_keep is None else min_keep,
                          f"{n_targets} blocks of {tuple(size[0, 0].tolist())} tokens on a grid of {tuple(grid)}")
    return Masks(choose(seen, generator), choose(hidden, generator))


def check(grid: tuple[int, ...], batch: int, generator: Generator, axes: int | None = None) -> int:
    """The number of tokens of a grid; whatever cannot be a grid, a batch or a generator is refused."""
    if len(grid) not in ((2, 3) if axes is None else (axes,)) or min(grid) < 1 or batch < 1:
        raise MedsslError(f"A grid of {tuple(grid)} tokens, a batch of {batch}.",
                          f"{axes or '2 or 3'} numbers of tokens, all of them and the batch 1 or more")
    if not isinstance(generator, Generator):
        raise MedsslError(f"The generator is {generator!r}.", "a torch.Generator: all chance comes from it")
    return math.prod(grid)


def block_size(grid: tuple[int, int], generator: Generator, scale: tuple[float, float],
               aspect: tuple[float, float]) -> tuple[int, int]:
    """(rows, columns) of a block: its share of the area uniform in `scale`, rows/columns uniform in `aspect`.

    Rounded so that the area stays near what was drawn: within half a column of the block, at the edge of the grid too.
    """
    if not (0 < scale[0] <= scale[1] <= 1 and 0 < aspect[0] <= aspect[1]):
        raise MedsslError(f"Blocks of {scale=}, {aspect=}.", "(low, high), above 0, low <= high; scale at most 1")
    u = torch.rand(2, generator=generator, device=generator.device).tolist()  # two draws: scale says nothing of aspect
    area, ratio = (low + (high - low) * x for (low, high), x in zip((scale, aspect), u, strict=True))
    area *= math.prod(grid)
    rows = min(max(1, round(math.sqrt(area * ratio)), round(area / grid[1])), grid[0])
    return rows, min(max(1, round(area / rows)), grid[1])


def place(grid: tuple[int, ...], sizes: Tensor, generator: Generator, foreground: Tensor | None = None,
          least: float = 0.0) -> Tensor:
    """bool [T,B,N]: blocks of int64 sizes [T,B,axes], each somewhere in the grid, every place as likely as any other.

    foreground [B,*grid], the share of each token that is not background: places where a block would hold less than
    `least` of it are left out, so that nobody learns to predict air. Blocks are moved, not dropped: each image keeps
    all of its own. One without such a place takes one of those with the most, which in an image of air alone is any
    place, so such an image still gives targets, of air; leave it out of the data.
    """
    device, blocks = generator.device, None
    sizes = sizes.to(device)
    if foreground is None:
        free = torch.tensor(grid, device=device) + 1 - sizes  # places along each axis, the last row's too
        start = (torch.rand(sizes.shape, generator=generator, device=device) * free).long()
    else:
        start = in_foreground(foreground.to(device).float(), sizes, generator, least)
    for axis, n in enumerate(grid):
        at = torch.arange(n, device=device) - start[..., axis, None]
        inside = (at >= 0) & (at < sizes[..., axis, None])  # [T,B,n]
        blocks = inside if blocks is None else (blocks[..., :, None] & inside[..., None, :]).flatten(-2)
    return blocks


def in_foreground(foreground: Tensor, sizes: Tensor, generator: Generator, least: float) -> Tensor:
    """int64 [T,B,axes]: first token of each block, at a place with enough foreground. All places of a size at once."""
    start = torch.empty_like(sizes)
    for size in sizes.flatten(0, -2).unique(dim=0):
        block, image = (sizes == size).all(-1).nonzero(as_tuple=True)
        kernel = (1,) * (4 - foreground.ndim) + tuple(size.tolist())
        share = F.avg_pool3d(foreground.reshape(len(foreground), *kernel[:4 - foreground.ndim], *foreground.shape[1:]),
                             kernel, stride=1)
        places, share = share.shape[1:][-sizes.shape[-1]:], share.flatten(1)
        enough = share >= share.amax(1, keepdim=True).clamp(max=least) - 1e-6
        chosen = torch.multinomial(enough[image].float(), 1, generator=generator)[:, 0]
        start[block, image] = torch.stack(torch.unravel_index(chosen, places), 1)
    return start


def redraw(draw: Callable[[Tensor], tuple[Tensor, Tensor]], batch: int, min_keep: int,
           what: str) -> tuple[Tensor, Tensor]:
    """(hidden bool [T,B,N], seen bool [B,N]): draw(rows), and again for images that see fewer than min_keep tokens."""
    hidden, seen = draw(torch.arange(batch))
    for _ in range(TRIES):
        poor = (seen.sum(1) < max(1, min_keep)).nonzero()[:, 0].cpu()
        if not len(poor):
            return hidden, seen
        hidden[:, poor], seen[poor] = draw(poor)
    raise MedsslError(f"{what} left fewer than {max(1, min_keep)} tokens to see, in {TRIES} draws.",
                      "blocks that leave something to see", "smaller or fewer blocks, a smaller min_keep or patch")


def pick(values: Tensor | None, rows: Tensor) -> Tensor | None:
    """Those rows, of a tensor that may be absent."""
    return None if values is None else values[rows.to(values.device)]


def choose(member: Tensor, generator: Generator) -> Tensor:
    """bool [...,N] -> sorted token numbers [...,K], K those of the row that has fewest; of more, a random choice."""
    score = member * (1 + torch.rand(member.shape, generator=generator, device=member.device))
    return score.topk(int(member.sum(-1).min()), -1).indices.sort(-1).values
