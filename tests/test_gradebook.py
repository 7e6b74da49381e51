"""The gradebook that Canvas and Moodle take, its roster, and the page that explains them to instructors."""

import ast
import csv
import re
from pathlib import Path

import pytest
from graded import hand_in, of
from typer.testing import CliRunner

from medssl.cli import app
from medssl.course.checker.grade import grade
from medssl.course.checker.pages import gradebook
from medssl.course.checker.report import Report
from medssl.errors import MedsslError

FILES = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")


@pytest.fixture
def tree(tmp_path) -> Path:
    hand_in(tmp_path / "course", 1, "ada", seeds=(0,))
    return tmp_path / "course"


def rows_of(path: Path) -> list[dict]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def table(*people: tuple[str, int, float], findings=()) -> Report:
    """A report of submissions (name, week, files %) without any files."""
    rows = [{"week": week, "dataset": "breastmnist", "name": name, "folder": f"results/week{week}/breastmnist/{name}",
             "score": score, "slots": [], "findings": [], "metrics": [], "tasks": [], "extra_files": [],
             "phantom": False, "backbone": None} for name, week, score in people]
    return Report("results", Path("."), "1", list(range(1, 11)), rows, list(findings))


def test_the_gradebook_has_the_columns_of_canvas_and_a_mean_with_and_without_empty_weeks(tmp_path):
    report = table(("ada", 1, 100.0), ("ada", 2, 50.0), ("bo", 1, 80.0), ("ada", 1, 90.0), ("group", 9, 75.0))
    rows = rows_of(report.write_csv(tmp_path / "g.csv"))
    assert tuple(rows[0])[:5] == FILES
    assert list(rows[0])[5:] == ["Week 1 files", "Week 2 files", "Week 9 files", "Current Score", "Final Score"]
    assert [[row["Student"], *list(row.values())[5:]] for row in rows] == [
        ["ada", "100.0", "50.0", "75.0", "75.0", "75.0"], ["bo", "80.0", "", "75.0", "77.5", "51.7"]]


CANVAS = ('Student,ID,SIS User ID,SIS Login ID,Section,Week 1 files (812)\n'
          '"    Points Possible",,,,,100\n'
          '"Lovelace, Ada",101,S1,al@uni.edu,A,\n"Bo",102,S2,bo7,A,\n"Cy",103,S3,cy,A,\n')
MOODLE = ("First name,Last name,ID number,Email address\nAda,Lovelace,S1,al@uni.edu\nBo,Nilsson,S2,bo@uni.edu\n"
          "Cy,Twombly,S3,cy@uni.edu\n")
OWN = "name,id,email\nada_lovelace,101,al@uni.edu\nBO,102,bo@uni.edu\ncy,103,cy@uni.edu\n"


@pytest.mark.parametrize(("text", "ada"), [
    (CANVAS, ("Lovelace, Ada", "101", "S1", "al@uni.edu", "A")), (MOODLE, ("Ada Lovelace", "", "S1", "al@uni.edu", "")),
    (OWN, ("ada_lovelace", "101", "", "al@uni.edu", ""))], ids=["canvas", "moodle", "own"])
def test_a_roster_makes_the_gradebook_importable(tmp_path, text, ada):
    (tmp_path / "roster.csv").write_text(text)
    report = table(("adalovelace", 1, 100.0), ("bo", 1, 80.0), ("stranger", 1, 60.0))
    rows = rows_of(report.write_csv(tmp_path / "g.csv", tmp_path / "roster.csv"))
    assert tuple(list(rows[0].values())[:5]) == ada
    assert [row["Week 1 files"] for row in rows] == ["100.0", "80.0", ""]  # Moodle stops at a stranger: not in it
    said = report.unmatched(tmp_path / "roster.csv")
    assert "1 in results but not in the roster" in said and "stranger" in said
    assert "1 in the roster without any submission: " in said and "cy" in said.casefold()


def test_a_person_under_both_orders_of_the_name_is_one_line_with_the_best_of_both(tmp_path):
    (tmp_path / "r.csv").write_text('student,id\n"Johnson, Katherine",8\n"Bo",2\n')
    report = table(("katherinejohnson", 1, 100.0), ("johnsonkatherine", 1, 50.0), ("johnsonkatherine", 2, 80.0),
                   ("bo", 1, 60.0))
    rows = rows_of(report.write_csv(tmp_path / "g.csv", tmp_path / "r.csv"))
    assert [[row["ID"], row["Week 1 files"], row["Week 2 files"]] for row in rows] == [
        ["8", "100.0", "80.0"], ["2", "60.0", ""]]
    assert "Everybody" in report.unmatched(tmp_path / "r.csv")


@pytest.mark.parametrize(("text", "says"), [("a,b\n1,2\n", "no column"), ("name,id\nbo,1\nB-o,2\n", "two lines"),
                                            ("\udcff", "cannot be read"), ("", "no column")])
def test_a_roster_that_cannot_serve_is_refused_in_words(tmp_path, text, says):
    (tmp_path / "r.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MedsslError, match=says):
        table(("bo", 1, 80.0)).write_csv(tmp_path / "g.csv", tmp_path / "r.csv")


@pytest.mark.parametrize(("words", "says"), [
    (["--html", "."], ". is a folder."), (["--csv", "."], ". is a folder."), (["--json", "."], ". is a folder."),
    (["--csv", "g.csv", "--roster", "r.csv"], "The roster r.csv cannot be read")])
def test_what_cannot_be_written_or_read_is_told_before_anything_is_graded(tree, monkeypatch, words, says):
    monkeypatch.chdir(tree.parent)
    monkeypatch.setattr("medssl.course.checker.grade.grade", lambda *_, **__: pytest.fail("graded first"))
    with pytest.raises(MedsslError, match=says):
        CliRunner().invoke(app, ["grade", "course", *words], catch_exceptions=False)


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@x", "|x", "%x", "\uff1d1+1", "\t=1"])
def test_no_cell_is_a_formula(tmp_path, evil):
    (tmp_path / "r.csv").write_text(f'name,student,id\nbo,"{evil}","{evil}"\n')
    (row,) = rows_of(table(("bo", 1, 80.0)).write_csv(tmp_path / "g.csv", tmp_path / "r.csv"))
    assert row["Student"].startswith("'") or row["Student"][0] not in "=+-@|%\t\uff1d"
    assert row["ID"] == row["Student"]


def test_feedback_goes_into_its_own_folder_unless_another_is_named(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["grade", "course", "--feedback", "--csv", "g.csv", "--html", "g.html"])
    assert run.exit_code == 0 and "written: drafts below runs/feedback, 1 in all" in run.output
    assert (tmp_path / "runs/feedback/week1/breastmnist/ada.md").is_file()
    run = CliRunner().invoke(app, ["grade", "course", "--feedback", "mine"])
    assert run.exit_code == 0 and (tmp_path / "mine/week1/breastmnist/ada.md").is_file()
    before = sorted((tree / "results").rglob("*"))
    run = CliRunner().invoke(app, ["grade", "course", "--feedback", "course"])
    assert isinstance(run.exception, MedsslError) and sorted((tree / "results").rglob("*")) == before


CHECKER, GRADING = Path(gradebook.__file__).parents[1], Path(__file__).parents[1] / "course/grading.md"


def codes_in_the_source() -> set[str]:
    """Codes of findings: first arguments of Problem(), what `code` is set to, keys of `said`, pairs (code, text)."""
    found = set()
    for file in CHECKER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem" and node.args:
                found |= {c.value for c in ast.walk(node.args[0]) if isinstance(c, ast.Constant)} - {"link"}
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
                found |= {c.value for c in ast.walk(node.value) if isinstance(c, ast.Constant)}
            elif isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "said":
                found |= {node.slice.value} if isinstance(node.slice, ast.Constant) else set()
            elif isinstance(node, ast.Return | ast.Assign) and isinstance(node.value, ast.Tuple) and node.value.elts:
                found |= {c.value for c in node.value.elts[:1] if isinstance(c, ast.Constant)
                          and re.fullmatch(r"[a-z]+(-[a-z]+)+", str(c.value))}
    return {code for code in found if isinstance(code, str) and re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", code)}


def test_every_code_is_explained_for_instructors_and_none_that_there_is_not():
    table = GRADING.read_text().partition("| Code | Severity |")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:] if line[:1] == "|"]
    explained = [row[0] for row in rows]
    assert len(explained) > 80 and explained == sorted(set(explained))
    assert codes_in_the_source() - set(explained) == set(), "explain these in course/grading.md"
    assert set(explained) - codes_in_the_source() - {"link"} == set(), "these are gone: take them out"
    for code, severity, meaning, mends in rows:
        assert set(severity.split(" or ")) <= {"error", "warning", "note"} and len(meaning) > 10 and mends, code


def test_the_instructors_page_describes_the_gradebook_and_grade_json_as_they_are(tree, tmp_path):
    text, report = GRADING.read_text(), grade(tree)
    assert all(f"{column}" in text for column in (*FILES, "Week N files", "Current Score", "Final Score"))
    s = of(report)
    keys = {*report.as_dict(), *s, *s["slots"][0], *s["metrics"][0], "code", "severity", "where", "message", "fix"}
    assert not [key for key in keys if not re.search(rf"\b{key}\b", text.partition("## grade.json")[2])]


def test_a_data_set_without_a_fixed_number_of_images_is_graded(tmp_path):
    """Crops of scans are drawn: nothing is divided by the number that their set has not."""
    folder = tmp_path / "results/week14/ctphantom/ada"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text('{"auroc": 0.8, "accuracy": 0.7, "ece": 0.05, "n_train": 40}')
    (folder / "lowlabel_metrics.json").write_text('{"n_train": 40, "auroc": 0.8, "seeds": [0]}')
    report = grade(tmp_path / "results")
    assert "ctphantom" in report.write_html(tmp_path / "page.html").read_text()
