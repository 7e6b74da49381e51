"""The numbers: equal to sklearn's and to hand calculation, with honest intervals, and impossible to feed wrongly."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import nn

from medssl.errors import MedsslError
from medssl.evaluate import encode, evaluate, predict_proba, summarise_seeds
from medssl.evaluate.bootstrap import bootstrap_intervals, resample_weights, weighted_metrics

CLASSES = ("malignant", "normal, benign")


def sample(n: int, seed: int = 0, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from p itself, so the model is calibrated; decimals makes ties."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(1, 2, n)))
    y = (rng.random(n) < p).astype(np.int64)
    return y, p if decimals is None else p.round(decimals)


def test_a_hand_computed_example():
    y, p = [0, 0, 0, 1, 1, 1, 1, 1], [0.1, 0.4, 0.7, 0.3, 0.6, 0.8, 0.9, 0.9]
    m = evaluate(y, p, CLASSES)
    assert m["n"] == 8 and m["positive"] == "normal, benign" and m["prevalence"] == 5 / 8 == m["majority_accuracy"]
    assert m["confusion"] == [[2, 1], [1, 4]] and m["accuracy"] == 6 / 8
    assert m["balanced_accuracy"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert m["auroc"] == pytest.approx(12 / 15)  # of 15 pairs, 0.3 loses to 0.4 and 0.7, and 0.6 to 0.7
    assert m["f1"] == pytest.approx(8 / 10)
    assert m["per_class"]["malignant"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "n": 3})
    assert m["per_class"]["normal, benign"] == pytest.approx({"precision": 0.8, "recall": 0.8, "n": 5})
    squares = [0.01, 0.16, 0.49, 0.49, 0.16, 0.04, 0.01, 0.01]
    assert m["brier"] == pytest.approx(sum(squares) / 8)
    likelihood = 0.9 * 0.6 * 0.3 * 0.3 * 0.6 * 0.8 * 0.9 * 0.9
    assert m["nll"] == pytest.approx(-math.log(likelihood) / 8)


def test_the_threshold_moves_decisions_and_nothing_else():
    y, p = sample(200)
    low, high = evaluate(y, p, CLASSES, threshold=0.2, n_boot=50), evaluate(y, p, CLASSES, threshold=0.8, n_boot=50)
    assert low["per_class"]["normal, benign"]["recall"] > high["per_class"]["normal, benign"]["recall"]
    for name in ("auroc", "auprc", "nll", "brier", "ece_top_label", "ece_positive"):
        assert low[name] == high[name] and low["ci95"][name] == high["ci95"][name]
    exactly = evaluate([0, 1], [0.3, 0.5], CLASSES, threshold=0.5, n_boot=0)
    assert exactly["confusion"] == [[1, 0], [0, 1]] and exactly["ci95"] == {}  # p == threshold is class 1


@pytest.mark.parametrize("kind", [list, torch.tensor, lambda v: torch.tensor(v, dtype=torch.float64)])
def test_tensors_arrays_and_lists_give_the_same(kind):
    y, p = sample(60)
    p = p.astype(np.float32)  # what a tensor made from a list holds
    assert evaluate(kind(y.tolist()), kind(p.tolist()), CLASSES, n_boot=20) == evaluate(y, p, CLASSES, n_boot=20)
    assert evaluate(y > 0, torch.tensor(p, requires_grad=True), CLASSES, n_boot=0)["brier"] == \
        evaluate(y, p, CLASSES, n_boot=0)["brier"]


def test_auroc_bounds_and_symmetry():
    for seed in range(5):
        y, p = sample(80, seed, decimals=1)
        m, flipped = evaluate(y, p, CLASSES, n_boot=0), evaluate(1 - y, 1 - p, CLASSES[::-1], n_boot=0)
        assert 0 <= m["auroc"] <= 1 and m["auroc"] == pytest.approx(flipped["auroc"])
        assert evaluate(y, 1 - p, CLASSES, n_boot=0)["auroc"] == pytest.approx(1 - m["auroc"])
    constant = evaluate(y, np.full(80, 0.5), CLASSES, n_boot=0)
    assert constant["auroc"] == 0.5 and constant["auprc"] == pytest.approx(y.mean())


def test_the_result_is_plain_json():
    y, p = sample(156)
    m = evaluate(torch.tensor(y), torch.tensor(p), CLASSES, bins=np.int64(10), n_boot=np.int64(99))
    assert json.loads(json.dumps(m, allow_nan=False)) == m
    assert set(m["ci95"]) >= {"accuracy", "balanced_accuracy", "auroc", "auprc", "f1", "nll", "brier", "ece"}
    assert m["ece"] == m["ece_top_label"] and sum(m["calibration"]["positive"]["count"]) == 156
    for kind in ("top_label", "positive"):  # the bins of both strategies, so that no ECE hides how full its bins are
        counts, equal = (m["calibration"][name]["count"] for name in (kind, f"{kind}_mass"))
        assert sum(counts) == sum(equal) == 156 and len(counts) == 10 and set(equal) == {15, 16}
    assert {"ece_top_label_mass", "ece_positive_mass", "ece_top_label_debiased", "ece_positive_debiased", "bins"} <= \
        set(m["calibration"])


# ---- intervals

@pytest.mark.parametrize("decimals", [None, 1])
def test_every_resample_equals_sklearn_on_the_same_images(decimals):
    y, p = sample(70, 3, decimals)
    order = np.argsort(p, kind="stable")
    y, p = y[order], p[order]
    weights = resample_weights(y, np.random.default_rng(0), 25)
    assert (weights.sum(1) == 70).all() and (weights @ y == y.sum()).all()  # class counts are kept
    ours = weighted_metrics(y, p, weights, 0.4, 10)
    for k, weight in enumerate(weights.astype(int)):
        yy, pp = np.repeat(y, weight), np.repeat(p, weight)
        says = pp >= 0.4
        theirs = {"auroc": sk.roc_auc_score(yy, pp), "auprc": sk.average_precision_score(yy, pp),
                  "accuracy": sk.accuracy_score(yy, says), "balanced_accuracy": sk.balanced_accuracy_score(yy, says),
                  "f1": sk.f1_score(yy, says), "nll": sk.log_loss(yy, pp, labels=[0, 1]),
                  "brier": sk.brier_score_loss(yy, pp)}
        whole = evaluate(yy, pp, CLASSES, n_boot=0)
        theirs |= {name: whole[name] for name in ("ece", "ece_top_label", "ece_positive")}
        assert {name: ours[name][k] for name in theirs} == pytest.approx(theirs, abs=1e-12)


def test_saturated_probabilities_keep_nll_finite_and_equal_to_sklearn():
    y, p = np.array([0, 1, 1, 0]), np.array([1.0, 0.0, 1.0, 0.3])
    m = evaluate(y, p, CLASSES)
    assert m["nll"] == pytest.approx(sk.log_loss(y, p)) and math.isfinite(m["ci95"]["nll"][1])
    assert weighted_metrics(*(v[[1, 3, 0, 2]] for v in (y, p)), np.ones((1, 4)), 0.5, 10)["nll"][0] == \
        pytest.approx(m["nll"])


def test_intervals_hold_the_value_and_shrink_with_n():
    widths = []
    for n in (156, 624):
        m = evaluate(*sample(n, 1), CLASSES)
        for name, (low, high) in m["ci95"].items():
            assert low <= m[name] <= high, name
        widths.append(m["ci95"]["accuracy"][1] - m["ci95"]["accuracy"][0])
        accuracy = m["accuracy"]
        assert widths[-1] == pytest.approx(2 * 1.96 * math.sqrt(accuracy * (1 - accuracy) / n), rel=0.15)  # binomial
    assert widths[1] < 0.65 * widths[0]


def test_an_explicit_seed_gives_the_same_intervals():
    y, p = sample(100)
    first = evaluate(y, p, CLASSES, seed=7)
    assert first == evaluate(y, p, CLASSES, seed=7)
    assert first["ci95"] != evaluate(y, p, CLASSES, seed=8)["ci95"]
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    evaluate(y, p, CLASSES)
    assert (np.random.get_state()[1] == before).all()  # the global generator is left alone


def test_large_test_sets_go_in_blocks():
    y, p = sample(30_000)
    interval = bootstrap_intervals(y, p, n_boot=150)["auroc"]  # three blocks
    auroc = sk.roc_auc_score(y, p)
    assert interval[0] < auroc < interval[1] and interval[1] - interval[0] < 0.02


def test_ece_interval_reaches_zero_for_calibrated_models():
    """Plain percentiles never do: a resample's ECE has twice the noise. 30 test sets of a perfect model."""
    reached = sum(evaluate(*sample(156, seed), CLASSES, n_boot=300)["ci95"]["ece_positive"][0] < 0.01
                  for seed in range(30))
    assert reached >= 15


# ---- what is refused

@pytest.mark.parametrize(("y", "p", "says"), [
    (np.ones((4, 1)), [0.1, 0.2, 0.3, 0.4], r"labels\.squeeze\(1\)"),
    ([0, 1, 0, 1], np.full((4, 1), 0.4), r"p\.squeeze\(1\)"),
    ([0, 1, 0, 1], np.full((4, 2), 0.5), r"p\[:, 1\]"),
    ([0, 1, 0, 1], [0.1, 0.2, 0.3], "drop_last=False"),
    ([], [], "shape"),
    ([0, 1, 0], [0.1, float("nan"), 0.3], "index 1"),
    ([0, 1, 0], [0.1, float("inf"), 0.3], "infinite"),
    ([0, 1, 0], [0.1, 1.2, 0.3], "softmax"),
    ([0, 1, 0], [-2.0, 0.2, 0.3], "sigmoid"),
    ([0, 1, 0], [0.0, 1.0, 1.0], "argmax"),
    ([0, 1, 0], [False, True, True], "argmax"),
    ([1, 1, 1], [0.1, 0.2, 0.3], "both classes"),
    ([0, 1, 2], [0.1, 0.2, 0.3], "0 or 1"),
    ([-1, 1, 1], [0.1, 0.2, 0.3], "0 or 1"),
    ([0, float("nan"), 1], [0.1, 0.2, 0.3], "0 or 1"),
    (["a", "b", "a"], [0.1, 0.2, 0.3], "list of numbers"),
    ([0, [1, 0]], [0.1, 0.2], "list of numbers"),
    (1, 0.3, "shape"),
    ([0, 1, 0], np.array([0.1, 0.2, 0.3 + 1j]), "complex"),
    ([0, 1, 0], [np.complex64(0.1), 0.2, 0.3], "complex"),
    ([0, 1, 0], torch.tensor([0.1, 0.2, 0.3 + 1j]), "complex"),
])
def test_wrong_input_is_refused_with_the_fix(y, p, says):
    with pytest.raises(MedsslError, match=says) as caught:
        evaluate(y, p, CLASSES)
    assert caught.value.expected and caught.value.fix


@pytest.mark.parametrize("classes", [("a",), ("a", "a"), ("a", "b", "c"), "ab", (0, 1), None, {"a": 0, "b": 1}])
def test_classes_are_two_different_names(classes):
    with pytest.raises(MedsslError, match="two different names"):
        evaluate([0, 1], [0.2, 0.7], classes)


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"threshold": "0.5"}, {"threshold": float("nan")},
                                   {"n_boot": -1}, {"n_boot": 1.5}, {"n_boot": None}, {"seed": -1}, {"seed": None},
                                   {"bins": 0}, {"bins": 2.5}, {"bins": 10.0}, {"bins": "10"}])
def test_settings_out_of_range(wrong):
    with pytest.raises(MedsslError, match=f"{next(iter(wrong))}="):
        evaluate([0, 1], [0.2, 0.7], CLASSES, **wrong)


# ---- seeds

def test_summary_over_seeds():
    runs = [evaluate(*sample(80, seed), CLASSES, n_boot=0) for seed in range(3)]
    summary = summarise_seeds(runs)
    values = [run["auroc"] for run in runs]
    assert summary["auroc"]["per_seed"] == values and summary["auroc"]["mean"] == pytest.approx(np.mean(values))
    assert summary["auroc"]["std"] == pytest.approx(np.std(values, ddof=1))
    assert {"accuracy", "ece_positive", "brier", "nll"} <= set(summary) and "n" not in summary
    assert summarise_seeds(runs[:1])["auroc"]["std"] == 0.0
    for wrong in ([], [runs[0], evaluate(*sample(81), CLASSES, n_boot=0)]):
        with pytest.raises(MedsslError, match="one split"):
            summarise_seeds(wrong)
    poorer = {name: value for name, value in runs[1].items() if name != "auroc"}
    for differing in ([runs[0], poorer], [poorer, runs[0]]):
        with pytest.raises(MedsslError, match="some seeds have auroc, others"):
            summarise_seeds(differing)
    with pytest.raises(MedsslError, match="evaluate"):
        summarise_seeds([{"auroc": 0.8}])


# ---- from a network to p

class Tiny(nn.Module):
    """Dropout and BatchNorm, so that a forgotten eval() shows."""

    def __init__(self, outputs: int = 2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
        self.head = nn.Linear(6, outputs)

    def encode(self, x):
        return self.encoder(x.float() / 255)

    def predict(self, x):
        return self.head(self.encode(x))


def images(n: int = 11) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_predict_proba_is_the_softmax_in_eval_mode_whatever_the_batches():
    torch.manual_seed(0)
    model, x = Tiny().train(), images()
    model.encoder.eval()  # as freeze() leaves it, below a head in training
    before = {name: value.clone() for name, value in model.state_dict().items()}
    p = predict_proba(model, x, batch_size=4)
    assert p.shape == (11,) and p.dtype == np.float64
    assert model.training and model.head.training and not model.encoder.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        logits = model.eval().predict(x).double()
    assert p == pytest.approx((1 / (1 + torch.exp(logits[:, 0] - logits[:, 1]))).numpy(), abs=1e-6)
    assert p == pytest.approx(predict_proba(model, x.numpy()), abs=1e-7)


def test_saturated_logits_stay_below_one():
    class Sure(nn.Module):
        def predict(self, x):
            return torch.tensor([[0.0, 25.0]]).expand(len(x), 2)

    assert (predict_proba(Sure(), images()) < 1).all()  # float32 would round to 1.0


def test_modes_come_back_after_a_failure():
    class Broken(Tiny):
        def predict(self, x):
            raise RuntimeError("boom")

    model = Broken().train()
    with pytest.raises(RuntimeError):
        predict_proba(model, images())
    assert model.training and model.encoder.training


def test_encode_uses_encode_or_the_module_itself():
    torch.manual_seed(0)
    model, x = Tiny(), images()
    features = encode(model, x, batch_size=3)
    assert features.shape == (11, 6) and features.dtype == np.float32
    assert features == pytest.approx(encode(model.encoder, x.float() / 255), abs=1e-6)


def test_shapes_that_no_metric_wants():
    with pytest.raises(MedsslError, match="num_classes=2"):
        predict_proba(Tiny(outputs=3), images())
    with pytest.raises(MedsslError, match="no images"):
        predict_proba(Tiny(), images(0))
    with pytest.raises(MedsslError, match="one row an image"):
        encode(nn.Conv2d(1, 2, 3), images().float())
