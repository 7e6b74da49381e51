"""The CSV from which every number can be recomputed: seed, index, y_true, p (the probability of class 1)."""

import csv
import io
from pathlib import Path

import numpy as np

from medssl.errors import MedsslError

COLUMNS = ("seed", "index", "y_true", "p")
MOST_ROWS = 500_000


def format_predictions(by_seed: dict[int, tuple]) -> str:
    """{seed: (index [N], y [N], p [N])} as CSV text. p has 9 significant digits: enough for any float32."""
    lines = [",".join(COLUMNS)]
    for seed, (index, y, p) in by_seed.items():
        lines += [f"{seed},{i},{label},{score:.9g}" for i, label, score in zip(index, y, p, strict=True)]
    return "\n".join(lines) + "\n"


def parse_predictions(text: str, where: str = "predictions") -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """CSV text as {seed: (index int64 [N], y int64 [N], p float64 [N])}, columns in any order.

    It makes sure of numbers and of each index once a seed; whether they are labels and probabilities is for `evaluate`.
    """
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [cell.strip() for cell in next(rows, [])]
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise MedsslError(f"{where} has no column {', '.join(missing)}.", f"the header {','.join(COLUMNS)}")
        places, found = [header.index(column) for column in COLUMNS], {}
        for line, row in enumerate(rows, start=2):
            if line > MOST_ROWS + 1:
                raise MedsslError(f"{where} has more than {MOST_ROWS} rows.", "one row for each test image and seed")
            if row:
                seed, index, y, p = (row[place] for place in places)
                found.setdefault(int(seed), []).append((int(index), int(y), float(p)))
    except (ValueError, IndexError, csv.Error) as error:
        if isinstance(error, MedsslError):
            raise
        raise MedsslError(f"{where}, line {rows.line_num}, is not four numbers.", "such as 0,17,1,0.8345") from None
    if not found:
        raise MedsslError(f"{where} has no rows.", "one row for each test image and seed")
    try:
        arrays = {}
        for seed, values in found.items():
            index, y, p = zip(*values, strict=True)
            arrays[seed] = np.array(index, np.int64), np.array(y, np.int64), np.array(p, np.float64)
    except OverflowError:
        raise MedsslError(f"{where} holds a number of absurd size.", "a line such as 0,17,1,0.8345") from None
    for seed, (index, _, _) in arrays.items():
        if len(np.unique(index)) != len(index):
            raise MedsslError(f"{where}: seed {seed} has an image twice.", "each index once a seed",
                              "write the predictions of a seed once")
    return arrays


def read_predictions(path: str | Path) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A predictions file of our own as {seed: (index, y, p)}. (The checker reads bytes with care, then parses.)"""
    return parse_predictions(Path(path).read_text(encoding="utf-8-sig"), Path(path).name)
