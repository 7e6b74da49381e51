"""Is A better than B, or was it the test set, the label draw, the luck of one pretraining? A two-way bootstrap."""

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.bootstrap import resample_weights
from medssl.evaluate.checks import as_vector, check_number

PER_IMAGE = {  # metrics that are a mean over images: the value of each image, y [N], p [M,N] -> [M,N]
    "accuracy": lambda y, p: (p >= 0.5) == y,
    "balanced_accuracy": lambda y, p: ((p >= 0.5) == y) * len(y) / 2 / np.where(y == 1, y.sum(), (1 - y).sum()),
    "nll": lambda y, p: -np.log(np.maximum(np.where(y == 1, p, 1 - p), np.finfo(float).eps)),
    "brier": lambda y, p: (p - y) ** 2,
}


def difference(y, p_a, p_b=None, *, metric: str = "auroc", paired: bool = True, n_boot: int = 2000,
               seed: int = 0) -> dict[str, float]:
    """{"mean", "lo", "hi"}: metric of A less that of B, mean over runs, with a 95 % interval (p_b=None: of A alone).

    y [N]; p_a, p_b: P(class 1) as [runs, N], or [encoders, draws, N] where encoders (pretraining seeds) are crossed
    with label draws: three encoders of ten draws each are not thirty independent runs, and given as thirty they make
    the interval far too narrow. Each resample draws test images within class (the same for A and B), label draws, and
    encoders anew (see resample_shares). paired: draw r of A and of B are the same labels, so they are drawn together;
    an axis on which A and B differ in length is drawn for each alone. Of a single run nothing is known about the next.

    In simulations of equal models (90 images, 10 draws; luck of an encoder 0, 0.2, 0.4 in the logit) the interval left
    out the truth in 0, 9, 14 of 100 with 3 encoders (a false lead: 0, 5, 7) and in 0, 4, 8 with 6 (0, 2, 4). It is too
    sure where few encoders' luck is the largest noise, too careful where that is small: noise that images, draws and
    encoders share is counted more than once.
    """
    terms = [(sign, p, 0 if paired else k) for k, (sign, p) in enumerate(((1, p_a), (-1, p_b))) if p is not None]
    return contrast(y, terms, metric=metric, n_boot=n_boot, seed=seed)


def contrast(y, terms: list[tuple], *, metric: str = "auroc", n_boot: int = 2000, seed: int = 0) -> dict[str, float]:
    """{"mean", "lo", "hi"} of a sum of metrics, as difference() does it: terms = [(weight, p, group), ...].

    All terms see the same images in each resample; those of one group also the same runs. "Does a lose less than b
    under a shift?" is [(1, a_shifted, "a"), (-1, a, "a"), (-1, b_shifted, "b"), (1, b, "b")].
    """
    y = as_vector(y, "y").astype(np.int64)
    sides = [(weight, as_runs(p, y), group) for weight, p, group in terms]
    if metric != "auroc" and metric not in PER_IMAGE:
        raise MedsslError(f"metric={metric!r}.", f"auroc, {', '.join(PER_IMAGE)}", "ECE counts noise as error: use nll")
    check_number("n_boot", n_boot, 1)
    rng = np.random.default_rng(seed)
    weights = np.concatenate([np.ones((1, len(y))), resample_weights(y, rng, n_boot)])  # the first: as measured
    total, shares = 0.0, {}
    for sign, p, group in sides:
        values = metric_rows(y, p.reshape(-1, len(y)), weights, metric).reshape(len(weights), *p.shape[:2])
        for axis in (0, 1):
            if (group, axis) not in shares or shares[group, axis].shape[1] != p.shape[axis]:
                shares[group, axis] = resample_shares(p.shape[axis], rng, n_boot)
        total += sign * np.einsum("bkr,bk,br->b", values, shares[group, 0], shares[group, 1])
    low, high = np.quantile(total[1:], (0.025, 0.975))
    if len(sides) == 1:  # a metric stays in its range, a difference may be anything
        low, high = max(low, 0), high if metric == "nll" else min(high, 1)
    return {"mean": float(total[0]), "lo": float(low), "hi": float(high)}


def resample_shares(size: int, rng: np.random.Generator, n_boot: int) -> np.ndarray:
    """[1 + n_boot, size]: the share of each run in the mean, equal in the first row.

    Drawing 3 runs from 3 with replacement gives a mean two thirds of its variance, and few different values. Instead,

        share_k = 1/n + (g_k - mean g) / sqrt(n (n - 1)),   g ~ N(0, 1)

    so that the mean of values v_k moves by s / sqrt(n), the standard error, with n - 1 in the variance s^2. (Student's
    t instead of the normal leaves the truth out more seldom, but makes the intervals of three encoders twice as wide,
    up to five times where their luck is small: then no lead can be shown.)
    """
    equal = np.full((1, size), 1 / size)
    g = rng.standard_normal((n_boot, size))
    moved = (g - g.mean(1, keepdims=True)) / np.sqrt(size * max(1, size - 1))  # of a single run nothing is known: 0
    return np.concatenate([equal, equal + moved])


def metric_rows(y: np.ndarray, p: np.ndarray, weights: np.ndarray, metric: str) -> np.ndarray:
    """[B, M]: the metric of each p [M,N] under each weights [B,N] (resampled within class: class counts stay)."""
    if metric != "auroc":
        return weights @ PER_IMAGE[metric](y, p).T / len(y)
    ones, zeros = weights[:, y == 1], weights[:, y == 0]
    out = []
    for row in p:  # AUROC: of all pairs (one image of each class), the share in the right order; a tie counts one half
        won = np.sign(row[y == 1][:, None] - row[y == 0]) / 2 + 0.5
        out.append(((ones @ won) * zeros).sum(1) / won.size)
    return np.stack(out, 1)


def as_runs(p, y: np.ndarray) -> np.ndarray:
    """p as float64 [encoders, draws, N]; [N] is one run, [runs, N] the draws of one encoder."""
    p = np.asarray(p.detach().cpu() if hasattr(p, "detach") else p, dtype=np.float64)
    p = p.reshape((1,) * (3 - p.ndim) + p.shape)
    if p.ndim != 3 or 0 in p.shape or p.shape[2] != len(y):
        raise MedsslError(f"p has shape {list(p.shape)}, y {len(y)} labels.", "[runs, N] or [encoders, draws, N]")
    if not (np.isfinite(p).all() and 0 <= p.min() <= p.max() <= 1):
        raise MedsslError("p is not all in [0, 1].", "probabilities of class 1", "Probes.predict_proba gives them")
    if not np.array_equal(np.unique(y), (0, 1)):
        raise MedsslError(f"y holds {np.unique(y)[:5].tolist()}.", "labels 0 and 1, both present")
    return p
