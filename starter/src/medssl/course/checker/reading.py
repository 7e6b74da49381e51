"""One submission as the checker has read it. A check is a function of a Reading that yields (where, Problem) pairs.

Files are read once, with handed_in's care, and only those that the walk has listed.
"""

import json
from dataclasses import dataclass, field, replace

from medssl.course.checker.files.contents import Context, check_content
from medssl.course.checker.files.pieces import block_value, value_of
from medssl.course.checker.files.slots import Match
from medssl.course.checker.files.walk import HandIn, Item
from medssl.course.checker.parse.handed_in import MAX_TEXT_BYTES, Problem, clean, read_bytes, read_json, read_text
from medssl.course.contract import FileSlot

NOTHING = object()  # what an unreadable file holds
TEXTS = (".md", ".txt", ".csv", ".rst", "")  # endings of files that are read as text


@dataclass
class Reading:
    hand_in: HandIn
    context: Context
    result: dict  # the submission's object of grade.json, as it grows
    matches: dict[str, Match] = field(default_factory=dict)  # by slot path
    held: dict[str, object] = field(default_factory=dict)  # slot path -> JSON, {seed: (y, p)}, text; None: figure
    flaws: dict[str, set[str]] = field(default_factory=dict)  # slot path -> codes of the errors in its own file
    _bytes: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def slots(self) -> list[FileSlot]:
        return self.context.week.files

    def found(self, path: str) -> str:
        """Where the file of a slot lies, as shown; the folder where there is none."""
        match = self.matches.get(path)
        return match.items[0].shown if match and match.items else self.hand_in.folder

    def held_as(self, kind: str) -> dict[str, object]:
        """{slot path: what its file holds} for the readable files of one kind."""
        return {s.path: self.held[s.path] for s in self.slots if s.kind == kind and self.held.get(s.path) is not NOTHING
                and self.held.get(s.path) is not None}

    def files(self) -> list[Item]:
        """Every plain file of the submission, sorted, asked for or not."""
        return sorted(item for item in self.hand_in.files.values() if item.kind == "file")

    def bytes_of(self, item: Item) -> bytes | None:
        """The bytes of a listed file, read once; None where it cannot be read or is too large."""
        if item.shown not in self._bytes:
            try:
                self._bytes[item.shown] = read_bytes(item.path) if item.kind == "file" else None
            except Problem:
                self._bytes[item.shown] = None
        return self._bytes[item.shown]

    def text_of(self, item: Item) -> str | None:
        """What a text file says (README, table, notes), at most MAX_TEXT_BYTES of it; None where it is none."""
        if item.path.suffix.casefold() not in TEXTS or item.size > MAX_TEXT_BYTES or not (raw := self.bytes_of(item)):
            return None
        try:
            return read_text(raw)
        except Problem:
            return None

    def json_of(self, item: Item) -> object:
        """What a .json file (or a text file that holds nothing but JSON) says; None where it says nothing."""
        raw = self.bytes_of(item) if item.path.suffix.casefold() in (".json", *TEXTS) else None
        if not raw or (item.path.suffix.casefold() != ".json" and raw.lstrip()[:1] not in (b"{", b"[")):
            return None
        try:
            return read_json(raw)[0]
        except Problem:
            return None

    def open(self, slot: FileSlot, item: Item, at: str = "") -> tuple[object, list[Problem]]:
        """(what the file holds or NOTHING, problems). Weights are never opened. `at`: a block inside a JSON file."""
        try:
            if item.kind != "file":
                raise not_a_file(item)
            if item.size == 0:
                raise Problem("empty", "has no content (0 bytes)", self.context.rerun)
            if slot.kind == "weights":
                return None, []
            raw = self._bytes[item.shown] = read_bytes(item.path)
            if slot.kind == "figure" and item.path.suffix.casefold() in TEXTS:
                slot = replace(slot, kind="table")  # a gallery as a table in the README
            if at or slot.kind == "metrics" and item.path.suffix.casefold() != ".json":
                value = value_of(self, item)
                block = block_value(value, at, self.context.contract) if at else value
                if block is None:
                    raise Problem("block-missing", f"has no block '{clean(at, 60)}'", self.context.rerun)
                return check_content(slot, f"{item.path.stem}.json", json.dumps(block).encode(), self.context)
            return check_content(slot, item.path.name, raw, self.context)
        except Problem as problem:
            return NOTHING, [problem]
        except Exception as error:
            return NOTHING, [broke(error)]

    def say(self, where: str, problem: Problem) -> None:
        self.result["findings"].append(finding(where, problem))


def finding(where: str, problem: Problem) -> dict:
    """A problem as it stands in grade.json, safe to show; a message that is no whole sentence begins with the file."""
    named = problem.message if problem.message[:1].isupper() else f"{where.rpartition('/')[2]} {problem.message}"
    return {"code": problem.code, "severity": problem.severity, "where": clean(where), "message": clean(named, 600),
            "fix": clean(problem.fix)}


def not_a_file(item: Item) -> Problem:
    return Problem("link" if item.kind == "link" else "not-a-file",
                   f"is a {item.kind}, which may lead anywhere: it was not opened", "replace it by the file itself")


def broke(error: Exception) -> Problem:
    return Problem("checker-error", f"made the checker itself break ({type(error).__name__}: {clean(error, 120)})",
                   "look at it by hand, and send it to the maintainers")
