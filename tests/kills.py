"""Commands of `medssl` in processes that are killed, or that find no room: forked from this one, so that nothing is
imported again.

KILLS random moments each: 3 in `make test`, 50 in `make nightly` (MEDSSL_KILLS).
"""

import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

KILLS = int(os.environ.get("MEDSSL_KILLS", "3"))
CLOCK = re.compile(r"seconds|graded_at|finished|created|wandb_id|\w+_seconds|\w+_per_sec(_step)?|\w+_ms(_\w+)?|"
                   r"steps_timed|resumed_from|folder|scratch|stall_\w+")  # what no two runs share
OWN = re.compile(r"\..*|checkpoints|checkpoint-.*|.*\.log|.*\.(partial|failed)\.ipynb")  # the runs' own affair


def begin(work: Callable[[], object], folder: Path, room: int | None = None) -> tuple[int, int]:
    """(pid, a pipe of what it writes to stderr) of work() in a process of its own, in `folder`. room: no file of more
    bytes can be written, as on a full disk."""
    folder.mkdir(parents=True, exist_ok=True)
    reads, writes = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writes)
        return pid, reads
    code = 99
    try:
        os.setsid()
        os.dup2(writes, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))  # not pytest's
        os.chdir(folder)
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            work()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(code)


def end(pid: int, pipe: int) -> tuple[int, str]:
    """(exit code, stderr) when it has ended."""
    with open(pipe, errors="replace") as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def killed(work: Callable[[], object], folder: Path, after: float) -> bool:
    """SIGKILL after so many seconds, to it and all that it has started; False where it ended before."""
    pid, pipe = begin(work, folder)
    time.sleep(after)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # so early that it is no leader of a group yet
        os.kill(pid, signal.SIGKILL)
    return end(pid, pipe)[0] == -signal.SIGKILL


def content(folder: Path) -> dict[str, object]:
    """{file: what is in it} of all that a run leaves to be read, without what its clock says."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(OWN.fullmatch(part) for part in parts):
            found["/".join(parts)] = _without_clock(path)
    return found


def _without_clock(path: Path) -> object:
    raw = path.read_bytes()
    if path.suffix == ".json":
        return _plain(json.loads(raw))
    if path.suffix == ".jsonl":
        return [_plain(json.loads(line)) for line in raw.splitlines()]
    if path.suffix == ".csv" and raw.startswith(b"epoch,"):
        rows = [line.split(",") for line in raw.decode().splitlines()]
        return [[cell for name, cell in zip(rows[0], row, strict=True) if not CLOCK.fullmatch(name)] for row in rows]
    if path.suffix == ".safetensors":  # its notes stand in another order each time
        from safetensors import safe_open

        with safe_open(path, "pt") as opened:
            return opened.metadata(), {name: opened.get_tensor(name).tolist() for name in sorted(opened.keys())}
    if path.suffix == ".ipynb":
        return [[cell["source"], [out.get("text") for out in cell["outputs"]] if "outputs" in cell else None]
                for cell in json.loads(raw)["cells"]]
    if path.suffix == ".html":
        return re.sub(rb"\d\d:\d\d(:\d\d)?", b"", raw)
    if path.suffix == ".pdf":  # it holds the time; its source lies beside it
        return raw[:5], raw.rstrip()[-5:]
    return raw


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if not CLOCK.fullmatch(key)}
    return [_plain(one) for one in value] if isinstance(value, list) else value
