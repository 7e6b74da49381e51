"""Few-shot classification: so many labelled images of each class, drawn again and again, and frozen features."""

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from medssl.errors import MedsslError
from medssl.evaluate.checks import as_vector, check_number
from medssl.evaluate.over_runs import auroc_values, balanced_accuracy_values, over_runs
from medssl.evaluate.probes import as_features, scale

KINDS = ("knn", "centroid")
TEMPERATURE = 0.2  # of a neighbour's vote, as in knn_proba


def few_shot(x_train, y_train, x_test, y_test, *, shots: Sequence[int] = (5, 10, 20), episodes: int = 100,
             kind: str = "knn", k: int | None = None, n_boot: int = 2000, seed: int = 0) -> dict[int, dict]:
    """{shots: {"auroc", "balanced_accuracy": {"mean", "lo", "hi"}, "episodes", "n_test"}} for y in {0…K-1}.

    An episode draws `shots` train images of each class without replacement; episode e of fewer shots lies inside that
    of more. Features are standardised with all of train, which needs no labels. AUROC is the mean over classes, each
    against the rest; nothing is tuned, so nothing can be tuned on test.

    kind="knn": the k (default: as many as shots) most similar shots vote, exp((cosine - largest) / 0.2) each.
    kind="centroid": with s_k = -|x - mean of the shots of class k|² the class scores s_k - log(sum of exp s_j over the
    others), the log odds of a softmax. s_k alone would rank images by how far they lie from all classes.

    The interval is over episodes *and* test images, which all episodes share (see over_runs): more episodes do not make
    it narrower than the test set allows. The train images to draw from count as given; where shots are a large part of
    them, episodes are alike and their spread says little about other train images.
    """
    if kind not in KINDS:
        raise MedsslError(f"kind={kind!r}.", " or ".join(KINDS))
    check_number("episodes", episodes, 1)
    x_train, x_test = as_features(x_train, "x_train"), as_features(x_test, "x_test")
    y, y_test = (as_vector(v, n).astype(np.int64) for v, n in ((y_train, "y_train"), (y_test, "y_test")))
    classes, counts = np.unique(y, return_counts=True)
    if not np.array_equal(classes, np.arange(len(classes))) or not np.array_equal(classes, np.unique(y_test)):
        raise MedsslError(f"Labels {classes.tolist()} in train, {np.unique(y_test).tolist()} in test.",
                          "0, 1, … K-1, each in both")
    for n in shots:
        check_number("shots", n, 1, int(counts.min()))
    mean, std = scale(x_train)
    x_train, x_test = (x_train - mean) / std, (x_test - mean) / std
    if kind == "knn":
        x_train, x_test = (a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for a in (x_train, x_test))
    like = x_test @ x_train.T  # [N,M]: cosines, or the inner products that distances are made of
    rng, draws = np.random.default_rng(seed), []
    for _ in range(episodes):
        draws.append(np.stack([rng.permutation(np.flatnonzero(y == c))[:max(shots)] for c in classes]))  # [K,shots]
    out = {}
    for n in shots:
        votes = neighbours if kind == "knn" else centroids
        scores = np.stack([votes(like, x_train, draw[:, :n], k or n) for draw in draws])  # [E,N,K]
        best = scores.argmax(2)
        asked = scores[..., 1:] - scores[..., :1] if len(classes) == 2 else scores
        values = {"auroc": auroc_values(y_test, asked), "balanced_accuracy": balanced_accuracy_values(y_test, best)}
        out[n] = {name: over_runs(v, y_test, n_boot, seed) for name, v in values.items()}
        out[n] |= {"episodes": episodes, "n_test": len(y_test)}
    return out


def neighbours(like: np.ndarray, _, draw: np.ndarray, k: int) -> np.ndarray:
    """[N,K]: the share of each class in the votes of the k nearest of the shots draw [K,n]."""
    near = like[:, draw.ravel()]
    nearest = np.argsort(-near, axis=1, kind="stable")[:, :k]
    near = np.take_along_axis(near, nearest, 1)
    vote = np.exp((near - near[:, :1]) / TEMPERATURE)
    of = nearest // draw.shape[1]
    return np.stack([(vote * (of == c)).sum(1) for c in range(len(draw))], 1) / vote.sum(1, keepdims=True)


def centroids(like: np.ndarray, x_train: np.ndarray, draw: np.ndarray, _) -> np.ndarray:
    """[N,K]: log odds of softmax(-|x - c|²), c the mean of a class's shots; |x|², the same for all, falls out."""
    c = x_train[draw].mean(1)
    s = 2 * like[:, draw].mean(2) - (c ** 2).sum(1)
    return np.stack([s[:, k] - logsumexp(np.delete(s, k, 1), 1) for k in range(s.shape[1])], 1)
