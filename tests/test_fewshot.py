"""Few-shot against scikit-learn, an interval that does not shrink with episodes, and no label that leaks."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

from medssl.errors import MedsslError
from medssl.evaluate import auroc_values, difference, few_shot, fit_many, leave_one_site_out, over_runs
from medssl.evaluate.fewshot import centroids
from medssl.evaluate.over_runs import balanced_accuracy_values, strata


def blobs(n: int, classes: int, seed: int = 0, apart: float = 1.0, width: int = 12):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    return rng.normal(size=(n, width)) * rng.uniform(0.5, 3, width) + apart * np.eye(classes, width)[y] * 3, y


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("kind", ["knn", "centroid"])
def test_equals_sklearn_episode_by_episode(kind, classes):
    (x, y), (x_test, y_test) = blobs(120, classes), blobs(90, classes, seed=1)
    found = few_shot(x, y, x_test, y_test, shots=(3, 7), episodes=6, kind=kind, n_boot=50, seed=5)
    scaler, rng = StandardScaler().fit(x), np.random.default_rng(5)
    draws = [[rng.permutation(np.flatnonzero(y == c)) for c in range(classes)] for _ in range(6)]

    def votes(distance):  # scikit-learn's cosine distance is 1 - cosine
        return np.exp(-(distance - distance.min(1, keepdims=True)) / 0.2)

    for n in (3, 7):
        right, ranked = [], []
        for draw in draws:
            chosen = np.concatenate([members[:n] for members in draw])
            model = (KNeighborsClassifier(n, metric="cosine", weights=votes, algorithm="brute") if kind == "knn"
                     else NearestCentroid())
            model.fit(scaler.transform(x[chosen]), y[chosen])
            right.append(balanced_accuracy_score(y_test, model.predict(scaler.transform(x_test))))
            if kind == "knn":
                p = model.predict_proba(scaler.transform(x_test))
                ranked.append(roc_auc_score(y_test, p[:, 1] if classes == 2 else p, multi_class="ovr"))
        assert found[n]["balanced_accuracy"]["mean"] == pytest.approx(np.mean(right), abs=1e-12)
        if kind == "knn":
            assert found[n]["auroc"]["mean"] == pytest.approx(np.mean(ranked), abs=1e-12)


def test_centroids_rank_images_for_a_class_and_not_by_how_far_out_they_lie():
    """Against the log odds of scipy's softmax over distances that numpy computes."""
    (x, y), (x_test, _) = blobs(60, 3), blobs(90, 3, seed=1)
    x, x_test = x.astype(float), x_test.astype(float)
    draw = np.stack([np.flatnonzero(y == k)[:5] for k in range(3)])
    found = centroids(x_test @ x.T, x, draw, None)
    p = softmax(-np.square(x_test[:, None] - x[draw].mean(1)).sum(2), axis=1)
    odds = np.log(p) - np.log(np.stack([np.delete(p, k, 1).sum(1) for k in range(3)], 1))
    assert np.isfinite(odds).all()
    assert np.ptp(np.square(x_test).sum(1)) > 30
    np.testing.assert_allclose(found, odds, rtol=1e-7, atol=1e-7)


def test_row_means_are_the_metrics():
    (_, y), rng = blobs(80, 3), np.random.default_rng(0)
    scores = rng.random((4, 80, 3)).round(1)  # with ties
    want = [np.mean([roc_auc_score(y == k, s[:, k]) for k in range(3)]) for s in scores]
    np.testing.assert_allclose(auroc_values(y, scores).mean(1), want, atol=1e-12)
    labels = (rng.random((80, 3)) < 0.3).astype(int)
    want = [roc_auc_score(labels, s) for s in scores]
    np.testing.assert_allclose(auroc_values(labels, scores).mean(1), want, atol=1e-12)
    best = scores.argmax(2)
    np.testing.assert_allclose(balanced_accuracy_values(y, best).mean(1),
                               [balanced_accuracy_score(y, b) for b in best], atol=1e-12)
    assert strata(np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])).tolist() == [2, 0, -1, 1]


def test_the_interval_is_that_of_the_two_way_bootstrap():
    """`difference` draws images and runs by brute force; here the AUROC is taken to move linearly."""
    rng, y = np.random.default_rng(0), np.arange(100) % 3 // 2
    p = 1 / (1 + np.exp(-(y + rng.normal(size=(8, 100)) + rng.normal(size=100))))
    want, got = difference(y, p), over_runs(auroc_values(y, p[..., None]), y)
    assert got["mean"] == pytest.approx(want["mean"], abs=1e-12)
    assert got["hi"] - got["lo"] == pytest.approx(want["hi"] - want["lo"], rel=0.06)


def test_more_episodes_do_not_shrink_the_interval_below_the_test_set():
    (x, y), (x_test, y_test) = blobs(300, 2, apart=0.4), blobs(60, 2, seed=1, apart=0.4)
    width = {}
    for episodes in (10, 200):
        v = few_shot(x, y, x_test, y_test, shots=(5,), episodes=episodes)[5]["auroc"]
        width[episodes] = v["hi"] - v["lo"]
    assert width[200] > 0.5 * width[10]  # mean ± 1.96 std / sqrt(episodes) would shrink to 0.22
    assert width[200] > 0.08


def test_permuted_labels_give_chance():
    (x, y), (x_test, y_test) = blobs(200, 3), blobs(150, 3, seed=1)
    assert few_shot(x, y, x_test, y_test, shots=(10,), episodes=40)[10]["auroc"]["mean"] > 0.7
    y = np.random.default_rng(0).permutation(y)
    for kind in ("knn", "centroid"):
        found = few_shot(x, y, x_test, y_test, shots=(10,), episodes=100, kind=kind)[10]
        assert abs(found["auroc"]["mean"] - 0.5) < 0.06
        assert abs(found["balanced_accuracy"]["mean"] - 1 / 3) < 0.06


def test_more_shots_than_images_is_an_error():
    (x, y), (x_test, y_test) = blobs(30, 3), blobs(30, 3, seed=1)
    with pytest.raises(MedsslError, match="shots"):
        few_shot(x, y, x_test, y_test, shots=(11,))
    with pytest.raises(MedsslError, match="each in both"):
        few_shot(x, y, x_test[y_test < 2], y_test[y_test < 2], shots=(5,))


def sites_of(n: int) -> np.ndarray:
    return np.array(["north", "south", "west"])[np.arange(n) // 2 % 3]


def test_a_site_is_never_trained_on(monkeypatch):
    """Each call of the fit is looked at: no row of the held-out site, for the weights, for C, or for the scaling."""
    import medssl.evaluate.sites as module

    (x, y), sites = blobs(180, 2), sites_of(180)
    x[sites == "west"] += 100  # another scanner: scaled with the others' mean, it stays far away
    fit, seen = module.fit_many, []

    def watched(z, labels, rows, folds):
        seen.append({*sites[rows]} | {s for a, b in folds for s in (*sites[a], *sites[b])})
        for a, b in folds:
            assert not {*sites[a]} & {*sites[b]}
        np.testing.assert_allclose(z[rows].mean(0), 0, atol=1e-9)
        return fit(z, labels, rows, folds)

    monkeypatch.setattr(module, "fit_many", watched)
    found = leave_one_site_out(x, y, sites, ("a", "b"), n_boot=50)
    assert list(found) == ["north", "south", "west"]
    assert seen == [{"south", "west"}, {"north", "west"}, {"north", "south"}]
    assert all(found[s]["n"] == 60 and s not in found[s]["trained_on"] for s in found)


def test_sites_labels_and_refusals():
    (x, y), sites = blobs(180, 2, apart=1.5), sites_of(180)
    assert all(row["auroc"] > 0.85 for row in leave_one_site_out(x, y, sites, ("a", "b"), n_boot=0).values())
    lost = np.random.default_rng(0).permutation(y)
    found = leave_one_site_out(x, lost, sites, ("a", "b"), n_boot=0)
    assert abs(np.mean([row["auroc"] for row in found.values()]) - 0.5) < 0.1
    with pytest.raises(MedsslError, match="three sites"):
        leave_one_site_out(x, y, np.where(sites == "west", "north", sites), ("a", "b"))
    with pytest.raises(MedsslError, match="two sites"):
        leave_one_site_out(x, y, sites, ("a", "b"), patients=np.arange(180) // 3)
    only = np.where(sites == "west", 1, y)
    assert "west" in (found := leave_one_site_out(x, only, sites, ("a", "b"), n_boot=0))
    assert "not_scored" in found["west"] and found["west"]["n"] == 60


def test_a_site_that_alone_has_a_class_is_not_scored_and_stops_no_other():
    (x, y), sites = blobs(180, 3, apart=1.5), sites_of(180)
    alone = (y < 2) | (sites == "west")  # class 2 is seen in the west only
    found = leave_one_site_out(x[alone], y[alone], sites[alone], ("a", "b", "c"), n_boot=0)
    assert set(found) == {"north", "south", "west"} and all("not_scored" in row for row in found.values())
    assert "to learn from" in found["west"]["not_scored"] and found["west"]["trained_on"] == ["north", "south"]
    four = np.where(np.arange(180) % 4 == 3, "east", sites)
    few = (y < 1) | (four != "west")  # the west has one class alone: it cannot be scored, the other three can
    found = leave_one_site_out(x[few], y[few], four[few], ("a", "b", "c"), n_boot=0)
    assert [name for name, row in found.items() if "not_scored" in row] == ["west"]
    assert all(found[name]["macro_auroc"] > 0.8 for name in ("east", "north", "south"))


def test_labels_with_a_gap_are_refused():
    (x, y), rows = blobs(60, 3), np.arange(60)
    with pytest.raises(MedsslError, match=r"Labels \[0, 2\]"):
        fit_many(x[y != 1], y[y != 1], rows[:30], [(rows[:30], rows[30:40])])
