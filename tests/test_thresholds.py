"""Thresholds by brute force over every cut, ties included; Wilson and Newcombe from other sources; val to test."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, confusion_matrix_at_thresholds, roc_curve

from medssl.errors import MedsslError
from medssl.evaluate import (
    at_threshold,
    choose_threshold,
    evaluate,
    operating_point_table,
    operating_points,
    rule_name,
    wilson,
)
from medssl.evaluate.thresholds import RULES, all_cuts


def scores(seed: int, digits: int = 9, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """One digit gives many ties, and scores of exactly 0 and 1."""
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.random(n - 2) < 0.7].astype(np.int64)
    return y, (1 / (1 + np.exp(-rng.normal(2 * y - 0.5, 1.5)))).round(digits)


def every_decision(y, p):
    """All (says_1, tpr, fpr, fn, fp) that some threshold allows, from strict to lax, each by counting one by one."""
    out = []
    for t in [np.inf, *sorted(set(p.tolist()), reverse=True)]:
        says_1 = [score >= t for score in p.tolist()]
        fn = sum(1 for s, label in zip(says_1, y, strict=True) if label == 1 and not s)
        fp = sum(1 for s, label in zip(says_1, y, strict=True) if label == 0 and s)
        n1, n0 = int((y == 1).sum()), int((y == 0).sum())
        out.append((says_1, (n1 - fn) / n1, fp / n0, fn, fp))
    return out


HOSTILE = [scores(seed, digits) for seed in range(6) for digits in (1, 2, 9)] + [
    (np.array([0, 1]), np.array([0.3, 0.3 + 5e-17 * 2])),  # next-door floats: nothing lies between them
    (np.array([1, 0, 1]), np.array([0.0, 1.0, 0.5])), (np.array([0, 1, 1, 0]), np.array([1.0, 1.0, 0.0, 0.5])),
    (np.array([0, 1, 0, 1]), np.full(4, 0.4)), (np.array([1, 0]), np.array([5e-324, 0.5])),
    (np.array([0, 1]), np.array([np.nextafter(1, 0), 1.0])), (np.repeat([0, 1], 25), np.linspace(0.05, 0.95, 50))]


@pytest.mark.parametrize(("y", "p"), HOSTILE)
def test_every_rule_by_brute_force(y, p):
    cuts = every_decision(y, p)
    for target in (0, 0.1, 0.28, 0.35, 0.7, 0.9, 1):  # 0.28 * 25 is more than 7
        strictest = next(cut for cut in cuts if cut[1] >= target)
        assert (p >= choose_threshold(y, p, "tpr", target)).tolist() == strictest[0]
        laxest = [cut for cut in cuts if cut[2] <= target][-1]
        assert (p >= choose_threshold(y, p, "fpr", target)).tolist() == laxest[0]
    n1, n0 = (y == 1).sum(), (y == 0).sum()
    best = min(cuts, key=lambda cut: cut[3] * n0 + cut[4] * n1)  # min takes the first: the strictest of equals
    assert (p >= choose_threshold(y, p, "youden")).tolist() == best[0]
    for cost_fn, cost_fp in ((1, 1), (1, 5), (10, 1), (0.3, 0.1), (0, 1), (1, 0)):
        best = min(cuts, key=lambda cut: round(cost_fn * cut[3] + cost_fp * cut[4], 9))
        assert (p >= choose_threshold(y, p, "cost", cost_fn=cost_fn, cost_fp=cost_fp)).tolist() == best[0]


@pytest.mark.parametrize(("y", "p"), HOSTILE)
def test_all_cuts_equal_sklearn(y, p):
    thresholds, tp, fp = all_cuts(y, p)
    assert (np.diff(thresholds) > 0).all() and np.isfinite(thresholds).all()
    _, fps, _, tps, at = confusion_matrix_at_thresholds(y, p)
    assert tp[:-1][::-1].tolist() == tps.tolist() and fp[:-1][::-1].tolist() == fps.tolist()
    assert ((p >= thresholds[:-1][::-1][:, None]) == (p >= at[:, None])).all()
    fpr, tpr, _ = roc_curve(y, p, drop_intermediate=False)
    assert fp[::-1] / (y == 0).sum() == pytest.approx(fpr) and tp[::-1] / (y == 1).sum() == pytest.approx(tpr)


def test_thresholds_lie_midway_and_survive_rounding():
    y, p = np.array([0, 0, 1, 1]), np.array([0.2, 0.4, 0.7, 0.9])
    assert choose_threshold(y, p, "youden") == pytest.approx(0.55)
    assert choose_threshold(y, p, "tpr", 0) == pytest.approx(0.95) and choose_threshold(y, p, "fpr", 1) == 0.1
    for seed in range(5):
        y, p = scores(seed, 2)
        p = p + 3e-5  # unrounded scores; a CSV with four digits moves each, none across a threshold
        for rule in RULES[1:]:
            t = choose_threshold(y, p, **rule)
            assert not np.isin(t, p) and ((p >= t) == (p.round(4) >= t)).all()


def test_targets_that_only_the_ends_can_meet():
    y, p = np.array([1, 0, 1]), np.array([0.0, 1.0, 0.5])  # the surest alarm is false
    nothing = choose_threshold(y, p, "fpr", 0)
    assert nothing > 1 and at_threshold(y, p, nothing)["fpr"] == 0 == at_threshold(y, p, nothing)["tp"]
    assert at_threshold(y, p, nothing)["precision"] == 0 and at_threshold(y, p, nothing)["ci95"]["precision"] == [0, 1]
    everything = choose_threshold(y, p, "tpr", 1)
    assert everything == 0 and at_threshold(y, p, everything)["fn"] == 0


def test_counts_and_rates_are_those_of_sklearn_and_of_evaluate():
    y, p = scores(3, 1, 60)
    for t in (0, 0.3, 0.5, 0.9, 1):  # on the scores themselves: p >= t
        point, whole = at_threshold(y, p, t), evaluate(y, p, ("a", "b"), threshold=t, n_boot=0)
        assert [[point["tn"], point["fp"]], [point["fn"], point["tp"]]] == confusion_matrix(y, p >= t).tolist()
        assert [[point["tn"], point["fp"]], [point["fn"], point["tp"]]] == whole["confusion"]
        assert point["accuracy"] == whole["accuracy"] and point["precision"] == whole["per_class"]["b"]["precision"]
        assert point["recall"] == point["tpr"] == whole["per_class"]["b"]["recall"]
        assert point["specificity"] == pytest.approx(1 - point["fpr"]) == whole["per_class"]["a"]["recall"]
        json.dumps(point)


@pytest.mark.parametrize(("k", "n"), [(0, 21), (21, 21), (2, 21), (52, 57), (1, 1), (390, 624)])
def test_wilson_as_scipy_has_it_and_by_its_definition(k, n):
    low, high = wilson(k, n)
    reference = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    for q in (low, high):
        assert q in (0, 1) or abs(k / n - q) == pytest.approx(1.959964 * np.sqrt(q * (1 - q) / n), abs=1e-6)


def test_drift_interval_is_newcombes_worked_example():
    """Statistics in Medicine 17, 873 (1998): 56/70 - 48/80 = 0.2, method 10 gives 0.0524 to 0.3339."""
    y_val, p_val = np.repeat([1, 1, 0, 0], [48, 32, 5, 5]), np.repeat([0.9, 0.1, 0.8, 0.2], [48, 32, 5, 5])
    y_test, p_test = np.repeat([1, 1, 0, 0], [56, 14, 5, 5]), np.repeat([0.9, 0.1, 0.8, 0.2], [56, 14, 5, 5])
    row, = operating_points(y_val, p_val, y_test, p_test, [{"rule": "fixed", "target": 0.5}])
    assert row["drift"]["tpr"] == pytest.approx(0.2)
    assert row["drift"]["ci95"]["tpr"] == pytest.approx([0.0524, 0.3339], abs=5e-5)
    assert row["drift"]["fpr"] == 0 and row["drift"]["ci95"]["fpr"][0] < 0 < row["drift"]["ci95"]["fpr"][1]


def test_points_are_chosen_on_val_alone_and_carried_as_they_are():
    y_val, p_val = scores(0, n=78)
    y_test, p_test = scores(1, n=156)
    rows = operating_points(y_val, p_val, y_test, p_test)
    worse = operating_points(y_val, p_val, 1 - y_test, p_test**2)
    for row, other, rule in zip(rows, worse, RULES, strict=True):
        assert row["threshold"] == other["threshold"] == choose_threshold(y_val, p_val, **rule)
        assert row["selected_on"] == "val" and row["val"]["n"] == 78 and row["test"]["n"] == 156
        assert row["test"] == at_threshold(y_test, p_test, row["threshold"])
        for name in ("tpr", "fpr"):
            assert row["drift"][name] == row["test"][name] - row["val"][name]
    assert rows[1]["val"]["tpr"] >= 0.9 and rows[2]["val"]["fpr"] <= 0.1
    json.dumps(rows)
    text = operating_point_table(rows, "normal, benign")
    lines = text.splitlines()
    assert lines[0] == "| rule | threshold | split | accuracy | TPR | FPR | precision | recall |"
    assert len([line for line in lines if line.startswith("|")]) == 2 + 2 * len(RULES)
    assert all(line.count("|") == 9 for line in lines if line.startswith("|"))
    assert "AUROC belongs to the model" in text and "normal, benign (class 1)" in text
    assert [rule_name(row) for row in rows] == ["fixed 0.5", "TPR >= 0.9", "FPR <= 0.1", "Youden", "cost FN 1 : FP 5"]
    assert f"| TPR >= 0.9 | {rows[1]['threshold']:.4f} | test | {rows[1]['test']['accuracy']:.3f} [" in text


def test_errors_say_what_to_do():
    y, p = scores(0)
    for bad, match in [(("f1",), "youden"), (("tpr",), "target"), (("youden", 0.9), "target"), (("tpr", 90), "0 to 1"),
                       (("fpr", float("nan")), "0 to 1")]:
        with pytest.raises(MedsslError, match=match):
            choose_threshold(y, p, *bad)
    with pytest.raises(MedsslError, match="cost_fp"):
        choose_threshold(y, p, "cost", cost_fp=-1)
    with pytest.raises(MedsslError, match=r"squeeze\(1\)"):
        choose_threshold(y[:, None], p, "youden")
    with pytest.raises(MedsslError, match="argmax"):
        at_threshold(y, (p > 0.5).astype(float), 0.5)
    with pytest.raises(MedsslError, match="threshold=nan"):
        at_threshold(y, p, float("nan"))
    with pytest.raises(MedsslError, match="both classes"):
        at_threshold(np.ones(40), p, 0.5)
