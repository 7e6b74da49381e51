"""The checker: what was handed in, what is missing or wrong, why it matters and how to mend it.

grade(folder) -> Report. Score of a submission = 100 * required files that are there and readable / required files.
Everything handed in counts as hostile (handed_in.py). A crash on one file is a finding, and the rest is graded.
"""

import shlex
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from medssl.course.checker.figures import gallery_tables, images
from medssl.course.checker.files import oddities, placed
from medssl.course.checker.files.contents import Context
from medssl.course.checker.files.slots import FOUND, match_slots
from medssl.course.checker.files.walk import HandIn, find_hand_ins, top_folders
from medssl.course.checker.numbers import agreement, collapse, forensic, inside, official, operating
from medssl.course.checker.parse.handed_in import clean
from medssl.course.checker.parse.spelling import person, spelt_dataset
from medssl.course.checker.people import across, copies
from medssl.course.checker.ranking import rank
from medssl.course.checker.reading import NOTHING, Reading, broke, finding
from medssl.course.checker.report import Report
from medssl.course.checker.words import claims, wording
from medssl.course.contract import Contract, load_contract

# What is looked at in each submission, in this order; each yields (where, Problem).
CHECKS = (*placed.CHECKS, agreement.with_predictions, agreement.with_run, agreement.origin, *oddities.CHECKS,
          *official.CHECKS, *inside.CHECKS, *operating.CHECKS, *forensic.CHECKS, *images.CHECKS, *gallery_tables.CHECKS,
          *collapse.CHECKS, copies.seeds_without_effect, claims.claims, wording.wording)


def grade(folder: str | Path, contract: Contract | None = None, jobs: int = 1) -> Report:
    """Grade all submissions below `folder`: a results/ folder (reports/ beside it is read too) or what holds both."""
    contract, tops = contract or load_contract(), top_folders(Path(folder))
    hand_ins, problems = find_hand_ins(tops, contract)
    work = [(hand_in, contract) for hand_in in hand_ins]
    if jobs > 1 and len(work) > 1:
        with ProcessPoolExecutor(min(jobs, len(work))) as pool:
            graded = list(pool.map(_grade_guarded, work, chunksize=4))
    else:
        graded = [_grade_guarded(one) for one in work]
    for check in across.CHECKS:
        try:
            for one, where, problem in list(check(graded)):
                one["findings"].append(finding(where, problem))
        except Exception as error:  # the submissions keep what was found in each of them
            problems.append((f"results ({check.__name__})", broke(error)))
    for one in graded:
        del one["_evidence"]
        one["findings"] = _sorted(one["findings"])
    return Report(folder=str(folder), base=tops["results"].parent, contract_version=contract.version,
                  weeks=[week.number for week in contract.weeks], submissions=graded,
                  findings=_sorted([finding(where, problem) for where, problem in problems]))


def _sorted(findings: list[dict]) -> list[dict]:
    return sorted(findings, key=lambda f: (rank(f), f["where"], f["code"], f["message"]))


def _grade_guarded(work: tuple[HandIn, Contract]) -> dict:
    """One submission; if the checker breaks on it as a whole, that is said and the others go on."""
    hand_in, contract = work
    try:
        return grade_one(hand_in, contract)
    except Exception as error:  # whatever a hostile folder makes happen must not cost the others their grade
        result = _new_result(hand_in, hand_in.dataset)
        result["findings"].append(finding(hand_in.folder, broke(error)))
        return result


def _new_result(hand_in: HandIn, dataset: str) -> dict:
    return {"week": hand_in.week.number, "dataset": clean(dataset, 64), "name": person(hand_in.name),
            "folder": clean(hand_in.folder), "score": 0.0, "phantom": False, "backbone": None, "slots": [],
            "findings": [], "metrics": [], "tasks": [], "extra_files": [], "_evidence": {"typed": hand_in.name}}


def grade_one(hand_in: HandIn, contract: Contract) -> dict:
    """The object of grade.json for one submission."""
    week = hand_in.week
    dataset, problems = spelt_dataset(hand_in.dataset, hand_in.folder, hand_in.name, contract)
    result = _new_result(hand_in, dataset)
    rerun = f"run week {week.number}'s notebook again (Colab), or: medssl run {week.key}"
    if week.personal and dataset in contract.datasets:
        rerun += f" --dataset {dataset} --name {shlex.quote(result['name'])}"
    context = Context(contract, week, dataset if dataset in contract.datasets else "", rerun)
    reading = Reading(hand_in, context, result)
    reading.matches = match_slots(reading)
    for problem in problems:
        reading.say(hand_in.folder, problem)
    _open_all(reading)
    for check in CHECKS:
        try:
            for where, problem in check(reading):
                reading.say(where, problem)
        except Exception as error:
            reading.say(hand_in.folder, broke(error))
    wanted = [slot["status"] in FOUND for slot in result["slots"] if slot["required"]]
    result["score"] = round(100 * sum(wanted) / len(wanted), 1) if wanted else 100.0
    result["_evidence"] = across.gather(reading)
    return result


def _open_all(reading: Reading) -> None:
    """Open what fills each slot; say what is wrong with each file, and in which state each slot is."""
    for slot in reading.slots:
        match = reading.matches[slot.path]
        status, note = match.status, match.note
        for item in match.items:
            value, problems = reading.open(slot, item, match.at)
            for problem in problems:
                reading.say(item.shown, problem)
                if problem.severity == "error":
                    reading.flaws.setdefault(slot.path, set()).add(problem.code)
            if value is NOTHING:
                status, note = ("empty" if problems[0].code == "empty" else "unreadable"), problems[0].message
            reading.held.setdefault(slot.path, value)
        reading.result["slots"].append(
            {"file": slot.path, "kind": slot.kind, "required": slot.required, "status": status,
             "found": clean(match.items[0].shown) if match.items else None, "note": clean(note)})
