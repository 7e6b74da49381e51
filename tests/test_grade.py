"""The checker: a whole submission gets no finding, each injected fault its own, and nothing handed in can hurt it."""

import json
import os
import shutil
import socket
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medssl.course.checker import reading as reading_module
from medssl.course.checker.files import slots as slots_module
from medssl.course.checker.grade import grade
from medssl.course.checker.parse.handed_in import Problem, read_bytes
from medssl.course.checker.parse.recompute import look_up, metrics_of, tolerance
from medssl.course.contract import load_contract
from medssl.course.submission import Submission
from medssl.errors import MedsslError
from medssl.evaluate import evaluate

WEEK1 = "results/week1/breastmnist"


def hand_in(root: Path, week: int = 1, name: str = "ada", dataset: str = "breastmnist", seeds=(0, 1, 2)) -> Path:
    """A whole, honest submission as a notebook would write it, with the student's own words filled in."""
    facts = load_contract().datasets[dataset]
    work = Submission(week, dataset, name, root=root, backbone="imagenet")
    work.split_hash = facts.split_hash or "abcd"  # as if data= had been given
    rng = np.random.default_rng([week, *name.encode()])  # nobody has another's scores
    for slot in work.week.files:
        for seed in seeds if slot.kind == "predictions" else ():
            split = "val" if "_val" in slot.path else "test"
            y = np.array(facts.labels_of(split) or rng.permutation(np.repeat([0, 1], facts.counts[split])))
            p = 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(0, 1.3, len(y)))))
            work.predictions(slot.path, seed=seed, index=np.arange(len(y)), y=y, p=p.astype(np.float32))
    figure = Figure(figsize=(3, 2))
    title = figure.subplots().set_title("")
    for slot in work.week.files:
        if slot.kind == "metrics":
            runs = [{"seed": seed, **evaluate(y, p, facts.classes, n_boot=100)}
                    for seed, (_, y, p) in work._predictions[slot.predictions].items()]
            work.metrics(slot.path, runs, model="resnet18", config={}, selected_on="val")
        elif slot.kind == "figure":
            title.set_text(slot.path)
            work.figure(slot.path, figure, dpi=50)
    work.finish(params={"EPOCHS": 5})
    readme = work.path(f"README_week{week}.md")
    readme.write_text(readme.read_text().replace("\n> ", "\nMy own words on: "))
    return work.folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Two people, two weeks, nothing wrong."""
    root = tmp_path_factory.mktemp("whole")
    for name in ("ada", "bo"):
        hand_in(root, 1, name)
    hand_in(root, 2, "bo")
    return root


@pytest.fixture
def tree(whole, tmp_path) -> Path:
    """A copy of it to break."""
    shutil.copytree(whole, tmp_path / "course")
    return tmp_path / "course"


def of(report, name: str = "ada", week: int = 1) -> dict:
    return next(s for s in report.submissions if s["name"] == name and s["week"] == week)


def codes(submission: dict) -> set[str]:
    return {f["code"] for f in submission["findings"]}


def status(submission: dict, file: str) -> str:
    return next(slot["status"] for slot in submission["slots"] if slot["file"] == file)


def test_a_whole_submission_has_no_finding_and_its_numbers_are_recomputed(whole):
    report = grade(whole / "results")
    assert [(s["week"], s["name"]) for s in report.submissions] == [(1, "ada"), (1, "bo"), (2, "bo")]
    assert not report.findings
    for s in report.submissions:
        assert (s["findings"], s["score"], s["phantom"], s["backbone"]) == ([], 100.0, False, "imagenet")
        assert {slot["status"] for slot in s["slots"]} <= {"present", "missing"}
    rows = of(report)["metrics"]
    assert {row["seed"] for row in rows} == {0, 1, 2, "mean", "std"} and all(row["agrees"] for row in rows)
    assert {"accuracy", "balanced_accuracy", "auroc", "auprc", "f1", "ece", "ece_positive", "nll", "brier", "n"} <= {
        row["metric"] for row in rows if row["seed"] == "mean"}


def test_the_second_opinion_agrees_with_evaluate():
    rng = np.random.default_rng(0)
    for digits in (1, 2, 9):  # few digits: many ties, many p on the edge of a bin
        y, p = rng.integers(0, 2, 200), rng.random(200).round(digits)
        theirs = evaluate(y, p, ("a", "b"), threshold=0.4, n_boot=0)
        ours = metrics_of(y, p, 0.4, ("a", "b"))
        assert {"per_class.a.recall", "calibration.ece_positive_mass"} < ours.keys()
        for metric, value in ours.items():
            assert np.allclose(value, look_up(theirs, metric), atol=1e-12), metric


def test_nine_digits_in_the_csv_accuse_nobody_who_is_very_sure():
    """Near 1 the CSV makes different p equal: honest numbers, from the unrounded p, must stay inside the tolerance."""
    rng, moved = np.random.default_rng(1), dict.fromkeys(("auroc", "auprc", "nll"), 0)
    for _ in range(200):
        y = (rng.random(156) < 0.7).astype(int)
        p = 1 / (1 + np.exp(-rng.normal(10, 15, 156) * (2 * y - 1)))
        written = np.array([float(f"{value:.9g}") for value in p])
        honest, ours = metrics_of(y, p), metrics_of(y, written)
        for metric in honest:
            gap = 0 if metric == "confusion" else abs(honest[metric] - ours[metric])
            if metric in moved:
                moved[metric] += gap > 1e-4
            assert gap <= tolerance(honest[metric], metric, y, written) + 1e-12, metric
    assert all(moved.values()), moved  # or this test tests nothing


def edit_json(path: Path, **changes):
    block = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in (block | changes).items() if value is not ...}))


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


METRICS, PREDICTIONS, FIGURE, README = "test_metrics.json", "predictions_test.csv", "reliability.png", "README_week1.md"
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


def test_a_single_seed_gets_a_note(tmp_path):
    hand_in(tmp_path, seeds=(0,))
    (found,) = of(grade(tmp_path))["findings"]
    assert (found["code"], found["severity"]) == ("one-seed", "note") and "about the spread" in found["message"]


def test_a_wrong_seed_is_named_while_a_rounded_number_is_fine(tree):
    path = tree / WEEK1 / "ada" / METRICS
    block = json.loads(path.read_text())
    block["auroc"] = round(block["auroc"], 3)
    path.write_text(json.dumps(block))
    assert of(grade(tree))["findings"] == []
    block["per_seed"][1]["brier"] += 0.0005
    path.write_text(json.dumps(block))
    (found,) = of(grade(tree))["findings"]
    assert found["code"] == "metric-mismatch" and "brier" in found["message"] and "seed 1" in found["message"]


def test_nothing_outside_is_read_and_no_pipe_is_waited_for(tree, tmp_path):
    """Links, pipes and sockets, as files and as folders: reported, never opened, and no time is lost."""
    secret, ada = tmp_path / "secret.json", tree / WEEK1 / "ada"
    secret.write_text('{"SECRET": 1}')
    for file in (METRICS, FIGURE, README, PREDICTIONS):
        (ada / file).unlink()
    (ada / METRICS).symlink_to(secret)
    os.mkfifo(ada / FIGURE)
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.getcwd()
        os.chdir(ada)
        unix.bind(README)
        os.chdir(here)
    (ada / "more").symlink_to("/etc")
    (tree / WEEK1 / "eve").symlink_to("/etc")
    (tree / "results" / "week3").symlink_to(tree / "results" / "week1")
    answers = []

    def work():
        for late in (ada / METRICS, ada / FIGURE):  # had they been swapped in after the listing
            with pytest.raises(Problem):
                read_bytes(late)
        answers.append(grade(tree))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(20)
    assert answers, "the checker waits for a pipe"
    report = answers[0]
    assert [s["name"] for s in report.submissions] == ["ada", "bo", "bo"]
    assert {status(of(report), file) for file in (METRICS, FIGURE, README)} == {"unreadable"}
    assert [f["code"] for f in of(report)["findings"]].count("link") == 2  # the file and the folder "more"
    assert [f["where"] for f in report.findings] == [f"{WEEK1}/eve", "results/week3"]
    assert "SECRET" not in json.dumps(report.as_dict()) and "passwd" not in json.dumps(report.as_dict())


def test_a_crash_of_the_checker_costs_only_the_file_it_broke_on(tree, monkeypatch):
    real = reading_module.check_content

    def broken(slot, file, raw, context):
        if "ada" in context.rerun and file == METRICS:
            raise ZeroDivisionError("boo")
        return real(slot, file, raw, context)

    monkeypatch.setattr(reading_module, "check_content", broken)
    report = grade(tree)
    (found,) = [f for f in of(report)["findings"] if f["severity"] == "error"]
    assert found["code"] == "checker-error" and "ZeroDivisionError" in found["message"] and METRICS in found["where"]
    monkeypatch.setattr(slots_module, "told_by", lambda slot, vocabulary: 1 / ("ada" not in vocabulary.noise))
    report = grade(tree)
    assert codes(of(report)) == {"checker-error"} and of(report)["score"] == 0


def test_a_phantom_hand_in_is_sent_to_the_real_images_and_keeps_its_name(tmp_path):
    hand_in(tmp_path, name="phantomias", dataset="breastphantom")
    (found,) = of(grade(tmp_path), "phantomias")["findings"]
    assert (found["code"], found["fix"]) == ("phantom", "run week 1's notebook again (Colab), or: "
                                             "medssl run week01 --dataset breastmnist --name phantomias")


def test_misspelt_folders_are_read_and_loose_files_are_named(tree):
    (tree / "results/week1").rename(tree / "results/Week_01")
    (tree / "results/Week_01/breastmnist").rename(tree / "results/Week_01/Breasmnist")
    (tree / "results/Week_01/Breasmnist/ada").rename(tree / "results/Week_01/Breasmnist/A Da")
    (tree / "results/Week_01/loose.json").write_text("{}")
    report = grade(tree)
    ada = of(report)
    assert (ada["dataset"], ada["score"], codes(ada)) == ("breastmnist", 100.0, {"folder-spelling"})
    assert ada["findings"][0]["fix"] == (
        "mkdir -p results/week1/breastmnist && git mv 'results/Week_01/Breasmnist/A Da' results/week1/breastmnist/ada")
    assert {f["code"] for f in report.findings} == {"wrong-level"}


def test_a_left_out_data_set_is_one_finding_with_its_fix(tree):
    week = tree / "results/week2"
    (week / "breastmnist/bo").rename(week / "eva")
    files = sum(path.is_file() for path in (week / "eva").iterdir() if not path.name.lower().startswith("readme.md"))

    def left_out() -> dict:
        (found,) = [f for f in of(grade(tree), "eva", 2)["findings"] if f["code"] == "wrong-level"]
        return found

    assert left_out()["message"] == f"eva lies where a data set is expected ({files} files)"
    move = "mkdir -p results/week2/breastmnist && git mv results/week2/eva results/week2/breastmnist/eva"
    assert left_out()["fix"] == move
    edit_json(week / "eva/run.json", dataset="../../etc")  # the other files still say it
    assert left_out()["fix"] == move
    for path in (week / "eva").glob("*.json"):
        edit_json(path, dataset="../../etc")
    assert left_out()["fix"] == "with the data set's name: git mv results/week2/eva results/week2/<dataset>/eva"
    (week / "breastmnist/loose.csv").write_text("x")  # the data set is there, the person is not: the file is named
    assert [f["where"] for f in grade(tree).findings] == ["results/week2/breastmnist/loose.csv"]


def test_another_spelling_is_told_only_to_whom_it_splits(tree):
    (tree / WEEK1 / "ada").rename(tree / WEEK1 / "A_da")
    assert of(grade(tree))["findings"] == []
    (tree / WEEK1 / "bo").rename(tree / WEEK1 / "B-O")
    report = grade(tree)
    (found,) = of(report, "bo")["findings"]
    assert (found["code"], found["fix"]) == ("folder-spelling", f"git mv {WEEK1}/B-O {WEEK1}/bo")
    assert of(report, "bo", 2)["findings"] == [] and of(report)["findings"] == []


def test_the_placeholder_is_nobodys_name(tmp_path):
    hand_in(tmp_path, name="your_name")
    (found,) = of(grade(tmp_path), "yourname")["findings"]
    assert (found["code"], found["severity"]) == ("placeholder-name", "warning")


def test_an_extra_task_about_the_other_data_set_asks_for_no_second_core(tmp_path):
    work = Submission(5, "pneumoniamnist", "ada", tmp_path)
    work.table("pneumo_label_grid_P1.csv", "fraction,auroc\n0.05,0.7")
    work.task_readme("P1", "| a |\n| --- |\n| 1 |", {"DRAWS": 10})
    alone = of(grade(tmp_path), week=5)
    assert "missing" in codes(alone) and alone["score"] == 0 and alone["tasks"] == ["P1"]  # instead of a core
    Submission(5, "breastmnist", "bo", tmp_path).finish(params={})  # somebody else's core
    assert "missing" in codes(of(grade(tmp_path), week=5))
    Submission(5, "breastmnist", "ada", tmp_path).finish(params={})
    tasks, mine = sorted((s for s in grade(tmp_path).submissions if s["name"] == "ada"), key=lambda s: -len(s["tasks"]))
    assert codes(tasks) == {"only-tasks"} and "P1 alone" in tasks["findings"][0]["message"]
    assert tasks["extra_files"] == [] and "missing" in codes(mine) and 0 < tasks["score"] == mine["score"] < 50
    task = Submission(7, "pneumoniamnist", "ada", tmp_path)
    task.table("roc_operating_points_P4.md", "| rule | tpr |\n| --- | --- |\n| default | 0.9 |")  # week 7 has one, too
    task.task_readme("P4", "| a |\n| --- |\n| 1 |", {})
    Submission(7, "breastmnist", "ada", tmp_path).finish(params={})
    tasks = next(s for s in grade(tmp_path).submissions if s["week"] == 7 and s["tasks"])
    assert "only-tasks" in codes(tasks) and not codes(tasks) & {"missing", "core-missing", "renamed"}


def test_weeks_8_to_10_lie_in_reports_and_belong_to_one_person_or_to_the_group(tree):
    (tree / "reports/week8").mkdir(parents=True)
    (tree / "reports/week8/ada_ethics_limits.md").write_text("# Use\nNever for patients.")
    (tree / "results/week8/breastmnist/ada").mkdir(parents=True)
    (tree / "results/week8/breastmnist/ada/robustness_table.md").write_text("| a |\n|---|\n| 1 |")
    (tree / "reports/final_writeup/figures").mkdir(parents=True)
    (tree / "reports/final_writeup/figures/roc.png").write_bytes((tree / WEEK1 / "ada" / FIGURE).read_bytes())
    (tree / "reports/final_writeup/draft_v1.pdf").write_bytes(b"%PDF-1.7 cut")
    (tree / "results/week10").mkdir()
    (tree / "results/week10/.gitkeep").write_text("")
    report = grade(tree / "results")
    week8 = of(report, "ada", 8)
    assert (week8["dataset"], week8["score"]) == ("breastmnist", 100.0)
    assert status(week8, "{name}_ethics_limits.md") == "present"
    assert len([s for s in report.submissions if s["week"] == 8]) == 1
    draft = of(report, "group", 9)
    assert (status(draft, "figures/*.png"), status(draft, "draft_v1.pdf")) == ("present", "unreadable")
    assert draft["score"] == 50
    assert not [s for s in report.submissions if s["week"] == 10]  # an empty folder is no submission


def test_the_report_is_the_same_twice_whatever_the_number_of_jobs(tree):
    edit_json(tree / WEEK1 / "ada" / METRICS, accuracy=0.99)
    first, second = grade(tree).as_dict(), grade(tree, jobs=2).as_dict()
    assert first.pop("graded_at") and second.pop("graded_at")
    assert first == second


def test_an_empty_folder_and_a_wrong_one_are_met_with_a_friendly_word(tmp_path):
    (tmp_path / "results").mkdir()
    report = grade(tmp_path / "results")
    assert report.submissions == [] and "medssl run week01" in report.summary()
    with pytest.raises(MedsslError, match="There is no folder"):
        grade(tmp_path / "nowhere")
    mine = tmp_path / "results" / "week1" / "breastmnist" / "ada"
    mine.mkdir(parents=True)
    for part in (mine, mine.parent, mine.parent.parent):
        with pytest.raises(MedsslError, match=f"medssl grade {tmp_path}/results$"):
            grade(part)
    clone = tmp_path / "week1" / "clone"  # where somebody keeps the course is their own business
    (clone / "results" / "week1").mkdir(parents=True)
    (clone / "copies" / "Week_01").mkdir(parents=True)
    for whole in (clone, clone / "results", clone / "copies"):
        assert grade(whole).submissions == []


OWN = ("We trained the small network for five epochs with batches of 128. Our bug was a label of the wrong shape, "
       "which we squeezed. Accuracy is above the majority, and the calibration error is small for so few images.")


@pytest.mark.parametrize(("text", "flagged"), [
    (OWN, False),
    (f"# Week 1\n\n## Setup and results\n\n{OWN}\n", False),
    ("# Week 1\n\nIt worked.\n", True),
    ("# Week 1\n\n| accuracy | auroc |\n| --- | --- |\n" + "| one two three four five | 0.8 |\n" * 9, True),
    (f"## What I ran\n\n{OWN}\n\n## One bug I hit\n\n> What broke?\n\n## What the numbers say\n", True),
])
def test_a_readme_with_headings_of_its_own_is_as_good_if_it_says_something(tree, text, flagged):
    (tree / WEEK1 / "ada/README_week1.md").write_text(text)
    assert ("readme-unfilled" in codes(of(grade(tree)))) == flagged


def test_a_note_of_week_8_needs_words_too(tree):
    folder = tree / "reports/week8"
    folder.mkdir(parents=True)
    (folder / "ada_ethics_limits.md").write_text("# Week 8\n\n## Intended and non-intended use\n\n> What for?\n")
    assert "readme-unfilled" in codes(of(grade(tree), week=8))
