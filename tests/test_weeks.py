"""One person's weeks beside each other: the reference, the probe, the encoder and the data set that are carried on."""

import json

import pytest
from test_copies import HEAD, SMALL, found, hand_in, numbers

from medssl.course.checker.grade import grade
from medssl.course.checker.people.encoders import _of_config, _of_text
from medssl.course.checker.people.weeks import stand_ins

WEEK3 = {"metrics_resnet18_head.json": 2, "metrics_resnet18_all_basic.json": 3, "metrics_resnet18_all_augA.json": 4,
         "reference_supervised.json": 4}
WEEK6 = {"metrics_supervised_baseline.json": 4, "metrics_ssl_probe.json": 5, "metrics_ssl_finetune.json": 6}


def codes(root, *wanted):
    return [(s["week"], f["code"], f["severity"], f["where"].rpartition("/")[2]) for s in grade(root).submissions
            for f in s["findings"] if f["code"] in wanted]


@pytest.mark.parametrize(("noise", "severity"), [(0.0, []), (1e-3, ["note"]), (0.5, ["warning"])])
def test_the_reference_is_repeated_row_by_row(tmp_path, noise, severity):
    """Trained again on another machine it is a note, a weak rerun is a warning, both with both numbers."""
    hand_in(tmp_path, 3, "ada", WEEK3)
    work = hand_in(tmp_path, 6, "ada", WEEK6)
    header, *rows = work.path("predictions_supervised_baseline_test.csv").read_text().splitlines()
    moved = [f"{s},{i},{y},{float(p) * (1 - noise) + noise * (int(i) * 7919 % 97) / 97}" for s, i, y, p in
             (row.split(",") for row in rows)]
    work.path("predictions_supervised_baseline_test.csv").write_text("\n".join([header, *moved]))
    said = [f for s in grade(tmp_path).submissions for f in s["findings"] if f["code"] == "another-reference"]
    assert [f["severity"] for f in said] == severity and all(f["message"].count("auroc 0.") == 2 for f in said)


def test_where_nothing_is_locked_a_head_alone_is_no_reference(tmp_path):
    """The head of week 3 was not trained on the whole: a supervised baseline may well give other numbers."""
    numbers(tmp_path, 3, "metrics_resnet18_head.json", HEAD)
    numbers(tmp_path, 6, "metrics_supervised_baseline.json", {"acc": 0.8092948717948718, "auroc": 0.9361})
    assert not codes(tmp_path, "another-reference")
    numbers(tmp_path, 3, "reference_supervised.json", {"acc": 0.8974358974, "auroc": 0.9781, "ece": 0.11})
    assert codes(tmp_path, "another-reference")


@pytest.mark.parametrize(("two", "three", "found_it"), [("random", "imagenet", [2]), ("imagenet", "random", [3]),
                                                        ("random", "random", []), ("imagenet", "imagenet", [])])
def test_random_weights_are_told_only_beside_pretrained_ones(tmp_path, two, three, found_it):
    for week, file, backbone in ((2, "metrics_resnet18_head.json", two),
                                 (3, "metrics_resnet18_all_basic.json", three)):
        numbers(tmp_path, week, file, HEAD | {"model": "resnet18", "backbone": backbone})
    assert [week for week, *_ in codes(tmp_path, "random-backbone")] == found_it
    assert {s["backbone"] for s in grade(tmp_path).submissions} == {two, three}


def test_random_and_pretrained_weights_in_one_week(tmp_path):
    for file, backbone in (("basic", "random"), ("augA", "imagenet")):
        numbers(tmp_path, 3, f"metrics_resnet18_all_{file}.json",
                HEAD | {"model": "resnet18", "backbone": backbone})
    assert codes(tmp_path, "random-backbone") == [(3, "random-backbone", "note", "ada")]


@pytest.mark.parametrize(("values", "found_it"), [
    ({"acc": 0.8092948717948718, "auroc": 0.9361}, True), ({"acc": 0.8974358974, "auroc": 0.9781}, False),
    ({"acc": 0.9, "auroc": 0.98}, False), ({"acc": 0.8092948717948718, "auroc": 0.9361, "label_fraction": 0.1}, True)])
def test_without_predictions_the_numbers_are_held_against_any_model_of_week_3(tmp_path, values, found_it):
    numbers(tmp_path, 3, "metrics_resnet18_head.json", HEAD)
    numbers(tmp_path, 3, "metrics_resnet18_all_augA.json", {"acc": 0.8974358974, "auroc": 0.9781, "ece": 0.11})
    numbers(tmp_path, 6, "metrics_supervised_baseline.json", values)
    assert bool(codes(tmp_path, "another-reference")) == found_it


@pytest.mark.parametrize(("row", "found_it"), [
    ("| Supervised (100 %) | 0.741 | 0.788 |", True), ("| supervised ResNet-18, 100% labels | 75.8 % | 80.3 % |", True),
    ("| Supervised (100 %) | 0.897 | 0.978 |", False), ("| Supervised (10 %) | 0.741 | 0.788 |", False),
    ("| Self-supervised, 100 % | 0.741 | 0.788 |", False), ("| Supervised | n/a | – |", False)])
def test_a_supervised_line_in_a_table_of_week_5(tmp_path, row, found_it):
    numbers(tmp_path, 3, "metrics_resnet18_all_augA.json", {"acc": 0.8974358974, "auroc": 0.9781, "ece": 0.11})
    numbers(tmp_path, 5, "probe_metrics_10pct.json", {"acc": 0.8, "auroc": 0.9, "label_fraction": 0.1})
    readme = tmp_path / "results/week5/breastmnist/ada/README_week5_core.md"
    readme.write_text(f"# Week 5\n\n| Model | Acc | Test AUROC |\n|---|---|---|\n{row}\n")
    said = [(5, "another-reference", "warning", readme.name)]
    assert codes(tmp_path, "another-reference") == (said if found_it else [])


def test_a_rendered_table_is_left_to_its_json(tmp_path):
    numbers(tmp_path, 3, "metrics_resnet18_all_augA.json", {"acc": 0.8974358974, "auroc": 0.9781, "ece": 0.11})
    numbers(tmp_path, 5, "probe_metrics_10pct.json", {"acc": 0.8, "auroc": 0.9, "label_fraction": 0.1})
    (tmp_path / "results/week5/breastmnist/ada/README.md").write_text(
        "<!-- medssl:results -->\n| Model | Acc | AUROC |\n|---|---|---|\n| supervised | 0.7 | 0.7 |\n"
        "<!-- /medssl:results -->\n")
    assert not codes(tmp_path, "another-reference")


@pytest.mark.parametrize(("five", "six", "found_it"), [
    ((0.889, 0.966, None), (0.806, 0.927, 0.1), True), ((0.819, 0.914, 0.1), (0.806, 0.927, 0.1), False),
    ((0.889, 0.966, 0.2), (0.806, 0.927, 0.1), False)])
def test_one_encoder_and_one_fraction_have_one_probe(tmp_path, five, six, found_it):
    for week, file, values in ((5, "probe_metrics.json", five), (6, "metrics_ssl_probe.json", six)):
        numbers(tmp_path, week, file, dict(zip(("acc", "auroc", "label_fraction"), values, strict=True)))
    assert bool(codes(tmp_path, "probes-apart")) == found_it


def test_week_7_looks_at_a_model_of_week_3_or_6(tmp_path):
    hand_in(tmp_path, 3, "ada", WEEK3)
    six = hand_in(tmp_path, 6, "ada", WEEK6)
    folder = tmp_path / "results/week7/breastmnist/ada"
    folder.mkdir(parents=True)
    header, *rows = six.path("predictions_ssl_finetune_test.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows if row.startswith("1,")]
    scaled = [f"{s},{i},{y},{float(p) ** 0.5}" for s, i, y, p in cells]  # calibrated: the order is the same
    (folder / "predictions_test.csv").write_text("\n".join([header, *scaled]))
    assert not codes(tmp_path, "scores-of-no-week")
    other = [f"{s},{i},{y},{abs(float(p) - 0.4)}" for s, i, y, p in cells]
    (folder / "predictions_test.csv").write_text("\n".join([header, *other]))
    assert codes(tmp_path, "scores-of-no-week")


CONFIG = {"method": "simclr-lite", "tau": 0.2, "batch_size": 128, "epochs": 30, "backbone": "resnet18",
          "augmentations": "RandomResizedCrop(0.7, 1.0) + flip + jitter 0.05"}


@pytest.mark.parametrize(("text", "what"), [
    ("The SSL encoder of week 4 was pretrained with jitter 0.4 + RandomGrayscale(0.2) + GaussianBlur.", "jitter 0.4"),
    ("Pretraining: temperature tau = 0.5.", "temperature 0.5"), ("Week 4: batch size 512.", "batch size 512"),
    ("The encoder was pretrained with MoCo and a queue of 4096.", "method moco"),
    ("SimCLR pretraining for 300 epochs.", "epochs 300"),
    ("The SSL encoder of week 4 was pretrained for 30 epochs with batch size 128, tau 0.2 and jitter 0.05.", ""),
    ("The pretrained encoder was fine-tuned for 10 epochs with batch size 64.", ""),
    ("Pretraining for 300 epochs would be better.", ""), ("Linear probe on the SimCLR encoder: 100 epochs.", ""),
    ("Pretraining used no blur and no grayscale.", ""), ("I trained for 100 epochs with batch size 512.", "")])
def test_what_week_5_says_of_the_encoder_is_what_week_4_handed_in(tmp_path, text, what):
    numbers(tmp_path, 4, "ssl_config.json", CONFIG)
    numbers(tmp_path, 5, "probe_metrics_10pct.json", {"acc": 0.8, "auroc": 0.9, "label_fraction": 0.1})
    (tmp_path / "results/week5/breastmnist/ada/README_week5.md").write_text(f"# Week 5\n\n{text}\n")
    said = [f["message"] for s in grade(tmp_path).submissions for f in s["findings"] if f["code"] == "encoder-mismatch"]
    assert len(said) == bool(what) and all(what in one for one in said)


@pytest.mark.parametrize(("names", "sha", "wrong"), [
    ("smallcnn (width 32, simclr 30 epochs backbone, 1 channel)", "ab", False),
    ("smallcnn (width 32, byol 30 epochs backbone, 1 channel)", "ab", True),
    ("smallcnn (width 32, simclr 300 epochs backbone, 1 channel)", "ab", True), ("", "cd", True), ("", "ab", False)])
def test_run_json_names_the_encoder_that_week_4_handed_in(tmp_path, names, sha, wrong):
    numbers(tmp_path, 4, "ssl_config.json", CONFIG)
    numbers(tmp_path, 4, "run.json", {"weights": {"ssl_encoder.pt": {"sha256": "ab"}}})
    weights = {"ssl_encoder.pt": {"sha256": sha}}
    numbers(tmp_path, 5, "run.json", {"weights": weights, "parameters": {"encoders": [names]}})
    assert bool(codes(tmp_path, "encoder-mismatch")) == wrong


def test_our_own_augmentations_are_read(tmp_path):
    ours = "Augment(crop=(0.3, 1.0), flip=0.5, rotate=15, brightness=0.4, contrast=0.3, blur=0.0)"
    assert _of_config({"augmentations": ours}) == {"jitter": 0.4, "blur": False, "grayscale": False}
    assert _of_config({"augmentations": {"color_jitter": {"brightness": 0.05}, "blur": True}})["jitter"] == 0.05
    assert _of_text("pretraining for 30 epochs.\npretraining for 40 epochs.") == {}  # which of the two?


@pytest.mark.parametrize(("notes", "weeks"), [
    ("Week 4 not found for ada: the course's own stands in.", ["4"]), ("", []), ("my own notes about week 4", []),
    ("The encoder of week 4 not found for ada: a short run of 300 steps stands in. Its numbers say little. "
     "Week 3 not found for ada: the course's own stands in.", ["3", "4"])])
def test_a_stand_in_is_known_by_the_words_of_run_json(notes, weeks):
    assert stand_ins({"_evidence": {"notes": notes}}) == weeks


def test_a_stand_in_and_another_data_set_are_notes(tmp_path):
    numbers(tmp_path, 5, "run.json", {"notes": "Week 4 not found for ada: the course's own stands in."})
    assert codes(tmp_path, "stand-in") == [(5, "stand-in", "note", "ada")]
    folder = tmp_path / "results/week6/pneumoniamnist/ada"
    folder.mkdir(parents=True)
    (folder / "metrics_ssl_probe.json").write_text(json.dumps(SMALL))
    assert codes(tmp_path, "dataset-changed") == [(6, "dataset-changed", "note", "ada")]
    assert "dataset-changed" not in str(found(tmp_path, "bo"))
