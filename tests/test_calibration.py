"""Calibration: two conventions, kept apart; bins without holes; noise measured. And the two ECE bugs of the past."""

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from medssl.errors import MedsslError
from medssl.evaluate import ece, ece_debiased, ece_if_calibrated, evaluate, reliability_table

KINDS, STRATEGIES = ("positive", "top_label"), ("width", "mass")


def calibrated(n: int, seed: int = 0, mean: float = 1.0, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(mean, spread, n)))
    return (rng.random(n) < p).astype(np.int64), p


# ---- the two bugs, fed the old way

def starter_ece(y: torch.Tensor, p: torch.Tensor, bins: int = 10) -> float:
    """The old computation, on purpose without a look at the shapes."""
    confidence, predicted = torch.maximum(p, 1 - p), (p >= 0.5).long()
    correct = (predicted == y).float()  # [N] against [N,1]: [N,N]
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            total += float(inside.float().mean() * (confidence[inside].mean() - correct[inside].mean()).abs())
    return total


def test_bug_1_a_column_of_labels():
    y, p = (torch.tensor(v) for v in calibrated(624, mean=1.5, spread=4))
    right = ece(y, p)
    assert starter_ece(y, p) == pytest.approx(right, abs=1e-6)  # with [N] the old code was right
    garbage = starter_ece(y[:, None], p)
    says_1, is_1 = (p >= 0.5).double().mean().item(), y.double().mean().item()
    confidence = torch.maximum(p, 1 - p).mean().item()
    assert garbage == pytest.approx(confidence - (is_1 * says_1 + (1 - is_1) * (1 - says_1)), abs=1e-3)
    assert garbage > 0.25 > 5 * right  # a calibrated model, displayed like the 0.257-0.406 of the old notebooks
    for function in (ece, ece_debiased, reliability_table, lambda y, p: evaluate(y, p, ("a", "b"))):
        with pytest.raises(MedsslError, match=r"labels\.squeeze\(1\)"):
            function(y[:, None], p)


def test_bug_2_mixed_conventions():
    """x = P(class 1), but y = accuracy of the predicted class: a sure and right class 0 counts as a gap of 0.96."""
    p = np.r_[np.full(300, 0.02), np.full(100, 0.7), np.full(224, 0.98)]
    y = np.r_[np.repeat([1, 0], [6, 294]), np.repeat([1, 0], [70, 30]), np.repeat([1, 0], [220, 4])]
    assert ece(y, p, kind="positive") < 0.01 and ece(y, p, kind="top_label") < 0.01
    correct = (p >= 0.5) == y
    index = np.digitize(p, np.arange(1, 10) / 10)
    mixed = sum(np.mean(index == b) * abs(correct[index == b].mean() - p[index == b].mean())
                for b in np.unique(index))
    assert mixed > 0.4


# ---- values

def test_hand_computed_in_both_conventions():
    y, p = [1, 0, 1, 0, 1], [0.95, 0.85, 0.65, 0.15, 0.35]
    assert ece(y, p, kind="positive") == pytest.approx((0.05 + 0.85 + 0.35 + 0.15 + 0.65) / 5)
    # top label: .95 right, .85 wrong and .85 (class 0) right share a bin, .65 right and .65 (class 0) wrong another
    assert ece(y, p, kind="top_label") == pytest.approx((1 * 0.05 + 2 * abs(0.5 - 0.85) + 2 * abs(0.5 - 0.65)) / 5)
    assert ece(y, p) == ece(y, p, kind="top_label")


def test_confidence_of_exactly_one_has_a_bin():
    assert ece([1, 0], [0.95, 1.0], kind="positive", bins=15) == pytest.approx(0.475)  # not .525: torchmetrics #3510
    table = reliability_table([0, 1, 1, 0], [0.0, 1.0, 0.5, 0.3], kind="positive")
    assert table["count"].tolist() == [1, 0, 1, 0, 1, 0, 0, 0, 0, 1]  # (lo, hi]: 0.3 and 0.5 lie in the lower bin
    assert len(table["edges"]) == 11 and np.isnan(table["frequency"][1])
    for k in range(1, 11):
        assert np.flatnonzero(reliability_table([1, 0], [k / 10, 0.05])["count"])[-1] == max(k - 1, 0)


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_equal_width_table_equals_sklearn(bins):
    y, p = calibrated(300)
    table = reliability_table(y, p, bins)
    full = table["count"] > 0
    frequency, confidence = calibration_curve(y, p, n_bins=bins)
    assert table["frequency"][full] == pytest.approx(frequency)
    assert table["confidence"][full] == pytest.approx(confidence)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", range(4))
def test_weighted_bars_give_back_accuracy_and_prevalence(strategy, seed):
    y, p = calibrated(157, seed)
    p = p.round(seed or 9)
    for kind, whole in (("top_label", np.mean((p >= 0.5) == y)), ("positive", y.mean())):
        table = reliability_table(y, p, 10, kind, strategy)
        assert table["count"].sum() == 157
        assert np.nansum(table["count"] * table["frequency"]) / 157 == pytest.approx(whole)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_over_confidence_is_bounded_by_the_error_rate(strategy):
    tried = 0
    for seed in range(20):
        y, p = calibrated(156, seed)
        p = 1 / (1 + ((1 - p) / p) ** 4)  # sharpened four times
        table = reliability_table(y, p, 5, "top_label", strategy)
        if np.nanmin(table["confidence"] - table["frequency"]) >= 0:
            tried += 1
            assert ece(y, p, 5, "top_label", strategy) <= 1 - np.mean((p >= 0.5) == y) + 1e-12
    assert tried > 3


def test_equal_mass_bins_are_equally_full_and_keep_ties_together():
    y, p = calibrated(156)
    assert set(reliability_table(y, p, 10, strategy="mass")["count"].tolist()) == {15, 16}
    assert (reliability_table(y[:150], p[:150], 10, strategy="mass")["count"] == 15).all()
    tied = np.r_[np.full(100, 0.9), np.linspace(0.1, 0.8, 56)]
    table = reliability_table(y, tied, 10, strategy="mass")
    assert (table["count"] > 0).all() and len(table["count"]) < 10 and table["count"].max() >= 100
    shuffled = np.random.default_rng(0).permutation(156)
    assert ece(y, tied, strategy="mass") == pytest.approx(ece(y[shuffled], tied[shuffled], strategy="mass"))
    constant = reliability_table(y, np.full(156, 0.7), 10, strategy="mass")
    assert constant["count"].tolist() == [156]
    assert reliability_table([0, 1, 1], [0.2, 0.6, 0.9], 10, strategy="mass")["count"].tolist() == [1, 1, 1]


def test_a_constant_prevalence_predictor_has_no_ece():
    """Why ECE is never read alone: this model knows nothing."""
    y = np.repeat([0, 1], [42, 114])
    assert ece(y, np.full(156, y.mean()), kind="positive") == pytest.approx(0, abs=1e-12)


# ---- noise

def test_debiased_is_smaller_and_nearer_to_the_truth():
    for kind in KINDS:
        plain, debiased = (np.mean([f(*calibrated(156, s), kind=kind) for s in range(60)]) for f in (ece, ece_debiased))
        assert 0 < debiased < 0.7 * plain  # truth: 0
    for seed in range(20):
        y, p = calibrated(156, seed)
        for strategy in STRATEGIES:
            assert 0 <= ece_debiased(y, p, strategy=strategy) <= ece(y, p, strategy=strategy)
    sharpened = [(y, 1 / (1 + ((1 - p) / p) ** 2)) for y, p in (calibrated(156, s, 0.5, 1.0) for s in range(100))]
    truth = ece(*[np.concatenate(v) for v in zip(*sharpened, strict=True)], kind="positive")
    off = [np.mean([f(y, p, kind="positive") for y, p in sharpened]) - truth for f in (ece, ece_debiased)]
    assert abs(off[1]) < 0.5 * abs(off[0])


def test_debiased_formula_by_simulation():
    """2 |gap| - E|X|, X ~ N(gap, f (1 - f) / n), in two bins: 20 images of 0.65, 30 of 0.95."""
    p, y = np.repeat([0.65, 0.95], [20, 30]), np.r_[np.repeat([1, 0], [12, 8]), np.repeat([1, 0], [27, 3])]
    rng, expected = np.random.default_rng(0), 0.0
    for n, f, c in ((20, 0.6, 0.65), (30, 0.9, 0.95)):
        moved = np.abs(rng.normal(f - c, np.sqrt(f * (1 - f) / n), 400_000)).mean()
        expected += n / 50 * (2 * abs(f - c) - moved)
    assert ece_debiased(y, p, kind="positive") == pytest.approx(max(0, expected), abs=1e-3)


def test_noise_floor_agrees_with_published_measurements():
    """METHODS 3.6, [mean, p95] of a perfect model; confidences like those of a trained network: logit ~ N(2, 4)."""
    for n, bins, kind, strategy, mean, p95 in ((156, 15, "positive", "width", 0.070, 0.095),
                                               (156, 10, "positive", "width", 0.058, None),
                                               (156, 15, "top_label", "width", 0.052, None),
                                               (156, 15, "positive", "mass", 0.060, None),
                                               (624, 15, "positive", "width", 0.034, 0.049),
                                               (624, 15, "top_label", "width", 0.024, None)):
        runs = [ece_if_calibrated(calibrated(n, s, 2, 4)[1], bins, kind, strategy, 100, seed=s) for s in range(10)]
        assert np.mean([run["mean"] for run in runs]) == pytest.approx(mean, abs=0.005)
        if p95:
            assert np.mean([run["p95"] for run in runs]) == pytest.approx(p95, abs=0.007)


def test_noise_floor_is_what_a_perfect_model_really_shows():
    p = calibrated(156)[1]
    rng = np.random.default_rng(5)
    real = [ece((rng.random(156) < p).astype(int), p, kind="positive") for _ in range(400)]
    floor = ece_if_calibrated(p, kind="positive")
    assert floor["mean"] == pytest.approx(np.mean(real), rel=0.05)
    assert np.mean(np.array(real) > floor["p95"]) == pytest.approx(0.05, abs=0.04)
    assert floor == ece_if_calibrated(p, kind="positive") != ece_if_calibrated(p, kind="positive", seed=1)


@pytest.mark.parametrize("wrong", [{"kind": "top"}, {"strategy": "quantile"}, {"bins": 0}, {"bins": 10.0},
                                   {"bins": "10"}, {"bins": None}])
def test_unknown_conventions_are_refused(wrong):
    with pytest.raises(MedsslError):
        ece([0, 1], [0.2, 0.7], **wrong)


@pytest.mark.parametrize(("p", "wrong"), [(None, {}), (0.3, {}), ([0.2, 0.7], {"seed": -1}),
                                          ([0.2, 0.7], {"draws": 0}), ([0.2, 0.7], {"draws": 1.5})])
def test_a_noise_floor_of_nothing_is_refused(p, wrong):
    with pytest.raises(MedsslError):
        ece_if_calibrated(p, **wrong)


def test_real_breast_labels_and_a_bug_of_the_past(real_data_root):
    """Labels as the file holds them, [156, 1]: refused; squeezed: the right class counts."""
    labels = np.load(real_data_root / "breastmnist.npz")["test_labels"]
    p = np.random.default_rng(0).random(156)
    with pytest.raises(MedsslError, match="MedMNIST"):
        evaluate(labels, p, ("malignant", "normal, benign"))
    m = evaluate(labels.squeeze(1), p, ("malignant", "normal, benign"), n_boot=10)
    assert m["per_class"]["malignant"]["n"] == 42 and m["per_class"]["normal, benign"]["n"] == 114
