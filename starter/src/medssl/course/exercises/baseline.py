"""Weeks 1 and 3: counting steps, the majority baseline, the comparison of paired runs."""

import math
from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check


def optimiser_steps(mine: Callable) -> Callable:
    """Week 1: how many updates do `epochs` passes over `n_images` in batches of `batch_size` make?"""

    def right(n_images, batch_size, epochs):
        return epochs * math.ceil(n_images / batch_size)

    mistakes = {
        "the last batch of an epoch is smaller, but it is a step all the same: round up":
            lambda n, batch, epochs: epochs * (n // batch),
        "that is one batch too many where batches come out even: round up, do not add 1":
            lambda n, batch, epochs: epochs * (n // batch + 1),
        "a batch never spans two epochs: round up within one epoch, then multiply":
            lambda n, batch, epochs: math.ceil(n * epochs / batch),
        "a fraction of a step does not exist: round up": lambda n, batch, epochs: epochs * n / batch,
        "these are the steps of one epoch": lambda n, batch, epochs: math.ceil(n / batch),
    }
    cases = [(546, 128, 5), (4708, 128, 5), (128, 128, 3), (129, 128, 1), (10, 64, 2)]
    return check(mine, right, cases, "batches in one epoch, the smaller last one among them, times epochs", mistakes)


def majority_accuracy(mine: Callable) -> Callable:
    """Week 1: the accuracy of always answering with the most frequent class; labels [N] of 0 and 1."""
    import torch

    def right(labels):
        return float(np.bincount(np.asarray(labels)).max() / len(labels))

    mistakes = {
        "that is the share of class 1; the majority may be class 0": lambda labels: np.asarray(labels).mean(),
        "that is the share of class 0; the majority may be class 1": lambda labels: 1 - np.asarray(labels).mean(),
        "that is the minority": lambda labels: np.bincount(labels).min() / len(labels),
        "that is a count: divide it by the number of images": lambda labels: np.bincount(labels).max(),
        "that is the majority class itself, not how often it is right": lambda labels: np.bincount(labels).argmax(),
    }
    cases = [(torch.tensor([0] * zeros + [1] * ones),) for zeros, ones in ((1, 3), (42, 114), (390, 234))]
    return check(mine, right, cases, "count each class; the larger count over all of them", mistakes)


def paired_gap(mine: Callable) -> Callable:
    """Week 3: by how many standard errors do paired results differ? mean(b - a) / (std(b - a) / sqrt(n))."""

    def right(a, b):
        d = np.asarray(b, float) - np.asarray(a, float)
        return float(d.mean() / (d.std(ddof=1) / math.sqrt(len(d))))

    def both(a, b):
        return np.asarray(a, float), np.asarray(b, float)

    def unpaired(a, b):
        a, b = both(a, b)
        return (b.mean() - a.mean()) / math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))

    mistakes = {
        "these spreads are not paired: take b - a seed by seed first, then its std": unpaired,
        "that is b - a in standard deviations; the standard error is std / sqrt(n)":
            lambda a, b: right(a, b) / math.sqrt(len(a)),
        "np.std divides by n: use ddof=1, n - 1 in the denominator":
            lambda a, b: right(a, b) * math.sqrt(len(a) / (len(a) - 1)),
        "the sign is turned: b - a, so that above 0 means b is better": lambda a, b: -right(a, b),
        "that is the mean difference alone: divide it by its standard error": lambda a, b: np.mean(b) - np.mean(a),
        "a difference of either sign counts: no abs()": lambda a, b: abs(right(a, b)),
    }
    cases = [([0.80, 0.82, 0.81], [0.84, 0.85, 0.86]), ([0.9, 0.7, 0.8, 0.85], [0.85, 0.72, 0.77, 0.85])]
    hint = "first the differences seed by seed; their std with n - 1 in the denominator"
    return check(mine, right, cases, hint, mistakes)
