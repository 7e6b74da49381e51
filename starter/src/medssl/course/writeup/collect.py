"""Everything that weeks 1-8 left behind, read through the contract: what paper, slides and the three questions share.

    found = collect()                       # or collect(root, dataset="breastmnist", name="ada")
    for result in found.metrics: print(result.week, result.name, result.model, result.values["auroc"])
    y, p = found.scores(result)             # labels [N], scores [runs, N]
    found.missing                           # what is not there, each with the command that makes it

Rules. A number is used only if its file is whole and its predictions give the same number; otherwise the file is listed
as missing and `broken` says why. Phantom and real data never meet: where there is anything real, phantoms are left out.
The reference hand-ins count only where nobody else is, or when they are asked for. Nothing is averaged over people.
"""

import csv
import glob
import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from medssl.course.checker.parse.handed_in import Problem, read_bytes, read_json, read_text
from medssl.course.contract import FileSlot, Week, load_contract
from medssl.course.names import dataset_key, fill, results_root, slug
from medssl.course.predictions import split_of
from medssl.course.writeup.records import Missing, Result, Run, read_result, read_scores
from medssl.errors import MedsslError

REFERENCE = "reference"  # the course's own hand-ins
LOCKED = "reference_supervised.json"  # week 3's one model that all later weeks compare with
DRAWS = 1000  # bootstrap samples: a paper with two data sets asks for some forty intervals
LAST = 8  # the weeks that measure something
MOST_ROWS = 100_000  # of ssl_loss.csv


@dataclass
class Collected:
    root: Path
    people: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    metrics: list[Result] = field(default_factory=list)
    figures: dict[str, Path] = field(default_factory=dict)  # "week 5, breastmnist, ada: probe_vs_…": as handed in
    operating: list[dict] = field(default_factory=list)  # week, dataset, name, content, run, test and val: predictions
    robustness: list[dict] = field(default_factory=list)  # one a shift: … shift, file, predictions, run
    ladders: dict[tuple, Path] = field(default_factory=dict)  # (data set, person): week 5's ladder.md
    pretraining: list[dict] = field(default_factory=list)  # dataset, name, config, losses {seed: [(epoch, loss)]}
    missing: list[Missing] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # file: what is wrong with it
    left_out: list[str] = field(default_factory=list)  # people and data sets that were not taken, and why

    @cached_property
    def phantom(self) -> bool:
        return any(result.phantom for result in self.metrics)

    def about(self, dataset: str):
        """The contract's entry of a data set: title, classes, official counts."""
        return load_contract().datasets[dataset]

    def of(self, dataset: str | None = None, name: str | None = None, week: int | None = None) -> list[Result]:
        """The results of one data set, person and week; None: all."""
        wanted = {"dataset": dataset, "name": name, "week": week}
        return [r for r in self.metrics if all(v in (None, getattr(r, key)) for key, v in wanted.items())]

    def result(self, file: str, dataset: str, name: str) -> Result | None:
        """The record of one metrics file, by its name in the contract."""
        return next((r for r in self.of(dataset, name) if r.file == file), None)

    def reference(self, dataset: str, name: str) -> Result | None:
        """The supervised network that was locked in week 3: all labels."""
        return self.result(LOCKED, dataset, name)

    def few_labels(self, dataset: str, name: str, method: str) -> list[Result]:
        """The results of "probe" or "finetune" with a share of the labels, fewest labels first, latest week last."""
        chosen = [r for r in self.of(dataset, name) if r.method == method and r.label_fraction < 1]
        return sorted(chosen, key=lambda r: (r.label_fraction, r.week))

    def scores(self, result: Result) -> tuple[np.ndarray, np.ndarray]:
        """(y [N], p [runs, N]) in the order of the test split and of `result.seeds`."""
        rows = self.read_predictions(result.predictions, result.dataset)
        return rows[result.seeds[0]][1], np.stack([rows[seed][2] for seed in result.seeds])

    def crossed(self, result: Result) -> tuple[np.ndarray, np.ndarray]:
        """(y [N], p [encoders, draws, N]): what evaluate.difference wants, so that no interval is too narrow."""
        y, p = self.scores(result)
        return y, p.reshape(result.encoders, result.draws, -1)

    def interval(self, result: Result, metric: str = "auroc") -> dict[str, float]:
        """{"mean", "lo", "hi"} of one model over test images, label draws and encoders."""
        return self._difference(result, None, metric)

    def difference(self, a: Result, b: Result, metric: str = "auroc") -> dict[str, float]:
        """{"mean", "lo", "hi"} of a less b, on the same test images. Needs two results of one data set."""
        return self._difference(a, b, metric)

    def differences(self) -> list[dict]:
        """All differences between two models that were asked for so far: how many looks were taken."""
        return [gap for (_, other, _), gap in self._known.items() if other]

    def _difference(self, a: Result, b: Result | None, metric: str) -> dict[str, float]:
        from medssl.evaluate import difference

        key = (a.path, b.path if b else None, metric)
        if key not in self._known:
            (y, p), q = self.crossed(a), self.crossed(b)[1] if b else None
            self._known[key] = difference(y, p, q, metric=metric, paired=bool(b) and paired(a, b), n_boot=DRAWS)
        return self._known[key]

    @cached_property
    def _known(self) -> dict:
        return {}

    def read_predictions(self, path: Path, dataset: str) -> dict:
        """{seed: (index, y, p)} of one predictions CSV, in the order of the split that its name says."""
        return read_scores(read_text(read_bytes(path)), path.name, self.about(dataset), split_of(path.name))


def paired(a: Result, b: Result) -> bool:
    """Were run k of a and run k of b made from the same labels? Draws of one share of the labels are; seeds of two
    supervised trainings share nothing but a number."""
    return a.label_fraction == b.label_fraction < 1


def collect(root: str | Path | None = None, dataset: str | None = None, name: str | None = None) -> Collected:
    """Read what weeks 1-8 handed in below `root` (the folder that holds results/, or results/ itself).

    dataset, name: only these; by default all data sets and all people, each as their own rows.
    """
    found = Collected(home_of(root))
    pairs = people_of(found.root)
    if dataset is not None:
        pairs = [pair for pair in pairs if pair[0] == dataset_key(dataset)]
    if name is not None:
        pairs = [pair for pair in pairs if slug_or(pair[1]) == slug(name)]
    elif others := [pair for pair in pairs if pair[1] != REFERENCE]:
        if len(others) < len(pairs):
            found.left_out.append(f"{REFERENCE}: the course's own hand-ins, as there are others")
        pairs = others
    if real := [pair for pair in pairs if not found.about(pair[0]).phantom_of]:
        for pair in pairs:
            if pair not in real:
                found.left_out.append(f"{pair[1]}, {pair[0]}: phantom data, as there are real results")
        pairs = real
    known = load_contract().datasets
    if name in (None, REFERENCE) and dataset is None:  # one person has one data set to work on, the course has two
        for key in absent_datasets([pair[0] for pair in pairs]):
            weeks = [week for week in load_contract().weeks[:LAST] if "{dataset}" in week.folder]
            words = " ".join(week.key for week in weeks)
            found.missing.append(Missing(weeks[0].number, key, fill(weeks[0].folder, key, "").rstrip("/") + "/",
                                         f"medssl run {words} --dataset {key} --name YOUR_NAME"))
    found.people = sorted({person for _, person in pairs})
    found.datasets = sorted({key for key, _ in pairs}, key=list(known).index)
    for key, person in sorted(pairs, key=lambda pair: (found.datasets.index(pair[0]), pair[1])):
        for week in load_contract().weeks[:LAST]:
            read_week(found, week, key, person)
    return found


def absent_datasets(present: list[str]) -> list[str]:
    """The data sets of the course of which there is nothing (phantoms count as such for phantoms only)."""
    known = load_contract().datasets
    phantom = bool(present) and all(known[key].phantom_of for key in present)
    return [key for key, about in known.items() if bool(about.phantom_of) == phantom and not about.weeks
            and key not in present]


def home_of(root: str | Path | None) -> Path:
    """The folder that holds results/, also where results/ itself was named."""
    home = results_root(root)
    if home.name != "results" and not (home / "results").is_dir() and any(home.glob("week[0-9]*/")):
        raise MedsslError(f"{home} holds the weeks themselves, and no folder results/.",
                          "week1/, week2/, … in results/",
                          f"rename it to results, or move the weeks into {home / 'results'}")
    return home.parent if home.name == "results" and not (home / "results").is_dir() else home


def slug_or(name: str) -> str:
    try:
        return slug(name)
    except Exception:  # a folder that no hand-in can have made
        return name


def people_of(root: Path) -> list[tuple[str, str]]:
    """(data set, person) of every folder results/weekN/<data set>/<person>; links are not followed."""
    contract, pairs = load_contract(), set()
    for week in contract.weeks[:LAST]:
        for slot in week.files:
            head = week.pattern(slot).partition("{name}/")[0]
            if "{name}/" in week.pattern(slot):
                for key in contract.datasets:
                    folders = root.glob(fill(head, key, "") + "*")
                    pairs |= {(key, f.name) for f in folders if f.is_dir() and not f.is_symlink()}
            if week.pattern(slot).startswith(f"{week.folder}/"):
                break  # the other slots lie beside this one
    return sorted(pairs)


def read_week(found: Collected, week: Week, dataset: str, name: str) -> None:
    """Add one person's week to what was found."""
    files = {}
    for slot in week.files:
        pattern = fill(week.pattern(slot), dataset, glob.escape(name))
        for spelling in (pattern, *(pattern.removesuffix(slot.short) + alias for alias in slot.aliases)):
            paths = sorted(p for p in found.root.glob(spelling) if p.is_file() and not p.is_symlink())
            if paths:
                break
        files[slot.path] = paths
        if not paths and slot.required:
            note_missing(found, week, dataset, name, fill(week.pattern(slot), dataset, name))
    if not any(files.values()):
        return
    run = read_object(found, week, dataset, name, next(iter(files.get(run_slot(week), [])), None))
    folder = next(paths[0].parent for paths in files.values() if paths)
    found.runs.append(Run(week.number, dataset, name, folder, run))
    for slot in week.files:
        for path in files[slot.path]:
            read_file(found, week, dataset, name, slot, path, files, run)


def run_slot(week: Week) -> str:
    return next((slot.path for slot in week.files if slot.kind == "run"), "")


def note_missing(found: Collected, week: Week, dataset: str, name: str, file: str, why: str = "") -> None:
    line = Missing(week.number, dataset, file, f"medssl run {week.key} --dataset {dataset} --name {name}")
    if line not in found.missing:
        found.missing.append(line)
    if why:
        found.broken[file] = why


def read_object(found: Collected, week: Week, dataset: str, name: str, path: Path | None) -> dict | None:
    """A JSON object, or None (and a line in `missing`) where it is broken."""
    if path is None:
        return None
    try:
        value, problems = read_json(read_bytes(path))
        if problems or not isinstance(value, dict):
            raise problems[0] if problems else Problem("json", "is no JSON object")
        return value
    except Problem as error:
        note_missing(found, week, dataset, name, shown(found, path), str(error))
        return None


def shown(found: Collected, path: Path) -> str:
    return path.relative_to(found.root).as_posix()


def read_file(found: Collected, week: Week, dataset: str, name: str, slot: FileSlot, path: Path, files: dict,
              run: dict | None) -> None:
    """Add one file, by its kind. What is broken becomes a line in `missing`."""
    who = {"week": week.number, "dataset": dataset, "name": name}
    if slot.kind == "figure":
        found.figures[f"week {week.number}, {dataset}, {name}: {path.stem}"] = path
    elif slot.kind == "metrics":
        content = read_object(found, week, dataset, name, path)
        csv_path = next(iter(files.get(slot.predictions, [])), None)
        if content is not None:
            try:
                if csv_path is None:
                    raise Problem("predictions", f"cannot be checked: {slot.predictions} is not there")
                scores = found.read_predictions(csv_path, dataset)
                found.metrics.append(read_result(week.number, dataset, name, slot, path, content, found.about(dataset),
                                                 run, csv_path, scores))
            except Problem as error:
                note_missing(found, week, dataset, name, shown(found, path), str(error))
    elif slot.kind == "config" and (content := read_object(found, week, dataset, name, path)) is not None:
        if week.number == 4:
            losses = read_losses(files.get("ssl_loss.csv", []))
            found.pretraining.append({**who, "config": content, "losses": losses})
        else:
            scored = {split_of(file): paths[0] for file, paths in files.items()
                      if paths and file.startswith("predictions")}
            found.operating.append({**who, "content": content, "run": run, **scored})
    elif slot.path == "ladder.md" and week.number == 5:
        found.ladders[dataset, name] = path
    elif slot.kind == "predictions" and week.number == LAST:
        fixed = slot.short.partition("*")
        shift = path.name.removeprefix(fixed[0]).removesuffix(fixed[2])
        found.robustness.append({**who, "shift": shift, "file": path.name, "predictions": path, "run": run})


def read_losses(paths: list[Path]) -> dict[int, list[tuple[int, float]]]:
    """{seed: [(epoch, loss), …]} of ssl_loss.csv; {} where there is none or it cannot be read."""
    losses: dict[int, list[tuple[int, float]]] = {}
    try:
        for path in paths:
            for _, row in zip(range(MOST_ROWS), csv.DictReader(io.StringIO(read_text(read_bytes(path)))), strict=False):
                losses.setdefault(int(row["seed"]), []).append((int(row["epoch"]), float(row["loss"])))
    except (Problem, KeyError, ValueError, TypeError, csv.Error):
        return {}
    return losses
