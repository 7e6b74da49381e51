"""The official MedMNIST files with two classes: found or downloaded, MD5 checked, read whole into memory."""

import hashlib
import os
import socket
import tempfile
from pathlib import Path

import numpy as np
import torch
from medmnist import INFO
from torchvision.datasets.utils import download_url  # what the medmnist package itself downloads with

from medssl.data.images import ImageData, Split
from medssl.data.npz import read_npz
from medssl.errors import MedsslError

MODALITY = {"breastmnist": "ultrasound", "pneumoniamnist": "xray", "adrenalmnist3d": "ct", "nodulemnist3d": "ct",
            "vesselmnist3d": "mra", "synapsemnist3d": "em"}
BINARY = tuple(key for key in INFO if INFO[key]["task"] == "binary-class")
PHANTOM_FOR = {"breastmnist": "breastphantom", "pneumoniamnist": "pneumoniaphantom",
               "adrenalmnist3d": "adrenalphantom"}
PATIENCE = 15  # seconds without a byte after which a download has failed


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the .npz files: the argument, else $MEDSSL_DATA, else ~/.medmnist."""
    return Path(root or os.environ.get("MEDSSL_DATA") or "~/.medmnist").expanduser()


def sizes(key: str) -> list[int]:
    """The image sizes that exist: INFO holds "MD5" for 28 pixels, "MD5_64" for 64, and so on."""
    return [28] + [int(name[4:]) for name in INFO[key] if name.startswith("MD5_")]


def file_path(key: str, root: str | Path | None = None, size: int = 28) -> Path:
    """Where the official file lies or will lie: ROOT/breastmnist.npz, ROOT/breastmnist_64.npz, …"""
    if size not in sizes(key):
        raise MedsslError(f"{key} has no images of size {size}.", f"one of {sizes(key)}", "Choose one of these sizes.")
    return data_root(root) / (f"{key}.npz" if size == 28 else f"{key}_{size}.npz")


def get(key: str, root: str | Path | None = None, size: int = 28) -> Path:
    """The path of a file that is certainly the official one; it is downloaded if it is not there yet."""
    path, suffix = file_path(key, root, size), "" if size == 28 else f"_{size}"
    expected = INFO[key][f"MD5{suffix}"]
    if path.is_dir() or path.parent.is_file():
        raise MedsslError(f"{path} is a folder." if path.is_dir() else f"{path.parent} is a file, not a folder.",
                          f"a folder that holds the file {path.name}",
                          "Name that folder (root=, $MEDSSL_DATA); move away what is in the file's place.")
    if not path.is_file():
        _download(key, path, INFO[key][f"url{suffix}"], expected)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise MedsslError(f"{path} is not the official file: damaged, cut short, or another one (MD5 {found}).",
                          f"MD5 {expected}", "Move it away (nothing was deleted) and load again: that fetches it anew.")
    return path


def _download(key: str, path: Path, url: str, expected: str) -> None:
    """Download into a folder beside the final place; only a whole file with the right MD5 gets the final name."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
            download_url(url, folder, path.name, md5=expected)
            os.replace(Path(folder, path.name), path)
    except Exception as error:
        meanwhile = PHANTOM_FOR.get(key, "breastphantom")
        raise MedsslError(f"{path.name} is not in {path.parent}, and its download failed ({error}).",
                          f"the official file, MD5 {expected}", f"Save {url} as {path.name} in {path.parent}. "
                          f"Until then use load(\"{meanwhile}\"): images that the package makes itself.") from error
    finally:
        socket.setdefaulttimeout(before)


def load(key: str, root: str | Path | None = None, size: int = 28) -> ImageData:
    """Read one official set. Its labels are [N,1] in the file; here, once and for all, they become [N].

    Images [N,H,W] get a channel; volumes [N,28,28,28] become [N,1,28,28,28] with the axes in the order of the file.
    """
    path, names, splits = get(key, root, size), INFO[key]["label"], {}
    arrays = read_npz(path, [f"{name}_{what}" for name in ("train", "val", "test") for what in ("images", "labels")])
    for name in ("train", "val", "test"):
        images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.dtype.kind not in "iu" or (
                labels.shape != (len(images), 1) or not np.isin(labels, range(len(names))).all()):
            raise MedsslError(f"{path}: {name} holds images {images.dtype} {list(images.shape)} and labels "
                              f"{labels.dtype} {list(labels.shape)}.", "uint8 [N,H,W] or [N,D,H,W], and labels [N,1] "
                              f"from 0 to {len(names) - 1}", "Move it away, and fetch the official file.")
        splits[name] = Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels[:, 0].astype(np.int64)))
    return ImageData(key=key, **splits, classes=tuple(names[str(i)] for i in range(len(names))), size=size,
                     modality=MODALITY[key], license=INFO[key]["license"], is_phantom=False)
