"""`medssl reproduce`: run weeks 1-7 again from nothing, and hold each number against the band it was recorded with.

The rerun lies in a folder of its own (runs/reproduce) under a name of its own, so nothing handed in is touched. A week
gets the parameters that its recorded run.json names; only the number of seeds follows the profile, to fit an hour.
"""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from medssl.course import provenance
from medssl.course.bands import compare_numbers, read_json, read_numbers, verdict
from medssl.course.contract import load_contract, profile_parameters
from medssl.course.names import dataset_key, fill, results_root, slug
from medssl.course.parameters import parameters_of
from medssl.course.reproduction_report import write_report
from medssl.course.run import choose_folders, run_weeks
from medssl.course.submission import Submission
from medssl.errors import MedsslError
from medssl.files import write_atomic

NAME = "reproduction"
OURS = "reference"  # where earlier weeks' notebooks look for what was not rerun
WEEKS = range(1, 8)
HOUR = 3600
SETTINGS = {"EPOCHS", "STEPS", "WEIGHTS", "METHOD", "MODEL", "DRAWS", "FRACTION", "TARGET_TPR", "TARGET_FPR"}
KEY_PLOTS = {1: "reliability.png", 4: "ssl_loss_curve.png", 5: "probe_vs_supervised_plot_auroc.png",
             6: "reliability_ssl_finetune.png", 7: "roc_curve.png"}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What was recorded: whose results, below which root."""

    root: Path
    dataset: str
    name: str

    def run(self, week: int) -> dict:
        """run.json of that week; {} where there is none."""
        found = read_json(self.folder(week) / "run.json")
        return found if isinstance(found, dict) else {}

    def folder(self, week: int) -> Path:
        return self.root / fill(load_contract().week(week).folder, self.dataset, self.name)


def reproduce(profile: str = "colab", dataset: str | None = None, against: str = OURS,
              out: Path | str = "runs/reproduce", k: float = 2.0, only: list[int] | None = None, *,
              seeds: int | None = None, keep_going: bool = False, fresh: bool = False, strict: bool = False,
              notebooks: Path | None = None) -> int:  # fmt: skip
    """Rerun and compare. The exit code is 0 only if nothing is outside its band (strict: nor left out)."""
    dataset = dataset_key(dataset or profile_parameters(profile, 1)["DATASET"])
    record, weeks = find_record(against, dataset), sorted(only or WEEKS)
    if unknown := [week for week in weeks if week not in WEEKS]:
        raise MedsslError(f"Week {unknown[0]} is not rerun.", "weeks 1 to 7: later ones write down what those found")
    if k <= 0:
        raise MedsslError(f"k = {k:g} leaves no band.", "a number above 0, such as 2")
    root, _, source = choose_folders(Path(out), notebooks)
    data_is_here(dataset)
    asked = {week: parameters(week, profile, record, source, seeds) for week in weeks}
    print(estimate(record, asked))
    lend(record, root, weeks)
    ran = run_all(asked, profile, dataset, root, source, keep_going, fresh)
    recorded, rerun = (read_numbers(*where) for where in ((record.root, dataset, record.name), (root, dataset, NAME)))
    reasons = {week: why_not(week, record, root, ran) for week in WEEKS}
    rows = compare_numbers(recorded, rerun, {week: why for week, why in reasons.items() if why}, k)
    mine = Record(root, dataset, NAME)
    diary = {str(week): {"status": ran[week], "parameters": asked[week], "seconds": mine.run(week).get("seconds"),
                         "recorded_seconds": record.run(week).get("seconds"), "notes": mine.run(week).get("notes", "")}
             for week in weeks}  # fmt: skip
    result = {"dataset": dataset, "profile": profile, "against": record.name, "k": k, "metrics": rows,
              "verdict": verdict(rows), "phantom": bool(load_contract().datasets[dataset].phantom_of),
              "versions": provenance.versions(), "hardware": provenance.hardware(),
              "recorded_hardware": record.run(weeks[0]).get("hardware"), "git": provenance.git_commit(source),
              "weeks": diary}  # fmt: skip
    plots = key_plots(root, dataset, ran)
    for line in write_report(result, root, plots):
        print(line)
    return int(result["verdict"]["outside"] > 0 or (strict and result["verdict"]["not run"] > 0)
               or any(state.startswith("failed") for state in ran.values()))  # fmt: skip


def find_record(against: str, dataset: str) -> Record:
    """`reference` (a name in results/), or a folder such as results/week1/breastmnist/reference."""
    path = Path(against)
    if "results" in path.parts and len(path.parts) > 1:
        depth = len(path.parts) - 1 - path.parts.index("results")
        return Record(path.resolve().parents[depth], dataset, slug(path.name))
    return Record(results_root(), dataset, slug(against))


def data_is_here(dataset: str) -> None:
    """Images first: seven notebooks that fail one after another for want of a file say less."""
    from medssl import data

    try:
        data.load(dataset)
    except MedsslError as error:
        raise MedsslError(f"Nothing can be rerun without the images of {dataset}. {error.wrong}", error.expected,
                          "`medssl data get` fetches them; --profile quick runs on phantoms, which have no bands"
                          ) from error  # fmt: skip


def parameters(week: int, profile: str, record: Record, source: Path, seeds: int | None) -> dict:
    """The profile's values; on top of them (but in quick) the recorded ones, with no more seeds than asked for."""
    known = parameters_of(source / load_contract().week(week).notebook)
    values = {key: value for key, value in profile_parameters(profile, week).items() if key in known}
    made = recorded_parameters(record.run(week), known) if profile != "quick" else {}
    values |= {key: value for key, value in made.items() if key != "SEEDS"}
    if seeds:
        values["SEEDS"] = seeds
    elif "SEEDS" in made:
        values["SEEDS"] = min(values["SEEDS"], made["SEEDS"])
    return values | {"DATASET": record.dataset, "NAME": NAME}


def recorded_parameters(run: dict, known: dict) -> dict:
    """The notebook's parameters as run.json has them: by name, in small letters, or (the start) as `backbone`."""
    written = run.get("parameters", {})
    found = {key: written.get(key, written.get(key.lower())) for key in known}
    if "WEIGHTS" in known and found["WEIGHTS"] is None:
        found["WEIGHTS"] = {"random": "none", "imagenet": "imagenet"}.get(run.get("backbone"))
    return {key: value for key, value in found.items() if value is not None}


def estimate(record: Record, asked: dict[int, dict]) -> str:
    """How long it took when it was recorded, scaled by seeds; another machine is another matter, and that is said."""
    known = [week for week in asked if record.run(week).get("seconds")]
    total = sum(expected_seconds(record, week, asked[week].get("SEEDS", 1)) for week in known)
    here = provenance.hardware()
    now = f"{here['device']}, {here['cpu_count']} cores"
    if not known:
        return f"Time: nothing was recorded for {record.dataset}, so no estimate. This machine: {now}."
    there = record.run(known[0])["hardware"]
    text = (f"Time: about {total / 60:.0f} min for {'week' if len(known) == 1 else 'weeks'} "
            f"{', '.join(map(str, known))}, as recorded on {there['device']}, {there['cpu_count']} cores. "
            f"This machine: {now}.")  # fmt: skip
    if here["device"] != "CPU" and there["device"] == "CPU":
        text += " A GPU shortens weeks 3 and 4 most."
    most = max(asked[week].get("SEEDS", 1) for week in known)
    fewer = {n: sum(expected_seconds(record, week, n) for week in known) for n in range(1, most)}
    if total > HOUR and (fits := [n for n in fewer if fewer[n] <= HOUR]):
        text += f" With --seeds {max(fits)} it took {fewer[max(fits)] / 60:.0f} min there."
    return text


def expected_seconds(record: Record, week: int, seeds: int) -> float:
    """The recorded time, in proportion to the seeds."""
    run = record.run(week)
    return run["seconds"] * min(1.0, seeds / run.get("parameters", {}).get("SEEDS", seeds))


def lend(record: Record, root: Path, weeks: list[int]) -> None:
    """Recorded files of weeks that are not rerun, laid where the notebooks look for the course's own."""
    for week in range(1, max(weeks)):
        if week not in weeks and record.folder(week).is_dir():
            there = Record(root, record.dataset, OURS).folder(week)
            shutil.copytree(record.folder(week), there, dirs_exist_ok=True)


def run_all(asked: dict[int, dict], profile: str, dataset: str, root: Path, source: Path, keep_going: bool,
            fresh: bool) -> dict[int, str]:  # fmt: skip
    """{week: "ran", "kept" (an earlier call made it with the same parameters) or why not}."""
    contract, states, stopped = load_contract(), {}, ""
    diary = root / "reproduce_state.json"
    done = {} if fresh else read_json(diary) or {}
    for week, values in asked.items():
        lost = next((need.week for need in contract.week(week).needs
                     if states.get(need.week, "ran").startswith(("failed", "left out"))), None)  # fmt: skip
        key, path = f"{dataset}/week{week}", source / contract.week(week).notebook
        wanted = {"parameters": values, "notebook": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "versions": provenance.versions()}  # fmt: skip
        renewed = any(states.get(need.week) == "ran" for need in contract.week(week).needs)
        if stopped or lost:
            states[week] = f"left out: {stopped or f'week {lost} has to run first'}"
        elif done.get(key) == wanted and not renewed and not Submission(week, dataset, NAME, root).missing():
            states[week] = "kept"
            print(f"week {week}: kept from the last call (same parameters, notebook and versions)")
        else:
            known, began = parameters_of(path), time.monotonic()
            given = {name: str(value) for name, value in values.items() if name in known}
            done.pop(key, None)
            code = run_weeks([str(week)], profile=profile, given=given, out=root, notebooks=source)
            states[week] = "ran" if code == 0 else f"failed after {time.monotonic() - began:.0f} s"
            if code == 0:
                done[key] = wanted
                write_atomic(diary, json.dumps(done, indent=1))
            elif code > 1:
                stopped = "the run was interrupted"
            elif not keep_going:
                stopped = f"week {week} failed (--keep-going runs what does not need it)"
    return states


def why_not(week: int, record: Record, root: Path, ran: dict[int, str]) -> str:
    """Why this week's numbers cannot be held against the record; "" if they can."""
    state = ran.get(week, "not asked for (--only)")
    if state not in ("ran", "kept"):
        return state
    old, new = record.run(week), read_json(Record(root, record.dataset, NAME).folder(week) / "run.json") or {}
    if new.get("phantom") or old.get("phantom"):
        return "phantom images: no band holds for them"
    if old.get("split_hash") != new.get("split_hash"):
        return f"other images: split hash {new.get('split_hash')}, recorded {old.get('split_hash')}"
    known = parameters_of_run(old)
    for key, value in parameters_of_run(new).items():
        if key in known and value != known[key]:
            return f"other parameters: {key} = {value}, recorded {known[key]}"
    return ""


def parameters_of_run(run: dict) -> dict:
    """What must be equal for a band to hold: the settings, not the number of seeds, nor what val chose."""
    values = {key: value for key, value in run.get("parameters", {}).items() if key.upper() in SETTINGS}
    return values | {"backbone": run.get("backbone")}


def key_plots(root: Path, dataset: str, ran: dict[int, str]) -> list[Path]:
    """Copies of the plots that carry the story, in OUT/key_plots."""
    found = []
    for week, file in KEY_PLOTS.items():
        path = Record(root, dataset, NAME).folder(week) / file
        if ran.get(week) in ("ran", "kept") and path.is_file():
            found.append(write_atomic(root / "key_plots" / f"week{week}_{file}", path.read_bytes()))
    return found
