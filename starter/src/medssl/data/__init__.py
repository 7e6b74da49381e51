"""Data: `load("breastmnist")` gives images and labels in memory; a phantom answers to its own key."""

import difflib
from dataclasses import replace
from pathlib import Path

from medssl.data import medmnist, public
from medssl.data.duplicates import TWIN, Duplicate, find_duplicates, image_hashes, near_twins
from medssl.data.folders import load_folder
from medssl.data.images import ImageData, Split
from medssl.data.intensity import WINDOWS, quantiles, scale_mr, window_ct
from medssl.data.labels import label_subset
from medssl.data.medmnist import data_root
from medssl.data.public import fetch
from medssl.data.scans import Scans, load_scans
from medssl.data.sources import InMemory
from medssl.data.splits import split
from medssl.data.together import together
from medssl.data.volume_folders import load_own, load_volume_folder
from medssl.data.volume_grid import crop_or_pad, resample
from medssl.data.volumes import Volume, read_volume, read_volumes, to_index, to_world, write_nifti
from medssl.errors import MedsslError

__all__ = ["check", "crop_or_pad", "data_root", "Duplicate", "find_duplicates", "get", "image_hashes", "ImageData",
           "InMemory", "label_subset", "list_datasets", "load", "load_folder", "load_own", "load_scans",
           "load_volume_folder", "near_twins", "quantiles", "read_volume", "read_volumes", "resample", "scale_mr",
           "Scans", "split", "Split", "to_index", "to_world", "together", "Volume", "window_ct", "WINDOWS",
           "write_nifti"]


def _phantom(key: str, size: int) -> ImageData:
    from medssl.data import phantoms  # drawing needs more than reading: imported only when asked for

    return _copied(phantoms.make(key, size=size))


def _copied(made: ImageData) -> ImageData:
    """A phantom is drawn once per process; without a copy, a change in place would last."""
    return replace(made, **{name: Split(s.images.clone(), s.labels.clone()) for name, s in made.splits.items()})


def _adrenal(key: str, size: int) -> ImageData:
    from medssl.data import phantom_adrenal

    return _copied(phantom_adrenal.make(size))


def _cine(key: str, size: int) -> ImageData:
    from medssl.data.video import cine_data

    return cine_data(size)


PHANTOMS = {"breastphantom": _phantom, "pneumoniaphantom": _phantom, "adrenalphantom": _adrenal, "cinephantom": _cine}


def load(key: str, root: str | Path | None = None, size: int | None = None, **how) -> ImageData:
    """A data set by its key. Official files: from root, else $MEDSSL_DATA, else ~/.medmnist; downloaded if absent.

    size: 28 pixels unless given. The large sets of medssl.data.public have a size of their own, take more (`how`: see
    there), and are never downloaded here: `medssl data get ham10000` does that.
    """
    if str(key).lower() in public.SETS:
        return public.load(str(key).lower(), root, size, **how)
    key = _known(key, size := 28 if size is None else size)
    return PHANTOMS[key](key, size) if key in PHANTOMS else medmnist.load(key, root, size)


def get(key: str, root: str | Path | None = None, size: int = 28) -> Path | None:
    """Have the official file at hand, MD5 checked, and return its path; None for a phantom, which needs no file."""
    if str(key).lower() in public.SETS:
        return fetch.get(str(key).lower(), root)
    key = _known(key, size)
    return None if key in PHANTOMS else medmnist.get(key, root, size)


def check(key: str, root: str | Path | None = None, size: int = 28) -> str:
    """A report to print: is the file the official one, the images of each class, images that stand in it twice."""
    data, path = load(key, root, size), get(key, root, size)
    twice = find_duplicates(data)
    across = [d for d in twice if d.split_a != d.split_b]
    lines = [repr(data), f"  file: {path or 'none, the package makes the images'}"
             f"{', MD5 as published' if path and str(key).lower() not in public.SETS else ''}",
             f"  split hash: {data.split_hash()}",
             f"  exact duplicates: {len(across)} across splits, {len(twice) - len(across)} within one"]
    lines += [f"    {d.split_b}[{d.index_b}] is {d.split_a}[{d.index_a}], with "
              f"{'the same' if d.same_label else 'ANOTHER'} label" for d in across]
    lines.append(f"  near-twins of train images (within {TWIN:g} grey values, root mean square):")
    for part in ("val", "test"):
        twin, nearest = near_twins(data, part)
        same = int((data.splits[part].labels == data.train.labels[nearest])[twin].sum())
        lines.append(f"    {int(twin.sum())} of {len(twin)} {part} images, {same} of them with the same label")
    return "\n".join(lines)


def list_datasets(root: str | Path | None = None) -> list[dict[str, str]]:
    """One row for each data set, ready to print, the phantoms behind the sets they stand in for."""
    rows = []
    for key in medmnist.BINARY:
        info, sizes = medmnist.INFO[key], medmnist.sizes(key)
        here = [size for size in sizes if medmnist.file_path(key, root, size).is_file()]
        row = {"key": key, "train/val/test": "/".join(map(str, info["n_samples"].values())),
               "classes": " | ".join(info["label"].values()), "sizes": ", ".join(map(str, sizes)),
               "licence": info["license"], "at hand": ", ".join(map(str, here)) or "no"}
        rows.append(row)
        if key in medmnist.PHANTOM_FOR:
            rows.append(row | {"key": medmnist.PHANTOM_FOR[key], "licence": "MIT, no patients", "at hand": "always"})
    clips = {"key": "cinephantom", "train/val/test": "96/32/64", "classes": "normal | reduced", "sizes": "any",
             "licence": "MIT, no patients", "at hand": "always"}
    return [*rows, clips, *public.rows(root)]


def _known(key: str, size: int) -> str:
    """The key in lower case: "BreastMNIST" is how papers write it."""
    keys, name = [*medmnist.BINARY, *PHANTOMS, *public.SETS], str(key).lower()
    if name not in keys:
        close = difflib.get_close_matches(name, keys, n=1) if name not in medmnist.INFO else []
        raise MedsslError(f"There is no data set '{key}' here{' (not two classes)' if name in medmnist.INFO else ''}.",
                          f"one of {', '.join(keys)}", f"Write '{close[0]}'." if close else "Choose one of these.")
    if not isinstance(size, int):
        raise MedsslError(f"size={size!r}.", "the side of an image in pixels, a whole number", "Write size=28.")
    return name
