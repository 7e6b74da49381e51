"""Week 7: on which split was the threshold chosen? On test it is tuned to the answers; at 0.5 nothing was chosen."""

import re
from collections.abc import Iterator

from medssl.course.checker.numbers.sheets import few
from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.numerals import numeral
from medssl.course.checker.reading import Reading

MOST = 50_000
SELECTED = ("selected_on", "chosen_on", "threshold_split", "selected_split")
NUMBER = re.compile(r"(?i)\b(?:threshold|thr|cut-?off|τ)\b[^\d\n]{0,25}?(?<![\d.])([01]?\.\d{1,17}|[01])(?![\d.])")
# Generous about val (any talk of a threshold or a rate beside it), strict about test: only a verb of choice accuses.
_VAL = r"\b(?:val|valid|validation|dev)\b"
ON_VAL = re.compile(r"(?i)(?:select|cho[os]|pick|tun|set|fix|determin|optimi|threshold|operating point|youden|tpr|fpr)"
                    rf"[^\n]{{0,120}}?{_VAL}|{_VAL}[^\n]{{0,80}}?(?:threshold|operating point|chosen|select|tpr|fpr)")
ON_TEST = re.compile(r"(?i)\b(?:select(?:ed)?|chosen?|choose|pick(?:ed)?|tuned?|optimi[sz]ed)\b[^\n.]{0,50}?"
                     r"\b(?:on|using|from)\b (?:the )?test\b")
REASON = re.compile(r"(?i)\b(default|baseline|compar|youden|cost)")


def threshold(reading: Reading) -> Iterator[tuple[str, Problem]]:
    if reading.context.week.number != 7:
        return
    texts, values, origins, where = [], set(), {}, ""
    for item in few(reading):
        text = (reading.text_of(item) or "")[:MOST]
        value = reading.json_of(item) if item.path.suffix.casefold() == ".json" and item.size < 500_000 else None
        said = set(_thresholds(value)) | {float(m[1]) for m in NUMBER.finditer(text)} | set(_column(text))
        if said and (not where or "operating" in item.path.name.casefold()):
            where = item.shown
        values |= said
        texts.append(text)
        if isinstance(value, dict):
            inner = value.get("threshold") if isinstance(value.get("threshold"), dict) else {}
            said_on = [clean(part[key], 40) for part in (value, inner) for key in SELECTED if key in part]
            origins |= {item.shown: said_on[0]} if said_on else {}
    rerun = reading.context.rerun
    for shown, split in origins.items():  # a key is no turn of phrase: whatever a text says, this is wrong
        if not split.casefold().startswith(("val", "dev", "train", "cross")):
            yield shown, Problem("threshold-origin", f"says that the threshold was chosen on '{split}', not on val: "
                                 "chosen on test, it is tuned to the answers",
                                 f"choose it on val (selected_on: val), then: {rerun}",
                                 "error" if split.casefold().startswith("test") else "warning")
    if not values or origins:
        return
    val = any(ON_VAL.search(text) for text in texts)
    if values == {0.5} and not any(REASON.search(text) for text in texts):
        yield where, Problem("threshold-default", "uses the threshold 0.5 alone, and does not say why: it is where the "
                             "program left it, not an operating point",
                             "choose it on val for a target (TPR of at least 0.9), and report it on test", "warning")
    elif not val and any(ON_TEST.search(text) for text in texts):
        yield where, Problem("threshold-origin", "chooses the threshold on the test split, as far as it says: the "
                             "numbers at it are then too good",
                             f"choose it on val (selected_on: val), then: {rerun}", "warning")
    elif not val and values != {0.5}:
        shown = ", ".join(f"{one:g}" for one in sorted(values)[:3])
        yield where, Problem("threshold-origin", f"does not say on which split the threshold ({shown}) was chosen: "
                             "chosen on test, it is tuned to the answers",
                             'choose it on val, and write "selected_on": "val"', "warning")


def _thresholds(value: object, level: int = 0) -> Iterator[float]:
    if level > 5 or not isinstance(value, (dict, list)):
        return
    for key, one in (list(value.items()) if isinstance(value, dict) else [("", one) for one in value])[:200]:
        if str(key).casefold() in ("threshold", "thr", "cutoff", "best_threshold", "operating_threshold"):
            number = numeral(one.get("value")) if isinstance(one, dict) else numeral(one)
            if number and 0 < number.value < 1:
                yield number.value
        elif isinstance(one, (dict, list)):
            yield from _thresholds(one, level + 1)


def _column(text: str) -> Iterator[float]:
    """The column `threshold` of a table."""
    at = None
    for line in text.splitlines()[:500]:
        cells = [cell.strip(" *`").casefold() for cell in re.split(r"[|,;\t]", line[:500])]
        here = next((k for k, cell in enumerate(cells) if cell.startswith(("threshold", "thr"))), None)
        if here is not None and len(cells) > 2:
            at = here
        elif at is not None and at < len(cells) and (number := numeral(cells[at])) and 0 < number.value < 1:
            yield number.value
