"""Linear probes for K classes or K labels at once, by scikit-learn; two classes have the fast `fit_probes`."""

import warnings
from collections.abc import Sequence

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.metrics import evaluate
from medssl.evaluate.multiclass import evaluate_multiclass, evaluate_multilabel

CS = (1e-4, 1e-3, 0.01, 0.1, 1.0)  # strong to weak regularisation, for standardised features


def fit_many(x: np.ndarray, y: np.ndarray, fit: np.ndarray, folds: Sequence[tuple], Cs: Sequence[float] = CS) -> tuple:
    """(model, C): a logistic regression on rows `fit` of x [N,D]; model.predict_proba gives [N,K].

    y [N] are classes (one softmax) or [N,K] labels (K independent ones, the same C for all). C has the lowest log loss
    on folds [(rows to fit, rows held out), …], those that learn from all classes; of equals the smallest. x should be
    standardised, see probes.scale.
    """
    if y.ndim == 1 and not np.array_equal(np.unique(y), np.arange(y.max() + 1)):
        raise MedsslError(f"Labels {np.unique(y).tolist()}.", "0, 1, … K-1, an image of each class at least",
                          "more images, or leave a class out and number the others anew")
    whole = [fold for fold in folds if y.ndim == 2 or len(np.unique(y[fold[0]])) == len(np.unique(y))]
    if y.ndim == 1 and len(np.unique(y[fit])) < len(np.unique(y)) or not whole:
        raise MedsslError(f"Labels {np.unique(y).tolist()} in all, {np.unique(y[fit]).tolist()} to learn from.",
                          "each class among those to learn from, C chosen too", "more images, or leave a class out")
    losses = [sum(log_loss(y[held], _fit(x[rows], y[rows], C).predict_proba(x[held])) for rows, held in whole)
              for C in sorted(Cs)]
    C = sorted(Cs)[int(np.argmin(losses))]
    return _fit(x[fit], y[fit], C), C


def _fit(x, y, C: float):
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model = LogisticRegression(C=C, max_iter=2000)
    with warnings.catch_warnings():  # a label that no image of a small share has: its answer is then always "no"
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        return (OneVsRestClassifier(model) if y.ndim == 2 else model).fit(x, y)


def log_loss(y: np.ndarray, p: np.ndarray) -> float:
    """Mean -log of the probability of what is true; over labels [N,K] also the mean over the K."""
    right = np.where(y == 1, p, 1 - p) if y.ndim == 2 else p[np.arange(len(y)), y]
    return float(-np.log(np.maximum(right, np.finfo(float).eps)).mean())


def report(y: np.ndarray, p: np.ndarray, classes, **settings) -> dict:
    """evaluate, evaluate_multiclass or evaluate_multilabel of p [N,K], whichever the labels ask for."""
    if y.ndim == 2:
        return evaluate_multilabel(y, p, classes, **settings)
    return evaluate(y, p[:, 1], classes, **settings) if len(classes) == 2 else evaluate_multiclass(y, p, classes,
                                                                                                   **settings)
