"""Calibration: of the images given 80 %, are 80 % what the model says? Two questions go by the name ECE; both are here.

  kind="positive"   confidence = p,             hit = (y == 1)           does P(class 1) mean what it says?
  kind="top_label"  confidence = max(p, 1 - p), hit = (predicted == y)   is the model right as often as it is sure?

Never mix them (p on one axis, accuracy on the other): a sure and right "class 0" at p = 0.02 would be a gap of 0.98.
"""

import numpy as np
from scipy.special import erf

from medssl.errors import MedsslError
from medssl.evaluate.checks import as_vector, check_labels_and_probabilities, check_number


def confidence_and_hit(y: np.ndarray, p: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """[N] confidence and [N] 0/1 hit of one convention (top_label predicts class 1 where p >= 0.5, always)."""
    if kind == "positive":
        return p, (y == 1).astype(float)
    if kind == "top_label":
        return np.maximum(p, 1 - p), ((p >= 0.5) == (y == 1)).astype(float)
    raise MedsslError(f"kind={kind!r} is unknown.", "'positive' or 'top_label'", "say which of the two ECEs you mean")


def assign_bins(confidence: np.ndarray, bins: int, strategy: str) -> tuple[np.ndarray, np.ndarray]:
    """(edges [B+1], bin of each image [N]). Bins are (lo, hi]; the first holds its lower edge too: 0 and 1 have a bin.

    "width": edges k / bins. "mass": edges at the ceil(k N / bins)-th smallest value; ties stay together, so B <= bins.
    """
    check_number("bins", bins, 1)
    if strategy not in ("width", "mass"):
        raise MedsslError(f"strategy={strategy!r}.", "'width' or 'mass'", "this course uses strategy='width', bins=10")
    if strategy == "width":
        edges = np.arange(bins + 1) / bins
    else:
        ordered = np.sort(confidence)
        inner = np.unique(ordered[-(-np.arange(1, bins) * len(ordered) // bins) - 1])
        edges = np.concatenate([ordered[:1], inner[inner < ordered[-1]], ordered[-1:]])
    return edges, np.searchsorted(edges[1:-1], confidence, side="left")


def reliability_table(y_true, p, bins: int = 10, kind: str = "positive", strategy: str = "width") -> dict:
    """The numbers of a reliability diagram: edges [B+1], count, confidence, frequency [B] (NaN in empty bins).

    A check worth doing: sum(count * frequency) / N is the accuracy (top_label) or the prevalence (positive).
    """
    y, p = check_labels_and_probabilities(y_true, p, both_classes=False)
    confidence, hit = confidence_and_hit(y, p, kind)
    edges, index = assign_bins(confidence, bins, strategy)
    count = np.bincount(index, minlength=len(edges) - 1)
    divisor = np.where(count > 0, count, np.nan)
    return {"edges": edges, "count": count, "confidence": np.bincount(index, confidence, len(count)) / divisor,
            "frequency": np.bincount(index, hit, len(count)) / divisor}


def ece(y_true, p, bins: int = 10, kind: str = "top_label", strategy: str = "width") -> float:
    """Expected calibration error: sum_b n_b / N * |frequency_b - confidence_b|."""
    table = reliability_table(y_true, p, bins, kind, strategy)
    gap = np.abs(table["frequency"] - table["confidence"])
    return float(np.nansum(table["count"] * gap) / table["count"].sum())


def ece_debiased(y_true, p, bins: int = 10, kind: str = "top_label", strategy: str = "width") -> float:
    """ECE less what chance alone adds, so that test sets of different size can be compared; never above ece().

    Chance moves a bin's frequency f by s = sqrt(f (1 - f) / n_b), and |gap| counts the move whichever way it goes.
    With X ~ N(gap, s^2) the excess is E|X| - |gap|, so each bin gives 2 |gap| - E|X| (the normal approximation of
    Kumar, Liang & Ma 2019, arXiv 1909.10155, in closed form); the sum is cut at 0. Removes about half of the noise.
    """
    table = reliability_table(y_true, p, bins, kind, strategy)
    count, f, gap = table["count"], table["frequency"], np.abs(table["frequency"] - table["confidence"])
    s = np.maximum(np.sqrt(f * (1 - f) / np.maximum(count, 1)), 1e-12)
    folded = s * np.sqrt(2 / np.pi) * np.exp(-0.5 * (gap / s) ** 2) + gap * erf(gap / s / np.sqrt(2))  # E|X|
    return float(max(0.0, np.nansum(count * (2 * gap - folded)) / count.sum()))


def ece_if_calibrated(p, bins: int = 10, kind: str = "top_label", strategy: str = "width", draws: int = 1000,
                      seed: int = 0) -> dict[str, float]:
    """{"mean", "p95"} of the ECE that a perfect model would show with these very p: labels are drawn from p itself.

    An ECE below p95 is no evidence of miscalibration; with 156 images and 10 bins p95 can be 0.1.
    """
    check_number("draws", draws, 1)
    check_number("seed", seed, 0)
    _, p = check_labels_and_probabilities(np.zeros(len(as_vector(p, "p"))), p, both_classes=False)
    confidence, _ = confidence_and_hit(p, p, kind)
    _, index = assign_bins(confidence, bins, strategy)
    rng = np.random.default_rng(seed)
    surplus = [np.bincount(index, (rng.random(len(p)) < confidence) - confidence) for _ in range(draws)]
    values = np.abs(surplus).sum(1) / len(p)  # n_b / N * |f_b - c_b| is |sum in b of (hit - confidence)| / N
    return {"mean": float(values.mean()), "p95": float(np.quantile(values, 0.95))}
