"""One submission and the one path at which it should lie: week, data set and name, each spelt right, at its level.

The commands of a report can be run from top to bottom. A folder at a wrong place is a warning, and comes before the
notes about its files, so theirs begin at the new place (`after`). A name that is only spelt in two ways is a note, the
last of them (ranking.py), so theirs begin at the old one.
"""

import shlex
from dataclasses import dataclass, field

from medssl.course.checker.files.levels import Item
from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.spelling import KEPT, dataset_of, is_junk, person
from medssl.course.contract import Contract, Week


@dataclass
class HandIn:
    """One submission: its files by the contract's pattern. `dataset` and `name` are the folders' names as typed."""

    week: Week
    dataset: str  # "" where the week has none, or where none was given and none can be told
    name: str
    folder: str
    files: dict[str, Item] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)  # {folder: the contract's pattern of it}
    deep: str = ""  # the folder below its own in which all files lie ("submission/")
    moved: dict[str, str] = field(default_factory=dict)  # {folder: where it should be}, for those that should move
    said: list[tuple[str, Problem]] = field(default_factory=list)  # about the folder itself

    def after(self, item: Item) -> str:
        """Where a file lies once the folders are where they should be."""
        above, _, name = item.shown.rpartition("/")
        for folder in self.homes:
            if item.shown.startswith(folder + "/"):
                inside = item.shown.removeprefix(folder + "/").removeprefix(self.deep)
                return f"{self.moved.get(folder, folder)}/{inside}"
        if self.folder.startswith(above + "/"):  # beside the folders of people: it was moved into this one first
            return f"{self.moved.get(self.folder, self.folder)}/{name}"
        return item.shown


def settle(hand_ins: list[HandIn], problems: dict, contract: Contract) -> None:
    """Say where each folder should lie, in one finding with one command. Fills `moved` and `said` of each hand-in."""
    typed: dict[str, set[str]] = {}
    for one in hand_ins:
        typed.setdefault(person(one.name), set()).add(one.name)
    there = {folder for one in hand_ins for folder in one.homes}
    parents = {_above(folder) for folder in there}
    for one in hand_ins:
        for folder, home in one.homes.items():
            right = _right(one, folder, home, len(typed[person(one.name)]) > 1, contract)
            if not right:
                fix = f"git mv {shlex.quote(folder)} {_above(folder)}/<dataset>/{shlex.quote(person(one.name))}"
                one.said.append((folder, Problem("wrong-level", _left_out(one, folder),
                                                 f"with the data set's name: {fix}", "warning")))
            elif right != folder or one.deep:
                only_name = "{name}" in home and _above(right) == _above(folder) and not one.deep
                if right != folder and not only_name:
                    one.moved[folder] = right
                if "{name}" in home:
                    _say_moved(one, folder, right, only_name, there, parents)
                    there.add(right)
    for key in [key for key in problems if key[1] == "spelling"]:  # said for each person below, with the final path
        if any(folder.startswith(key[0] + "/") for one in hand_ins for folder in one.moved):
            del problems[key]


def _right(one: HandIn, folder: str, home: str, split: bool, contract: Contract) -> str:
    """The path of a folder by the contract; the folder itself if nothing is wrong, "" if the data set is not known."""
    top, parts = folder.split("/")[0], home.split("/")[1:]
    dataset = dataset_of(one.dataset, contract) or one.dataset
    if "{dataset}" in parts and not dataset:
        return ""
    right, slug = ("/".join([top, *parts]).replace("{dataset}", dataset).replace("{name}", name)
                   for name in (one.name, person(one.name)))
    return slug if right != folder or split else folder


def _say_moved(one: HandIn, folder: str, right: str, only_name: bool, there: set[str], parents: set[str]) -> None:
    """One finding with one command. A folder that is there takes the files: git would put the folder into it."""
    parts, code, severity = folder.split("/"), "wrong-level", "warning"
    wrong, meant = ("/".join(path.split("/")[1:-1]) for path in (folder, right))
    if len(parts) == 3:
        message = _left_out(one, folder)
    elif right != folder and parts[2] == one.name != one.dataset == parts[3]:
        message = "has name and data set exchanged"
    elif only_name:
        code, severity = "folder-spelling", "note"
        message = f"is read as {person(one.name)}: this person has two spellings"
    else:
        code = "folder-spelling"
        message = f"The folder {clean(wrong, 80)} is read as {meant}: later weeks do not find a misspelt one"
    source, target = shlex.quote(folder), shlex.quote(right)
    if right in there:
        fix = f"git mv -k {source}/* {target}/"
    elif _above(right) not in parents:  # git mv makes no folder
        fix = f"mkdir -p {shlex.quote(_above(right))} && git mv {source} {target}"
    else:
        fix = f"git mv {source} {target}"
    if one.deep:
        times = one.deep.count("/")
        message = f"holds all files of the submission, {times} level{'s' * (times > 1)} too deep" + (
            f"; {clean(wrong, 80)} is read as {meant}" if wrong != meant else "")
        code, fix = "wrong-level", f"git mv {shlex.quote(f'{folder}/{one.deep}')}* {target}/"
        fix = fix if right in there else f"mkdir -p {target} && {fix}"
    one.said.append((f"{folder}/{one.deep}".rstrip("/"), Problem(code, message, fix, severity)))


def _left_out(one: HandIn, folder: str) -> str:
    files = [item for item in one.files.values() if item.kind == "file" and _above(item.shown) == folder
             and item.path.name.casefold() not in KEPT and not is_junk(item.path.name)]
    return f"lies where a data set is expected ({len(files)} file{'s' if len(files) > 1 else ''})"


def _above(path: str) -> str:
    return path.rpartition("/")[0]
