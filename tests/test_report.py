"""The report: one page that carries everything, a gradebook that Canvas and Moodle take, nothing hostile in either."""

import base64
import csv
import hashlib
import json
import os
import pickle
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from graded import METRICS, WEEK1, edit_json, hand_in, of
from PIL import Image

from medssl.course.checker.grade import _sorted, grade
from medssl.course.checker.pages import classview, page, pictures
from medssl.course.checker.parse.handed_in import Problem, clean

FILES = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    for name in ("ada", "bo"):
        hand_in(root, 1, name)
    hand_in(root, 2, "bo")
    return root


@pytest.fixture
def tree(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "course")
    return tmp_path / "course"


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.all: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.all if name == tag]


def page_of(tree: Path, folder: Path) -> str:
    return grade(tree).write_html(folder / "grade.html").read_text()


def test_the_science_comes_before_the_bookkeeping(tree):
    """A wrong number of images is said before a missing file, in the list, on the terminal and on the page."""
    def told(code: str, where: str, severity: str = "error") -> dict:
        return {"code": code, "severity": severity, "where": where, "message": f"{code} in {where}", "fix": "x"}

    rows = [told("missing", "a"), told("missing", "b"), told("key-missing", "a"), told("empty", "c"),
            told("metric-mismatch", "y"), told("wrong-n", "z"), told("same-as-another", "q", "warning")]
    ranked = ["wrong-n", "metric-mismatch", "empty", "missing", "key-missing"]
    assert list(dict.fromkeys(f["code"] for f in _sorted(rows))) == [*ranked, "same-as-another"]
    ((severity, groups), _) = page._grouped(rows)
    assert severity == "error" and [code for code, *_ in groups] == ranked
    report = grade(tree)
    report.submissions[0]["findings"], report.submissions[1]["findings"] = rows[:1], rows[5:6]
    assert report.summary().index("wrong-n in z") < report.summary().index("missing in a")


# -------------------------------------------------------------------------------------------- the page
def test_hostile_names_reach_neither_page_nor_sheet_nor_terminal(tree, tmp_path):
    for name in ("<script>alert(1)", "=cmd|calc", "\x1b[31mred\u202e", "-x; rm -rf ~", "a" * 200):
        (tree / WEEK1 / name).mkdir()
    os.mkdir(os.fsencode(tree / WEEK1) + b"/\xff\xfe")
    evil = tree / WEEK1 / "ada" / "<img src=x onerror=alert(2)>.png"
    evil.write_bytes((tree / WEEK1 / "ada/reliability.png").read_bytes())
    (tree / WEEK1 / "ada/README_week1.md").write_text("</pre><script>alert(4)</script> [x](javascript:alert(5))\n" * 9)
    edit_json(tree / WEEK1 / "ada" / METRICS, dataset="<svg onload=alert(3)>", accuracy="=1+1")
    report = grade(tree)
    assert of(report, "bo")["findings"] == []
    text = report.write_html(tmp_path / "grade.html").read_text()
    tags = Tags(text)
    assert text.count("<script") == 1 and "&lt;script&gt;alert(4)" in text
    assert {attrs.get("src", "")[:23] for attrs in tags.of("img")} == {"data:image/webp;base64,", ""}  # "": the dialog
    assert not [name for _, attrs in tags.all for name in attrs if name.startswith("on")]
    assert not [a for a in tags.of("a") if re.match(r"\s*(javascript|data):", a.get("href", ""))]
    for row in csv.reader(report.write_csv(tmp_path / "g.csv").open(encoding="utf-8-sig")):
        assert not [cell for cell in row if cell[:1] in ("=", "+", "-", "@")], row
    assert "\x1b" not in report.summary() and "\u202e" not in report.summary()
    assert "\x1b" not in report.write_json(tmp_path / "g.json").read_text()
    assert clean("a\x00b\x9bc\ud800") == "a\ufffdb\ufffdc\ufffd"


def test_the_page_needs_no_network_and_only_our_script_may_run(tree, tmp_path):
    text = page_of(tree, tmp_path / "out")
    assert not re.search(r"https?:", re.sub(r'src="data:[^"]*"', "", text))
    (policy,) = [m["content"] for m in Tags(text).of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    script = re.search(r"(?s)<script>(.*)</script>", text)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ")[:4] == ["default-src 'none'", "style-src 'unsafe-inline'", "img-src data:",
                                      f"script-src 'sha256-{digest}'"]
    assert not [attrs for _, attrs in Tags(text).all if {"style", "srcset", "onclick"} & attrs.keys()]


def test_figures_are_inside_and_lead_to_their_originals(tree, tmp_path):
    text = page_of(tree, tmp_path / "out")
    shown = [attrs for attrs in Tags(text).of("img") if attrs.get("alt") == "reliability.png"]
    assert len(shown) == 2  # ada's and bo's, both of week 1
    raw = base64.b64decode(shown[0]["src"].partition(",")[2])
    assert raw[:4] == b"RIFF" and raw[8:12] == b"WEBP"
    (link,) = [a["href"] for a in Tags(text).of("a") if a.get("href", "").endswith("ada/reliability.png")]
    assert link == f"../course/{WEEK1}/ada/reliability.png" and (tmp_path / "out" / link).is_file()


def test_what_is_no_picture_or_lies_outside_is_not_shown(tree, tmp_path):
    secret, ada = tmp_path / "secret.png", tree / WEEK1 / "ada"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(secret)
    (ada / "extra.png").write_text("no picture")
    (ada / "reliability.png").unlink()
    (ada / "reliability.png").symlink_to(secret)
    report = grade(tree)
    shown = {one.rpartition("/")[2] for one, _ in pictures.figures_of(report.base, of(report))}
    assert {"curves.png", "extra.png"} <= shown and "reliability.png" not in shown
    assert pictures.thumbnail(report.base, f"{WEEK1}/ada/extra.png", False, 10**6) == ""
    for shown in (f"{WEEK1}/ada/reliability.png", "../secret.png", "results/../../secret.png", f"{secret}", "results/x",
                  "results//etc/passwd", "results/a\0b/c", ""):
        assert pictures.bytes_at(report.base, shown) is None, shown
    (tree / WEEK1 / "link").symlink_to(ada)
    assert pictures.bytes_at(report.base, f"{WEEK1}/link/curves.png") is None
    assert pictures.bytes_at(report.base, f"{WEEK1}/ada/curves.png")


def test_the_more_figures_the_smaller_each_and_the_page_keeps_its_size(tmp_path):
    """Noise is the picture that compresses worst."""
    folder = tmp_path / "results/week1/x"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k in range(4):
        Image.fromarray(rng.integers(0, 255, (500, 700, 4), np.uint8)).save(folder / f"{k}.png")
    figures = [(f"results/week1/x/{k}.png", False) for k in range(4)]
    for budget in (400_000, 60_000, 12_000, 1_000):
        made = pictures.thumbnails(tmp_path, figures, budget)
        assert sum(map(len, made.values())) <= budget
        assert len(made) == (4 if budget > 1_000 else 0)


def test_a_readme_is_shown_without_the_tables_that_the_notebook_made(tree, tmp_path):
    text = page_of(tree, tmp_path)
    assert "My own words on:" in text and "medssl:results" not in text
    assert pictures.own_words("a\n<!-- medssl:x -->\nb\n<!-- /medssl:x -->\nc\n<!-- medssl:y -->\nd") == (
        "a\nc\n<!-- medssl:y -->\nd")  # a marker that nobody closed hides nothing


def test_the_page_calls_files_files_and_sorts_by_name(tree, tmp_path):
    (tree / WEEK1 / "ada" / METRICS).unlink()
    hand_in(tree, 2, "ada")
    report = grade(tree)
    report.graded_at = "2026-11-21T02:37:09+00:00"
    text = report.write_html(tmp_path / "grade.html").read_text()
    assert "21 Nov 2026, 02:37 UTC" in text and "files %" in text and "83 % of files" in text
    folders = [f"{WEEK1}/ada</span>", "results/week2/breastmnist/ada</span>", f"{WEEK1}/bo</span>",
               "results/week2/breastmnist/bo</span>"]
    assert sorted(folders, key=text.index) == folders
    assert text.count('<table class="numbers">') == 3  # none for ada's week 1: no table without rows


def test_reported_beside_recomputed_with_the_tolerance(tree, tmp_path):
    edit_json(tree / WEEK1 / "ada" / METRICS, accuracy=0.99)
    text = page_of(tree, tmp_path)
    assert "1 of " in text and "numbers do not agree" in text and "0.990" in text and "± 0.005" in text


def test_findings_are_grouped_by_severity_and_code_with_one_fix_for_equal_ones():
    def finding(code, severity, message, fix):
        return {"code": code, "severity": severity, "where": "x", "message": message, "fix": fix}

    groups = page._grouped([finding("b", "warning", "1", "do"), finding("a", "error", "2", "this"),
                            finding("b", "warning", "3", "do"), finding("a", "error", "4", "that")])
    assert [(severity, [(code, fix, len(some)) for code, fix, some in codes]) for severity, codes in groups] == [
        ("error", [("a", "", 2)]), ("warning", [("b", "do", 2)])]


def test_an_empty_folder_gives_a_page_with_a_friendly_word(tmp_path):
    (tmp_path / "results").mkdir()
    assert "medssl run week01" in page_of(tmp_path / "results", tmp_path)
    assert grade(tmp_path / "results").write_csv(tmp_path / "g.csv").read_text().count("\n") == 1
    assert grade(tmp_path / "results").write_feedback(tmp_path / "drafts") == []


# ------------------------------------------------------------------------------------------- the class
def test_who_is_far_from_the_rest():
    counts = (42, 114)
    spread = [0.80, 0.82, 0.84, 0.86, 0.88, 0.90]
    assert classview.far_off([*spread, 0.40], "accuracy", counts)[-1]
    assert not any(classview.far_off(spread, "accuracy", counts))
    same = [0.85] * 20  # one seed for all: no spread, so the noise of the test images is what counts
    assert not any(classview.far_off([*same, 0.87], "accuracy", counts))
    assert classview.far_off([*same, 0.70], "accuracy", counts) == [False] * 20 + [True]
    assert not any(classview.far_off([0.9, 0.1], "auroc", counts))  # two people are no class


@pytest.mark.parametrize(("metric", "value", "counts", "half"), [
    ("auroc", 0.80, (42, 114), 0.07), ("auroc", 0.92, (42, 114), 0.045), ("accuracy", 0.85, (42, 114), 0.056),
    ("auroc", 0.92, (234, 390), 0.022), ("accuracy", 0.88, (234, 390), 0.0255), ("ece", 0.1, (42, 114), 0.034)])
def test_the_noise_of_the_test_images_is_about_what_was_measured(metric, value, counts, half):
    assert classview.noise(metric, value, counts) == pytest.approx(half, rel=0.15)


def test_the_class_view_counts_submissions_and_reads_numbers_that_nobody_can_recompute(tree):
    (tree / WEEK1 / "ada/predictions_test.csv").unlink()
    (tree / WEEK1 / "ada/curves.png").unlink()
    (tree / WEEK1 / "ada" / METRICS).write_text('{"test": {"acc": 0.5, "roc_auc": 0.6}}')
    report = grade(tree)
    shown = [s | {"id": f"s{k}"} for k, s in enumerate(report.submissions)]
    numbers = {s["id"]: classview.numbers_of(report.base, s) for s in shown}
    assert numbers["s0"][METRICS] == {"accuracy": (0.5, False), "auroc": (0.6, False)}
    assert numbers["s1"][METRICS]["accuracy"][1] is True
    first = classview.plots(shown, numbers)[0]
    accuracy = first["rows"][0]["panels"][0]
    assert [(d["name"], d["recomputed"], d["weak"]) for d in accuracy["dots"]] == [("ada", False, True),
                                                                                ("bo", True, False)]
    assert accuracy["line_value"] == pytest.approx(114 / 156)
    missed = classview.missed(shown)
    assert (missed[0]["file"], missed[0]["without"], missed[0]["of"], missed[0]["names"]) == (
        "predictions_test.csv", 1, 2, ["ada"])
    assert "curves.png" not in {m["file"] for m in missed}  # optional
    assert {c["code"] for c in classview.common(shown)} >= {"not-recomputable"}
    weeks = {w["week"]: (w["there"], w["of"], w["missing"]) for w in classview.handed_in(shown)}
    assert weeks == {1: (2, 2, []), 2: (1, 2, ["ada"])}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_of_the_page_has_contrast(scheme):
    """Contrast of WCAG: (L1 + 0.05) / (L2 + 0.05) of relative luminances, 4.5 at least."""
    light, dark = re.findall(r":root \{(.*?)\}", (page.TEMPLATES / "grade.css").read_text(), re.S)[:2]
    colours = dict(re.findall(r"--([\w-]+): #(\w+)", light if scheme == "light" else dark))

    def luminance(name: str) -> float:
        code = colours[name] if len(colours[name]) == 6 else "".join(2 * c for c in colours[name])
        parts = [int(code[k:k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = [(text, paper) for text in ("ink", "soft", "link") for paper in ("paper", "tint")]
    pairs += [(tone, f"{tone}-bg") for tone in ("good", "warn", "bad", "note")] + [("bad", "paper"), ("warn", "paper")]
    for one, other in pairs:
        high, low = sorted([luminance(one), luminance(other)], reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, one, other)


def test_grade_json_tells_what_disagrees_and_the_means_a_line_each(tree, tmp_path):
    edit_json(tree / WEEK1 / "ada" / METRICS, accuracy=0.5)
    report = grade(tree)
    told = json.loads(report.write_json(tmp_path / "g.json").read_text())
    assert told == json.loads(json.dumps(report.as_dict()))
    rows = next(s for s in told["submissions"] if s["name"] == "ada")["metrics"]
    assert ("accuracy", "mean", False) in {(row["metric"], row["seed"], row["agrees"]) for row in rows}
    assert {row["metric"] for row in rows if row["seed"] == "mean"} >= {"brier", "auprc"}
    assert {row["metric"] for row in rows if row["seed"] == 0} == {"n", "accuracy", "auroc", "ece"}
    lines = (tmp_path / "g.json").read_text().splitlines()
    assert sum('"recomputed"' in line for line in lines) == sum(len(s["metrics"]) for s in told["submissions"])


def test_one_figure_under_many_names_is_made_small_once(tree, monkeypatch):
    report, made = grade(tree), []
    shown = [f"{WEEK1}/{name}/reliability.png" for name in ("ada", "bo")]
    shutil.copy(tree / shown[0], tree / shown[1])
    real = pictures.thumbnail
    monkeypatch.setattr(pictures, "thumbnail", lambda *args: made.append(args) or real(*args))
    small = pictures.thumbnails(report.base, [(one, True) for one in shown], 10**6)
    assert list(small) == shown and len(made) == 1 and small[shown[0]] == small[shown[1]]


def test_a_problem_can_go_to_another_process():
    there = pickle.loads(pickle.dumps(Problem("code", "what", "fix", "note")))
    assert (there.code, there.message, there.fix, there.severity) == ("code", "what", "fix", "note")
