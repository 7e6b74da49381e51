"""Weeks 2 and 6: the calibration error, a proper score, and temperature scaling by hand."""

from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check

Y, P = np.array([1, 0, 1, 1, 0, 0]), np.array([0.9, 0.2, 0.55, 0.3, 0.7, 0.04])


def ece(mine: Callable) -> Callable:
    """Week 2: expected calibration error of P(class 1) in ten bins of equal width.

        sum over bins b of  n_b / N · | share of ones in b - mean p in b |
    """

    def binned(y, p, confidence=None, hit=None, bins=10, weigh=np.mean, holds_one=True):
        confidence, hit = p if confidence is None else confidence, y if hit is None else hit
        place, total = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1), 0.0
        for b in range(bins):
            inside = (place == b) & (holds_one | (confidence < 1))
            if inside.any():
                total += weigh(inside) * abs(hit[inside].mean() - confidence[inside].mean())
        return float(total)

    def right(y, p, bins=10):
        return binned(np.asarray(y), np.asarray(p, np.float64), bins=bins)

    def sure(p):
        return np.maximum(p, 1 - p)

    mistakes = {
        "mixed axes, P(class 1) against accuracy: a sure and right class 0 would be a gap; take the share of ones":
            lambda y, p: binned(y, p, hit=(p >= 0.5) == y),
        "labels [N,1] beside predictions [N] make a table [N,N]: keep y flat":
            lambda y, p: binned(y, p, hit=(p >= 0.5) == y[:, None]),
        "labels [N,1] beside predictions [N] make a table [N,N]: keep y flat, and compare p with the share of ones":
            lambda y, p: binned(y, p, sure(p), (p >= 0.5) == y[:, None]),
        "the bins are not weighted: n_b / N, not the same for every bin in use":
            lambda y, p: binned(y, p, weigh=np.any) / len(np.unique(np.clip(np.ceil(p * 10), 1, 10))),
        "the bins are not weighted: n_b / N, not one tenth each": lambda y, p: binned(y, p, weigh=np.any) / 10,
        "the gaps are summed without weights: n_b / N": lambda y, p: binned(y, p, weigh=np.any),
        "that is the top-label ECE, max(p, 1 - p) against accuracy; asked for is P(class 1) against the share of ones":
            lambda y, p: binned(y, p, sure(p), (p >= 0.5) == y),
        "p = 1.0 has no bin: it belongs to the last one": lambda y, p: binned(y, p, holds_one=False),
        "over- and underestimates cancel: take |gap| in every bin": lambda y, p: abs(np.mean(y) - np.mean(p)),
    }
    rng = np.random.default_rng(0)
    p = rng.random(200)
    cases = [(np.array([1, 0]), np.array([0.95, 1.0])), ((rng.random(200) < p).astype(int), p),
             (np.array([0, 1, 1, 0]), np.array([0.0, 1.0, 0.35, 0.31]))]
    hint = "weigh each bin's |share of ones - mean p| by its share of the images; p = 1.0 belongs to the last bin"
    return check(mine, right, cases, hint, mistakes)


def brier(mine: Callable) -> Callable:
    """Week 6: the Brier score, mean (p - y)^2: one number that punishes both wrong order and wrong confidence."""

    def right(y, p):
        return float(np.mean((np.asarray(p, np.float64) - np.asarray(y)) ** 2))

    mistakes = {
        "twice the score: the squares of both classes are added, as some papers do; one is enough":
            lambda y, p: 2 * right(y, p),
        "a root is taken: the Brier score is the mean square itself": lambda y, p: np.sqrt(right(y, p)),
        "the absolute gap is not proper, a bold p would pay: square it": lambda y, p: np.abs(p - y).mean(),
        "p is rounded to a class first: the probabilities are scored": lambda y, p: ((p >= 0.5) != y).mean(),
        "a sum, and not the mean over images": lambda y, p: len(y) * right(y, p),
        "p of the wrong class: p is P(class 1)": lambda y, p: right(1 - y, p),
    }
    cases = [(Y, P), (np.array([0, 1, 1]), np.array([0.5, 0.5, 1.0]))]
    return check(mine, right, cases, "square p - y for each image, then the mean", mistakes)


def apply_temperature(mine: Callable) -> Callable:
    """Week 6: apply_temperature(p, T) -> p [N]: sigmoid(logit(p) / T), logit(p) = ln(p / (1 - p)). T > 1 is humbler."""

    def right(p, t):
        return _sigmoid(_logit(p) / t)

    mistakes = {
        "multiplied by T: divide the logit, so that T > 1 draws p towards 0.5": lambda p, t: _sigmoid(_logit(p) * t),
        "p itself is divided by T: go through the logit": lambda p, t: np.asarray(p) / t,
        "p^(1/T) alone is humble about one class only: divide by p^(1/T) + (1 - p)^(1/T), or go through the logit":
            lambda p, t: np.asarray(p) ** (1 / t),
        "p^T: the root, 1/T, of both p and 1 - p, divided by their sum; or go through the logit":
            lambda p, t: np.asarray(p) ** t,
        "the logit is forgotten: sigmoid(p / T) is never below 0.5": lambda p, t: _sigmoid(np.asarray(p) / t),
        "the sigmoid is forgotten: that is a logit, not a probability": lambda p, t: _logit(p) / t,
        "T is added, not divided by": lambda p, t: _sigmoid(_logit(p) - t),
        "log(p) is not the logit: ln(p / (1 - p))": lambda p, t: _sigmoid(np.log(p) / t),
    }
    cases = [(P, 1.0), (P, 2.0), (P[:3], 0.5)]
    return check(mine, right, cases, "ln(p / (1 - p)), divided by T, and back by 1 / (1 + e^-x)", mistakes)


def temperature_nll(mine: Callable) -> Callable:
    """Week 6: temperature_nll(y, p, T): the mean of -ln(probability of the label), by which T is chosen on val.

        - mean( y ln q + (1 - y) ln(1 - q) ),   q = sigmoid(logit(p) / T)
    """

    def right(y, p, t, mean=np.mean):
        q = _sigmoid(_logit(p) / t)
        return -float(mean(np.where(np.asarray(y) == 1, np.log(q), np.log(1 - q))))

    mistakes = {
        "the minus sign is missing: small must mean good": lambda y, p, t: -right(y, p, t),
        "a sum, and not the mean over images": lambda y, p, t: right(y, p, t, mean=np.sum),
        "multiplied by T: divide the logit": lambda y, p, t: right(y, p, 1 / t),
        "T is not used: q = sigmoid(logit(p) / T)": lambda y, p, t: right(y, p, 1.0),
        "only the ones are scored: (1 - y) ln(1 - q) is missing":
            lambda y, p, t: -(y * np.log(_sigmoid(_logit(p) / t))).mean(),
        "the labels are turned: p is P(class 1)": lambda y, p, t: right(1 - y, p, t),
        "the loss itself is divided by T: the logit is": lambda y, p, t: right(y, p, 1.0) / t,
    }
    cases = [(Y, P, 1.0), (Y, P, 2.5), (Y[:4], P[:4], 0.5)]
    return check(mine, right, cases, "q by temperature; -ln q for a one, -ln(1 - q) for a zero; the mean", mistakes)


def _logit(p):
    p = np.asarray(p, np.float64)
    return np.log(p) - np.log1p(-p)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))
