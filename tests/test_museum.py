"""Every bug of notebooks/bug_museum.ipynb, put back: the tests that its exhibit names must fail, each in an assertion.

The bug goes into a copy of the package. Its place is found by its text, which must be there exactly once: whoever
rewrites those lines is told here, and says anew how the bug would look.
"""

import json
import multiprocessing
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

REPO = Path(__file__).resolve().parents[1]


class Change(NamedTuple):
    file: str
    now: str
    then: str


BUGS = {
    1: [Change("evaluate/checks.py", "if vector.ndim == 2 and shape[1] == 1:", "if False:"),
        Change("evaluate/checks.py", "if vector.ndim != 1 or vector.size == 0:", "if vector.size == 0:"),
        Change("evaluate/calibration.py", '"frequency": np.bincount(index, hit, len(count)) / divisor',
               '"frequency": np.array([hit[index == b].mean() if n else np.nan for b, n in enumerate(count)])')],
    2: [Change("evaluate/calibration.py", "return p, (y == 1).astype(float)",
               "return p, ((p >= 0.5) == (y == 1)).astype(float)")],
    3: [Change("train/trainer.py", "weights = {k: v.detach().clone() for k, v in self.method.state_dict().items()}",
               "weights = self.method.state_dict()")],
    4: [Change("models/parameters.py", "part.train = partial(_stay_in_eval, part)  # unlike a lambda",
               "part.train = part.train  # what a parameter without gradient leaves free")],
    5: [Change("views/augment2d.py", "if not (low >= -1e-3 and high <= 1.001):", "if False:"),
        Change("views/augment2d.py", "return x if x is images else x.clamp_(0, 1)", "return to_float(images)")],
    6: [Change("recipes/supervised.py", "y = data.val.labels.numpy()", "y = data.test.labels.numpy()"),
        Change("recipes/supervised.py", "predict_proba(method, data.val.images)",
               "predict_proba(method, data.test.images)")],
    7: [Change("evaluate/thresholds.py", "choose_threshold(y_val, p_val, **rule)",
               "choose_threshold(y_test, p_test, **rule)")],
    8: [Change("evaluate/checks.py", "if np.isin(p, (0, 1)).all():", "if False:")],
    9: [Change("evaluate/metrics.py", '"positive": names[1]', '"positive": names[0]'),
        Change("data/images.py", "return self.classes[1]", "return self.classes[0]")],
    10: [Change("data/duplicates.py", "if pixels in first:", "if pixels in first and first[pixels][0] == name:")],
}

def exhibits() -> dict[int, list[str]]:
    """{exhibit: the tests it names}, as a visitor reads them."""
    cells = json.loads((REPO / "notebooks/bug_museum.ipynb").read_text(encoding="utf-8"))["cells"]
    named, number = {}, None
    for text in ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"):
        for heading, digits, test in re.findall(r"^(#+) (?:Exhibit (\d+))?|(tests/\w+\.py::\w+)", text, re.M):
            if heading == "##":
                number = int(digits) if digits else None
            if test:
                named.setdefault(number, []).append(test)
    return named


EXHIBITS = exhibits()

# One process imports what is slow, and is forked for each bug (Windows imports anew each time). medssl is not in it.
FORKS = "forkserver" in multiprocessing.get_all_start_methods()
PROCESSES = multiprocessing.get_context("forkserver" if FORKS else "spawn")
if FORKS:
    PROCESSES.set_forkserver_preload(["torch", "torchvision", "medmnist", "sklearn.metrics", "sklearn.calibration",
                                      "scipy.stats", "matplotlib.figure", "pytest"])


def child(folder: str, arguments: list[str]) -> None:
    """In a process of its own: pytest with the copy in `folder` as medssl, its output in a file there."""
    with open(f"{folder}/output.txt", "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["PYTHONPATH"] = folder
    os.chdir(REPO)
    sys.path.insert(0, folder)
    import medssl

    assert medssl.__file__.startswith(folder), f"{medssl.__file__} is not the copy: nothing would be proved"
    sys.exit(int(pytest.main(arguments)))


def run(changes: list[Change], tests: list[str], folder: Path) -> tuple[int, dict[str, str], str]:
    """(exit code, {test: how its first failing case failed, "" if all passed}, output) on a changed copy."""
    shutil.copytree(REPO / "starter/src/medssl", folder / "medssl")  # with compiled files and dates: they still serve
    for change in changes:
        path = folder / "medssl" / change.file
        text = path.read_text(encoding="utf-8")
        assert text.count(change.now) == 1, f"{change.file} has {text.count(change.now)} times: {change.now}"
        path.write_text(text.replace(change.now, change.then), encoding="utf-8")
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}", *tests]
    process = PROCESSES.Process(target=child, args=(str(folder), options))
    process.start()
    process.join(300)
    output = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else []
    failed = dict.fromkeys(tests, "")
    for case in cases:
        test = f"{case.get('classname').replace('.', '/')}.py::{case.get('name').partition('[')[0]}"
        for kind in ("failure", "error", "skipped"):
            if (told := case.find(kind)) is not None and not failed[test]:
                failed[test] = f"{'' if kind == 'failure' else kind + ': '}{told.get('message')}"
    return process.exitcode, failed, output


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Exhibit 0 is the package as it is, under every test; two at a time."""
    whole = sorted({test for tests in EXHIBITS.values() for test in tests})
    with ThreadPoolExecutor(2) as pool:
        jobs = {number: pool.submit(run, changes, whole if number == 0 else EXHIBITS[number],
                                    tmp_path_factory.mktemp(f"exhibit{number}"))
                for number, changes in {0: [], **BUGS}.items()}
    return jobs


def test_the_threshold_of_exhibit_7_finds_its_share_and_is_the_highest_that_does():
    """At every number of positives: 1 - 0.9 is 0.0999… in a computer, and nine of ten were found as ten."""
    import numpy as np

    cells = json.loads((REPO / "notebooks/bug_museum.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = [text for text in ("".join(cell["source"]) for cell in cells) if "def threshold_for(" in text]
    exec(source.partition("\n\n\n")[0], space := {"np": np})
    rng = np.random.default_rng(0)
    for n in range(1, 201):
        y, p = np.repeat([1, 0], [n, 5]), rng.random(n + 5)
        for rate in (0.9, 0.95, 0.8, 0.7):
            wanted = max(t for t in p[:n] if np.sum(p[:n] >= t) / n >= rate)
            assert space["threshold_for"](y, p, rate) == wanted, (n, rate)


def test_ten_exhibits_name_a_test_each():
    assert list(EXHIBITS) == list(BUGS) == list(range(1, 11))


def test_without_the_bugs_every_named_test_passes(outcomes):
    code, failed, output = outcomes[0].result()
    assert code == 0 and not any(failed.values()), output[-3000:]


@pytest.mark.parametrize("number", BUGS)
def test_the_named_tests_fail_when_the_bug_is_back(outcomes, number):
    code, failed, output = outcomes[number].result()
    assert code == 1, output[-3000:]
    for test, how in failed.items():
        assert how.startswith(("assert ", "AssertionError", "Failed: DID NOT RAISE")), f"{test}: {how or 'passed'}"
