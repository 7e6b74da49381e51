"""Sets of pictures with a table: HAM10000, APTOS 2019, ChestX-ray14, PatchCamelyon (as .h5 files, or Kaggle's .tif)."""

import filecmp
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import functional as transforms

from medssl.data.folder_listing import Listing, list_folder, picture_files
from medssl.data.folders import MEMORY, as_data, decode
from medssl.data.images import ImageData, Split
from medssl.data.npz import BEST_DEFLATE
from medssl.data.pictures import read_picture
from medssl.data.splits import split
from medssl.errors import MedsslError

WORKERS, BLOCK = 8, 4096


def read(folder: Path, about, size: int, *, channels: int | None = None, fit: str = "pad", broken: str = "error",
         max_gb: float = MEMORY, seed: int = 0, fractions=None) -> ImageData:
    """The pictures that the set's table names. Official lists, where there are any, say what is test."""
    channels = channels or about.channels
    listing = list_folder(folder / about.below, find(folder, about.table), about.image_column, about.label_column,
                          tuple(about.classes), broken, find=distinct)
    if about.lists:
        listing = official_parts(folder, about, listing, seed)
    images, listing = decode(listing, (channels, size, size), lambda file: read_picture(file, size, channels, fit),
                             broken, max_gb, WORKERS)
    data = as_data(listing, images, size=size, patients=about.patient_column or None, seed=seed, fractions=fractions,
                   split_column="part" if about.lists else None, modality=about.modality, license=about.licence)
    return replace(data, classes=tuple(about.classes.values()))


def find(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these files that lies in the folder, or one or two folders down."""
    for name in names:
        for level in ("", "*/", "*/*/"):
            if path := next(iter(sorted(folder.glob(level + name))), None):
                return path
    raise MedsslError(f"{folder} has no {' or '.join(names)}.", "the files as they were published", "Fetch it again.")


def distinct(root: Path) -> list[Path]:
    """Every picture once: Kaggle's archive of HAM10000 holds each folder twice, in upper and in lower case."""
    first, files = {}, picture_files(root)
    return [file for file in files
            if first.setdefault(file.name, file) is file or not filecmp.cmp(first[file.name], file, shallow=False)]


def official_parts(folder: Path, about, listing: Listing, seed: int) -> Listing:
    """With a column "part" from the official lists; an eighth of the patients of the training list become val."""
    said = {}
    for name, part in about.lists.items():
        path = find(folder, (name,))
        try:
            listed = path.read_text("utf-8-sig").split()
        except UnicodeDecodeError as error:
            raise MedsslError(f"{path} is no text ({error}).", "the list as it was published",
                              "Fetch it again.") from error
        for image in listed:
            if said.setdefault(image, part) != part:
                raise MedsslError(f"{image} stands in two of the lists {', '.join(about.lists)}.", "each image in one",
                                  "Fetch the lists again.")
    if about.patient_column not in listing.columns:
        raise MedsslError(f"The table has no column {about.patient_column}.", "the table as it was published",
                          "Fetch it again.")
    images, patients = listing.columns[about.image_column], np.array(listing.columns[about.patient_column])
    if missing := [image for image in images if image not in said]:
        raise MedsslError(f"{len(missing)} images stand in no official list, the first {missing[0]}.",
                          f"each in one of {', '.join(about.lists)}", "Fetch the lists again.")
    part = np.array([said[image] for image in images])
    train = np.flatnonzero(part == "train")
    if both := set(patients[train]) & set(patients[part == "test"]):
        raise MedsslError(f"Patient {min(both)} stands in two of the lists {', '.join(about.lists)}.",
                          "each patient in one", "Fetch the lists and the table again.")
    part[train[split(patients[train], listing.labels[train], (0.875, 0.125, 0.0), seed)["val"]]] = "val"
    return replace(listing, columns={**listing.columns, "part": tuple(part)})


def read_pcam(folder: Path, about, size: int, *, max_gb: float = MEMORY, **how) -> ImageData:
    """The official six .h5 files: x [N,96,96,3], y [N,1,1,1], parts drawn by slide. Or Kaggle's folder train/*.tif."""
    if next(folder.glob("**/train_labels.csv"), None):
        return read(folder, replace(about, below="train"), size, max_gb=max_gb, **how)
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MedsslError("PatchCamelyon's files need the package h5py.", "", "pip install 'medssl[public]'") from error
    parts = {"train": "train", "val": "valid", "test": "test"}
    paths = {part: [find(folder, (f"camelyonpatch_level_2_split_{name}_{k}.h5",)) for k in "xy"]
             for part, name in parts.items()}
    splits, total = {}, 0
    for part, (x, y) in paths.items():
        try:
            with h5py.File(x) as pixels, h5py.File(y) as truth:
                images, labels = _there(pixels["x"]), _there(truth["y"])[:].astype(np.int64)
                labels = torch.from_numpy(labels).reshape(-1)
                if (images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not images.size
                        or len(images) != len(labels) or not 0 <= labels.min() <= labels.max() <= 1):
                    raise MedsslError(f"{x} holds {images.dtype} {list(images.shape)}, {y.name} {len(labels)} labels.",
                                      "uint8 [N,96,96,3] and N labels, 0 or 1", "Fetch it again.")
                total += len(images) * 3 * size * size / 1e9
                if total > max_gb:
                    raise MedsslError(f"PatchCamelyon at {size} px takes more than {total:.3g} GB.",
                                      f"at most max_gb={max_gb:g}", "Choose a smaller size (32), or raise max_gb.")
                small = torch.empty(len(images), 3, size, size, dtype=torch.uint8)
                for start in range(0, len(images), BLOCK):
                    block = torch.from_numpy(images[start:start + BLOCK]).permute(0, 3, 1, 2)
                    small[start:start + BLOCK] = transforms.resize(block, [size, size], antialias=True)
        except (MedsslError, MemoryError):
            raise
        except Exception as error:  # h5py meets damage in many ways
            raise MedsslError(f"{x} or {y.name} cannot be read: damaged or cut short ({error}).", "a whole HDF5 file "
                              "with the key x or y", "Fetch it again.") from error
        splits[part] = Split(small, labels)
    return ImageData(key="pcam", **splits, classes=tuple(about.classes.values()), modality=about.modality,
                     license=about.licence, is_phantom=False, size=size)


def _there(values):
    """Numbers of an HDF5 file, should its bytes be able to hold what it claims: memory is asked for by the claim."""
    if values.nbytes > BEST_DEFLATE * values.id.get_storage_size():
        raise ValueError(f"{values.nbytes} bytes are claimed, {values.id.get_storage_size()} packed ones are there")
    return values
