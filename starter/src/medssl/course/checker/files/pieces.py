"""What a file can stand for: as a whole, or block by block where one JSON holds several results.

{"probe_5pct": {...}, "probe_10pct": {...}} are two pieces; a table in the README is one too.
"""

import re
from typing import NamedTuple

from medssl.course.checker.files.walk import Item
from medssl.course.checker.parse.filenames import Facts, Vocabulary
from medssl.course.checker.parse.values import Block, blocks, json_in_text
from medssl.course.contract import Contract, FileSlot

IDENTITY = ("model", "layers", "augmentation", "origin", "stage", "fraction")  # what makes two results two
NAMING = ("model", "name", "method", "regime", "mode", "finetune", "experiment", "run", "setting", "variant", "stage",
          "augmentation", "augment", "aug", "config", "label")  # keys whose text says which result this is
DATA = (".json", ".txt", ".md", ".log", ".jsonl", ".yaml", ".yml", "")
MOST_PIECES = 40


class Piece(NamedTuple):
    """A file, or the block `at` of it. `metrics`: whether it holds accuracy or AUROC (None: it could not be told)."""

    item: Item
    at: str
    facts: Facts
    metrics: bool | None
    keys: frozenset[str] = frozenset()


def pieces(reading, item: Item, inside: str, vocabulary: Vocabulary, look: bool = True) -> list[Piece]:
    """Every piece of one file. `inside`: its path within the hand-in, whose words all count. look: into it, too."""
    facts = vocabulary.read(inside, image=item.path.suffix.casefold() in IMAGES)
    if not look or item.kind != "file" or item.path.suffix.casefold() not in DATA:
        return [Piece(item, "", facts, None)]
    value, contract = value_of(reading, item), reading.context.contract
    if value is None:
        return [Piece(item, "", facts, None)]
    found = [b for b in blocks(value, contract) if {"accuracy", "auroc"} & b.values.keys()][:200]
    by_identity: dict[tuple, tuple[Block, dict]] = {}
    for block in found:
        says = {key: said for key, said in _block_says(block, vocabulary, reading).items() if key in IDENTITY}
        key = tuple(sorted((dimension, tuple(sorted(map(str, said)))) for dimension, said in says.items()))
        held = by_identity.get(key)
        if held is None or (block.split == "test") > (held[0].split == "test"):
            by_identity[key] = (block, says)
    named = [one for key, one in by_identity.items() if key]
    if len(named) > 1:
        return [Piece(item, block.at, facts._replace(says=_results(facts) | says), True)
                for block, says in named[:MOST_PIECES]]
    says = named[0][1] if named else {}
    kinds = _results(facts) if found else facts.says
    return [Piece(item, "", facts._replace(says=says | kinds), bool(found), frozenset(_keys(value)))]


IMAGES = (".png", ".jpg", ".jpeg")


def _results(facts: Facts) -> dict:
    """The name's facts, for a file that does hold results: those of a comparison are results too."""
    kinds = facts.says.get("kind", frozenset())
    return facts.says if kinds & {"reference", "operating", "config"} else facts.says | {"kind": frozenset({"metrics"})}


def _block_says(block: Block, vocabulary: Vocabulary, reading) -> dict[str, frozenset]:
    """What a block's keys, its `model` or `name`, and its label fraction or n_train say."""
    texts = [str(block.facts[key])[:80] for key in block.facts if str(key).casefold() in NAMING
             and isinstance(block.facts[key], str)]
    says: dict[str, frozenset] = {}
    for text in (*texts, re.sub(r"(?<!\d)\.|\.(?!\d)|#", " ", block.at)):  # the keys that lead there have the last word
        says |= vocabulary.read(text).says
    if "fraction" not in says and (fraction := _fraction(block.facts, reading)):
        says["fraction"] = frozenset({fraction})
    return says


def _fraction(facts: dict, reading) -> int:
    """The label fraction in percent: as given, or n_train / the official number (5 % of 4708 is 234, 235 or 236)."""
    for key, value in facts.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1e6:
            continue
        if re.search(r"frac|pct|percent", str(key)[:60], re.I) and value <= 100:
            return round(100 * value) if value <= 1 else round(value)
    n, official = facts.get("n_train", facts.get("train_size")), reading.context.official
    whole = sum(official.counts["train"]) if official else 0  # crops of scans have no fixed number
    if whole and isinstance(n, int) and not isinstance(n, bool):
        share = 100 * n / whole
        return next((f for f in (1, 2, 5, 10, 12, 20, 25, 50) if abs(share - f) <= 0.06 * f + 0.1), 0)
    return 0


def _keys(value: object) -> list[str]:
    """The keys of a JSON object and of the objects in it, one level down, without signs."""
    tops = value if isinstance(value, dict) else {}
    deeper = [key for one in list(tops.values())[:50] if isinstance(one, dict) for key in list(one)[:100]]
    return [re.sub(r"[\W_]", "", str(key)[:60].casefold()) for key in (*list(tops)[:200], *deeper)]


def value_of(reading, item: Item) -> object | None:
    """What a file says as JSON: as such, within a text, or as lines `name: number` under headings. None if nothing."""
    value = reading.json_of(item)
    if value is not None or item.path.suffix.casefold() in (".json", ".md"):
        return value
    text = reading.text_of(item)
    return None if text is None else json_in_text(text) or _lines(text)


def _lines(text: str) -> dict | None:
    """{"SmallCNN": {"acc": 0.62}} from a text with headings and lines such as `acc: 0.62` or `auroc = 0.65`."""
    out: dict = {}
    here = out
    for line in text.splitlines()[:2000]:
        line = line[:200].strip(" \t*#=-|>")
        pair = re.fullmatch(r"([A-Za-z][\w ./()%-]{0,60}?)\s*[:=]\s*(-?\d[\d.eE+-]{0,24})\s*(%?)", line)
        if pair:
            try:
                here[pair[1]] = float(pair[2]) / (100 if pair[3] else 1)
            except ValueError:
                continue
        elif line and len(line) <= 80:
            here = out.setdefault(line.rstrip(": "), {})
            here = here if isinstance(here, dict) else out
    return out if any(isinstance(one, float) or one for one in out.values()) else None


def block_value(value: object, at: str, contract: Contract) -> object | None:
    """The block `at` of a JSON value as an object of its own, with what stands above it: {"model": …, "acc": 0.8}."""
    found = next((b for b in blocks(value, contract) if b.at == at), None)
    if found is None:
        return None
    own = {found.names[name]: number for name, number in found.values.items()} if "#" not in at else found.values
    above = {key: one for key, one in found.facts.items() if "#" not in at or not isinstance(one, float)}
    return above | own


def tables(text: str) -> list[list[list[str]]]:
    """The Markdown tables of a text as rows of cells, header first."""
    out, rows = [], []
    for line in [*text.splitlines()[:5000], ""]:
        line = line[:2000].strip()
        if "|" in line:
            cells = [cell.strip(" *`") for cell in line.strip("|").split("|")]
            if not all(re.fullmatch(r":?-{1,80}:?", cell) or not cell for cell in cells):
                rows.append(cells[:40])
        elif rows:
            out, rows = [*out, rows], []
    return [table for table in out if len(table) > 1 and len(table[0]) > 1][:50]


def fits_columns(slot: FileSlot, table: list[list[str]]) -> bool:
    """Whether a table has the slot's columns: as a header, or down the first column where it was turned round."""
    words = {word for cell in (*table[0], *(row[0] for row in table[1:60])) for word in _words(cell)}
    return bool(slot.columns) and all(set(column.split("|")) & words for column in slot.columns)


def _words(cell: str) -> list[str]:
    return re.findall(r"[a-z]+", cell[:80].casefold())
