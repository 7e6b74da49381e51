"""A share of the labels: rounded by the largest remainder, stratified, nested, the same for the same seed."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from medssl.data import label_subset
from medssl.errors import MedsslError

BREAST = torch.tensor([0] * 147 + [1] * 399)[torch.randperm(546, generator=torch.Generator().manual_seed(5))]


@pytest.mark.parametrize(("fraction", "total", "malignant"), [(0.05, 27, 7), (0.1, 55, 15), (0.2, 109, 29),
                                                              (0.01, 5, 1), (1.0, 546, 147), (1e-9, 2, 1)])
def test_rounding_on_breastmnist(fraction, total, malignant):
    chosen = label_subset(BREAST, fraction)
    assert chosen.dtype == torch.int64 and torch.equal(chosen, chosen.unique())  # sorted and distinct
    assert (len(chosen), int((BREAST[chosen] == 0).sum())) == (total, malignant)


def largest_remainder(labels, fraction):
    """The rule written the long way, in exact fractions, for two classes; None where the remainders tie."""
    n = np.bincount(labels)
    total = max(len(n), math.floor(fraction * len(labels) + 0.5))
    quota = [Fraction(total * int(k), len(labels)) for k in n]
    share = [math.floor(q) for q in quota]
    rest = [q - s for q, s in zip(quota, share, strict=True)]
    if sum(share) < total:
        if rest[0] == rest[1]:
            return None
        share[int(rest[1] > rest[0])] += 1
    for c in (0, 1):  # at least one of each
        if share[c] == 0:
            share[c], share[1 - c] = 1, share[1 - c] - 1
    return share


def test_two_classes_are_rounded_by_the_largest_remainder():
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(400):
        labels = rng.permutation(np.repeat([0, 1], rng.integers(1, 80, 2)))
        fraction = float(rng.uniform(0.001, 1))
        expected = largest_remainder(labels, fraction)
        if expected is not None:
            assert np.bincount(labels[label_subset(labels, fraction)]).tolist() == expected
            checked += 1
    assert checked > 300


@pytest.mark.parametrize("counts", [(147, 399), (1, 60), (30, 31, 500), (7, 7, 6, 2)])
def test_shares_are_nested_and_hold_every_class_at_every_size(counts):
    labels = torch.from_numpy(np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts)))
    before = set()
    for step in range(1, 201):
        chosen = label_subset(labels, step / 200, seed=3)
        assert before <= set(chosen.tolist()) and set(labels[chosen].tolist()) == set(range(len(counts)))
        for c, n in enumerate(counts):  # stratified: never more than one image from the exact share, but for the first
            exact = len(chosen) * n / len(labels)
            assert abs(int((labels[chosen] == c).sum()) - exact) <= (1 if len(chosen) > 20 else 2)
        before = set(chosen.tolist())
    assert before == set(range(len(labels)))


def test_shares_depend_on_the_seed_and_on_it_alone():
    assert torch.equal(label_subset(BREAST, 0.1, seed=4), label_subset(BREAST.numpy(), 0.1, seed=4))
    assert not torch.equal(label_subset(BREAST, 0.1, seed=4), label_subset(BREAST, 0.1, seed=5))


def test_shares_refuse_what_cannot_be_meant():
    with pytest.raises(MedsslError, match="squeeze"):
        label_subset(BREAST[:, None], 0.1)
    for fraction in (0, 10, -0.1, float("nan")):
        with pytest.raises(MedsslError, match="0.10"):
            label_subset(BREAST, fraction)
    for seed in (None, 0.5, -1):  # None would draw another share every time
        with pytest.raises(MedsslError, match="again"):
            label_subset(BREAST, 0.1, seed=seed)
