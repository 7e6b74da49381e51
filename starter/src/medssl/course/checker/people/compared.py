"""What comparisons need to know of one submission: small, picklable, and dropped before the report is written.

Scores   of one predictions file: a digest of p a seed, rounded to 9 digits as a CSV may be, and of its ranks alone.
Numbers  of one block of metrics in a JSON: accuracy, AUROC, ECE.

Both say what they are about (`subject`): two files may hold equal numbers only where their subjects do not differ.
"""

import re
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from medssl.course.checker.parse.handed_in import clean
from medssl.course.checker.parse.recompute import is_number, metrics_of
from medssl.course.checker.parse.values import blocks, words_of
from medssl.course.checker.reading import Reading
from medssl.course.predictions import split_of

MOST_BLOCKS, MOST_SETTINGS = 30, 60  # of one submission; a notebook writes fewer than ten blocks and thirty settings
COMPARED = ("accuracy", "auroc", "ece")
# Settings that change what a model learns. Others (devices, paths, numbers of draws, targets) may differ honestly.
LEARNS = {"model", "backbone", "method", "weights", "augment", "augmentation", "augmentations", "views", "epochs",
          "steps", "lr", "batch", "optimizer", "decay", "smoothing", "tau", "temperature", "fraction", "finetune",
          "schedule", "select", "dropout", "width", "size", "encoders", "draw"}


class Scores(NamedTuple):
    file: str  # the contract's name
    shown: str
    metrics: str  # where the metrics lie that were computed from it
    split: str
    subject: dict
    settings: dict  # what the run says of how the model was made
    seeds: dict  # seed -> digest of p; left out where p says next to nothing (a collapsed model)
    ranks: dict  # seed -> digest of the order of p: a calibrated copy keeps it
    mean: dict  # metric -> mean over the seeds, recomputed, of the supervised model that later weeks repeat


class Numbers(NamedTuple):
    shown: str
    at: str
    subject: dict
    values: dict  # metric -> value as reported
    runs: int  # over how many trainings it is a mean (0: not said)
    spread: dict  # metric -> standard deviation between them


def evidence(reading: Reading) -> dict:
    run = next((reading.held.get(s.path) for s in reading.slots if s.kind == "run"), None)
    run = run if isinstance(run, dict) else {}
    return {"rerun": reading.context.rerun, "notes": clean(run.get("notes") or "", 2000),
            "scores": [one for file, by_seed in reading.held_as("predictions").items()
                       if isinstance(by_seed, dict) and (one := _scores(reading, file, by_seed, run))],
            "numbers": _numbers(reading)}


def _scores(reading: Reading, file: str, by_seed: dict, run: dict) -> Scores:
    block = next((b for s in reading.slots if s.predictions == file and s.kind == "metrics"
                  and isinstance(b := reading.held.get(s.path), dict)), {})
    exact = {seed: np.round(p, 9) for seed, (_, p) in by_seed.items()}
    telling = {seed: np.unique(p, return_inverse=True) for seed, p in exact.items()}
    telling = {seed: rank for seed, (values, rank) in telling.items() if len(values) >= 10}
    repeated = "reference" in file or "supervised" in file  # what later weeks compare with
    parts = [metrics_of(y, p) for y, p in list(by_seed.values())[:30]] if repeated else []
    mean = {m: float(np.mean([one[m] for one in parts])) for m in COMPARED if parts and all(m in one for one in parts)}
    metrics = next((s.path for s in reading.slots if s.predictions == file and s.kind == "metrics"), file)
    return Scores(file, reading.found(file), reading.found(metrics), split_of(file),
                  subject(reading.context.week.number, [file], block),
                  settings(block, run, reading.context.week.number),
                  {seed: _digest(exact[seed]) for seed in telling}, {s: _digest(r) for s, r in telling.items()}, mean)


def _digest(values: np.ndarray) -> bytes:
    return blake2b(np.ascontiguousarray(values).tobytes(), digest_size=12).digest()


def settings(block: dict, run: dict, week: int) -> dict[str, str]:
    """{setting: value as text}: the config of the metrics file, beside it run.json's parameters."""
    own = block.get("config") if isinstance(block.get("config"), dict) else {}
    given = run.get("parameters") if isinstance(run.get("parameters"), dict) else {}
    # How long is said by the config where there is one; in week 5 STEPS is that of a stand-in for the encoder.
    alone = {k: v for k, v in given.items() if not (own or week == 5) or not {*words_of(k)} & {"steps", "epochs"}}
    top = {key: block[key] for key in ("model", "backbone", "label_fraction") if key in block}
    found: dict[str, str] = {}
    for values in (own, top, alone):
        for key, value in list(values.items())[:200]:
            name = "".join(words_of(key))
            if {*words_of(key)} & LEARNS and len(found) < MOST_SETTINGS and not isinstance(value, dict):
                value = value[:1] if isinstance(value, list) else value  # fewer encoders are no other encoders
                found.setdefault(name, clean(float(value) if is_number(value) else str(value).casefold(), 120))
    return found


def _numbers(reading: Reading) -> list[Numbers]:
    """The blocks of metrics on the test split in every JSON that is no run, environment or settings file."""
    kinds = {item.shown: slot.kind for slot in reading.slots for item in reading.matches[slot.path].items}
    found: list[Numbers] = []
    for item in reading.files():
        if kinds.get(item.shown, "metrics") != "metrics" or item.path.suffix.casefold() not in (".json", ".txt"):
            continue
        value = _held(reading, item.shown) or reading.json_of(item)
        runs = value.get("seeds") if isinstance(value, dict) else None
        if isinstance(value, dict):  # one run of several is compared by its predictions
            value = {key: one for key, one in value.items() if key != "per_seed"}
        spread = value.get("std") if isinstance(value, dict) and isinstance(value.get("std"), dict) else {}
        for block in blocks(value, reading.context.contract) if isinstance(value, (dict, list)) else ():
            values = {m: block.values[m] for m in COMPARED if m in block.values}
            if len(values) > 1 and block.split == "test" and len(found) < MOST_BLOCKS:
                about = subject(reading.context.week.number, [block.at.replace(".", " "), item.path.stem], block.facts)
                own = {m: spread[m] for m in values if not block.at and is_number(spread.get(m))}
                many = len(runs) if isinstance(runs, list) else 0
                found.append(Numbers(item.shown, block.at, about, values, many, own))
    return found


def _held(reading: Reading, shown: str) -> object:
    """What a metrics slot holds of this file, where it is the whole of it."""
    whole = (s.path for s in reading.slots if s.kind == "metrics" and not reading.matches[s.path].at)
    return next((value for path in whole if reading.found(path) == shown
                 and isinstance(value := reading.held.get(path), (dict, list))), None)


PATTERNS = (("model", r"small ?cnn", "smallcnn"), ("model", r"rest?net", "resnet"), ("regime", r"\bhead\b", "head"),
            ("regime", r"\ball\b(?! labels| the labels)", "all"), ("aug", r"\bbasic\b", "basic"),
            ("aug", r"\baug ?a\b", "A"), ("aug", r"\baug ?b\b", "B"), ("aug", r"\baug ?c\b", "C"),
            ("how", r"\bprobe\b", "probe"), ("how", r"\bssl\b.*\bfine ?tun|\bfine ?tun\w*", "fine-tuned"),
            ("how", r"\bsupervised\b|\bbaseline\b|\breference\b", "supervised"))


def subject(week: int, names: list[str], facts: dict) -> dict:
    """What numbers are about, as far as names and facts say it, the first that says something counts:
    {"model": "resnet", "regime": "head", "aug": "A", "how": "probe", "fraction": 0.05}."""
    found: dict[str, object] = {}
    for name in [*names, str(facts.get("model", ""))]:
        text = " ".join(words_of(name)).replace("self supervised", "ssl")
        here = {}
        for what, pattern, means in PATTERNS:
            if re.search(pattern, text) and not (what == "how" and week <= 3):
                here.setdefault(what, means)
        share = re.search(r"\b(\d{1,3}(?:\.\d+)?) ?(?:pct|%|$)", text)
        if share and (week in (5, 6)):
            here["fraction"] = float(share[1]) / 100
        if found.get("how") == "supervised":
            here.pop("fraction", None)  # the label fraction in a file's name is that of the probe
        found = here | found
    share = facts.get("label_fraction", facts.get("fraction"))
    if is_number(share) and found.get("how") != "supervised":
        found.setdefault("fraction", float(share))
    if week <= 3:
        found["how"] = "supervised"
    if week == 3 and not any("reference" in name for name in names):
        found.setdefault("model", "resnet")
    return found


def differ(a: dict, b: dict) -> list[str]:
    """In what two subjects differ; what only one of them says is no difference."""
    return [what for what in a if what in b and a[what] != b[what]]


def told(about: dict) -> str:
    """A subject in words, for messages."""
    words = [str(about[what]) for what in ("how", "model", "regime", "aug") if what in about]
    return " ".join([*words, *([f"{about['fraction']:.3g} of the labels"] if "fraction" in about else [])])
