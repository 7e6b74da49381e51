"""How far would the numbers move with another test set of this size? Bootstrap intervals for all metrics at once."""

from collections.abc import Callable

import numpy as np

from medssl.evaluate.calibration import assign_bins, confidence_and_hit
from medssl.evaluate.checks import check_labels_and_probabilities


def bootstrap_intervals(y: np.ndarray, p: np.ndarray, *, threshold: float = 0.5, n_boot: int = 2000, seed: int = 0,
                        bins: int = 10) -> dict[str, list[float]]:
    """95 % intervals {metric: [lo, hi]} for y [N] in {0,1} (both classes present) and p [N].

    Images are drawn with replacement *within each class*: every resample keeps the class counts, so AUROC is always
    defined; the intervals say nothing about a hospital with another prevalence. They are percentile intervals, but for
    ECE: a resample has the sample's noise and its own, and ECE counts both as error, so its percentiles lie too high
    (for a calibrated model they nearly never hold the truth). There the reverse ("basic") interval is given,
    2 ECE - percentiles, cut at 0 and widened to hold the ECE itself.
    """
    order = np.argsort(p, kind="stable")
    y, p = y[order], p[order]
    return intervals_of(lambda weights: weighted_metrics(y, p, weights, threshold, bins), y, n_boot, seed)


def intervals_of(measure: Callable[[np.ndarray], dict], strata: np.ndarray, n_boot: int, seed: int) -> dict:
    """The same for any `measure` that takes weights [R,N] to {metric: [R]}; images are drawn within their stratum."""
    n, rng = len(strata), np.random.default_rng(seed)
    step = max(1, 2_000_000 // n)  # blocks bound the memory on large test sets
    blocks = [measure(resample_weights(strata, rng, min(step, n_boot - done))) for done in range(0, n_boot, step)]
    intervals = {}
    for name, (value,) in measure(np.ones((1, n))).items():
        low, high = np.nanquantile(np.concatenate([block[name] for block in blocks]), (0.025, 0.975))
        if name.startswith("ece"):
            low, high = max(0.0, min(value, 2 * value - high)), max(value, 2 * value - low)
        intervals[name] = [float(low), float(high)]
    return intervals


def paired_change(y, p_before, p_after, *, threshold: float = 0.5, n_boot: int = 2000, seed: int = 0,
                  bins: int = 10) -> dict[str, dict]:
    """{metric: {"change": after - before, "ci95": [lo, hi]}} for two predictions [N] of the same images.

    Every resample draws the same images for both, so what makes an image hard for both cancels. Intervals as above:
    percentiles, and the reverse ones for ECE, cut to hold the change itself.
    """
    pairs = [check_labels_and_probabilities(y, p) for p in (p_before, p_after)]
    y, rng, step = pairs[0][0], np.random.default_rng(seed), max(1, 2_000_000 // len(pairs[0][0]))
    orders = [np.argsort(p, kind="stable") for _, p in pairs]

    def changes(weights: np.ndarray) -> dict[str, np.ndarray]:
        before, after = (weighted_metrics(y[order], p[order], weights[:, order], threshold, bins)
                         for (_, p), order in zip(pairs, orders, strict=True))
        return {name: after[name] - before[name] for name in before}

    blocks = [changes(resample_weights(y, rng, min(step, n_boot - done))) for done in range(0, n_boot, step)]
    out = {}
    for name, (value,) in changes(np.ones((1, len(y)))).items():
        low, high = np.quantile(np.concatenate([block[name] for block in blocks]), (0.025, 0.975))
        if name.startswith("ece"):
            low, high = min(value, 2 * value - high), max(value, 2 * value - low)
        out[name] = {"change": float(value), "ci95": [float(low), float(high)]}
    return out


def resample_weights(y: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """[size, N]: how often each image is in each resample; the count of every value of y stays."""
    weights = np.zeros((size, len(y)))
    for members in (np.flatnonzero(y == value) for value in np.unique(y)):
        draw = rng.integers(len(members), size=(size, len(members))) + len(members) * np.arange(size)[:, None]
        weights[:, members] = np.bincount(draw.ravel(), minlength=draw.size).reshape(draw.shape)
    return weights


def weighted_metrics(y: np.ndarray, p: np.ndarray, weights: np.ndarray, threshold: float, bins: int) -> dict:
    """Every metric of every resample, each [R]; y and p sorted by p, weights [R, N] whose rows add up to N."""
    n, n1 = len(y), weights @ y
    says_1 = p >= threshold
    likelihood = np.maximum(np.where(y == 1, p, 1 - p), np.finfo(float).eps)  # as sklearn's log_loss does
    columns = [says_1 == y, says_1 & (y == 1), says_1 & (y == 0), -np.log(likelihood), (p - y) ** 2]
    right, tp, fp, nll, brier = (weights @ np.stack(columns, 1).astype(float)).T
    out = {"accuracy": right / n, "balanced_accuracy": (tp / n1 + 1 - fp / (n - n1)) / 2, "f1": 2 * tp / (tp + fp + n1),
           "nll": nll / n, "brier": brier / n}
    out["auroc"], out["auprc"] = weighted_ranking(y, p, weights)

    for kind in ("top_label", "positive"):
        confidence, hit = confidence_and_hit(y, p, kind)
        member = np.eye(bins)[assign_bins(confidence, bins, "width")[1]]  # [N, B]
        out[f"ece_{kind}"] = np.abs(weights @ (member * (hit - confidence)[:, None])).sum(1) / n
    return out | {"ece": out["ece_top_label"]}


def weighted_ranking(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and AUPRC [R] of every resample; y and p sorted by p."""
    start = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])  # images of equal p are one step of the curves
    ones = np.add.reduceat(weights * y, start, axis=1)  # [R, G], G distinct values of p from low to high
    zeros = np.add.reduceat(weights * (1 - y), start, axis=1)
    n1, n0 = ones.sum(1), zeros.sum(1)
    auroc = (ones * (np.cumsum(zeros, 1) - zeros / 2)).sum(1) / (n1 * n0)  # a tied pair counts one half
    found = np.cumsum(ones[:, ::-1], 1)  # true alarms while the threshold falls
    alarms = found + np.cumsum(zeros[:, ::-1], 1)
    return auroc, (ones[:, ::-1] * found / np.maximum(alarms, 1)).sum(1) / n1
