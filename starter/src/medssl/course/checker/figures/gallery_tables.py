"""The table beside a gallery: is each row an image of the test split, called wrongly, by scores that were handed in?"""

import csv
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from medssl.course.checker.files.walk import Item
from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.numerals import numeral
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[str, Problem]]
MOST_ROWS = 300
COLUMNS = {"index": ("index", "idx", "image", "imageindex", "id", "i", "sample"),
           "label": ("ytrue", "label", "true", "y", "truelabel", "target", "truth"),
           "said": ("predicted", "pred", "ypred", "yhat", "prediction", "predictedlabel"),
           "p": ("p", "prob", "probability", "score", "p1", "py1", "pclass1"), "model": ("model", "seed", "run")}


class Line(NamedTuple):
    index: int
    label: int
    said: int | None
    p: float | None
    model: str


def tables(reading: Reading) -> Said:
    for item in reading.files():
        named = re.search(r"(gallery|misclass|high_?conf).*\.csv$", item.path.name, re.I)
        lines = _lines(reading, item) if named else []
        if lines and (said := _wrong(reading, item, lines)):
            yield item.shown, Problem("gallery-table", said, reading.context.rerun)


def _lines(reading: Reading, item: Item) -> list[Line]:
    """The rows that give at least an index and a label, by whatever name."""
    rows = [line[:500] for line in (reading.text_of(item) or "").splitlines()[: MOST_ROWS + 1] if line.strip()]
    try:
        header, *cells = list(csv.reader(rows))
    except (ValueError, csv.Error):
        return []
    bare = [re.sub(r"[^a-z0-9]", "", name.casefold()) for name in header]
    place = {what: next((bare.index(name) for name in names if name in bare), None) for what, names in COLUMNS.items()}
    found = []
    for row in cells:
        value = {what: row[k].strip() if k is not None and k < len(row) else "" for what, k in place.items()}
        numbers = {what: numeral(value[what]) for what in ("index", "label", "said", "p")}
        whole = {what: int(n.value) for what, n in numbers.items() if n and n.value == int(n.value)}
        if "index" in whole and whole.get("label") in (0, 1):
            p = numbers["p"].value if numbers["p"] else None
            said = whole.get("said", -1 if numbers["said"] else None)  # 0.5 is no class; a name is left alone
            found.append(Line(whole["index"], whole["label"], said, p, value["model"]))
    return found


def _wrong(reading: Reading, item: Item, lines: list[Line]) -> str:
    """The first thing wrong, in words that follow the file's name."""
    official = reading.context.official
    n, labels = (sum(official.counts["test"]), official.labels_of("test")) if official else (10**9, [])
    scores = [(y, p) for file, by_seed in reading.held_as("predictions").items() if "_val" not in file
              and isinstance(by_seed, dict) and not reading.flaws.get(file) for y, p in by_seed.values()]
    labels = labels or (scores[0][0].tolist() if scores else [])
    n = min(n, len(labels) or n)
    once = [(line.index, line.model) for line in lines]
    if twice := [index for k, (index, model) in enumerate(once) if (index, model) in once[:k]]:
        return f"names image {twice[0]} more than once: these are not {len(lines)} distinct errors"
    if beyond := [line.index for line in lines if not 0 <= line.index < n]:
        return f"names image {beyond[0]}; the test split has the images 0 to {n - 1}"
    if labels and (other := [line for line in lines if labels[line.index] != line.label]):
        return f"says label {other[0].label} of image {other[0].index}, which has {labels[other[0].index]}"
    if neither := [line for line in lines if line.said not in (0, 1, None)]:
        return f"gives image {neither[0].index} a predicted class that is neither 0 nor 1"
    if right := [line for line in lines if line.said == line.label]:
        return (f"names {len(right)} of {len(lines)} images that were called right (image {right[0].index}: label "
                f"{right[0].label}, predicted {right[0].said}): no errors")
    if any(line.p is None for line in lines):
        return ""
    if scores and not re.search(r"_[PB]\d", item.path.name) and not _is_of(lines, scores):  # a task has its own model
        line = lines[0]
        here = sorted({f"{p[line.index]:.4f}" for _, p in scores})[:4]
        return (f"gives p = {clean(line.p, 12)} for image {line.index}; the predictions handed in have "
                f"{', '.join(here)}: it is about another model")
    if all(line.said is None for line in lines) and (right := _on_the_right_side(reading, lines)):
        return (f"names image {right.index} with label {right.label} and p = {right.p:g}: at the threshold that is no "
                "error")
    return ""


def _is_of(lines: list[Line], scores: list[tuple]) -> bool:
    """Whether all p are of the predictions, each row of any of them where rows name models, else all of the same."""
    index, p = np.array([line.index for line in lines]), np.array([line.p for line in lines])
    # Some write the probability of the class that was said, or round to two digits.
    full = [q[index] for _, q in scores if index.max() < len(q)]
    fits = [np.minimum(np.abs(q - p), np.abs(1 - q - p)) < 6e-3 for q in full]
    several = len({line.model for line in lines}) > 1
    return not fits or bool(np.any(fits, axis=0).all() if several else np.all(fits, axis=1).any())


def _on_the_right_side(reading: Reading, lines: list[Line]) -> Line | None:
    """A row that no threshold of the submission makes an error."""
    point = next((value for path, value in reading.held_as("config").items() if "operating" in path), {})
    given = point.get("threshold") if isinstance(point, dict) else None
    thresholds = [0.5, *([given] if isinstance(given, (int, float)) else [])]
    return next((line for line in lines if all((line.p >= t) == (line.label == 1) for t in thresholds)), None)


CHECKS = (tables,)
