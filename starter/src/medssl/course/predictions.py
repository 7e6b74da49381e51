"""The CSV from which every number can be recomputed: seed, index, y_true, p (the probability of class 1).

With K classes: seed, index, y_true, p_0 … p_{K-1}; with K labels that may be true at once, y_0 … y_{K-1} for y_true.
What is handed in has two classes; `format_classes` and `read_classes` are for the rest.
"""

import csv
from pathlib import Path

import numpy as np

from medssl.errors import MedsslError

COLUMNS = ("seed", "index", "y_true", "p")
MOST_ROWS = 500_000
MOST_SEEDS = 200  # of a file that is read in one go


def split_of(file: str) -> str:
    """Of which split a predictions file holds the scores: its name says it."""
    return "val" if "_val" in file.casefold() else "test"


def format_predictions(by_seed: dict[int, tuple]) -> str:
    """{seed: (index [N], y [N], p [N])} as CSV text. p keeps every digit of its float64, so metrics are exact."""
    rows = [f"{seed},{i},{y},{float(p)!r}"
            for seed, columns in by_seed.items() for i, y, p in zip(*columns, strict=True)]
    return "\n".join([",".join(COLUMNS), *rows, ""])


def parse_predictions(text: str, where: str = "predictions") -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """CSV text as {seed: (index int64 [N], y int64 [N], p float64 [N])}, columns in any order.

    It makes sure of numbers and of each index once a seed; whether they are labels and probabilities is for `evaluate`.
    """
    if plain := _plain(text):
        return plain
    rows, found = csv.reader(text.splitlines(), strict=True), {}
    try:
        header = [cell.strip() for cell in next(rows, [])]
        if missing := [column for column in COLUMNS if column not in header]:
            raise MedsslError(f"{where} has no column {', '.join(missing)}.", f"the header {','.join(COLUMNS)}")
        for row in rows:
            if row:
                seed, index, y, p = (row[header.index(column)] for column in COLUMNS)
                found.setdefault(int(seed), []).append((np.int64(int(index)), np.int64(int(y)), float(p)))
            if rows.line_num > MOST_ROWS:
                raise MedsslError(f"{where} has more than {MOST_ROWS} lines.", "one for each test image and seed")
    except MedsslError:
        raise
    except (ValueError, OverflowError, IndexError, csv.Error):
        raise MedsslError(f"{where}, line {rows.line_num}, is not four numbers.", "such as 0,17,1,0.8345") from None
    out = {seed: tuple(np.array(column) for column in zip(*values, strict=True)) for seed, values in found.items()}
    twice = [seed for seed, (index, _, _) in out.items() if len(np.unique(index)) < len(index)]
    if not out or twice:
        wrong = f"holds an image twice for seed {twice[0]}" if twice else "has no rows"
        raise MedsslError(f"{where} {wrong}.", "one row for each test image and seed")
    return out


def _plain(text: str) -> dict:
    """The same of a file as we write it, ten times as fast; {} where anything at all is out of the ordinary."""
    header, *rows = text.rstrip("\n").split("\n") if '"' not in text and "\r" not in text else [""]
    if header != ",".join(COLUMNS) or not 0 < len(rows) < MOST_ROWS or {row.count(",") for row in rows} != {3}:
        return {}
    cells = ",".join(rows).split(",")
    try:
        seeds, index, y = (np.array(list(map(int, cells[k::4])), np.int64) for k in range(3))
        p = np.array(list(map(float, cells[3::4])))
    except (ValueError, OverflowError):
        return {}
    order = list(dict.fromkeys(seeds.tolist()))
    out = {seed: tuple(column[seeds == seed] for column in (index, y, p)) for seed in order[:MOST_SEEDS]}
    return out if len(order) == len(out) and all(len(np.unique(i)) == len(i) for i, _, _ in out.values()) else {}


def read_predictions(path: str | Path) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A predictions file of our own as {seed: (index, y, p)}. (The checker reads bytes with care, then parses.)"""
    try:
        return parse_predictions(Path(path).read_text(encoding="utf-8-sig"), Path(path).name)
    except UnicodeDecodeError as error:
        raise MedsslError(f"{path} is not UTF-8 text.", f"a CSV file: {','.join(COLUMNS)}",
                          "Save it as CSV, UTF-8; or run its week again.") from error


def format_classes(by_seed: dict[int, tuple]) -> str:
    """{seed: (index [N], y [N] or [N,K], p [N,K])} as CSV text, every digit of p kept."""
    shapes = {(np.ndim(y), *np.shape(p)[1:]) for _, y, p in by_seed.values()}
    if len(shapes) != 1 or not (len(shape := shapes.pop()) == 2 and shape[0] in (1, 2)):
        raise MedsslError("The seeds do not have the same columns.", "y [N] or [N,K] and p [N,K] for each seed")
    truth, k = ["y_true"] if shape[0] == 1 else [f"y_{c}" for c in range(shape[1])], range(shape[1])
    rows = [",".join([str(seed), str(int(i)), *map(str, np.atleast_1d(y).astype(int)), *(repr(float(v)) for v in p)])
            for seed, columns in by_seed.items() for i, y, p in zip(*columns, strict=True)]
    return "\n".join([",".join(["seed", "index", *truth, *(f"p_{c}" for c in k)]), *rows, ""])


def read_classes(path: str | Path) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What format_classes wrote, as {seed: (index int64 [N], y int64 [N] or [N,K], p float64 [N,K])}."""
    name, lines = Path(path).name, Path(path).read_text(encoding="utf-8-sig").splitlines()
    header = [cell.strip() for cell in lines[0].split(",")] if lines else []
    k = sum(cell.startswith("p_") for cell in header)
    kinds = [["seed", "index", *truth, *(f"p_{c}" for c in range(k))] for truth in
             (["y_true"], [f"y_{c}" for c in range(k)])]
    if k < 2 or header not in kinds:
        raise MedsslError(f"{name} has the header {','.join(header)[:80]}.",
                          "seed,index,y_true,p_0,p_1,… or, for several labels at once, seed,index,y_0,…,p_0,…",
                          "Of two classes with one column p: read_predictions.")
    try:
        cells = np.array([[float(cell) for cell in line.split(",")] for line in lines[1:] if line])
        cells = cells.reshape(-1, len(header))
        whole = cells[:, :-k].astype(np.int64)
        if (whole != cells[:, :-k]).any():
            raise ValueError("a seed, an index or a label is no whole number")
    except ValueError as error:
        raise MedsslError(f"{name} is no table of numbers ({error}).", f"{len(header)} numbers in each line") from None
    out = {}
    for seed in dict.fromkeys(whole[:, 0].tolist()):
        mine = whole[:, 0] == seed
        y = whole[mine, 2:]
        out[seed] = (whole[mine, 1], y[:, 0] if header == kinds[0] else y, cells[mine, -k:])
    if not out or any(len(np.unique(index)) < len(index) for index, _, _ in out.values()):
        raise MedsslError(f"{name} holds an image twice for a seed, or no rows.", "one row for each image and seed")
    return out
