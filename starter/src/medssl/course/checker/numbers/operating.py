"""Week 7's operating points, recomputed: does the threshold give on val and on test what the table says it gives?

Rows are read from tables (Markdown, CSV) and from JSON. Where the scores were handed in they decide; else a row must be
possible on the official images: TPR = k/n1, FPR = j/n0, and accuracy and precision of the same k and j.
"""

import re
from collections.abc import Iterator

import numpy as np

from medssl.course.checker.files.walk import Item
from medssl.course.checker.numbers.operating_rows import Row, rows_of
from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.numerals import Numeral, numeral
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[str, Problem]]
COARSE = 0.03  # what a search in steps of 0.01 may lose of TPR - FPR on 78 images


def operating_points(reading: Reading) -> Said:
    """One finding a file: which rows do not follow from the scores, or from any scores."""
    if reading.context.week.number != 7 or not reading.context.official:
        return
    for item in reading.files():
        if not re.search(r"operating|threshold|_P4\.", item.path.name, re.I):
            continue
        ours = "_P4" not in item.path.name  # an extra task may be about another model
        scores = _scores(reading) if ours else {}
        counts = reading.context.official.counts
        wrong = [said for row in rows_of(reading, item) if (said := _wrong(row, scores, counts))]
        if wrong:
            more = f" (and {len(wrong) - 1} more rows)" if len(wrong) > 1 else ""
            yield item.shown, Problem("operating-point-mismatch", f"{wrong[0]}{more}", reading.context.rerun)
        elif ours and scores:
            yield from _chosen(reading, item, scores)


def val_and_test(reading: Reading) -> Said:
    """A threshold is carried from val to test of one model: both files hold the same seeds."""
    held = {file: by_seed for file, by_seed in reading.held_as("predictions").items() if isinstance(by_seed, dict)}
    for file, by_seed in held.items():
        other = file.replace("_test.csv", "_val.csv")
        if other != file and other in held and not (reading.flaws.get(file) or reading.flaws.get(other)):
            here, there = sorted(by_seed), sorted(held[other])
            if here != there:
                yield reading.found(file), Problem(
                    "seeds-mismatch", f"has the seeds {clean(here, 60)}, {other} {clean(there, 60)}: a threshold from "
                    "val says nothing about another training on test", reading.context.rerun)


def _scores(reading: Reading) -> dict[str, list]:
    """{"val": [(y, p) of each seed], "test": ...} of the two predictions files of week 7; {} if one is missing."""
    held = {split: reading.held.get(f"predictions_{split}.csv") for split in ("val", "test")}
    sound = all(isinstance(v, dict) and v and not reading.flaws.get(f"predictions_{k}.csv") for k, v in held.items())
    return {split: [by_seed[seed] for seed in sorted(by_seed)[:10]] for split, by_seed in held.items()} if sound else {}


def rates_at(y: np.ndarray, p: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """Each rate at each threshold, class 1 said where p >= threshold."""
    says = p[None] >= thresholds[:, None]
    tp, fp, n1, n0 = (says & (y == 1)).sum(1), (says & (y == 0)).sum(1), (y == 1).sum(), (y == 0).sum()
    return {"accuracy": (tp + n0 - fp) / len(y), "tpr": tp / max(n1, 1), "fpr": fp / max(n0, 1),
            "precision": tp / np.maximum(tp + fp, 1), "specificity": 1 - fp / max(n0, 1)}


def _wrong(row: Row, scores: dict[str, list], counts: dict) -> str:
    """What is wrong with a row, in words that follow the file's name, or ""."""
    sides = [row.split] if row.split else ["test", "val"]
    if not scores or row.threshold is None:
        fits = any(_possible(row.rates, counts[side], flip) for side in sides for flip in (False, True))
        n0, n1 = counts[sides[0]]
        return "" if fits else (f"gives {_told(row)}: {n0} images of class 0 and {n1} of class 1 cannot give these "
                                "rates together")
    best: tuple[int, dict] = (99, {})
    for side in sides:
        for y, p in scores[side]:
            for labels, s in ((y, p), (1 - y, 1 - p)):  # a table may be about class 0 as the positive one
                misses = _misses(row, labels, s)
                best = min(best, (len(misses), misses), key=lambda pair: pair[0])
    if not best[1]:
        return ""
    name, ours = next(iter(best[1].items()))
    return (f"gives {name} {row.rates[name].value:g} at threshold {row.threshold.value:g} on {sides[0]}; "
            f"predictions_{sides[0]}.csv gives {ours:.4f}. One of the two is of another model or threshold")


def _misses(row: Row, y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """{rate: ours} of the rates that no threshold gives which is written as this one is."""
    t, unit = row.threshold.value, 10.0 ** -min(row.threshold.decimals, 12)
    inside = np.sort(p[(p > t - unit) & (p < t + unit)])[:60]
    ours = rates_at(y, p, np.unique(np.r_[t - unit / 2, t, t + unit / 2, inside]))
    return {name: float(ours[name][np.abs(ours[name] - one.value).argmin()]) for name, one in row.rates.items()
            if np.abs(ours[name] - one.value).min() > _slack(one)}


def _slack(number: Numeral) -> float:
    """A unit of the last digit: rounded, or cut off."""
    return max(10.0 ** -min(number.decimals, 12), 1e-6) * (1 + 1e-9)


def _possible(rates: dict[str, Numeral], counts: list[int], flip: bool) -> bool:
    """Whether some number of hits k and of false alarms j gives all these rates."""
    n0, n1 = counts[::-1] if flip else counts
    k, j = np.arange(n1 + 1)[:, None], np.arange(n0 + 1)[None]
    ours = {"accuracy": (k + n0 - j) / (n0 + n1), "tpr": k / n1 + 0 * j, "fpr": j / n0 + 0 * k,
            "precision": k / np.maximum(k + j, 1), "specificity": 1 - j / n0 + 0 * k}
    return bool(np.all([np.abs(ours[name] - one.value) <= _slack(one) for name, one in rates.items()], axis=0).any())


def _told(row: Row) -> str:
    return ", ".join(f"{name} {one.value:g}" for name, one in row.rates.items()) + f" ({row.split or 'val or test'})"


def _chosen(reading: Reading, item: Item, scores: dict[str, list]) -> Said:
    """Does the threshold do on val what it was chosen for? If it does so on test alone, test has chosen it."""
    for row in rows_of(reading, item):
        if not row.threshold or not (goal := _goal(row.rule)) or len(scores["val"]) != 1 or row.split == "test":
            continue
        val, test = (_reaches(goal, *scores[side][0], row.threshold) for side in ("val", "test"))
        if val and not val[0]:
            how = (" On test it does: it looks chosen there, and every number at it is then too good"
                   if test and test[0] else "")
            yield item.shown, Problem(
                "threshold-not-from-val", f"uses the threshold {row.threshold.value:g} for '{clean(row.rule, 40)}', "
                f"but on predictions_val.csv it does not do that: {val[1]}.{how}",
                f"choose_threshold(y_val, p_val, …), then {reading.context.rerun}", "warning")
            return


def _goal(rule: str) -> tuple[str, float] | None:
    if "youden" in rule.casefold():
        return "youden", 0.0
    text = rule[:80].casefold()
    found = re.search(r"\b(tpr|sensitivity|recall|fpr)\b\D{0,14}?(\d{1,3}(?:\.\d{1,6})?|\.\d{1,6}) ?(%?)", text)
    number = numeral(found[2]) if found and found[2] else None
    if not number:
        return None
    return "fpr" if found[1] == "fpr" else "tpr", number.value / (100 if found[3] or number.value > 1 else 1)


def _reaches(goal: tuple[str, float], y: np.ndarray, p: np.ndarray, threshold: Numeral) -> tuple[bool, str]:
    """(whether the goal is met at the threshold, what is measured); an image more or less is forgiven."""
    what, target = goal
    unit = 10.0 ** -min(threshold.decimals, 12) / 2
    here = rates_at(y, p, np.array([threshold.value - unit, threshold.value, threshold.value + unit]))
    if what == "youden":
        everywhere = rates_at(y, p, np.unique(p))
        top, mine = (float((r["tpr"] - r["fpr"]).max()) for r in (everywhere, here))
        return mine >= top - COARSE, f"TPR - FPR is {mine:.3f} there, and {top:.3f} at its best"
    mine, one = float(here[what].max() if what == "tpr" else here[what].min()), 1 / max((y == (what == "tpr")).sum(), 1)
    return (mine >= target - one if what == "tpr" else mine <= target + one), f"{what.upper()} is {mine:.3f}"


CHECKS = (operating_points, val_and_test)
