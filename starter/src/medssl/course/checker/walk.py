"""Walk through results/ and reports/ and say whose files lie where, by the contract's own patterns.

Only folders that a pattern could mean are entered, links never. Every file is kept under the pattern it would fill,
{dataset} and {name} left open: results/Week_01/breastmnist/Ada/x.png is results/week1/{dataset}/{name}/x.png of Ada.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medssl.course.checker.handed_in import Entry, Problem, clean, list_folder, read_bytes, read_json
from medssl.course.contract import Contract, Week
from medssl.course.names import slug
from medssl.errors import MedsslError

JUNK = {".ds_store", "thumbs.db", "desktop.ini", "__macosx", "__pycache__", ".ipynb_checkpoints"}
KEPT = {".gitkeep", ".gitignore", "readme.md", "feedback.md"}  # may lie anywhere
GROUP = "group"  # the name under which weeks 9 and 10 are handed in together


class Item(NamedTuple):
    """A file that was handed in: where it is shown to be, where it is, and what it is (see handed_in.Entry)."""

    shown: str
    path: Path
    kind: str
    size: int


@dataclass
class HandIn:
    """One submission: its files by the contract's pattern. `dataset` and `name` are the folders' names as typed."""

    week: Week
    dataset: str  # "" where the week has none
    name: str
    folder: str
    files: dict[str, Item] = field(default_factory=dict)


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


def loose(name: str) -> str:
    """Folder names that mean the same are equal here: case, blanks and leading zeros do not count (Week_01 = week1)."""
    return re.sub(r"week0+(?=\d)", "week", re.sub(r"[\s_.-]", "", name.casefold()))


def person(name: str) -> str:
    """One spelling a person (the slug), also for a folder whose name no slug can be made of."""
    try:
        return slug(name)
    except MedsslError:
        return clean(name, 64)


def find_hand_ins(tops: dict[str, Path], contract: Contract) -> tuple[list[HandIn], list[tuple[str, Problem]]]:
    """Every submission, sorted, and (where, problem) of the folders themselves: links, loose files, spelling."""
    found: dict[tuple, HandIn] = {}
    problems: dict[tuple, Problem] = {}
    for week in contract.weeks:
        for home in sorted({_home(week, week.pattern(slot)) for slot in week.files}):
            top, *parts = home.split("/")
            tails = [week.pattern(s)[len(home) + 1:] for s in week.files if week.pattern(s).startswith(home + "/")]
            owners = [_regex(tail) for tail in tails if "{name}" in tail]
            places = _expand(tops[top], tops[top].name, parts, problems) if top in tops else ()
            for folder, shown, bound in places:
                dataset = bound.get("dataset", "")
                if "name" in bound:  # it is a submission, even with nothing in it
                    found[week.number, dataset, bound["name"], shown] = HandIn(week, dataset, bound["name"], shown)
                for entry in _list(folder, shown, problems):
                    name, tail = _owner(entry.path, owners) if owners else (bound.get("name", GROUP), entry.path)
                    nobodys = name == GROUP and Path(tail).name.casefold() in KEPT
                    if name and entry.kind != "folder" and not nobodys:
                        item = Item(f"{shown}/{entry.path}", folder / entry.path, entry.kind, entry.size)
                        mine = HandIn(week, dataset, name, shown)
                        found.setdefault((week.number, dataset, name, shown), mine).files[f"{home}/{tail}"] = item
    _one_finding_a_folder(tops, problems, contract)
    return _join([hand_in for _, hand_in in sorted(found.items())]), [(k[0], problems[k]) for k in sorted(problems)]


def _one_finding_a_folder(tops: dict[str, Path], problems: dict[tuple, Problem], contract: Contract) -> None:
    """Where the level of the data set was left out (results/week2/eva/…), one finding takes the place of one a file."""
    known = {loose(name) for key, facts in contract.datasets.items() for name in (key, *facts.aliases)}
    stray = [place for place, kind in problems if kind == "level" and place.count("/") == 3]  # top/week/eva/file
    for folder in sorted({place.rpartition("/")[0] for place in stray}):
        above, _, name = folder.rpartition("/")
        if loose(name) in known:
            continue
        files = [place for place in stray if place.rpartition("/")[0] == folder]
        for place in files:
            del problems[place, "level"]
        top, _, below = folder.partition("/")
        dataset = _dataset_of(tops[top] / below, contract)
        right, there = f"{above}/{dataset}/{name}", (tops[top] / below).parent / dataset
        first = "" if there.is_dir() or "<" in dataset else f"mkdir {shlex.quote(f'{above}/{dataset}')} && "
        problems[folder, "level"] = Problem(
            "wrong-level", f"lies where a data set is expected ({len(files)} file{'s' if len(files) > 1 else ''})",
            f"{first}git mv {shlex.quote(folder)} {shlex.quote(right) if '<' not in right else right}", "warning")


def _dataset_of(folder: Path, contract: Contract) -> str:
    """The data set that the run.json in a misplaced folder names, if it is one of the contract's."""
    try:
        run, _ = read_json(read_bytes(folder / "run.json"))
        return next(key for key in contract.datasets if key == run["dataset"])
    except (Problem, KeyError, TypeError, StopIteration):
        return "<dataset>"


def _home(week: Week, pattern: str) -> str:
    """The part of a pattern that is a person's folder; the week's folder where people have none."""
    parts = pattern.split("/")
    return "/".join(parts[: parts.index("{name}") + 1]) if "{name}" in parts else week.folder


def _regex(tail: str) -> re.Pattern:
    """A file's pattern with the person's name in it, as a regular expression."""
    return re.compile(re.escape(tail).replace(r"\{name\}", r"(?P<name>[^/._][^/]*?)").replace(r"\*", "[^/]*"), re.I)


def _owner(path: str, owners: list[re.Pattern]) -> tuple[str, str]:
    """(name, path with {name} in its place) where the name is in the file's, as in {name}_ethics_limits.md."""
    match = next((match for match in (owner.fullmatch(path) for owner in owners) if match), None)
    return (match["name"], path[:match.start("name")] + "{name}" + path[match.end("name"):]) if match else ("", "")


def _list(folder: Path, shown: str, problems: dict, **limits) -> list[Entry]:
    entries, cut = list_folder(folder, **limits)
    if cut:
        problems[shown, "cut"] = Problem("too-many-files", "holds too much, or may not be opened: not all was graded",
                                         "hand in what the contract names, nothing else", "warning")
    return entries


def _expand(here: Path, shown: str, parts: list[str], problems: dict) -> Iterator[tuple[Path, str, dict]]:
    """Every real folder that the parts of a pattern can mean, with what {dataset} and {name} stand for in it."""
    if not parts:
        yield here, shown, {}
        return
    for entry in _list(here, shown, problems, levels=1):
        place, is_open = f"{shown}/{entry.path}", parts[0].startswith("{")
        if entry.path.startswith(".") or not (is_open or loose(entry.path) == loose(parts[0])):
            continue
        if entry.kind == "folder":
            if not is_open and entry.path != parts[0]:
                fix = f"git mv {shlex.quote(place)} {shlex.quote(f'{shown}/{parts[0]}')}"
                problems[place, "spelling"] = Problem("folder-spelling", f"is read as {parts[0]}", fix, "note")
            for folder, deeper, bound in _expand(here / entry.path, place, parts[1:], problems):
                yield folder, deeper, bound | ({parts[0][1:-1]: entry.path} if is_open else {})
        elif entry.kind != "file":
            problems[place, "link"] = Problem("link", f"is a {entry.kind}; only real folders are looked into",
                                              "replace it by the folder itself")
        elif is_open and entry.path.casefold() not in KEPT | JUNK:
            problems[place, "level"] = Problem("wrong-level", "lies where only folders are expected: it is nobody's",
                                               f"git mv {shlex.quote(place)} results/weekN/<dataset>/<name>/",
                                               "warning")


def _join(hand_ins: list[HandIn]) -> list[HandIn]:
    """Where a week has two places (reports/week8 and results/week8), what a person put into them is one submission."""
    kept: list[HandIn] = []
    for one in hand_ins:
        twin = next((k for k in kept if k.week == one.week and person(k.name) == person(one.name)
                     and one.dataset and not k.dataset), None)
        if twin:
            twin.files.update(one.files)
            twin.dataset, twin.folder = one.dataset, one.folder
        else:
            kept.append(one)
    return kept
