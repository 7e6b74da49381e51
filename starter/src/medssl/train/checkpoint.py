"""Checkpoints that are whole or not there.

A checkpoint is written beside its place, forced to disk, then renamed. Its name carries a digest of its bytes,
`checkpoint-00000120-3fa94c1e7b2d.pt`, because torch does not notice flipped bytes when it loads a file:
a damaged newest one is told apart and the one before it serves.
"""

import hashlib
import os
import shutil
import warnings
from pathlib import Path

import torch

from medssl.errors import MedsslError

KEEP = 2  # the newest, and the one before in case the newest is damaged


def save_checkpoint(folder: Path, step: int, state: dict, keep: int = KEEP) -> Path:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) and drop all but the newest `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"checkpoint-{step:08d}.{os.getpid()}.tmp"
    try:
        with open(beside, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        final = folder / f"checkpoint-{step:08d}-{_digest(beside)}.pt"
        os.replace(beside, final)
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        beside.unlink(missing_ok=True)
        if "CUDA" in str(error):  # a fault of the GPU, met while its tensors are fetched
            raise
        free = shutil.disk_usage(folder).free // 2**20
        raise MedsslError(
            f"the checkpoint of step {step} could not be written: {error} ({free} MiB free in {folder})",
            "room for about twice the size of the model and its optimiser",
            "free some space and run again: the run goes on from the checkpoint before",
        ) from error
    for same in folder.glob(f"checkpoint-{step:08d}-*.pt"):  # of before this step's epoch was judged
        if same != final:
            same.unlink(missing_ok=True)
    for old in checkpoints(folder)[keep:]:
        old.unlink(missing_ok=True)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("checkpoint-*-*.pt"), reverse=True)


def load_newest(folder: Path) -> dict | None:
    """The newest undamaged checkpoint, or None where there is none; a damaged one is set aside with a warning."""
    for path in checkpoints(folder):
        if path.stem.endswith(_digest(path)):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)  # tensors and numbers: runs nothing
            except MemoryError:
                raise  # the machine's want, not the file's fault
            except Exception as error:  # written as it is, but by whom? Torch has many words for it
                raise unfit(path, error) from error
        path.rename(path.with_suffix(".damaged"))
        warnings.warn(f"checkpoint {path} is damaged: its bytes do not match the digest in its name. "
                      "It is kept as .damaged; the one before serves.", stacklevel=2)
    return None


def unfit(path: Path, error: Exception) -> MedsslError:
    """The error of a checkpoint that is whole but holds something else than a run of this package."""
    said = (str(error).splitlines() or [""])[0][:200]
    return MedsslError(f"{path} holds no run that can go on here ({type(error).__name__}: {said}).",
                       "a checkpoint of this very run, written by this version",
                       "move it away: the one before it serves, or the run starts over")


def tidy(folder: Path, everything: bool) -> None:
    """Remove what killed writers left half written, and with `everything` the checkpoints too."""
    for old in [*folder.glob("checkpoint-*.tmp"), *(checkpoints(folder) if everything else [])]:
        old.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
