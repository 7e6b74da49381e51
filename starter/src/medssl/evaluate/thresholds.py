"""Operating points: from a score to a decision. Class 1 is said where p >= threshold, and the threshold comes from val.

Four rules, each one sentence of what somebody wants:

  tpr     the highest threshold that finds at least `target` of class 1    (miss few)
  fpr     the lowest threshold that alarms on at most `target` of class 0  (bother few)
  youden  the largest TPR - FPR                                            (both classes weigh the same)
  cost    the smallest cost_fn * FN + cost_fp * FP                         (each mistake at its price)

"fixed" is the point of comparison: the threshold is the target. Of equally good ones the highest is taken.
Mind the positive class: in BreastMNIST class 1 is "normal, benign", so a missed cancer is a false *positive*.
"""

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.checks import check_labels_and_probabilities, check_number

RULES = ({"rule": "fixed", "target": 0.5}, {"rule": "tpr", "target": 0.9}, {"rule": "fpr", "target": 0.1},
         {"rule": "youden"}, {"rule": "cost", "cost_fn": 1.0, "cost_fp": 5.0})
Z = 1.959963984540054  # 95 % of a standard normal lie within +- this


def choose_threshold(y, p, rule: str, target: float | None = None, *, cost_fn: float = 1.0,
                     cost_fp: float = 1.0) -> float:
    """The threshold that `rule` picks on labels y [N] and scores p [N]; hand in val, never test.

    It lies midway between two neighbouring scores (0 and 1 count as neighbours). On a score, as roc_curve gives it,
    that image would sit on the edge: rounding p to four digits could flip it, and the next like it is a coin toss.
    Every target can be met, if need be by a threshold below all scores or above all (beyond 1 where one is 1).
    """
    y, p = check_labels_and_probabilities(y, p)
    if rule not in ("tpr", "fpr", "youden", "cost", "fixed"):
        raise MedsslError(f"rule={rule!r}.", "'tpr', 'fpr', 'youden', 'cost' or 'fixed'",
                          "choose_threshold(y_val, p_val, 'tpr', 0.9)")
    if (rule in ("tpr", "fpr", "fixed")) != (target is not None):
        raise MedsslError(f"rule={rule!r} with target={target!r}.", "a target for tpr, fpr and fixed, else none",
                          "choose_threshold(y_val, p_val, 'fpr', 0.1), or 'youden' alone")
    for name, value, high in (("target", target, 1), ("cost_fn", cost_fn, np.inf), ("cost_fp", cost_fp, np.inf)):
        if value is not None:
            check_number(name, value, 0, high, whole=False)
    if rule == "fixed":
        return float(target)
    thresholds, tp, fp = all_cuts(y, p)
    n1, n0 = y.sum(), len(y) - y.sum()
    if rule == "tpr":
        best = np.flatnonzero(tp / n1 >= target)[-1]
    elif rule == "fpr":
        best = np.flatnonzero(fp / n0 <= target)[0]
    else:  # whole numbers for Youden: no rounding decides between equals
        loss = fp * n1 - tp * n0 if rule == "youden" else cost_fn * (n1 - tp) + cost_fp * fp
        best = np.flatnonzero(loss <= loss.min() + 1e-9 * abs(loss.min()))[-1]
    return float(thresholds[best])


def all_cuts(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All decisions that p allows, from "everything is class 1" to "nothing": thresholds, TP and FP, each [G + 1]."""
    scores = np.unique(p)  # G of them; images of equal p stand on the same side of every threshold
    edges = np.r_[0, scores, max(1, np.nextafter(scores[-1], 2))]
    midway = (edges[:-1] + edges[1:]) / 2
    thresholds = np.where(midway > edges[:-1], midway, edges[1:])  # next-door floats have nothing between them
    tp, fp = (len(own) - np.searchsorted(np.sort(own), thresholds) for own in (p[y == 1], p[y == 0]))
    return thresholds, tp, fp


def at_threshold(y, p, threshold: float) -> dict:
    """Counts and rates of the decision p >= threshold, with Wilson intervals; class 1 is the positive one.

    recall is TPR by its other name, specificity is 1 - FPR. Without any alarm precision is 0 by the convention of
    evaluate(), and its interval [0, 1] says that nothing is known. The intervals take the threshold as given.
    """
    y, p = check_labels_and_probabilities(y, p)
    check_number("threshold", threshold, 0, whole=False)
    says_1 = p >= threshold
    tp, fp = int(says_1[y == 1].sum()), int(says_1[y == 0].sum())
    fn, tn, n = int(y.sum()) - tp, int((y == 0).sum()) - fp, len(y)
    shares = {"accuracy": (tp + tn, n), "tpr": (tp, tp + fn), "fpr": (fp, fp + tn), "precision": (tp, tp + fp),
              "recall": (tp, tp + fn), "specificity": (tn, fp + tn)}
    return {"threshold": float(threshold), "n": n, "tp": tp, "fp": fp, "tn": tn, "fn": fn,
            **{name: k / m if m else 0.0 for name, (k, m) in shares.items()},
            "ci95": {name: wilson(k, m) for name, (k, m) in shares.items()}}


def wilson(k: int, n: int) -> list[float]:
    """95 % interval of a share k / n: all q with |k/n - q| <= z sqrt(q (1 - q) / n). Holds at k = 0 and k = n, too."""
    if n == 0:
        return [0.0, 1.0]
    centre, half = k + Z**2 / 2, Z * np.sqrt(k * (n - k) / n + Z**2 / 4)
    return [max(0.0, float((centre - half) / (n + Z**2))), min(1.0, float((centre + half) / (n + Z**2)))]


def operating_points(y_val, p_val, y_test, p_test, rules=RULES) -> list[dict]:
    """Each rule chosen on val and carried to test as it is; one row {"rule", "target", …, "val", "test", "drift"}.

    rules: what choose_threshold takes, as dicts: {"rule": "tpr", "target": 0.9}. drift = test - val for TPR and FPR;
    its ci95 (Newcombe 1998: the Wilson limits of both, joined) holds 0 where the noise of two small splits explains it.
    """
    rows = []
    for rule in rules:
        threshold = choose_threshold(y_val, p_val, **rule)
        val, test = at_threshold(y_val, p_val, threshold), at_threshold(y_test, p_test, threshold)
        drift = {name: test[name] - val[name] for name in ("tpr", "fpr")}
        drift["ci95"] = {name: _newcombe(val, test, name) for name in ("tpr", "fpr")}
        rows.append({"target": None, **rule, "threshold": threshold, "selected_on": "val", "val": val, "test": test,
                     "drift": drift})
    return rows


def _newcombe(before: dict, after: dict, name: str) -> list[float]:
    a, (a_low, a_high), b, (b_low, b_high) = after[name], after["ci95"][name], before[name], before["ci95"][name]
    return [float(a - b - np.hypot(a - a_low, b_high - b)), float(a - b + np.hypot(a_high - a, b - b_low))]


def operating_point_table(rows: list[dict], positive: str) -> str:
    """operating_point_table.md of operating_points(): one line for val and one for test, and what drifted.

    AUROC has no column: it belongs to the model, over all thresholds, and is the same in every line.
    """
    lines = ["| rule | threshold | split | accuracy | TPR | FPR | precision | recall |", "|" + " --- |" * 8]
    for row in rows:
        for split in ("val", "test"):
            rates = ["{:.3f} [{:.3f}, {:.3f}]".format(row[split][name], *row[split]["ci95"][name])
                     for name in ("accuracy", "tpr", "fpr", "precision")]
            lines.append(f"| {rule_name(row)} | {row['threshold']:.4f} | {split} | {' | '.join(rates)} "
                         f"| {row[split]['recall']:.3f} |")
    lines += ["", f"Positive class: {positive} (class 1), said where p >= threshold; thresholds chosen on val. "
                  "[95 % Wilson interval]. AUROC belongs to the model, not to a point: no threshold changes it.", ""]
    for row in rows:
        drifts = ["{} {:+.3f} [{:+.3f}, {:+.3f}]".format(name.upper(), row["drift"][name], *row["drift"]["ci95"][name])
                  for name in ("tpr", "fpr")]
        lines.append(f"- {rule_name(row)}: from val to test {', '.join(drifts)}")
    return "\n".join(lines) + "\n"


def rule_name(row: dict) -> str:
    """ "TPR >= 0.9" and so on, for tables and figures."""
    if row["rule"] == "cost":
        return f"cost FN {row.get('cost_fn', 1.0):g} : FP {row.get('cost_fp', 1.0):g}"
    sign = {"tpr": "TPR >= ", "fpr": "FPR <= ", "fixed": "fixed ", "youden": "Youden"}[row["rule"]]
    return sign if row["target"] is None else f"{sign}{row['target']:g}"
