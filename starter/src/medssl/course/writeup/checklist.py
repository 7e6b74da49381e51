"""`medssl checklist`: reproducibility_checklist.md, in which a box is ticked only by something that was measured.

    - [x] what was measured, with the number
    - [ ] what was measured and is not so, or could not be measured here: and why
"""

import hashlib
import re
from importlib import metadata
from pathlib import Path

from medssl.course import provenance
from medssl.course.bands import read_json
from medssl.course.checker.parse.handed_in import clean
from medssl.course.contract import load_contract
from medssl.course.markdown import table
from medssl.course.parameters import parameters_of
from medssl.course.reproduce import recorded_parameters
from medssl.course.writeup.at_hand import COURSE
from medssl.course.writeup.collect import Collected, collect
from medssl.course.writeup.records import Run
from medssl.course.writeup.tables import title_of
from medssl.files import write_atomic

HOUR = 3600
REPRODUCTION = "runs/reproduce/reproduction.json"
SEVEN = range(1, 8)


def write_checklist(root: str | Path | None = None, reproduction: str | Path | None = None,
                    out: str | Path | None = None) -> Path:  # fmt: skip
    """Measure, and write results/week10/reproducibility_checklist.md (or below `out`)."""
    found = collect(root)
    where = Path(reproduction) if reproduction else found.root / REPRODUCTION
    rerun = read_json(where)
    if not isinstance(rerun, dict) or rerun.get("dataset") not in found.datasets:  # of other images: another matter
        rerun = None
    folder = Path(out) if out else found.root / "results/week10"
    return write_atomic(folder / "reproducibility_checklist.md", as_markdown(found, rerun))


def as_markdown(found: Collected, rerun: dict | None) -> str:
    runs = [run for run in found.runs if run.run]
    boxes = [*data_boxes(found), split_box(runs), *number_boxes(found), version_box(runs), commit_box(runs),
             *weight_boxes(found.runs), *rerun_boxes(rerun)]  # fmt: skip
    ticked = sum(good for good, _ in boxes)
    parts = ["# Reproducibility checklist",
             f"Written by `medssl checklist`; {ticked} of {len(boxes)} boxes are ticked, each by a measurement."]
    if found.phantom:
        parts.append("**PHANTOM data**: no patients, so nothing here is a result.")
    parts += ["\n".join(f"- [{'x' if good else ' '}] {text}" for good, text in boxes),
              "## How to run it again", how_to(found), "## What was run", run_table(runs)]
    if rerun:
        said = rerun["verdict"]
        parts += ["## What `medssl reproduce` found", said["words"],
                  table(["Week", "State", "Seconds now", "Seconds recorded"],
                        [[week, clean(one["status"], 100), whole(one["seconds"]), whole(one["recorded_seconds"])]
                         for week, one in rerun["weeks"].items()])]  # fmt: skip
    return "\n\n".join([*parts, "## What is not reproducible, and why", bullets(limits(found, rerun))]) + "\n"


def data_boxes(found: Collected) -> list[tuple[bool, str]]:
    from medmnist import INFO

    from medssl.data.medmnist import file_path

    boxes = []
    for dataset in found.datasets:
        if found.about(dataset).phantom_of:
            boxes.append((True, f"{dataset} is drawn by the package: no file, the same images everywhere."))
            continue
        path, wanted = file_path(dataset), INFO[dataset]["MD5"]
        if not path.is_file():
            boxes.append((False, f"The images of {title_of(dataset)} are not on this machine: MD5 not measured "
                                 f"(published: {wanted})."))  # fmt: skip
            continue
        with open(path, "rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        boxes.append((md5 == wanted, f"The images of {title_of(dataset)} have the MD5 {md5}, "
                                     + ("as published." if md5 == wanted else f"not the published {wanted}.")))
    return boxes


def split_box(runs: list[Run]) -> tuple[bool, str]:
    hashes = {dataset: sorted({str(r.run.get("split_hash")) for r in runs if r.dataset == dataset})
              for dataset in dict.fromkeys(r.dataset for r in runs)}  # fmt: skip
    said = "; ".join(f"{dataset}: {', '.join(map(clean, values))}" for dataset, values in hashes.items())
    good = bool(hashes) and all(len(values) == 1 and values != ["None"] for values in hashes.values())
    return good, f"Every week used the same images and labels (split hash {said or 'unknown'})."


def number_boxes(found: Collected) -> list[tuple[bool, str]]:
    count, runs = len(found.metrics), sum(r.runs for r in found.metrics)
    boxes = [(count > 0 and not found.broken,
              f"{count} metrics files ({runs} runs) were computed again from their predictions and agree"
              + (f"; {len(found.broken)} files are of no use: {', '.join(map(clean, list(found.broken)[:3]))}."
                 if found.broken else "."))]  # fmt: skip
    single = sorted({f"{r.file} (week {r.week})" for r in found.metrics if r.runs < 2})
    boxes.append((count > 0 and not single, "Every metric is a mean over two runs or more, with its spread."
                  if not single else f"One run only, so no spread: {', '.join(single)}."))  # fmt: skip
    return boxes


def version_box(runs: list[Run]) -> tuple[bool, str]:
    kinds = {tuple(sorted(r.run["versions"].items())) for r in runs if isinstance(r.run.get("versions"), dict)}
    if len(kinds) != 1:
        return False, f"The weeks were run with {len(kinds)} different sets of package versions (see below)."
    recorded = dict(kinds.pop())
    differ = [f"{name} {version} (recorded {recorded[name]})" for name, version in here().items()
              if name in recorded and version != recorded[name]]  # fmt: skip
    said = ", ".join(f"{clean(name)} {clean(version)}" for name, version in recorded.items())
    now = f" This machine has {', '.join(differ)}." * bool(differ)
    return True, f"One set of versions for all weeks: {said}.{now}"


def here() -> dict[str, str]:
    return {name: metadata.version(name) for name in provenance.PACKAGES}


def commit_box(runs: list[Run]) -> tuple[bool, str]:
    commits = {r.week: str(r.run.get("git") or "unknown") for r in runs if r.week in SEVEN}
    bad = [week for week, commit in commits.items() if commit == "unknown" or commit.endswith("-dirty")]
    if bad or not commits:
        weeks = ", ".join(map(str, sorted(bad))) or "none recorded"
        return False, f"Not every week names the commit that made it: unknown, or with changes on top, in week {weeks}."
    return True, f"Each week names a clean commit ({', '.join(sorted({c[:10] for c in commits.values()}))})."


def weight_boxes(runs: list[Run]) -> list[tuple[bool, str]]:
    """sha256 of the weights that are here, against run.json; those that are not here are named."""
    same, other, absent = [], [], []
    for run in runs:
        weights = (run.run or {}).get("weights")
        for file, about in (weights if isinstance(weights, dict) else {}).items():
            path, said = run.folder / Path(file).name, f"{clean(file, 60)} (week {run.week}, {clean(run.name, 40)})"
            if not path.is_file() or path.is_symlink():
                absent.append(said)
                continue
            with open(path, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            (same if isinstance(about, dict) and digest == about.get("sha256") else other).append(said)
    boxes = []
    if same or other:
        but = f"; not {', '.join(other[:3])}" if other else ""
        boxes.append((not other, f"{len(same)} of {len(same) + len(other)} weight files that are here have the "
                                 f"recorded sha256{but}."))
    if absent:
        boxes.append((False, f"Weights that are recorded but not handed in (too large): {', '.join(absent[:6])}."))
    return boxes


def rerun_boxes(rerun: dict | None) -> list[tuple[bool, str]]:
    if not rerun:
        return [(False, "`medssl reproduce` was not run here: nothing is known about a rerun.")]
    said, took = rerun["verdict"], [one["seconds"] for one in rerun["weeks"].values()]
    ran = all(one["status"] in ("ran", "kept") for one in rerun["weeks"].values())
    total, complete = sum(filter(None, took)), len(rerun["weeks"]) == len(SEVEN) and ran
    device = rerun["hardware"]["device"]
    return [(said["compared"] > 0 and said["outside"] == 0,
             f"A rerun of week {', '.join(rerun['weeks'])}: {said['inside']} metrics inside their bands, "
             f"{said['outside']} outside, {said['not run']} not run."),
            (complete, "All seven weeks were rerun from nothing."
             if complete else f"Not all seven weeks were rerun: {said['not run']} recorded metrics were not compared."),
            (complete and total <= HOUR, f"Baseline, pretraining and key plots took {total / 60:.0f} min on {device}"
             + ("." if complete else " for the weeks that were rerun: whether all fit an hour was not measured."))]


def how_to(found: Collected) -> str:
    dataset = found.datasets[0] if found.datasets else "breastmnist"
    def again(week: int) -> str:
        one = next((r for r in found.runs if (r.week, r.dataset) == (week, dataset) and r.run), None)
        return f"`{command_of(one or Run(week, dataset, '', found.root, None), 'YOUR_NAME')}`"

    rows = [["a core baseline", again(1)], ["the pretraining", again(4)],
            ["the key plots, all numbers, and a comparison", f"`medssl reproduce --dataset {dataset}`"],
            ["paper, answers, slides, this page",
             "`medssl report`, `medssl questions`, `medssl slides`, `medssl checklist`"]]  # fmt: skip
    return table(["What", "Command (in Colab with `!` before it)"], rows)


def command_of(run: Run, name: str) -> str:
    """`medssl run …` with the settings that run.json names: the profile's own would be another run."""
    week = load_contract().week(run.week)
    notebook = COURSE / "notebooks" / week.notebook
    told = run.run or {}
    written = told.get("parameters") if isinstance(told.get("parameters"), dict) else {}
    known = parameters_of(notebook) if notebook.is_file() else dict.fromkeys(key for key in written if key.isupper())
    made = recorded_parameters({**told, "parameters": written}, known)
    settings = [f"-p {clean(key, 30)}={clean(value, 30)}" for key, value in made.items()
                if key not in ("DATASET", "NAME", "OUT") and re.fullmatch(r"[\w.+-]{1,30}", str(value))]
    return " ".join([f"medssl run {week.key} --dataset {run.dataset} --name {clean(name, 60)}", *settings[:12]])


def run_table(runs: list[Run]) -> str:
    rows = []
    for run in runs:
        one, machine = run.run, run.run.get("hardware") if isinstance(run.run.get("hardware"), dict) else {}
        seeds = one.get("seeds") if isinstance(one.get("seeds"), list) else []
        commit = str(one.get("git") or "unknown")
        commit = clean(commit[:10], 20) + "-dirty" * commit.endswith("-dirty")
        rows.append([run.week, f"`{command_of(run, run.name)}`", len(seeds), whole(one.get("seconds")),
                     clean(machine.get("device", "unknown"), 40), commit, clean(one.get("finished", ""), 30)])
    total = sum(float(r.run["seconds"]) for r in runs if isinstance(r.run.get("seconds"), int | float))
    header = ["Week", "Command", "Runs", "Seconds", "Machine", "Commit", "Finished"]
    return f"{table(header, rows)}\n\nIn all {total / 60:.0f} minutes."


def limits(found: Collected, rerun: dict | None) -> list[str]:
    """What a reader cannot get back."""
    out = [f"{title_of(dataset)}: no results here. `{clean(command, 200)}`"
           for dataset, command in dict.fromkeys((m.dataset, m.command) for m in found.missing)
           if dataset not in found.datasets]  # fmt: skip
    absent = [m for m in found.missing if m.dataset in found.datasets]
    if absent:
        out.append(f"Files that the course asks for and that are missing: {len(absent)}, such as "
                   f"`{clean(absent[0].file, 150)}`.")
    left = {}
    for row in (rerun or {}).get("metrics", []):
        if row["status"] == "not run":
            left.setdefault((row["week"], row["reason"]), []).append(row)
    out += [f"Week {week}: {len(rows)} metrics not compared; {clean(reason, 150)}."
            for (week, reason), rows in left.items()]
    notes = {(week, one["notes"]) for week, one in (rerun or {}).get("weeks", {}).items() if one.get("notes")}
    out += [f"Week {week} of the rerun: {clean(text, 300)}" for week, text in sorted(notes)]
    return out + ["Bit by bit: sums are rounded in another order on another device or number of threads. Hence bands.",
                  "Pixel, random-encoder and same-label baselines of the ladders are tables, without predictions."]


def bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def whole(value) -> str:
    return f"{value:.0f}" if isinstance(value, int | float) else "–"
