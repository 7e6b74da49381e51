"""Your own pictures: a folder and, if there is one, a CSV table that says what is on them, become an `ImageData`.

A picture that is missing or broken is an error that names it, or is left out and counted when that is asked for. A
blank one never takes its place.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from medssl.data.dicom_header import require_pydicom
from medssl.data.duplicates import find_duplicates
from medssl.data.folder_listing import Listing, list_folder
from medssl.data.images import ImageData, Split
from medssl.data.pictures import ENDINGS, PERCENTILES, is_colour, is_dicom_file, read_picture
from medssl.data.splits import PARTS, split
from medssl.errors import MedsslError
from medssl.files import OnlyWhatIsThere

MEMORY = 4.0  # GB that the images of a folder may take


def load_folder(path: str | Path, labels: str | Path | None = None, image_column: str = "image",
                label_column: str | Sequence[str] | None = None, *, size: int = 224, channels: int | None = None,
                fit: str = "pad", window=None, percentiles: tuple[float, float] = PERCENTILES,
                classes: Sequence[str] | None = None, only: str = "*", folders: bool = True, broken: str = "error",
                max_gb: float = MEMORY, **about) -> ImageData:
    """All pictures of a folder in memory as uint8 [N,C,size,size], in three parts (see list_folder, read_picture).

    channels: 1 or 3; None is 3 if any picture has colour. about: how parts are made, what it is (see as_data).
    """
    listing = list_folder(path, labels, image_column, label_column, classes, broken, only, folders=folders)
    if not listing.files:
        raise MedsslError(f"{listing.root} holds no picture{f' like {only}' * (only != '*')}.",
                          f"files that end in {', '.join(ENDINGS)}", "Is this the right folder?")
    if channels is None:
        channels = 3 if any(_colour(file, broken) for file in listing.files) else 1
    images, listing = decode(listing, (channels, size, size), lambda file: read_picture(
        file, size, channels, fit, window, percentiles), broken, max_gb, os.cpu_count())
    return as_data(listing, images, size=size, **about)


def decode(listing: Listing, shape: tuple[int, ...], read: Callable[[Path], torch.Tensor], broken: str,
           max_gb: float = MEMORY, workers: int = 1) -> tuple[torch.Tensor, Listing]:
    """(uint8 [N, *shape], the listing of those that could be read; its `skipped` says why others could not)."""
    gigabytes = len(listing.files) * np.prod(shape, dtype=float) / 1e9
    if gigabytes > max_gb:
        raise MedsslError(f"{len(listing.files):,} × {'×'.join(map(str, shape))} take {gigabytes:.3g} GB.",
                          f"at most max_gb={max_gb:g}", "Choose a smaller size, or raise max_gb.")
    images, skipped = torch.empty(len(listing.files), *shape, dtype=torch.uint8), dict(listing.skipped or {})

    def put(k: int) -> int | None:
        try:
            images[k] = read(listing.files[k])
        except MedsslError as error:
            if broken == "error":
                raise
            skipped[str(listing.files[k])] = error.wrong.splitlines()[0]
            return None
        return k

    with ThreadPoolExecutor(workers) as pool:
        kept = [k for k in pool.map(put, range(len(listing.files))) if k is not None]
    if not kept:
        raise MedsslError(f"{listing.root}: not one file could be read.", "images that can be read; the first: "
                          + next(iter(skipped.values()), "none was listed"))
    if skipped:
        warnings.warn(f"{len(skipped)} of {len(skipped) + len(kept)} images were left out; the first: "
                      f"{next(iter(skipped.values()))}", stacklevel=3)
    listing = Listing(**(listing.take(kept).__dict__ | {"skipped": skipped}))
    return (images if len(kept) == len(images) else images[kept]), listing


def as_data(listing: Listing, images: torch.Tensor, *, size: int, patients: str | None = None,
            split_column: str | None = None, site_column: str | None = None, fractions: Sequence[float] | None = None,
            seed: int = 0, modality: str = "", license: str = "your own", **more) -> ImageData:
    """The images in three parts. Copies that stand in it twice, pixel by pixel, give a warning.

    split_column: the column that says train, val or test; else parts are drawn by the column `patients` (without it by
    the patient numbers of DICOM files; without those each image counts as a patient of its own, and the data say so):
    fractions, by default 70, 15 and 15 %, without labels 90, 10 and none (of few images two are for val: what is
    watched there is how they spread). site_column: the hospital or device that an image is from.
    """
    need_columns(listing, site_column)
    truth = torch.zeros(len(images), dtype=torch.int64) if listing.labels is None else listing.labels
    parts, parted, owners = parts_of(listing, patients, split_column, fractions, seed)
    about = {"file": listing.files, "patient": owners, "site": listing.columns[site_column] if site_column else None}
    data = ImageData(key=listing.root.resolve().name, **{name: Split(images[i], truth[i], {
        key: tuple(values[k] for k in i.tolist()) for key, values in about.items() if values})
        for name, i in parts.items()}, classes=listing.classes or ("unlabelled",), modality=modality or "images",
        license=license, is_phantom=False, size=size, parted=parted, **more)
    twice = find_duplicates(data)
    if twice:
        across = sum(d.split_a != d.split_b for d in twice)
        warnings.warn(f"{listing.root}: {len(twice)} images are copies of another, pixel by pixel, {across} of them "
                      "in another part, which is then no test. find_duplicates(data) lists them.", stacklevel=3)
    return data


def _colour(file: Path, broken: str) -> bool:
    try:
        return is_colour(file)
    except MedsslError:
        if broken == "error":
            raise
        return False


def parts_of(listing: Listing, by: str | None = None, split_column: str | None = None,
             fractions: Sequence[float] | None = None, seed: int = 0) -> tuple[dict, str, tuple | None]:
    """({part: indices}, how they came about, as ImageData.parted says it, the patient of each file); see as_data."""
    need_columns(listing, by, split_column)
    n = len(listing.files)
    truth = torch.zeros(n, dtype=torch.int64) if listing.labels is None else listing.labels
    watched = min(0.5, max(0.1, 2 / n))
    fractions = fractions or ((1 - watched, watched, 0.0) if listing.labels is None else (0.7, 0.15, 0.15))
    wanted = sum(share > 0 for share in fractions)
    if split_column is None and n < wanted:
        raise MedsslError(f"{listing.root} holds {n} image{'s' * (n > 1)} of use.",
                          f"{wanted} at least, one for each part", "Put more images into it.")
    owners = listing.columns[by] if by else dicom_patients(listing.files)
    if by is not None and "" in owners:
        raise MedsslError(f"{owners.count('')} images have nothing in the column '{by}'.",
                          "a patient for every image", "Mend the table.")
    if split_column is None:
        alone = ("each image counts as a patient of its own, as no column of patients was named; where a patient has "
                 "several, the test knows whom the training saw")
        how = f"by patient, as {f'the column {by!r} says' if by else 'the DICOM headers say'}" if owners else alone
        return split(owners or range(n), truth, fractions, seed), how, owners
    said = np.array([{"valid": "val", "validation": "val", "training": "train"}.get(v.lower(), v.lower())
                     for v in listing.columns[split_column]])
    if strange := set(said) - set(PARTS):
        raise MedsslError(f"The column '{split_column}' says {', '.join(sorted(strange)[:5])}.", "train, val or test",
                          "Mend the table.")
    twice = len(set(zip(owners, said, strict=True))) - len(set(owners)) if owners else 0
    if by is not None and twice:
        raise MedsslError(f"Some patients stand in two parts of the column '{split_column}'.",
                          "each patient in one part", "Leave split_column out: parts are then drawn by patient.")
    how = f"as the column '{split_column}' says" + (
        "; no column of patients was named, so that nobody can tell whether one stands in two parts" if not owners else
        f"; by the DICOM headers {twice} patients stand in two, and the test knows whom the training saw" if twice else
        ", no patient in two")
    return {name: torch.from_numpy(np.flatnonzero(said == name)) for name in PARTS}, how, owners


def need_columns(listing: Listing, *names: str | None) -> None:
    """An error that names the first of these columns that the table does not have; None is none."""
    for name in names:
        if name is not None and name not in (listing.columns or {}):
            raise MedsslError(f"There is no column '{name}'.", f"one of {', '.join(listing.columns) or 'none'}",
                              "Name a column of the CSV.")


def dicom_patients(files: Sequence[Path]) -> tuple[str, ...] | None:
    """A hash for each DICOM file (of a series' folder: its first) that is equal where PatientID is. None where a file
    is no DICOM or has no number, or where all have the same one: then it names nobody."""
    owners = []
    for file in files:
        file = file if file.is_file() else next(
            (inside for inside in sorted(file.iterdir()) if inside.is_file() and is_dicom_file(inside)), None)
        if file is None or not is_dicom_file(file):
            return None
        try:
            with OnlyWhatIsThere(file) as opened:
                ds = require_pydicom().dcmread(opened, force=True, stop_before_pixels=True, specific_tags=["PatientID"])
            number = str(ds.get("PatientID") or "").strip()
        except Exception:  # the image was read; what is damaged here is the number, or what stands before it
            return None
        if not number:
            return None
        owners.append(hashlib.sha256(number.encode()).hexdigest()[:16])  # the number itself goes no further
    return tuple(owners) if len(set(owners)) > 1 else None
