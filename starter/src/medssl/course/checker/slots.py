"""Which file of a submission is which slot of the contract."""

import fnmatch
from typing import NamedTuple

from medssl.course.checker.walk import HandIn, Item
from medssl.course.contract import FileSlot

FOUND = ("present", "renamed", "merged")  # a slot that is neither is missing, empty or unreadable


class Match(NamedTuple):
    """What fills a slot. `at` names the block inside a JSON file that holds several ("" = the whole file)."""

    status: str
    items: list[Item] = []
    note: str = ""
    at: str = ""


def match_slots(hand_in: HandIn) -> dict[str, Match]:
    """{slot path: what fills it}"""
    return {slot.path: match_slot(slot, hand_in) for slot in hand_in.week.files}


def match_slot(slot: FileSlot, hand_in: HandIn) -> Match:
    """By the right name, else by that name in another case, else by the contract's aliases."""
    pattern, files = hand_in.week.pattern(slot), sorted(hand_in.files.items())
    exact = [item for path, item in files if fnmatch.fnmatchcase(path, pattern)]
    if exact:
        return Match("present", exact, f"{len(exact)} files" if len(exact) > 1 else "")
    folder = pattern.rpartition("/")[0]
    for name in (pattern.rpartition("/")[2], *slot.aliases):
        wanted = f"{folder}/{name}".casefold()
        item = next((item for path, item in files if fnmatch.fnmatchcase(path.casefold(), wanted)), None)
        if item:
            shared = any(name in other.aliases for other in hand_in.week.files if other is not slot)
            return Match("merged" if shared else "renamed", [item], f"found as {item.path.name}")
    return Match("missing")
