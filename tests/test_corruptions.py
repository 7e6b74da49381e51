"""200 random corruptions of whole, honest hand-ins: each is a finding at, or about, the file that was hit.

Left out, since nobody can tell from the folder: a digit behind the fourth of a number (rounding), a letter of the
student's prose, facts that stand in one place only (hardware, versions, seconds, learning rate, free notes), an
optional file that is not there, and two honest figures exchanged (what a figure shows is not read; one figure in two
places is found).
"""

import json
import re
from collections import defaultdict

import numpy as np
import pytest
from cohort import SETS, Hand
from cohort_faults import findings
from cohort_today import perfect, renamed

from medssl.course.checker.grade import grade
from medssl.course.contract import load_contract

ALONE = {"seconds", "hardware", "versions", "git", "finished", "notes", "parameters", "data_source", "config",
         "weights",
         "ece_if_calibrated", "label_indices", "selected_on", "model", "calibration", "bins"}
KINDS = []


def kind(*endings: str):
    """Enter a corruption of files that end so. It changes the hand-in and returns what it hit, or nothing."""
    def enter(change):
        KINDS.append((change, endings))
        return change

    return enter


def raw(hand: Hand, file: str) -> bytes:
    content = hand.files[file]
    content = json.dumps(content, indent=1) if isinstance(content, (dict, list)) else content
    return content if isinstance(content, bytes) else content.encode()


def required(hand: Hand, file: str) -> bool:
    slot = load_contract().week(hand.week).slot(file)
    return slot is not None and slot.required


def numbers(value: object, at: tuple = ()):
    """(the way to it, number) of every number that stands in more than one place."""
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield at, value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in parts:
        if key not in ALONE:
            yield from numbers(one, (*at, key))


@kind("png", "csv", "json")
def truncate(hand, file, rng):
    content = raw(hand, file)
    hand.files[file] = content[:int(len(content) * rng.uniform(0.1, 0.9))]
    return file


@kind("png", "csv", "json", "md")
def empty(hand, file, rng):
    hand.files[file] = b""
    return file


@kind("png")
def flip_bytes_of_an_image(hand, file, rng):
    content = bytearray(raw(hand, file))
    for k in rng.integers(40, len(content) - 20, 4):
        content[k] ^= int(rng.integers(1, 255))
    hand.files[file] = bytes(content)
    return file


@kind("csv", "json", "md")
def flip_high_bits_of_text(hand, file, rng):
    content = bytearray(raw(hand, file))
    content[int(rng.integers(len(content)))] |= 0x80
    hand.files[file] = bytes(content)
    return file


@kind("png", "csv", "json", "md")
def delete(hand, file, rng):
    if required(hand, file):
        del hand.files[file]
        return file


@kind("png", "csv", "json", "md")
def rename(hand, file, rng):
    if required(hand, file):
        hand.files["".join(rng.choice(list("abcdefghjkmnpqrstuvwxyz"),
                                      9)) + "." + file.rpartition(".")[2]] = hand.files.pop(file)
        return file


@kind("png", "csv", "json", "md")
def move_into_a_folder(hand, file, rng):
    if required(hand, file):
        hand.files[f"{['old', 'final', 'figures'][rng.integers(3)]}/{file}"] = hand.files.pop(file)
        return file


@kind("json", "csv", "md")
def wrong_encoding(hand, file, rng):
    hand.files[file] = raw(hand, file).decode().encode(["utf-16", "utf-32"][rng.integers(2)])
    return file


@kind("png", "json", "csv")
def another_kind_of_content(hand, file, rng):
    other = rng.choice([f for f in hand.files if f.rpartition(".")[2] != file.rpartition(".")[2]])
    hand.files[file], hand.files[other] = raw(hand, other), raw(hand, file)
    return file


@kind("metrics")
def swap_two_metrics_files(hand, file, rng):
    others = [f for f in hand.files if _is_metrics(f) and f != file and raw(hand, f) != raw(hand, file)]
    if others:
        other = rng.choice(others)
        hand.files[file], hand.files[other] = hand.files[other], hand.files[file]
        return file, other


@kind("png")
def a_figure_in_the_place_of_another(hand, file, rng):
    others = [f for f in hand.files if f.endswith("png") and f != file]
    if others:
        other = rng.choice(others)
        hand.files[file] = hand.files[other]
        return file, other


@kind("metrics", "metrics", "metrics", "run.json")
def one_digit_of_a_number(hand, file, rng):
    """One of the first three digits of a number that is given, or follows, elsewhere."""
    places = list(numbers(hand.files[file]))
    at, value = places[rng.integers(len(places))]
    text = f"{value:.17g}" if isinstance(value, float) else str(value)
    digits = [m.start() for m in re.finditer(r"\d", text.partition("e")[0])][:4]
    k = digits[rng.integers(len(digits))]
    text = text[:k] + rng.choice([d for d in "123456789" if d != text[k]]) + text[k + 1:]
    new = float(text) if isinstance(value, float) else int(text)
    if abs(new - value) < 2e-3 and isinstance(value, float):
        return None
    return _set(hand, file, at, new)


@kind("metrics")
def a_number_becomes_nan_or_text(hand, file, rng):
    places = [at for at, _ in numbers(hand.files[file])]
    value = [float("nan"), "high", None, float("inf")][rng.integers(4)]
    return _set(hand, file, places[rng.integers(len(places))], value)


def _set(hand: Hand, file: str, at: tuple, value: object) -> str:
    here = hand.files[file]
    for key in at[:-1]:
        here = here[key]
    here[at[-1]] = value
    hand.hit = f"{'.'.join(map(str, at))} = {value}"
    return file


@kind("metrics", "run.json")
def other_seeds(hand, file, rng):
    hand.files[file]["seeds"] = [[0], [0, 7], [], [1, 2, 3], "0, 1"][rng.integers(5)]
    return file


@kind("metrics", "run.json")
def another_data_set(hand, file, rng):
    hand.files[file]["dataset"] = next(d for d in SETS if d != hand.dataset)
    return file


@kind("metrics")
def another_n(hand, file, rng):
    hand.files[file]["n"] = int(rng.integers(10, 1000))
    return file


@kind("metrics", "run.json")
def a_key_is_gone(hand, file, rng):
    key = rng.choice(["dataset", "split", "accuracy", "auroc", "ece", "per_seed", "n",
                      "positive"] if file != "run.json" else
                     ["seeds", "split_hash", "week", "name", "dataset"])
    del hand.files[file][key]
    return file


def rows_of(change):
    """A corruption of the rows (seed, index, y_true, p) of a predictions file."""
    def do(hand, file, rng):
        head, *rows = hand.files[file].splitlines()
        rows = change([row.split(",") for row in rows], rng)
        hand.files[file] = "\n".join([head, *map(",".join, rows)]) + "\n"
        return file

    do.__name__ = change.__name__
    return kind("predictions")(do)


@rows_of
def drop_rows(rows, rng):
    gone = set(rng.integers(0, len(rows), rng.integers(1, 20)).tolist())
    return [row for k, row in enumerate(rows) if k not in gone]


@rows_of
def duplicate_a_row(rows, rng):
    return rows + [rows[rng.integers(len(rows))]]


@rows_of
def swap_labels(rows, rng):
    return [[s, i, str(1 - int(y)), p] for s, i, y, p in rows]


@rows_of
def one_label(rows, rng):
    k = rng.integers(len(rows))
    rows[k][2] = str(1 - int(rows[k][2]))
    return rows


@rows_of
def one_score(rows, rng):
    k = rng.integers(len(rows))
    rows[k][3] = f"{(float(rows[k][3]) + 0.5) % 1:.6g}"
    return rows


@rows_of
def nan_or_out_of_range(rows, rng):
    rows[rng.integers(len(rows))][3] = rng.choice(["nan", "1.3", "-0.2", "inf", "", "high"])
    return rows


@rows_of
def shuffled_scores(rows, rng):
    order = rng.permutation(len(rows))
    return [[*row[:3], rows[j][3]] for row, j in zip(rows, order, strict=True)]


@rows_of
def hard_labels(rows, rng):
    return [[*row[:3], str(round(float(row[3])))] for row in rows]


@rows_of
def another_seed(rows, rng):
    return [["9" if row[0] == "1" else row[0], *row[1:]] for row in rows]


@kind("md")
def one_digit_of_the_readme_table(hand, file, rng):
    text = hand.files[file]
    block = re.search(r"(?s)<!-- medssl:results.*?<!-- /medssl:results", text)
    found = [m for m in re.finditer(r"0\.\d{3}", block[0])] if file == hand.readme and block else []
    if found:
        m = found[rng.integers(len(found))]
        k = block.start() + m.start() + int(rng.integers(2, 5))
        hand.files[file] = text[:k] + rng.choice([d for d in "0123456789" if d != text[k]]) + text[k + 1:]
        return file


def _is_metrics(file: str) -> bool:
    return file.endswith(".json") and ("metrics" in file or file.startswith("reference"))


def fits(file: str, ending: str) -> bool:
    if ending == "metrics":
        return _is_metrics(file)
    return file.startswith("predictions") if ending == "predictions" else file.endswith(ending)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[Hand]:
    root = tmp_path_factory.mktemp("whole")
    return [perfect(root, week, list(SETS)[week % 2], "samename") for week in range(1, 8)]


def test_of_two_hundred_random_corruptions_nearly_all_are_found(whole, tmp_path):
    rng, done = np.random.default_rng(4), []
    while len(done) < 200:
        change, endings = KINDS[len(done) % len(KINDS)]  # each kind equally often
        hand = renamed(whole[rng.integers(7)], f"student{len(done)}")
        ending = endings[rng.integers(len(endings))]
        files = sorted(file for file in hand.files if fits(file, ending))
        hit = change(hand, files[rng.integers(len(files))], rng) if files else None
        if hit:
            hand.write(tmp_path)
            done.append((change.__name__, hand, [hit] if isinstance(hit, str) else list(hit)))
    clean = [renamed(hand, f"clean{hand.week}") for hand in whole]
    for hand in clean:
        hand.write(tmp_path)
    report = grade(tmp_path, jobs=2).as_dict()
    ignored = {f["code"] for hand in clean for f in findings(report, hand)}  # all have the same scores: that is said
    assert ignored <= {"same-as-another"}
    missed = defaultdict(list)
    for what, hand, hit in done:
        if not any(file in f"{f['where']} {f['message']} {f['fix']}" for f in findings(report, hand) for file in hit
                   if f["code"] not in ignored):
            missed[what].append((hand.folder, hit, getattr(hand, "hit", "")))
    assert sum(map(len, missed.values())) <= 4, dict(missed)  # 98 %
    assert "checker-error" not in json.dumps(report)
