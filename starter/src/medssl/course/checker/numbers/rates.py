"""Can one confusion matrix on the official class counts give all the rates that a block reports?

accuracy = (tn + tp) / n, recall = tp / n1, specificity = tn / n0, balanced = their mean, precision = tp / (tp + fp),
f1 = 2 tp / (2 tp + fp + fn). Precision, recall and F1 may be meant for class 1, for class 0, or averaged (macro,
weighted): whichever fits is accepted, for each of them on its own.
"""

import numpy as np

from medssl.course.checker.numbers.arithmetic import interval

RATES = ("accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1")


def contradiction(values: dict[str, float], decimals: dict[str, int], counts: list[int]) -> tuple[str, bool]:
    """("accuracy 0.9500 with recall 0.4000", whether no mean over runs can give it either), or ("", False)."""
    held = {m: interval(values[m], decimals.get(m, 15)) for m in RATES if m in values}
    if "accuracy" not in held or len(held) < 2:
        return "", False
    for metric in ("balanced_accuracy", "recall", "specificity"):
        if metric in held and not _linear(held["accuracy"], held[metric], metric, counts):
            return f"{_shown('accuracy', values)} with {_shown(metric, values)}", True
    if _exists(held, counts):
        return "", False
    others = ", ".join(_shown(m, values) for m in held if m != "accuracy")
    return f"{_shown('accuracy', values)} with {others}", False


def _shown(metric: str, values: dict[str, float]) -> str:
    return f"{metric.replace('_', ' ')} {values[metric]:.4f}"


def _linear(accuracy: tuple, rate: tuple, metric: str, counts: list[int]) -> bool:
    """Whether recalls r0, r1 in [0, 1] exist with n a = n0 r0 + n1 r1 and this rate. Linear, so it holds for means too.

    At the ends of [0, 1]^2 cut by the accuracy: r1 runs from (n a - n0) / n1 to n a / n1, and r0 against it.
    """
    n0, n1 = counts
    n, lows, highs = n0 + n1, [], []
    for a in (max(0.0, accuracy[0]), min(1.0, accuracy[1])):
        r1 = np.clip([(n * a - n0) / n1, n * a / n1], 0, 1)
        r0 = (n * a - n1 * r1) / n0
        kinds = {"balanced_accuracy": [(r0 + r1) / 2], "specificity": [r0, r1]}.get(
            metric, [r0, r1, (r0 + r1) / 2, np.array([a, a])])
        lows.append([kind.min() for kind in kinds])
        highs.append([kind.max() for kind in kinds])
    low, high = np.min(lows, 0), np.max(highs, 0)
    return bool(((rate[1] >= low - 1e-9) & (rate[0] <= high + 1e-9)).any())


def _exists(held: dict[str, tuple], counts: list[int]) -> bool:
    """Whether a confusion matrix on these counts gives every rate, each by any of its meanings."""
    n0, n1 = counts
    n, (low, high) = n0 + n1, held["accuracy"]
    right = np.arange(max(0, int(np.ceil(low * n))), min(n, int(np.floor(high * n))) + 1)
    tp = np.arange(n1 + 1)[None]
    tn = right[:, None] - tp
    keep = (tn >= 0) & (tn <= n0)
    tn, tp = tn[keep], np.broadcast_to(tp, keep.shape)[keep]
    fp, fn = n0 - tn, n1 - tp
    r0, r1 = tn / n0, tp / n1
    p0, p1 = tn / np.maximum(tn + fn, 1), tp / np.maximum(tp + fp, 1)
    f0, f1 = 2 * tn / np.maximum(2 * tn + fp + fn, 1), 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    meanings = {"balanced_accuracy": [(r0 + r1) / 2], "specificity": [r0, r1], "recall": _all(r0, r1, n0, n1),
                "precision": _all(p0, p1, n0, n1), "f1": _all(f0, f1, n0, n1)}
    ok = np.ones(len(tn), bool)
    for metric, (low, high) in held.items():
        if metric != "accuracy":
            ok &= np.any([(low <= one + 1e-12) & (one - 1e-12 <= high) for one in meanings[metric]], axis=0)
    return bool(ok.any())


def _all(of0: np.ndarray, of1: np.ndarray, n0: int, n1: int) -> list[np.ndarray]:
    """Of class 1, of class 0, macro, weighted."""
    return [of1, of0, (of0 + of1) / 2, (n0 * of0 + n1 * of1) / (n0 + n1)]
