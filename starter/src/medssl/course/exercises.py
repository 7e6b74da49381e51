"""Exercises with an instant check: `f = exercises.ece(mine)` says whether `mine` is right, and returns what serves.

An exercise that is not filled in yet (it returns ... or None) is no failure: the package's own solution serves, so
every notebook runs from top to bottom. A wrong answer is told with the first case in which it differs.
"""

import math
from collections.abc import Callable

import numpy as np


def optimiser_steps(mine: Callable) -> Callable:
    """Week 1: how many updates do `epochs` passes over `n_images` in batches of `batch_size` make?"""

    def solution(n_images, batch_size, epochs):
        return epochs * math.ceil(n_images / batch_size)

    cases = [(546, 128, 5), (4708, 128, 5), (128, 128, 3), (129, 128, 1), (10, 64, 2)]
    return _check(mine, solution, cases, "the last batch of an epoch is smaller, but it is a step all the same")


def majority_accuracy(mine: Callable) -> Callable:
    """Week 1: the accuracy of always answering with the most frequent class."""
    import torch

    def solution(labels):
        return float(np.bincount(np.asarray(labels)).max() / len(labels))

    cases = [(torch.tensor([0] * zeros + [1] * ones),) for zeros, ones in ((1, 3), (42, 114), (390, 234))]
    return _check(mine, solution, cases, "count each class; the larger count over all of them")


def ece(mine: Callable) -> Callable:
    """Week 2: expected calibration error of P(class 1) in ten bins of equal width."""

    def solution(y, p, bins=10):
        place = np.clip(np.ceil(np.asarray(p) * bins).astype(int) - 1, 0, bins - 1)
        total = 0.0
        for b in range(bins):
            inside = place == b
            if inside.any():
                total += inside.mean() * abs(np.asarray(y)[inside].mean() - np.asarray(p)[inside].mean())
        return float(total)

    rng = np.random.default_rng(0)
    p = rng.random(200)
    cases = [(np.array([1, 0]), np.array([0.95, 1.0])), ((rng.random(200) < p).astype(int), p),
             (np.array([0, 1, 1, 0]), np.array([0.0, 1.0, 0.35, 0.31]))]
    return _check(mine, solution, cases, "weigh each bin's |share of ones - mean p| by its share of the images; "
                                         "p = 1.0 belongs to the last bin")


def paired_gap(mine: Callable) -> Callable:
    """Week 3: by how many standard errors do paired results differ? mean(b - a) / (std(b - a) / sqrt(n))."""

    def solution(a, b):
        d = np.asarray(b, float) - np.asarray(a, float)
        return float(d.mean() / (d.std(ddof=1) / math.sqrt(len(d))))

    cases = [([0.80, 0.82, 0.81], [0.84, 0.85, 0.86]), ([0.9, 0.7, 0.8, 0.85], [0.88, 0.75, 0.79, 0.86])]
    return _check(mine, solution, cases, "first the differences seed by seed; their std with n - 1 in the denominator")


def _check(mine: Callable, solution: Callable, cases: list[tuple], hint: str) -> Callable:
    for arguments in cases:
        shown, expected = ", ".join(map(_shown, arguments)), solution(*arguments)  # before `mine` can change them
        told, agrees = "", False
        try:
            got = mine(*arguments)
            if got is None or got is ...:
                print(f"not filled in yet: the package's own {mine.__name__} is used from here on")
                return solution
            told = repr(got.item() if hasattr(got, "item") and np.ndim(got) == 0 else got)  # 0.75, not np.float64(0.75)
            agrees = np.ndim(got) == 0 and bool(np.allclose(got, expected, atol=1e-6))
        except Exception as error:  # a mistake of any kind is told, not thrown, be it in `mine` or in what it returns
            told = told or repr(error)
        if not agrees:
            print(f"not yet: {mine.__name__}({shown}) gives {told}, expected {expected!r}\nhint: {hint}\n"
                  "The package's own is used from here on.")
            return solution
    print(f"right: {mine.__name__} agrees with the package in all {len(cases)} cases")
    return mine


def _shown(argument) -> str:
    return np.array2string(np.asarray(argument), threshold=8)
