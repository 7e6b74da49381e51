"""The checker: folders and names that are not quite right, tasks and reports, and whose each file is."""

import pytest
from graded import FIGURE, WEEK1, codes, copy_to_break, edit_json, hand_in, of, status

from medssl.course.checker.grade import grade
from medssl.course.submission import Submission
from medssl.errors import MedsslError


@pytest.fixture
def tree(tmp_path):
    """A whole hand-in of two people, to break."""
    return copy_to_break(tmp_path)


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
