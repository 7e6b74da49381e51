"""A thousand hostile things handed in at once: nothing is run, nothing outside is read, nothing breaks or hangs."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from cohort_today import perfect, renamed
from hostile import MARK, NAMES, VALUES, contents, paths, replaced

from medssl.course.checker.grade import grade

# Where hostile contents are put: a slot of each kind, and names that no slot asked for.
PLACES = {1: ["test_metrics.json", "predictions_test.csv", "reliability.png", "README_week1.md", "run.json", "env.json",
              "error_analysis.md", "notebook.ipynb", "all_metrics.txt"],
          4: ["ssl_config.json", "ssl_loss.csv", "ssl_encoder.pt", "ssl_loss_curve.png", "README_week4.md",
              "ssl_encoder.txt"],
          7: ["operating_point_table.md", "operating_point.json", "high_conf_error_gallery.csv", "predictions_val.csv",
              "high_conf_error_gallery.png", "README_week7_core.md", "curves_P4.npz", "P2.json"]}
BINARY = ("png", "pt", "npz")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> tuple[Path, int]:
    """(a folder with results/ and secrets beside it, how many hostile things lie in it)"""
    root, cases = tmp_path_factory.mktemp("hostile"), 0
    (root / "secret.json").write_text('{"SECRET": 1}')
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "test_metrics.json").write_text('{"SECRET": 1}')
    (root / "warm/results").mkdir(parents=True)
    base = {week: perfect(root / "warm", week, "breastmnist", "samename") for week in range(1, 8)}
    evil = list(contents(str(root / "trap")).items())
    for week, places in PLACES.items():
        for k in range(0, len(evil), 3):
            hand = renamed(base[week], f"content{k}")
            for j, (what, content) in enumerate(evil[k:k + 3]):
                place = places[(k + 2 * j) % len(places)]
                if place.endswith(BINARY) and what.startswith(("text", "json")):  # more telling where text is read
                    place = [hand.readme, "error_analysis.md", next(p for p in places if p.endswith("json"))][j]
                hand.files[place] = content
                cases += 1
            hand.write(root)
    rng = np.random.default_rng(7)
    for hand in base.values():
        fields = [(file, at) for file, value in hand.files.items() if file.endswith(".json") for at in paths(value)]
        order = rng.permutation(len(fields))
        for k in range(0, min(len(order), 80), 8):
            mine = renamed(hand, f"field{k}")
            for j in order[k:k + 8]:
                file, at = fields[j]
                value = VALUES[rng.integers(len(VALUES))]
                try:
                    mine.files[file] = replaced(mine.files[file], at, value)
                except (KeyError, IndexError, TypeError):  # an earlier fault took its place away
                    continue
                cases += 1
            mine.files = {file: dumped(value) for file, value in mine.files.items()}
            mine.write(root)
    for k, value in enumerate(VALUES):  # a whole file is one value
        mine = renamed(base[1 + k % 7], f"whole{k}")
        mine.files |= {file: dumped(value) for file in mine.files if file.endswith(".json")}
        mine.write(root)
        cases += 2
    return root, cases + names(root, base[1]) + special(root, base[1])


def dumped(value: object) -> object:
    return json.dumps(value, default=repr) if isinstance(value, (dict, list)) else value if isinstance(
        value, (str, bytes)) else json.dumps(value)


def names(root: Path, hand) -> int:
    """Hostile names of files and of folders at every level."""
    home = root / "results/week1/breastmnist"
    for k, name in enumerate(NAMES):
        mine = renamed(hand, f"name{k}")
        folder = mine.write(root)
        (folder / name).write_text(f"<script>{MARK}()</script>")
        for above in (home, root / "results", root / "results/week2"):
            (above / name).mkdir(parents=True, exist_ok=True)
            (above / name / "test_metrics.json").write_text('{"acc": 0.9}')
    raw = os.fsencode(home) + b"/raw\xff\xfe"
    os.makedirs(raw)
    with open(raw + b"/README\xff.md", "w") as file:
        file.write("x")
    return 4 * len(NAMES) + 2


def special(root: Path, hand) -> int:
    """Links, loops, pipes, sockets, devices, holes of 10 GB, locked files and folders, too many files."""
    home, done = root / "results/week1/breastmnist", 0
    targets = ["/", "/etc/passwd", "/proc/self/mem", "/dev/zero", str(root / "secret.json"), "../../../../secret.json",
               ".", "..",
               "loop", str(root / "elsewhere"), "../content0/test_metrics.json", str(root / "results")]
    for k, target in enumerate(targets):
        folder = renamed(hand, f"link{k}").write(root)
        for file in ("test_metrics.json", "reliability.png", "README_week1.md", "predictions_test.csv"):
            (folder / file).unlink()
            (folder / file).symlink_to(target if target != "loop" else file)
            done += 1
        (folder / "more").symlink_to(target)
        (home / f"linked{k}").symlink_to(target)
    for k, file in enumerate(("test_metrics.json", "reliability.png", "README_week1.md", "predictions_test.csv",
                              "run.json")):
        folder = renamed(hand, f"special{k}").write(root)
        (folder / file).unlink()
        if k == 0:
            os.mkfifo(folder / file)
        elif k == 1:
            with socket.socket(socket.AF_UNIX) as unix:
                here = os.getcwd()
                os.chdir(folder)
                unix.bind(file)
                os.chdir(here)
        elif k == 2:
            (folder / file).mkdir()
        elif os.geteuid() == 0:
            os.mknod(folder / file, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero under another name
        done += 1
    for k, file in enumerate(("test_metrics.json", "reliability.png", "README_week1.md", "predictions_test.csv",
                              "run.json",
                              "env.json", "big.npz", "error_analysis.md", "x.ipynb")):
        folder = renamed(hand, f"hole{k}").write(root)
        (folder / file).touch()
        os.truncate(folder / file, 10**10)
        done += 1
    folder = renamed(hand, "locked").write(root)
    (folder / "test_metrics.json").chmod(0)
    (folder / "shut").mkdir(mode=0)
    folder = renamed(hand, "many").write(root)
    for k in range(10_000):
        (folder / f"f{k}.json").touch()
    deep = renamed(hand, "deep").write(root)
    for _ in range(60):
        deep = deep / "week1"
    deep.mkdir(parents=True)
    return done + 4


@pytest.fixture(scope="module")
def graded(hostile) -> tuple[dict, Path, dict]:
    """(what the worker saw, where it wrote, grade.json)"""
    root, out = hostile[0], hostile[0] / "out"
    done = subprocess.run([sys.executable, Path(__file__).with_name("hostile_worker.py"), root, out],
                          capture_output=True,
                          text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), out, json.loads((out / "grade.json").read_text())


def test_a_thousand_cases_and_nothing_breaks(hostile, graded):
    assert hostile[1] >= 1000
    report = graded[2]
    assert len(report["submissions"]) > 400
    broken = {f["message"]: f["where"] for s in [report, *report["submissions"]] for f in s["findings"]
              if f["code"] == "checker-error"}
    assert not broken


def test_time_and_memory_are_bounded(graded):
    seen = graded[0]
    slow = {folder: round(s, 1) for folder, s in seen["seconds"].items() if s > 2}
    assert not slow
    assert seen["graded"] < 60 and seen["peak"] < 1e9, (seen["graded"], seen["peak"])


def test_nothing_outside_is_read_written_or_run(hostile, graded):
    root, seen = hostile[0], graded[0]
    assert not (root / "trap").exists() and not seen["loud"]
    roots = [os.path.realpath(root / top) for top in ("results", "reports")]
    code = [os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, Path(__file__).parents[1] / "starter",
                                          *sys.path) if p]
    for path, real, writes in seen["touched"]:
        inside = any(os.path.commonpath([real, top]) == top for top in roots)
        assert inside or real == os.path.realpath(root) or any(real.startswith(top) for top in code), (path, real)
        assert not writes or not inside, path
    assert "SECRET" not in json.dumps(graded[2]) and "root:x:" not in json.dumps(graded[2])


class Page(HTMLParser):
    """Everything in a page that a browser would run or fetch."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts, self.inside, self.runs = set(), [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.inside = tag if tag in ("script", "style") else ""
        for name, value in attrs:
            value = (value or "").strip().casefold()
            outside = name in ("src", "href", "action", "data", "srcset") and re.match(r"(https?|javascript|file|//)",
                                                                                       value)
            if outside or name.startswith("on") and MARK in value or MARK in name:
                self.runs.append((tag, name, value[:100]))

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside:
            self.scripts.append(data)


def test_nothing_that_was_handed_in_runs_in_the_page(graded):
    text = (graded[1] / "grade.html").read_text()
    page = Page(text)
    assert not page.runs, page.runs[:5]
    assert not [s for s in page.scripts if f"{MARK}(" in s and "<" in s]
    assert not page.tags & {"iframe", "object", "embed", "base", "marquee"} and "\x00" not in text
    for bad in ("\u202e", "\u200b", "\x1b"):
        assert bad not in text and bad not in (graded[1] / "summary.txt").read_text(), ascii(bad)


def test_no_cell_is_a_formula_and_no_draft_holds_html(graded):
    with (graded[1] / "grade.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert len(cells) > 400 and not [cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@|%") and cell]
    for draft in (graded[1] / "feedback").rglob("*"):
        shown = re.sub(r"(?s)(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", draft.read_text()) if draft.is_file() else ""
        assert not re.search(r"<[a-z/!]", shown), draft  # in code, between backticks, nothing runs
        assert (graded[1] / "feedback").resolve() in draft.resolve().parents


def test_files_that_change_while_they_are_graded_break_nothing(tmp_path):
    """Somebody writes, removes and swaps in links while the checker reads."""
    hand, stop = perfect(tmp_path, 1, "breastmnist", "samename"), threading.Event()
    (tmp_path / "secret.json").write_text('{"SECRET": 1}')
    folders = [renamed(hand, f"student{k}").write(tmp_path) for k in range(12)]

    def meddle():
        rng = np.random.default_rng(0)
        while not stop.is_set():
            file = folders[rng.integers(12)] / list(hand.files)[rng.integers(len(hand.files))]
            try:
                file.unlink(missing_ok=True)
                [lambda f: f.symlink_to(tmp_path / "secret.json"), lambda f: f.write_bytes(b"{}"), lambda f: f.mkdir(),
                 os.mkfifo][rng.integers(4)](file)
            except OSError:
                file.rmdir() if file.is_dir() and not file.is_symlink() else None

    worker = threading.Thread(target=meddle, daemon=True)
    worker.start()
    try:
        for _ in range(4):
            report = json.dumps(grade(tmp_path).as_dict())
            assert "checker-error" not in report and "SECRET" not in report
    finally:
        stop.set()
        worker.join(10)


