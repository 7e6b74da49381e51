"""Were the official images used, in the official order? A row of predictions is an image only if both hold."""

from collections.abc import Iterator

import numpy as np

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.reading import Reading
from medssl.course.predictions import split_of

Said = Iterator[tuple[str, Problem]]


def split_hash(reading: Reading) -> Said:
    """run.json names images that are not the official ones. It is held against the hash at 28 px, the course's size."""
    slot, official = next((s for s in reading.slots if s.kind == "run"), None), reading.context.official
    run = reading.held.get(slot.path) if slot else None
    if not isinstance(run, dict) or not official or not official.split_hash:
        return
    theirs, source = run.get("split_hash"), str(run.get("data_source", ""))[:400]
    if theirs in (None, official.split_hash) or "px" in source and "28 px" not in source:
        return
    if reading.flaws.get(slot.path, set()) & {"wrong-dataset"} or not _metrics_agree(reading, theirs):
        return  # said already
    yield reading.found(slot.path), Problem(
        "split-hash", f"says split hash {clean(theirs, 40)}; the official {reading.context.dataset} has "
        f"{official.split_hash}: other images, other labels or another order, so its numbers compare with nobody's",
        f"load the data with medssl.data.load(\"{reading.context.dataset}\"), then {reading.context.rerun}")


def _metrics_agree(reading: Reading, theirs: object) -> bool:
    """Whether the metrics files name the hash of run.json; where they do not, that is the finding (run-mismatch)."""
    data = [block.get("data") for block in reading.held_as("metrics").values() if isinstance(block, dict)]
    return all(one.get("split_hash") == theirs for one in data if isinstance(one, dict))


def label_order(reading: Reading) -> Said:
    """Right counts, wrong order: the index does not lead to the image, so galleries show others."""
    official = reading.context.official
    for file, by_seed in reading.held_as("predictions").items():
        right = np.array(official.labels_of(split_of(file))) if official else np.array([])
        if not len(right) or not isinstance(by_seed, dict) or reading.flaws.get(file):
            continue
        wrong = {seed: np.flatnonzero(y != right) for seed, (y, _) in by_seed.items() if len(y) == len(right)}
        wrong = {seed: places for seed, places in wrong.items() if len(places)}
        if wrong:
            seed, places = next(iter(wrong.items()))
            yield reading.found(file), Problem(
                "predictions-wrong-order", f"gives {len(places)} of {len(right)} images a label that is not theirs "
                f"(seed {seed}; the first is index {places[0]}, officially {official.classes[right[places[0]]]}): the "
                "counts are right and the order is not, so no row leads to its image. Was the loader shuffled?",
                f"score the split unshuffled, with index = range(n), then {reading.context.rerun}")


CHECKS = (split_hash, label_order)
