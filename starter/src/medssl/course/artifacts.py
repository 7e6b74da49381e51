"""Colab forgets: take a hand-in out of it (zip, Drive, pull request), and find last week's files in any of them."""

import io
import os
import zipfile
import zlib
from pathlib import Path

from medssl.course.contract import Week, load_contract
from medssl.course.names import dataset_key, fill, locate, results_root, slug
from medssl.errors import MedsslError
from medssl.files import write_atomic

DRIVE = Path("/content/drive/MyDrive/medmnist-ssl")
LARGEST = 500_000_000  # of one file taken from a zip


def handed_in(week: Week, dataset: str, name: str, root: Path) -> list[Path]:
    """The files of one submission that the contract knows, extra tasks included; links are left out."""
    patterns = [week.pattern(slot) for slot in week.files]
    patterns += [f"{week.folder}/{pattern}" for task in load_contract().tasks_of(week.number) for pattern in task.files]
    found = {path for pattern in patterns for path in root.glob(fill(pattern, dataset, name))}
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def archive_name(week: Week, dataset: str, name: str) -> str:
    """week01_breastmnist_ada; only week09 where the group hands in together."""
    return f"{week.key}_{dataset}_{name}" if week.personal else week.key


def pack_zip(week: Week, dataset: str, name: str, root: Path) -> Path:
    """Make runs/packed/week01_breastmnist_ada.zip, which unpacks into results/ at the root of a repository."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in handed_in(week, dataset, name, root):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix())  # no dates: equal files give equal zips
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return write_atomic(root / f"runs/packed/{archive_name(week, dataset, name)}.zip", buffer.getvalue())


def pack_drive(week: Week, dataset: str, name: str, root: Path, drive: str | Path | None = None) -> Path:
    """Copy the submission's files below the Drive folder, which must be mounted. Returns the folder there."""
    drive = Path(drive or DRIVE)
    if not drive.parent.is_dir():
        raise MedsslError(f"{drive.parent} is not there: no Drive is mounted.", "Google Drive mounted in Colab",
                          "run `from google.colab import drive; drive.mount('/content/drive')`, or make a zip: pack()")
    for path in handed_in(week, dataset, name, root):
        write_atomic(drive / path.relative_to(root), path.read_bytes())
    return drive / fill(week.folder, dataset, name)


def find_artifact(week: int, file: str, dataset: str, name: str, root: str | Path | None = None,
                  drive: str | Path | None = None, required: bool = False) -> Path | None:
    """A file of an earlier week, wherever it was kept: below the root, in a zip made by pack(), or on the Drive.

    From a zip exactly this one file is taken, to a place that we choose (runs/unpacked/), so that no name inside the
    zip can lead anywhere. None if it is nowhere; with required=True an error that says where it was looked for.
    """
    plan, dataset, name, root = load_contract().week(week), dataset_key(dataset), slug(name), results_root(root)
    path, drive = locate(plan, file, dataset, name)[1], Path(drive or DRIVE)
    if (root / path).is_file():
        return root / path
    pattern = f"{archive_name(plan, dataset, name)}*.zip"  # a browser adds " (1)"
    zips = [found for folder in (root / "runs" / "packed", root, Path.cwd()) for found in folder.glob(pattern)]
    for archive in sorted(zips, key=os.path.getmtime, reverse=True):
        if (content := _read_member(archive, path)) is not None:
            return write_atomic(root / "runs" / "unpacked" / path, content)
    if (drive / path).is_file():
        return drive / path
    if required:
        raise MedsslError(f"{path} is nowhere: not below {root}, in no zip there, not in {drive}.",
                          f"the {file} that week {week} hands in", f"run {plan.notebook}, or put its zip into {root}")
    return None


def _read_member(archive: Path, name: str) -> bytes | None:
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.read(name) if opened.getinfo(name).file_size <= LARGEST else None
    except (KeyError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error):  # not in it, encrypted, broken
        return None
