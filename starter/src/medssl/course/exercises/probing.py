"""Weeks 5 and 6: how many labels of each class, features on one scale, and when a claim may be made."""

import math
from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check


def label_counts(mine: Callable) -> Callable:
    """Week 5: label_counts(labels, fraction) -> [of class 0, of class 1]: how many labels a stratified share keeps.

    As medssl.data draws them. The total is rounded first, then class 0's share of it; class 1 gets the rest:

        total = floor(fraction · N + 0.5), at least 2
        of class 0: floor(total · n_0 / N + 0.5), but at least 1 and at most total - 1;   of class 1: total - of class 0
    """
    import torch

    def right(labels, fraction, least=1):
        n, total = np.bincount(labels), max(2 * least, np.floor(fraction * len(labels) + 0.5))
        of_0 = np.clip(np.floor(total * n[0] / len(labels) + 0.5), least, total - least)
        return np.array([of_0, total - of_0])

    def alone(labels, fraction, least=1, to_whole=np.round):
        return np.maximum(least, to_whole(fraction * np.bincount(labels)))

    mistakes = {
        "max(1, round(n_k · fraction)) rounds each class by itself: the total may be one off, so round that first":
            alone,
        "each class is rounded by itself, and may end with no image: round the total first, and keep at least one":
            lambda y, f: alone(y, f, least=0),
        "a class is left with no image: keep at least one": lambda y, f: right(y, f, least=0),
        "int() and // cut off: round to the nearest": lambda y, f: alone(y, f, to_whole=np.floor),
        "int() and // cut off, so that a class may end with no image: round to the nearest, and keep at least one":
            lambda y, f: alone(y, f, least=0, to_whole=np.floor),
        "not stratified: the first labels are not a share of each class":
            lambda y, f: np.bincount(y[: round(f * len(y))], minlength=2),
        "as many of both classes: a stratified share keeps the balance of the data":
            lambda y, f: np.full(2, round(f * len(y)) / 2),
        "as many of both classes: a stratified share keeps their balance (and half an image does not exist)":
            lambda y, f: np.full(2, round(f * len(y)) // 2),
        "these are the shares of the classes: times the total, rounded": lambda y, f: np.bincount(y) / len(y),
    }
    cases = [(torch.tensor([0] * 147 + [1] * 399), 0.05), (torch.tensor([1] * 3494 + [0] * 1214), 0.1),
             (torch.tensor([0] * 40 + [1] * 330), 0.01)]
    hint = "total = floor(fraction · N + 0.5); class 0: floor(total · n_0 / N + 0.5), at least 1; class 1: the rest"
    return check(mine, right, cases, hint, mistakes)


def standardise(mine: Callable) -> Callable:
    """Week 5: standardise(train, test), features [N,D] and [M,D] -> test [M,D] on the scale of train.

        (test - mean) / std, for each feature by itself; mean and std of train. A feature that never varies becomes 0.
    """

    def right(train, test, ddof=0):
        train, test = np.asarray(train, np.float64), np.asarray(test, np.float64)
        std = train.std(0, ddof=ddof)
        return (test - train.mean(0)) / np.where(std > 0, std, 1)

    def naive(train, test):
        return (test - train.mean(0)) / train.std(0)

    mistakes = {
        "these are mean and std of test: a test image would be judged by the others in its split":
            lambda train, test: right(test, test),
        "mean and std of test, and 0 / 0 where a feature never varies: take those of train, divide by 1 there":
            lambda train, test: naive(test, test),
        "a feature that never varies gives 0 / 0: divide by 1 there": naive,
        "a feature that never varies gives 0 / 0: divide by 1 there (your std is torch's, with n - 1)":
            lambda train, test: (test - train.mean(0)) / train.std(0, ddof=1),
        "mean and std of train and test together: test must not be seen":
            lambda train, test: right(np.concatenate([train, test]), test),
        "one mean and std for all features: dim=0 (axis=0) gives each its own":
            lambda train, test: (test - train.mean()) / train.std(),
        "divided by the variance: take its root":
            lambda train, test: (test - train.mean(0)) / np.where(train.std(0) > 0, train.var(0), 1),
        "that is train on its own scale; asked for is test on train's": lambda train, test: right(train, train),
    }
    rng = np.random.default_rng(5)
    cases = []
    for n, m, constant in ((20, 3, False), (8, 5, True)):
        train, test = rng.normal([2, -1, 0], [1, 3, 0.2], (n, 3)), rng.normal([3, -1, 0.1], 1, (m, 3))
        if constant:
            train[:, 2] = test[:, 2] = 0.5
        cases.append((train, test))
    return check(mine, right, cases, "mean and std over the rows of train, one a feature", mistakes,
                 also=lambda train, test: right(train, test, ddof=1))


def may_claim(mine: Callable) -> Callable:
    """Weeks 5 and 6: may_claim(ssl, rungs) -> True or False: may we write that self-supervision helps?

    ssl: a metric of R runs. rungs: for every row of the ladder below it, the same R runs (same labels, same seed). Only
    if it clears every rung: mean(d) - 2 · std(d) / sqrt(R) > 0, where d is ssl - rung run by run, std with R - 1.
    """

    def clears(ssl, rung, errors=2.0, paired=True, ddof=1):
        ssl, rung = np.asarray(ssl, float), np.asarray(rung, float)
        d, n = ssl - rung, len(ssl)
        spread = d.std(ddof=ddof) if paired else math.sqrt(ssl.var(ddof=1) + rung.var(ddof=1))
        return d.mean() - errors * spread / math.sqrt(n) > 0

    def right(ssl, rungs):
        return all(clears(ssl, rung) for rung in rungs)

    mistakes = {
        "a higher mean is not enough: the interval of the difference must lie above 0":
            lambda ssl, rungs: all(np.mean(ssl) > np.mean(rung) for rung in rungs),
        "one rung is not the ladder: every one must be cleared": lambda ssl, rungs: any(clears(ssl, r) for r in rungs),
        "only the last rung is compared: every one must be cleared": lambda ssl, rungs: clears(ssl, rungs[-1]),
        "not paired: the std of ssl - rung run by run is what counts":
            lambda ssl, rungs: all(clears(ssl, rung, paired=False) for rung in rungs),
        "std is the spread of runs; the error of their mean is std / sqrt(R)":
            lambda ssl, rungs: all(clears(ssl, rung, 2 * math.sqrt(len(ssl))) for rung in rungs),
        "np.std divides by R, which is too bold for a few runs: R - 1, np.std(d, ddof=1)":
            lambda ssl, rungs: all(clears(ssl, rung, ddof=0) for rung in rungs),
    }
    base, wiggle = np.array([0.70, 0.78, 0.74, 0.80]), np.array([0.01, -0.01, 0.01, -0.01])
    far, clear, just, short = (base - gap + wiggle / 2 for gap in (0.2, 0.03, 0.009, 0.0054))  # 2 std/√4: 0.0058
    unsure, below = base - 0.008 + wiggle, base + 0.02
    cases = [(base, rungs) for rungs in ([far, far], [clear, far], [just, far], [far, unsure], [unsure, far],
                                         [below, clear], [unsure, below], [short, far])]
    return check(mine, right, cases, "differences run by run; their mean less two standard errors; above 0 for all",
                 mistakes)
