"""Which test set can a metric have been measured on? accuracy = k/n and AUROC = k/(2 n0 n1), for whole k.

(A tied pair counts half in the AUROC, hence the 2.) A mean over s runs has s times the denominator. A written number is
an interval; the more decimals, the fewer denominators fit it. `chance` says how many random numbers would fit as well:
where that is much, nothing can be concluded, and nothing is.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

MOST_RUNS = 10  # a mean over more seeds than that is not handed in without saying so
NO_POWER = 0.3  # a test that three random numbers in ten pass says nothing about one
LARGEST, LARGEST_BY_CLASS = 1500, 800  # images: beyond, every number with few decimals fits something
LIKE = 0.11


class Measured(NamedTuple):
    """A number as written: anything from low to high, in steps of 1 / parts if it is of the official images."""

    name: str
    value: float
    low: float
    high: float
    parts: int

    def chance(self, runs: int = 1) -> float:
        """Share of random numbers that would be whole by this test."""
        return min(1.0, (self.high - self.low) * self.parts * runs)


def interval(value: float, decimals: int, ranked: bool = False) -> tuple[float, float]:
    """Where the number can lie that was written as `value`. `ranked`: an AUROC, the sum of hundreds of trapezoids.

    Half a unit of the last decimal. Up to eight decimals it may have been cut off instead of rounded: a whole unit up.
    From ten decimals on it is a float64: 1e-12 covers sums in any order; unless it is exactly a float32 (torch).
    Those and shorter ones may carry the error of sums in float32 (at most 9e-7 in 300 simulated AUROCs).
    """
    unit = 10.0 ** -min(decimals, 15)
    if decimals >= 10 and float(np.float32(value)) != value:
        return value - max(unit / 2, 1e-12), value + max(unit / 2, 1e-12)
    single = 1e-9 if decimals <= 4 else (2e-6 if decimals >= 7 else 1e-6) if ranked else 1.5e-7
    return value - unit / 2 - single, value + (unit if decimals <= 8 else unit / 2) + single


def measured(name: str, value: float, decimals: int, counts: list[int]) -> Measured:
    """Accuracy, AUROC or balanced accuracy as an interval, with the denominator that it has on n0 and n1 images."""
    parts = sum(counts) if name == "accuracy" else 2 * counts[0] * counts[1]
    return Measured(name, value, *interval(value, decimals, name == "auroc"), parts)


def whole(one: Measured, parts: np.ndarray | int) -> np.ndarray:
    """[...] whether a whole k with low <= k / parts <= high exists."""
    return np.floor(one.high * parts) >= np.ceil(one.low * parts)


def possible(numbers: list[Measured], runs: int) -> tuple[bool, float]:
    """(whether all numbers can be of the official images, the chance that any would be).

    `runs` 1: of one run. 0 (not said): also as a mean over at most MOST_RUNS, the same for all numbers.
    """
    tries = range(1, 2 if runs == 1 else MOST_RUNS + 1)
    miss = np.prod([1 - np.prod([one.chance(s) for one in numbers]) for s in tries])
    return any(all(whole(one, one.parts * s) for one in numbers) for s in tries), float(1 - miss)


@cache
def _splits() -> np.ndarray:
    """[2, P] every (n0 < n1) of at most LARGEST_BY_CLASS images with 5 % or more in the smaller class."""
    n0, n1 = np.triu_indices(LARGEST_BY_CLASS, 1)
    keep = (n0 + n1 >= 20) & (n0 + n1 <= LARGEST_BY_CLASS) & (n0 * 20 >= n0 + n1)
    return np.stack([n0[keep], n1[keep]])


class Found(NamedTuple):
    """Test sets that fit. `n`: their sizes, smallest first; `counts`: those of the smallest, if only one pair fits."""

    n: list[int]
    counts: tuple[int, int] | None

    @property
    def only(self) -> bool:
        """One size, its multiples apart (which always fit as well)."""
        return bool(self.n) and all(n % self.n[0] == 0 for n in self.n)


def search(blocks: list[list[Measured]], counts: dict[str, list[int]]) -> Found:
    """The test sets on which every number of every block could have been measured (by one run each).

    No larger than all images that there are; where several class counts fit, those within LIKE of the official share,
    as a random part of the images has (at 141 images three standard deviations are 0.11).
    """
    accuracies = [one for numbers in blocks for one in numbers if one.name == "accuracy"]
    ranked = [one for numbers in blocks for one in numbers if one.name != "accuracy"]
    n = np.arange(20, min(LARGEST, sum(map(sum, counts.values()))) + 1)
    for one in accuracies:
        n = n[whole(one, n)]
    if ranked and (found := _by_class(ranked, n, counts["test"])):
        return found
    return Found([int(k) for k in n[:50]] if accuracies else [], None)


def _by_class(ranked: list[Measured], n: np.ndarray, counts: list[int]) -> Found | None:
    """Of the sizes n, those with class counts that give every AUROC; None where that would be chance."""
    known = np.zeros(2 * LARGEST, bool)
    known[n] = True
    n0, n1 = _splits()[:, known[_splits().sum(0)]]
    parts = 2 * n0 * n1
    chance = np.ones(len(parts))
    for one in ranked:
        chance *= np.minimum(1, (one.high - one.low) * parts)
    if chance.sum() > NO_POWER:
        return None
    for one in ranked:
        fits = whole(one, parts)
        n0, n1, parts = n0[fits], n1[fits], parts[fits]
    like = abs(n1 / np.maximum(n0 + n1, 1) - max(counts) / sum(counts)) < LIKE
    if like.any():
        n0, n1 = n0[like], n1[like]
    sizes = np.unique(n0 + n1)
    here = np.flatnonzero(n0 + n1 == sizes[0]) if len(sizes) else []
    return Found([int(k) for k in sizes[:50]], (int(n0[here[0]]), int(n1[here[0]])) if len(here) == 1 else None)


def fraction_of(one: Measured, n: int) -> str:
    """122/141"""
    return f"{round((one.low + one.high) / 2 * n) if one.high - one.low > 1e-4 else round(one.value * n)}/{n}"


def pool_of(n: int, counts: dict[str, list[int]]) -> str:
    """Which random part of the official images has n: "a random 20 % of train and test (702) has as many", or ""."""
    size = {split: sum(pair) for split, pair in counts.items()}
    pools = [("train and test", size["train"] + size["test"]), ("all images", sum(size.values())),
             ("train and val", size["train"] + size["val"]), ("train", size["train"])]
    for name, total in pools:
        for percent in (10, 15, 20, 25, 30):
            if n in (int(total * percent / 100), -int(-total * percent // 100)):
                return f"a random {percent} % of {name} ({total}) has as many"
    return ""
