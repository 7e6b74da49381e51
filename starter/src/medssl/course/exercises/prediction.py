"""Week 11: one shadow against a Gaussian, the tokens that a masked predictor may see, and whether a target leaks."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from medssl.course.exercises.check import check


def epps_pulley(mine: Callable) -> Callable:
    """Week 11: epps_pulley(x, t, w): x [N] numbers, t [K] frequencies, w [K] weights -> one number, in torch.

        T = N · sum over k of w_k |φ(t_k) - exp(-t_k² / 2)|²,   φ(t) = mean over n of exp(i t x_n)

    and |a + i b|² = a² + b²: the mean of cos t x is φ's real part, the mean of sin t x its imaginary part.
    """
    mistakes = {
        "N is missing: the same misfit in a larger sample is stronger evidence, and counts more":
            lambda x, t, w: _epps_pulley(x, t, w) / len(x),
        "a mean over the frequencies: their weights w already are those of an integral, so sum":
            lambda x, t, w: _epps_pulley(x, t, w) / len(t),
        "x is standardised first: mean and scale are part of the question":
            lambda x, t, w: _epps_pulley((x - x.mean()) / x.std(), t, w),
        "x is centred first: the mean is part of the question": lambda x, t, w: _epps_pulley(x - x.mean(), t, w),
        "the sine is missing: a cosine alone cannot tell x from -x": partial(_epps_pulley, sine=0),
        "squared before the mean: φ is a mean over n, and is squared afterwards": partial(_epps_pulley, early=True),
        "not squared: gaps of both signs would cancel": partial(_epps_pulley, power=1),
        "the weights w are not used": lambda x, t, w: _epps_pulley(x, t, torch.ones_like(w)),
        "exp(-t²) belongs to another Gaussian: exp(-t² / 2) is that of N(0, 1)": partial(_epps_pulley, half=1),
        "the Gaussian's exp(-t² / 2) is not taken away": partial(_epps_pulley, gaussian=0),
    }
    random = torch.Generator().manual_seed(11)
    t = torch.linspace(0, 3, 7)
    cases = [(1.4 * torch.randn(n, generator=random) + shift, t, torch.exp(-t**2 / 2) * (0.5 + t / 9))
             for n, shift in ((12, 0.4), (40, -1.0))]
    hint = "t[:, None] * x is [K,N]; the means of its cosine and sine over n are [K]; then the two squares, w, N"
    return check(mine, _epps_pulley, cases, hint, mistakes)


def _epps_pulley(x, t, w, *, sine=1, early=False, power=2, half=0.5, gaussian=1):
    """The formula in float64. Each keyword does what one mistake does."""
    x, t, w = x.double(), t.double(), w.double()
    waves = t[:, None] * x
    real, imaginary = waves.cos() - gaussian * torch.exp(-half * t[:, None]**2), sine * waves.sin()
    if early:
        return len(x) * (w * (real**2 + imaginary**2).mean(1)).sum()
    return len(x) * (w * (real.mean(1)**power + imaginary.mean(1)**power)).sum()


def context_tokens(mine: Callable) -> Callable:
    """Week 11: context_tokens(grid, blocks) -> the numbers of the tokens that lie in no block, in rising order.

    grid: (rows, columns), numbered row by row from 0. blocks: each (top, left, height, width), in tokens.
    """
    mistakes = {
        "those are the targets: the context is what no block covers": partial(_tokens, inside=True),
        "numbered column by column: token = row · columns + column": partial(_tokens, by_column=True),
        "each block is a token too large: rows top to top + height - 1": partial(_tokens, more=1),
        "height and width are exchanged": partial(_tokens, swapped=True),
        "only the last block is left out: all of them are targets": lambda grid, blocks: _tokens(grid, blocks[-1:]),
        "only the first block is left out: all of them are targets": lambda grid, blocks: _tokens(grid, blocks[:1]),
        "numbered from 1: the first token is 0": lambda grid, blocks: _tokens(grid, blocks) + 1,
    }
    cases = [((3, 4), [(0, 1, 2, 1), (1, 0, 1, 3)]), ((4, 3), [(1, 0, 2, 1), (0, 1, 1, 2)]), ((5, 5), [(1, 1, 3, 2)])]
    hint = "a boolean array [rows, columns], False in each block; then np.flatnonzero"
    return check(mine, _tokens, cases, hint, mistakes)


def _tokens(grid, blocks, *, inside=False, by_column=False, more=0, swapped=False):
    free = np.ones(grid, bool)
    for top, left, *sides in blocks:
        height, width = sides[::-1] if swapped else sides
        free[top:top + height + more, left:left + width + more] = False
    return np.flatnonzero((free != inside).ravel("F" if by_column else "C"))


def leak(mine: Callable) -> Callable:
    """Week 11: leak(tokens, image, hidden, weights): how much do hidden pixels move the context?

    tokens: a function, image -> context tokens [K,D]. The answer is the largest |gradient| of sum(weights * tokens)
    with respect to a pixel where hidden is True: exactly 0 where nothing leaks.
    """
    mistakes = {
        "without weights: the sum of a LayerNormed token is constant, so its gradient is 0 even where all leaks":
            lambda f, image, hidden, w: _leak(f, image, hidden, torch.ones_like(w)),
        "over all pixels: that the context depends on its own is no leak":
            lambda f, image, hidden, w: _leak(f, image, hidden | True, w),
        "over the visible pixels: hidden is True where a target lies":
            lambda f, image, hidden, w: _leak(f, image, ~hidden, w),
        "the largest without |…|: a leak may be negative": partial(_leak, size=lambda x: x, most=torch.max),
        "a mean hides a leak at a few pixels: take the largest": partial(_leak, most=torch.mean),
        "a sum: take the largest": partial(_leak, most=torch.sum),
    }
    random = torch.Generator().manual_seed(2)
    image, weights = torch.randn(4, 4, generator=random), torch.randn(2, 4, generator=random)
    hidden = torch.tensor([False, False, True, True])[:, None].repeat(1, 4)
    cases = [(selects_late, image, hidden, weights), (selects_first, image, hidden, weights),
             (lambda x: -x[2:].square(), image, hidden, weights.abs())]
    hint = "x = image.clone().requires_grad_(); torch.autograd.grad((weights * tokens(x)).sum(), x); |…| where hidden"
    return check(mine, _leak, cases, hint, mistakes)


def _leak(tokens, image, hidden, weights, *, size=torch.abs, most=torch.max):
    x = image.clone().requires_grad_()
    slope, = torch.autograd.grad((weights * tokens(x)).sum(), x)
    return most(size(slope)[hidden])


def selects_late(patches):
    """Attention over all rows, then the first two: what an encoder does that sees the targets."""
    mixed = (patches @ patches.T).softmax(1) @ patches
    return torch.nn.functional.layer_norm(mixed[:2], mixed.shape[1:])


def selects_first(patches):
    """The first two rows, then attention among them."""
    return selects_late(patches[:2])
