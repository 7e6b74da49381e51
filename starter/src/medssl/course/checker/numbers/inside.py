"""Does a metrics file agree with itself: its intervals with its scores, and its calibration bins with its accuracy?"""

from collections.abc import Iterator

import numpy as np

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[str, Problem]]
FAR = 0.6  # of the half-width: 1000 bootstrap draws move an end by 0.1, other kinds of interval by up to 0.3


def interval_ends(reading: Reading) -> Said:
    """The 95 % interval of accuracy and AUROC, held against what as many images of each class allow."""
    for slot in reading.slots:
        block, predictions = reading.held.get(slot.path), reading.held.get(slot.predictions)
        if slot.kind != "metrics" or not isinstance(block, dict) or not isinstance(predictions, dict):
            continue
        if reading.flaws.get(slot.path) or reading.flaws.get(slot.predictions):
            continue
        parts = block.get("per_seed") if isinstance(block.get("per_seed"), list) else []
        for part in parts[:30]:
            seed = part.get("seed") if isinstance(part, dict) else None
            if isinstance(seed, int) and seed in predictions and (said := _wrong_interval(part, *predictions[seed])):
                yield reading.found(slot.path), Problem("interval-implausible", f"gives {said} (seed {seed})",
                                                        reading.context.rerun, "warning")
                break


def _wrong_interval(part: dict, y: np.ndarray, p: np.ndarray) -> str:
    given = part.get("ci95") if isinstance(part.get("ci95"), dict) else {}
    for metric, (value, *halves) in _normal(y, p).items():
        ends, half = given.get(metric), max(halves)
        if not (isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))) or min(halves) < 1e-9:
            continue
        if metric == "accuracy" and part.get("threshold", 0.5) != 0.5:
            continue
        if all(max(abs(value - h - ends[0]), abs(value + h - ends[1])) > FAR * h + 0.01 for h in halves):
            return (f"{metric} {value:.3f} the interval [{ends[0]:.3f}, {ends[1]:.3f}]; {len(y)} images allow about "
                    f"[{value - half:.3f}, {min(1, value + half):.3f}]: an interval of other images, or of seeds")
    return ""


def _normal(y: np.ndarray, p: np.ndarray) -> dict[str, tuple[float, ...]]:
    """{metric: (value, half-width, …)} by the normal approximation; of the accuracy two: images drawn within each class
    as ours are, or from all.

    AUROC (DeLong 1988): its variance is var(V10)/n1 + var(V01)/n0, where V10 of a positive is the share of negatives
    below it, and V01 of a negative the share of positives above it.
    """
    ones, zeros = p[y == 1], p[y == 0]
    if min(len(ones), len(zeros)) < 5:
        return {}
    hit = [(ones >= 0.5).mean(), (zeros < 0.5).mean()]
    accuracy = (len(ones) * hit[0] + len(zeros) * hit[1]) / len(y)
    spread = np.sqrt(len(ones) * hit[0] * (1 - hit[0]) + len(zeros) * hit[1] * (1 - hit[1])) / len(y)
    low, high = np.sort(zeros), np.sort(ones)
    v10 = (np.searchsorted(low, ones, "left") + np.searchsorted(low, ones, "right")) / 2 / len(zeros)
    v01 = 1 - (np.searchsorted(high, zeros, "left") + np.searchsorted(high, zeros, "right")) / 2 / len(ones)
    error = np.sqrt(v10.var(ddof=1) / len(ones) + v01.var(ddof=1) / len(zeros))
    plain = np.sqrt(accuracy * (1 - accuracy) / len(y))
    return {"accuracy": (float(accuracy), 1.96 * float(spread), 1.96 * float(plain)),
            "auroc": (float(v10.mean()), 1.96 * float(error))}


def bins(reading: Reading) -> Said:
    """Counts add up to n; the bars have the accuracy (or the prevalence) as their weighted mean, the gaps the ECE."""
    for file, block in reading.held_as("metrics").items():
        parts = block.get("per_seed") if isinstance(block, dict) else None
        parts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        if isinstance(block, dict) and isinstance(block.get("calibration"), dict):
            parts = [*parts, block]
        for part in parts[:30]:
            if said := _wrong_bins(part):
                seed = f" (seed {clean(part['seed'], 20)})" if "seed" in part else ""
                why = "the bins are of another run, or were filled with the wrong hits ([N] against [N, 1]?)"
                yield reading.found(file), Problem("bins-contradict", f"{said}{seed}: {why}", reading.context.rerun)
                break


def _wrong_bins(part: dict) -> str:
    tables = part.get("calibration") if isinstance(part.get("calibration"), dict) else {}
    for kind, mean in (("top_label", "accuracy"), ("positive", "prevalence")):
        for name in (kind, f"{kind}_mass"):
            table = tables.get(name) if isinstance(tables.get(name), dict) else {}
            columns = [table[key] for key in ("count", "confidence", "frequency") if key in table]
            columns = columns if len(columns) == 3 else []
            if not columns or not all(isinstance(c, list) and len(c) == len(columns[0]) <= 1000 for c in columns):
                continue
            rows = [row for row in zip(*columns, strict=True) if is_number(row[0]) and row[0] > 0]
            if not rows or not all(is_number(x) for row in rows for x in row):
                continue
            count, confidence, frequency = np.array(rows, dtype=float).T
            n, threshold = part.get("n"), part.get("threshold", 0.5)
            if is_number(n) and count.sum() != n:
                return f"has bins ({name}) with {count.sum():g} images, and n = {n}"
            bar, value = float(count @ frequency / count.sum()), part.get(mean)
            if is_number(value) and abs(bar - value) > 2e-3 and (mean != "accuracy" or threshold == 0.5):
                return f"has bins ({name}) whose bars have the mean {bar:.3f}, and {mean} {value:.3f}"
            gap = float(count @ np.abs(frequency - confidence) / count.sum())
            ece = tables.get(f"ece_{name}", part.get(f"ece_{name}", part.get("ece") if name == "top_label" else None))
            if is_number(ece) and abs(gap - ece) > 2e-3:
                return f"has bins ({name}) whose gaps make an ECE of {gap:.3f}, and says {ece:.3f}"
    return ""


CHECKS = (interval_ends, bins)
