"""Every command that the report prints, run from top to bottom in a repository: it works, and mends what it says."""

import re
import subprocess

import pytest
from test_walk import put

from medssl.course.checker.grade import grade

MOVES = ("renamed", "folder-spelling", "wrong-level", "junk", "duplicate")
MESSY = [
    "Week1/brestmnist/Alan_Turing/Reliability.png", "Week1/brestmnist/Alan_Turing/README_Week1.md",
    "week1/breastmnist/alanturing2/test_metrics.json",  # week1 is there already
    "week2/breasmnist/Lise_Meitner/README.md", "week2/breasmnist/Lise_Meitner/missclassified_gallery.png",
    "week2/breasmnist/Lise_Meitner/cm_restnet18_all.png", "week2/breasmnist/Lise_Meitner/.DS_Store",
    "Week6/Breastmnist/ottohahn/README_week6.md", "week6/pneumoniamnist/Otto Hahn/README_week6.md",
    "week3/gracehopper/README.md", "week3/gracehopper/metrics_breastmnist_head.json",
    "week3/emmy/breastmnist/README.md",
    "week4/breastmnist/alanturing/submission/README.md", "week4/breastmnist/alanturing/submission/ssl_loss.png",
    "week 5/brest/o'brien/all/of it/README.md", "week5/pneumoniamnist/Otto_Hahn/README_week5.md",
    "week5/pneumoniamnist/B2_probe_results.json", "week5/pneumoniamnist/Otto_Hahn/plots/ladder.md",
    "week7/breastmnist/lisemeitner/README.md", "week7/breastmnist/Lise Meitner/roc.png",  # two of one person
]


def everything(report) -> list[dict]:
    """The findings in the order of grade.json."""
    value = report.as_dict()
    return [*value["findings"], *(f for s in value["submissions"] for f in s["findings"])]


def git(root, *words) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words], cwd=root, check=True,
                   capture_output=True)


@pytest.fixture
def messy(tmp_path):
    from PIL import Image
    for k, path in enumerate(MESSY):
        put(tmp_path, path, holds=f"# Mine\nWords {k}.\n" if not path.endswith(".json") else
            f'{{"acc": 0.7{k:02d}, "auroc": 0.81}}')
        if path.endswith(".png"):
            Image.new("L", (8, 8), k).save(tmp_path / "results" / path)
    (tmp_path / "reports/Week8").mkdir(parents=True)
    (tmp_path / "reports/Week8/Ada_Lovelace_ethics.md").write_text("# Use\nNever for patients.")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "handed in")
    return tmp_path


def test_all_printed_commands_work_in_their_order_and_leave_nothing_to_move(messy):
    said = everything(grade(messy))
    commands = [f["fix"] for f in said if re.match(r"git |mkdir ", f["fix"])]
    assert len(commands) > 20
    for command in commands:
        done = subprocess.run(["bash", "-c", command], cwd=messy, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
    git(messy, "commit", "-qam", "mended")
    git(messy, "clean", "-fdqx")  # what only the working tree holds
    after = grade(messy)
    left = [f for f in everything(after) if f["code"] in MOVES and "cm_restnet18_all" not in f["where"]]
    assert left == []
    places = {s["folder"] for s in after.submissions}
    assert {"results/week1/breastmnist/alanturing", "results/week2/breastmnist/lisemeitner", "reports/week8",
            "results/week3/breastmnist/gracehopper", "results/week3/breastmnist/emmy",
            "results/week5/breastmnist/obrien", "results/week6/breastmnist/ottohahn"} <= places
    assert not any("Week" in place or " " in place for place in places)


def test_one_folder_has_one_finding_about_its_place(messy):
    for s in grade(messy).submissions:
        assert sum(f["code"] in ("folder-spelling", "wrong-level") for f in s["findings"]) <= 1, s["findings"]


def test_no_file_gets_a_name_that_its_content_contradicts(messy):
    fixes = [f["fix"] for f in everything(grade(messy))]
    assert not any(fix.startswith("git mv") and "cm_resnet18_head" in fix for fix in fixes)
    put(messy, "week4/breastmnist/emmy/ssl_encoder.txt", holds="https://drive.google.com/x")
    assert not any("ssl_encoder.pt" in f["fix"] for f in everything(grade(messy)))


def test_a_file_that_fills_a_core_slot_is_no_extra_task(tmp_path):
    put(tmp_path, "week7/pneumoniamnist/eva/P2_Operating_Points.md", holds="| Threshold | TPR | FPR |\n|-|-|-|\n")
    (s,) = grade(tmp_path).submissions
    assert s["tasks"] == [] and "task-meaning" not in {f["code"] for f in s["findings"]}


def test_no_pattern_is_left_open_in_a_message(messy):
    (messy / "results/week8/breastmnist/ada").mkdir(parents=True)
    (messy / "results/week8/breastmnist/ada/robustness_table.md").write_text("# x")
    said = [f for f in everything(grade(messy)) if "{" in f["message"] + f["fix"]]
    assert said == []
    assert any("There is no reports/week8/ada_ethics_limits.md" in f["message"] for f in everything(grade(messy)))


def test_the_same_fault_in_each_block_is_said_once(tmp_path):
    block = '{"acc": 0.7, "auroc": 0.8}'
    put(tmp_path, "week6/breastmnist/eva/all.json", holds=f'{{"supervised": {block}, "ssl_probe": {block}, '
        f'"ssl_finetune": {block}}}')
    said = [(f["code"], f["where"], f["message"]) for f in grade(tmp_path).submissions[0]["findings"]]
    assert len(said) == len(set(said))
    assert any(code == "key-renamed" and "in 3 blocks: supervised, ssl_probe, ssl_finetune" in m for code, _, m in said)


def test_a_heading_that_is_not_there_is_not_said_to_be_empty(tmp_path):
    put(tmp_path, "week1/breastmnist/eva/README_week1.md", holds="# Week 1\n## What I ran\n")
    (found,) = [f for f in grade(tmp_path).submissions[0]["findings"] if f["code"] == "readme-unfilled"]
    assert "has no heading One bug I hit" in found["message"]
    assert "nothing of your own under What I ran:" in found["message"]
