"""The checker: a whole submission gets no finding and its numbers are recomputed; nothing handed in can hurt it."""

import json
import os
import socket
import threading

import numpy as np
import pytest
from graded import FIGURE, METRICS, PREDICTIONS, README, WEEK1, codes, copy_to_break, edit_json, hand_in, of, status

from medssl.course.checker import reading as reading_module
from medssl.course.checker.files import slots as slots_module
from medssl.course.checker.grade import grade
from medssl.course.checker.parse.handed_in import Problem, read_bytes
from medssl.course.checker.parse.recompute import look_up, metrics_of, tolerance
from medssl.evaluate import evaluate


@pytest.fixture
def tree(tmp_path):
    """A whole hand-in of two people, to break."""
    return copy_to_break(tmp_path)


def test_a_whole_submission_has_no_finding_and_its_numbers_are_recomputed(tree):
    report = grade(tree / "results")
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


def test_the_report_is_the_same_twice_whatever_the_number_of_jobs(tree):
    edit_json(tree / WEEK1 / "ada" / METRICS, accuracy=0.99)
    first, second = grade(tree).as_dict(), grade(tree, jobs=2).as_dict()
    assert first.pop("graded_at") and second.pop("graded_at")
    assert first == second


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
