"""Drafts of feedback: praise that is true, few and ranked fixes, a question, nobody else's name, no hostile markup."""

import re
import shutil
from pathlib import Path

import pytest
from graded import METRICS, PREDICTIONS, README, WEEK1, edit_json, hand_in
from test_gradebook import table

from medssl.course.checker.grade import grade
from medssl.course.checker.pages import feedback
from medssl.course.checker.pages.questions import QUESTIONS
from medssl.course.contract import load_contract

HARSH = re.compile(r"(?i)\b(cheat|copied|plagiar|fraud|lazy|careless|fail(ed)?|bad|poor|wrong with you|score|%)\b")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    for name in ("ada", "bo"):
        hand_in(root, 1, name)
    return root


@pytest.fixture
def tree(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "course")
    return tmp_path / "course"


def drafts(tree: Path) -> dict[str, str]:
    return feedback.drafts(grade(tree))


def finding(message: str, fix: str = "do it", severity: str = "error", where: str = "x", code: str = "code") -> dict:
    return {"code": code, "severity": severity, "where": where, "message": message, "fix": fix}


def with_findings(*findings: dict, others: tuple = ()):
    report = table(("ada", 1, 50.0), *((name, 1, 100.0) for name in others))
    report.submissions[0]["findings"] = list(findings)
    return report


def fixes(text: str) -> list[str]:
    return re.findall(r"(?m)^\d\. (.*)$", text)


def test_a_whole_submission_is_praised_for_what_it_has(tree):
    readme = tree / WEEK1 / "ada" / README
    readme.write_text(readme.read_text() + "\nwords " * 100)
    text = drafts(tree)["week1/breastmnist/ada.md"]
    for praise in ("All 6 required files are there and readable, each under its right name",
                   "follows from your predictions", "You ran 3 seeds", "confidence intervals", "words of your own",
                   "Nothing that a program can see"):
        assert praise in text
    assert text.startswith("# Week 1 (") and "**Draft for the instructor" in text
    assert re.findall("(?m)^## (.*)$", text) == ["What is good", "What to mend first", "A question to think about"]


def test_nothing_is_praised_that_is_not_so(tree):
    ada = tree / WEEK1 / "ada"
    edit_json(ada / METRICS, accuracy=0.99)
    (ada / "reliability.png").unlink()
    text = drafts(tree)["week1/breastmnist/ada.md"]
    assert "follows from your predictions" not in text and "words of your own" not in text
    assert "5 of 6 required files are there" in text
    assert "does not follow from predictions_test.csv" in fixes(text)[0]  # before the figure that is not there
    (ada / PREDICTIONS).unlink()
    assert "seeds" not in drafts(tree)["week1/breastmnist/ada.md"].partition("## What to mend")[0]


def test_at_most_five_fixes_errors_first_one_for_each_cause_and_notes_left_out():
    some = [finding(f"F{k} is missing", "run it again") for k in range(7)]
    some += [finding(f"W{k} is odd", f"look at {k}", "warning") for k in range(6)]
    some += [finding("a note", "nothing", "note"), finding("E is broken", "mend e")]
    text = feedback.drafts(with_findings(*some))["week1/breastmnist/ada.md"]
    assert len(fixes(text)) == 5
    assert fixes(text)[0] == "F0 is missing" and "… and 4 more of the same cause" in text
    assert "To mend all of it: run it again." in text
    assert fixes(text)[1] == "E is broken" and fixes(text)[2].startswith("W0")
    assert "a note" not in text and "There are 3 smaller things" in text


def test_one_smaller_thing_is_one_and_what_cannot_be_checked_is_not_hidden():
    some = [finding(f"E{k}", f"mend {k}") for k in range(5)] + [finding("W", "look", "warning")]
    text = feedback.drafts(with_findings(*some))["week1/breastmnist/ada.md"]
    assert "There is one smaller thing; `medssl grade results` lists it." in text
    some = [finding(f"F{k}", "run", where=f"f{k}") for k in range(5)] + [finding("N", "run", code="not-recomputable")]
    assert fixes(feedback.drafts(with_findings(*some))["week1/breastmnist/ada.md"]) == ["N"]


def test_a_picture_of_the_set_up_and_a_part_of_another_file_are_no_extra_work(tree):
    report = grade(tree)
    for slot, status in (("screenshot_env.png", "present"), ("table.md", "merged")):
        report.submissions[0]["slots"].append({"file": slot, "kind": "figure", "required": False, "status": status,
                                               "found": f"x/{slot}", "note": ""})
    text = feedback.drafts(report)["week1/breastmnist/ada.md"]
    assert "screenshot_env.png" not in text and "table.md" not in text


def test_what_others_stand_on_comes_first(tree):
    report = grade(tree)
    where = {"F": "reliability.png", "M": METRICS, "P": PREDICTIONS}
    report.submissions[0]["findings"] = [finding(k, f"mend {k}", where=f"{WEEK1}/ada/{f}") for k, f in where.items()]
    assert fixes(feedback.drafts(report)["week1/breastmnist/ada.md"]) == ["P", "M", "F"]


def test_what_sounds_like_a_reproach_is_asked_and_not_said():
    text = feedback.drafts(with_findings(finding("one of the two was copied"), finding("a plain fault", "mend")))
    assert sorted(fixes(text["week1/breastmnist/ada.md"])) == [
        "Let us look at this one together: one of the two was copied", "a plain fault"]


def test_nobody_else_is_named():
    report = with_findings(finding("ada has the same predictions as bo", "ask both"),
                           finding("see week1/breastmnist/bo"), finding("the robot is broken"), others=("bo",))
    text = feedback.drafts(report)["week1/breastmnist/ada.md"]
    assert fixes(text) == ["the robot is broken"] and "2 findings. See the report" in text
    assert not re.search(r"\bbo\b", text)


HOSTILE = ["[click](javascript:alert(1))", "<script>alert(1)</script>", "`rm -rf /`",
           "![x](http://evil.example/x.png)", "a\n# Heading\n- item", "| a | b |", "**loud** _soft_ ~~gone~~",
           "http://evil.example www.evil.example", "# not a heading", "1. not a list", "> no quote", "+ no item",
           "<!-- hidden", "a &lt; b", "$x$", "@everybody"]


@pytest.mark.parametrize("evil", HOSTILE)
def test_nothing_hostile_becomes_markup(evil):
    """Rendered, every piece of text is exactly what was handed in: no tag beyond those of the draft's own skeleton."""
    nbconvert = pytest.importorskip("nbconvert.filters.markdown", reason="nbconvert is not installed")
    report = with_findings(finding(evil, "look"), finding("x", f"git mv '{evil}' y", "warning"))
    report.submissions[0] |= {"name": evil.replace("/", "_"), "folder": f"results/{evil}"}
    (text,) = feedback.drafts(report).values()
    html = nbconvert.markdown2html(text)
    tags = set(re.findall(r"<(\w+)", html))
    assert tags <= {"h1", "h2", "p", "ul", "ol", "li", "code", "blockquote", "strong", "a", "br"}, tags - {"h1"}
    assert not re.findall(r'<a[^>]*href="(?!#)', html), html  # only the anchors of headings
    assert html.count("<h1") == 1 and html.count("<h2") == 3
    assert html.count("<strong>") == 1  # the draft's own


def test_file_names_stay_readable_and_commands_can_be_pasted():
    assert feedback.escape("test_metrics.json gives ECE = 0.3 where they give 0.1 (seed 2)") == (
        "test_metrics.json gives ECE = 0.3 where they give 0.1 (seed 2)")
    assert feedback._fix("git mv 'a b' `c`") == "`` git mv 'a b' `c` ``"
    assert feedback._fix("set NAME to your own") == "set NAME to your own."


def test_drafts_are_the_same_twice_stay_in_their_folder_and_never_replace_one_another(tree, tmp_path):
    for name in ("..", ".", "a/../../b", "con", "", "x" * 300):
        report = table((name, 1, 0.0), (name, 1, 0.0))
        written = [path.resolve() for path in report.write_feedback(tmp_path / "drafts")]
        assert len(set(written)) == 2 and all((tmp_path / "drafts") in path.parents for path in written)
    assert drafts(tree) == drafts(tree)


@pytest.mark.parametrize("week", [week.number for week in load_contract().weeks])
def test_each_week_has_its_questions_and_no_draft_shames(week):
    assert len(QUESTIONS[week]) >= 2
    assert all(text.endswith("?") and len(text) < 200 for text in QUESTIONS[week])
    text = next(iter(feedback.drafts(table(("ada", week, 10.0))).values()))
    assert any(question in text for question in QUESTIONS[week])
    assert not HARSH.search(text), HARSH.search(text)
    asked = {next(iter(feedback.drafts(table((f"n{k}", week, 10.0))).values())).splitlines()[-1] for k in range(12)}
    assert len(asked) >= 2  # neighbours do not all get the same
