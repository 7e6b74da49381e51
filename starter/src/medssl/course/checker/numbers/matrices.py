"""Confusion matrices, wherever they stand: in JSON, in a table, in a sentence.

tn, fp, fn, tp by name; or [[tn, fp], [fn, tp]] with true classes as rows, as sklearn and this course write them.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from medssl.course.checker.parse.handed_in import clean
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.parse.values import words_of

MOST = 200
CELLS = ("tn", "fp", "fn", "tp")
CELL = {name: cell for cell in CELLS for name in (cell, {"t": "true", "f": "false"}[cell[0]]
                                                  + {"n": "negative", "p": "positive"}[cell[1]])}
NAMES = ("confusion", "confusionmatrix", "cm", "matrix", "confmat")
WRITTEN = re.compile(r"(?i)\b(TP|FP|FN|TN|(?:true|false)[ -](?:positive|negative)s?)\b"
                     r"[^\w\n]{0,12}(\d{1,6})\b(?!\.\d|%)")
ROW = r"\[\s{0,9}(\d{1,6})[\s,]{1,9}(\d{1,6})\s{0,9}\]"
SQUARE = re.compile(rf"\[\s{{0,9}}{ROW}[\s,]{{0,9}}{ROW}\s{{0,9}}\]")
# Two by two numbers in a text are a confusion matrix where it says so, and not where it calls them something else.
CALLED = re.compile(r"(?i)confusion|\bmatri(?:x|ces)\b|\bcm\b|\bt[np]\b|conf_?mat")
OTHER = re.compile(r"(?i)\bpapers?\b|\bet al\b|\bcrop|\bweights?\b|galler|\bview|normali[sz]ed")


class Matrix(NamedTuple):
    """tn, fp, fn, tp as written. `named`: by these names; else as rows, which may be meant the other way round."""

    cells: tuple[int, int, int, int]
    named: bool
    place: str
    words: frozenset[str]
    beside: dict  # what else its object holds
    runs: int = 0


def in_json(value: object, at: str, words: frozenset, above: dict, level: int = 0) -> Iterator[Matrix]:
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
                yield from in_json(one, inner, deeper, value, level + 1)
    else:
        for k, one in enumerate(value[:200]):
            if isinstance(one, (dict, list)):
                yield from in_json(one, f"{at}.{k}".lstrip("."), words, {}, level + 1)


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
    good = len(flat) == 4 and all(map(_count, flat)) and sum(flat) > 4 and not _percents(*flat)
    return tuple(map(int, flat)) if good else None


def _percents(a: float, b: float, c: float, d: float) -> bool:
    """Rows (or columns) that each add up to 100: a matrix in percent, not of images. 1 for the rounding."""
    return any(all(abs(total - 100) <= 1 for total in two) for two in ((a + b, c + d), (a + c, b + d)))


def in_text(text: str) -> list[Matrix]:
    """Matrices written as TN=…, FP=…, FN=…, TP=… near each other, as [[a, b], [c, d]], or as columns of a table."""
    small, run, last = text.casefold(), {}, 0
    found = [Matrix(tuple(map(int, m.groups())), False, "", _near(text, m.start()), {})
             for m in (SQUARE.finditer(text) if "[" in text else ()) if _is_confusion(text, m)][:20]
    for m in list(WRITTEN.finditer(text) if "tp" in small or "true" in small else ())[:MOST]:
        cell = _cell(m[1])
        run = {cell: int(m[2])} if m.start() - last > 200 or cell in run else run | {cell: int(m[2])}
        last = m.start()
        if len(run) == 4:
            if not OTHER.search(_lines(text, m.start())):
                found.append(Matrix(tuple(run[cell] for cell in CELLS), True, "", _near(text, m.start()), {}))
            run = {}
    tables = "|" in text and "pred" in small or "tn" in small and "tp" in small  # else no line of it is looked at
    return found + (_in_tables(text) if tables else [])


def _is_confusion(text: str, match: re.Match) -> bool:
    """Whether the words before it call two by two numbers a confusion matrix, of counts."""
    said = _lines(text, match.start())
    before = text[max(0, match.start() - 200):match.end() + 50]
    return bool(CALLED.search(before)) and not OTHER.search(said) and "%" not in said.rpartition("\n")[2] \
        and not _percents(*map(int, match.groups()))


def _lines(text: str, at: int) -> str:
    """The line of a place in a text, to 80 characters behind it, and the line before it."""
    start = text.rfind("\n", 0, max(text.rfind("\n", 0, at), 0)) + 1
    return text[max(start, at - 300):at] + text[at:at + 80].partition("\n")[0]


def _near(text: str, at: int) -> frozenset:
    """The words of the line: val or test."""
    return frozenset(words_of(text[max(text.rfind("\n", 0, at), at - 150) + 1:at + 50]))


def _in_tables(text: str) -> list[Matrix]:
    """Rows of a table (Markdown or CSV) with the columns TN, FP, FN and TP; or a table that is a matrix itself.

    | | pred 0 | pred 1 |   followed by   | true 0 | 30 | 12 |   and   | true 1 | 6 | 108 |
    """
    found, columns, two, above = [], {}, [], False
    lower = text.casefold()
    if lower.count("pred") < 2 and not all(cell in lower for cell in CELLS):
        return []  # thousands of predictions, and no header of such a table among them
    for line in text.splitlines()[:1000]:
        cells = [cell.strip(" *`") for cell in re.split(r"[|,;\t]", line[:1000])]
        header = {CELL[cell.casefold()]: k for k, cell in enumerate(cells) if cell.casefold() in CELLS}
        counts = [int(cell) for cell in cells if re.fullmatch(r"\d{1,6}", cell)]
        if len(header) == 4:
            columns = header
        elif columns and len(cells) > max(columns.values()):
            four = [cells[columns[cell]] for cell in CELLS]
            if all(re.fullmatch(r"\d{1,6}", one) for one in four):
                found.append(Matrix(tuple(map(int, four)), True, "", frozenset(words_of(line[:200])), {}))
        elif sum("pred" in cell.casefold() for cell in cells) >= 2:
            two, above = [], True
        elif above and len(counts) == 2 and "|" in line:
            two += counts
            if len(two) == 4:
                if not _percents(*two):
                    found.append(Matrix(tuple(two), False, "", frozenset(), {}))
                two, above = [], False
        elif above and not re.fullmatch(r"[\s|:-]*", line):
            above = False
    return found[:20]
