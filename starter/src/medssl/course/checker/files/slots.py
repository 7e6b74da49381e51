"""Which file of a submission is which slot of the contract: one assignment, the surest pairs first.

Right name > other case > an alias of the contract > a letter or two wrong > the same words in another order, with more
or fewer of them > content (a JSON of hyper-parameters is the ssl_config whatever its name). Two things forbid a pair at
any step: another kind of file, and a word that says that it is another result (fit.py).
"""

import fnmatch
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from medssl.course.checker.files.fit import Fit, fit, told_by, twins
from medssl.course.checker.files.pieces import DATA, Piece, fits_columns, pieces, tables
from medssl.course.checker.files.walk import Item
from medssl.course.checker.parse.filenames import Facts, Vocabulary
from medssl.course.checker.parse.handed_in import MAX_JSON_BYTES
from medssl.course.checker.parse.spelling import KEPT, is_junk
from medssl.course.contract import FileSlot

FOUND = ("present", "renamed", "merged")  # a slot that is neither is missing, empty or unreadable
MOST_FREE = 250  # files without a right name that are looked at: nobody hands in more by accident
MOST_READ = 12_000_000  # bytes of files without a right name that are looked into: fifty times what anybody needs
MARGIN = 0.3  # a file may fill a slot only if no other slot fits it better by more than this


class Match(NamedTuple):
    """What fills a slot. `at` names the block inside a JSON file that holds several ("" = the whole file)."""

    status: str
    items: list[Item] = []
    note: str = ""
    at: str = ""


class Pair(NamedTuple):
    fit: Fit
    order: int  # of the slot in the contract
    slot: FileSlot
    piece: Piece


@dataclass
class Search:
    """What is still open, and what is still free."""

    slots: dict[str, FileSlot]
    told: dict[str, Facts]  # slot path -> what its own name tells
    matches: dict[str, Match] = field(default_factory=dict)
    used: set[tuple[str, str]] = field(default_factory=set)  # (shown, at)

    def give(self, slot: FileSlot, piece: Piece, status: str, note: str) -> None:
        self.matches[slot.path] = Match(status, [piece.item], note, piece.at)
        self.used.add((piece.item.shown, piece.at))


def match_slots(reading) -> dict[str, Match]:
    """{slot path: what fills it}. What is matched by its right name is not opened for that."""
    hand_in = reading.hand_in
    vocabulary = Vocabulary(reading.context.contract, (reading.result["name"], *re.findall(r"[^\W_]+", hand_in.name)))
    exact = {slot.path: found for slot in hand_in.week.files if (found := _exact(hand_in, slot))}
    search = Search({s.path: s for s in hand_in.week.files if s.path not in exact},
                    {s.path: told_by(s, vocabulary) for s in hand_in.week.files}, exact)
    if search.slots:
        _assign(search, _free(reading, exact, vocabulary), reading, vocabulary)
        _tables_in_readme(search, reading)
        _screenshot(search, hand_in.week.files)
    return {s.path: search.matches.get(s.path, Match("missing")) for s in hand_in.week.files}


def _exact(hand_in, slot: FileSlot) -> Match | None:
    pattern = hand_in.week.pattern(slot)
    items = [item for path, item in sorted(hand_in.files.items()) if fnmatch.fnmatchcase(path, pattern)]
    return Match("present", items, f"{len(items)} files" if len(items) > 1 else "") if items else None


def _free(reading, exact: dict[str, Match], vocabulary: Vocabulary) -> list[Piece]:
    """The pieces of the files that have no right name; those of the folder itself before those of folders in it."""
    taken, home = {item.shown for match in exact.values() for item in match.items}, reading.hand_in.folder + "/"
    free = [item for item in reading.hand_in.files.values() if item.shown not in taken and item.kind != "folder"
            and not is_junk(item.shown) and item.path.name.casefold() not in KEPT - {"readme.md"}]
    free = sorted(free, key=lambda item: (item.shown.count("/"), item.shown))[:MOST_FREE]
    found, budget = [], MOST_READ
    for item in free:
        budget -= item.size if item.path.suffix.casefold() in DATA else 0
        found += pieces(reading, item, item.shown.removeprefix(home), vocabulary,
                        look=budget >= 0 and item.size <= MAX_JSON_BYTES)
    return found


def _assign(search: Search, free: list[Piece], reading, vocabulary: Vocabulary) -> None:
    week = reading.hand_in.week
    title = vocabulary.read(week.title + " " + week.notebook.removesuffix(".ipynb"))
    pairs = []
    for order, slot in enumerate(week.files):  # filled slots too: a file that is a second one of them fills no other
        for piece in free:
            how = fit(slot, search.told, piece, reading.context)
            if how:
                pairs.append(Pair(how, order, slot, piece))
    best: dict[tuple, float] = {}
    for pair in pairs:
        key = pair.piece.item.shown, pair.piece.at
        best[key] = max(best.get(key, 0), pair.fit.score)
    of_piece: dict[tuple, list[Pair]] = {}
    for pair in pairs:
        of_piece.setdefault((pair.piece.item.shown, pair.piece.at), []).append(pair)
    for pair in sorted(pairs, key=lambda p: (-p.fit.score, p.order, len(p.piece.item.shown), p.piece.item.shown)):
        key = pair.piece.item.shown, pair.piece.at
        if pair.slot.path in search.matches or key in search.used or pair.fit.score < best[key] - MARGIN:
            continue
        open_ = [p for p in of_piece[key] if p.slot.path not in search.matches and p.fit.score > pair.fit.score - 1]
        _settle(search, open_, title)
    _parts(search, pairs)


def _settle(search: Search, tied: list[Pair], title: Facts) -> None:
    """Give a piece to its slot; to all of them where it holds them all; to none where nobody can tell which."""
    piece = tied[0].piece
    unread = piece.metrics is None and piece.item.path.suffix.casefold() == ".json"
    shared = unread and all(piece.item.path.name in p.slot.aliases for p in tied)
    if len(tied) > 1 and (shared or twins([p.slot for p in tied], search.told, piece)):
        for pair in tied:
            search.give(pair.slot, piece, "merged", f"found in {piece.item.path.name}, which holds {len(tied)} of them")
        return
    tied = [p for p in tied if p.fit.score > max(q.fit.score for q in tied) - 0.01]
    if len(tied) > 1:
        if len({search.told[p.slot.path].says.get("kind") for p in tied}) > 1:
            return  # neither name nor content tells even the kind
        tied.sort(key=lambda pair: _rank(pair, search, title), reverse=True)
        if _rank(tied[0], search, title) == _rank(tied[1], search, title):
            for pair in tied:
                search.matches.setdefault(pair.slot.path, Match("missing", note=f"{piece.item.path.name} could be it, "
                                                                "but its name does not say which of several"))
            search.used.add((piece.item.shown, piece.at))
            return
    slot, how = tied[0].slot, tied[0].fit
    if piece.at:
        search.give(slot, piece, "merged", f"found in {piece.item.path.name} under {piece.at}")
    else:
        search.give(slot, piece, "renamed", f"found as {piece.item.path.name}: {how.why}")


def _rank(pair: Pair, search: Search, title: Facts) -> tuple:
    """Of slots that a name fits equally well: what the week is about, then what is required."""
    told = search.told[pair.slot.path].says
    return sum(bool(told.get(k, frozenset()) & v) for k, v in title.says.items()), pair.slot.required


def _parts(search: Search, pairs: list[Pair]) -> None:
    """A figure that was split, one a model: the other parts belong to it too."""
    for path, match in list(search.matches.items()):
        slot = search.slots.get(path)
        if slot is None or slot.kind != "figure" or match.status != "renamed":
            continue
        first = next(p for p in pairs if p.slot.path == path and p.piece.item == match.items[0])
        asked = set(search.told[path].says)
        more = [p.piece.item for p in pairs if p.slot.path == path and (p.piece.item.shown, "") not in search.used
                and abs(p.fit.score - first.fit.score) < 0.3 and first.piece.item.shown != p.piece.item.shown
                and _differ(first.piece.facts, p.piece.facts, asked)]
        if more:
            items = sorted([match.items[0], *more], key=lambda item: item.shown)[:6]
            search.used |= {(item.shown, "") for item in items}
            search.matches[path] = Match("merged", items, f"split into {', '.join(i.path.name for i in items)}")


def _differ(one: Facts, other: Facts, asked: set[str]) -> bool:
    """Whether two names differ in something that the slot does not ask for: another model, FP and FN."""
    for key in ("model", "stage", "origin", "layers", "augmentation"):
        if key not in asked and one.says.get(key) and other.says.get(key) and one.says[key] != other.says[key]:
            return True
    return one.words != other.words and {"fp", "fn"} <= one.words | other.words


def _tables_in_readme(search: Search, reading) -> None:
    """A table slot whose columns stand in a Markdown table of the README."""
    readme = next((search.matches[s.path].items[0] for s in reading.slots if s.kind == "readme"
                   and search.matches.get(s.path, Match("missing")).items), None)
    wanted = [slot for slot in search.slots.values() if slot.columns and not search.matches.get(
        slot.path, Match("missing")).items]
    if readme is None or not wanted or not (text := reading.text_of(readme)):
        return
    for slot in wanted:
        table = next((table for table in tables(text) if fits_columns(slot, table)), None)
        if table:
            header = " | ".join(table[0])[:80]
            search.matches[slot.path] = Match("merged", [readme], f"found in {readme.path.name} as the table {header}")


def _screenshot(search: Search, files: list[FileSlot]) -> None:
    """A picture of the set-up also stands for env.json, as far as it goes."""
    env = next((slot for slot in files if slot.kind == "env"), None)
    shot = next((search.matches.get(slot.path) for slot in files if slot.kind == "figure"
                 and search.told[slot.path].says.get("kind") == {"env"}), None)
    if env and shot and shot.items and not search.matches.get(env.path, Match("missing")).items:
        search.matches[env.path] = Match("renamed", shot.items[:1], f"only a screenshot: {shot.items[0].path.name}")
