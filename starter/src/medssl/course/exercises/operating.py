"""Week 7: from scores to decisions: a threshold, what it does, and what it costs. Called positive: p >= threshold."""

from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check

Y = np.array([0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1])
P = np.array([0.1, 0.3, 0.2, 0.6, 0.45, 0.6, 0.05, 0.7, 0.9, 0.8, 0.5, 0.3])


def threshold_for_tpr(mine: Callable) -> Callable:
    """Week 7: threshold_for_tpr(y, p, target): the highest score t that finds the share `target` of the positives.

    TPR(t) = share of the positives (y = 1) with p >= t; it must be at least the target. The package's own lies midway
    between this score and the next lower one, which makes the same decisions: that is right, too.
    """
    from medssl.evaluate.thresholds import choose_threshold

    def packages_own(y, p, target):
        return choose_threshold(y, p, "tpr", target)

    def passing(y, p, target, found=np.greater_equal, positive=1):
        return [t for t in np.unique(p) if found(p[y == positive], t).mean() >= target]

    def right(y, p, target):
        return float(max(passing(np.asarray(y), np.asarray(p, np.float64), target)))

    mistakes = {
        "the lowest threshold finds everyone, and calls everyone positive: the highest that reaches the target":
            lambda y, p, target: min(passing(y, p, target)),
        "> leaves out the image at the threshold itself: p >= t is positive":
            lambda y, p, target: max(passing(y, p, target, found=np.greater), default=np.nan),
        "a quantile of all scores: only the positives count for the TPR":
            lambda y, p, target: np.quantile(p, 1 - target),
        "a quantile of all scores (and of the wrong end): only the positives count, 1 - target lie below":
            lambda y, p, target: np.quantile(p, target),
        "np.quantile lies between two scores: sort the positives' own, and take one of them":
            lambda y, p, target: np.quantile(p[y == 1], 1 - target),
        "method='higher' may go one score too high, where fewer than target · n are found: count them from the top":
            lambda y, p, target: np.quantile(p[y == 1], 1 - target, method="higher"),
        "method='lower' may stop one score too low: a higher one finds target · n, too; count them from the top":
            lambda y, p, target: np.quantile(p[y == 1], 1 - target, method="lower"),
        "one score too low for 10 positives: (1 - 0.9) · 10 is 0.99…, cut off to 0; round target · n up instead":
            lambda y, p, target: np.sort(p[y == 1])[int((1 - target) * (y == 1).sum())],
        "the quantile of the wrong end: `target` of the positives must lie above, 1 - target below":
            lambda y, p, target: np.quantile(p[y == 1], target),
        "these are the negatives, y == 0: the TPR is about y == 1":
            lambda y, p, target: max(passing(y, p, target, positive=0)),
    }
    tied = np.array([1, 0, 1, 1]), np.array([0.2, 0.9, 0.4, 0.4])
    twenty = np.repeat([1, 0], [20, 5]), np.r_[np.arange(1, 21) / 25, np.arange(5) / 5]
    ten = [part[::2] for part in twenty]  # positives; 9 of them are 90 %: nothing is left to round
    cases = [(Y, P, 0.9), (Y, P, 0.7), (Y[::-1], P[::-1], 1.0), (*tied, 0.5), (*ten, 0.9), (*twenty, 0.9)]
    hint = "sort the scores of the n positives from the top and take the k-th, k = target · n rounded up"
    return check(mine, right, cases, hint, mistakes, also=packages_own, serves=packages_own)


def operating_point(mine: Callable) -> Callable:
    """Week 7: operating_point(y, p, t) -> (TPR, FPR): share of the ones, and share of the zeros, with p >= t."""

    def right(y, p, t):
        y, called = np.asarray(y), np.asarray(p, np.float64) >= t
        return called[y == 1].mean(), called[y == 0].mean()

    mistakes = {
        "that is the precision, found among the called; the TPR is the found among the ones":
            lambda y, p, t: (y[p >= t].mean(), right(y, p, t)[1]),
        "both are divided by all N: TPR by the ones, FPR by the zeros":
            lambda y, p, t: (((p >= t) & (y == 1)).mean(), ((p >= t) & (y == 0)).mean()),
        "both are divided by the number of called: TPR by the ones, FPR by the zeros":
            lambda y, p, t: (y[p >= t].mean(), 1 - y[p >= t].mean()),
        "the positive class is turned: class 1 is positive, called where p >= t":
            lambda y, p, t: tuple(1 - rate for rate in right(y, p, t)[::-1]),
        "the positive class is turned: class 1 is positive (p < t was called)":
            lambda y, p, t: tuple(1 - rate for rate in right(y, p, t)),
        "> leaves out the image at the threshold itself: p >= t is positive":
            lambda y, p, t: right(y, p, np.nextafter(t, 2)),
        "in the other order: (TPR, FPR)": lambda y, p, t: right(y, p, t)[::-1],
        "that is the specificity in second place: FPR = 1 - specificity":
            lambda y, p, t: (right(y, p, t)[0], 1 - right(y, p, t)[1]),
    }
    cases = [(Y, P, 0.6), (Y, P, 0.25), (np.array([1, 1, 0, 0, 0]), np.array([0.8, 0.4, 0.4, 0.9, 0.1]), 0.4)]
    return check(mine, right, cases, "called = p >= t; its mean over y == 1, and over y == 0", mistakes)


def expected_cost(mine: Callable) -> Callable:
    """Week 7: expected_cost(y, p, t, cost_fn, cost_fp): what an image costs on average, where a missed one (FN) costs
    cost_fn and a false alarm (FP) cost_fp:  (cost_fn · FN + cost_fp · FP) / N."""

    def right(y, p, t, cost_fn, cost_fp):
        y, called = np.asarray(y), np.asarray(p, np.float64) >= t
        return float((cost_fn * (~called & (y == 1)) + cost_fp * (called & (y == 0))).mean())

    mistakes = {
        "the costs are swapped: cost_fn for y = 1 below t, cost_fp for y = 0 above it":
            lambda y, p, t, fn, fp: right(y, p, t, fp, fn),
        "a sum, and not the mean over images": lambda y, p, t, fn, fp: len(y) * right(y, p, t, fn, fp),
        "rates forget how many of each class there are: counts, divided by N":
            lambda y, p, t, fn, fp: fn * (p < t)[y == 1].mean() + fp * (p >= t)[y == 0].mean(),
        "the right ones are paid for: FN is y = 1 with p < t, FP is y = 0 with p >= t":
            lambda y, p, t, fn, fp: (fn * ((p >= t) & (y == 1)) + fp * ((p < t) & (y == 0))).mean(),
        "> leaves out the image at the threshold itself: p >= t is positive":
            lambda y, p, t, fn, fp: right(y, p, np.nextafter(t, 2), fn, fp),
        "errors are counted, without their costs": lambda y, p, t, fn, fp: right(y, p, t, 1, 1),
    }
    cases = [(Y, P, 0.6, 1.0, 1.0), (Y, P, 0.3, 10.0, 1.0), (Y, P, 0.45, 1.0, 4.0)]
    return check(mine, right, cases, "count FN and FP at p >= t, weigh, divide by the number of images", mistakes)
