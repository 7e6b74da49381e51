"""The door of every metric: [N] labels in {0, 1} and [N] probabilities of class 1 come in, or an error that helps."""

from numbers import Integral, Real

import numpy as np

from medssl.errors import MedsslError


def as_vector(values, name: str) -> np.ndarray:
    """Tensor (any device), array or list -> float64 [N]. Never squeezed silently: [N,1] beside [N] makes [N,N]."""
    vector = _as_array(values, name, "one number an image", "[N]")
    shape = list(vector.shape)
    if vector.ndim == 2 and shape[1] == 1:
        raise MedsslError(f"{name} has shape {shape}, a column.",
                          f"shape [{shape[0]}]; a column makes `==` compare every image with every other one",
                          f"{name}.squeeze(1): MedMNIST stores [N,1], so `labels.squeeze(1)` right after loading")
    if vector.ndim != 1 or vector.size == 0:
        fix = (f"two columns: pass the one of class 1, `{name}[:, 1]`" if shape[1:] == [2] else
               f"check how {name} was gathered: join the batches with torch.cat or np.concatenate")
        raise MedsslError(f"{name} has shape {shape}.", "one number an image: shape [N] with N at least 1", fix)
    return vector


def as_matrix(values, name: str) -> np.ndarray:
    """The same for one row an image: float64 [N,K]."""
    matrix = _as_array(values, name, "one row an image", "[N,K]")
    if matrix.ndim != 2 or matrix.size == 0:
        raise MedsslError(f"{name} has shape {list(matrix.shape)}.", "one row an image and one column a class: [N,K]",
                          "of two classes with one column: `evaluate`")
    return matrix


def _as_array(values, name: str, what: str, shape: str) -> np.ndarray:
    if hasattr(values, "detach"):  # a torch tensor, told apart without importing torch
        values = values.detach().cpu()
        values = (values if values.is_complex() else values.double()).numpy()
    try:
        vector = np.asarray(values)
        if vector.dtype.kind == "c":  # numpy would only warn, and drop the imaginary part
            raise TypeError("they are complex")
        return vector.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise MedsslError(f"{name} is not a list of numbers: {error}", f"{what}, {name} of shape {shape}",
                          "pass a tensor, a numpy array or a flat list of numbers") from None


def check_number(name: str, value, low: float, high: float = np.inf, whole: bool = True) -> None:
    """Raise unless `value` is a (whole) number from low to high."""
    if not isinstance(value, Integral if whole else Real) or not low <= value <= high:
        span = f"from {low} to {high}" if high < np.inf else f"of at least {low}"
        raise MedsslError(f"{name}={value!r}.", f"a {'whole ' if whole else ''}number {span}", f"leave {name} out, or "
                          "write it as a number, without quotes" + (" and without a point" if whole else ""))


def check_labels_and_probabilities(y_true, p, both_classes: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(y int64 [N] in {0,1}, p float64 [N] in [0,1]), or a MedsslError that names the fix."""
    y, p = as_vector(y_true, "y_true"), as_vector(p, "p")
    if len(y) != len(p):
        raise MedsslError(f"y_true has {len(y)} labels, p has {len(p)} values.", "one probability for each label",
                          "predict the very split the labels come from, with drop_last=False and shuffle=False")
    bad = np.flatnonzero(~np.isfinite(p))
    if len(bad):
        raise MedsslError(f"p holds {len(bad)} values that are NaN or infinite, the first at index {bad[0]}.",
                          "finite probabilities in [0, 1]", "look for a diverged training (NaN loss) or a log(0)")
    if not np.isin(y, (0, 1)).all():
        raise MedsslError(f"y_true holds the values {np.unique(y)[:6].tolist()}.", "labels that are 0 or 1",
                          "map the two classes to 0 and 1; p is the probability of class 1")
    if p.min() < 0 or p.max() > 1:
        raise MedsslError(f"p runs from {p.min():.4g} to {p.max():.4g}.", "probabilities of class 1, in [0, 1]",
                          "logits? `torch.softmax(logits, dim=1)[:, 1]` for two outputs, `torch.sigmoid(logit)` for "
                          "one. Percentages? Divide by 100")
    if np.isin(p, (0, 1)).all():
        raise MedsslError("p holds nothing but 0 and 1: these are predicted classes, not probabilities.",
                          "scores: AUROC and calibration are lost once p is rounded",
                          "pass `torch.softmax(logits, dim=1)[:, 1]` instead of the argmax")
    if both_classes and y.min() == y.max():
        raise MedsslError(f"every label in y_true is {int(y[0])}.", "images of both classes (AUROC compares the two)",
                          "evaluate the whole split, and check that the labels were not cut or sorted away")
    return y.astype(np.int64), p
