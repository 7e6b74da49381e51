"""More than two classes: every number against scikit-learn or a calculation by hand, and every wrong input refused."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from medssl.course.predictions import format_classes, parse_predictions, read_classes
from medssl.errors import MedsslError
from medssl.evaluate import evaluate, evaluate_multiclass, evaluate_multilabel
from medssl.evaluate.bootstrap import resample_weights

NAMES = ("none", "mild", "moderate", "severe")


def graded(n=300, k=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(k), rng.choice(k, n - k, p=np.arange(k, 0, -1) / np.arange(k, 0, -1).sum())]
    z = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[y]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    p = p.round(3)  # ties
    p[:, 0] = 1 - p[:, 1:].sum(1)
    return y, p.clip(0)


def test_one_of_k_against_sklearn_and_by_hand():
    y, p = graded()
    out, says = evaluate_multiclass(y, p, NAMES, n_boot=0, ordered=True), p.argmax(1)
    one = np.eye(4)[y]
    expected = {
        "accuracy": sk.accuracy_score(y, says), "balanced_accuracy": sk.balanced_accuracy_score(y, says),
        "macro_auroc": np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in range(4)]),
        "macro_auprc": np.mean([sk.average_precision_score(y == c, p[:, c]) for c in range(4)]),
        "nll": -np.mean(np.log(p[np.arange(len(y)), y])), "brier": np.mean(((p - one) ** 2).sum(1)),
        "quadratic_kappa": sk.cohen_kappa_score(y, says, weights="quadratic"),
        "majority_accuracy": np.bincount(y).max() / len(y)}
    gap, confidence = 0.0, p.max(1)
    for low in np.arange(10) / 10:  # bins (lo, hi]
        inside = (confidence > low) & (confidence <= low + 0.1 + 1e-12)
        gap += abs(((says == y) * 1.0 - confidence)[inside].sum()) / len(y)
    assert out["ece"] == pytest.approx(gap, abs=1e-12)
    assert {name: out[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert out["confusion"] == sk.confusion_matrix(y, says).tolist() and out["n"] == 300 and out["ci95"] == {}
    precision, recall, _, n = sk.precision_recall_fscore_support(y, says)
    for c, name in enumerate(NAMES):
        mine = out["per_class"][name]
        assert (mine["precision"], mine["recall"], mine["n"]) == pytest.approx((precision[c], recall[c], n[c]))
        assert mine["auroc"] == pytest.approx(sk.roc_auc_score(y == c, p[:, c]))
        assert mine["auprc"] == pytest.approx(sk.average_precision_score(y == c, p[:, c]))


def test_two_classes_give_what_the_binary_evaluate_gives():
    y, p = graded(k=2)
    two, one = evaluate_multiclass(y, p, ("a", "b"), n_boot=200), evaluate(y, p[:, 1], ("a", "b"), n_boot=200)
    for name in ("accuracy", "balanced_accuracy", "nll", "ece"):
        assert two[name] == pytest.approx(one[name], abs=1e-9)
    assert two["per_class"]["b"]["auroc"] == pytest.approx(one["auroc"], abs=1e-12)
    assert two["per_class"]["b"]["auprc"] == pytest.approx(one["auprc"], abs=1e-12)
    assert two["brier"] == pytest.approx(2 * one["brier"], abs=1e-9)
    assert two["ci95"]["accuracy"] == pytest.approx(one["ci95"]["accuracy"], abs=0.02)  # other draws
    assert "quadratic_kappa" not in two


def test_intervals_are_those_of_a_bootstrap_within_classes():
    y, p = graded()
    out = evaluate_multiclass(torch.tensor(y), torch.tensor(p), NAMES, n_boot=600, seed=1, ordered=True)
    rng, draws = np.random.default_rng(9), []
    for _ in range(400):
        i = np.concatenate([rng.choice(np.flatnonzero(y == c), (y == c).sum()) for c in range(4)])
        draws.append((sk.roc_auc_score(y[i] == 3, p[i, 3]), sk.cohen_kappa_score(y[i], p[i].argmax(1),
                                                                                  weights="quadratic")))
    for k, span in enumerate((out["per_class"]["severe"]["ci95"]["auroc"], out["ci95"]["quadratic_kappa"])):
        assert span == pytest.approx(np.quantile([d[k] for d in draws], (0.025, 0.975)), abs=0.025)
    for name in ("accuracy", "macro_auroc", "nll", "ece"):
        low, high = out["ci95"][name]
        assert low <= out[name] <= high and low < high
    assert out == evaluate_multiclass(y, p, NAMES, n_boot=600, seed=1, ordered=True)


def test_one_resample_gives_the_numbers_of_the_images_drawn():
    y, p = graded()
    i = np.repeat(np.arange(300), resample_weights(y, np.random.default_rng(4), 1)[0].astype(int))
    one, drawn = (evaluate_multiclass(y, p, NAMES, n_boot=1, seed=4, ordered=True),
                  evaluate_multiclass(y[i], p[i], NAMES, n_boot=0, ordered=True))
    for name in ("accuracy", "balanced_accuracy", "macro_auroc", "macro_auprc", "nll", "brier", "quadratic_kappa"):
        assert one["ci95"][name] == pytest.approx([drawn[name]] * 2, abs=1e-12)
    several, q = np.eye(4, dtype=int)[y] | (np.arange(300)[:, None] % 7 == 0), p[:, ::-1]
    rarest = np.array([min(np.flatnonzero(row), key=lambda c: several[:, c].sum()) for row in several])
    i = np.repeat(np.arange(300), resample_weights(rarest, np.random.default_rng(4), 1)[0].astype(int))
    one, drawn = evaluate_multilabel(several, q, NAMES, 1, 4), evaluate_multilabel(several[i], q[i], NAMES, 0)
    for name in ("accuracy", "macro_auroc", "macro_auprc", "nll", "all_right", "f1"):
        assert one["ci95"][name] == pytest.approx([drawn[name]] * 2, abs=1e-12)
    for name in ("auroc", "recall", "precision", "brier"):
        value = drawn["per_class"]["mild"][name]
        assert one["per_class"]["mild"]["ci95"][name] == pytest.approx([value, value], abs=1e-12)


def test_several_labels_at_once():
    rng = np.random.default_rng(3)
    y = (rng.random((400, 3)) < (0.5, 0.1, 0.02)).astype(int)
    y[:2] = [[1, 1, 1], [0, 0, 0]]
    p = 1 / (1 + np.exp(-(rng.normal(size=y.shape) + 2 * y - 1)))
    out = evaluate_multilabel(torch.tensor(y), torch.tensor(p), ("A", "B", "C"), n_boot=300)
    each = [evaluate(y[:, c], p[:, c], ("no", "yes"), n_boot=0) for c in range(3)]
    for c, name in enumerate("ABC"):
        mine = out["per_class"][name]
        assert {key: mine[key] for key in ("auroc", "auprc", "nll", "brier", "f1", "accuracy")} == pytest.approx(
            {key: each[c][key] for key in ("auroc", "auprc", "nll", "brier", "f1", "accuracy")}, abs=1e-12)
        assert mine["ece"] == pytest.approx(each[c]["ece_positive"]) and mine["confusion"] == each[c]["confusion"]
        assert (mine["recall"], mine["precision"]) == (each[c]["per_class"]["yes"]["recall"],
                                                       each[c]["per_class"]["yes"]["precision"])
        assert mine["ci95"]["auroc"][0] <= mine["auroc"] <= mine["ci95"]["auroc"][1]
    assert out["macro_auroc"] == pytest.approx(np.mean([one["auroc"] for one in each]))
    assert out["all_right"] == pytest.approx(np.mean(((p >= 0.5) == y).all(1)))
    wide = out["per_class"]["C"]["ci95"]["recall"]  # 8 images or so: the interval must show it
    assert wide[1] - wide[0] > 0.2 and np.isfinite([*out["ci95"].values()]).all()


@pytest.mark.parametrize(("change", "said"), [
    (lambda y, p: (y, p * 2), "p runs from"),
    (lambda y, p: (y, p * 0.9), "do not add up to 1"),
    (lambda y, p: (y, np.where(np.arange(len(p))[:, None] == 5, np.nan, p)), "NaN or infinite, the first at row 5"),
    (lambda y, p: (np.where(y == 3, 2, y), p), "No image has the label “severe”"),
    (lambda y, p: (y, p[:, :1]), "1 columns, there are 4 classes"),
    (lambda y, p: (y, p[:, 0]), r"p has shape \[300\]"),
    (lambda y, p: (y[:-1], p), "299 labels"),
    (lambda y, p: (y + 1, p), r"\[1.0, 2.0, 3.0, 4.0\]"),
    (lambda y, p: (y + 0.5, p), "y_true has 300 labels"),
    (lambda y, p: (y[:, None], p), "a column"),
    (lambda y, p: (y, np.eye(4)[y]), "predicted classes, not probabilities"),
])
def test_wrong_input_of_one_of_k_is_refused_by_name(change, said):
    with pytest.raises(MedsslError, match=said):
        evaluate_multiclass(*change(*graded()), NAMES, n_boot=0)


def test_wrong_input_of_several_labels_is_refused_by_name():
    y, p = np.array([[1, 0], [0, 1], [0, 0]]), np.array([[0.9, 0.2], [0.2, 0.7], [0.4, 0.1]])
    for bad, said in (((y + 1, p), "values"), ((y[:, 0], p), "shape"), ((y * [1, 0], p), "No image has the label “B”"),
                      ((np.maximum(y, [0, 1]), p), "Every image has the label “B”"), ((y, -p), "p runs from")):
        with pytest.raises(MedsslError, match=said):
            evaluate_multilabel(*bad, ("A", "B"), n_boot=0)
    with pytest.raises(MedsslError, match="two or more different names"):
        evaluate_multilabel(y, p, ("A", "A"))


def test_k_columns_go_to_a_file_and_back_and_the_binary_file_stays_strict(tmp_path):
    y, p = graded(n=20)
    several = (np.random.default_rng(0).random((20, 4)) < 0.5).astype(int)
    for truth in (y, several):
        text = format_classes({0: (range(20), truth, p), 3: (range(20), truth, p[::-1] / 3)})
        (tmp_path / "p.csv").write_text(text)
        back = read_classes(tmp_path / "p.csv")
        assert list(back) == [0, 3] and np.array_equal(back[3][2], p[::-1] / 3) and back[0][0].tolist() == [*range(20)]
        assert np.array_equal(back[0][1], truth) and back[0][1].dtype == np.int64
        with pytest.raises(MedsslError, match="has no column"):
            parse_predictions(text)
    for broken, said in ((text.replace("p_1", "q_1"), "header"), (text + "0,0,1\n", "no table"), ("", "header"),
                         (text + text.splitlines()[1] + "\n", "an image twice"), (text.splitlines()[0], "no rows"),
                         (text + text.splitlines()[1].replace("0,", "0.5,", 1) + "\n", "whole number")):
        (tmp_path / "p.csv").write_text(broken)
        with pytest.raises(MedsslError, match=said):
            read_classes(tmp_path / "p.csv")
