"""The runner on one tiny notebook with a real kernel: success is hard to fake, and nothing is left running."""

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
from tiny_notebooks import notebook

from medssl.course import headless
from medssl.errors import MedsslError

GOOD = """import os, pathlib, sys
seen = [sys.executable, os.environ["MEDSSL_ROOT"], os.environ["MEDSSL_QUIET"], LR, FRACTIONS]
pathlib.Path("seen.txt").write_text(repr(seen))
"""
CASES = {  # the one that waits comes first: the others run meanwhile
    "sleeps": (["a = 1", "import time; time.sleep(600)", "b = 2"], 18),
    "good": ([GOOD, ""], 0),
    "raises": (["a = 1", "# half way\n1 / 0", "b = 2"], 0),
    "dies": (["a = 1", "import os\nos._exit(7)", "b = 2"], 0),
    "dies_at_the_end": (["a = 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"], 0),
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
        ("sleeps", "it took longer than 18 s; "),
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
