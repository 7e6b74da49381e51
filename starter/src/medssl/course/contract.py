"""What is handed in each week: `contract.toml` says it once; Submission, checker, runner and syllabus read it here."""

import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from medssl.errors import MedsslError
from medssl.settings import build, nearest, read_toml

HERE = Path(__file__).parent
KINDS = {"metrics", "predictions", "figure", "readme", "config", "table", "weights", "env", "run", "document"}
SAFE = re.compile(r"(\w[\w .-]*/)?\w[\w .-]*")  # a file name, in one sub-folder at most: nothing that leads elsewhere


@dataclass(frozen=True)
class FileSlot:
    """One file that is handed in. `path` lies in the week's folder, unless it begins with results/ or reports/ itself;
    it may hold {name}, {dataset} and *."""

    path: str
    kind: str  # one of KINDS
    about: str  # why it is wanted, in one line
    required: bool = True
    keys: list[str] = field(default_factory=list)  # JSON keys it must have, after those of its kind
    aliases: list[str] = field(default_factory=list)  # other names under which it is accepted
    predictions: str = ""  # the CSV from which a metrics file can be recomputed
    columns: list[str] = field(default_factory=list)  # words (a|b: either) by which its table is known in the README

    @property
    def short(self) -> str:
        """The path as seen from the folder in which it lies."""
        return self.path.split("{name}/")[-1]


@dataclass(frozen=True)
class Section:
    """A headed part of the README that the student writes."""

    title: str
    ask: str


@dataclass(frozen=True)
class Need:
    """A file of an earlier week that this week starts from."""

    week: int
    file: str
    why: str


@dataclass(frozen=True)
class Week:
    number: int
    title: str
    theme: str
    notebook: str
    folder: str
    budget_seconds: int  # for the quick profile, on two cores
    files: list[FileSlot]
    common: bool = True  # run.json and env.json are handed in too
    needs: list[Need] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"week{self.number:02d}"

    @property
    def personal(self) -> bool:
        """False where the group hands in one thing together (weeks 9 and 10)."""
        return any("{name}" in self.pattern(slot) for slot in self.files)

    def pattern(self, slot: FileSlot) -> str:
        """The slot's path below the root, with {dataset}, {name} and * still open."""
        return slot.path if slot.path.startswith(("results/", "reports/")) else f"{self.folder}/{slot.path}"

    def slot(self, file: str) -> FileSlot | None:
        """The slot that `file` fills by its right name: as the contract spells it, or with {name} and * filled in."""
        return next((s for s in self.files if file == s.short or fits(file, s.short.replace("{name}", "*"))), None)


@dataclass(frozen=True)
class Extra:
    """A notebook that belongs to no week; `medssl run all` comes to it after the weeks."""

    notebook: str
    title: str
    budget_seconds: int  # for the quick profile, on two cores

    @property
    def key(self) -> str:
        return self.notebook.removesuffix(".ipynb")


@dataclass(frozen=True)
class Task:
    """An extra task of weeks 5-7 (P: PneumoniaMNIST, B: BreastMNIST). `files` are patterns within the week's folder."""

    id: str
    dataset: str
    weeks: list[int]
    description: str
    files: list[str]
    words: list[str] = field(default_factory=list)  # what a text about it is bound to mention


@dataclass(frozen=True)
class Dataset:
    """What the official splits hold: `counts["test"]` = images with label 0, with label 1."""

    title: str
    classes: list[str]  # in label order; the second one is the positive class
    counts: dict[str, list[int]]
    phantom_of: str = ""
    aliases: list[str] = field(default_factory=list)
    split_hash: str = ""  # data.load(…).split_hash() at 28 px; "" where nobody has computed it yet
    weeks: list[int] = field(default_factory=list)  # the weeks it is for, which take no other; []: all the other weeks
    labels: dict[str, str] = field(default_factory=dict)  # split -> the labels in official order, a bit each, as hex

    def labels_of(self, split: str) -> list[int]:
        """The official labels of a split in their order; [] where the contract does not hold them."""
        bits = "".join(f"{int(digit, 16):04b}" for digit in self.labels.get(split, ""))
        return [int(bit) for bit in bits[:sum(self.counts[split])]]


@dataclass(frozen=True)
class Contract:
    version: str
    keys: dict[str, list[str]]  # required JSON keys by kind
    common: list[FileSlot]
    weeks: list[Week]
    notebooks: list[Extra]
    tasks: list[Task]
    datasets: dict[str, Dataset]
    metric_aliases: dict[str, list[str]]  # our key -> spellings seen in the wild
    words: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # in file names: {what: {which: [synonyms]}}

    def week(self, number: int) -> Week:
        for week in self.weeks:
            if week.number == number:
                return week
        raise MedsslError(f"Week {number} is not in the contract.", f"a week from 1 to {self.weeks[-1].number}",
                          "Name one of these.")

    def datasets_of(self, week: int) -> list[str]:
        """The data sets that a week's notebook takes."""
        own = [key for key, facts in self.datasets.items() if week in facts.weeks]
        return own or [key for key, facts in self.datasets.items() if not facts.weeks]

    def tasks_of(self, week: int) -> list[Task]:
        return [task for task in self.tasks if week in task.weeks]

    def task_for(self, week: int, file: str) -> Task | None:
        """The extra task of that week to which `file` belongs, by its ending such as _P1.csv."""
        return next((t for t in self.tasks_of(week) if any(fits(file, pattern) for pattern in t.files)), None)


def fits(file: str, pattern: str) -> bool:
    """Like a shell pattern, but * stays within one folder, capitals count, and nothing like ../ ever fits."""
    return bool(SAFE.fullmatch(file)) and file.count("/") == pattern.count("/") and fnmatchcase(file, pattern)


@cache
def load_contract() -> Contract:
    """The contract shipped in the package; each slot's keys begin with those of its kind."""
    contract = build(Contract, read_toml(HERE / "contract.toml"), "contract.toml")

    def complete(week: Week) -> Week:
        files = week.files + (contract.common if week.common else [])
        return replace(week, files=[replace(s, keys=contract.keys.get(s.kind, []) + s.keys) for s in files])

    return replace(contract, weeks=[complete(week) for week in contract.weeks])


@cache
def load_profiles() -> dict[str, dict[str, dict[str, Any]]]:
    """profiles.toml as {"quick": {"all": {...}, "week01": {...}}, "colab": ..., "betty": ...}: notebook parameters."""
    profiles = build(dict[str, dict[str, dict[str, Any]]], read_toml(HERE / "profiles.toml"), "profiles.toml")
    known = {"all"} | {one.key for one in (*load_contract().weeks, *load_contract().notebooks)}
    for name, tables in profiles.items():
        if unknown := sorted(set(tables) - known):
            raise MedsslError(f"profiles.toml: unknown table [{name}.{unknown[0]}].", nearest(unknown[0], known))
    return profiles


def profile_parameters(profile: str, notebook: int | str | None) -> dict[str, Any]:
    """What a notebook is given: the profile's [all], then its own table on top.

    notebook: the number of a week, the key of an extra one ("extra_tasks"), or anything else that has no table.
    """
    if profile not in load_profiles():
        raise MedsslError(f"There is no profile {profile!r}.", nearest(profile, load_profiles()))
    tables = load_profiles()[profile]
    key = load_contract().week(notebook).key if isinstance(notebook, int) else notebook
    return tables.get("all", {}) | tables.get(key, {})
