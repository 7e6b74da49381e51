"""Operating points recomputed from the scores: tables and JSON in several forms, honest ones without a finding."""

import json

import numpy as np
import pytest
from hand_ins import scores

from medssl.course import Submission
from medssl.course.checker.grade import grade
from medssl.course.checker.numbers.operating import _misses
from medssl.course.checker.numbers.operating_rows import _of_cells
from medssl.evaluate import operating_points
from medssl.evaluate.thresholds import operating_point_table

CODES = {"seeds-mismatch", "operating-point-mismatch", "threshold-not-from-val", "checker-error"}


def hand_in(root, *, table=None, point=None, with_scores=True, lower=0.0):
    work, data = Submission(7, "breastmnist", "ada", root), {}
    for split, seed in (("val", 5), ("test", 6)):
        index, y, p = scores(seed, split)
        p = np.clip(p - lower * (split == "val"), 0.001, 1)
        data[split] = y, p
        if with_scores:
            work.predictions(f"predictions_{split}.csv", seed=3, index=index, y=y, p=p)
    rows = operating_points(*data["val"], *data["test"])
    work.table("operating_point_table.md", table or operating_point_table(rows, "normal, benign"))
    work.config("operating_point.json", {**rows[1], **(point or {})})
    return work, data, rows


def found(root) -> list[tuple[str, str]]:
    return [(f["code"], f["where"].rpartition("/")[2]) for s in grade(root).submissions for f in s["findings"]
            if f["code"] in CODES]


def line(y, p, t, form="{:.3f}") -> list[str]:
    says = p >= t
    tp, fp = (says & (y == 1)).sum(), (says & (y == 0)).sum()
    return [form.format(x) for x in ((says == y).mean(), tp / y.sum(), fp / (1 - y).sum(), tp / max(tp + fp, 1))]


def test_our_own_table_and_json_have_no_finding(tmp_path):
    hand_in(tmp_path)
    assert found(tmp_path) == []


@pytest.mark.parametrize("form", ["{:.2f}", "{:.4f}", "{:.1%}"])
@pytest.mark.parametrize("layout", ["rows", "columns", "csv"])
def test_honest_tables_of_other_forms_have_no_finding_and_wrong_ones_have(tmp_path, form, layout):
    _, data, rows = hand_in(tmp_path)
    t = rows[1]["threshold"]
    for wrong in (0.0, 0.15):
        val, test = line(*data["val"], t, form), line(*data["test"], t + wrong, form)
        if layout == "columns":
            text = ("| threshold | val acc | val TPR | test acc | test TPR | test FPR |\n|---|---|---|---|---|---|\n"
                    f"| {t:.3f} | {val[0]} | {val[1]} | {test[0]} | {test[1]} | {test[2]} |\n")
        else:
            lines = [f"| {side} | {t:.3f} | {' | '.join(row)} |" for side, row in (("Validation", val), ("Test", test))]
            text = "\n".join(["| Split | Threshold | Accuracy | Sensitivity | FPR | PPV |", "|---|---|---|---|---|---|",
                              *lines])
        file = tmp_path / "results/week7/breastmnist/ada/operating_point_table.md"
        if layout == "csv":
            file.unlink(missing_ok=True)
            file = file.with_name("operating_points_table.csv")
            text = "\n".join(one.strip("| ").replace(" | ", ",") for one in text.splitlines() if "---" not in one)
        file.write_text(text)
        assert found(tmp_path) == ([("operating-point-mismatch", file.name)] if wrong else [])


def test_one_rate_of_the_json_that_does_not_follow(tmp_path):
    work, _, rows = hand_in(tmp_path)
    path = work.path("operating_point.json")
    block = json.loads(path.read_text())
    block["test"]["tpr"] = block["test"]["recall"] = 0.5
    path.write_text(json.dumps(block))
    assert found(tmp_path) == [("operating-point-mismatch", "operating_point.json")]


def test_a_threshold_that_only_test_could_have_chosen(tmp_path):
    _, data, _ = hand_in(tmp_path, lower=0.1)
    y, p = data["test"]
    t = float(np.sort(p[y == 1])[int(0.1 * y.sum())])  # TPR 0.9 on test
    val = line(*data["val"], t)
    assert float(val[1]) < 0.87  # or this tests nothing
    folder = tmp_path / "results/week7/breastmnist/ada"
    (folder / "operating_point.json").unlink()
    lines = [f"| TPR >= 0.9 | {t:.6f} | {side} | {' | '.join(line(*data[side], t))} |" for side in ("val", "test")]
    (folder / "operating_point_table.md").write_text("\n".join(
        ["| rule | threshold | split | accuracy | TPR | FPR | precision |", "|---|---|---|---|---|---|---|", *lines]))
    assert found(tmp_path) == [("threshold-not-from-val", "operating_point_table.md")]


@pytest.mark.parametrize(("row", "possible"), [
    ("| test | 0.894 | 0.8397 | 0.8421 | 0.1667 |", True), ("| test | 0.894 | 0.8413 | 0.90 | 0.162 |", False),
    ("| 0.5 | 0.5 | 0.83 | 0.84 | 0.17 |", True), ("| test | 0.5 | 0.99 | 0.50 | 0.50 |", False)])
def test_without_scores_the_rates_must_be_possible_together(tmp_path, row, possible):
    work, _, _ = hand_in(tmp_path, with_scores=False,
                         table=f"| split | threshold | Acc | TPR | FPR |\n|---|---|---|---|---|\n{row}\n")
    assert found(tmp_path) == ([] if possible else [("operating-point-mismatch", "operating_point_table.md")])


def test_cells_that_are_no_numbers_do_no_harm():
    header = ["Threshold", "Accuracy", "TPR", "ROC-AUC", "Balanced accuracy", "Note"]
    assert list(_of_cells(header, ["n/a", "TO DO", "", "0.9", "0.8", "x"], "f")) == []
    (row,) = _of_cells(header, ["0,5", "86.5 %", ".93 [0.9, 0.95]", "0.9", "0.8", "TPR >= 0.9"], "f")
    assert {k: v.value for k, v in row.rates.items()} == {"accuracy": pytest.approx(0.865), "tpr": 0.93}
    assert row.threshold.value == 0.5 and row.rule == "TPR >= 0.9"


def test_val_and_test_are_of_the_same_trainings(tmp_path):
    work, _, _ = hand_in(tmp_path)
    path = work.path("predictions_test.csv")
    path.write_text(path.read_text().replace("\n3,", "\n9,"))
    assert found(tmp_path) == [("seeds-mismatch", "predictions_test.csv")]


def test_a_threshold_of_one_digit_stands_for_all_that_are_written_so():
    _, y, p = scores(6)
    for t in (0.76, 0.79, 0.83, 0.84):
        header = ["threshold", "split", "acc", "TPR", "FPR", "precision"]
        cells = ["0.8", "test", *line(y, p, t, "{:.6f}")]
        (row,) = _of_cells(header, cells, "f")
        assert _misses(row, y, p) == {}, t
    (row,) = _of_cells(header, ["0.8", "test", *line(y, p, 0.6, "{:.6f}")], "f")
    assert _misses(row, y, p)
