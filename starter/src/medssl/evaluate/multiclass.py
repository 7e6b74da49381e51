"""More than two classes: one of K (`evaluate_multiclass`), or any number of K at once (`evaluate_multilabel`).

Both give plain floats and lists, as `evaluate` does for two classes, and are as strict about what comes in. A class
without images is an error: it has no AUROC, and a mean over the others would be a number about another question.
"""

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.bootstrap import intervals_of, weighted_metrics, weighted_ranking
from medssl.evaluate.calibration import assign_bins
from medssl.evaluate.checks import as_matrix, as_vector, check_number
from medssl.evaluate.over_runs import strata


def evaluate_multiclass(y_true, p, classes, n_boot: int = 2000, seed: int = 0, *, ordered: bool = False,
                        bins: int = 10) -> dict:
    """y_true [N] in {0…K-1}, p [N,K] with rows that add up to 1, classes: K names, index = label.

    The class of largest p is predicted. macro_auroc and macro_auprc are means over the classes, each against the rest;
    balanced_accuracy is the mean recall. Brier is mean sum_k (p_k - y_k)^2, from 0 to 2 (for two classes twice what
    `evaluate` prints). ece: the largest p against being right. ordered=True (grades of a disease) adds quadratic_kappa,
    Cohen's: 1 - sum w O / sum w E, w = (i - j)^2, O the confusion, E the one that chance gives. `ci95`: bootstrap.py.
    """
    names = _names(classes, n_boot, seed, bins)
    y, p = as_vector(y_true, "y_true"), _probabilities(p, names)
    if len(y) != len(p) or not np.isin(y, range(len(names))).all():
        raise MedsslError(f"y_true has {len(y)} labels, {np.unique(y)[:9].tolist()}; p has {len(p)} rows.",
                          f"one label from 0 to {len(names) - 1} for each row of p", "map the classes to 0, 1, 2, …")
    sums = p.sum(1)
    if (off := np.flatnonzero(np.abs(sums - 1) > 5e-3)).size:  # rounded ones and half precision come closer
        raise MedsslError(f"{off.size} rows of p do not add up to 1, the first, row {off[0]}, to {sums[off[0]]:.4g}.",
                          "K probabilities of which one comes true",
                          "torch.softmax(logits, dim=1); where several labels can be true at once, evaluate_multilabel")
    y = y.astype(np.int64)
    truth, k = np.eye(len(names), dtype=np.int64)[y], len(names)
    _all_there(truth, names)
    best = p.argmax(1)
    cell = np.eye(k * k)[y * k + best]  # [N, K*K]: the place of each image in the confusion matrix
    likelihood = np.maximum(p[np.arange(len(y)), y], np.finfo(float).eps)
    each = np.stack([-np.log(likelihood), ((p - truth) ** 2).sum(1)], 1)
    confidence = np.minimum(p.max(1), 1)
    member = np.eye(bins)[assign_bins(confidence, bins, "width")[1]] * ((best == y) - confidence)[:, None]
    orders = np.argsort(p, axis=0, kind="stable").T
    apart = (np.arange(k)[:, None] - np.arange(k)) ** 2

    def measure(weights: np.ndarray) -> dict:
        table = (weights @ cell).reshape(-1, k, k)  # rows true, columns predicted
        right, says = np.diagonal(table, axis1=1, axis2=2), table.sum(1)
        recall, precision = right / table.sum(2), right / np.maximum(says, 1)
        ranks = [weighted_ranking(truth[o, c], p[o, c], weights[:, o]) for c, o in enumerate(orders)]
        nll, brier = (weights @ each).T / len(y)
        out = {"accuracy": right.sum(1) / len(y), "balanced_accuracy": recall.mean(1),
               "macro_auroc": np.mean([r[0] for r in ranks], 0), "macro_auprc": np.mean([r[1] for r in ranks], 0),
               "nll": nll, "brier": brier, "ece": np.abs(weights @ member).sum(1) / len(y)}
        if ordered:
            chance = table.sum(2)[:, :, None] * says[:, None] / len(y)
            out["quadratic_kappa"] = 1 - (apart * table).sum((1, 2)) / (apart * chance).sum((1, 2))
        for c, (auroc, auprc) in enumerate(ranks):
            out |= {f"auroc/{c}": auroc, f"auprc/{c}": auprc, f"recall/{c}": recall[:, c],
                    f"precision/{c}": precision[:, c]}
        return out

    confusion = cell.sum(0).reshape(k, k).astype(int).tolist()
    return _report(measure, y, truth, names, n_boot, seed) | {
        "majority_accuracy": float(truth.mean(0).max()), "confusion": confusion}


def evaluate_multilabel(y_true, p, classes, n_boot: int = 2000, seed: int = 0, *, threshold: float = 0.5,
                        bins: int = 10) -> dict:
    """y_true [N,K] in {0,1}, p [N,K] in [0,1], each column a question of its own; classes: K names.

    Every number is `evaluate`'s for one column, in per_class, and its mean over the columns above: accuracy is the
    share of right answers, all_right the share of images with all K right, ece the mean over K of p against y.
    Images of the intervals are drawn within strata: an image belongs to the rarest finding that it shows.
    """
    names = _names(classes, n_boot, seed, bins)
    check_number("threshold", threshold, 0, 1, whole=False)
    y, p = as_matrix(y_true, "y_true"), _probabilities(p, names)
    if y.shape != p.shape or not np.isin(y, (0, 1)).all():
        raise MedsslError(f"y_true has shape {list(y.shape)}, values {np.unique(y)[:6].tolist()}; p {list(p.shape)}.",
                          "y_true of the shape of p, 0 or 1 everywhere", "one column a label, 1 where it is true")
    y = y.astype(np.int64)
    _all_there(y, names)
    says, orders = p >= threshold, np.argsort(p, axis=0, kind="stable").T
    columns = [np.stack([y[:, c] & says[:, c], y[:, c], says[:, c]], 1).astype(float) for c in range(len(names))]
    wanted = ("accuracy", "balanced_accuracy", "f1", "nll", "brier", "ece")

    def measure(weights: np.ndarray) -> dict:
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may lack a finding: left out of its mean
            rows = []
            for c, o in enumerate(orders):
                row = weighted_metrics(y[o, c], p[o, c], weights[:, o], threshold, bins)
                hit, true, said = (weights @ columns[c]).T
                rows.append({name: row[name] for name in (*wanted, "auroc", "auprc")} | {
                    "ece": row["ece_positive"], "recall": hit / true, "precision": hit / np.maximum(said, 1)})
            out = {name: np.nanmean([row[name] for row in rows], 0) for name in wanted}
            out |= {f"macro_{name}": np.nanmean([row[name] for row in rows], 0) for name in ("auroc", "auprc")}
        out["all_right"] = weights @ (says == y).all(1) / len(y)
        return out | {f"{name}/{c}": value for c, row in enumerate(rows) for name, value in row.items()}

    out = _report(measure, strata(y), y, names, n_boot, seed) | {"threshold": float(threshold)}
    for c, name in enumerate(names):
        out["per_class"][name]["confusion"] = np.bincount(2 * y[:, c] + says[:, c], minlength=4).reshape(2, 2).tolist()
    return out


def _report(measure, strata, truth, names, n_boot, seed) -> dict:
    """The numbers of `measure`, those named metric/k under their class, with intervals beside both."""
    flat = {name: float(value[0]) for name, value in measure(np.ones((1, len(truth)))).items()}
    spans = intervals_of(measure, strata, n_boot, seed) if n_boot else {}
    totals = [name for name in flat if "/" not in name]
    per_class = {}
    for c, name in enumerate(names):
        mine = {key.split("/")[0]: key for key in flat if key.endswith(f"/{c}")}
        per_class[name] = {"n": int(truth[:, c].sum()), "prevalence": float(truth[:, c].mean()),
                           **{short: flat[key] for short, key in mine.items()},
                           "ci95": {short: spans[key] for short, key in mine.items() if key in spans}}
    return {"n": len(truth), "classes": names, **{name: flat[name] for name in totals}, "per_class": per_class,
            "ci95": {name: spans[name] for name in totals if name in spans}}


def _names(classes, n_boot, seed, bins) -> list[str]:
    names = list(classes) if isinstance(classes, (tuple, list, np.ndarray)) else []
    if len(names) < 2 or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise MedsslError(f"classes={classes!r}.", "two or more different names, index = label", "pass `data.classes`")
    for name, value, least in (("n_boot", n_boot, 0), ("seed", seed, 0), ("bins", bins, 1)):
        check_number(name, value, least)
    return names


def _probabilities(p, names) -> np.ndarray:
    p = as_matrix(p, "p")
    if p.shape[1] != len(names):
        raise MedsslError(f"p has {p.shape[1]} columns, there are {len(names)} classes.", "one column for each class",
                          "of two classes: `evaluate`, or np.stack([1 - p, p], 1)" if p.shape[1] == 1 else
                          "give the model one output for each class")
    if not np.isfinite(p).all():
        row, column = np.argwhere(~np.isfinite(p))[0]
        raise MedsslError(f"p holds {(~np.isfinite(p)).sum()} values that are NaN or infinite, the first at row {row}, "
                          f"column {column}.", "finite probabilities", "look for a diverged training or a log(0)")
    if p.min() < 0 or p.max() > 1 + 1e-6:
        raise MedsslError(f"p runs from {p.min():.4g} to {p.max():.4g}.", "probabilities in [0, 1]",
                          "logits? softmax where one class is true, sigmoid where several can be")
    if np.isin(p, (0, 1)).all():
        raise MedsslError("p holds nothing but 0 and 1: these are predicted classes, not probabilities.", "scores",
                          "pass the softmax or sigmoid itself, not its argmax")
    return p


def _all_there(truth: np.ndarray, names: list[str]) -> None:
    """Each column of truth [N,K] has ones and zeros."""
    for name, n in zip(names, truth.sum(0), strict=True):
        if n in (0, len(truth)):
            raise MedsslError(f"{'No image has' if n == 0 else 'Every image has'} the label “{name}”.",
                              "images with and without each label (AUROC compares the two)",
                              "evaluate the whole split, or leave this class out of classes and p")
