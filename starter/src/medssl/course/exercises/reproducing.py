"""Week 10: was a number found again? The band that a rerun is held against."""

from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check


def seed_band(mine: Callable) -> Callable:
    """Week 10: seed_band(values, k) -> (low, high): mean ± k standard deviations of the recorded runs, divisor n - 1.

    It says how far one run may lie from another: wider than the interval of the mean, which would call an honest rerun
    of one seed a failure.
    """

    def right(values, k):
        values = np.asarray(values, np.float64)
        half = k * values.std(ddof=1)
        return values.mean() - half, values.mean() + half

    def with_half(half, centre=np.mean):
        return lambda values, k: (centre(values) - half(values, k), centre(values) + half(values, k))

    mistakes = {
        "the divisor is n - 1, not n: np.std(values, ddof=1)": with_half(lambda v, k: k * np.std(v)),
        "divided by sqrt(n), that is the error of the mean: one run may lie further away":
            with_half(lambda v, k: k * np.std(v, ddof=1) / np.sqrt(len(v))),
        "that is the variance: take its root": with_half(lambda v, k: k * np.var(v, ddof=1)),
        "the factor k is missing": with_half(lambda v, k: np.std(v, ddof=1)),
        "around the median: the band lies around the mean": with_half(lambda v, k: k * np.std(v, ddof=1), np.median),
        "smallest and largest run: more runs would make that ever wider; mean ± k standard deviations":
            lambda values, k: (np.min(values), np.max(values)),
        "in the other order: (low, high)": lambda values, k: right(values, k)[::-1],
    }
    cases = [([0.90, 0.92, 0.85], 2), ([0.7, 0.8], 1.5), ([0.61, 0.64, 0.62, 0.70, 0.66], 3)]
    return check(mine, right, cases, "mean(values) ± k · std(values) with ddof=1", mistakes)
