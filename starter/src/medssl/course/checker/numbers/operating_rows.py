"""The rows of an operating point table, from Markdown, CSV or JSON: split, threshold, and the rates at it."""

import csv
import re
from collections.abc import Iterator
from typing import NamedTuple

from medssl.course.checker.files.walk import Item
from medssl.course.checker.parse.numerals import Numeral, numeral
from medssl.course.checker.parse.prose import read_prose
from medssl.course.checker.reading import Reading

MOST_ROWS = 40
NAMES = {"acc": "accuracy", "accuracy": "accuracy", "tpr": "tpr", "recall": "tpr", "sensitivity": "tpr", "sens": "tpr",
         "fpr": "fpr", "precision": "precision", "ppv": "precision", "specificity": "specificity", "tnr": "specificity",
         "spec": "specificity"}
SPLITS = {"val": "val", "valid": "val", "validation": "val", "test": "test"}


class Row(NamedTuple):
    where: str
    split: str  # "" where it is not said
    threshold: Numeral | None
    rates: dict[str, Numeral]
    rule: str  # what the row calls itself: "TPR >= 0.9"


def rows_of(reading: Reading, item: Item) -> list[Row]:
    if item.path.suffix.casefold() == ".json":
        return list(_of_json(reading.json_of(item), item.shown, "", None, "", 0))[:MOST_ROWS]
    text = reading.text_of(item) or ""
    if item.path.suffix.casefold() == ".csv":
        lines = list(csv.reader([line[:2000] for line in text.splitlines()[: MOST_ROWS + 1]]))
        tables = [(lines[0], lines[1:])] if lines else []
    else:
        tables = [(table.header, table.rows) for table in read_prose(text).tables]
    lines = [(header, cells) for header, rows in tables[:10] for cells in rows[:MOST_ROWS]]
    return [row for header, cells in lines for row in _of_cells(header, cells, item.shown)]


def _of_cells(header: list[str], cells: list[str], where: str) -> Iterator[Row]:
    """A row of a table, or one row a split where the header says "val TPR" and "test TPR"."""
    found: dict[str, dict[str, Numeral]] = {}
    threshold, split, rule = None, "", ""
    for name, cell in zip(header[:40], cells, strict=False):
        words = re.findall(r"[a-zτ]+\d?", name.casefold())
        side = next((SPLITS[w] for w in words if w in SPLITS), "")
        metric = next((NAMES[w] for w in words if w in NAMES), "")
        value = _number(cell)
        if any(w in ("threshold", "thr", "τ", "cutoff") for w in words) and not metric:
            threshold = threshold or value
        elif metric and value and "balanced" not in words:
            found.setdefault(side, {}).setdefault(metric, value)
        elif cell.strip().casefold() in SPLITS:
            split = SPLITS[cell.strip().casefold()]
        elif not rule and re.search(r"[^\W\d_]{3}", cell[:80]):
            rule = cell[:80]
    for side, rates in found.items():
        if len(rates) > 1 or threshold and rates:
            yield Row(where, side or split, threshold, rates, rule)


def _of_json(value: object, where: str, split: str, above: Numeral | None, rule: str, level: int) -> Iterator[Row]:
    if isinstance(value, list):
        for one in value[:MOST_ROWS]:
            yield from _of_json(one, where, split, above, rule, level + 1)
    if not isinstance(value, dict) or level > 6:
        return
    threshold = numeral(value.get("threshold")) or above
    rule = _rule_of(value) or rule
    split = SPLITS.get(str(value.get("split", ""))[:20].casefold(), split)
    rates = {NAMES[key]: number for key in list(value)[:100] if str(key).casefold() == key and key in NAMES
             and (number := numeral(value[key])) and key != "recall"}
    if len(rates) > 1:
        yield Row(where, split, threshold, rates, rule)
    for key, one in list(value.items())[:100]:
        if isinstance(one, (dict, list)) and key not in ("drift", "ci95", "change"):
            yield from _of_json(one, where, SPLITS.get(str(key).casefold(), split), threshold, rule, level + 1)


def _rule_of(value: dict) -> str:
    rule, target = str(value.get("rule", ""))[:20].casefold(), numeral(value.get("target"))
    sign = {"tpr": "TPR >= ", "fpr": "FPR <= "}.get(rule, "")
    return f"{sign}{target.value:g}" if sign and target else "Youden" if rule == "youden" else ""


def _number(cell: str) -> Numeral | None:
    """The first number of a cell such as 0.885 [0.795, 0.938], as a fraction."""
    first = re.match(r"\s*[<>=≥≤~]{0,2}\s*(\d{0,3}(?:[.,]\d{1,17})?)\s*(%?)", cell[:60])
    number = numeral(first[1]) if first and first[1] else None
    if number and (first[2] or 2 < number.value <= 100):
        number = Numeral(number.value / 100, number.decimals + 2)
    return number
