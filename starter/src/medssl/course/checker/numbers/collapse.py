"""Week 4: did the embedding collapse? Where all images have one embedding, the loss says little and the probe nothing.

std_mean is the mean over the dimensions of std(z / |z|) * sqrt(D): 1 where directions are spread evenly, 0 for a point.
rank is RankMe, the number of directions that are used (see medssl.evaluate.collapse, whose rules of thumb these are).
"""

import csv
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.numerals import numeral
from medssl.course.checker.reading import Reading

LEAST_STD, LEAST_RANK = 0.1, 3.0
NAMES = {"std_mean": "std", "val_std_mean": "std", "rank": "rank", "val_rank": "rank", "rankme": "rank"}
MOST_LINES = 20_000


def collapsed(reading: Reading) -> Iterator[tuple[str, Problem]]:
    if reading.context.week.number != 4:
        return
    for item in reading.files():
        if item.path.suffix.casefold() == ".csv" and "loss" in item.path.name.casefold():
            ends = _last_lines(reading.text_of(item) or "")
        elif item.path.suffix.casefold() == ".json":
            value = reading.json_of(item)
            ends = {"": value} if isinstance(value, dict) else {}
        else:
            continue
        for seed, line in ends.items():
            if said := _wrong(line):
                which = seed and f" (seed {seed})"
                yield item.shown, Problem(
                    "embedding-collapse", f"ends with {said}{which}: the encoder gives all images nearly the same "
                    "features, whatever the loss says", "a smaller learning rate, weaker views or a larger batch, then "
                    f"{reading.context.rerun}", "warning")
                break


def _last_lines(text: str) -> dict[str, dict]:
    """{seed: the last line of its training}"""
    lines = [line[:400] for line in text.splitlines()[:MOST_LINES]]
    try:
        return {clean(row.get("seed") or "", 20): row for row in csv.DictReader(lines)}
    except csv.Error:
        return {}


def _wrong(line: dict) -> str:
    for key, what in NAMES.items():
        number = numeral(line.get(key))
        if number and 0 <= number.value < (LEAST_STD if what == "std" else LEAST_RANK):
            healthy = "1 where they spread evenly" if what == "std" else "healthy ones use ten and more directions"
            return f"{key} = {number.value:.3g} ({healthy})"
    return ""


CHECKS = (collapsed,)
