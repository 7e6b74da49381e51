"""Is a handed-in file what the contract says it is? One function a kind of file: bytes in, (value, problems) out.

A problem that leaves nothing to work with is raised, one that leaves the file of use is returned.
"""

import csv
import re
from typing import NamedTuple

import numpy as np

from medssl.course.checker.files.keys import settle
from medssl.course.checker.parse.handed_in import MAX_TEXT_BYTES, Problem, check_image, clean, read_json, read_text
from medssl.course.checker.parse.recompute import is_number
from medssl.course.contract import Contract, Dataset, FileSlot, Week
from medssl.course.markdown import unfilled_sections
from medssl.course.predictions import parse_predictions, split_of
from medssl.errors import MedsslError

MAX_PREDICTION_BYTES, MAX_SEEDS = 6_000_000, 100
FEW_WORDS = 25  # three short sentences
PER_SEED = ("positive", "n", "accuracy", "auroc", "ece")  # what the block of each seed holds at least


class Context(NamedTuple):
    """What the content of a file is held against."""

    contract: Contract
    week: Week
    dataset: str  # the contract's key, or "" where it is none
    rerun: str  # the command that makes the files again

    @property
    def official(self) -> Dataset | None:
        return self.contract.datasets.get(self.dataset)

    @property
    def classes(self) -> list:
        return self.official.classes if self.official else [0, 1]


def check_content(slot: FileSlot, file: str, raw: bytes, context: Context) -> tuple[object, list[Problem]]:
    """(what the file holds, problems). A screenshot in place of env.json is looked at as what it is: an image."""
    ending = file.rpartition(".")[2].casefold()
    if slot.kind == "figure" or ending in ("png", "jpg", "jpeg"):
        check_image(raw)
        return None, []
    if slot.kind == "predictions":
        return check_predictions(raw, file, context)
    if slot.kind in ("metrics", "run", "env", "config"):
        return check_object(slot, raw, context)
    if ending == "pdf":
        if not raw.startswith(b"%PDF-") or b"%%EOF" not in raw[-2048:]:
            raise Problem("document-broken", "is no whole PDF (its first or last line is not there)", "export it again")
        return None, []
    return check_text(slot, raw, context)


def check_text(slot: FileSlot, raw: bytes, context: Context) -> tuple[str, list[Problem]]:
    """Text with words in it; a README or a note also with the student's own words under the week's headings.

    One with headings of its own choice is as good, if it has something to say: FEW_WORDS outside tables and quotes.
    """
    if len(raw) > MAX_TEXT_BYTES:
        raise Problem("too-large", "has more text than anybody reads", "keep it to a page or two")
    text = read_text(raw)
    if not re.search(r"\w", text):
        raise Problem("empty", "holds no words", "write it: " + slot.about)
    if slot.kind != "readme" and "{name}_" not in slot.path:
        return text, []
    # Cut so that no pattern can be made to run long on it: short lines, and no comment that is opened and never closed.
    calm = "\n".join(line[:200] for line in re.sub(r"(?s)<!--.*?(?:-->|\Z)", "", text).replace("<", " ").splitlines())
    empty = unfilled_sections(calm, context.week)
    own = re.sub(r"(?m)^[ \t]*(?:[>|#]|```).*$", "", calm)
    heads = {head.strip(" #\t").casefold() for head in re.findall(r"(?m)^#+[^\n]*$", calm)}
    ours = {section.title.casefold() for section in context.week.sections}
    theirs = len(empty) == len(ours) and not heads & ours
    if not empty or theirs and len(re.findall(r"\w+", own)) >= FEW_WORDS:
        return text, []
    absent = [title for title in empty if title.casefold() not in heads]
    parts = [f"has no heading {'; '.join(absent)}"] if absent else []
    under = [title for title in empty if title not in absent]
    parts += [f"has nothing of your own under {'; '.join(under)}"] if under else []
    message = f"{' and '.join(parts)}: what the numbers mean is the homework"
    return text, [Problem("readme-unfilled", message, "write two or three sentences under each heading", "warning")]


def check_object(slot: FileSlot, raw: bytes, context: Context) -> tuple[dict, list[Problem]]:
    """A JSON object with the keys that the contract asks for, and metadata that agree with the folder it lies in."""
    block, problems = read_json(raw)
    if not isinstance(block, dict):
        raise Problem("json-not-object", f"holds a JSON {type(block).__name__}, no named values", context.rerun)
    missing, notes = settle(block, slot, context.contract)
    problems += notes
    if missing:
        message = f"has no {', '.join(missing)}: without, nobody can place or repeat the result"
        problems.append(Problem("key-missing", message, context.rerun))
    said, version = block.get("dataset"), block.get("contract_version")
    if slot.kind in ("metrics", "run") and context.dataset and said not in (None, context.dataset):
        message = f"says dataset '{clean(said, 40)}' but lies under {context.dataset}"
        problems.append(Problem("wrong-dataset", message, "hand it in below the data set that it was made on"))
    if slot.kind == "run" and version not in (None, context.contract.version):
        message = f"was made for contract {clean(version, 20)}; this is {context.contract.version}"
        problems.append(Problem("contract-version", message, f"update medssl, then: {context.rerun}", "note"))
    if slot.kind == "metrics":
        follows = ("not-a-number", "interval") if any(p.code == "json-nan" for p in problems) else ()  # from the NaN
        problems += [p for p in check_metrics(block, slot, context) if p.code not in follows]
        if isinstance(block.get("seeds"), list) and len(block["seeds"]) == 1:
            problems.append(Problem("one-seed", "rests on a single seed: one training says nothing about the spread",
                                    "train with three seeds or more (SEEDS), if there is time", "note"))
    return block, problems


def check_metrics(block: dict, slot: FileSlot, context: Context) -> list[Problem]:
    """What a metrics file says of itself: numbers are numbers, one block a seed, the official split, class 1."""
    official, split, said = context.official, split_of(slot.predictions), {}  # said: code -> message
    for key in ("n", "ece", "auroc", "accuracy"):
        if key in block and not is_number(block[key]):
            said["not-a-number"] = f"gives {key} as {clean(block[key], 40)}: not one number"
    seeds, parts = block.get("seeds"), block.get("per_seed")
    if "per_seed" in block and not (isinstance(parts, list) and all(isinstance(part, dict) for part in parts)):
        said["per-seed"] = "has no list of one block a seed in per_seed: how far trainings differ cannot be seen"
    elif isinstance(seeds, list) and isinstance(parts, list):
        if len(seeds) != len(parts):
            said["seeds-mismatch"] = f"has {len(seeds)} seeds but {len(parts)} blocks in per_seed"
        for seed, part in zip(seeds, parts, strict=False):
            said |= _wrong_with_part(seed, part, official)
    if block.get("split", split) != split:
        said["wrong-split"] = (f"says split '{clean(block['split'], 20)}' but belongs to {slot.predictions}, which "
                               f"holds the scores on {split}: a number from one says nothing about the other")
    if block.get("predictions", slot.predictions) != slot.predictions:
        said["wrong-source"] = (f"says it comes from '{clean(block['predictions'], 60)}' but is recomputed from "
                                f"{slot.predictions}: the reader looks into the wrong file")
    n, wanted = block.get("n"), sum(official.counts[split]) if official else None
    if official and is_number(n) and n != wanted:
        said["wrong-n"] = (f"was measured on n = {clean(n, 20)}; the official {split} split of {context.dataset} has "
                           f"{wanted}: it compares with nobody's")
    if official and "positive" in block and block["positive"] != official.classes[1]:
        said["positive-class"] = (f"calls the positive class '{clean(block['positive'], 40)}'; class 1 of "
                                  f"{context.dataset} is '{official.classes[1]}': every rate reads the wrong way round")
    return [Problem(code, message, context.rerun) for code, message in said.items()]


def _wrong_with_part(seed: object, part: dict, official: Dataset | None) -> dict[str, str]:
    """{code: message} for what one block of per_seed says of itself."""
    said, seed = {}, clean(seed, 20)
    if absent := [key for key in PER_SEED if key not in part]:
        said["per-seed"] = f"has no {', '.join(absent)} in the block of seed {seed}: the seeds cannot be compared"
    if clean(part.get("seed", seed), 20) != seed:
        said["seeds-mismatch"] = f"has a block of seed {clean(part['seed'], 20)} where `seeds` says {seed}"
    if official and (part.get("classes", official.classes) != official.classes
                     or part.get("positive", official.classes[1]) != official.classes[1]):
        said["positive-class"] = (f"has a block of seed {seed} about {clean(part.get('classes'), 60)}, positive class "
                                  f"'{clean(part.get('positive'), 40)}': they are {official.classes}, the second one")
    intervals = part.get("ci95") if isinstance(part.get("ci95"), dict) else {}
    for metric, pair in intervals.items():
        value, ends = part.get(metric), pair if isinstance(pair, list) and len(pair) == 2 else [None, None]
        if not all(map(is_number, ends)) or is_number(value) and not ends[0] - 5e-3 <= value <= ends[1] + 5e-3:
            said["interval"] = (f"gives {clean(metric, 40)} = {clean(value, 20)} of seed {seed} the interval "
                                f"{clean(pair, 60)}, which does not hold it: one of the two is from another run")
    return said


def check_predictions(raw: bytes, file: str, context: Context) -> tuple[dict[int, tuple], list[Problem]]:
    """{seed: (y [N], p [N])} by index, for the seeds that can be used; and what is wrong with which seed."""
    if len(raw) > MAX_PREDICTION_BYTES:
        raise Problem("too-large", f"has {len(raw) / 1e6:.1f} MB; 10 seeds of 624 images have 0.2", context.rerun)
    try:
        text = read_text(raw)
        by_seed = parse_predictions(text, "the file")
    except MedsslError as error:
        raise Problem("predictions-unreadable", f"cannot be read: {clean(error.wrong)}", context.rerun) from None
    if len(by_seed) > MAX_SEEDS:
        raise Problem("predictions-unreadable", f"holds {len(by_seed)} seeds", context.rerun)
    good, said = {}, {}
    for seed, (index, y, p) in by_seed.items():
        code, message = _wrong_with(index, y, p, split_of(file), context.official)
        if code == "predictions-range":
            said.setdefault(code, _first_out_of_range(text, seed, index, y, p))
        elif code:
            said.setdefault(code, f"seed {seed}: {message}")
        if code in ("", "predictions-wrong-split"):  # of wrong images numbers can be recomputed all the same
            order = np.argsort(index)
            good[seed] = (y[order], p[order])
    return good, [Problem(code, message, context.rerun) for code, message in said.items()]


def _first_out_of_range(text: str, seed: int, index, y, p) -> str:
    """The first row of a seed that is no label and probability, by its line in the file, and how many there are."""
    labels = np.isin(y, (0, 1))
    bad = np.flatnonzero(~(labels & (p >= 0) & (p <= 1)))  # NaN is neither
    k, rows = bad[0], csv.reader(text.splitlines())
    header = [cell.strip() for cell in next(rows)]
    at_seed, at_index = header.index("seed"), header.index("index")
    line = next(rows.line_num for row in rows if row and (int(row[at_seed]), int(row[at_index])) == (seed, index[k]))
    what = f"p = {p[k]:.6g}" if labels[k] else f"y_true = {y[k]}"
    more = f" (and {len(bad) - 1} more rows of this seed)" if len(bad) > 1 else ""
    wanted = "p is a probability in [0, 1]" if labels[k] else "a label is 0 or 1"
    return f"row {line} (seed {seed}, index {index[k]}): {what}{more}; {wanted}"


def _wrong_with(index, y, p, split: str, official: Dataset | None) -> tuple[str, str]:
    """(code, message) of the first thing wrong with one seed's columns [N], or ("", "")."""
    n, n1 = len(y), int((y == 1).sum())
    if not (np.isin(y, (0, 1)).all() and np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1):
        return "predictions-range", "a label is not 0 or 1, or p is not a probability in [0, 1]"
    if np.isin(p, (0, 1)).all():
        return "predictions-hard", "p is 0 or 1 everywhere, a class and no probability: AUROC and ECE mean nothing"
    counts, names = (official.counts[split], official.classes) if official else (None, None)
    if counts and counts[0] != counts[1] and [n1, n - n1] == counts:
        return "predictions-wrong-split", (
            f"{n - n1} images of class 0 and {n1} of class 1: these are the official counts exchanged: class 0 and "
            f"class 1 look swapped. Label 0 is {names[0]}")
    if counts and [n - n1, n1] != counts:
        return "predictions-wrong-split", (
            f"{n} images ({n - n1} of class 0, {n1} of class 1); the official {split} split has {sum(counts)} "
            f"({counts[0]} {names[0]}; {counts[1]} {names[1]}). A number from other images compares with nobody's")
    if not np.array_equal(np.sort(index), np.arange(n)):
        return "predictions-wrong-split", f"the index is not 0 … {n - 1}: not the images of the {split} split"
    return "", ""
