"""What a README says against what the files say: honest ones in many styles get no finding, false ones their own."""

import json

import pytest

from medssl.course.checker.grade import grade
from medssl.course.checker.parse.prose import read_prose, split_sentences
from medssl.course.checker.words.counted import _counted
from medssl.course.checker.words.stated import number_of, statements

CODES = {"readme-number", "readme-direction", "readme-config", "readme-file", "unfinished", "positive-class",
         "link-out"}
# Three models of week 3 as students write them, without predictions.
BASIC = {"accuracy": 0.8670, "auroc": 0.9123, "ece": 0.0712, "balanced_accuracy": 0.8012}
AUG = {"accuracy": 0.8654, "auroc": 0.9061, "ece": 0.0934, "balanced_accuracy": 0.7931}
HEAD = {"accuracy": 0.7628, "auroc": 0.8252, "ece": 0.0661, "balanced_accuracy": 0.6514}
WEEK3 = {"metrics_resnet18_all_basic.json": BASIC, "metrics_resnet18_all_augA.json": AUG,
         "metrics_resnet18_head.json": HEAD}
WEEK1 = {"test_metrics.json": {"acc": 0.8397435897435898, "auroc": 0.8974, "ece": 0.0561, "model": "smallcnn"}}
TWO = {"metrics_resnet18_all_basic.json": BASIC, "metrics_resnet18_all_augA.json": AUG}
CONFIG = {"method": "simclr", "backbone": "resnet18", "proj_dim": 128, "batch_size": 128, "epochs": 30,
          "optimizer": "adam", "lr": 0.001, "weight_decay": 1e-4, "tau": 0.2, "seed": 42, "dataset": "pneumoniamnist",
          "augmentations": "RandomResizedCrop(0.8, 1.0) + HorizontalFlip + Rotation(10) + ColorJitter(0.05)"}
SSL = {"ssl_config.json": CONFIG}
LOSS_CSV = "epoch,loss\n" + "\n".join(f"{k},{3.2 - 0.06 * k:.4f}" for k in range(30))
WEEK7 = {"operating_point.json": {"threshold": 0.62, "selected_on": "val", "auroc": 0.9524, "accuracy": 0.881,
                                  "confusion": [[203, 31], [31, 359]]}}


def findings(root, readme, week=3, files=WEEK3, dataset="breastmnist", notes=None, name="ada"):
    """The findings of this page's kind for one README beside some files."""
    folder = root / "results" / f"week{week}" / dataset / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
    for file, text in {f"README_week{week}.md": readme, **(notes or {})}.items():
        (folder / file).write_text(text)
    found = [f for one in grade(root / "results").submissions for f in one["findings"]]
    assert not [f for f in found if f["code"] == "checker-error"], found
    return [f for f in found if f["code"] in CODES]


HONEST = {
    "plain": "The accuracy is 0.840 and the AUROC 0.897. ECE is 0.056.",
    "percent": "We reach 84 % accuracy and 89.7 % AUROC on the test set.",
    "percent without blank": "Accuracy: 84%, AUROC: 90%, ECE: 5.6%",
    "decimal comma": "Die Genauigkeit ist 0,84, AUROC 0,897 und ECE 0,056.",
    "cut, not rounded": "Accuracy 0.83 (AUROC 0.89).",
    "about": "The accuracy is ~0.85 and AUROC is about 0.9; it is roughly 0.06 for the ECE.",
    "range": "Over my runs accuracy was 0.80-0.86, AUROC between 0.88 and 0.91.",
    "spread": "AUROC 0.897 ± 0.021 (95 % interval 0.84 to 0.95), accuracy 0.840 [0.78, 0.89].",
    "interval": "With 156 images the half-width of the accuracy is 0.058, of the AUROC 0.07.",
    "majority": "Accuracy is 0.84 where always saying benign gives 0.731, so 0.11 more.",
    "val": "On val the AUROC was 0.934 and accuracy 0.91; on test AUROC is 0.897.",
    "training": "Training accuracy goes up to 0.99 while val accuracy stays at 0.88.",
    "papers": "The MedMNIST paper reports AUROC 0.901 and accuracy 0.863 for ResNet-18.",
    "other weeks": "In week 2 my accuracy was 0.718 and AUROC 0.605; now it is 0.84.",
    "dates and versions": "Run on 2026-03-14 with torch 2.4.1, seed 42, 28x28 images, lr 1e-3, batch size 128, 5 "
                          "epochs.",
    "settings": "I trained with dropout 0.3, weight decay 0.01 and label smoothing 0.05 at a learning rate of 0.001.",
    "bounds": "Accuracy above 0.8 was the aim; AUROC > 0.85 is reached, ECE stays below 0.1.",
    "direction": "With more epochs the validation loss fell from 0.62 to 0.41 and val AUROC rose from 0.83 to 0.91.",
    "lower is better": "Temperature scaling improved ECE from 0.13 to 0.09 on val and reduced NLL from 0.60 to 0.45.",
    "negated": "Augmentation did not improve accuracy: it went from 0.86 to 0.84. There was no improvement (0.86 → "
               "0.84).",
    "bins": "In the bin 0.9-1.0 the accuracy is 0.96 at a confidence of 0.97. With 15 bins ECE is 0.062.",
    "per class": "Recall of malignant images is 0.62, of benign ones 0.92; precision 0.87.",
    "threshold": "At a threshold of 0.7 accuracy would be 0.82 and FPR 0.21.",
    "seeds": "Seed 1 had accuracy 0.79, seed 2 had AUROC 0.91.",
    "table": "| Metric | Value |\n|---|---|\n| Accuracy | 0.840 |\n| AUROC | 0.897 |\n| ECE | 0.056 |",
    "wide table": "| Model | Acc (%) | AUROC | ECE | Epochs |\n|---|---|---|---|---|\n| SmallCNN | 84.0 | 0.90 | "
                  "0.056 | 5 |\n| majority | 73.1 | 0.5 | - | - |",
    "classes": "Class 0 is malignant (42 test images), class 1 is normal, benign (114). 10 of 42 malignant images are "
               "missed.",
    "aware": "I treat malignant as the positive class, so I use 1 - p as its score.",
    "question": "> AUROC 0.99?\n\nNothing to add.",
    "code": "```python\naccuracy = 0.5  # a dummy\nEPOCHS = 3\n```\nAccuracy 0.84.",
    "files": "See `test_metrics.json` and ![reliability](reliability.png). Weights are too large for git (`best.pt`). "
             "I ran `train.py` with `requirements.txt`. Next week I will add `gallery.png`.",
    "labels": "With 5 % of labels (27 images) nothing works, with 10 % a little: AUROC is 0.897 with 100 %.",
    "errors": "There are 12 false positives and 13 false negatives in total, 5 of each are shown.",
    "gain": "That is +11 points over the majority rule and -0.02 AUROC against the paper.",
    "todo in a plan": "Next I would try a ResNet; nothing was left out here.",
}


@pytest.mark.parametrize("style", HONEST)
def test_an_honest_readme_gets_no_finding(style, tmp_path):
    readme = f"# Week 1\n\n## What I ran\n\nSmallCNN, 5 epochs.\n\n## Results\n\n{HONEST[style]}\n"
    found = findings(tmp_path, readme, 1, WEEK1 | {"reliability.png": "x", "curves.png": "x"})
    assert not found, found


HONEST3 = {
    "comparison": "Finetune-all (accuracy 0.867) is better than head-only (0.763). AugA reaches 0.865, so -0.2 points.",
    "from to": "From head to all layers AUROC rises from 0.825 to 0.912 and accuracy from 0.763 to 0.867.",
    "arrow": "AUROC drops 0.912 → 0.906 with AugA, ECE rises 0.071 → 0.093.",
    "table": "| Regime | Accuracy | AUROC | ECE |\n|---|---|---|---|\n| ResNet18 head | 0.763 | 0.825 | 0.066 |\n"
             "| ResNet18 all (basic) | 0.867 | 0.912 | 0.071 |\n| all + AugA | 0.865 | 0.906 | 0.093 |\n| LR on "
             "pixels | 0.79 | 0.82 | 0.09 |",
    "turned table": "| | head | all basic | all AugA |\n|---|---|---|---|\n| Acc | 76.3 | 86.7 | 86.5 |\n| AUROC | "
                    "0.825 | 0.912 | 0.906 |",
    "change": "AugA: -0.2 % accuracy and -0.006 AUROC against basic. Head-only is 10.4 points worse in accuracy.",
    "mean": "The mean accuracy of the three is 0.832, the mean AUROC 0.881.",
    "relative": "Finetune-all gives +13.7 % accuracy relative to head.",
    "ranking": "AUROC 0.912 for basic is higher than 0.906 for AugA; ECE 0.066 of the head is better than 0.071.",
}


@pytest.mark.parametrize("style", HONEST3)
def test_an_honest_comparison_gets_no_finding(style, tmp_path):
    assert not findings(tmp_path, f"# Week 3\n\n## Results\n\n{HONEST3[style]}\n")


# what -> (code, README, week, files)
FALSE = {
    "84 % for 0.8974": ("readme-number", "The model reaches 84 % accuracy.", 1, {"test_metrics.json": {"acc": 0.8974}}),
    "AUROC of another run": ("readme-number", "Test AUROC is 0.953.", 1, WEEK1),
    "decimal comma": ("readme-number", "Die Accuracy beträgt 0,79.", 1, WEEK1),
    "a list": ("readme-number", "Acc/AUROC/ECE = 0.84/0.90/0.131.", 1, WEEK1),
    "beside whole numbers": ("readme-number", "ECE = 0.19.", 1, {"test_metrics.json": {"ece": 0.06, "seeds": [0]}}),
    "before the name": ("readme-number", "We got 0.91 accuracy in the end.", 1, WEEK1),
    "ECE three times": ("readme-number", "The SmallCNN has ECE 0.112.\n\nLater: ECE of the SmallCNN is 0.101.\n\nThe "
                        "SmallCNN's ECE was 0.131.", 1, {"test_metrics.json": {"acc": 0.84}}),
    "cell of a table": ("readme-number", "| Model | Acc | AUROC |\n|---|---|---|\n| ResNet18 head | 0.763 | 0.825 "
                        "|\n| all basic | 0.897 | 0.912 |", 3, WEEK3),
    "rows exchanged": ("readme-number", "| Model | Acc | AUROC |\n|---|---|---|\n| ResNet18 head | 0.867 | 0.912 |\n| "
                       "all basic | 0.763 | 0.825 |", 3, WEEK3),
    "metric in each row": ("readme-number", "| Metric | Value |\n|---|---|\n| Accuracy | 0.91 |\n| AUROC | 0.897 "
                                            "|", 1, WEEK1),
    "turned table": ("readme-number", "| | head | all basic |\n|---|---|---|\n| AUROC | 0.912 | 0.825 |", 3, WEEK3),
    "reduces to": ("readme-number", "Fine-tuning all layers brings the ECE down to 0.031.", 3, WEEK3),
    "improved, but less": ("readme-direction", "AugA improved accuracy from 0.8670 to 0.8654.", 3, WEEK3),
    "improved, no metric": ("readme-direction", "The result improved from 0.8670 to 0.8654.", 3, WEEK3),
    "decreases, but more": ("readme-direction", "AUROC decreases 0.895 → 0.906 with AugA.", 3, {}),
    "+2 % that is not": ("readme-direction", "AugA accuracy +2 %.", 3, TWO),
    "ECE improved upwards": ("readme-direction", "Calibration: ECE improved from 0.071 to 0.093.", 3, WEEK3),
    "rose downwards": ("readme-direction", "On val the AUROC rose from 0.91 to 0.88.", 3, WEEK3),
    "better, but less": ("readme-direction", "AugA (0.8654) outperforms basic (0.8670) in accuracy.", 3, WEEK3),
    "temperature below 1": ("readme-direction", "Temperature scaling (T = 0.976) reduced over-confidence.", 6, {}),
    "temperature in JSON": ("readme-direction", "Temperature scaling reduced the overconfidence of the model.", 6,
                            {"ece_temp_scaling_P2.json": {"temperature": 0.976, "ece": 0.1}}),
    "epochs": ("readme-config", "I trained for 50 epochs with SimCLR.", 4, SSL),
    "batch size": ("readme-config", "- Batch size: 64\n- Optimizer: Adam", 4, SSL),
    "learning rate": ("readme-config", "The learning rate was 0.01.", 4, SSL),
    "tau": ("readme-config", "We used a temperature of 0.5.", 4, SSL),
    "settings table": ("readme-config", "| Setting | Value |\n|---|---|\n| Epochs | 100 |\n| Batch size | 128 |", 4,
                       SSL),
    "blur": ("readme-config", "## Augmentations\n\nI use crops, flips, color jitter and Gaussian blur.", 4,
             SSL),
    "jitter": ("readme-config", "## Augmentations\n\nCrop, flip, rotation and jitter 0.4.", 4, SSL),
    "head, but all": ("readme-config", "I did head fine-tuning of ResNet-18.", 1, {"test_metrics.json": {
        "acc": 0.84, "config": {"finetune": "all"}}}),
    "five seeds": ("readme-config", "All numbers are means over 5 seeds.", 1, WEEK1),
    "SmallCNN head": ("readme-config", "Two baselines.", 2, {"reliability_smallcnn_head.png": "x"}),
    "loss of another run": ("readme-number", "The loss fell from 1.03 to 0.41.", 4, {"ssl_config.json": CONFIG,
                                                                                  "ssl_loss.csv": LOSS_CSV}),
    "1 FN": ("readme-number", "There is only 1 FN.", 7, WEEK7),
    "title of this week": ("readme-number", "# Week 3\n\n| regime | acc |\n|---|---|\n| head | 0.763 |\n| all basic | "
                           "0.850 |", 3, WEEK3),
    "jitter as a key": ("readme-config", "Trained with colour jitter 0.4.", 4, {"ssl_config.json": {"jitter": 0.05}}),
    "another model's": ("readme-number", "SmallCNN accuracy 84 % and AUROC 0.605.", 2, {
        "metrics_smallcnn.json": {"acc": 0.718, "auroc": 0.605},
        "metrics_resnet18_head.json": {"acc": 0.8397, "auroc": 0.876}}),
    "FN =": ("readme-number", "On test FP = 31 and FN = 4.", 7, WEEK7),
    "file": ("readme-file", "The diagram is `reliability_finetuned.png`.", 6, {}),
    "picture": ("readme-file", "![curves](curves_augD.png)", 3, WEEK3),
    "personal cloud": ("link-out", "Weights: https://drive.google.com/file/d/1abc/view", 4, SSL),
    "zeros": ("unfinished", "| Model | Acc | AUROC | ECE |\n|---|---|---|---|\n| SmallCNN | 0. | 0. | 0. |", 2, {}),
    "no row": ("unfinished", "| Model | Acc |\n|---|---|\n\nText.", 2, {}),
    "todo": ("unfinished", "The gallery: TO DO!", 2, {}),
    "cells": ("unfinished", "| Model | Acc |\n|---|---|\n| SmallCNN | 0.xx |", 2, {}),
    "empty row": ("unfinished", "| Model | Acc |\n|---|---|\n| SmallCNN | 0.7 |\n| ResNet | |", 2, {}),
    "empty heading": ("unfinished", "## Limitations\n\n## Outlook\n\nMore data.", 2, {}),
    "one-row ablation": ("unfinished", "## Ablation\n\n| Aug | Acc |\n|---|---|\n| A | 0.84 |", 5, {}),
    "class 1 malignant": ("positive-class", "Class 1 (malignant) is the positive class.", 7, {}),
    "positive malignant": ("positive-class", "The positive class is malignant.", 7, {}),
    "114 malignancies": ("positive-class", "At this threshold 88 of 114 malignancies are missed.", 7, {}),
    "base rate": ("positive-class", "PR-AUC is 0.92 for malignant tumours (base rate 0.73).", 7, {}),
}


@pytest.mark.parametrize("case", FALSE)
def test_a_contradiction_is_found(case, tmp_path):
    code, text, week, files = FALSE[case]
    readme = text if text.startswith("#") else f"# Week {week}\n\n## Results\n\n{text}\n"
    found = findings(tmp_path, readme, week, files, "pneumoniamnist" if week == 4 or files == WEEK7 else "breastmnist")
    assert code in {f["code"] for f in found}, found
    assert all(f["fix"] and f["severity"] in ("error", "warning", "note") for f in found)
    assert len({f["code"] for f in found}) == 1, f"one cause, one finding: {found}"


@pytest.mark.parametrize(("text", "cells"), [
    ("Confusion: TP 500 FN 100 FP 185 TN 239.", {"tp": 500, "fn": 100, "fp": 185, "tn": 239}),
    ("There are 31 FP, 4 FN, 200 TN and 389 TP.", {"fp": 31, "fn": 4, "tn": 200, "tp": 389}),
    ("FP = 31 and FN = 4", {"fp": 31, "fn": 4}), ("one FN and 2 false positives", {"fn": 1, "fp": 2}),
    ("500 TP 100 FN 185 FP 239 TN", {"tp": 500, "fn": 100, "fp": 185, "tn": 239})])
def test_a_number_belongs_to_the_name_beside_it(text, cells):
    assert dict(_counted(text)) == cells


def test_another_models_number_is_told_with_the_right_file(tmp_path):
    """The file that has 84 % by chance is not the one that the sentence is about."""
    (found,) = findings(tmp_path, "# Week 2\n\nSmallCNN accuracy 84 % and AUROC 0.605.\n", 2, {
        "metrics_smallcnn.json": {"acc": 0.718, "auroc": 0.605},
        "metrics_resnet18_head.json": {"acc": 0.8397, "auroc": 0.876}})
    assert "metrics_smallcnn.json gives 0.718" in found["message"]


def test_what_an_error_says(tmp_path):
    """Where, what, the file's number, and what to write."""
    (found,) = findings(tmp_path, "# Week 1\n\nThe model reaches 84 % accuracy.\n", 1,
                        {"test_metrics.json": {"acc": 0.8974}})
    assert found["severity"] == "warning" and "84 %" in found["message"] and "0.8974" in found["message"]
    assert "line 3" in found["fix"] and "89.7 %" in found["fix"]


@pytest.fixture
def written(tmp_path):
    """A hand-in of week 1 by the package, with its rendered README."""
    from hand_ins import filled

    work = filled(tmp_path)
    work.finish(params={"EPOCHS": 5, "lr": 0.001})
    return tmp_path, work


def _errors(root):
    return [f for one in grade(root / "results").submissions for f in one["findings"] if f["code"] == "readme-number"]


def test_a_rendered_table_is_what_its_json_says(written):
    root, work = written
    assert not _errors(root)
    readme = work.path("README_week1.md")
    metrics = json.loads(work.path("test_metrics.json").read_text())
    text, right = readme.read_text(), f"{metrics['auroc']:.3f}"
    assert right in text
    readme.write_text(text.replace(right, "0.999", 1))
    (found,) = _errors(root)
    assert found["severity"] == "error" and "0.999" in found["message"] and right in found["message"]
    readme.write_text(text.replace("| EPOCHS | 5 |", "| EPOCHS | 50 |"))
    (found,) = _errors(root)
    assert "EPOCHS is 50, run.json has 5" in found["message"]
    readme.rename(readme.with_name("README_week5_B1.md"))  # an extra task: another run than that of run.json
    readme.write_text(text)
    assert not _errors(root)


def test_a_number_that_is_wrong_in_the_json_is_not_said_twice(written):
    """The README still agrees with the predictions; the JSON was changed, and that is said already."""
    root, work = written
    metrics = json.loads(work.path("test_metrics.json").read_text())
    work.path("test_metrics.json").write_text(json.dumps(metrics | {"auroc": 0.5}))
    assert not _errors(root)


def test_two_notes_give_one_metric_differently(tmp_path):
    found = findings(tmp_path, "# Week 7\n\nOn the test set AUROC = 0.9524.\n", 7, {},
                     notes={"error_analysis.md": "ROC AUC = 0.3986\n"})
    assert [f["code"] for f in found] == ["readme-number"] and "0.3986" in found[0]["message"]


def test_a_row_whose_own_file_cannot_be_told_is_left_alone(tmp_path):
    """The row of 5 % is right; its file has a name that no word tells, so that the other one seems to be meant."""
    table = "| Model | Acc |\n|---|---|\n| probe | 0.764 |\n"
    files = {"prob_metrics.json": {"acc": 0.764}, "probe_metrics_10pct.json": {"acc": 0.83}}
    assert not findings(tmp_path, f"# Week 5\n\n{table}", 5, files)


def test_numbers_without_anything_to_hold_them_against(tmp_path):
    """No JSON at all: nothing is said of the numbers."""
    assert not findings(tmp_path, "# Week 1\n\nAccuracy 0.84, AUROC 0.91, 50 epochs, batch size 32.\n", 1, {})


@pytest.mark.parametrize("text, stated", [
    ("AUROC of the probe is 0.84 ± 0.02.", [("auroc", 0.84, "value")]),
    ("84 % accuracy and 0.91 AUROC", [("accuracy", 0.84, "value"), ("auroc", 0.91, "value")]),
    ("Acc/AUROC/ECE = 0.84/0.90/0.05", [("accuracy", 0.84, "value"), ("auroc", 0.9, "value"), ("ece", 0.05, "value")]),
    ("accuracy at threshold 0.83 was 0.87", []),
    ("The accuracy with 5 % labels is 0.77", []),
    ("AUROC > 0.9", [("auroc", 0.9, "bound")]),
    ("improves accuracy by 2 %", [("accuracy", 0.02, "change")]),
    ("accuracy 0.80-0.85", [("accuracy", 0.8, "range"), ("accuracy", 0.85, "range")]),
    ("ECE fell from 0.13 to 0.09", [("ece", 0.13, "value"), ("ece", 0.09, "value")]),
    ("torch 2.15.0, accuracy 1e-3, week 3", []),
])
def test_which_number_belongs_to_which_metric(text, stated):
    assert [(one.metric, pytest.approx(one.value), one.kind) for one in statements(text)] == stated


def test_how_numbers_are_read():
    assert number_of("0,84")[0] == 0.84 and number_of("1,000")[0] == 1000 and number_of("84", True) == (0.84, 0.005)


def test_how_prose_is_read():
    prose = read_prose("# T\n\n> asked\n\nOne vs. two. Three!\n\n<!-- a\nb -->\n\n## H\n\n| A | B |\n|---|---|\n| 1 | "
                       "2\\|3 |\n\n<!-- medssl:results (rendered) -->\nAccuracy 0.5.\n<!-- /medssl:results -->\n")
    assert [s.text for s in prose.sentences] == ["One vs. two.", "Three!"]
    assert prose.tables[0].rows == [["1", "2|3"]] and prose.tables[0].heading == "H"
    assert split_sentences("About 0.5. So") == ["About 0.5.", "So"]


HOSTILE = ("accuracy " * 20_000, "0.1 " * 40_000, "|" * 50_000 + "\n|---|\n", "(" * 50_000, "# " * 30_000, "`" * 60_000,
           "<!--" * 20_000, "from 0.1 to " * 15_000, "accuracy 0.8 and " * 8_000, "reduced a " * 15_000, "![" * 30_000,
           "\n".join(["| a | accuracy |", "|---|---|", *["| x | 0.8 |"] * 15_000]), "\0\x1b[31m accuracy 0.8" * 3_000,
           "9" * 150_000, "0." + "9" * 150_000, "accuracy: " + "1" * 400 + "." + "2" * 400, "batch size " * 15_000)


@pytest.mark.parametrize("k", range(len(HOSTILE)))
def test_a_hostile_text_takes_no_time(k, tmp_path):
    import time

    start = time.perf_counter()
    findings(tmp_path, f"# Week 4\n\n{HOSTILE[k]}\n", 4, {"ssl_config.json": CONFIG, "m.json": BASIC})
    assert time.perf_counter() - start < 20  # well below a second; what grows with the square of the text takes minutes
