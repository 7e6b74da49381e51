"""A run at Weights & Biases that training never depends on: whatever fails there is said once, and training goes on."""

import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path


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
            return Path(self.run.use_artifact(f"{name}:latest").download(root=str(folder)))
        except Exception:  # the first run of this name has none
            return None

    def close(self, wait: float = 600.0, exit_code: int = 0, keep: Path | None = None) -> None:
        """End the run, after at most `wait` seconds more for an upload. An offline run is copied below `keep`."""
        if self._upload:
            self._upload.join(wait)
        self._try("was not ended", lambda: self._end(exit_code, keep))
        self.run = None

    def _end(self, exit_code: int, keep: Path | None) -> None:
        here = Path(self.run.dir).parent if keep and self.mode == "offline" else None
        self.run.finish(exit_code=exit_code)
        if here is not None:
            shutil.copytree(here, keep / here.name, dirs_exist_ok=True)

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
