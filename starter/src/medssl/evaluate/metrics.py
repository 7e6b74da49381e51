"""One function from (labels, probabilities) to every number that is handed in, and one that joins seeds."""

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.bootstrap import bootstrap_intervals
from medssl.evaluate.calibration import ece, ece_debiased, ece_if_calibrated, reliability_table
from medssl.evaluate.checks import check_labels_and_probabilities, check_number


def evaluate(y_true, p, classes, threshold: float = 0.5, n_boot: int = 2000, seed: int = 0, bins: int = 10) -> dict:
    """Everything about one model on one split, as plain floats and lists (ready for JSON).

    y_true [N] in {0,1}; p [N] = P(class 1); classes = (name of 0, name of 1). Class 1 is predicted where p >= threshold
    (AUROC, AUPRC, NLL, Brier and ECE do not depend on it). Brier is mean (p - y)^2, from 0 to 1; some papers print
    twice that. The AUPRC of a random ranking is the prevalence, not 0.5. NLL clips p at the float64 epsilon.
    `ci95` is explained in bootstrap.py (n_boot=0 leaves it empty), `ece_if_calibrated` in calibration.py.
    """
    from sklearn import metrics as sk

    names = list(classes) if isinstance(classes, (tuple, list, np.ndarray)) else []  # a dict has no index
    if len(names) != 2 or not all(isinstance(name, str) for name in names) or names[0] == names[1]:
        raise MedsslError(f"classes={classes!r}.", "two different names, index = label", "pass `data.classes`")
    check_number("threshold", threshold, 0, 1, whole=False)
    for name, value, least in (("n_boot", n_boot, 0), ("seed", seed, 0), ("bins", bins, 1)):
        check_number(name, value, least)
    y, p = check_labels_and_probabilities(y_true, p)
    predicted = (p >= threshold).astype(np.int64)
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, predicted, labels=[0, 1], zero_division=0)
    prevalence = float(y.mean())
    out = {
        "n": len(y), "classes": names, "positive": names[1], "threshold": float(threshold), "prevalence": prevalence,
        "majority_accuracy": max(prevalence, 1 - prevalence),
        "accuracy": float(sk.accuracy_score(y, predicted)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(y, predicted)),
        "auroc": float(sk.roc_auc_score(y, p)), "auprc": float(sk.average_precision_score(y, p)), "f1": float(f1[1]),
        "nll": float(sk.log_loss(y, p, labels=[0, 1])), "brier": float(np.mean((p - y) ** 2)),
        "per_class": {names[k]: {"precision": float(precision[k]), "recall": float(recall[k]), "n": int(support[k])}
                      for k in (0, 1)},
        "confusion": sk.confusion_matrix(y, predicted, labels=[0, 1]).tolist(),  # rows true: [[tn, fp], [fn, tp]]
    }
    calibration = {
        "convention": "equal-width bins (lo, hi] over [0, 1]; top_label: max(p, 1-p) against correctness; "
                      "positive: p against y == 1; ece = ece_top_label; _mass: equally filled bins (ties share one)",
        "bins": int(bins), "ece_positive_if_calibrated": ece_if_calibrated(p, bins, "positive", seed=seed)}
    for kind in ("top_label", "positive"):
        out[f"ece_{kind}"] = ece(y, p, bins, kind)
        calibration[f"ece_{kind}_mass"] = ece(y, p, bins, kind, "mass")
        calibration[f"ece_{kind}_debiased"] = ece_debiased(y, p, bins, kind)
        for name, strategy in ((kind, "width"), (f"{kind}_mass", "mass")):
            table = reliability_table(y, p, bins, kind, strategy)  # JSON knows no NaN: empty bins hold None
            calibration[name] = {key: [None if x != x else x for x in column.tolist()] for key, column in table.items()}
    intervals = bootstrap_intervals(y, p, threshold=threshold, n_boot=n_boot, seed=seed, bins=bins) if n_boot else {}
    return out | {"ece": out["ece_top_label"], "ece_if_calibrated": ece_if_calibrated(p, bins, "top_label", seed=seed),
                  "calibration": calibration, "ci95": intervals}


def summarise_seeds(runs: list[dict]) -> dict[str, dict]:
    """{metric: {"mean", "std", "per_seed"}} over evaluate() results of one test set, one a seed.

    std is the sample standard deviation (n - 1): the spread between trainings, not the noise of the test set (ci95).
    One seed has no spread: its std is 0.0 and len(per_seed) == 1 says so.
    """
    splits = [(run.get("n"), run.get("classes")) for run in runs]
    if not runs or splits[0] == (None, None) or splits != splits[:1] * len(splits):
        raise MedsslError(f"cannot join {splits}.", "one or more evaluate() results of one split",
                          "join the seeds of one model on one test set")
    for run in runs:
        if differing := sorted({*run} ^ {*runs[0]}):
            raise MedsslError(f"some seeds have {', '.join(map(str, differing))}, others have not.",
                              "the same numbers for every seed", "evaluate all seeds with the same function")
    series = {name: [run[name] for run in runs] for name, value in runs[0].items() if isinstance(value, float)}
    return {name: {"mean": float(np.mean(values)), "per_seed": values,
                   "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0} for name, values in series.items()}
