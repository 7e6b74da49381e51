"""The levels between a week and a person's files: week/dataset/name, and what people make of it.

The data set left out (week1/eva/…), the two exchanged (week1/eva/breastmnist/…), files beside the folders instead of in
one, everything one folder too deep: all are read, and one finding each says where it belongs.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from medssl.course.checker.parse.handed_in import (
    MAX_JSON_BYTES,
    Entry,
    Problem,
    clean,
    list_folder,
    read_bytes,
    read_json,
)
from medssl.course.checker.parse.spelling import KEPT, dataset_of, is_junk, loose
from medssl.course.contract import Contract

MOST_LOOKED_INTO = 12  # JSON files that are asked which data set they are of


class Item(NamedTuple):
    """A file that was handed in: where it is shown to be, where it is, and what it is (see handed_in.Entry)."""

    shown: str
    path: Path
    kind: str
    size: int


class Place(NamedTuple):
    """A person's folder. `dataset` as typed, "" where the level was left out."""

    folder: Path
    shown: str
    dataset: str
    name: str


def listed(folder: Path, shown: str, problems: dict, **limits) -> list[Entry]:
    entries, cut = list_folder(folder, **limits)
    if cut:
        problems[shown, "cut"] = Problem("too-many-files", "holds too much, or may not be opened: not all was graded",
                                         "hand in what the contract names, nothing else", "warning")
    return entries


def refuse_link(place: str, kind: str, problems: dict) -> None:
    problems[place, "link"] = Problem("link", f"is a {kind}; only real folders are looked into",
                                      "replace it by the folder itself")


def people_below(week: Path, shown: str, contract: Contract, problems: dict) -> tuple[list[Place], list[Item]]:
    """(every person's folder below a week's folder, the files that lie beside folders and are nobody's yet)."""
    places, beside = [], []
    for entry in _entries(week, shown, beside, problems):
        here, place = week / entry, f"{shown}/{entry}"
        inside = listed(here, place, problems, levels=1)
        swapped = [e.path for e in inside if e.kind == "folder" and dataset_of(e.path, contract)]
        if not dataset_of(entry, contract) and swapped and not _has_files(inside):
            for dataset in swapped:
                below = f"{place}/{dataset}"
                places.append(Place(here / dataset, below, dataset, entry))
        elif not dataset_of(entry, contract) and not loose(entry).endswith("mnist") and _has_files(inside):
            places.append(Place(here, place, "", entry))
        else:
            places += [Place(here / name, f"{place}/{name}", entry, name)
                       for name in _entries(here, place, beside, problems)]
    return places, beside


def _entries(here: Path, shown: str, beside: list[Item], problems: dict) -> list[str]:
    """The names of the real folders in `here`; its files go to `beside`, its links to `problems`."""
    names = []
    for entry in listed(here, shown, problems, levels=1):
        place = f"{shown}/{entry.path}"
        if entry.path.startswith(".") or is_junk(entry.path):
            continue
        if entry.kind == "folder":
            names.append(entry.path)
        elif entry.kind != "file":
            refuse_link(place, entry.kind, problems)
        elif entry.path.casefold() not in KEPT - {"feedback.md"}:
            beside.append(Item(place, here / entry.path, entry.kind, entry.size))
    return names


def _has_files(entries: list[Entry]) -> bool:
    return any(e.kind == "file" and e.path.casefold() not in KEPT and not is_junk(e.path) for e in entries)


def guess_dataset(items: list[Item], others: set[str], contract: Contract) -> str:
    """The data set of a folder that does not say it: as its JSON files or their names say, else as in other weeks."""
    told = set()
    for item in [i for i in items if i.kind == "file" and i.path.suffix.casefold() == ".json"
                 and i.size <= MAX_JSON_BYTES][:MOST_LOOKED_INTO]:
        try:
            value, _ = read_json(read_bytes(item.path))
        except Problem:
            continue
        said = value.get("dataset") if isinstance(value, dict) else None
        told |= {dataset_of(said, contract)} - {""} if isinstance(said, str) else set()
    told = told or {key for item in items for key in contract.datasets if key in loose(item.path.name)}
    told = told or {key for item in items for key, facts in contract.datasets.items() for alias in facts.aliases
                    if re.search(rf"(?<![a-z]){re.escape(alias)}(?![a-z])", item.path.name.casefold()[:200])}
    told = told or others
    return next(iter(told)) if len(told) == 1 else ""


def too_deep(entries: list[Entry], known: set[str]) -> str:
    """The folder in which all files of a submission lie one or more levels too deep ("eva/submission/"), or "".

    known: first folders that the contract itself asks for, such as figures/.
    """
    files = [e.path for e in entries if e.kind == "file" and not is_junk(e.path)
             and e.path.casefold() not in KEPT]
    parts = [path.split("/")[:-1] for path in files]
    if not parts:
        return ""
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "" if not shared or shared[0] in known else "/".join(shared) + "/"


def owner_of(item: Item, people: list[tuple[str, str]], everybody: set[str]) -> str:
    """Whose a file beside folders is: the folder of the only person there, or of the one whom its name names; else "".

    people: (slug, folder) of the people beside whose folders it lies.
    """
    named = {folder for slug, folder in people if len(slug) > 2 and slug in loose(item.path.name)}
    strangers = any(len(slug) > 2 and slug in loose(item.path.name) for slug in everybody)
    fitting = named or (set() if strangers else {folder for _, folder in people})
    return next(iter(fitting)) if len(fitting) == 1 else ""


def say_beside(item: Item, owner: str, problems: dict) -> None:
    if owner:
        problems[item.shown, "level"] = Problem(
            "wrong-level", f"lies beside the folders of people; it is read as part of {clean(owner, 120)}",
            f"git mv {shlex.quote(item.shown)} {shlex.quote(owner)}/", "warning")
    else:
        problems[item.shown, "level"] = Problem(
            "wrong-level", "lies where only folders are expected: it is nobody's",
            f"into the folder of its owner: git mv {shlex.quote(item.shown)} results/weekN/<dataset>/<name>/",
            "warning")
