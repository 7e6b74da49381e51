"""Masks for the two halves of an image in which a patch and its mirror image are never both hidden."""

import torch
from torch import Generator, Tensor

from medssl.errors import MedsslError
from medssl.views.masks import check


def mirror_masks(grid: tuple[int, int], batch: int, generator: Generator,
                 ratio: float = 0.35) -> tuple[Tensor, Tensor]:
    """(left, right), bool [B,rows,columns] each: that share of the patches of each half, True is masked.

    The anti-mirror rule: left (r, c) masked means that right (r, columns - 1 - c) is not. Many organs come in pairs, so
    the mirrored patch is the best hint at what is hidden; it stays in sight. grid: the patches of one half, (12, 6) for
    192 x 96 pixels and patches of 16; 0.35 of these 72 are 25.

    Each image gets one random order of the places. The first k are the left's, the next k, mirrored, the right's: every
    allowed pair of masks is as likely as any other, without a second try. There are k + k places only while k is at
    most half of them.
    """
    n = check(grid, batch, generator, 2)
    k = round(n * ratio)
    if not 0 < ratio <= 0.5 or not 1 <= k <= n // 2:
        raise MedsslError(f"{ratio:.0%} of {n} patches masked in each half.",
                          f"1 to {n // 2} patches, at most 50 %: two masks that never mirror each other need as many "
                          "different places", "Take ratio=0.35.")
    place = torch.rand(batch, n, generator=generator, device=generator.device).argsort(1).argsort(1)
    left, right = (place < k), (place >= k) & (place < 2 * k)
    return left.view(batch, *grid), right.view(batch, *grid).flip(2)
