"""Confusion matrices in JSON, tables and text: do they hold the official images, and give the accuracy beside them?

[[tn, fp], [fn, tp]] with true classes as rows; tn + fp images of class 0, fn + tp of class 1 (the positive one).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from medssl.course.checker.arithmetic import interval
from medssl.course.checker.handed_in import Problem, clean
from medssl.course.checker.numerals import decimals_of
from medssl.course.checker.reading import Reading
from medssl.course.checker.recompute import is_number
from medssl.course.checker.sheets import Sheet
from medssl.course.checker.values import SPLITS, metric_of, spellings, words_of
from medssl.course.contract import Dataset

MOST, MOST_TEXT = 200, 60_000
CELLS = ("tn", "fp", "fn", "tp")
CELL = {name: cell for cell in CELLS for name in (cell, {"t": "true", "f": "false"}[cell[0]]
                                                  + {"n": "negative", "p": "positive"}[cell[1]])}
NAMES = ("confusion", "confusionmatrix", "cm", "matrix", "confmat")
WRITTEN = re.compile(r"(?i)\b(TP|FP|FN|TN|(?:true|false)[ -](?:positive|negative)s?)\b"
                     r"[^\w\n]{0,12}(\d{1,6})\b(?!\.\d|%)")
ROW = r"\[\s{0,9}(\d{1,6})[\s,]{1,9}(\d{1,6})\s{0,9}\]"
SQUARE = re.compile(rf"\[\s{{0,9}}{ROW}[\s,]{{0,9}}{ROW}\s{{0,9}}\]")


class Matrix(NamedTuple):
    """tn, fp, fn, tp as written. `named`: by these names; else as rows, which may be meant the other way round."""

    cells: tuple[int, int, int, int]
    named: bool
    place: str
    words: frozenset[str]
    beside: dict  # what else its object holds
    runs: int = 0


def matrices(found: list[Sheet], reading: Reading) -> Iterator[tuple[str, Problem]]:
    facts = reading.context.official
    if not facts:
        return
    accuracies = [(sheet, block) for sheet in found for block in sheet.tested() if "accuracy" in block.values]
    known, counted = spellings(reading.context.contract), []
    for sheet in found:
        here = [m for _, m in zip(range(MOST), _in_json(sheet.value, "", frozenset(), {}), strict=False)]
        counted += here
        said = {}
        for matrix in here:
            problem = None if "wrong-n" in sheet.flaws else judge(matrix, facts, reading.context.rerun)
            problem = problem or _against_accuracy(matrix, sheet, accuracies, known, len(here) == 1)
            if problem:
                said.setdefault(problem.code, problem)
        yield from ((sheet.where, problem) for problem in said.values())
    texts = [(item, (reading.text_of(item) or "")[:MOST_TEXT]) for item in reading.files()]
    texts = [(item, text, in_text(text)) for item, text in texts if text]
    counted += [matrix for _, _, here in texts for matrix in here]
    for item, text, here in texts:
        said = {p.code: p for matrix in here[::-1] if (p := judge(matrix, facts, reading.context.rerun))}
        if "positive-class" not in said and (claim := _wrong_class(text, facts, counted)):
            said["positive-class"] = claim
        yield from ((item.shown, problem) for problem in said.values())


def judge(matrix: Matrix, facts: Dataset, rerun: str) -> Problem | None:
    """Whether these are the official images of the matrix's split, in the official classes."""
    split = next((SPLITS[w] for w in sorted(matrix.words) if w in SPLITS), "")
    tn, fp, fn, tp = matrix.cells
    rows, columns, total = (tn + fp, fn + tp), (tn + fn, fp + tp), sum(matrix.cells)
    if not total or not split and rows in (tuple(facts.counts["val"]), tuple(facts.counts["train"])):
        return None
    n0, n1 = facts.counts[split or "test"]
    n, shown = n0 + n1, f"[[{tn}, {fp}], [{fn}, {tp}]]{matrix.place}"
    times = total // n
    if total == times * n and rows == (times * n0, times * n1):  # one run, or several added up
        return None
    if total != n:
        return Problem("confusion-total", f"has a confusion matrix {shown} of {total} images; the official "
                       f"{split or 'test'} split has {n} ({n0} + {n1}): it is of other images, or its numbers were "
                       "typed", rerun)
    if rows == (n1, n0):
        what = f"TP + FN = {fn + tp}" if matrix.named else f"a second row of {fn + tp}"
        return Problem("positive-class", f"has a confusion matrix {shown} with {what}: that is the count of "
                       f"'{facts.classes[0]}', class 0. The positive class is class 1, '{facts.classes[1]}' ({n1}): "
                       "the two look exchanged",
                       "confusion_matrix(y, predicted, labels=[0, 1]) with the official labels, and call class 1 "
                       "positive",
                       "error" if matrix.named else "warning")
    if columns in ((n0, n1), (n1, n0)):
        return Problem("confusion-transposed", f"has a confusion matrix {shown} whose columns hold the official "
                       f"{columns[0]} + {columns[1]}: it is transposed (FP and FN are exchanged)",
                       "confusion_matrix(y_true, y_predicted): the true labels come first", "warning")
    return Problem("confusion-counts", f"has a confusion matrix {shown} with {rows[0]} + {rows[1]} images of the two "
                   f"classes; the official {split or 'test'} split has {n0} + {n1}: labels are wrong, or numbers were "
                   "typed", rerun)


def _against_accuracy(matrix: Matrix, sheet: Sheet, accuracies: list, known: dict, alone: bool) -> Problem | None:
    """Whether the matrix gives the accuracy beside it (or the file's, where each is the only one)."""
    tn, fp, fn, tp = matrix.cells
    own = next(((key, value) for key, value in matrix.beside.items()
                if metric_of(str(key), known) == ("accuracy", "") and is_number(value) and 0 <= value <= 1), None)
    tested = [block for s, block in accuracies if s is sheet]
    if own is None and alone and len(tested) == 1 and tested[0].runs < 2:
        own = tested[0].names["accuracy"], tested[0].values["accuracy"]
    thresholds = [b.facts.get("threshold", 0.5) for b in tested] + [matrix.beside.get("threshold", 0.5)]
    if own is None or not sum(matrix.cells) or matrix.runs > 1:
        return None
    if own[0] not in matrix.beside and any(one != 0.5 for one in thresholds):
        return None
    low, high = interval(own[1], decimals_of(repr(own[1])))
    gives = (tn + tp) / sum(matrix.cells)
    if low <= gives <= high or {"seeds", "std"} & set(matrix.beside):
        return None
    twin = next((s.where.rpartition("/")[2] for s, b in accuracies
                 if s is not sheet and abs(b.values["accuracy"] - gives) < 1e-4), "")
    also = f". That is the accuracy of {twin}: were two matrices exchanged?" if twin else ""
    return Problem("confusion-accuracy", f"has a confusion matrix [[{tn}, {fp}], [{fn}, {tp}]]{matrix.place}, which "
                   f"gives the accuracy {gives:.4f}, and says {clean(own[0], 40)} = "
                   f"{own[1]:.4f}{also or ': one of the two is of another run'}",
                   "make both from the same predictions in one cell")


def _in_json(value: object, at: str, words: frozenset, above: dict, level: int = 0) -> Iterator[Matrix]:
    if level > 8 or not isinstance(value, (dict, list)):
        return
    place = f" ({clean(at, 60)})" if at else ""
    if isinstance(value, dict):
        cells = {_cell(key): one for key, one in list(value.items())[:500]}
        if all(_count(cells.get(cell)) for cell in CELLS):
            beside = value if set(map(str, value)) - set(CELLS) and len(value) > 4 else above
            yield Matrix(tuple(int(cells[cell]) for cell in CELLS), True, place, words, beside, _runs(value, above))
        for key, one in list(value.items())[:500]:
            deeper = words | frozenset(words_of(key))
            inner = f"{at}.{key}".lstrip(".")
            if re.sub(r"[\W_]", "", str(key).casefold()).removeprefix("test") in NAMES and isinstance(one, list) and (
                    four := _four(one)):
                yield Matrix(four, False, f" ({clean(at, 60)})" if at else "", deeper, value, _runs(value, above))
            else:
                yield from _in_json(one, inner, deeper, value, level + 1)
    else:
        for k, one in enumerate(value[:200]):
            if isinstance(one, (dict, list)):
                yield from _in_json(one, f"{at}.{k}".lstrip("."), words, {}, level + 1)


def _cell(name: object) -> str | None:
    """True Positives, true_positive, TP -> tp"""
    return CELL.get(re.sub(r"[\W_]", "", str(name)[:40].casefold()).removesuffix("s"))


def _runs(value: dict, above: dict) -> int:
    seeds = value.get("seeds", above.get("seeds"))
    return len(seeds) if isinstance(seeds, list) and "seed" not in value else 0


def _count(value: object) -> bool:
    return is_number(value) and value >= 0 and value == int(value) and value < 1e6


def _four(value: list) -> tuple | None:
    """[[a, b], [c, d]] or [a, b, c, d] of counts; a normalised matrix is none."""
    flat = [one for row in value[:4] for one in (row if isinstance(row, list) else [row])][:5]
    return tuple(map(int, flat)) if len(flat) == 4 and all(map(_count, flat)) and sum(flat) > 4 else None


def in_text(text: str) -> list[Matrix]:
    """Matrices written as TN=…, FP=…, FN=…, TP=… near each other, as [[a, b], [c, d]], or as columns of a table."""
    found = [Matrix(tuple(map(int, m.groups())), False, "", _near(text, m.start()), {})
             for m in SQUARE.finditer(text)][:20]
    run: dict[str, int] = {}
    last = 0
    for m in list(WRITTEN.finditer(text))[:MOST]:
        cell = _cell(m[1])
        run = {cell: int(m[2])} if m.start() - last > 200 or cell in run else run | {cell: int(m[2])}
        last = m.start()
        if len(run) == 4:
            found.append(Matrix(tuple(run[cell] for cell in CELLS), True, "", _near(text, m.start()), {}))
            run = {}
    return found + _in_tables(text)


def _near(text: str, at: int) -> frozenset:
    """The words of the line: val or test."""
    return frozenset(words_of(text[max(text.rfind("\n", 0, at), at - 150) + 1:at + 50]))


def _in_tables(text: str) -> list[Matrix]:
    """Rows of a Markdown table or CSV that has the columns TN, FP, FN and TP."""
    found, columns = [], {}
    for line in text.splitlines()[:1000]:
        cells = [cell.strip(" *`") for cell in re.split(r"[|,;\t]", line[:1000])]
        header = {CELL[cell.casefold()]: k for k, cell in enumerate(cells) if cell.casefold() in CELLS}
        if len(header) == 4:
            columns = header
        elif columns and len(cells) > max(columns.values()):
            four = [cells[columns[cell]] for cell in CELLS]
            if all(re.fullmatch(r"\d{1,6}", one) for one in four):
                found.append(Matrix(tuple(map(int, four)), True, "", frozenset(words_of(line[:200])), {}))
    return found[:20]


def _wrong_class(text: str, facts: Dataset, counted: list[Matrix]) -> Problem | None:
    """A text that calls the score P(name of class 0) beside a matrix whose TP + FN counts class 1."""
    n0, n1 = facts.counts["test"]
    if n1 not in {m.cells[2] + m.cells[3] for m in counted if m.named}:
        return None
    stem = next(w for w in words_of(facts.classes[0]) if len(w) > 5)
    match = re.search(rf"\bp\s?\(\s?(?:y\s?=\s?)?{stem[:-1]}\w{{0,3}}\s?\)", text.casefold())
    if not match:
        return None
    return Problem("positive-class", f"says '{clean(match[0], 40)}' beside TP + FN = {n1}, which counts "
                   f"'{facts.classes[1]}', class 1: the score is of that class, and every rate reads the wrong way "
                   "round",
                   f"call it P({facts.classes[1]}), or take 1 - p and the {n0} images of '{facts.classes[0]}'")
