"""The mean of many runs on one test set, with an interval that knows that they share it.

A hundred episodes scored on the same 156 images are not a hundred experiments: their standard deviation / sqrt(100)
says nothing about other images. Each resample here draws test images (within their class) and runs, both anew.
"""

import numpy as np
from scipy.stats import rankdata

from medssl.evaluate.bootstrap import resample_weights
from medssl.evaluate.compare import resample_shares


def over_runs(values: np.ndarray, strata: np.ndarray, n_boot: int = 2000, seed: int = 0,
              least: float = 0) -> dict[str, float]:
    """{"mean", "lo", "hi"}: mean of values [R,N] (run r's metric is the mean of row r), 95 % interval within
    [least, 1]. Values of A less those of B, of the same runs and images, give that of a paired lead: least=-1."""
    rng, n = np.random.default_rng(seed), values.shape[1]
    shares = resample_shares(len(values), rng, n_boot)[1:] @ values  # [B,N]
    step = max(1, 2_000_000 // n)  # bounds the memory on large test sets
    means = [(shares[k:k + step] * resample_weights(strata, rng, len(shares[k:k + step]))).sum(1) / n
             for k in range(0, n_boot, step)]
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975)).clip(least, 1)
    return {"mean": float(values.mean()), "lo": float(low), "hi": float(high)}


def balanced_accuracy_values(y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """y [N], predicted [R,N] -> [R,N] whose row means are the mean recall over classes."""
    present, count = np.unique(y, return_counts=True)
    return (predicted == y) * (len(y) / len(present) / count[np.searchsorted(present, y)])


def auroc_values(y: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """truth(y) [N,K], scores [R,N,K] -> [R,N] whose row means are the AUROC, the mean over the K columns.

    With A the AUROC of a column and V_i the share of the other class that image i is on the right side of (half of
    a tie), image i counts A + (V_i - A) N / n_class(i). To first order that is how A moves with the images (DeLong
    1988).
    """
    y, n = truth(y), len(y)
    total = np.zeros(scores.shape[:2])
    for k in range(y.shape[1]):
        score, placed = scores[..., k], np.zeros(scores.shape[:2])
        ranks, members = rankdata(score, axis=1), [np.flatnonzero(y[:, k] == c) for c in (0, 1)]
        for mine, others in (members, members[::-1]):
            placed[:, mine] = (ranks[:, mine] - rankdata(score[:, mine], axis=1)) / len(others)  # share of others below
        placed[:, members[0]] = 1 - placed[:, members[0]]
        auroc = placed[:, members[1]].mean(1, keepdims=True)
        total += auroc + (placed - auroc) * n / np.where(y[:, k] == 1, len(members[1]), len(members[0]))
    return total / y.shape[1]


def truth(y: np.ndarray) -> np.ndarray:
    """0/1 columns [N,K]: K labels as they are, K > 2 classes one column each, two classes the one column of class 1."""
    return y if y.ndim == 2 else y[:, None] if y.max() < 2 else np.eye(y.max() + 1, dtype=np.int64)[y]


def strata(y: np.ndarray) -> np.ndarray:
    """The group [N] of each image for draws: its class; with K labels [N,K] the rarest that it has, or -1."""
    return y if y.ndim == 1 else np.where(y.any(1), np.where(y == 1, y.sum(0), len(y) + 1).argmin(1), -1)
