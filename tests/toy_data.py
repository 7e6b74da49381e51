"""Small data sets that several tests share: random images, and a file laid out as MedMNIST's are."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from medssl.data import ImageData, Split


def random_split(n: int, seed: int, size: int = 6) -> Split:
    g = torch.Generator().manual_seed(seed)
    return Split(torch.randint(0, 256, (n, 1, size, size), generator=g, dtype=torch.uint8), torch.arange(n) % 2)


def small_set(**changes) -> ImageData:
    parts = {"key": "toy", "train": random_split(10, 0), "val": random_split(4, 1), "test": random_split(6, 2),
             "classes": ("no", "yes"), "modality": "xray", "license": "none", "is_phantom": False, "size": 6}
    return ImageData(**(parts | changes))


def write_npz(path: Path, **changes) -> str:
    """A file laid out as MedMNIST lays them out (labels [N,1] uint8); returns its MD5."""
    rng = np.random.default_rng(0)
    arrays = {f"{s}_images": rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for s, n in
              (("train", 6), ("val", 4), ("test", 4))}
    arrays |= {f"{s}_labels": (np.arange(len(arrays[f"{s}_images"])) % 2).astype(np.uint8)[:, None] for s in
               ("train", "val", "test")}
    np.savez(path, **(arrays | changes))
    return hashlib.md5(path.read_bytes()).hexdigest()
