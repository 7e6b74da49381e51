"""`medssl run`: which notebooks, in which order, with which parameters, and a line for each."""

import importlib.util
import re
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from medssl.course.contract import load_contract, profile_parameters
from medssl.course.headless import noted_signals, run_notebook
from medssl.course.names import dataset_key, results_root
from medssl.course.parameters import choose_parameters
from medssl.errors import MedsslError


@dataclass(frozen=True)
class Step:
    """One notebook to run, its week (None: it belongs to none), and the seconds that its quick profile promises."""

    path: Path
    week: int | None = None
    budget: int = 0


def find_steps(words: list[str], notebooks: Path) -> list[Step]:
    """`week01`, `1`, `bug_museum`, `all` or a path, as notebooks in the order to run them.

    Weeks by their needs, then the contract's other notebooks, then any others. The contract refuses a week that needs a
    later one, so the order of the needs is the order of the numbers.
    """
    contract = load_contract()
    weeks = {week.notebook: week for week in contract.weeks}
    extras = {extra.notebook: extra for extra in contract.notebooks}
    paths: list[Path] = []
    for word in words:
        number = re.fullmatch(r"(?:week)?0*(\d+)", word.lower())
        if word == "all":
            found = sorted(notebooks.glob("*.ipynb"))
        elif f"{word.lower()}.ipynb" in extras:
            found = [notebooks / f"{word.lower()}.ipynb"]
        else:
            found = [notebooks / contract.week(int(number[1])).notebook if number else Path(word).resolve()]
        if number and not found[0].is_file() and (notebooks.parent / "starter/src/medssl").is_dir():
            there = [str(week.number) for week in contract.weeks if (notebooks / week.notebook).is_file()]
            if there:
                several = f"weeks {', '.join(there[:-1])} and {there[-1]} have one"
                has = several if there[1:] else f"week {there[0]} has one"
                raise MedsslError(f"Week {int(number[1])} has no notebook yet: {has}.")
        if not found or not found[-1].is_file() or found[-1].suffix != ".ipynb":
            raise MedsslError(
                f"{word!r}: there is no notebook {found[-1] if found else f'in {notebooks}'}.",
                f"a week such as week01 or 1, {', '.join(e.key for e in contract.notebooks)}, `all`, or the path of a "
                "notebook",
                "run it inside your clone of the course, or name the notebooks' folder with --notebooks",
            )
        paths += found
    chosen = {weeks[path.name].number: path for path in paths if path.name in weeks}
    steps = [Step(chosen[number], number, contract.week(number).budget_seconds) for number in sorted(chosen)]
    others = {path.name: path for path in paths if path.name in extras}
    steps += [Step(others[name], None, extra.budget_seconds) for name, extra in extras.items() if name in others]
    return steps + [Step(path) for path in dict.fromkeys(paths) if path.name not in weeks | extras]


def choose_folders(out: Path | None, notebooks: Path | None) -> tuple[Path, Path, Path]:
    """(folder that will hold results/, folder of the executed notebooks, folder of the course's notebooks)."""
    home = next((p for p in [Path.cwd(), *Path.cwd().parents] if (p / "starter/src/medssl").is_dir()), Path.cwd())
    root = results_root(out)
    for tracked in ("results", "reports", "notebooks"):
        if out and root.is_relative_to(home / tracked):
            raise MedsslError(
                f"--out {out} lies inside {tracked}/, where only finished work belongs.",
                "a folder such as runs/mine (it gets a results/ of its own)",
                f"leave --out away to hand in below {home / 'results'}",
            )
    executed = (root / "runs" if root == home else root) / "notebooks"
    return root, executed, Path(notebooks or home / "notebooks").resolve()


def _fit_dataset(asked: str | None, steps: list[Step], values: dict, profile: str) -> None:
    """A week of volumes takes no other data set, and no other week takes volumes: there, the profile's own stays."""
    weeks = [step for step in steps if step.week]
    if not asked or not weeks:
        return
    key, known = dataset_key(asked), load_contract().datasets_of
    others = [step for step in weeks if key not in known(step.week)]
    if len(others) == len(weeks):
        raise MedsslError(f"Week {weeks[0].week} does not run on {key}.", f"one of {', '.join(known(weeks[0].week))}")
    for step in others:
        values[step.path]["DATASET"] = own = profile_parameters(profile, step.week)["DATASET"]
        print(f"week {step.week} is not for {key}: it runs on {own}")


def plan(words: list[str], notebooks: Path, profile: str, given: dict[str, str] | None) -> tuple[list[Step], dict]:
    """The steps and their parameters. A mistyped parameter, or an unknown data set, is found before anything starts."""
    steps = find_steps(words, notebooks)
    values = {step.path: profile_parameters(profile, step.week or step.path.stem) for step in steps}
    values = choose_parameters(values, given or {})
    _fit_dataset((given or {}).get("DATASET"), steps, values, profile)
    return steps, values


def run_weeks(words: list[str], *, profile: str = "colab", given: dict[str, str] | None = None, out: Path | None = None,
              notebooks: Path | None = None, executed: Path | None = None, timeout: float = 0, keep_going: bool = False,
              jobs: int = 1) -> int:  # fmt: skip
    """Run notebooks, `jobs` at once, a line for each. The exit code: 0 only if every one of them was good."""
    if missing := [name for name in ("papermill", "ipykernel") if not importlib.util.find_spec(name)]:
        raise MedsslError(f"{' and '.join(missing)} not installed.", fix=f"pip install {' '.join(missing)}")
    root, usual, source = choose_folders(out, notebooks)
    executed = executed.resolve() if executed else usual
    steps, values = plan(words, source, profile, given)
    executed.mkdir(parents=True, exist_ok=True)
    good, start, promised = 0, time.monotonic(), profile == "quick"

    def run(step: Step) -> tuple[MedsslError | None, float]:
        began, fault = time.monotonic(), None
        try:
            run_notebook(step.path, values[step.path], root, executed, received, timeout)
        except MedsslError as error:
            fault = error
        return fault, time.monotonic() - began

    with noted_signals() as received, ThreadPoolExecutor(jobs) as pool:
        waiting, running, ended, place = list(steps), {}, set(), 0
        while waiting or running:
            for step in [step for step in waiting if not _needs(step, steps) - ended][: jobs - len(running)]:
                waiting.remove(step)
                running[pool.submit(run, step)] = step
                if jobs == 1:
                    print(f"[{place + 1}/{len(steps)}] {step.path.stem:<28}", end=" ", flush=True)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                step, place = running.pop(future), place + 1
                ended.add(step.path)
                line = f"[{place}/{len(steps)}] {step.path.stem:<28} " if jobs > 1 else ""
                promise = f" (budget {step.budget} s)" if step.budget and promised else ""
                fault, took = future.result()
                if fault:
                    print(f"{line}FAILED {took:4.0f} s{promise}\n{fault}", flush=True)
                    waiting = waiting if keep_going and not received else []  # what runs beside it may end
                    continue
                good += 1
                late = bool(promise) and took > step.budget
                said = f", over its budget of {step.budget} s" if late else promise
                left = sum(later.budget for later in waiting)
                ahead = f", at most {left} s to go" if left and promise and jobs == 1 else ""
                print(f"{line}ok     {took:4.0f} s{said}{ahead}", flush=True)
    print(f"{good} of {len(steps)} notebooks ran well in {time.monotonic() - start:.0f} s; they are in {executed}")
    return 128 + received[0] if received else int(good < len(steps))


def _needs(step: Step, steps: list[Step]) -> set[Path]:
    """Which notebooks must have ended first: those whose files this one starts from. One of no week may read all."""
    weeks = {other.week: other.path for other in steps if other.week}
    if step.week is None:
        return set(weeks.values())
    return {weeks[need.week] for need in load_contract().week(step.week).needs if need.week in weeks}
