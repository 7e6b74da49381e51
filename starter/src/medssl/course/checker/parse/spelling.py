"""How people spell folders: weeks, data sets, their own name; and which names are litter."""

import re

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.contract import Contract
from medssl.course.names import slug
from medssl.errors import MedsslError

JUNK = {".ds_store", "thumbs.db", "desktop.ini", "__macosx", "__pycache__", ".ipynb_checkpoints", ".gitattributes"}
KEPT = {".gitkeep", ".gitignore", "readme.md", "feedback.md"}  # may lie anywhere
LONGEST = 64  # of what is compared letter by letter


def apart(a: str, b: str, most: int = 2) -> int:
    """How many letters were left out, added, changed or exchanged with their neighbour; `most` + 1 means: more."""
    a, b = a[:LONGEST], b[:LONGEST]
    if a == b:
        return 0
    if abs(len(a) - len(b)) > most or len(set(a) ^ set(b)) > 2 * most:  # cheap, and settles nearly every pair
        return most + 1
    before, row = [], list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        earlier, before, row = before, row, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


def is_junk(path: str) -> bool:
    """Whether a path was left there by a program (Finder, Word, Jupyter, an editor) and not by a person."""
    parts = [part.casefold() for part in path.split("/")]
    return any(part in JUNK or part.startswith(("~$", "._", ".~lock")) for part in parts) or parts[-1].endswith(
        (".pyc", ".swp", ".crdownload", "~"))


def loose(name: str) -> str:
    """Folder names that mean the same are equal here: case, blanks and leading zeros do not count (Week_01 = week1)."""
    return re.sub(r"week0+(?=\d)", "week", re.sub(r"[\s_.-]", "", name[:200].casefold()))


def same_folder(typed: str, right: str) -> bool:
    """Whether a folder's name is meant to be `right`: Week_01, wek1 and w1 are week1, but week2 and week11 are not."""
    typed, right = loose(typed), loose(right)
    if typed == right:
        return True
    a, b = (re.fullmatch(r"([^\d]*)0*(\d*)", text) for text in (typed, right))
    if not a or not b or a[2] != b[2]:
        return False
    return len(b[1]) > 3 and apart(a[1], b[1]) <= min(2, len(b[1]) // 4) or b[1] == "week" and a[1] in ("w", "wk")


def person(name: str) -> str:
    """One spelling a person (the slug), also for a folder whose name no slug can be made of."""
    try:
        return slug(name)
    except MedsslError:
        return clean(name, 64)


def dataset_of(typed: str, contract: Contract) -> str:
    """The data set that a folder's name means ("" = none): the contract's key, an alias, or at most two letters off."""
    bare = loose(typed)
    known = {loose(name): key for key, facts in contract.datasets.items() for name in (key, *facts.aliases)}
    if bare in known:
        return known[bare]
    # Two letters off a long name, one off a short alias: "brest" is breast, but "chestmnist" is another data set.
    near = [(apart(bare, name), key) for name, key in known.items()
            if len(name) > 4 and apart(bare, name) <= (2 if len(name) > 9 else 1)]
    return min(near)[1] if near else ""


def spelt_dataset(typed: str, folder: str, name: str, contract: Contract) -> tuple[str, list[Problem]]:
    """The contract's key for a submission's data set, and what is wrong where there is none."""
    if not typed:
        return "", []
    dataset = dataset_of(typed, contract)
    if not dataset:
        return typed, [Problem("unknown-dataset", f"lies under '{clean(typed, 40)}', a data set that the contract does "
                               "not know: nothing official can be held against it",
                               f"move it below one of {', '.join(contract.datasets)}", "warning")]
    return dataset, []
