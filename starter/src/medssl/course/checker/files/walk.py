"""Walk through results/ and reports/ and say whose files lie where, by the contract's own patterns.

Only folders that a pattern could mean are entered, links never. Every file is kept under the pattern it would fill,
{dataset} and {name} left open: results/Week_01/breastmnist/Ada/x.png is results/week1/{dataset}/{name}/x.png of Ada.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from medssl.course.checker.files import folders, levels
from medssl.course.checker.files.folders import HandIn
from medssl.course.checker.files.levels import Item, listed
from medssl.course.checker.parse.handed_in import Problem
from medssl.course.checker.parse.spelling import (
    JUNK,
    KEPT,
    apart,
    dataset_of,
    is_junk,
    loose,
    person,
    same_folder,
)
from medssl.course.contract import Contract, Week
from medssl.course.names import in_any_order
from medssl.errors import MedsslError

__all__ = ["GROUP", "JUNK", "KEPT", "HandIn", "Item", "find_hand_ins", "loose", "person", "top_folders"]

BESIDE = {"week8", "week", "8", "and", "of", "the", "note", "notes", "page", "final", "v1", "v2", "copy"}  # is no name
GROUP = "group"  # the name under which weeks 9 and 10 are handed in together


def top_folders(folder: Path) -> dict[str, Path]:
    """{"results": ..., "reports": ...}: the only two folders that are ever looked into."""
    if not folder.is_dir():
        raise MedsslError(f"There is no folder {folder}.",
                          "the results/ folder of the course, or the repository that holds it",
                          "name it: medssl grade path/to/results")
    folder = folder.resolve()  # what the instructor names may be a link; nothing below it may
    below, beside = folder / "results", folder.parent / "reports"
    if below.is_dir() and not below.is_symlink():
        folder, beside = below, folder / "reports"
    above = [part for part in (folder, *folder.parents[:2]) if re.fullmatch(r"week[ _-]?\d+", part.name, re.I)]
    if above and folder.name != "results" and not any(folder.glob("[wW]eek*")):
        raise MedsslError(f"{folder} is only a part of {above[0].name}.", "the folder that holds the weeks",
                          f"medssl grade {shlex.quote(str(above[0].parent))}")
    return {"results": folder} | ({"reports": beside} if beside.is_dir() and not beside.is_symlink() else {})


def find_hand_ins(tops: dict[str, Path], contract: Contract) -> tuple[list[HandIn], list[tuple[str, Problem]]]:
    """Every submission, sorted, and (where, problem) of the folders themselves: links, loose files, spelling."""
    found: dict[tuple, HandIn] = {}
    problems: dict[tuple, Problem] = {}
    beside: list[tuple[Week, str, Item]] = []  # files in no person's folder, with the home they would have
    for week in contract.weeks:
        for home in sorted({_home(week, week.pattern(slot)) for slot in week.files}):
            top, *parts = home.split("/")
            tails = [week.pattern(s)[len(home) + 1:] for s in week.files if week.pattern(s).startswith(home + "/")]
            until = parts.index("{dataset}") if "{dataset}" in parts else len(parts)
            for folder, shown in _expand(tops[top], tops[top].name, parts[:until], problems) if top in tops else ():
                places = [levels.Place(folder, shown, "", GROUP)]
                if until < len(parts):
                    places, files = levels.people_below(folder, shown, contract, problems)
                    beside += [(week, home, item) for item in files]
                for place in places:
                    _take(place, week, home, tails, found, problems)
    hand_ins = _join([hand_in for _, hand_in in sorted(found.items())])
    _whose(beside, hand_ins, problems)
    _name_datasets(hand_ins, contract)
    folders.settle(hand_ins, problems, contract)
    _one_person_twice(hand_ins, problems)
    return hand_ins, [(key[0], problems[key]) for key in sorted(problems)]


def _take(place: levels.Place, week: Week, home: str, tails: list[str], found: dict, problems: dict) -> None:
    """The files of one folder become a submission; where names are in the files', of each person one."""
    owners = [_regex(tail) for tail in tails if "{name}" in tail]
    if "{name}" in home:  # it is a submission, even with nothing in it
        found[week.number, place.dataset, place.name, place.shown] = HandIn(
            week, place.dataset, place.name, place.shown, homes={place.shown: home})
    entries = listed(place.folder, place.shown, problems)
    prefix = levels.too_deep(entries, {tail.split("/")[0] for tail in tails if "/" in tail}) if not owners else ""
    if prefix and "{name}" in home:
        found[week.number, place.dataset, place.name, place.shown].deep = prefix
    for entry in entries:
        name, tail = _owner(entry.path, owners, tails) if owners else (place.name, entry.path.removeprefix(prefix))
        nobodys = name == GROUP and Path(tail).name.casefold() in KEPT
        if name and entry.kind != "folder" and not nobodys:
            item = Item(f"{place.shown}/{entry.path}", place.folder / entry.path, entry.kind, entry.size)
            mine = HandIn(week, place.dataset, name, place.shown, homes={place.shown: home})
            key = week.number, place.dataset, name, place.shown
            found.setdefault(key, mine).files[f"{home}/{tail}"] = item


def _whose(beside: list[tuple[Week, str, Item]], hand_ins: list[HandIn], problems: dict) -> None:
    """Files beside the folders of people go to the only one whose they can be."""
    everybody = {person(one.name) for one in hand_ins}
    for week, home, item in beside:
        above = item.shown.rpartition("/")[0]
        near = [one for one in hand_ins if one.week == week and one.folder.startswith(above + "/")]
        owner = levels.owner_of(item, [(person(one.name), one.folder) for one in near], everybody)
        if owner or item.path.name.casefold() not in KEPT:
            levels.say_beside(item, owner, problems)
        for one in near:
            if one.folder == owner:
                one.files.setdefault(f"{home}/{item.path.name}", item)


def _name_datasets(hand_ins: list[HandIn], contract: Contract) -> None:
    """Where the level of the data set was left out: which it must be."""
    for one in hand_ins:
        parts = one.folder.split("/")
        if one.dataset or len(parts) != 3 or "{dataset}" not in one.week.folder:  # results/week2/eva
            continue
        others = {dataset_of(other.dataset, contract) for other in hand_ins if person(other.name) == person(one.name)}
        one.dataset = levels.guess_dataset(sorted(one.files.values()), others - {""}, contract)


def _one_person_twice(hand_ins: list[HandIn], problems: dict) -> None:
    """Two names that are nearly one: exchanged parts (Lovelace_Ada), or one letter in a long name. Only a note."""
    typed = {person(one.name): one for one in reversed(hand_ins)}
    weeks = {name: sum(person(one.name) == name for one in hand_ins) for name in typed}
    names = sorted(typed, key=lambda name: (-weeks[name], name))[:300]  # the commoner spelling is the right one
    parts = {name: sorted(re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", typed[name].name[:64])
                                     .casefold())) for name in names}
    turned = {name: in_any_order(name) for name in names}
    for k, name in enumerate(names):
        for other in names[:k]:
            swapped = len(parts[name]) > 1 and parts[name] == parts[other] or turned[name] == turned[other]
            if swapped or len(name) > 7 and name.isalpha() and other.isalpha() and apart(name, other, 1) == 1:
                one = typed[name]
                right = f"{one.folder.rpartition('/')[0]}/{other}"
                problems[one.folder, "person"] = Problem(
                    "same-person", f"may be the same person as {other}: "
                    + ("the parts of the name are exchanged" if swapped else "one letter differs"),
                    f"if so: git mv {shlex.quote(one.folder)} {shlex.quote(right)}", "note")
                break


def _home(week: Week, pattern: str) -> str:
    """The part of a pattern that is a person's folder; the week's folder where people have none."""
    parts = pattern.split("/")
    return "/".join(parts[: parts.index("{name}") + 1]) if "{name}" in parts else week.folder


def _regex(tail: str) -> re.Pattern:
    """A file's pattern with the person's name in it, as a regular expression."""
    return re.compile(re.escape(tail).replace(r"\{name\}", r"(?P<name>[^/._][^/]*?)").replace(r"\*", "[^/]*"), re.I)


def _owner(path: str, owners: list[re.Pattern], tails: list[str]) -> tuple[str, str]:
    """(name, path with {name} in its place) where the name is in the file's, as in {name}_ethics_limits.md.

    Otherwise the name is the folder in which a file of such words lies, or what its name says beside them.
    """
    match = next((match for match in (owner.fullmatch(path) for owner in owners) if match), None)
    if match:
        return match["name"], path[:match.start("name")] + "{name}" + path[match.end("name"):]
    folder, _, file = path.rpartition("/")
    words = re.findall(r"[^\W_]+", file.rpartition(".")[0][:120])
    right = {word for tail in tails for word in re.findall(r"[a-z]{4,}", tail.replace("{name}", " "))}
    other = [word for word in words if all(apart(word.casefold(), known, 1) > 1 for known in right)]
    if is_junk(path) or len(other) == len(words):
        return "", ""
    return folder.partition("/")[0] or "_".join(w for w in other if w.casefold() not in BESIDE), path


def _expand(here: Path, shown: str, parts: list[str], problems: dict) -> Iterator[tuple[Path, str]]:
    """Every real folder that the parts of a path can mean."""
    if not parts:
        yield here, shown
        return
    entries = listed(here, shown, problems, levels=1)
    there = {entry.path for entry in entries}
    for entry in entries:
        place = f"{shown}/{entry.path}"
        if entry.path.startswith(".") or not same_folder(entry.path, parts[0]):
            continue
        if entry.kind == "folder":
            if entry.path != parts[0]:
                right = shlex.quote(f"{shown}/{parts[0]}")
                fix = f"git mv {shlex.quote(place)} {right}"
                if parts[0] in there:  # git would put the one folder into the other
                    fix = f"git mv -k {shlex.quote(place)}/* {right}/"
                there.add(parts[0])
                problems[place, "spelling"] = Problem("folder-spelling", f"is read as {parts[0]}", fix, "note")
            yield from _expand(here / entry.path, place, parts[1:], problems)
        elif entry.kind != "file":
            levels.refuse_link(place, entry.kind, problems)


def _join(hand_ins: list[HandIn]) -> list[HandIn]:
    """Where a week has two places (reports/week8 and results/week8), what a person put into them is one submission."""
    kept: list[HandIn] = []
    for one in hand_ins:
        twin = next((k for k in kept if k.week == one.week and person(k.name) == person(one.name)
                     and one.dataset and not k.dataset), None)
        if twin:
            twin.files.update(one.files)
            twin.homes.update(one.homes)
            twin.deep = one.deep
            twin.dataset, twin.folder = one.dataset, one.folder
        else:
            kept.append(one)
    return kept
