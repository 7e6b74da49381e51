"""Whose files lie where: every level and spelling that people have tried is read, and the way to mend it is said."""

import json
import time

import pytest

from medssl.course.checker.grade import grade
from medssl.course.checker.parse.spelling import apart, dataset_of, is_junk, same_folder
from medssl.course.contract import load_contract

NUMBERS = {"acc": 0.71, "auroc": 0.81, "ece": 0.1}


def put(root, *paths, holds=None):
    for path in paths:
        path = root / "results" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        ours = json.dumps(NUMBERS) if path.suffix == ".json" else "# Mine\nWords."
        path.write_text(ours if holds is None else holds)


def who(report) -> list[tuple]:
    return sorted((s["week"], s["dataset"], s["name"], sum(slot["found"] is not None for slot in s["slots"]))
                  for s in report.submissions)


def fixes(report, code: str) -> list[str]:
    every = [*report.findings, *(f for s in report.submissions for f in s["findings"])]
    return sorted(f["fix"] for f in every if f["code"] == code)


PLACES = [  # (files, (week, data set, name, filled slots), the way to mend it)
    ("week6/breasmnist/eva/README_week6_core.md", (6, "breastmnist", "eva", 1),
     "mkdir -p results/week6/breastmnist && git mv results/week6/breasmnist/eva results/week6/breastmnist/eva"),
    ("Week6/Breastmnist/eva/README_week6_core.md", (6, "breastmnist", "eva", 1),
     "mkdir -p results/week6/breastmnist && git mv results/Week6/Breastmnist/eva results/week6/breastmnist/eva"),
    ("wek6/breastmnist/eva/README_week6_core.md", (6, "breastmnist", "eva", 1),
     "mkdir -p results/week6/breastmnist && git mv results/wek6/breastmnist/eva results/week6/breastmnist/eva"),
    ("week 6/brest/eva/README_week6_core.md", (6, "breastmnist", "eva", 1),
     "mkdir -p results/week6/breastmnist && git mv 'results/week 6/brest/eva' results/week6/breastmnist/eva"),
    ("week1/eva/metrics_pneumoniamnist.json", (1, "pneumoniamnist", "eva", 1),
     "mkdir -p results/week1/pneumoniamnist && git mv results/week1/eva results/week1/pneumoniamnist/eva"),
    ("week1/eva/breastmnist/test_metrics.json", (1, "breastmnist", "eva", 1),
     "mkdir -p results/week1/breastmnist && git mv results/week1/eva/breastmnist results/week1/breastmnist/eva"),
    ("week1/breastmnist/eva/submission/test_metrics.json", (1, "breastmnist", "eva", 1),
     "git mv results/week1/breastmnist/eva/submission/* results/week1/breastmnist/eva/"),
    ("week2/breastmnist/eva/results/week2/breastmnist/eva/metrics_smallcnn.json", (2, "breastmnist", "eva", 1),
     "git mv results/week2/breastmnist/eva/results/week2/breastmnist/eva/* results/week2/breastmnist/eva/"),
]


@pytest.mark.parametrize(("file", "wanted", "fix"), PLACES, ids=[place[0] for place in PLACES])
def test_folders_are_read_as_they_are_meant(file, wanted, fix, tmp_path):
    put(tmp_path, file)
    report = grade(tmp_path)
    assert who(report) == [wanted]
    assert fix in fixes(report, "folder-spelling") + fixes(report, "wrong-level")


def test_a_left_out_data_set_is_taken_from_the_other_weeks_or_left_open(tmp_path):
    put(tmp_path, "week1/eva/test_metrics.json", "week1/bo/test_metrics.json", "week2/breastmnist/eva/README_week2.md")
    report = grade(tmp_path)
    assert who(report) == [(1, "", "bo", 1), (1, "breastmnist", "eva", 1), (2, "breastmnist", "eva", 1)]
    fix = "with the data set's name: git mv results/week1/bo results/week1/<dataset>/bo"
    assert fix in fixes(report, "wrong-level")


def test_files_beside_folders_go_to_the_only_one_whose_they_can_be(tmp_path):
    put(tmp_path, "week3/breasmnist/eva/README_week3.md", "week3/breasmnist/feedback.md",
        "week5/pneumoniamnist/eva/README_week5_core.md", "week5/pneumoniamnist/bo/README_week5_core.md",
        "week5/pneumoniamnist/probe_5pct_Eva.json", "week5/pneumoniamnist/B2_probe_results.json", "week5/loose.png")
    report = grade(tmp_path)
    assert who(report) == [(3, "breastmnist", "eva", 1), (5, "pneumoniamnist", "bo", 1),
                           (5, "pneumoniamnist", "eva", 2)]
    assert fixes(report, "wrong-level") == [
        "git mv results/week3/breasmnist/feedback.md results/week3/breasmnist/eva/",
        "git mv results/week5/pneumoniamnist/probe_5pct_Eva.json results/week5/pneumoniamnist/eva/",
        "into the folder of its owner: git mv results/week5/loose.png results/weekN/<dataset>/<name>/",
        "into the folder of its owner: git mv results/week5/pneumoniamnist/B2_probe_results.json "
        "results/weekN/<dataset>/<name>/"]


def test_one_person_has_one_name_and_nearly_equal_names_are_only_noted(tmp_path):
    put(tmp_path, "week1/breastmnist/First_Last/test_metrics.json", "week2/breastmnist/first_last/README_week2.md",
        "week3/breastmnist/FirstLast/README_week3.md", "week4/breastmnist/Last_First/README_week4.md",
        "week5/breastmnist/firstlasd/README_week5_core.md")
    report = grade(tmp_path)
    assert [name for _, _, name, _ in who(report)] == ["firstlast"] * 3 + ["lastfirst", "firstlasd"]
    assert fixes(report, "same-person") == [
        "if so: git mv results/week4/breastmnist/Last_First results/week4/breastmnist/firstlast",
        "if so: git mv results/week5/breastmnist/firstlasd results/week5/breastmnist/firstlast"]


ODD = [  # (week, file, what it holds, code, words of its message)
    (2, "README_week3.md", "# Week 3\nMine.", "other-week", "says week 3 but lies in week 2"),
    (2, "feedbank.md", "Good.", "renamed", "misspelt"),
    (2, "~$notes.docx", "x", "junk", "by a program"),
    (2, "Colab (1).ipynb", "import torch", "notebook-broken", "no notebook"),
    (2, "cells.ipynb", '{"cells": 3, "nbformat": 4}', "notebook-broken", "no notebook"),
    (4, "ssl_encoder.txt", "https://drive.google.com/x", "weights-link", "personal cloud link"),
    (4, "ssl_encoder.pt", "version https://git-lfs.github.com/spec/v1", "weights-pointer", "LFS"),
    (5, "tsne_B2.md", "# t-SNE", "task-dataset", "one of breastmnist"),
    (5, "README_week5_P1.md", "# P1: temperature scaling", "task-meaning", "task P2"),
    (5, "P2_temperature.csv", "T,ece", "core-missing", "core 0/5"),
]


@pytest.mark.parametrize(("week", "file", "holds", "code", "says"), ODD, ids=[odd[1] for odd in ODD])
def test_odd_files_are_named(week, file, holds, code, says, tmp_path):
    put(tmp_path, f"week{week}/pneumoniamnist/eva/{file}", holds=holds)
    (found,) = [f for f in grade(tmp_path).submissions[0]["findings"] if f["code"] == code]
    assert says in found["message"] and found["fix"]
    assert not file.endswith("feedbank.md") or found["fix"].endswith("eva/feedback.md")


FINE = [
    (2, "week2.ipynb", '{"cells": [], "nbformat": 4, "metadata": {}}'),
    (4, "ssl_encoder.txt", "https://zenodo.org/x sha256 " + "ab" * 32),
    (5, "README_week5_P1.md", "# P1: label fractions after temperature scaling"),
    (5, "README_week5_B2.md", "# t-SNE of BreastMNIST, beside our chest images"),
    (7, "P4_notes.md", "# Missing pneumonia"),
]


@pytest.mark.parametrize(("week", "file", "holds"), FINE, ids=[fine[1] for fine in FINE])
def test_files_that_only_look_odd_are_left_alone(week, file, holds, tmp_path):
    put(tmp_path, f"week{week}/pneumoniamnist/eva/{file}", holds=holds)
    codes = {f["code"] for f in grade(tmp_path).submissions[0]["findings"]}
    assert not codes & {"notebook-broken", "weights-link", "weights-broken", "task-meaning", "task-dataset"}


def test_files_of_another_week_and_copies_are_seen(tmp_path):
    put(tmp_path, "week5/breastmnist/eva/metrics_ssl_probe.json")
    put(tmp_path, "week5/breastmnist/eva/metrics_ssl_finetune.json", holds='{"acc": 0.5, "auroc": 0.6}')
    put(tmp_path, "week1/breastmnist/eva/test_metrics.json", "week1/breastmnist/eva/untitled.json")
    report = grade(tmp_path)
    assert fixes(report, "other-week") == ["move them into the folder of week 6"]
    assert fixes(report, "duplicate") == ["git rm results/week1/breastmnist/eva/untitled.json"]


def test_a_screenshot_stands_for_the_environment_but_is_said_to_be_one(tmp_path):
    from PIL import Image
    put(tmp_path, "week2/breastmnist/eva/README_week2.md")
    Image.new("L", (8, 8)).save(tmp_path / "results/week2/breastmnist/eva/Screenshot 2024-11-02 at 10.14.png")
    (submission,) = grade(tmp_path).submissions
    env = next(slot for slot in submission["slots"] if slot["file"] == "env.json")
    assert env["status"] == "renamed" and "screenshot" in {f["code"] for f in submission["findings"]}


def test_the_ethics_page_is_found_under_other_names(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "reports/week8/bo").mkdir(parents=True)
    for file in ("Eva_Lovelace_ethics.md", "ethics_limits_adahopper.md", "bo/ethics-and-limits.md"):
        (tmp_path / "reports/week8" / file).write_text("# Use\nNever for patients.")
    assert who(grade(tmp_path)) == [(8, "", name, 1) for name in ("adahopper", "bo", "evalovelace")]


def test_two_thousand_files_are_walked_in_a_moment(tmp_path):
    folder = tmp_path / "results/week2/breastmnist/eva"
    folder.mkdir(parents=True)
    for k in range(2500):
        (folder / f"cm_{k}_metrics_restnet_{k:x}.json").write_text("{}")
    begin = time.process_time()
    report = grade(tmp_path)
    assert time.process_time() - begin < 5
    assert "too-many-files" in {f["code"] for f in report.findings}


def test_letters_apart():
    assert [apart("resnet", other) for other in ("resnet", "restnet", "rsenet", "rent", "densenet")] == [0, 1, 1, 2, 3]
    assert apart("a" * 10**6, "b" * 10**6) == 3 and apart("", "abc") == 3


def test_what_a_folder_may_mean():
    contract = load_contract()
    for typed in ("breasmnist", "Breastmnist", "Breast-MNIST", "pnuemoniamnist", "pneumo", "BREAST"):
        assert dataset_of(typed, contract), typed
    for typed in ("chestmnist", "retinamnist", "eva", "octmnist", "b", ""):
        assert not dataset_of(typed, contract), typed
    for typed in ("Week_01", "wek1", "week 1", "W1", "weeek1"):
        assert same_folder(typed, "week1"), typed
    for typed in ("week2", "week11", "week10", "work1", "week", "1"):
        assert not same_folder(typed, "week1"), typed
    assert is_junk("a/.DS_Store") and is_junk("~$x.docx") and is_junk("__MACOSX/x.png") and not is_junk("a/x.png")
