"""Do the files of one submission agree: do metrics follow from predictions, is run.json theirs, where are they from?"""

from collections import Counter
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.recompute import compare, is_number
from medssl.course.checker.parse.spelling import person
from medssl.course.checker.reading import Reading, broke

Said = Iterator[tuple[str, Problem]]


def with_predictions(reading: Reading) -> Said:
    """Recompute each metrics file from its predictions; one finding for each file whose metrics do not follow."""
    rerun = reading.context.rerun
    for slot in reading.slots:
        block, predictions = reading.held.get(slot.path), reading.held.get(slot.predictions)
        where, own = reading.found(slot.path), reading.flaws.get(slot.path, set())
        if slot.kind != "metrics" or not isinstance(block, dict):
            continue
        if reading.flaws.get(slot.predictions):
            yield where, Problem("not-checked", f"was not checked: see {slot.predictions}",
                                 f"mend {slot.predictions} first", "note")
            continue
        if not isinstance(predictions, dict) or not predictions:
            continue  # said by the file that is missing or of no use
        seeds = block.get("seeds")
        differ = not isinstance(seeds, list) or Counter(map(repr, seeds)) != Counter(map(repr, predictions))
        if differ and not own & {"seeds-mismatch", "key-missing"}:
            yield where, Problem("seeds-mismatch", f"is about the seeds {clean(seeds, 60)}; {slot.predictions} "
                                 f"holds {clean(sorted(predictions), 60)}", rerun)
        try:
            rows = compare(block, predictions, slot.path, reading.context.classes)
        except Exception as error:
            yield where, broke(error)
            continue
        reading.result["metrics"] += rows
        wrong = sorted((row for row in rows if not row["agrees"] and not _is_said(row, own)),
                       key=lambda row: row["seed"] != "mean")
        if wrong:
            said = [f"{row['metric']} = {_digits(row['reported'])} where they give {_digits(row['recomputed'])} "
                    + (f"({row['seed']})" if row["seed"] in ("mean", "std") else f"(seed {row['seed']})")
                    for row in wrong[:4]]
            more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
            yield where, Problem("metric-mismatch", f"does not follow from {slot.predictions}: {'; '.join(said)}"
                                 f"{more}. One of the two files is from another run", rerun)


def _is_said(row: dict, own: set[str]) -> bool:
    """Whether the metrics file's own errors already say that this number is none, or counts other images."""
    if row["metric"] == "n" and "wrong-n" in own:
        return True
    return bool(own & {"json-nan", "not-a-number"}) and row["metric"] != "confusion" and not is_number(row["reported"])


def _digits(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else clean(value, 60)


def with_run(reading: Reading) -> Said:
    """run.json says where the other files come from; it must be about this person, this week and these numbers."""
    slot, result = next((s for s in reading.slots if s.kind == "run"), None), reading.result
    run = reading.held.get(slot.path) if slot else None
    if not isinstance(run, dict):
        return
    said = []
    if run.get("week", result["week"]) != result["week"]:
        said.append(f"says week {clean(run['week'], 20)} but lies in week {result['week']}")
    if person(str(run.get("name", result["name"]))) != result["name"]:
        said.append(f"says that it was made by '{clean(run['name'], 40)}', but it lies in the folder of "
                    f"'{result['name']}'")
    seeds, split_hash = run.get("seeds"), run.get("split_hash")
    for file, block in reading.held_as("metrics").items():
        if not isinstance(block, dict):
            continue
        theirs, data = block.get("seeds"), block.get("data")
        theirs = None if "seeds-mismatch" in reading.flaws.get(file, ()) else theirs
        ours = set(map(repr, seeds)) if isinstance(seeds, list) else set()
        if isinstance(theirs, list) and set(map(repr, theirs)) - ours:
            said.append(f"says seeds {clean(seeds, 60)} but {file} has {clean(theirs, 60)}")
        other = data.get("split_hash") if isinstance(data, dict) else split_hash
        if other != split_hash:
            said.append(f"says split hash {clean(split_hash, 40)} but {file} {clean(other, 40)}: other images")
    for message in said:
        yield reading.found(slot.path), Problem("run-mismatch", f"{message}. What it tells is of another run",
                                                reading.context.rerun)


def origin(reading: Reading) -> Said:
    """Phantom images, and random backbones beside pretrained ones: both change what the numbers mean."""
    context, result = reading.context, reading.result
    blocks = [block for block in reading.held.values() if isinstance(block, dict)]
    blocks += [block["data"] for block in blocks if isinstance(block.get("data"), dict)]
    resnets = [b["backbone"] for b in blocks if isinstance(b.get("backbone"), str)
               and str(b.get("model", "")).startswith("resnet")]
    backbones = resnets + [block["backbone"] for block in blocks if isinstance(block.get("backbone"), str)]
    result["backbone"] = clean(backbones[0], 40) if backbones else None
    result["phantom"] = any(block.get("phantom") is True for block in blocks) or bool(
        context.official and context.official.phantom_of)
    if result["phantom"]:
        real = (context.official and context.official.phantom_of) or context.dataset
        fix = context.rerun.replace(f"--dataset {context.dataset} ", f"--dataset {real} ")
        yield result["folder"], Problem("phantom", "was made on phantom images, not on patients: it shows that "
                                        "the code runs and says nothing about medicine", fix, "note")
    if "random" in resnets and (others := sorted({*resnets} - {"random", "ssl"})):  # ssl: week 6 compares
        yield result["folder"], Problem("random-backbone", "compares a ResNet from random weights with one from "
                                        f"{clean(others[0], 40)}'s: the difference is that of the weights",
                                        f"{context.rerun} -p WEIGHTS=imagenet", "note")
