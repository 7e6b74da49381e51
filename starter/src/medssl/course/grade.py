"""The checker: what was handed in, what is missing or wrong, why it matters and how to mend it.

grade(folder) -> Report. Score of a submission = 100 * required files that are there and readable / required files.
Everything handed in counts as hostile (handed_in.py). A crash on one file is a finding, and the rest is graded.
"""

import difflib
import fnmatch
import shlex
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from medssl.course.contents import Context, check_content
from medssl.course.contract import Contract, FileSlot, load_contract
from medssl.course.handed_in import Problem, clean, read_bytes
from medssl.course.recompute import compare, is_number
from medssl.course.report import Report
from medssl.course.walk import JUNK, KEPT, HandIn, Item, find_hand_ins, loose, person, top_folders

FOUND = ("present", "renamed", "merged")  # a slot that is neither is missing, empty or unreadable
SEVERITIES = ("error", "warning", "note")
NOTHING = object()  # what an unreadable file holds


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
    times = Counter((s["week"], s["dataset"], s["name"]) for s in graded)
    typed = {s["name"]: {one.name for one, t in zip(hand_ins, graded, strict=True) if t["name"] == s["name"]}
             for s in graded}
    for s, one in zip(graded, hand_ins, strict=True):
        if len(typed[s["name"]]) > 1 and one.name != s["name"]:
            right = f"{s['folder'].rpartition('/')[0]}/{s['name']}"
            _add(s, s["folder"], Problem("folder-spelling", f"is read as {s['name']}: this person has two spellings",
                                         f"git mv {shlex.quote(s['folder'])} {shlex.quote(right)}", "note"))
        if s["name"] == "yourname":
            _add(s, s["folder"], Problem("placeholder-name", "is the notebook's placeholder: whose work is it?",
                                         "set NAME to your own name and run the notebook again", "warning"))
        if times[s["week"], s["dataset"], s["name"]] > 1:
            _add(s, s["folder"], Problem("two-folders", "is one of several folders of the same person for this week",
                                         "move all files into one of them", "warning"))
        _excuse_extra_tasks(s, graded)
        s["findings"] = _sorted(s["findings"])
    return Report(folder=str(folder), base=tops["results"].parent, contract_version=contract.version,
                  weeks=[week.number for week in contract.weeks], submissions=graded,
                  findings=_sorted([finding(where, problem) for where, problem in problems]))


def _excuse_extra_tasks(one: dict, graded: list[dict]) -> None:
    """An extra task may be about the other data set: its folder needs no core where that lies elsewhere."""
    def begun(s: dict) -> bool:
        return any(slot["required"] and slot["status"] in FOUND for slot in s["slots"])

    core = next((s for s in graded if (s["week"], s["name"]) == (one["week"], one["name"]) and begun(s)), None)
    if one["tasks"] and core and not begun(one):
        one["score"] = core["score"]
        one["findings"] = [f for f in one["findings"] if f["code"] != "missing"]
        _add(one, one["folder"], Problem("only-tasks", f"holds the extra task {' and '.join(one['tasks'])} alone, and "
                                         f"shares the score of the core in {core['dataset']}", "nothing", "note"))


def _sorted(findings: list[dict]) -> list[dict]:
    return sorted(findings, key=lambda f: (SEVERITIES.index(f["severity"]), f["where"], f["code"], f["message"]))


def finding(where: str, problem: Problem) -> dict:
    """A problem as it stands in grade.json, safe to show; a message that is no whole sentence begins with the file."""
    named = problem.message if problem.message[:1].isupper() else f"{where.rpartition('/')[2]} {problem.message}"
    return {"code": problem.code, "severity": problem.severity, "where": clean(where), "message": clean(named, 600),
            "fix": clean(problem.fix)}


def _add(result: dict, where: str, problem: Problem) -> None:
    result["findings"].append(finding(where, problem))


def _broke(error: Exception) -> Problem:
    return Problem("checker-error", f"made the checker itself break ({type(error).__name__}: {clean(error, 120)})",
                   "look at it by hand, and send it to the maintainers")


def _grade_guarded(work: tuple[HandIn, Contract]) -> dict:
    """One submission; if the checker breaks on it as a whole, that is said and the others go on."""
    hand_in, contract = work
    try:
        return grade_one(hand_in, contract)
    except Exception as error:  # whatever a hostile folder makes happen must not cost the others their grade
        result = _new_result(hand_in, hand_in.dataset)
        _add(result, hand_in.folder, _broke(error))
        return result


def _new_result(hand_in: HandIn, dataset: str) -> dict:
    return {"week": hand_in.week.number, "dataset": clean(dataset, 64), "name": person(hand_in.name),
            "folder": clean(hand_in.folder), "score": 0.0, "phantom": False, "backbone": None, "slots": [],
            "findings": [], "metrics": [], "tasks": [], "extra_files": []}


def grade_one(hand_in: HandIn, contract: Contract) -> dict:
    """The object of grade.json for one submission."""
    week, (dataset, problems) = hand_in.week, _dataset(hand_in, contract)
    result = _new_result(hand_in, dataset)
    rerun = f"run week {week.number}'s notebook again (Colab), or: medssl run {week.key}"
    if week.personal and dataset in contract.datasets:
        rerun += f" --dataset {dataset} --name {shlex.quote(result['name'])}"
    context = Context(contract, week, dataset if dataset in contract.datasets else "", rerun)
    for problem in problems:
        _add(result, hand_in.folder, problem)
    held, taken = {}, set()  # what the file of each slot holds; files that some slot asked for
    flaws: dict[str, set[str]] = {}  # codes of the errors in each slot's own file: what follows from them is not said
    for slot in week.files:
        status, items, note = match_slot(slot, hand_in)
        taken |= {item.shown for item in items}
        if status == "renamed":
            _add(result, items[0].shown, _renamed(slot, items[0]))
        for item in items:
            value, problems = _open(slot, item, context)
            for problem in problems:
                _add(result, item.shown, problem)
                if problem.severity == "error":
                    flaws.setdefault(slot.path, set()).add(problem.code)
            if value is NOTHING:
                status, note = ("empty" if problems[0].code == "empty" else "unreadable"), problems[0].message
            held.setdefault(slot.path, value)
        result["slots"].append({"file": slot.path, "kind": slot.kind, "required": slot.required, "status": status,
                                "found": clean(items[0].shown) if items else None, "note": clean(note)})
    wanted = [slot["status"] in FOUND for slot in result["slots"] if slot["required"]]
    result["score"] = round(100 * sum(wanted) / len(wanted), 1) if wanted else 100.0
    _say_missing(result, held, hand_in, context)
    _hold_against_predictions(result, held, flaws, hand_in, context)
    _hold_against_run(result, held, flaws, context)
    _say_origin(result, held, context)
    _say_leftovers(result, hand_in, contract, taken)
    return result


def _dataset(hand_in: HandIn, contract: Contract) -> tuple[str, list[Problem]]:
    """The contract's key for the data set folder, and what is wrong with how the folders are called."""
    typed, name, folder = hand_in.dataset, person(hand_in.name), hand_in.folder
    if not typed:
        return "", []
    known = {key: key for key in contract.datasets}
    known |= {alias: key for key, facts in contract.datasets.items() for alias in facts.aliases}
    near = difflib.get_close_matches(loose(typed), known, n=1, cutoff=0.8)
    if not near:
        return typed, [Problem("unknown-dataset", f"lies under '{clean(typed, 40)}', a data set that the contract does "
                               "not know: nothing official can be held against it",
                               f"move it below one of {', '.join(contract.datasets)}", "warning")]
    dataset = known[near[0]]
    if dataset == typed:  # how the name is spelt matters only beside another spelling: see grade()
        return dataset, []
    right = "/".join([*folder.split("/")[:-2], dataset, name])
    return dataset, [Problem("folder-spelling", f"is read as {dataset}/{name}: misspelt, later weeks do not find it",
                             f"git mv {shlex.quote(folder)} {shlex.quote(right)}", "warning")]


def match_slot(slot: FileSlot, hand_in: HandIn) -> tuple[str, list[Item], str]:
    """(status, files, note): by the right name, else by that name in another case, else by the contract's aliases."""
    pattern, files = hand_in.week.pattern(slot), sorted(hand_in.files.items())
    exact = [item for path, item in files if fnmatch.fnmatchcase(path, pattern)]
    if exact:
        return "present", exact, f"{len(exact)} files" if len(exact) > 1 else ""
    folder = pattern.rpartition("/")[0]
    for name in (pattern.rpartition("/")[2], *slot.aliases):
        wanted = f"{folder}/{name}".casefold()
        item = next((item for path, item in files if fnmatch.fnmatchcase(path.casefold(), wanted)), None)
        if item:
            shared = any(name in other.aliases for other in hand_in.week.files if other is not slot)
            return ("merged" if shared else "renamed"), [item], f"found as {item.path.name}"
    return "missing", [], ""


def _renamed(slot: FileSlot, item: Item) -> Problem:
    right = slot.path.rpartition("/")[2]
    if "*" in right or "{" in right:
        return Problem("renamed", f"stands for {slot.path}", f"name it like {slot.path}", "note")
    fix = f"git mv {shlex.quote(item.shown)} {shlex.quote(item.shown.rpartition('/')[0] + '/' + right)}"
    return Problem("renamed", f"stands for {right}: later weeks look for the right name", fix, "note")


def _open(slot: FileSlot, item: Item, context: Context) -> tuple[object, list[Problem]]:
    """(what the file holds or NOTHING, problems). Weights are never opened."""
    try:
        if item.kind != "file":
            raise _not_a_file(item)
        if item.size == 0:
            raise Problem("empty", "has no content (0 bytes)", context.rerun)
        if slot.kind == "weights":
            return None, []
        return check_content(slot, item.path.name, read_bytes(item.path), context)
    except Problem as problem:
        return NOTHING, [problem]
    except Exception as error:
        return NOTHING, [_broke(error)]


def _not_a_file(item: Item) -> Problem:
    return Problem("link" if item.kind == "link" else "not-a-file",
                   f"is a {item.kind}, which may lead anywhere: it was not opened", "replace it by the file itself")


def _say_missing(result: dict, held: dict, hand_in: HandIn, context: Context) -> None:
    """A required file is not there. Without its predictions a metrics file that is there cannot be checked."""
    sources = {s.predictions for s in context.week.files if s.kind == "metrics" and isinstance(held.get(s.path), dict)}
    for slot, shown in zip(context.week.files, result["slots"], strict=True):
        if shown["status"] == "missing" and (slot.required or slot.path in sources):
            code, why = "missing", slot.about
            if slot.path in sources:
                code, why = "not-recomputable", "every metric is recomputed from it"
            _add(result, hand_in.folder, Problem(code, f"There is no {slot.path} ({why})", context.rerun))


def _hold_against_predictions(result: dict, held: dict, flaws: dict, hand_in: HandIn, context: Context) -> None:
    """Recompute each metrics file from its predictions; one finding for each metric that does not follow from them."""
    found = {slot["file"]: slot["found"] for slot in result["slots"]}
    for slot in hand_in.week.files:
        block, predictions, where = held.get(slot.path), held.get(slot.predictions), found[slot.path]
        if slot.kind != "metrics" or not isinstance(block, dict):
            continue
        own = flaws.get(slot.path, set())
        if flaws.get(slot.predictions):
            _add(result, where, Problem("not-checked", f"was not checked: see {slot.predictions}",
                                        f"mend {slot.predictions} first", "note"))
            continue
        if not isinstance(predictions, dict) or not predictions:
            continue  # said by the file that is missing or of no use
        seeds = block.get("seeds")
        differ = not isinstance(seeds, list) or Counter(map(repr, seeds)) != Counter(map(repr, predictions))
        if differ and not own & {"seeds-mismatch", "key-missing"}:
            _add(result, where, Problem("seeds-mismatch", f"is about the seeds {clean(seeds, 60)}; {slot.predictions} "
                                        f"holds {clean(sorted(predictions), 60)}", context.rerun))
        try:
            rows = compare(block, predictions, slot.path, context.classes)
        except Exception as error:
            _add(result, where, _broke(error))
            continue
        result["metrics"] += rows
        wrong = sorted((row for row in rows if not row["agrees"] and not _is_said(row, own)),
                       key=lambda row: row["seed"] != "mean")
        if wrong:
            said = [f"{row['metric']} = {_digits(row['reported'])} where they give {_digits(row['recomputed'])} "
                    + (f"({row['seed']})" if row["seed"] in ("mean", "std") else f"(seed {row['seed']})")
                    for row in wrong[:4]]
            more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
            _add(result, where, Problem("metric-mismatch", f"does not follow from {slot.predictions}: {'; '.join(said)}"
                                        f"{more}. One of the two files is from another run", context.rerun))


def _is_said(row: dict, own: set[str]) -> bool:
    """Whether the metrics file's own errors already say that this number is none, or counts other images."""
    if row["metric"] == "n" and "wrong-n" in own:
        return True
    return bool(own & {"json-nan", "not-a-number"}) and row["metric"] != "confusion" and not is_number(row["reported"])


def _hold_against_run(result: dict, held: dict, flaws: dict, context: Context) -> None:
    """run.json says where the other files come from; it must be about this person, this week and these numbers."""
    slot, files = next((s for s in context.week.files if s.kind == "run"), None), context.week.files
    run = held.get(slot.path) if slot else None
    if not isinstance(run, dict):
        return
    said, where = [], next(shown["found"] for shown in result["slots"] if shown["file"] == slot.path)
    if run.get("week", result["week"]) != result["week"]:
        said.append(f"says week {clean(run['week'], 20)} but lies in week {result['week']}")
    if person(str(run.get("name", result["name"]))) != result["name"]:
        said.append(f"says that it was made by '{clean(run['name'], 40)}', but it lies in the folder of "
                    f"'{result['name']}'")
    seeds, split_hash = run.get("seeds"), run.get("split_hash")
    for file, block in ((s.path, held.get(s.path)) for s in files if s.kind == "metrics"):
        if not isinstance(block, dict):
            continue
        theirs, data = block.get("seeds"), block.get("data")
        theirs = None if "seeds-mismatch" in flaws.get(file, ()) else theirs
        ours = set(map(repr, seeds)) if isinstance(seeds, list) else set()
        if isinstance(theirs, list) and set(map(repr, theirs)) - ours:
            said.append(f"says seeds {clean(seeds, 60)} but {file} has {clean(theirs, 60)}")
        other = data.get("split_hash") if isinstance(data, dict) else split_hash
        if other != split_hash:
            said.append(f"says split hash {clean(split_hash, 40)} but {file} {clean(other, 40)}: other images")
    for message in said:
        _add(result, where, Problem("run-mismatch", f"{message}. What it tells is of another run", context.rerun))


def _digits(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else clean(value, 60)


def _say_origin(result: dict, held: dict, context: Context) -> None:
    """Phantom images and random backbones: neither is wrong, both change what the numbers mean."""
    blocks = [block for block in held.values() if isinstance(block, dict)]
    blocks += [block["data"] for block in blocks if isinstance(block.get("data"), dict)]
    backbones = [block["backbone"] for block in blocks if isinstance(block.get("backbone"), str)]
    result["backbone"] = clean(backbones[0], 40) if backbones else None
    result["phantom"] = any(block.get("phantom") is True for block in blocks) or bool(
        context.official and context.official.phantom_of)
    if result["phantom"]:
        real = (context.official and context.official.phantom_of) or context.dataset
        fix = context.rerun.replace(f"--dataset {context.dataset} ", f"--dataset {real} ")
        _add(result, result["folder"], Problem("phantom", "was made on phantom images, not on patients: it shows that "
                                               "the code runs and says nothing about medicine", fix, "note"))
    if any(b.get("backbone") == "random" and str(b.get("model", "")).startswith("resnet") for b in blocks):
        _add(result, result["folder"], Problem("random-backbone", "trained its ResNet from random weights: do not "
                                               "compare it with pretrained ones",
                                               f"{context.rerun} -p WEIGHTS=imagenet", "note"))


def _say_leftovers(result: dict, hand_in: HandIn, contract: Contract, taken: set[str]) -> None:
    """What no slot asked for: extra tasks, links, junk, and the rest by name (it may be a slot's file, renamed)."""
    for item in sorted(item for item in hand_in.files.values() if item.shown not in taken):
        task = contract.task_for(hand_in.week.number, item.path.name)
        if item.kind != "file":
            _add(result, item.shown, _not_a_file(item))
        elif JUNK & {part.casefold() for part in item.shown.split("/")}:
            _add(result, item.shown, Problem("junk", "was left there by a program; nobody needs it",
                                             f"git rm --cached {shlex.quote(item.shown)}", "note"))
        elif task:
            result["tasks"] = sorted({*result["tasks"], task.id})
        elif item.path.name.casefold() not in KEPT and len(result["extra_files"]) < 50:
            result["extra_files"].append(clean(item.shown.removeprefix(hand_in.folder + "/"), 120))
