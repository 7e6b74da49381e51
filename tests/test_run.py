"""The runner on tiny notebooks with real kernels: success is hard to fake, and nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from medssl.course import headless, run
from medssl.course.contract import load_contract
from medssl.course.parameters import choose_parameters, parameters_of
from medssl.errors import MedsslError

PARAMETERS = 'DATASET = "breastmnist"\nNAME = "your_name"\nSEEDS = 3\nLR = 1e-3\nFRACTIONS = (0.1, 1.0)\nFLIP = True\n'


def notebook(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    """Write a notebook: a title, the parameters cell, then one code cell for each text in `cells`."""

    def code(source, **metadata):
        return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}

    title = {"cell_type": "markdown", "metadata": {}, "source": "# A notebook"}
    content = [title, code(parameters, tags=["parameters"]), *map(code, cells)]
    kernel = {"kernelspec": {"name": "somebody_elses_kernel", "display_name": "?", "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": content, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}))
    return path


GOOD = """import os, pathlib, sys
seen = [sys.executable, os.environ["MEDSSL_ROOT"], os.environ["MEDSSL_QUIET"], LR, FRACTIONS]
pathlib.Path("seen.txt").write_text(repr(seen))
"""
CASES = {
    "good": ([GOOD, ""], 0),
    "raises": (["a = 1", "# half way\n1 / 0", "b = 2"], 0),
    "dies": (["a = 1", "import os\nos._exit(7)", "b = 2"], 0),
    "dies_at_the_end": (["a = 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"], 0),
    "sleeps": (["a = 1", "import time; time.sleep(600)", "b = 2"], 12),
    "exits": (["raise SystemExit(0)", "b = 2"], 0),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """{case: (error message or "", folder of its output)}, all run at once."""

    def one(case):
        cells, timeout = CASES[case]
        out = tmp_path_factory.mktemp(case)
        path = notebook(out / "source" / f"{case}.ipynb", *cells)
        (out / f"{case}.ipynb").write_text("an earlier, good run")
        try:
            headless.run_notebook(path, {"LR": 1e-05, "FRACTIONS": (0.5,)}, out, out, [], timeout)
        except MedsslError as error:
            return str(error), out
        return "", out

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(CASES, pool.map(one, CASES), strict=True))


def test_a_good_run_has_its_name_its_values_and_this_python(ran):
    message, out = ran["good"]
    assert message == ""
    assert sorted(p.name for p in out.glob("good*")) == ["good.ipynb", "good.log"]
    python, root, quiet, lr, fractions = eval((out / "seen.txt").read_text())
    assert Path(python) == Path(sys.executable) and root == str(out) and quiet == "1"
    assert (lr, fractions) == (1e-05, [0.5])  # 1e-05 stays a number on its way through YAML


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("raises", "cell 4 (`# half way`) raised ZeroDivisionError: division by zero"),
        ("dies", "its kernel died"),
        ("dies", "it ended in cell 4 (`import os`)"),
        ("dies_at_the_end", "its kernel died"),
        ("dies_at_the_end", "cell 4 (`import os, signal`)"),
        ("sleeps", "it took longer than 12 s; "),
        ("exits", "cell 3 (`raise SystemExit(0)`) raised SystemExit"),
    ],
)
def test_a_broken_run_never_looks_like_success(ran, case, says):
    message, out = ran[case]
    assert says in message and f"{case}.log" in message
    assert not (out / f"{case}.ipynb").exists(), "the output of an earlier run must not stay behind"
    assert (out / f"{case}.failed.ipynb").exists() and not list(out.glob("*.partial.ipynb"))


def test_a_notebook_with_unexecuted_cells_is_not_believed(tmp_path):
    """What papermill leaves after a dead kernel: exit code aside, only execution_count tells."""
    path = notebook(tmp_path / "a.ipynb", "a = 1", "b = 2")
    content = json.loads(path.read_text())
    for count, cell in enumerate(content["cells"][1:3], 1):
        cell["execution_count"] = count
    for cell in content["cells"]:
        cell["metadata"]["papermill"] = {"status": "completed", "exception": None}
    path.write_text(json.dumps(content))
    assert headless.find_fault(path, 0)
    content["cells"][3]["execution_count"] = 3
    path.write_text(json.dumps(content))
    assert headless.find_fault(path, 0) == ""
    assert headless.find_fault(path, 1)
    path.write_text(path.read_text()[:200])
    assert headless.find_fault(path, 0)


@pytest.mark.parametrize(("code", "says"), [(0, ""), (1, "it ended in cell"), (138, "its kernel died")])
def test_the_exit_code_counts_even_where_every_cell_was_executed(tmp_path, monkeypatch, code, says):
    """A kernel that dies after its last answer leaves a notebook without a flaw: only papermill's exit code tells."""
    done, python = notebook(tmp_path / "source" / "a.ipynb", "a = 1"), tmp_path / "python"
    content = json.loads(done.read_text())
    for count, cell in enumerate(content["cells"][1:], 1):
        cell |= {"execution_count": count, "metadata": {"papermill": {"start_time": "now"}}}
    done.write_text(json.dumps(content))
    python.write_text(f'#!/bin/sh\ncp "{done}" "$4"\nexit {code}\n')  # python -c PAPERMILL IN OUT: OUT is the fourth
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    try:
        headless.run_notebook(done, {}, tmp_path, tmp_path, [])
    except MedsslError as error:
        assert says and says in str(error) and not (tmp_path / "a.ipynb").exists()
    else:
        assert not says and (tmp_path / "a.ipynb").exists()


def kernels_of(mark: str) -> list[int]:
    """Processes with `mark` in their environment, so whichever parent they have now."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.environ().get("MEDSSL_ROOT", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            pass
    return found


STUBBORN = "while True:\n    try:\n        time.sleep(600)\n    except KeyboardInterrupt:\n        pass"


@pytest.mark.parametrize(
    ("number", "cell", "code"),
    [(signal.SIGINT, "time.sleep(600)", 130), (signal.SIGTERM, STUBBORN, 143)],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_stops_the_kernel_and_is_no_success(tmp_path, number, cell, code):
    out = tmp_path / "out"
    slow = 'import pathlib, time\npathlib.Path("started").touch()\n' + cell
    notebook(tmp_path / "week01_baseline.ipynb", slow)
    notebook(tmp_path / "week02_eda_calibration.ipynb", "1")
    words = ["run", "all", "--keep-going", "--out", str(out), "--notebooks", str(tmp_path)]
    call = f"from medssl import cli\nfrom medssl.course import headless\nheadless.GRACE = 2\ncli.main({words})"
    process = subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        give_up = time.monotonic() + 120
        while not (out / "started").exists():
            assert time.monotonic() < give_up and process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, number)
        said, _ = process.communicate(timeout=60)
        assert kernels_of(str(out)) == []
    finally:
        for pid in kernels_of(str(out)):
            os.kill(pid, signal.SIGKILL)
        process.kill()
    assert process.returncode == code
    assert "it was interrupted; " in said and "cell 3 (`import pathlib, time`)" in said and "0 of 2" in said
    names = {path.name for path in (out / "notebooks").glob("*.ipynb")}
    assert names <= {"week01_baseline.failed.ipynb"}, "neither the stopped notebook nor the next one looks finished"


def test_a_killed_runner_takes_papermill_and_the_kernel_along(tmp_path):
    """SIGKILL (out of memory, a job at its limit) leaves nobody to stop them: they notice it themselves."""
    out = tmp_path / "out"
    notebook(tmp_path / "week01_baseline.ipynb", f'import pathlib, time\npathlib.Path("started").touch()\n{STUBBORN}')
    words = ["run", "week01", "--out", str(out), "--notebooks", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "medssl", *words], stdout=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 120
        while not (out / "started").exists():
            assert time.monotonic() < give_up and process.poll() is None
            time.sleep(0.05)
        assert len(kernels_of(str(out))) >= 2  # papermill and its kernel
        process.kill()
        process.wait()
        give_up = time.monotonic() + 20
        while left := kernels_of(str(out)):
            assert time.monotonic() < give_up, left
            time.sleep(0.05)
    finally:
        for pid in kernels_of(str(out)):
            os.kill(pid, signal.SIGKILL)
        process.kill()


@pytest.mark.parametrize("children", ["return [Child('gone'), Child('alive')]", "raise NoSuchProcess"])
def test_papermill_ends_even_where_a_child_was_gone_before_it(tmp_path, children):
    """PAPERMILL with a psutil that tells of a dead child, then of one alive; or cannot tell of any."""
    (tmp_path / "papermill").mkdir()
    (tmp_path / "papermill/__init__.py").touch()  # or the installed one goes before it
    (tmp_path / "papermill/cli.py").write_text("import time\ndef papermill(): time.sleep(60)\n")
    (tmp_path / "psutil.py").write_text(f"""
class Error(Exception): pass
class NoSuchProcess(Error): pass
class Child:
    def __init__(self, name): self.name = name
    def kill(self):
        if self.name == "gone": raise NoSuchProcess
        open("killed " + self.name, "w").close()
class Process:
    def children(self, recursive):
        open("asked", "w").close()
        {children}
""")
    process = subprocess.Popen([sys.executable, "-c", headless.PAPERMILL], cwd=tmp_path, stdin=subprocess.PIPE)
    try:
        process.stdin.close()
        assert process.wait(20) == 1
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "asked").exists() and (tmp_path / "killed alive").exists() == ("alive" in children)


def test_weeks_run_after_what_they_need_whatever_order_is_asked_for(tmp_path):
    contract = load_contract()
    for week in contract.weeks:
        notebook(tmp_path / week.notebook)
    notebook(tmp_path / "a_bug_museum.ipynb")
    steps = run.find_steps(["all"], tmp_path)
    order = [step.week for step in steps]
    assert order[-1] is None and len(order) == len(contract.weeks) + 1
    for week in contract.weeks:
        assert all(order.index(need.week) < order.index(week.number) for need in week.needs)
    again = run.find_steps(["week05", "4", str(tmp_path / contract.week(1).notebook), "Week4"], tmp_path)
    assert [step.week for step in again] == [1, 4, 5]
    for wrong in ("week99", "nonsense", str(tmp_path / "none.ipynb")):
        with pytest.raises(MedsslError):
            run.find_steps([wrong], tmp_path)
    with pytest.raises(MedsslError, match="no notebook"):
        run.find_steps(["all"], tmp_path / "empty")


def test_parameters_come_from_profile_then_from_what_was_asked(tmp_path):
    one = notebook(tmp_path / "one.ipynb")
    two = notebook(tmp_path / "two.ipynb", parameters="SEEDS: int = 3  # how many\nEXTRA = None\nDERIVED = SEEDS + 1")
    assert parameters_of(two) == {"SEEDS": 3, "EXTRA": None, "DERIVED": None}
    profile = {"DATASET": "breastphantom", "SEEDS": 2, "NOT_IN_ANY": 1}
    given = {"NAME": "007", "LR": "1", "FLIP": "false", "FRACTIONS": "0.1,0.2", "EXTRA": "[1, 2]"}
    chosen = choose_parameters({one: profile, two: profile}, given)
    flags = {"LR": 1, "FLIP": False, "FRACTIONS": (0.1, 0.2)}
    assert chosen[one] == {"DATASET": "breastphantom", "SEEDS": 2, "NAME": "007"} | flags
    assert chosen[two] == {"SEEDS": 2, "EXTRA": [1, 2]}


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("SEDES", "1", "SEEDS"),
        ("lr", "0.1", "LR"),
        ("SEEDS", "many", "a whole number"),
        ("SEEDS", "2.5", "a whole number"),
        ("SEEDS", "true", "a whole number"),
        ("LR", "fast", "a number"),
        ("FLIP", "1", "True or False"),
        ("FRACTIONS", "half", "a list"),
    ],
)
def test_a_mistyped_parameter_is_an_error(tmp_path, key, text, says):
    path = notebook(tmp_path / "one.ipynb")
    with pytest.raises(MedsslError, match=says) as caught:
        choose_parameters({path: {}}, {key: text})
    assert key in str(caught.value)


def test_a_mistyped_parameter_stops_everything_before_it_starts(tmp_path):
    notebook(tmp_path / "week01_baseline.ipynb", 'open("started", "w")')
    out = tmp_path / "out"
    with pytest.raises(MedsslError, match="SEEDS"):
        run.run_weeks(["all"], given={"SEDES": "1"}, out=out, notebooks=tmp_path)
    with pytest.raises(MedsslError, match="colab"):
        run.run_weeks(["all"], profile="collab", out=out, notebooks=tmp_path)
    assert not out.exists()


def test_a_notebook_of_no_week_runs_by_its_path_and_among_all(tmp_path, capsys, monkeypatch):
    """Only papermill is left out: which notebook gets which of the profile's values is decided before it."""
    got = {}
    monkeypatch.setattr(run, "run_notebook", lambda path, values, *_: got.update({path.name: values}))
    own, week = notebook(tmp_path / "own.ipynb"), notebook(tmp_path / load_contract().week(1).notebook)
    for words in ([str(own)], ["all"]):
        assert run.run_weeks(words, profile="quick", out=tmp_path / "out", notebooks=tmp_path) == 0
    common = {"DATASET": "breastphantom", "NAME": "quick", "SEEDS": 2}
    assert got == {own.name: common, week.name: common}
    monkeypatch.chdir(tmp_path)
    assert [step.path for step in run.find_steps(["own.ipynb", str(own)], tmp_path)] == [own]  # once, however spelt
    (tmp_path / "notes.md").write_text("# Notes")
    with pytest.raises(MedsslError, match="the path of a notebook"):
        run.find_steps(["notes.md"], tmp_path)


def test_the_notebooks_of_no_week_run_by_their_names_after_the_weeks(tmp_path, capsys, monkeypatch):
    got, contract = {}, load_contract()
    monkeypatch.setattr(run, "run_notebook", lambda path, values, *_: got.update({path.stem: values}))
    for name in ("own", "bug_museum", contract.week(2).notebook.removesuffix(".ipynb")):
        notebook(tmp_path / f"{name}.ipynb", parameters='DATASET = "breastmnist"')
    notebook(tmp_path / "extra_tasks.ipynb", parameters='TASK = "P1"\nPHANTOM = False\nNAME = "your_name"')
    steps = run.find_steps(["all"], tmp_path)
    assert [step.path.stem[:6] for step in steps] == ["week02", "extra_", "bug_mu", "own"]
    assert [step.week for step in steps] == [2, None, None, None]
    assert [step.budget for step in steps[1:]] == [*(extra.budget_seconds for extra in contract.notebooks), 0]
    assert [step.path.stem for step in run.find_steps(["Bug_Museum", "2", "extra_tasks"], tmp_path)] == [
        contract.week(2).notebook.removesuffix(".ipynb"), "extra_tasks", "bug_museum"]  # fmt: skip
    for profile, task in (("quick", {"TASK": "B2", "PHANTOM": True}), ("betty", {"TASK": "B2", "PHANTOM": False})):
        words = ["extra_tasks", str(tmp_path / "bug_museum.ipynb")]
        given = {"TASK": "B2"}
        assert run.run_weeks(words, profile=profile, given=given, out=tmp_path / "out", notebooks=tmp_path) == 0
        assert got.pop("extra_tasks") == {"NAME": profile} | task
        assert set(got.pop("bug_museum")) == {"DATASET"} and not got
    lines = capsys.readouterr().out.splitlines()
    assert "(budget 90 s), at most 90 s to go" in lines[0] and "budget" not in lines[4]
    (tmp_path / "bug_museum.ipynb").unlink()
    with pytest.raises(MedsslError, match="no notebook .*bug_museum.ipynb"):
        run.find_steps(["bug_museum"], tmp_path)
    with pytest.raises(MedsslError, match="extra_tasks, bug_museum, `all`"):
        run.find_steps(["bug_musuem"], tmp_path)


def test_a_week_without_a_notebook_is_told_inside_the_course_folder_only(tmp_path):
    contract, notebooks = load_contract(), tmp_path / "notebooks"
    for number in (1, 2, 3):
        notebook(notebooks / contract.week(number).notebook)
    with pytest.raises(MedsslError, match=r"there is no notebook (.|\n)*inside your clone") as caught:
        run.find_steps(["week04"], notebooks)
    assert "yet" not in str(caught.value)
    (tmp_path / "starter/src/medssl").mkdir(parents=True)
    with pytest.raises(MedsslError, match="^Week 4 has no notebook yet: weeks 1, 2 and 3 have one."):
        run.find_steps(["week04"], notebooks)
    assert [step.week for step in run.find_steps(["week02"], notebooks)] == [2]


@pytest.mark.parametrize(
    ("profile", "seconds", "says", "not_said"),
    [("quick", 66, "s, over its budget of", "(budget"), ("quick", 5, "(budget", "over"), ("colab", 66, "ok", "budget")],
)
def test_a_run_over_its_budget_says_so_and_is_good(tmp_path, capsys, monkeypatch, profile, seconds, says, not_said):
    path, clock = notebook(tmp_path / load_contract().week(1).notebook), [0.0]
    seconds += load_contract().week(1).budget_seconds if seconds > 5 else 0
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(run, "run_notebook", lambda *_: clock.__setitem__(0, float(seconds)))
    assert run.run_weeks([str(path)], profile=profile, out=tmp_path / "out", notebooks=tmp_path) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert says in line and not_said not in line and f"{seconds} s" in line


def test_notebooks_run_side_by_side_each_after_what_it_needs(tmp_path, capsys, monkeypatch):
    """Week 5 starts from weeks 3 and 4, week 6 from week 5 too; a notebook of no week comes after all of them."""
    contract, began, ended, together = load_contract(), {}, {}, []

    def pretend(path, *_):
        began[path.stem[:6]] = time.monotonic()
        together.append(len(began) - len(ended))
        time.sleep(0.05)
        ended[path.stem[:6]] = time.monotonic()
        if path.stem.startswith("week03"):
            raise MedsslError("week 3 broke")

    monkeypatch.setattr(run, "run_notebook", pretend)
    for number in (1, 3, 4, 5, 6):
        notebook(tmp_path / contract.week(number).notebook)
    notebook(tmp_path / "own.ipynb")
    options = {"profile": "quick", "out": tmp_path / "out", "notebooks": tmp_path, "jobs": 2}
    assert run.run_weeks(["all"], keep_going=True, **options) == 1
    for later, earlier in (("week05", "week03"), ("week05", "week04"), ("week06", "week05"), ("own", "week06")):
        assert began[later] > ended[earlier]
    lines = capsys.readouterr().out.splitlines()
    assert max(together) == 2 and len(began) == 6 and "5 of 6 notebooks" in lines[-1]
    assert sorted(line[:5] for line in lines if line[0] == "[") == [f"[{k}/6]" for k in range(1, 7)]
    began.clear(), ended.clear()
    assert run.run_weeks(["all"], **options) == 1 and "week05" not in began and "own" not in began


def test_results_of_a_trial_run_stay_out_of_what_is_handed_in(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(repo / "tests")
    monkeypatch.delenv("MEDSSL_ROOT", raising=False)
    for inside in ("results", "results/../results/week1", "reports/x", "notebooks"):
        with pytest.raises(MedsslError, match="--out"):
            run.choose_folders(repo / inside, None)
    assert run.choose_folders(None, None) == (repo, repo / "runs/notebooks", repo / "notebooks")
    assert run.choose_folders(repo, None)[1] == repo / "runs/notebooks"  # never beside the originals
    assert run.choose_folders(tmp_path, None)[:2] == (tmp_path, tmp_path / "notebooks")


def test_a_data_set_that_no_week_knows_is_told_before_anything_starts(tmp_path):
    with pytest.raises(MedsslError, match="perhaps breastmnist"):
        run.run_weeks(["week01"], profile="quick", given={"DATASET": "breastmnits"}, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_data_set_goes_only_to_the_weeks_that_take_it(tmp_path, capsys, monkeypatch):
    """Week 12 needs volumes, all other weeks pictures: what does not fit leaves the profile's own data set."""
    got, contract = {}, load_contract()
    monkeypatch.setattr(run, "run_notebook", lambda path, values, *_: got.update({path.stem[:6]: values["DATASET"]}))
    for number in (2, 12):
        notebook(tmp_path / contract.week(number).notebook)
    for profile, asked, expected in (("quick", "breastmnist", ("breastmnist", "adrenalphantom")),
                                     ("colab", "adrenalphantom", ("breastmnist", "adrenalphantom"))):
        words, given = ["week02", "week12"], {"DATASET": asked}
        assert run.run_weeks(words, profile=profile, given=given, out=tmp_path / "out", notebooks=tmp_path) == 0
        assert got == {"week02": expected[0], "week12": expected[1]}
        assert f"is not for {asked}: it runs on" in capsys.readouterr().out
    for week, asked in (("week02", "adrenalmnist3d"), ("week12", "breastmnist")):
        with pytest.raises(MedsslError, match=f"{week[4:].lstrip('0')} does not run on {asked}"):
            run.run_weeks([week], given={"DATASET": asked}, out=tmp_path / "out", notebooks=tmp_path)
