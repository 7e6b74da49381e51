"""Run one notebook headless, and never take a broken run for a good one.

papermill runs in a child process. Its exit code alone is not believed, and neither is the notebook it writes (after a
dead kernel papermill marks every cell "completed"): a run is good when the code is 0, no cell holds an error and every
code cell has been executed. Only then does the output get its final name.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from medssl.errors import MedsslError

GRACE = 10  # seconds that a stopped notebook has to save its checkpoint before it is killed
ROOM = 1 << 20  # bytes; a disk with less is why the notebook or its log was not written
DEAD_KERNEL = 138  # papermill's exit code for it
# papermill, and a thread that ends it and its kernel when its standard input ends: when we do, however we died. A child
# may be gone before it is killed; that must not keep the others, nor papermill itself, alive.
PAPERMILL = """
import os, threading, psutil
from contextlib import suppress
from papermill.cli import papermill

def end_with_parent():
    try:
        os.read(0, 1)
        for member in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                member.kill()
    finally:
        os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
papermill()
"""


def find_fault(output: Path, code: int) -> str:
    """What is wrong with an executed notebook, or "": the code is 0, each code cell ran and none raised."""
    try:
        cells = json.loads(output.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):
        return "papermill wrote no notebook"
    number, last, unfinished = 0, "before its first cell", False
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        if "papermill-error-cell-tag" in tags:
            continue
        number += "injected-parameters" not in tags  # count as in the notebook that the student has
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] != "code" or not source:
            continue
        here = f"cell {number} (`{source.splitlines()[0]}`)"
        for shown in cell["outputs"]:
            if shown["output_type"] == "error":
                return f"{here} raised {shown['ename']}: {shown['evalue']}"
        if cell["metadata"].get("papermill", {}).get("start_time"):
            last = f"in {here}"
        unfinished |= cell["execution_count"] is None
    return f"it ended {last}" if unfinished or code else ""


def kernel_environment(scratch: Path, out: Path) -> dict[str, str]:
    """Results go to `out`, output is quiet, and `python3` is this very Python, whatever kernels are installed."""
    spec = scratch / "kernels" / "python3"
    spec.mkdir(parents=True)
    (scratch / "runtime").mkdir()
    argv = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    env = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}  # or no figure is shown inline
    paths = os.pathsep.join(filter(None, [str(scratch), env.get("JUPYTER_PATH")]))
    private = {"JUPYTER_RUNTIME_DIR": str(scratch / "runtime"), "IPYTHONDIR": str(scratch / "ipython")}
    # Threads of one convolution wait for each other by spinning. Where another program takes one of their cores, a step
    # took 0.1 s to 5 s here; one thread for every two cores leaves room, and costs little at 28 pixels.
    env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    return env | private | {"JUPYTER_PATH": paths, "MEDSSL_ROOT": str(out), "MEDSSL_QUIET": "1"}


@contextmanager
def noted_signals():
    """A list that receives Ctrl-C, SIGTERM (Slurm, `kill`) and a closed terminal: none cuts a clean-up short."""
    received: list[int] = []
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it on purpose
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def stop(process: subprocess.Popen) -> None:
    """End papermill, its kernel and the kernel's workers: first politely, so that a trainer can save, then for good."""
    import psutil  # in the extra `run`, as papermill is

    family = []
    with suppress(psutil.NoSuchProcess, subprocess.TimeoutExpired, ValueError):  # ValueError: Windows has no SIGINT
        papermill = psutil.Process(process.pid)
        family = papermill.children(recursive=True)
        for kernel in papermill.children():  # in a session of its own, where no signal to our group arrives
            kernel.send_signal(signal.SIGINT)
        process.wait(GRACE if family else 0)
    with suppress(psutil.NoSuchProcess):
        family += psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=3)


def run_notebook(notebook: Path, parameters: dict, out: Path, folder: Path, received: list, timeout: float = 0) -> Path:
    """Run one notebook; its executed copy, `folder/NAME.ipynb`, exists afterwards only if all went well."""
    import yaml  # comes with papermill

    name = notebook.stem
    final, partial, failed = (folder / f"{name}{kind}.ipynb" for kind in ("", ".partial", ".failed"))
    log = folder / f"{name}.log"
    for old in (final, partial, failed):
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="medssl-", ignore_cleanup_errors=True) as scratch, open(log, "wb") as shown:
        copy, values = Path(scratch, notebook.name), Path(scratch, "parameters.yaml")
        shutil.copyfile(notebook, copy)  # a notebook that is edited while it runs changes nothing
        values.write_text(yaml.safe_dump(parameters), encoding="utf-8")  # not JSON: its 1e-05 is a text in YAML
        options = ["-k", "python3", "--log-output", "--no-progress-bar", "--autosave-cell-every", "10",
                   "--start-timeout", "300"]  # a kernel whose packages lie on a cluster's shared disk takes its time
        process = subprocess.Popen(
            [sys.executable, "-c", PAPERMILL, copy, partial, "-f", values, "--cwd", out, *options],
            env=kernel_environment(Path(scratch), out),
            stdin=subprocess.PIPE,  # held open as long as we live
            stdout=shown,
            stderr=shown,
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop the kernel in good order
        )
        start, late = time.monotonic(), False
        while process.poll() is None and not received and not late:
            time.sleep(0.1)
            late = bool(timeout) and time.monotonic() - start > timeout
        if process.returncode is None:
            stop(process)
        process.stdin.close()
    why = "it was interrupted; " if received else f"it took longer than {timeout:g} s; " if late else ""
    if process.returncode == DEAD_KERNEL:
        why += "its kernel died (out of memory? a smaller BATCH_SIZE needs less); "
    fault = find_fault(partial, process.returncode or bool(why))
    if not fault:
        os.replace(partial, final)
        return final
    if shutil.disk_usage(folder).free < ROOM:
        raise MedsslError(f"{name} failed: {final} cannot be written, for its disk is full.",
                          fix="make room there, and say the same command again")
    seen = f"read {log}"
    if partial.exists():
        os.replace(partial, failed)
        seen += f", or open {failed.name} beside it"
    raise MedsslError(f"{name} failed: {why}{fault}", fix=seen)
