"""A run at Weights & Biases that training never depends on: whatever fails there is said once, and training goes on."""

import os
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

DOWNLOAD, LEAVE = 900.0, 10.0  # seconds: for a checkpoint to come, and for what hangs to end when all else has


class WandbRun:
    """Opens a run with `config`, offline where online fails, and none where that fails too.

    settings are those of wandb.init (project, entity, id, mode, …). `lost` counts the calls that failed.
    """

    def __init__(self, config: dict, **settings):
        self.run, self.lost, self.mode, self._upload = None, 0, settings.pop("mode", None), None
        try:
            import wandb  # optional, and slow to import
        except ImportError as error:
            return self._say("cannot be imported", error)
        self.client = wandb
        for mode in dict.fromkeys((self.mode, "offline")):
            try:
                self.run = wandb.init(config=config, **settings, **({"mode": mode} if mode else {}))
                self.mode = mode
                return
            except Exception as error:  # no key, no network, no disk: none of them is a reason not to train
                self._say(f"did not start ({mode or 'as the environment says'})", error)

    def log(self, row: dict, step: int) -> None:
        """A row of numbers."""
        self._try("took no row", lambda: self.run.log(row, step=step))

    def summary(self, values: dict) -> None:
        """What the run is judged by when it has ended."""
        self._try("took no summary", lambda: self.run.summary.update(values))

    def preempting(self) -> None:
        """Say that the run was taken off its machine and comes back."""
        self._try("was not told of the preemption", lambda: self.run.mark_preempting())

    def upload(self, file: Path, name: str, metadata: dict) -> threading.Thread | None:
        """Send a copy of a file as the artifact's newest version, beside the training; none while one is under way.

        The copy, in TMPDIR, is whole before it has its name, and is deleted after the upload. Nothing is sent offline.
        """
        if self.run is None or self.mode == "offline" or (self._upload and self._upload.is_alive()):
            return None
        copied: list[Path] = []
        self._try("took no artifact", lambda: copied.append(self._copy(file)))  # now: the file may be replaced soon
        if copied:
            self._upload = threading.Thread(target=self._try, daemon=True, args=(
                "took no artifact", lambda: self._send(copied[0], name, metadata)))
            self._upload.start()
        return self._upload if copied else None

    def download(self, name: str, folder: Path) -> Path | None:
        """The newest version of an artifact, as a folder; None where there is none."""
        if self.run is None or self.mode == "offline":
            return None
        try:
            return Path(within(DOWNLOAD, lambda: self.run.use_artifact(f"{name}:latest").download(root=str(folder))))
        except TimeoutError as error:
            return self._say(f"did not bring {name} within {DOWNLOAD:.0f} s", error)
        except Exception:  # the first run of this name has none
            return None

    def close(self, wait: float = 600.0, exit_code: int = 0, keep: Path | None = None) -> None:
        """End the run within `wait` seconds, half of them for an upload under way. What was not sent, of an offline run
        all, is copied below `keep`."""
        end = time.monotonic() + wait
        if self._upload:
            self._upload.join(wait / 2)
        self._try("was not ended", lambda: self._end(max(1.0, end - time.monotonic()), exit_code, keep))
        self.run = None

    def _end(self, wait: float, exit_code: int, keep: Path | None) -> None:
        here, copies = Path(self.run.dir).parent, keep and self.mode == "offline"
        left, hangs = keep / here.name if keep else here, False
        try:
            within(wait, partial(self._finish, exit_code, written=copies))
        except TimeoutError:
            hangs = True
            threading.Thread(target=_leave, args=(exit_code,), daemon=True).start()
            warnings.warn(f"Weights & Biases did not end the run within {wait:.0f} s. What it has not sent lies in "
                          f"{left}: `wandb sync {left}` sends it.", stacklevel=5)
        if copies or keep and hangs:
            shutil.copytree(here, left, dirs_exist_ok=True)

    def _finish(self, exit_code: int, written: bool) -> None:
        """written: also wait until W&B's helper has written all and ended, or the copy of an offline run would now and
        then hold seven bytes. A run of somebody else in this process keeps its helper."""
        self.run.finish(exit_code=exit_code)
        if written and self.client.run is None:
            self.client.teardown(exit_code)

    def _copy(self, file: Path) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="artifact-"))
        return Path(shutil.copyfile(file, folder / "half.tmp")).rename(folder / file.name)

    def _send(self, copy: Path, name: str, metadata: dict) -> None:
        try:
            artifact = self.client.Artifact(name, type="model", metadata=metadata)
            artifact.add_file(str(copy))
            self.run.log_artifact(artifact, aliases=["latest"]).wait()
        finally:
            shutil.rmtree(copy.parent, ignore_errors=True)

    def _try(self, what: str, call: Callable) -> None:
        if self.run is None:
            return
        try:
            call()
        except Exception as error:
            self._say(what, error)

    def _say(self, what: str, error: Exception) -> None:
        self.lost += 1
        if self.lost == 1:
            warnings.warn(f"Weights & Biases {what}: {error}. Training goes on.", stacklevel=4)


def within(seconds: float, call: Callable):
    """What call() returns or raises; TimeoutError where it takes longer: it is left to a thread nobody waits for."""
    out: Future = Future()

    def work():
        try:
            out.set_result(call())
        except BaseException as error:
            out.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return out.result(seconds)


def _leave(exit_code: int) -> None:
    """At its exit W&B waits for what hangs once more. A finished job gives its node back all the same."""
    threading.main_thread().join()
    time.sleep(LEAVE)
    sys.stdout.flush()
    os._exit(exit_code)
