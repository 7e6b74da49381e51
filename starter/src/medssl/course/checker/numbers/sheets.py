"""The numbers of a submission that nobody can recompute: every file with metrics in it, read into blocks.

A file whose predictions were handed in is left to recompute.py, which has the last word.
"""

import re
from collections import Counter
from typing import NamedTuple

from medssl.course.checker.files.walk import Item
from medssl.course.checker.parse.handed_in import clean
from medssl.course.checker.parse.values import Block, blocks, json_in_text, words_of
from medssl.course.checker.reading import TEXTS, Reading
from medssl.course.contract import Dataset

MOST_FILES, MOST_BYTES, MOST_BLOCKS = 60, 500_000, 1000  # no honest files without predictions come near
LINE = re.compile(r"([A-Za-z][\w ()/.%-]{0,40}?)[ *]{0,5}[:=][ *]{0,5}(\d{0,3}\.?\d{1,20} ?%?)")


class Sheet(NamedTuple):
    where: str  # as shown
    words: frozenset[str]  # of the file's name
    value: object  # the JSON
    blocks: list[Block]
    flaws: set[str]  # codes of the errors that its own slot has

    def tested(self) -> list[Block]:
        """The blocks about the test split, the whole of it."""
        return [block for block in self.blocks if block.split == "test" and not block.elsewhere]


def few(reading: Reading) -> list[Item]:
    """The first files of a submission, as many as may be looked at without anybody waiting for it."""
    rows = {item.shown for slot in reading.slots if slot.kind == "predictions"
            for item in reading.matches[slot.path].items}  # long, and looked at elsewhere
    return [item for item in reading.files() if item.path.suffix.casefold() in (".json", *TEXTS)
            and item.shown not in rows][:MOST_FILES]


def sheets(reading: Reading) -> list[Sheet]:
    recomputed, flaws, apart = set(), {}, set()
    for slot in reading.slots:
        shown = {item.shown for item in reading.matches[slot.path].items}
        if slot.kind in ("run", "env") or slot.kind == "config" and reading.context.week.number == 4:
            apart |= shown
        elif slot.kind == "metrics":
            if isinstance(reading.held.get(slot.predictions), dict) and reading.held[slot.predictions]:
                recomputed |= shown
            for one in shown:
                flaws.setdefault(one, set()).update(reading.flaws.get(slot.path, ()))
    out, left = [], 10 * MOST_BYTES
    for item in few(reading):
        full = sum(len(sheet.blocks) for sheet in out) > MOST_BLOCKS
        if full or item.shown in recomputed | apart or item.size > min(left, MOST_BYTES):
            continue
        left -= item.size
        value = reading.json_of(item)
        if value is None and item.path.suffix.casefold() in (".txt", ".md", ""):
            text = reading.text_of(item) or ""
            value = json_in_text(text) if "{" in text else None
            if value is None and item.path.suffix.casefold() != ".md":
                value = lines_of(text)
        if isinstance(value, (dict, list)):
            out.append(Sheet(item.shown, frozenset(words_of(item.path.stem)), value,
                             blocks(value, reading.context.contract), flaws.get(item.shown, set())))
    return out


def lines_of(text: str) -> dict | None:
    """A text of lines "accuracy: 0.76" as {the line above them: {accuracy: 0.76}}."""
    found, head = {}, ""
    for line in text[:20_000].splitlines()[:500]:
        pair = LINE.fullmatch(line[:120].strip(" \t*>-"))
        if pair:
            found.setdefault(head, {})[pair[1]] = pair[2]
        elif re.search(r"[^\W\d_]", line):
            head = line.strip(" \t#*=:-")[:80]
    return found.get("", {}) | {k: v for k, v in found.items() if k} or None


def official(block: Block, reading: Reading) -> Dataset | None:
    """The data set that a block is about: as it says itself, else as its folder says."""
    said = block.facts.get("dataset")
    return reading.context.contract.datasets.get(said if isinstance(said, str) else "") or reading.context.official


def place(block: Block) -> str:
    """" (probe_5pct)", or "" for what stands at the top."""
    return f" ({clean(block.at.strip('#'), 60)})" if block.at.strip("#") else ""


def joined(said: list[str], most: int = 3) -> str:
    """The first few of what several blocks of one file have in common."""
    said = list(Counter(said))
    return "; ".join(said[:most]) + (f"; and {len(said) - most} more" if len(said) > most else "")
