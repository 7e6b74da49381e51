"""Equal numbers: excused where the same was run, a question or an error where different models cannot agree."""

import json
import shutil

import numpy as np
import pytest
from hand_ins import CLASSES, scores

from medssl.course import Submission
from medssl.course.checker.grade import grade
from medssl.course.checker.people.compared import differ, subject
from medssl.evaluate import evaluate

SEEDS = (0, 1)
OURS = {"seed-without-effect", "same-predictions", "copied-numbers", "same-as-another", "reference-predictions",
        "another-reference", "scores-of-no-week", "probes-apart", "dataset-changed", "checker-error"}


def hand_in(root, week, name, files, *, config=None, params=None, seeds=SEEDS):
    """files: {metrics file: whose scores}: a whole number decides them, with the seed."""
    work = Submission(week, "breastmnist", name, root, backbone="imagenet")
    work.split_hash = "8b839f75e94b043b"
    for file, who in files.items():
        csv = work.contract.week(week).slot(file).predictions
        results = []
        for seed in seeds:
            index, y, p = scores(1000 * who + seed)
            work.predictions(csv, seed=seed, index=index, y=y, p=p)
            results.append(evaluate(y, p, CLASSES, n_boot=0))
        more = {"label_fraction": 0.1, "n_train": 55} if "ssl" in file or "probe" in file else {}
        more |= {"selected_on": "val"} if "reference" in file else {}
        model = file.removeprefix("metrics_").removesuffix(".json")
        work.metrics(file, results, model=model, config=config or {}, **more)
    work.finish(params=params or {})
    return work


def found(root, name=None) -> list[tuple]:
    return sorted((s["name"], f["code"], f["where"].rpartition("/")[2]) for s in grade(root).submissions
                  for f in s["findings"] if f["code"] in OURS and name in (None, s["name"]))


def test_thirty_honest_copies_of_one_seed_get_nothing(tmp_path):
    """Same starter, same seed, same settings; machines, times, draws and numbers of seeds may differ."""
    first = hand_in(tmp_path, 2, "p0", {"metrics_smallcnn.json": 1, "metrics_resnet18_head.json": 2},
                    config={"lr": 0.001, "device": "cpu"}, params={"EPOCHS": 5})
    for k in range(1, 30):
        folder = first.folder.with_name(f"p{k}")
        shutil.copytree(first.folder, folder)
        run = json.loads((folder / "run.json").read_text())
        run |= {"name": f"p{k}", "finished": f"2026-01-{k:02}", "hardware": {"device": f"GPU {k}"},
                "parameters": {"EPOCHS": 5 + k % 2, "SEEDS": k, "NAME": f"p{k}"}}
        (folder / "run.json").write_text(json.dumps(run))
    assert found(tmp_path) == []


@pytest.mark.parametrize(("theirs", "params"), [({"lr": 0.01}, {}), ({"lr": 0.001}, {"WEIGHTS": "imagenet"})])
def test_the_same_predictions_from_other_settings_are_a_question_to_both(tmp_path, theirs, params):
    files = {"metrics_smallcnn.json": 1, "metrics_resnet18_head.json": 2}
    hand_in(tmp_path, 2, "ada", files, config={"lr": 0.001}, params={"WEIGHTS": "none"})
    hand_in(tmp_path, 2, "bo", files, config=theirs, params=params or {"WEIGHTS": "none"})
    hand_in(tmp_path, 2, "cy", {"metrics_smallcnn.json": 3, "metrics_resnet18_head.json": 4}, config={"lr": 0.1})
    files = ("predictions_resnet18_head_test.csv", "predictions_smallcnn_test.csv")
    assert found(tmp_path) == [(name, "same-as-another", file) for name in ("ada", "bo") for file in files]
    said = [f for s in grade(tmp_path).submissions for f in s["findings"] if f["code"] == "same-as-another"]
    assert all(f["severity"] == "warning" and "?" in f["message"] for f in said)


def test_all_weeks_of_honest_people_who_share_a_starter_get_nothing(tmp_path):
    """Week 6 repeats week 5's probe and week 3 a model of week 2: under other words, and other settings beside it."""
    for name in ("ada", "bo", "cy"):
        hand_in(tmp_path, 1, name, {"test_metrics.json": 1})
        hand_in(tmp_path, 2, name, {"metrics_resnet18_head.json": 2}, config={"lr": 0.001, "epochs": 5})
        hand_in(tmp_path, 3, name, {"metrics_resnet18_head.json": 2, "metrics_resnet18_all_augA.json": 4,
                                    "reference_supervised.json": 4}, config={"lr": 0.001, "epochs": 30})
        five = hand_in(tmp_path, 5, name, {"probe_metrics_10pct.json": 5})
        six = hand_in(tmp_path, 6, name, {"metrics_supervised_baseline.json": 4, "metrics_ssl_probe.json": 5,
                                          "metrics_ssl_finetune.json": 6}, params={"STEPS": 300})
        for work, file, model in ((five, "probe_metrics_10pct.json", f"ssl probe 10pct {name}"),
                                  (six, "metrics_ssl_probe.json", "SSL probe, 10% of the labels")):
            block = json.loads(work.path(file).read_text()) | {"model": model}
            work.path(file).write_text(json.dumps(block))
    assert found(tmp_path) == []


def test_a_copy_inside_ones_own_folder_accuses_nobody_else(tmp_path):
    honest = {"metrics_smallcnn.json": 1, "metrics_resnet18_head.json": 2}
    for name in ("ada", "bo"):
        hand_in(tmp_path, 2, name, honest)
    hand_in(tmp_path, 2, "cy", {"metrics_smallcnn.json": 1, "metrics_resnet18_head.json": 1})
    assert found(tmp_path) == [("cy", "same-predictions", "predictions_resnet18_head_test.csv")]
    (tmp_path / "results/week2/breastmnist/cy/predictions_smallcnn_test.csv").unlink()
    assert {who for who, *_ in found(tmp_path)} == {"ada", "bo", "cy"}  # now a question: nothing explains it


def test_predictions_that_are_not_those_of_their_metrics_accuse_nobody_else(tmp_path):
    hand_in(tmp_path, 2, "ada", {"metrics_smallcnn.json": 1})
    work = hand_in(tmp_path, 2, "bo", {"metrics_resnet18_head.json": 2})
    theirs = tmp_path / "results/week2/breastmnist/ada/predictions_smallcnn_test.csv"
    shutil.copy(theirs, work.path("predictions_resnet18_head_test.csv"))
    assert found(tmp_path) == []
    assert [s["name"] for s in grade(tmp_path).submissions
            if any(f["code"] == "metric-mismatch" for f in s["findings"])] == ["bo"]


def test_one_person_under_both_orders_of_the_name(tmp_path):
    """Nothing is asked of two people, and numbers are compared as one person's."""
    hand_in(tmp_path, 2, "katherinejohnson", {"metrics_smallcnn.json": 1})
    hand_in(tmp_path, 3, "johnsonkatherine", {"metrics_resnet18_all_basic.json": 1})
    assert found(tmp_path) == [("johnsonkatherine", "same-predictions", "predictions_resnet18_all_basic_test.csv")]
    assert [f["fix"] for s in grade(tmp_path).submissions for f in s["findings"] if f["code"] == "same-person"] or [
        f for f in grade(tmp_path).findings if f["code"] == "same-person"]


def test_another_model_of_another_person_with_the_same_predictions_is_asked_about(tmp_path):
    hand_in(tmp_path, 2, "ada", {"metrics_smallcnn.json": 1})
    hand_in(tmp_path, 2, "bo", {"metrics_resnet18_head.json": 1})
    assert {one[:2] for one in found(tmp_path)} == {("ada", "same-as-another"), ("bo", "same-as-another")}


def test_two_models_of_one_person_never_agree_in_every_digit(tmp_path):
    hand_in(tmp_path, 2, "ada", {"metrics_smallcnn.json": 1, "metrics_resnet18_head.json": 1})
    assert found(tmp_path) == [("ada", "same-predictions", "predictions_resnet18_head_test.csv")]


def test_a_model_that_a_later_week_repeats_is_no_copy(tmp_path):
    """Week 3's head is week 2's, its reference one of its models, and weeks 5 to 7 go on with them."""
    hand_in(tmp_path, 1, "ada", {"test_metrics.json": 1})
    hand_in(tmp_path, 2, "ada", {"metrics_smallcnn.json": 1, "metrics_resnet18_head.json": 2})
    hand_in(tmp_path, 3, "ada", {"metrics_resnet18_head.json": 2, "metrics_resnet18_all_basic.json": 3,
                                 "metrics_resnet18_all_augA.json": 4, "reference_supervised.json": 4})
    hand_in(tmp_path, 5, "ada", {"probe_metrics_10pct.json": 5})
    hand_in(tmp_path, 6, "ada", {"metrics_supervised_baseline.json": 4, "metrics_ssl_probe.json": 5,
                                 "metrics_ssl_finetune.json": 6})
    assert found(tmp_path) == []


def numbers(root, week, file, values, name="ada"):
    folder = root / f"results/week{week}/breastmnist/{name}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(values))


SMALL = {"acc": 0.6217948717948718, "auroc": 0.6494360902255639, "ece": 0.11268412}
HEAD = {"test_acc": 0.7628205128205128, "test_auroc": 0.8371345029, "test_ece": 0.12851}


@pytest.mark.parametrize(("file", "values", "severity"), [
    ("metrics_resnet18_all_basic.json", {"acc": 0.6218, "auroc": 0.6494, "ece": 0.1127}, "error"),
    ("metrics_restnet18_all.json", {"test": {"acc": 0.6218, "roc_auc": 0.6494}}, "warning"),
    ("metrics_resnet18_all_augA.json", dict(HEAD), "error"),
    ("metrics_resnet18_all_basic.json", {"acc": 0.62, "auroc": 0.65, "ece": 0.11}, ""),  # too few digits
    ("metrics_resnet18_all_basic.json", {"acc": 0.6218, "auroc": 0.6494, "ece": 0.1341}, ""),  # one of three differs
    ("metrics_resnet18_head.json", dict(HEAD), ""),  # week 3 repeats week 2's model
    ("reference_supervised.json", dict(SMALL), ""),  # any model may be locked as the reference
])
def test_numbers_copied_from_another_model_of_another_week(tmp_path, file, values, severity):
    numbers(tmp_path, 2, "metrics_smallcnn.json", SMALL)
    numbers(tmp_path, 2, "metrics_resnet18_head.json", HEAD)
    numbers(tmp_path, 3, file, values)
    numbers(tmp_path, 3, file, values, name="bo")  # another person: the same starter gives the same digits
    said = [(f["severity"], f["where"]) for s in grade(tmp_path).submissions for f in s["findings"]
            if f["code"] == "copied-numbers"]
    assert said == ([(severity, f"results/week3/breastmnist/ada/{file}")] if severity else [])


def test_models_inside_one_json_are_told_apart(tmp_path):
    three = {"baseline_supervised": SMALL, "ssl_probe_10pct": {"acc": 0.71, "auroc": 0.75}, "ssl_finetune_full": SMALL}
    numbers(tmp_path, 6, "week6_comparison.json", three)
    assert [f["severity"] for s in grade(tmp_path).submissions for f in s["findings"]
            if f["code"] == "copied-numbers"] == ["error"]


def test_a_seed_without_effect_is_found_and_a_collapsed_model_is_not_one(tmp_path):
    work = hand_in(tmp_path, 1, "ada", {"test_metrics.json": 1}, seeds=(0,))
    header, *rows = work.path("predictions_test.csv").read_text().splitlines()
    work.path("test_metrics.json").unlink()
    (work.folder / "run.json").unlink()
    twice = [row.replace("0,", "1,", 1) for row in rows]
    work.path("predictions_test.csv").write_text("\n".join([header, *rows, *twice]))
    assert found(tmp_path) == [("ada", "seed-without-effect", "predictions_test.csv")]
    flat = [",".join([*row.split(",")[:3], "0.73"]) for row in (*rows, *twice)]
    work.path("predictions_test.csv").write_text("\n".join([header, *flat]))
    assert found(tmp_path) == []


def test_the_courses_own_predictions_under_another_name_are_a_note(tmp_path):
    hand_in(tmp_path, 1, "reference", {"test_metrics.json": 1}, config={"lr": 0.1})
    hand_in(tmp_path, 1, "ada", {"test_metrics.json": 1}, config={"lr": 0.2})
    hand_in(tmp_path, 1, "bo", {"test_metrics.json": 2})
    assert found(tmp_path) == [("ada", "reference-predictions", "predictions_test.csv")]
    assert [f["severity"] for s in grade(tmp_path).submissions for f in s["findings"]
            if f["code"] == "reference-predictions"] == ["note"]


@pytest.mark.parametrize(("a", "b", "what"), [
    ((2, "metrics_smallcnn.json"), (3, "metrics_resnet18_all_basic.json"), ["model"]),
    ((2, "metrics_smallcnn.json"), (3, "metrics_basic_all.json"), ["model"]),
    ((3, "metrics_pneumoniamnist_resnet18_all_augA.json"), (3, "metrics_resnet18_all_augB.json"), ["aug"]),
    ((3, "curves_AugA_all.png"), (3, "metrics_resnet18_all_augA.json"), []),
    ((2, "metrics_resnet18_head.json"), (3, "metrics_basic_head.json"), []),
    ((3, "reference_supervised.json"), (6, "metrics_supervised_baseline.json"), []),
    ((2, "metrics_smallcnn.json"), (6, "metrics_supervised_baseline.json"), []),
    ((5, "probe_metrics_5pct.json"), (5, "probe_metrics_10pct.json"), ["fraction"]),
    ((5, "probe_metrics_10pct.json"), (6, "metrics_ssl_probe.json"), []),
    ((5, "probe_metrics_5pct.json"), (6, "metrics_ssl_finetune_10.json"), ["how", "fraction"]),
    ((1, "test_metrics.json"), (2, "metrics_smallcnn.json"), []),
    ((7, "predictions_test.csv"), (6, "predictions_ssl_finetune_test.csv"), []),
])
def test_subjects_differ_only_where_both_say_so(a, b, what):
    one, other = (subject(week, [file.rpartition(".")[0]], {}) for week, file in (a, b))
    assert sorted(differ(one, other)) == sorted(what), (one, other)


def test_predictions_that_only_resemble_each_other_are_nobodys_copy(tmp_path):
    """One image moved by 1e-6 is another training's result as far as anybody can tell."""
    for name, shift, config in (("ada", 0, {"lr": 0.1}), ("bo", 1e-6, {"lr": 0.2})):
        work = hand_in(tmp_path, 1, name, {}, config=config)
        index, y, p = scores(1)
        work.predictions("predictions_test.csv", seed=0, index=index, y=y, p=p + shift * (np.arange(len(p)) == 3))
    assert not [code for _, code, _ in found(tmp_path) if code.startswith("same")]
