"""One number as people write it, and the JSON that a text holds.

0.763 · "76.3 %" · "np.float64(0.763)" · "0.763 ± 0.012" · [train, test] under a key "acc (train/test)". What matters
beside the value is how many decimals were written: only they can be held against whole numbers of images.
"""

import json
import re
from itertools import islice
from typing import NamedTuple

from medssl.course.checker.parse.recompute import is_number

MOST_TRIES, MOST_PARTS = 40, 50  # a text with a thousand brackets that never close costs no more than this
NUMBER = r"[-+]?(?:\d{1,20}\.?\d{0,25}|\.\d{1,25})(?:[eE][-+]?\d{1,3})?"
WRAPPED = re.compile(rf"(?:np\.|numpy\.|torch\.)?(?:float\d*|array|tensor)\(\s*\[?\s*({NUMBER})\s*\]?[^()]{{0,60}}\)")
ALONE = re.compile(rf"({NUMBER})\s*(%?)(\s*(?:±|\+/-|\+-|\()\s*{NUMBER}\s*%?\s*\)?)?\s*(%?)")


class Numeral(NamedTuple):
    value: float
    decimals: int
    percent: bool = False  # a sign said so
    mean: bool = False  # a spread stands beside it


def numeral(value: object, key: str = "") -> Numeral | None:
    """A number, also one in a string, with a percent sign, or at its place in the list of a key "acc (train/test)"."""
    if isinstance(value, list):
        named = re.search(r"\(([^)]{1,80})\)", key[:200])
        places = [w.strip() for w in re.split(r"[/,|]", named[1].casefold())] if named else []
        value = value[places.index("test")] if "test" in places and len(places) == len(value) else (
            value[0] if len(value) == 1 else None)
    if isinstance(value, str):
        text = value[:80].strip()
        text = found[1] if (found := WRAPPED.fullmatch(text)) else text
        found = ALONE.fullmatch(text) or ALONE.fullmatch(text.replace(",", ".", 1))  # a decimal comma
        if not found or not is_number(float(found[1])):
            return None
        return Numeral(float(found[1]), decimals_of(found[1]), bool(found[2] or found[4]), bool(found[3]))
    return Numeral(float(value), decimals_of(repr(value))) if is_number(value) else None


def several(values: list, key: str) -> list[Numeral | None]:
    """A list of one number a seed."""
    return [numeral(value, key) if not isinstance(value, (list, dict)) else None for value in values[:100]]


def decimals_of(text: str) -> int:
    """How many decimals a number was written with: 0.7628 has 4, 1.5e-3 has 4, 1 has none."""
    digits, _, power = text.casefold().partition("e")
    return max(0, len(digits.partition(".")[2]) - int(power or 0))


def as_fractions(numbers: dict[str, Numeral]) -> dict[str, Numeral]:
    """The metrics of one block as fractions. Percent without a sign is recognised by its size.

    Above 2 nothing but percent can be meant. Between 1 and 2 it may be an ECE of 1.5 % or a slip: it is percent where
    the ranking or the accuracy beside it is. An ECE below 1 beside percents can be either: it is left out.
    """
    loud = any(numbers[m].value > 2 for m in ("accuracy", "auroc", "balanced_accuracy") if m in numbers)
    out = {}
    for metric, number in numbers.items():
        percent = number.percent or metric != "nll" and (2 if not loud else 1) < number.value <= 100
        if loud and not percent and metric == "ece" and numbers.get("auroc", number).value > 2:
            continue
        out[metric] = number._replace(value=number.value / 100, decimals=number.decimals + 2) if percent else number
    return out


def json_in_text(text: str) -> object | None:
    """The JSON that a text holds: all of it, fenced blocks, or objects one after another; None if there is none.

    Several become {the line above: value}, where those lines differ, else a list. Python's own way of printing a dict
    (single quotes, True, np.float64(…)) is read too.
    """
    fences = islice(re.finditer(r"(?s)```(?:json|python|text)?[ \t]*\n(.{2,20000}?)```", text), MOST_PARTS)
    parts = [(_heading(text[max(0, m.start() - 500):m.start()]), m[1]) for m in fences] or [("", text)]
    found = [pair for head, part in parts for pair in _values(part, head)]
    if len(found) < 2:
        return found[0][1] if found else None
    heads = [head for head, _ in found]
    return dict(found) if all(heads) and len(set(heads)) == len(heads) else [value for _, value in found]


def _values(text: str, head: str) -> list[tuple[str, object]]:
    """(heading, value) of every JSON object or list of objects in a text."""
    decoder, found, at, tries = json.JSONDecoder(), [], 0, 0
    while tries < MOST_TRIES and len(found) < MOST_PARTS and (start := re.compile(r"[\[{]").search(text, at)):
        try:
            value, end = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            value, end, tries = *_python(text, start.start()), tries + 1
        if value and (isinstance(value, dict) or isinstance(value[0], (dict, list))):
            found.append((_heading(text[max(at, start.start() - 500):start.start()]) or head, value))
        at = end
    return found


def _python(text: str, start: int) -> tuple[object, int]:
    """(value, end) of one printed dict of at most 5,000 characters in Python's spelling; (None, behind its bracket)."""
    end = text.find("}", start, start + 5000) + 1
    while end and text.count("{", start, end) > text.count("}", start, end):
        end = text.find("}", end, start + 5000) + 1
    if text[start] != "{" or not end:
        return None, start + 1
    part = re.sub(rf"(?:np\.|numpy\.)?(?:float|int)\d+\(({NUMBER})\)", r"\1", text[start:end])
    for python, js in (("'", '"'), ("True", "true"), ("False", "false"), ("None", "null")):
        part = part.replace(python, js)
    try:
        return json.loads(part), end
    except (ValueError, RecursionError):
        return None, start + 1


def _heading(text: str) -> str:
    """The last line with words before a value: what the value is about."""
    lines = [line.strip(" \t#*`=:-") for line in text.splitlines() if re.search(r"[^\W\d_]", line)]
    return lines[-1][:80] if lines else ""
