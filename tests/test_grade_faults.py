"""The checker: each injected fault gets its own finding, one cause one error, and the others stay graded."""

import json
import os
import zlib
from pathlib import Path

import pytest
from graded import FIGURE, METRICS, PREDICTIONS, README, WEEK1, codes, copy_to_break, edit_json, of, status
from PIL import Image

from medssl.course.checker.grade import grade


@pytest.fixture
def tree(tmp_path):
    """A whole hand-in of two people, to break."""
    return copy_to_break(tmp_path)


def edit(change):
    """A fault: the file's JSON after `change` was made to it."""
    def do(path: Path):
        change(block := json.loads(path.read_text()))
        path.write_text(json.dumps(block))

    return do


def edit_text(path: Path, old: str, new: str):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def drop_images(path: Path):
    """What is left is another test split: 141 images."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if line[0] == "s" or int(line.split(",")[1]) < 141))


def bad_png_checksum(path: Path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def half_a_jpeg(path: Path):
    """JPEG under the name of a PNG: read as what it is, and its second half is not there."""
    with Image.open(path) as image:
        image.convert("RGB").save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def png_bomb(path: Path):
    """A header that promises 8,000 x 8,000 pixels: unpacking them would take 190 MB."""
    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = (8_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


FAULTS = [  # (fault, file, what is done to it, code, status of the slot)
    ("missing", FIGURE, Path.unlink, "missing", "missing"),
    ("empty", METRICS, lambda f: f.write_bytes(b""), "empty", "empty"),
    ("blank readme", README, lambda f: f.write_text(" \n"), "empty", "empty"),
    ("truncated png", FIGURE, lambda f: f.write_bytes(f.read_bytes()[:-200]), "image-broken", "unreadable"),
    ("a flipped bit", FIGURE, bad_png_checksum, "image-broken", "unreadable"),
    ("text named png", FIGURE, lambda f: f.write_text("hello"), "image-broken", "unreadable"),
    ("wrong checksum", FIGURE, lambda f: f.write_bytes(f.read_bytes()[:-13] + b"?" + f.read_bytes()[-12:]),
     "image-broken", "unreadable"),
    ("half a jpeg", FIGURE, half_a_jpeg, "image-broken", "unreadable"),
    ("png bomb", FIGURE, png_bomb, "image-too-large", "unreadable"),
    ("10 GB png", FIGURE, lambda f: os.truncate(f, 10**10), "too-large", "unreadable"),
    ("garbage", METRICS, lambda f: f.write_bytes(os.urandom(4000)), "bad-utf8", "unreadable"),
    ("not json", METRICS, lambda f: f.write_text("accuracy = 0.9"), "json-syntax", "unreadable"),
    ("nesting", METRICS, lambda f: f.write_text("[" * 900_000), "json-depth", "unreadable"),
    ("nesting in a string", METRICS, lambda f: f.write_text('"' + '\\"' * 900_000), "json-syntax", "unreadable"),
    ("json array", METRICS, lambda f: f.write_text("[[],[],[]]"), "json-not-object", "unreadable"),
    ("huge json", METRICS, lambda f: f.write_text('{"a": "' + "x" * 3_000_000 + '"}'), "too-large", "unreadable"),
    ("10 GB json", METRICS, lambda f: os.truncate(f, 10**10), "too-large", "unreadable"),
    ("endless integer", METRICS, lambda f: edit_text(f, '"n": 156', '"n": ' + "9" * 3000), "not-a-number", "present"),
    ("nan", METRICS, lambda f: edit_json(f, ece=float("nan")), "json-nan", "present"),
    ("key twice", METRICS, lambda f: edit_text(f, "{", '{"auroc": 0.99,'), "json-duplicate-key", "present"),
    ("key missing", METRICS, lambda f: edit_json(f, positive=...), "key-missing", "present"),
    ("key by an alias", METRICS, lambda f: edit_text(f, '"auroc":', '"test_auroc":'), "key-renamed", "present"),
    ("wrong accuracy", METRICS, lambda f: edit_json(f, accuracy=0.99), "metric-mismatch", "present"),
    ("accuracy as text", METRICS, lambda f: edit_json(f, accuracy="0.99"), "not-a-number", "present"),
    ("positive class", METRICS, lambda f: edit_json(f, positive="malignant"), "positive-class", "present"),
    ("other data set", METRICS, lambda f: edit_json(f, dataset="pneumoniamnist"), "wrong-dataset", "present"),
    ("one seed too many", METRICS, lambda f: edit_json(f, seeds=[0, 1, 2, 3]), "seeds-mismatch", "present"),
    ("one wrong index", PREDICTIONS, lambda f: edit_text(f, "0,7,", "0,999,"), "predictions-wrong-split", "present"),
    ("another split", PREDICTIONS, drop_images, "predictions-wrong-split", "present"),
    ("shuffled labels", PREDICTIONS, lambda f: edit_text(f, "seed,index,y_true,p", "seed,index,p,y_true"),
     "predictions-unreadable", "unreadable"),
    ("no predictions", PREDICTIONS, Path.unlink, "not-recomputable", "missing"),
    ("csv of one column", PREDICTIONS, lambda f: f.write_text("p\n0.5\n"), "predictions-unreadable", "unreadable"),
    ("unwritten readme", README, lambda f: f.write_text("# Week 1\n## What I ran\n> ask\n<!-- mine -->\n"),
     "readme-unfilled", "present"),
    ("case", FIGURE, lambda f: f.rename(f.with_name("Reliability.png")), "renamed", "renamed"),
    ("alias", README, lambda f: f.rename(f.with_name("README.md")), "renamed", "renamed"),
    ("phantom", "run.json", lambda f: edit_json(f, phantom=True), "phantom", "present"),
    ("wrong spread", METRICS, edit(lambda m: m["std"].update(auroc=0.3)), "metric-mismatch", "present"),
    ("wrong recall", METRICS, edit(lambda m: m["per_seed"][1]["per_class"]["malignant"].update(recall=0.99)),
     "metric-mismatch", "present"),
    ("wrong ece of equal mass", METRICS, edit(lambda m: m["per_seed"][2]["calibration"].update(ece_positive_mass=0.5)),
     "metric-mismatch", "present"),
    ("wrong ece less noise", METRICS, edit(lambda m: m["per_seed"][2]["calibration"].update(ece_positive_debiased=0.5)),
     "metric-mismatch", "present"),
    ("interval elsewhere", METRICS, edit(lambda m: m["per_seed"][0]["ci95"].update(auroc=[0.1, 0.2])), "interval",
     "present"),
    ("interval of text", METRICS, edit(lambda m: m["per_seed"][0]["ci95"].update(auroc="wide")), "interval", "present"),
    ("a block by its number", METRICS, edit(lambda m: m.update(per_seed={"0": {}})), "per-seed", "present"),
    ("blocks that are numbers", METRICS, edit(lambda m: m.update(per_seed=[0.7, 0.8, 0.9])), "per-seed", "present"),
    ("a block without auroc", METRICS, edit(lambda m: m["per_seed"][1].pop("auroc")), "per-seed", "present"),
    ("a block of another seed", METRICS, edit(lambda m: m["per_seed"][1].update(seed=9)), "seeds-mismatch", "present"),
    ("classes swapped", METRICS, edit(lambda m: m["per_seed"][1]["classes"].reverse()), "positive-class", "present"),
    ("a block's positive class", METRICS, edit(lambda m: m["per_seed"][1].update(positive="malignant")),
     "positive-class", "present"),
    ("another source", METRICS, lambda f: edit_json(f, predictions="mine.csv"), "wrong-source", "present"),
    ("run without seeds", "run.json", lambda f: edit_json(f, seeds=None), "run-mismatch", "present"),
    ("run without a hash", "run.json", lambda f: edit_json(f, split_hash=None), "run-mismatch", "present"),
    ("split val", METRICS, edit(lambda m: m.update(split="val")), "wrong-split", "present"),
    ("run of somebody else", "run.json", edit(lambda m: m.update(name="bo")), "run-mismatch", "present"),
    ("run of another week", "run.json", edit(lambda m: m.update(week=2)), "run-mismatch", "present"),
    ("run on other data", "run.json", lambda f: edit_json(f, dataset="pneumoniamnist"), "wrong-dataset", "present"),
    ("run of other seeds", "run.json", edit(lambda m: m.update(seeds=[0, 1])), "run-mismatch", "present"),
    ("run on other images", "run.json", edit(lambda m: m.update(split_hash="1234")), "run-mismatch", "present"),
    ("old contract", "run.json", lambda f: edit_json(f, contract_version="2019.1"), "contract-version", "present"),
]


@pytest.mark.parametrize(("fault", "file", "break_it", "code", "slot"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_each_fault_is_found_and_the_others_stay_graded(tree, fault, file, break_it, code, slot):
    break_it(tree / WEEK1 / "ada" / file)
    report = grade(tree)
    ada = of(report)
    hits = [f for f in ada["findings"] if f["code"].startswith(code)]
    assert hits, codes(ada)
    assert all(f["message"] and f["fix"] and f["where"].startswith(f"{WEEK1}/ada") for f in ada["findings"])
    assert "checker-error" not in codes(ada)
    assert status(ada, file) == slot
    if slot in ("missing", "empty", "unreadable"):
        assert ada["score"] == round(100 * 5 / 6, 1)  # five of six required files are left
    assert of(report, "bo")["findings"] == [] and of(report, "bo", 2)["findings"] == []
    json.dumps(report.as_dict(), allow_nan=False)
    assert report.summary()


def shape_csv(shape):
    """A fault: every row (seed, index, y, p as text) of the CSV becomes shape(*row)."""
    def do(path: Path):
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([head, *(",".join(map(str, shape(*row.split(",")))) for row in rows)]))

    return do


CAUSES = [  # (cause, file, what is done to it, the only error, what its message says)
    ("nan in the csv", "predictions_test.csv",
     shape_csv(lambda s, i, y, p: (s, i, y, "nan" if (s, i) == ("0", "4") else p)),
     "predictions-range", "row 6 (seed 0, index 4): p = nan"),
    ("label 2", "predictions_test.csv", shape_csv(lambda s, i, y, p: (s, i, 2 if (s, i) == ("1", "0") else y, p)),
     "predictions-range", "row 158 (seed 1, index 0): y_true = 2"),
    ("hard labels", "predictions_test.csv", shape_csv(lambda s, i, y, p: (s, i, y, round(float(p)))),
     "predictions-hard", "p is 0 or 1 everywhere"),
    ("classes swapped", "predictions_test.csv", shape_csv(lambda s, i, y, p: (s, i, 1 - int(y), 1 - float(p))),
     "predictions-wrong-split", "these are the official counts exchanged: class 0 and class 1 look swapped. "
                                "Label 0 is malignant"),
    ("no predictions", "predictions_test.csv", Path.unlink, "not-recomputable",
     "There is no predictions_test.csv (every metric is recomputed from it)"),
    ("nan in the json", "test_metrics.json", edit(lambda m: m.update(ece=float("nan"), auroc=float("nan"))), "json-nan",
     "test_metrics.json holds NaN (auroc, ece)"),
    ("text for a number", "test_metrics.json", edit(lambda m: m.update(accuracy="0.9")), "not-a-number", "accuracy"),
    ("wrong n", "test_metrics.json", edit(lambda m: m.update(n=150)), "wrong-n", "n = 150"),
    ("a seed too many", "test_metrics.json", edit(lambda m: m["seeds"].append(3)), "seeds-mismatch", "4 seeds but 3"),
    ("no image", "reliability.png", lambda f: f.write_text("hello"), "image-broken",
     "reliability.png is no image at all (it begins with 'hello')"),
    ("run of somebody else", "run.json", edit(lambda m: m.update(name="bo")), "run-mismatch",
     "says that it was made by 'bo', but it lies in the folder of 'ada'"),
]


@pytest.mark.parametrize(("cause", "file", "break_it", "code", "says"), CAUSES, ids=[cause[0] for cause in CAUSES])
def test_one_cause_is_one_error_and_it_is_named(tree, cause, file, break_it, code, says):
    break_it(tree / WEEK1 / "ada" / file)
    ada = of(grade(tree))
    (error,) = [f for f in ada["findings"] if f["severity"] == "error"]
    assert error["code"] == code and says in error["message"], error
    notes = [f["message"] for f in ada["findings"] if f["severity"] != "error"]
    flawed = code.startswith("predictions")
    assert notes == (["test_metrics.json was not checked: see predictions_test.csv"] if flawed else [])
    assert "run week 1's notebook again (Colab), or: medssl run week01" in error["fix"] or code in (
        "json-nan", "image-broken")


def test_a_lie_beside_another_error_is_still_found(tree):
    edit_json(tree / WEEK1 / "ada" / METRICS, accuracy=0.99, ece=float("nan"))
    assert {"json-nan", "metric-mismatch"} == codes(of(grade(tree)))


def test_a_broken_image_is_described_without_the_checkers_insides(tree):
    figure = tree / WEEK1 / "ada" / FIGURE
    figure.write_bytes(figure.read_bytes()[:20])
    (found,) = of(grade(tree))["findings"]
    assert "no whole PNG" in found["message"] and "BytesIO" not in found["message"]
