"""Calibrators against a grid, scipy by hand and sklearn's own model; what each may and may not change; prior shift."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import log_loss, roc_auc_score

from medssl.errors import MedsslError
from medssl.evaluate import (
    Calibrator,
    adjust_prior,
    calibration_table,
    compare_calibrators,
    ece,
    estimate_prior,
    evaluate,
    fit_calibrator,
    paired_change,
)
from medssl.evaluate.bootstrap import resample_weights
from medssl.evaluate.calibrators import METHODS

CLASSES = ("malignant", "normal, benign")


def scores(n: int = 78, seed: int = 0, sharp: float = 1.0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from calibrated logits, and p of a model whose logits are `sharp` times as large, plus `offset`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(1, 2, n)
    return (rng.random(n) < 1 / (1 + np.exp(-x))).astype(np.int64), 1 / (1 + np.exp(-sharp * x - offset))


def nll(y, x) -> float:
    return float(np.mean(np.logaddexp(0, np.where(y == 1, -x, x))))


def x_of(p):
    return np.log(p) - np.log1p(-p)


# ---- each method against something that shares no code with it

@pytest.mark.parametrize(("seed", "sharp"), [(0, 1.0), (1, 3.0), (2, 0.4)])
def test_temperature_is_the_best_of_a_dense_grid(seed, sharp):
    y, p = scores(seed=seed, sharp=sharp)
    T = fit_calibrator(y, p, "temperature").parameters["T"]
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 20001))
    best = grid[np.argmin([nll(y, x_of(p) / t) for t in grid])]
    assert abs(T / best - 1) < 3e-4
    assert fit_calibrator(y, p, "temperature")(p) == pytest.approx(1 / (1 + np.exp(-x_of(p) / T)), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_platt_is_the_minimum_found_by_scipy_with_targets_of_the_paper(seed):
    y, p = scores(seed=seed, sharp=2, offset=-1)
    n1, n0 = y.sum(), (1 - y).sum()
    target = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    x = x_of(p)

    def loss(ab):
        z = ab[0] * x + ab[1]
        return np.sum(target * np.logaddexp(0, -z) + (1 - target) * np.logaddexp(0, z))

    a, b = minimize(loss, (0.3, 0.0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    fitted = fit_calibrator(y, p, "platt")
    assert fitted.parameters == pytest.approx({"a": a, "b": b}, abs=1e-4)
    assert fitted(p) == pytest.approx(1 / (1 + np.exp(-a * x - b)), abs=1e-4)


@pytest.mark.parametrize(("method", "theirs"), [("temperature", "temperature"), ("platt", "sigmoid")])
def test_the_same_as_sklearn_on_a_real_frozen_model(method, theirs):
    """A logistic regression trained on pixels; sklearn sees the model, we see only its p."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 20))
    y = (X[:, 0] + rng.normal(size=400) > -0.5).astype(int)
    model = LogisticRegression(C=10).fit(X[:60], y[:60])
    reference = CalibratedClassifierCV(FrozenEstimator(model), method=theirs).fit(X[60:200], y[60:200])
    ours = fit_calibrator(y[60:200], model.predict_proba(X[60:200])[:, 1], method)
    assert ours(model.predict_proba(X[200:])[:, 1]) == pytest.approx(reference.predict_proba(X[200:])[:, 1], abs=2e-4)


def test_isotonic_is_the_best_rising_map():
    """Pool adjacent violators, written out: blocks of falling means are joined until the means rise."""
    y, p = scores(60, 3)
    order = np.argsort(p)
    blocks = []
    for label in y[order]:
        blocks.append([label, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            top = blocks.pop()
            blocks[-1] = [blocks[-1][0] + top[0], blocks[-1][1] + top[1]]
    fitted = fit_calibrator(y, p, "isotonic")
    assert fitted(p[order]) == pytest.approx(np.repeat([s / n for s, n in blocks], [n for _, n in blocks]))
    assert fitted.parameters == {"steps": len(blocks)}
    assert (np.diff(fitted(np.linspace(0, 1, 500))) >= 0).all()


def test_none_changes_nothing():
    y, p = scores()
    assert np.array_equal(fit_calibrator(y, p, "none")(p), p)
    assert repr(fit_calibrator(y, p, "none")) == "none"


# ---- what a method may and may not do

def test_temperature_recovers_what_was_done_and_leaves_the_calibrated_alone():
    for sharp in (1.0, 2.5, 0.5):
        y, p = scores(20_000, sharp=sharp)
        assert fit_calibrator(y, p).parameters["T"] == pytest.approx(sharp, rel=0.04)
    spread = [fit_calibrator(*scores(78, seed)).parameters["T"] for seed in range(60)]
    assert np.mean(spread) == pytest.approx(1, abs=0.08)  # within noise: one val split of 78 gives 0.6 to 1.5
    y, p = scores(20_000, sharp=1.0, offset=1.5)  # an offset is no matter of temperature, but of Platt's b
    shifted = fit_calibrator(y, p, "platt").parameters
    assert shifted == pytest.approx({"a": 1, "b": -1.5}, abs=0.06)
    assert nll(y, x_of(fit_calibrator(y, p, "platt")(p))) < nll(y, x_of(fit_calibrator(y, p)(p))) - 0.02


@pytest.mark.parametrize("method", ["temperature", "platt", "prior_shift"])
@pytest.mark.parametrize("sharp", [0.3, 3.0])
def test_auroc_is_exactly_unchanged(method, sharp):
    y, p = scores(156, 1, sharp)
    y_val, p_val = scores(78, 2, sharp)
    after = fit_calibrator(y_val, p_val, method, p_new=p if method == "prior_shift" else None)(p)
    assert np.abs(after - p).max() > 0.02
    assert roc_auc_score(y, after) == roc_auc_score(y, p)
    assert np.array_equal(np.argsort(after, kind="stable"), np.argsort(p, kind="stable"))


@pytest.mark.parametrize("method", METHODS)
def test_scores_of_exactly_zero_and_one(method):
    y, p = scores(78, sharp=2)
    p[:4], y[:4] = (0, 1, 1, 0), (0, 1, 0, 1)  # two of them sure and wrong
    fitted = fit_calibrator(y, p, method, p_new=p if method == "prior_shift" else None)
    after = fitted(p)
    assert np.isfinite(after).all() and after.min() >= 0 and after.max() <= 1
    if method == "temperature":
        x = np.log(2.0**-52)  # p = 0 is read as 2.2e-16
        assert after[0] == pytest.approx(1 / (1 + np.exp(-x / fitted.parameters["T"])))
        assert fitted.parameters["T"] > 3  # two images sure of the wrong class: not sure any more


@pytest.mark.parametrize("method", METHODS)
def test_one_sure_image_and_nothing_but_sure_ones_are_scores_like_others(method):
    """A rule against hard labels belongs where metrics are made of them, not where a fitted map is applied."""
    y, p = scores()
    fitted = fit_calibrator(y, p, method, p_new=p if method == "prior_shift" else None)
    below, above = fitted([0.0, 1.0])
    assert [fitted([0.0]), fitted(np.array([1]))] == [below, above] and 0 <= below < above <= 1
    sure = fit_calibrator(np.repeat([0, 1], 20), np.linspace(0.05, 0.95, 40), "isotonic")(p[:5])
    assert set(sure) <= {0, 1} and np.isfinite(fitted(sure)).all()
    assert adjust_prior([1.0], 0.7, 0.5) == pytest.approx(1)
    assert estimate_prior([0.0], 0.7) == pytest.approx(0, abs=1e-3)
    for bad in ([0.0, np.nan], [np.inf], [-0.1], [[0.2], [0.4]], []):
        with pytest.raises(MedsslError):
            fitted(bad)


def test_isotonic_on_few_images_makes_the_log_loss_explode():
    y_val, p_val = scores(78, 4)
    y, p = scores(156, 5)
    rows = compare_calibrators([fit_calibrator(y_val, p_val, m) for m in ("none", "isotonic")], y, p, CLASSES, n_boot=0)
    after = fit_calibrator(y_val, p_val, "isotonic")(p)
    wrong_and_sure = np.sum((after == 0) & (y == 1)) + np.sum((after == 1) & (y == 0))
    assert wrong_and_sure > 0 and rows[1]["nll"] > 36 * wrong_and_sure / 156 > rows[0]["nll"] / 2
    assert rows[1]["nll"] > 2 * rows[0]["nll"]
    assert rows[1]["brier"] < rows[0]["brier"] + 0.03  # a squared error cannot explode


def test_a_perfect_val_split_and_a_class_of_two_images_do_not_stop_anybody():
    y, p = np.repeat([0, 1], 20), np.linspace(0.05, 0.95, 40)
    calibrators = [fit_calibrator(y, p, method, p_new=p if method == "prior_shift" else None) for method in METHODS]
    assert calibrators[1].parameters["T"] < 0.01  # "runs to its bound"
    rows = compare_calibrators(calibrators, y, p, CLASSES, n_boot=50)  # isotonic gives nothing but 0 and 1
    assert all(row["auroc"] == 1 for row in rows) and rows[3]["nll"] < 1e-9
    few = np.r_[0, 0, np.ones(30, int)]  # fewer than the five of cross-validation
    for method in METHODS[:4]:
        assert np.isfinite(fit_calibrator(few, np.r_[0.2, 0.7, np.linspace(0.3, 0.9, 30)], method)([0.1, 0.5])).all()


def test_errors_say_what_to_do():
    y, p = scores()
    for bad, match in [((y, p, "beta"), "temperature"), ((y, p, "prior_shift"), "p_new"),
                       ((y[:, None], p), r"squeeze\(1\)"), ((np.ones(78), p), "both classes"),
                       ((y, np.where(p > 0.9, np.nan, p)), "NaN"), ((y, x_of(p)), "sigmoid")]:
        with pytest.raises(MedsslError, match=match):
            fit_calibrator(*bad)
    with pytest.raises(MedsslError, match="p_new"):
        fit_calibrator(y, p, "platt", p_new=p)
    with pytest.raises(MedsslError, match="softmax"):
        fit_calibrator(y, p)([0.2, 1.5])  # logits
    with pytest.raises(MedsslError, match="prior_from"):
        adjust_prior(p, 1.3, 0.5)


# ---- another share of class 1

def two_gaussians(n, prior, seed):
    """x ~ N(+-0.8, 1) by class: the posterior at a prior of 0.74 is known in closed form."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < prior).astype(np.int64)
    x = rng.normal(1.6 * y - 0.8)
    return y, x, 1 / (1 + np.exp(-(1.6 * x + np.log(0.74 / 0.26))))


@pytest.mark.parametrize("prior", [0.1, 0.5, 0.74, 0.95])
def test_em_recovers_a_known_prior(prior):
    y, x, p = two_gaussians(30_000, prior, 1)
    assert estimate_prior(p, 0.74) == pytest.approx(y.mean(), abs=0.02)
    assert adjust_prior(p, 0.74, prior) == pytest.approx(1 / (1 + np.exp(-1.6 * x) * (1 - prior) / prior))  # Bayes
    assert adjust_prior(p, 0.74) == pytest.approx(adjust_prior(p, 0.74, estimate_prior(p, 0.74)))
    if prior != 0.74:  # the plain mean of p stops on the way
        assert min(0.74, prior) < p.mean() < max(0.74, prior) and abs(p.mean() - prior) > 0.05


def test_em_ends_where_the_likelihood_is_largest():
    _, _, p = two_gaussians(200, 0.3, 2)
    grid = np.linspace(0.001, 0.999, 9981)
    likelihood = np.log(grid[:, None] * p / 0.74 + (1 - grid[:, None]) * (1 - p) / 0.26).sum(1)
    assert estimate_prior(p, 0.74) == pytest.approx(grid[likelihood.argmax()], abs=2e-4)


def test_prior_shift_finds_no_shift_on_val_and_the_shift_on_test():
    y_val, _, p_val = two_gaussians(4000, 0.74, 3)
    y, _, p = two_gaussians(4000, 0.4, 4)
    p_val, p = (1 / (1 + np.exp(-2 * x_of(q) - 1)) for q in (p_val, p))  # an over-confident model with an offset
    at_home = fit_calibrator(y_val, p_val, "prior_shift", p_new=p_val).parameters
    assert at_home["prior_to"] == pytest.approx(at_home["prior_from"], abs=0.01)
    there = fit_calibrator(y_val, p_val, "prior_shift", p_new=p)
    assert there.parameters["prior_to"] == pytest.approx(0.4, abs=0.03)
    assert log_loss(y, there(p)) < log_loss(y, fit_calibrator(y_val, p_val, "platt")(p)) - 0.05


# ---- the table

def test_the_table_is_evaluate_row_by_row_and_ready_for_json():
    y_val, p_val = scores(78, 1, 2)
    y, p = scores(156, 2, 2)
    calibrators = [fit_calibrator(y_val, p_val, method) for method in METHODS[:4]]
    rows = json.loads(json.dumps(compare_calibrators(calibrators, y, p, CLASSES, n_boot=200)))
    for row, calibrator in zip(rows, calibrators, strict=True):
        assert row["method"] == calibrator.method and row["parameters"] == pytest.approx(calibrator.parameters)
        plain = evaluate(y, np.clip(calibrator(p), 1e-15, 1 - 1e-15), CLASSES, n_boot=200)
        for name in ("nll", "brier", "ece", "auroc", "accuracy"):
            assert row[name] == pytest.approx(plain[name], abs=1e-9 if row["method"] != "isotonic" else 0.2)
            assert row["change"][name]["change"] == pytest.approx(row[name] - rows[0][name], abs=1e-9)
    assert rows[1]["change"]["auroc"] == {"change": 0, "ci95": [0, 0]}
    text = calibration_table(rows).splitlines()
    heads = [cell.strip() for cell in text[0].split("|")[1:-1]]
    assert heads.index("NLL") < heads.index("Brier") < heads.index("ECE (top-label)") < heads.index("AUROC")
    assert heads[heads.index("ECE (top-label)") + 1].startswith("ECE if calibrated") and heads[-1] == "AUROC"
    assert len(text) == 6 and all(line.count("|") == len(heads) + 1 for line in text)
    assert f"T = {calibrators[1].parameters['T']:.4g}; from 78 val images" in text[3]
    bare = calibration_table(compare_calibrators(calibrators, y, p, CLASSES, n_boot=0))
    assert "[" not in bare


def test_a_calibrator_of_ones_own_takes_part():
    y, p = scores(100)
    mine = Calibrator("squared", {"power": 2.0}, 0, lambda p: p**2)
    row, = compare_calibrators([mine], y, p, CLASSES, n_boot=0)
    assert row["brier"] == pytest.approx(np.mean((p**2 - y) ** 2))


def test_paired_change_is_that_of_images_repeated_one_by_one():
    """The same draws, but each resample written out as a list of images, for sklearn and ece(); the ranking changes."""
    y, p = scores(90, 6, 1.5)
    other = np.random.default_rng(7).permutation(90)
    after = 0.6 * p + 0.4 * p[other]
    changes = paired_change(y, p, after, n_boot=60, seed=3)
    weights = resample_weights(y, np.random.default_rng(3), 60).astype(int)
    picks = [np.repeat(np.arange(90), row) for row in weights]
    for name, metric in (("auroc", roc_auc_score), ("nll", log_loss), ("ece", ece), ("accuracy", accuracy)):
        value = metric(y, after) - metric(y, p)
        low, high = np.quantile([metric(y[i], after[i]) - metric(y[i], p[i]) for i in picks], (0.025, 0.975))
        if name == "ece":
            low, high = min(value, 2 * value - high), max(value, 2 * value - low)
        assert changes[name]["change"] == pytest.approx(value)
        assert changes[name]["ci95"] == pytest.approx([low, high]), name


def accuracy(y, p) -> float:
    return np.mean((p >= 0.5) == y)


def test_paired_intervals_are_sharper_than_two_side_by_side():
    y, p = scores(120, 6, 1.5)
    changes = paired_change(y, p, fit_calibrator(y, p)(p), n_boot=500)
    alone = evaluate(y, p, CLASSES, n_boot=500)["ci95"]
    for name in ("nll", "brier"):
        assert np.ptp(changes[name]["ci95"]) < 0.5 * np.ptp(alone[name])
