"""What people got wrong (catalogue D01-D40), as faults to put into an honest hand-in: verbatim forms and new ones.

Each fault says its number, the week, and what counts as found: the slot's status, or a finding that names the right
thing at the right file. That a key or a file is missing counts only where this is the fault.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from cohort import SETS, Hand, old

from medssl.course.contract import load_contract

GENERIC = {"missing", "key-missing", "not-recomputable", "not-checked", "key-renamed", "readme-unfilled", "one-seed",
           "same-as-another"}
FAULTS: list["Fault"] = []
Found = Callable[[dict, Hand], bool]


@dataclass
class Fault:
    code: str
    week: int
    variant: int
    dataset: str
    new: bool  # into a hand-in of today, else into one of the earlier edition
    put: Callable[[Hand, int], Found]
    loose: bool = False  # its files lie outside of any person's folder

    @property
    def id(self) -> str:
        return f"{self.code}{'new' if self.new else ''}-{self.put.__name__}-{self.week}-{self.variant}"

    @property
    def person(self) -> str:
        """Whose hand-in it is put into: always the same, whatever other faults there are."""
        return f"student{zlib.crc32(self.id.encode()):x}"


def fault(code: str, week: int, variants: int = 3, dataset: str = "", new: bool = False, loose: bool = False):
    """Enter a function that puts fault number `variant` into a hand-in and returns what counts as found."""
    def enter(put):
        for k in range(variants):
            FAULTS.append(Fault(code, week, k, dataset or list(SETS)[k % 2], new, put, loose))
        return put

    return enter


def findings(report: dict, hand: Hand) -> list[dict]:
    """All findings of a hand-in, also those that the report as a whole holds about its folder."""
    mine = [f for s in report["submissions"] if s["folder"] == hand.folder for f in s["findings"]]
    return mine + [f for f in report["findings"] if f"{f['where']}/".startswith(f"{hand.folder}/")]


def said(words: str, at: str = "", codes: str = "", generic: bool = False) -> Found:
    """A finding with these words or one of these codes (both regular expressions), about the file `at`."""
    def found(report, hand):
        return any((generic or f["code"] not in GENERIC)
                   and re.search(re.escape(at), f"{f['where']} {f['message']}", re.I)
                   and (codes and re.fullmatch(codes, f["code"]) or re.search(words, f"{f['message']} {f['fix']}",
                                                                              re.I))
                   for f in findings(report, hand))

    return found


def filled(slot: str, statuses: str, *names: str) -> Found:
    """The slot is in one of these states, by one of these files."""
    def found(report, hand):
        slots = [one for s in report["submissions"] if s["folder"] == hand.folder for one in s["slots"]
                 if one["file"] == slot]
        return any(one["status"] in statuses.split() and (not names or str(one["found"]).endswith(names))
                   for one in slots)

    return found


def both(*parts: Found) -> Found:
    return lambda report, hand: all(part(report, hand) for part in parts)


def either(*parts: Found) -> Found:
    return lambda report, hand: any(part(report, hand) for part in parts)


def counts(hand: Hand, split: str = "test") -> tuple[int, int]:
    return tuple(load_contract().datasets[hand.dataset].counts[split])


def fresh(hand: Hand, week: int) -> Hand:
    """The same person's honest hand-in of another week, which is written too."""
    other = old(week, hand.dataset, hand.person)
    hand.more.append(other)
    return other
