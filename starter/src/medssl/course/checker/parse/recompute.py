"""Compute every metric again from the predictions, and say where a reported number does not follow from them.

Written apart from medssl.evaluate on purpose (a test holds the two together): a checker that shares the formula shares
the bug; and with numpy alone thirty students are graded before torch would have been imported.
"""

from math import erf, exp, pi, sqrt

import numpy as np

from medssl.course.checker.parse.handed_in import clean

BINS = 10
COUNTS = ("n", "confusion")  # whole numbers: no tolerance
ABSENT = object()


def metrics_of(y: np.ndarray, p: np.ndarray, threshold: float = 0.5, classes: tuple = (0, 1)) -> dict:
    """y [N] in {0,1}, p [N] = P(class 1) -> the metrics of `medssl.evaluate.evaluate`, by look_up()'s names."""
    predicted = p >= threshold
    tp, fp = int((predicted & (y == 1)).sum()), int((predicted & (y == 0)).sum())
    n, n1 = len(y), int(y.sum())
    n0 = n - n1
    fn, tn = n1 - tp, n0 - fp
    out = {"n": n, "confusion": [[tn, fp], [fn, tp]], "prevalence": n1 / n, "majority_accuracy": max(n0, n1) / n,
           "accuracy": (tp + tn) / n, "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0,
           "brier": float(np.mean((p - y) ** 2))}
    likelihood = np.clip(np.where(y == 1, p, 1 - p), np.finfo(float).eps, 1)
    out["nll"] = float(-np.log(likelihood).mean())
    for name, right, said, there in ((classes[0], tn, tn + fn, n0), (classes[1], tp, tp + fp, n1)):
        out[f"per_class.{name}.precision"] = right / said if said else 0.0
        out[f"per_class.{name}.recall"] = right / there if there else 0.0
        out[f"per_class.{name}.n"] = there
    width = np.arange(1, BINS) / BINS
    for kind, confidence, hit in (("top_label", np.maximum(p, 1 - p), (p >= 0.5) == (y == 1)), ("positive", p, y == 1)):
        out[f"ece_{kind}"], out[f"calibration.ece_{kind}_debiased"] = _ece(confidence, hit, width)
        ranked = np.sort(confidence)
        mass = ranked[-(-np.arange(1, BINS) * n // BINS) - 1]  # equal values stay in one bin
        out[f"calibration.ece_{kind}_mass"] = _ece(confidence, hit, np.unique(mass[mass < ranked[-1]]))[0]
    out["ece"] = out["ece_top_label"]
    if n0 and n1:
        out["auroc"], out["auprc"] = _ranking(y, p)
        out["balanced_accuracy"] = (tp / n1 + tn / n0) / 2
    return out


def look_up(block: dict, name: str) -> object:
    """What a nested block holds under a dotted name such as per_class.malignant.recall; ABSENT if nothing."""
    for key in name.split("."):
        block = block.get(key, ABSENT) if isinstance(block, dict) else ABSENT
    return block


def _ranking(y: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """(AUROC, AUPRC). Equal p share a rank: a tied pair counts one half, and one threshold takes all of them."""
    values, rank = np.unique(p, return_inverse=True)
    ones, zeros = (np.bincount(rank, y == k, len(values)) for k in (1, 0))  # how many of each class at each value
    below = np.cumsum(zeros) - zeros / 2
    hits, alarms = np.cumsum(ones[::-1]), np.cumsum((ones + zeros)[::-1])
    auroc = (ones * below).sum() / (ones.sum() * zeros.sum())
    return float(auroc), float((ones[::-1] * hits / alarms).sum() / ones.sum())


def _ece(confidence: np.ndarray, hit: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """(sum over the bins (lo, hi] between the edges of |sum of (hit - confidence)| / N, that less what chance adds).

    Chance moves a bin's mean gap g like N(g, s^2) with s^2 = f (1 - f) / n, so the second takes 2 |g| - E|N(g, s^2)|.
    """
    bins, total = np.searchsorted(edges, confidence, side="left"), [0.0, 0.0]
    sums = (np.bincount(bins, weights) for weights in (None, hit, confidence))
    for n, hits, summed in zip(*(one.tolist() for one in sums), strict=True):
        if not n:
            continue
        f = hits / n
        g, s = abs(f - summed / n), max(sqrt(f * (1 - f) / n), 1e-12)
        expected = s * sqrt(2 / pi) * exp(-0.5 * (g / s) ** 2) + g * erf(g / s / sqrt(2))
        total = [total[0] + n * g, total[1] + n * (2 * g - expected)]
    return total[0] / len(hit), max(0.0, total[1] / len(hit))


def tolerance(reported: float, metric: str, y: np.ndarray, p: np.ndarray) -> float:
    """How far a reported number may lie from ours: half a unit of its last written digit, but 1e-4 to 5e-3.

    A CSV that was rounded to 9 digits is no lie: images that a very sure model told apart above 1 - 1e-6 can become
    equal there. How far their order (AUROC, AUPRC) or the logarithm of 1 - p (nll) could move the number is added.
    """
    if metric in COUNTS or metric.endswith(".n"):
        return 0.0
    digits = 16 if "e" in repr(float(reported)) else len(repr(float(reported)).partition(".")[2])
    allowed, sure = min(max(1e-4, 0.5 * 10.0**-digits), 5e-3), p > 1 - 1e-6
    if metric == "nll":
        return allowed + float((np.minimum(15, 1e-9 / np.maximum(1 - p, 1e-11)) * (y == 0)).mean())
    if metric in ("auroc", "auprc") and sure.any() and len(np.unique(y)) == 2:
        here = ("auroc", "auprc").index(metric)
        extremes = [_ranking(y, _untied(y, p, sure, first))[here] for first in (0, 1)]
        allowed += max(abs(value - _ranking(y, p)[here]) for value in extremes)
    return allowed


def _untied(y: np.ndarray, p: np.ndarray, sure: np.ndarray, first: int) -> np.ndarray:
    """Scores with the order of p and no equal ones among the `sure`: of equal p the class `first` ranks higher."""
    scores, places = p.copy(), np.flatnonzero(sure)
    scores[places[np.lexsort((y[places] == first, p[places]))]] = 2 + np.arange(len(places))
    return scores


def is_number(value: object) -> bool:
    """A finite int or float (JSON allows integers too long for a float)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def compare(block: dict, predictions: dict[int, tuple[np.ndarray, np.ndarray]], file: str,
            classes: tuple | list = (0, 1)) -> list[dict]:
    """Rows {file, metric, seed, reported, recomputed, tolerance, agrees} for one metrics file.

    `block`: the metrics JSON (top level: means over seeds; `std`: their spread; `per_seed`: a block each).
    `predictions`: {seed: (y, p)}. The k-th block of `per_seed` belongs to the k-th of `seeds`; a block without partner
    is left to the caller.
    """
    rows, ours = [], {}
    seeds = block.get("seeds") if isinstance(block.get("seeds"), list) else sorted(predictions)
    parts = block.get("per_seed") if isinstance(block.get("per_seed"), list) else []
    parts = [part if isinstance(part, dict) else {} for part in parts] + [{}] * max(0, len(seeds) - len(parts))
    for seed, part in zip(seeds, parts, strict=False):
        if not isinstance(seed, int) or seed not in predictions:
            continue
        y, p = predictions[seed]
        threshold = part.get("threshold", block.get("threshold", 0.5))
        ours[seed] = metrics_of(y, p, threshold if is_number(threshold) and 0 <= threshold <= 1 else 0.5, classes)
        rows += [_row(file, metric, seed, look_up(part, metric), value, y, p) for metric, value in ours[seed].items()]
    for metric in sorted({metric for one in ours.values() for metric in one}):
        values = [one[metric] for one in ours.values() if metric in one]
        if len(values) < len(seeds) or (metric == "confusion" and len(values) > 1):
            continue
        mean, one = values[0] if metric in COUNTS else float(np.mean(values)), next(iter(predictions.values()))
        spread = float(np.std(values, ddof=1)) if len(values) > 1 and metric != "confusion" else 0.0
        rows.append(_row(file, metric, "mean", look_up(block, metric), mean, *one))
        rows.append(_row(file, metric, "std", look_up(block, f"std.{metric}"), spread, *one))
    return [row for row in rows if row["reported"] is not ABSENT]


def _row(file: str, metric: str, seed: int | str, reported: object, ours: object, y: np.ndarray, p: np.ndarray) -> dict:
    allowed = tolerance(reported, metric, y, p) if is_number(reported) else 0.0
    if metric == "confusion":
        agrees = reported == ours
    else:
        agrees = is_number(reported) and abs(reported - ours) <= allowed + 1e-12
    shown = reported if agrees or is_number(reported) or reported is ABSENT else clean(reported, 60)
    return {"file": file, "metric": metric, "seed": seed, "reported": shown, "recomputed": ours, "tolerance": allowed,
            "agrees": agrees}
