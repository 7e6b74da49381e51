"""Where a run may write: everything that passes goes below one scratch folder, and home stays below its quota."""

import errno
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path

from medssl.errors import MedsslError

FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR",
           "NUMBA_CACHE_DIR", "TMPDIR")


def redirect(scratch: str | Path) -> Path:
    """Point the five folders of W&B, numba's cache and TMPDIR below `scratch`, for this process and those it starts. In
    a job they are there already: course/betty/around.sh makes the same ones, for whatever runs in it.

    WANDB_DATA_DIR is where artifacts wait for their upload: forgotten, they fill the home directory. numba writes there
    what it has compiled, where our own folder is read-only. TMPDIR has to exist, or Python falls back to another folder
    without a word.
    """
    scratch = Path(scratch).expanduser().absolute()
    for name in FOLDERS:
        folder = scratch / name.lower().removesuffix("dir").removesuffix("_")
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)
    tempfile.tempdir = None  # Python remembers the folder from before
    return scratch


def check_sockets() -> None:
    """Worker processes send batches over sockets in TMPDIR, and the path of a socket may have 107 characters. In a
    longer one no batch ever arrives: the run would wait for ever."""
    folder, most = tempfile.gettempdir(), 107 - len("/pymp-12345678/listener-12345678")
    if len(folder) > most:
        raise MedsslError(f"TMPDIR {folder} has {len(folder)} letters: too long for the sockets of worker processes.",
                          f"{most} at most", "Set a shorter runtime.scratch, or data.workers=0.")


def outside(folder: str | Path, scratch: str | Path) -> Path:
    """`folder`, which has to outlive the job: below `scratch`, which the job deletes at its end, it is an error."""
    folder, scratch = Path(folder).expanduser().resolve(), Path(scratch).expanduser().resolve()
    if folder.is_relative_to(scratch):
        raise MedsslError(f"Checkpoints in {folder}, below the scratch folder {scratch}: they would go with the job.",
                          "a folder outside the scratch folder", "checkpoint.folder=… in your home or project folder")
    return folder


@contextmanager
def alone_in(folder: Path, wait: float = 20.0):
    """Nobody else's run writes this folder meanwhile: the rows of two would mix in one history. The lock is the
    system's own, so that of a killed run is gone with it. Where a disk or a system knows none, it goes on without."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    break
                if time.monotonic() > until:
                    raise MedsslError(f"Another process trains in {folder}.", "one run a folder",
                                      "Wait for it (squeue --me), or take another runtime.run_id.") from error
                time.sleep(0.2)
        yield


def bytes_below(folder: str | Path) -> int:
    """What the files below a folder take on the disk. Links are not followed, a file with two names counts once, and
    what vanishes or may not be read while we look is left out."""
    total, seen, waiting = 0, set(), [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    try:
                        info = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if info.st_nlink == 1 or (info.st_dev, info.st_ino) not in seen:
                        seen.add((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
                        total += max(info.st_size, info.st_blocks * 512)
        except OSError:
            continue
    return total


class QuotaGuard:
    """Looks at the start and then every `every` seconds, in a thread of its own, how much lies below `folder`.

    Above `soft` bytes the files that `expendable()` names are deleted, in that order, until it is no more than soft.
    Above `hard` bytes after that, `level` is "hard": whoever trains saves and stops. A look is kept for `every`
    seconds, since a home of many small files on a network disk takes minutes to count.
    """

    def __init__(self, folder: str | Path, soft: float, hard: float, expendable: Callable[[], Iterable[Path]] = tuple,
                 every: float = 600.0):
        if not 0 < soft <= hard:
            raise MedsslError(f"Quota soft={soft:g}, hard={hard:g} bytes.", "0 < soft <= hard")
        self.folder, self.soft, self.hard, self.expendable, self.every = folder, soft, hard, expendable, every
        self.level, self.used, self.pruned, self._at, self._end = "ok", 0, [], None, threading.Event()

    def start(self) -> "QuotaGuard":
        """A look at once, the others beside the training."""
        self.look()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def stop(self) -> None:
        self._end.set()

    def look(self) -> str:
        """ "ok", "soft" or "hard", no older than `every` seconds."""
        if self._at is not None and time.monotonic() - self._at < self.every:
            return self.level
        self.used = bytes_below(self.folder)
        if self.used > self.soft:
            self._prune()
        self.level = "hard" if self.used > self.hard else "soft" if self.used > self.soft else "ok"
        self._at = time.monotonic()
        return self.level

    def _prune(self) -> None:
        for file in self.expendable():
            if self.used <= self.soft:
                return
            try:
                size = max(file.stat().st_size, file.stat().st_blocks * 512)
                file.unlink()
            except OSError:
                continue
            if file.is_relative_to(self.folder):
                self.used -= size
            self.pruned.append(file)
            print(f"quota: deleted {file}", flush=True)

    def _watch(self) -> None:
        while not self._end.wait(self.every):
            self.look()
