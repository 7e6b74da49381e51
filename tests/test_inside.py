"""A metrics file against itself: intervals against scores, calibration bins against accuracy and ECE."""

import copy
import json

import numpy as np
import pytest
from hand_ins import CLASSES, scores

from medssl.course import Submission
from medssl.course.checker.grade import grade
from medssl.course.checker.numbers.inside import _normal, _wrong_bins, _wrong_interval
from medssl.evaluate import evaluate


@pytest.fixture(scope="module")
def result():
    _, y, p = scores(3)
    return {"seed": 0, **evaluate(y, p, CLASSES, n_boot=300)}, y, p


def test_honest_intervals_of_many_models_pass():
    """Sure, unsure and collapsed models; within the classes as ours, and images drawn from all."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1], [42, 114])
        z = (2 * y - 1) * rng.uniform(0, 2) + rng.normal(0, 1, 156) * rng.uniform(0.3, 2) + rng.uniform(-1, 3)
        p = 1 / (1 + np.exp(-z * rng.uniform(0.3, 6)))
        assert _wrong_interval(evaluate(y, p, CLASSES, n_boot=200), y, p) == ""
        k = rng.integers(0, 156, (400, 156))
        plain = np.quantile(((p >= 0.5) == y)[k].mean(1), [0.025, 0.975]).tolist()
        assert _wrong_interval({"ci95": {"accuracy": plain}}, y, p) == ""


@pytest.mark.parametrize("factor", [0.2, 3.0])
def test_an_interval_far_too_narrow_or_too_wide_is_found(result, factor):
    part, y, p = copy.deepcopy(result)
    for metric in ("accuracy", "auroc"):
        low, high = part["ci95"][metric]
        middle, half = (low + high) / 2, (high - low) / 2
        changed = {**part, "ci95": {metric: [middle - factor * half, middle + factor * half]}}
        assert metric in _wrong_interval(changed, y, p)


def test_the_auroc_interval_is_delongs(result):
    _, y, p = result
    value, half = _normal(y, p)["auroc"]
    low, high = evaluate(y, p, CLASSES, n_boot=2000)["ci95"]["auroc"]
    assert low < value < high and half == pytest.approx((high - low) / 2, rel=0.15)


def test_bins_agree_with_accuracy_n_and_ece_or_are_found(result):
    part, _, _ = result
    assert _wrong_bins(part) == ""

    def broken(change):
        other = copy.deepcopy(part)
        change(other)
        return _wrong_bins(other)

    def swap(m):  # what [N] == [N, 1] does: the bars become something else
        m["calibration"]["top_label"]["frequency"] = [f and 0.58 for f in m["calibration"]["top_label"]["frequency"]]

    assert "mean 0.58" in broken(swap)
    assert "images" in broken(lambda m: m["calibration"]["top_label"]["count"].__setitem__(9, 7))
    assert "ECE" in broken(lambda m: (m["calibration"].pop("top_label_mass"), m.update(ece_top_label=0.3, ece=0.3)))
    assert broken(lambda m: m["calibration"].update(top_label="none", positive={"count": [1]})) == ""


def test_both_reach_the_report_once_a_file(tmp_path, result):
    part, y, p = copy.deepcopy(result)
    work = Submission(1, "breastmnist", "ada", tmp_path)
    work.predictions("predictions_test.csv", seed=0, index=np.arange(156), y=y, p=p)
    work.metrics("test_metrics.json", [part], model="smallcnn")
    path = work.path("test_metrics.json")

    def codes():
        return {f["code"] for f in grade(tmp_path).submissions[0]["findings"]} & {
            "interval-implausible", "bins-contradict", "checker-error"}

    assert codes() == set()
    block = json.loads(path.read_text())
    block["per_seed"][0]["ci95"]["auroc"] = [0.1, 0.999]
    block["per_seed"][0]["calibration"]["positive"]["count"][0] += 5
    path.write_text(json.dumps(block))
    assert codes() == {"interval-implausible", "bins-contradict"}
