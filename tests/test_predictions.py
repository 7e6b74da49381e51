"""Predictions come back as they went; what cannot be right is not written: one look at test, the official split."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hand_ins import CLASSES, filled, scores

from medssl.course import Submission
from medssl.course.predictions import format_predictions, parse_predictions, read_predictions
from medssl.errors import MedsslError
from medssl.evaluate import evaluate
from medssl.files import write_atomic


def test_predictions_come_back_as_they_went(tmp_path):
    rows = {seed: scores(seed) for seed in (3, 1)}
    rows[1] = (rows[1][0], rows[1][1], rows[1][2].astype(np.float32).astype(np.float64))
    back = read_predictions(write_atomic(tmp_path / "p.csv", format_predictions(rows)))
    assert list(back) == [3, 1]
    for seed, columns in rows.items():
        assert [column.dtype for column in back[seed]] == [np.int64, np.int64, np.float64]
        assert all(np.array_equal(a, b) for a, b in zip(back[seed][:2], columns[:2], strict=True))
    assert np.array_equal(back[1][2], rows[1][2])  # every digit of the float64
    np.testing.assert_allclose(back[3][2], rows[3][2], rtol=1e-8)
    assert np.array_equal(parse_predictions("p,y_true, seed ,index\n0.25,1,0,7\n")[0][0], [7])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "seed,index,y_true\n1,2,0\n",
        "seed,index,y_true,p\n",
        "seed,index,y_true,p\n0,1,0\n",
        "seed,index,y_true,p\n0,1,0,high\n",
        "seed,index,y_true,p\n0,1.5,0,0.2\n",
        "seed,index,y_true,p\n0,1,0,0.2\n0,1,0,0.2\n",
        "seed,index,y_true,p\n0," + "9" * 30 + ",0,0.1\n",
        'seed,index,y_true,p\n0,1,0,"0.2\n',
        "\0",
    ],
)
def test_a_broken_predictions_file_is_an_error_in_words(text):
    with pytest.raises(MedsslError, match="predictions"):
        parse_predictions(text)


def test_the_test_split_is_touched_once_a_seed(tmp_path):
    work = Submission(3, "breastmnist", "ada", tmp_path)
    index, y, p = scores(0)
    work.predictions("predictions_reference_test.csv", seed=0, index=index, y=y, p=p)
    before = work.path("predictions_reference_test.csv").read_bytes()
    with pytest.raises(MedsslError, match="one look at the test split"):
        work.predictions("predictions_reference_test.csv", seed=0, index=index, y=y, p=p[::-1])
    assert work.path("predictions_reference_test.csv").read_bytes() == before
    for _ in range(2):  # val may be looked at as often as one likes
        val = dict(zip(("index", "y", "p"), scores(0, "val"), strict=True))
        work.predictions("predictions_reference_val.csv", seed=0, **val)
    work.predictions(
        "predictions_reference_test.csv",
        seed=1,
        index=torch.as_tensor(index),
        y=torch.as_tensor(y),
        p=torch.as_tensor(p),
    )
    assert list(read_predictions(work.path("predictions_reference_test.csv"))) == [0, 1]
    again = Submission(3, "breastmnist", "ada", tmp_path)  # the notebook is run anew: the file begins anew
    again.predictions("predictions_reference_test.csv", seed=5, index=index, y=y, p=p)
    assert list(read_predictions(again.path("predictions_reference_test.csv"))) == [5]


@pytest.mark.parametrize(
    "change",
    [
        {"y": "column"},
        {"p": "hard"},
        {"p": "short"},
        {"index": "twice"},
        {"index": "short"},
        {"index": "beyond"},
        {"index": "float"},
        {"y": "swapped"},
        {"seed": 1.7},
        {"seed": True},
        {"seed": "0"},
    ],
)
def test_predictions_that_cannot_be_right_are_not_written(tmp_path, change):
    index, y, p = scores(0)
    wrong = {"column": y[:, None], "hard": np.round(p), "short": p[:-1], "twice": np.zeros_like(index)}
    wrong |= {"beyond": index + 1, "float": index.astype(float), "swapped": 1 - y}
    given = {"seed": 0, "index": index, "y": y, "p": p} | {key: wrong.get(how, how) for key, how in change.items()}
    work = Submission(1, "breastmnist", "ada", tmp_path)
    with pytest.raises(MedsslError):
        work.predictions("predictions_test.csv", **given)
    assert not work.folder.exists()


@pytest.mark.parametrize("known", [True, False], ids=["data at hand", "only the contract"])
def test_scores_of_another_split_are_refused(tmp_path, known):
    """The mistake behind numbers that compare with nobody's: a split of one's own, or val under the name of test."""
    labels = {split: torch.as_tensor(scores(0, split)[1]) for split in ("val", "test")}
    splits = {split: SimpleNamespace(labels=y) for split, y in labels.items()}
    data = SimpleNamespace(key="breastmnist", license="", size=28, splits=splits, split_hash=lambda: "abc")
    work = Submission(3, "breastmnist", "ada", tmp_path, data=data if known else None)
    (index, y, p), val = scores(0), scores(0, "val")
    one_label_wrong = index, np.r_[1 - y[0], y[1:]], p
    for i, labels, q in [(index[:141], y[:141], p[:141]), val, one_label_wrong]:
        with pytest.raises(MedsslError, match="test split"):
            work.predictions("predictions_reference_test.csv", seed=0, index=i, y=labels, p=q)
    with pytest.raises(MedsslError, match="val split"):
        work.predictions("predictions_reference_val.csv", seed=0, index=index, y=y, p=p)
    assert not work.folder.exists()
    order = np.random.default_rng(0).permutation(156)  # any order will do, as long as label and index go together
    work.predictions("predictions_reference_test.csv", seed=0, index=order, y=y[order], p=p[order])
    work.predictions("predictions_reference_val.csv", seed=0, index=val[0], y=val[1], p=val[2])


def test_metrics_that_do_not_follow_from_the_predictions_are_not_written(tmp_path):
    work, results = Submission(1, "breastmnist", "ada", tmp_path), []
    for seed in (0, 1):
        index, y, p = scores(seed)
        work.predictions("predictions_test.csv", seed=seed, index=index, y=y, p=p)
        results.append({"seed": seed, **evaluate(y, p, CLASSES, n_boot=0)})
    first, second = results
    for per_seed, more, says in [
        ([first, second | {"auroc": 0.99}], {}, "auroc = 0.99"),
        ([first, second | {"seed": 7}], {}, r"seeds \[0, 7\]"),
        ([second, first], {}, r"seeds \[1, 0\]"),
        (results, {"split": "val"}, "of val"),
        (results, {"accuracy": 0.9}, "accuracy = 0.9"),
    ]:
        with pytest.raises(MedsslError, match=says):
            work.metrics("test_metrics.json", per_seed, model="smallcnn", **more)
    assert not work.path("test_metrics.json").exists()
    work.metrics("test_metrics.json", results, model="smallcnn")


def test_the_csv_is_plain(tmp_path):
    with open(filled(tmp_path).path("predictions_test.csv"), newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["seed", "index", "y_true", "p"] and len(rows) == 1 + 3 * 156
