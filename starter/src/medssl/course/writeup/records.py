"""One metrics file as a record: what paper, slides and the three questions say about a model comes from here."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from medssl.course.checker.parse.handed_in import Problem
from medssl.course.checker.parse.recompute import compare, is_number
from medssl.course.contract import Dataset, FileSlot
from medssl.course.predictions import parse_predictions
from medssl.errors import MedsslError

METHODS = {"finetune": "finetune", "probe": "probe", "_head": "head"}  # a word of the file's name; else "supervised"


class Missing(NamedTuple):
    """A file that is not there (or is of no use: `Collected.broken` says why), and the command that makes it."""

    week: int
    dataset: str
    file: str
    command: str


@dataclass(frozen=True)
class Run:
    """One person's folder of one week; `run` is its run.json, None where that is missing or broken."""

    week: int
    dataset: str
    name: str
    folder: Path
    run: dict | None


@dataclass(frozen=True)
class Result:
    """A metrics file whose numbers follow from its predictions. `values`, `std`: over runs, by our metric names.

    ci95: {metric: [lo, hi]}, the noise of the test images for one run (the mean of the runs' own intervals).
    floor: the ECE {"mean", "p95"} that a perfectly calibrated model with these scores would show.
    encoders x draws = runs: draws of labels are crossed with pretraining seeds, and are not all independent.
    """

    week: int
    dataset: str
    name: str
    file: str
    path: Path
    model: str
    method: str  # "supervised", "head", "probe" or "finetune"
    label_fraction: float
    n_train: int
    n: int
    positive: str
    seeds: list[int]
    values: dict[str, float]
    std: dict[str, float]
    per_seed: list[dict]
    ci95: dict[str, list[float]]
    floor: dict[str, float]
    predictions: Path
    phantom: bool
    backbone: str
    encoders: int
    draws: int
    config: dict

    @property
    def runs(self) -> int:
        return len(self.seeds)


def method_of(slot: FileSlot) -> str:
    return next((method for word, method in METHODS.items() if word in slot.path), "supervised")


def read_result(week: int, dataset: str, name: str, slot: FileSlot, path: Path, content: object, about: Dataset,
                run: dict | None, predictions: Path, scores: dict) -> Result:
    """A record of one metrics JSON, or a Problem that says why its numbers cannot be used."""
    if not isinstance(content, dict) or (absent := [key for key in slot.keys if key not in content]):
        raise Problem("keys", "is no object" if not isinstance(content, dict) else f"lacks {', '.join(absent)}")
    seeds, blocks = content["seeds"], content["per_seed"]
    whole = isinstance(seeds, list) and all(isinstance(s, int) and not isinstance(s, bool) for s in seeds)
    if not whole or not seeds or not isinstance(blocks, list) or not all(isinstance(b, dict) for b in blocks):
        raise Problem("seeds", "has no list of seeds with a block each")
    bad = [k for k in ("accuracy", "auroc", "ece", "n") if not is_number(content[k]) or content[k] != content[k]]
    if bad or len(blocks) != len(seeds):
        why = f"has no number for {bad[0]}" if bad else f"has {len(blocks)} blocks for {len(seeds)} seeds"
        raise Problem("numbers", why)
    if content["dataset"] != dataset or content["n"] != sum(about.counts["test"]) or content["split"] != "test":
        raise Problem("split", f"is of {content['dataset']!s:.40}, {content['split']!s:.20}, n = {content['n']}, "
                               f"not the {sum(about.counts['test'])} test images of {dataset}")
    if set(seeds) != set(scores):
        raise Problem("seeds", f"has seeds {sorted(seeds)}, its predictions have {sorted(scores)}")
    rows = compare(content, {seed: (y, p) for seed, (_, y, p) in scores.items()}, slot.path, about.classes)
    if wrong := next((row for row in rows if not row["agrees"]), None):
        raise Problem("mismatch", f"says {wrong['metric']} = {wrong['reported']}, its predictions give "
                                  f"{wrong['recomputed']}")
    fraction, config = content.get("label_fraction", 1.0), content.get("config")
    config = config if isinstance(config, dict) else {}
    encoders, draws = shape_of(content, run, len(seeds))
    data, everything = content.get("data"), sum(about.counts["train"])
    n_train = next((k for k in (content.get("n_train"), config.get("n_labels")) if is_number(k)), None)
    return Result(
        week, dataset, name, slot.path, path, str(content["model"]), method_of(slot),
        float(fraction) if is_number(fraction) and 0 < fraction <= 1 else 1.0,
        int(n_train if n_train is not None else everything), content["n"], str(content["positive"]), seeds,
        numbers(content), numbers(content.get("std")) if len(seeds) > 1 else {}, blocks, mean_intervals(blocks),
        mean_floor(blocks), predictions, bool(about.phantom_of or (isinstance(data, dict) and data.get("phantom"))),
        str(content.get("backbone", (run or {}).get("backbone", ""))), encoders, draws, config)  # fmt: skip


def shape_of(content: dict, run: dict | None, runs: int) -> tuple[int, int]:
    """(encoders, draws of labels). Week 5 says it in the file; else run.json lists the labels of each draw."""
    labels = (run or {}).get("label_indices")
    said = content.get("draws") or (len(labels) if isinstance(labels, dict) and "label_fraction" in content else 0)
    draws = said if isinstance(said, int) and said > 0 and runs % said == 0 else runs
    return runs // draws, draws


def numbers(block: object) -> dict[str, float]:
    """The finite numbers of a flat block."""
    return {key: float(value) for key, value in (block if isinstance(block, dict) else {}).items()
            if is_number(value) and math.isfinite(value)}


def mean_intervals(blocks: list[dict]) -> dict[str, list[float]]:
    """{metric: [lo, hi]}: the mean over runs of the ends of their intervals, where every run has one."""
    every = [block.get("ci95") if isinstance(block.get("ci95"), dict) else {} for block in blocks]

    def whole(ends) -> bool:
        return isinstance(ends, list) and len(ends) == 2 and all(is_number(end) for end in ends)

    shared = [key for key in every[0] if all(whole(one.get(key)) for one in every)]
    return {key: [sum(one[key][end] for one in every) / len(every) for end in (0, 1)] for key in shared}


def mean_floor(blocks: list[dict]) -> dict[str, float]:
    floors = [numbers(block.get("ece_if_calibrated")) for block in blocks]
    return {key: sum(floor[key] for floor in floors) / len(floors) for key in ("mean", "p95")
            if all(key in floor for floor in floors)}


def read_scores(text: str, where: str, about: Dataset, split: str) -> dict:
    """{seed: (index, y, p)} of a predictions CSV in the order of the split, or a Problem."""
    try:
        found = parse_predictions(text, where)
    except MedsslError as error:
        raise Problem("predictions", str(error).splitlines()[0]) from None
    ordered = {}
    for seed, (index, y, p) in found.items():
        order = index.argsort()
        ordered[seed] = (index[order], y[order], p[order])
        counts = [int((y == k).sum()) for k in (0, 1)]
        if counts != about.counts[split] or not (0 <= p.min() <= p.max() <= 1):
            raise Problem("labels", f"holds {counts[0]} and {counts[1]} images of the two classes (seed {seed}), "
                                    f"the {split} split has {about.counts[split][0]} and {about.counts[split][1]}")
    return ordered
