"""Probes: sklearn's logistic regression to more digits, all subsets at once; kNN that survives five images."""

from itertools import product

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medssl.data import label_subset
from medssl.errors import MedsslError
from medssl.evaluate import encode, fit_probes, knn_proba
from medssl.evaluate.encode import nearby
from medssl.evaluate.probes import CS, auroc_rows
from medssl.models import build_encoder

rng = np.random.default_rng(0)
everyone = (rng.random(230) < 0.7).astype(int)
features = rng.normal(size=(230, 24)) + 0.8 * everyone[:, None] * np.linspace(-1, 1, 24)
features = features * 10.0 ** rng.integers(-2, 3, 24) + rng.normal(size=24) * 50  # on very different scales
x, x_val, x_test = np.split(features, (120, 180))
y, y_val, _ = np.split(everyone, (120, 180))
subsets = [label_subset(torch.from_numpy(y), f, s).numpy() for f in (0.05, 0.1, 0.3, 1.0) for s in range(3)]


def reference(train, labels, C, balanced):
    """sklearn on features standardised by all of train, to many digits."""
    mean, std = x.mean(0), x.std(0)
    weight = "balanced" if balanced else None
    model = LogisticRegression(C=C, class_weight=weight, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit((train - mean) / std, labels)
    return lambda a: model.predict_proba((a - mean) / std)[:, 1]


@pytest.mark.parametrize(("C", "balanced"), [*product((1e-5, 1e-3, 0.1, 1.0, 100.0), (False, True))])
def test_equals_sklearn_C_by_C_with_fewer_and_more_images_than_features(C, balanced):
    probes = fit_probes(x, y, x_val, y_val, subsets, Cs=[C], balanced=balanced)
    expected = [reference(x[s], y[s], C, balanced)(x_test) for s in subsets]
    assert {len(s) < x.shape[1] for s in subsets} == {True, False}
    assert np.abs(probes.predict_proba(x_test) - expected).max() < 1e-6
    assert (probes.C == C).all()


@pytest.mark.parametrize("balanced", [False, True])
def test_the_gradient_is_zero(balanced):
    """The objective written out on its own, for every C of the default grid."""
    mean, std = x.mean(0), x.std(0)
    for C in CS:
        probes = fit_probes(x, y, x_val, y_val, subsets, Cs=[C], balanced=balanced)
        for k, s in enumerate(subsets):
            z, t = (x[s] - mean) / std, y[s]
            w = probes.weight[k] * std
            b = probes.bias[k] + probes.weight[k] @ mean
            weight = len(t) / 2 / np.bincount(t)[t] if balanced else 1
            pull = weight * (1 / (1 + np.exp(-(z @ w + b))) - t)
            assert max(np.abs(w + C * z.T @ pull).max(), C * abs(pull.sum())) < 1e-6 * min(1, C)


@pytest.mark.parametrize("choose", ["auroc", "nll"])
def test_C_is_the_best_on_val_and_of_equals_the_smallest(choose):
    probes = fit_probes(x, y, x_val, y_val, subsets, choose=choose)
    values = []
    for C in CS:
        p = fit_probes(x, y, x_val, y_val, subsets, Cs=[C]).predict_proba(x_val)
        won = np.sign(p[:, y_val == 1, None] - p[:, None, y_val == 0]) / 2 + 0.5  # of every pair: a tie counts half
        values.append(won.mean((1, 2)) if choose == "auroc" else np.log(np.where(y_val == 1, p, 1 - p)).mean(1))
    assert probes.C.tolist() == [CS[k] for k in np.argmax(np.round(values, 12), axis=0)]
    shuffled = fit_probes(x, y, x_val, y_val, subsets, Cs=CS[::-1], choose=choose)
    assert np.array_equal(shuffled.C, probes.C)
    perfect = np.r_[np.zeros((5, 2)), np.ones((5, 2))] + np.linspace(0, 0.1, 20).reshape(10, 2)
    labels = np.repeat([0, 1], 5)
    chosen = fit_probes(perfect, labels, perfect, labels, [np.arange(10)], choose="auroc").C
    assert chosen.tolist() == [CS[0]]  # every C separates: AUROC 1


def test_each_subset_is_on_its_own():
    together = fit_probes(x, y, x_val, y_val, subsets)
    for k, subset in enumerate(subsets):
        alone = fit_probes(x, y, x_val, y_val, [subset])
        assert alone.C[0] == together.C[k]
        assert np.allclose(alone.predict_proba(x_test)[0], together.predict_proba(x_test)[k], atol=1e-6)


def test_an_equal_subset_is_solved_once(monkeypatch):
    from medssl.evaluate import probes as module

    seen, plain = [], module.newton
    monkeypatch.setattr(module, "newton", lambda x, *rest: seen.append(len(x)) or plain(x, *rest))
    whole = np.arange(len(x))
    found = fit_probes(x, y, x_val, y_val, [whole] * 10 + subsets[:3], Cs=[0.1])
    assert sorted(seen) == [1, 3] and np.array_equal(found.weight[0], found.weight[9])


@pytest.mark.parametrize("seed", range(5))
def test_no_divergence_on_separable_data_without_regularisation(seed):
    rng = np.random.default_rng(seed)
    n, dim = rng.integers(4, 40), rng.integers(1, 80)
    a, labels = rng.normal(size=(n, dim)), np.arange(n) % 2
    a[labels == 1, 0] += 1000  # separable, with a wide gap
    a = np.c_[a, a[:, :1], np.ones(n), np.zeros(n)]  # a twin and two that never change
    probes = fit_probes(a, labels, a, labels, [np.arange(n)], Cs=[1e-9, 1.0, 1e6, 1e9])
    for C in (1e-9, 1e6, 1e9):
        probes = fit_probes(a, labels, a, labels, [np.arange(n)], Cs=[C])
        assert np.isfinite(probes.weight).all() and auroc_rows(labels, probes.predict_proba(a))[0] == 1
    flat = fit_probes(a, labels, a, labels, [np.arange(n)], Cs=[1e-9]).predict_proba(a)
    assert np.allclose(flat, labels.mean(), atol=1e-3)  # so strong a penalty leaves the bias only, which is free


@pytest.mark.parametrize("seed", [64, 66, 69, 72])
def test_no_divergence_where_plain_newton_steps_go_too_far(seed):
    """Heavy tails and hardly any penalty: without the halving of steps, these four go astray."""
    rng = np.random.default_rng(seed)
    n, dim = int(rng.integers(20, 500)), int(rng.integers(1, 30))
    a = rng.standard_t([0.5, 1, 2][seed % 3], size=(n, dim))
    labels = (rng.random(n) < [0.02, 0.1, 0.5][seed // 3 % 3]).astype(int)
    labels[:2] = 0, 1
    for C in (1e3, 1e12):
        p = fit_probes(a, labels, a, labels, [np.arange(n)], Cs=[C]).predict_proba(a)[0]
        assert p.mean() == pytest.approx(labels.mean(), abs=1e-6)  # what the free bias brings about, at the minimum


def test_standardised_with_all_of_train_so_scale_and_offset_do_not_matter():
    one = fit_probes(x, y, x_val, y_val, subsets).predict_proba(x_test)
    two = fit_probes(x * 1e4 - 7, y, x_val * 1e4 - 7, y_val, subsets).predict_proba(x_test * 1e4 - 7)
    assert np.allclose(one, two, atol=1e-6)
    knn = [knn_proba(a * 1e4 - 7, y, b * 1e4 - 7, subsets) for a, b in ((x, x_test),)][0]
    assert np.allclose(knn, knn_proba(x, y, x_test, subsets))


def test_labels_outside_a_subset_are_never_read():
    """The "unlabelled" rest of train: change its labels, nothing changes."""
    hidden = y.copy()
    rest = np.setdiff1d(np.arange(len(y)), subsets[0])
    hidden[rest] = 1 - hidden[rest]
    for function in (lambda t: fit_probes(x, t, x_val, y_val, subsets[:1]).predict_proba(x_test),
                     lambda t: knn_proba(x, t, x_test, subsets[:1])):
        assert np.array_equal(function(y), function(hidden))


def test_knn_equals_a_double_loop_also_with_fewer_images_than_k():
    mean, std = x.mean(0), x.std(0)
    found = knn_proba(x, y, x_test, subsets, k=7, temperature=0.2)
    for s, subset in enumerate(subsets):
        for i, image in enumerate((x_test - mean) / std):
            similar = []
            for j in subset:
                other = (x[j] - mean) / std
                similar.append((image @ other / np.sqrt(image @ image) / np.sqrt(other @ other), y[j]))
            similar = sorted(similar, reverse=True)[:7]
            votes = [np.exp((cosine - similar[0][0]) / 0.2) for cosine, _ in similar]
            ones = sum(v for v, (_, label) in zip(votes, similar, strict=True) if label)
            assert found[s, i] == pytest.approx((ones + 1) / (sum(votes) + 2))
    assert min(map(len, subsets)) < 7 < max(map(len, subsets))
    assert found.min() > 0 and found.max() < 1


def test_auroc_rows_is_sklearns_also_with_ties():
    scores = np.random.default_rng(0).integers(0, 6, (20, len(y))).astype(float)
    assert np.allclose(auroc_rows(y, scores), [roc_auc_score(y, row) for row in scores])


@pytest.mark.parametrize(("change", "says"), [
    ({"subsets": [np.flatnonzero(y == 1)[:9]]}, "all of one class"),
    ({"x_train": np.where(np.arange(x.size).reshape(x.shape) == 7, np.nan, x)}, "1 values that are NaN"),
    ({"x_val": np.full_like(x_val, np.inf)}, "NaN or infinite"),
    ({"y_train": y[:, None]}, r"squeeze\(1\)"),
    ({"y_train": y[:-1]}, "120 rows of features, 119 labels"),
    ({"y_val": np.zeros(60)}, "both classes"),
    ({"y_train": y + 1}, "0 or 1"),
    ({"x_val": x_val[:, :-1]}, r"\[N,24\]"),
    ({"x_train": x[:, 0]}, "shape"),
    ({"subsets": []}, "no subsets"),
    ({"subsets": [np.array([0, 500])]}, "from 0 to 119"),
    ({"subsets": [np.array([-1, 3])]}, "from 0 to 119"),
    ({"subsets": [np.array([3, 3, 4])]}, "different"),
    ({"subsets": [y == 1]}, "whole numbers"),
    ({"Cs": [0.0]}, "C=0.0"), ({"Cs": []}, "one C"), ({"choose": "test"}, "choose='test'"),
])
def test_hostile_input_is_named(change, says):
    given = {"x_train": x, "y_train": y, "x_val": x_val, "y_val": y_val, "subsets": subsets, **change}
    with pytest.raises(MedsslError, match=says):
        fit_probes(**given)


def test_wrong_features_at_prediction_are_named():
    probes = fit_probes(x, y, x_val, y_val, subsets[:1], Cs=[1.0])
    with pytest.raises(MedsslError, match=r"\[N,24\]"):
        probes.predict_proba(x_test[:, :5])
    with pytest.raises(MedsslError, match="k=0"):
        knn_proba(x, y, x_test, subsets, k=0)


def test_tta_features_are_the_mean_of_ten_versions():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder("smallcnn", in_channels=1, width=4)
    images = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    averaged = encode(encoder, images, tta=True)
    assert np.allclose(averaged, np.mean([encode(encoder, v) for v in nearby(images)], 0), atol=1e-6)
    assert np.allclose(averaged, encode(encoder, images.flip(-1), tta=True), atol=1e-6)
    assert not np.allclose(averaged, encode(encoder, images), atol=1e-3)
