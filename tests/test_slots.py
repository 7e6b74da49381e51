"""Which file is which: every form seen in an earlier edition is recognised, and no file is taken for another result."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from medssl.course.checker.grade import grade
from medssl.course.checker.parse.filenames import Vocabulary
from medssl.course.contract import load_contract

ME = "Ada_Lovelace"
CONFIG = {"method": "simclr", "batch_size": 128, "epochs": 30, "temperature": 0.2, "lr": 1e-3}
OPERATING = "# Week 7\n| Threshold | TPR | FPR | Precision |\n|---|---|---|---|\n| 0.4 | 0.9 | 0.2 | 0.8 |\n"
ERRORS = "\n| image | true | p | comment |\n|--|--|--|--|\n| 12 | 0 | 0.99 | dark |\n"


def one(**more):
    return {"acc": 0.71, "auroc": 0.81, "ece": 0.1} | more


def write(folder: Path, files: list | dict) -> Path:
    """The files, each with what its ending promises unless it is given."""
    for k, (name, holds) in enumerate((files if isinstance(files, dict) else dict.fromkeys(files)).items()):
        path, ending = folder / name, name.rpartition(".")[2].lower()
        path.parent.mkdir(parents=True, exist_ok=True)
        if holds is None and ending in ("png", "jpg"):
            Image.new("L", (8, 8), k).save(picture := io.BytesIO(), "PNG")
            holds = picture.getvalue()
        elif holds is None:
            holds = one(k=k) if ending == "json" else f"# Words {k}\nMine."
        path.write_bytes(holds if isinstance(holds, bytes) else
                         (holds if isinstance(holds, str) else json.dumps(holds)).encode())
    return folder


def graded(root: Path, week: int, files: list | dict, dataset: str = "pneumoniamnist") -> dict:
    write(root / f"results/week{week}/{dataset}/{ME}", files)
    report = grade(root)
    (submission,) = report.submissions
    assert "checker-error" not in {f["code"] for f in submission["findings"]}
    return submission


def slots(submission: dict) -> dict[str, tuple[str, str]]:
    """{slot: (status, file)} of the slots that something fills."""
    return {s["file"]: (s["status"], s["found"].partition(f"/{ME}/")[2]) for s in submission["slots"] if s["found"]}


# (week, files, {slot: file}); a name alone: renamed, present where it is the right one; "+": merged
SEEN = {
    "case": (1, ["test_metrics.json", "Reliability.png", "Configuration.png", "README_Week1.md"],
             {"test_metrics.json": "test_metrics.json", "reliability.png": "Reliability.png",
              "screenshot_env.png": "Configuration.png", "env.json": "Configuration.png",
              "README_week1.md": "README_Week1.md"}),
    "typos, and the layers of another choice": (
        2, ["metrics_smallcnn.json", "metrics_restnet18_all.json", "cm_smallcnn.png", "cm_restnet18_all.png",
            "missclassified_gallery.png", "reliability_smallcnn_head.png", "README.md"],
        {"metrics_smallcnn.json": "metrics_smallcnn.json", "metrics_resnet18_head.json": "metrics_restnet18_all.json",
         "cm_smallcnn.png": "cm_smallcnn.png", "cm_resnet18_head.png": "cm_restnet18_all.png",
         "misclassified_gallery.png": "missclassified_gallery.png",
         "reliability_smallcnn.png": "reliability_smallcnn_head.png", "README_week2.md": "README.md"}),
    "one text for all, a gallery in parts": (
        2, {"all_metrics.txt": json.dumps({"smallcnn": one(), "resnet18_head": one()}),
            "README_week2_final (1).md": None, "misclassified_gallery_smallcnn.png": None,
            "misclassified_gallery_resnet18.png": None},
        {"metrics_smallcnn.json": "+all_metrics.txt", "metrics_resnet18_head.json": "+all_metrics.txt",
         "misclassified_gallery.png": "+misclassified_gallery_resnet18.png",
         "README_week2.md": "README_week2_final (1).md"}),
    "numbers under headings": (
        2, {"results.txt": "SmallCNN\nacc: 0.62\nauroc: 0.65\n\nResNet18 (head)\nacc = 76.3%\nauroc = 0.83\n"},
        {"metrics_smallcnn.json": "+results.txt", "metrics_resnet18_head.json": "+results.txt"}),
    "order and prefix": (
        3, ["metrics_pneumoniamnist_resnet18_all_augA.json", "metrics_basic_head.json", "metrics_restnet18_all.json",
            "curves_AugA_all.png", "curves_basic_head.png", "learning-curves ResNet18 finetune all.png", "week3.md"],
        {"metrics_resnet18_head.json": "metrics_basic_head.json",
         "metrics_resnet18_all_basic.json": "metrics_restnet18_all.json",
         "metrics_resnet18_all_augA.json": "metrics_pneumoniamnist_resnet18_all_augA.json",
         "curves_resnet18_head.png": "curves_basic_head.png", "curves_resnet18_all_augA.png": "curves_AugA_all.png",
         "curves_resnet18_all_basic.png": "learning-curves ResNet18 finetune all.png", "README_week3.md": "week3.md"}),
    "by content": (4, {"pretraining.json": CONFIG, "simclr_loss.png": None, "ssl_encoder.txt": "https://a.b/c",
                       "notes.md": None},
                   {"ssl_config.json": "pretraining.json", "ssl_loss_curve.png": "simclr_loss.png",
                    "ssl_encoder.pt": "ssl_encoder.txt", "README_week4.md": "notes.md"}),
    "two fractions in one": (
        5, {"week5_probe_metrics.json": {"probe_5pct": one(), "probe_10pct": one(), "supervised": one()},
            "comparison_metrics.png": None, "README_week5.md": None},
        {"probe_metrics_5pct.json": "+week5_probe_metrics.json",
         "probe_metrics_10pct.json": "+week5_probe_metrics.json",
         "probe_vs_supervised_plot_acc.png": "+comparison_metrics.png",
         "probe_vs_supervised_plot_auroc.png": "+comparison_metrics.png", "README_week5_core.md": "README_week5.md"}),
    "two fractions in flat keys": (
        5, {"probe.json": {"acc_5pct": 0.7, "auroc_5pct": 0.8, "acc_10pct": 0.75, "auroc_10pct": 0.82}},
        {"probe_metrics_5pct.json": "+probe.json", "probe_metrics_10pct.json": "+probe.json"}),
    "the fraction is in the file, not in its name": (
        5, {"metrics_probe_a.json": one(n_train=235), "metrics_probe_b.json": one(label_fraction=0.1)},
        {"probe_metrics_5pct.json": "metrics_probe_a.json", "probe_metrics_10pct.json": "metrics_probe_b.json"}),
    "metrics with the keys of a run": (
        5, {"metrics_probe_5.json": one(label_fraction=0.05, dataset="pneumoniamnist", backbone="ssl", phantom=False,
                                        seeds=[0], n_train=235, contract_version="1", data={}, notes=[])},
        {"probe_metrics_5pct.json": "metrics_probe_5.json"}),
    "fractions as keys": (5, {"probe.json": {"ssl": {"0.05": one(), "0.1": one()}}},
                          {"probe_metrics_5pct.json": "+probe.json", "probe_metrics_10pct.json": "+probe.json"}),
    "weights by their ending": (4, ["simclr_resnet18.pt"], {"ssl_encoder.pt": "simclr_resnet18.pt"}),
    "three models in one": (
        6, {"week6_comparison.json": {"baseline_supervised": one(), "ssl_probe_10pct": one(),
                                      "ssl_finetune_full": one()},
            "Reliability SSL finetune 10%.png": None, "README_week6.md": None},
        {"metrics_supervised_baseline.json": "+week6_comparison.json",
         "metrics_ssl_probe.json": "+week6_comparison.json",
         "metrics_ssl_finetune.json": "+week6_comparison.json", "README_week6_core.md": "README_week6.md",
         "reliability_ssl_finetune.png": "Reliability SSL finetune 10%.png"}),
    "fractions without pct": (
        6, ["metrics_ssl_finetune_10.json", "probe_metrics_10pct.json", "supervised_metrics.json", "README.md"],
        {"metrics_supervised_baseline.json": "supervised_metrics.json",
         "metrics_ssl_probe.json": "probe_metrics_10pct.json",
         "metrics_ssl_finetune.json": "metrics_ssl_finetune_10.json", "README_week6_core.md": "README.md"}),
    "finetune first": (6, ["finetune_metrics_10pct.json"],
                       {"metrics_ssl_finetune.json": "finetune_metrics_10pct.json"}),
    "both curves in one, tables in the README": (
        7, {"roc_pr_curves.png": None, "README_week7.md": OPERATING + ERRORS},
        {"roc_curve.png": "+roc_pr_curves.png", "pr_curve.png": "+roc_pr_curves.png",
         "operating_point_table.md": "+README_week7.md", "high_conf_error_gallery.png": "+README_week7.md",
         "README_week7_core.md": "README_week7.md"}),
    "a table as csv": (7, ["operating_points_table.csv", "ROC.png", "precision-recall.png",
                           "errors_high_confidence.png"],
                       {"operating_point_table.md": "operating_points_table.csv", "roc_curve.png": "ROC.png",
                        "pr_curve.png": "precision-recall.png",
                        "high_conf_error_gallery.png": "errors_high_confidence.png"}),
    "a task's table where nothing core is": (7, ["P2_Operating_Points.md", "P4_roc.png", "README_P2.md"],
                                             {"operating_point_table.md": "P2_Operating_Points.md"}),
}


@pytest.mark.parametrize("form", SEEN)
def test_every_form_that_was_seen_is_recognised(form, tmp_path):
    week, files, wanted = SEEN[form]
    expected = {slot: ("merged", file[1:]) if file[0] == "+" else ("present" if file == slot else "renamed", file)
                for slot, file in wanted.items()}
    assert slots(graded(tmp_path, week, files)) == expected


NEVER = {  # (week, files, the slots that they do fill)
    "another layer": (3, ["metrics_resnet18_head.json"], {"metrics_resnet18_head.json"}),
    "one letter that counts": (3, ["metrics_resnet18_all_augD.json", "curves_resnet18_all_augD.png"], set()),
    "another fraction": (5, ["probe_metrics_20pct.json", "probe_metrics_50.json"], set()),
    "no fraction at all": (5, ["probe_metrics.json"], set()),
    "another plot": (5, ["probe_vs_supervised_plot_ece.png", "reliability_probe_5pct.png", "umap_probe.png"], set()),
    "an extra task": (5, ["B2_probe_results.json", "grid_5pct_P1.json", "roc_P4.png", "README_week5_B2.md"], set()),
    "another curve": (7, ["roc_curve.png", "calibration_curve.png"], {"roc_curve.png"}),
    "a history is no result": (2, {"history_smallcnn.json": [{"epoch": 1, "loss": 0.6}, {"epoch": 2}]}, set()),
    "numbers are no configuration": (4, {"metrics.json": one(), "config.txt": "later"}, set()),
    "val for test": (1, ["val_metrics.json"], set()),
    "neither of two": (2, ["confusion_matrix.png"], set()),
    "another data kind": (1, {"reliability.json": {"bins": [1]}, "test_metrics.png": None, "curves.csv": None}, set()),
    "a paper that lies around": (2, ["error_analysis.md", "feedback.md", "feedbank.md"], set()),
    "what another slot fits better": (7, ["operating_point.json", "operating_points.json"], {"operating_point.json"}),
    "a table of other things": (7, {"README_week7.md": "| Model | AUROC | threshold |\n|-|-|-|\n| ssl | 0.8 | 0.5 |\n"},
                                {"README_week7_core.md"}),
    "a second one": (6, ["metrics_ssl_finetune.json", "metrics_ssl_finetune_5.json"], {"metrics_ssl_finetune.json"}),
}


@pytest.mark.parametrize("case", NEVER)
def test_no_file_is_taken_for_another_result(case, tmp_path):
    week, files, fills = NEVER[case]
    assert set(slots(graded(tmp_path, week, files))) == fills


def test_of_several_files_the_nearest_fills_the_slot_and_each_fills_one(tmp_path):
    found = slots(graded(tmp_path, 2, ["metrics_resnet18_head.json", "metrics_head (copy).json", "metrics_small.json",
                                       "cm-head.png", "cm smallcnn head.png"]))
    assert found["metrics_resnet18_head.json"] == ("present", "metrics_resnet18_head.json")
    assert found["metrics_smallcnn.json"] == ("renamed", "metrics_small.json")
    assert found["cm_resnet18_head.png"] == ("renamed", "cm-head.png")
    assert found["cm_smallcnn.png"] == ("renamed", "cm smallcnn head.png")
    files = [file for _, file in found.values()]
    assert len(files) == len(set(files))


def test_each_renamed_file_has_its_own_command(tmp_path):
    submission = graded(tmp_path, 2, {"cm_restnet18_all.png": None, "plots/Reliability resnet18.png": None,
                                      "metrics_smallcnn.json": None})
    fixes = {f["fix"]: f for f in submission["findings"] if f["code"] == "renamed"}
    folder = f"results/week2/pneumoniamnist/{ME}"
    assert f"git mv '{folder}/plots/Reliability resnet18.png' {folder}/reliability_resnet18_head.png" in fixes
    (other,) = [f for f in fixes.values() if "restnet18" in f["where"]]
    assert other["severity"] == "warning" and "it is about all, not head" in other["message"]
    assert "git mv" not in other["fix"] and "head run is missing" in other["fix"]  # another result under its name


def test_missing_predictions_are_one_finding_and_a_block_is_read_from_its_file(tmp_path):
    submission = graded(tmp_path, 5, {"both.json": {"probe_5pct": one(seed=3), "probe_10pct": one(auroc=0.9)}})
    (scores,) = [f for f in submission["findings"] if f["code"] == "not-recomputable"]
    assert "predictions_probe_5pct_test.csv, predictions_probe_10pct_test.csv" in scores["message"]
    (both,) = [f for f in submission["findings"] if f["code"] == "merged"]
    assert both["where"].endswith("both.json") and "probe_metrics_10pct.json" in both["message"]
    notes = {s["file"]: s["note"] for s in submission["slots"]}
    assert notes["probe_metrics_5pct.json"] == "found in both.json under probe_5pct"


def test_a_name_that_fits_two_is_said_to(tmp_path):
    submission = graded(tmp_path, 2, ["confusion_matrix.png"])
    (said, other) = [f["message"] for f in submission["findings"] if "cm_" in f["message"]]
    assert "confusion_matrix.png could be it" in said and "confusion_matrix.png could be it" in other


def test_hundreds_of_hostile_names_cost_little_and_break_nothing(tmp_path):
    names = [f"{'metrics_' * (k % 7)}{k}{chr(0x600 + k)}²%(1)..json" for k in range(300)]
    names += ["a" * 200 + ".png", "-rf.md"]
    submission = graded(tmp_path, 2, dict.fromkeys(names, "[[[["))
    assert not slots(submission) or set(slots(submission)) <= {"README_week2.md"}


WORDS = Vocabulary(load_contract(), ("adalovelace", "Ada", "Lovelace"))


@pytest.mark.parametrize(("name", "says"), [
    ("AdaLovelace_Week2_ConfusionMatrix-SmallCNN(1).png", {"kind": "confusion", "model": "smallcnn"}),
    ("metrics_ssl_fine_tuned_0.05.json", {"kind": "metrics", "origin": "ssl", "layers": "all", "stage": "finetune",
                                          "fraction": 5}),
    ("self_supervised-linear probe 10%.json", {"origin": "ssl", "stage": "probe", "fraction": 10}),
    ("relaibility_seed_10.png", {"kind": "reliability"}),
    ("pneumoniamnist_AUGA.json", {"augmentation": "augA"}),
    ("xyzzy.json", {}),
])
def test_words_of_a_name(name, says):
    assert WORDS.read(name).says == {key: frozenset({value}) for key, value in says.items()}
