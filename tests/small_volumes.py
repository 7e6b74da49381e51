"""Small volumes, and NIfTI files whose header fields are written over, that several tests share."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.data import Volume

nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: pip install 'medssl[volumes]'")

RNG = np.random.default_rng(0)


def save(path: Path, array, affine=None, kind=nibabel.Nifti1Image, **fields) -> Path:
    """A file made by nibabel, then header fields written over, whatever nibabel thinks of them."""
    nibabel.save(kind(array, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine, dtype=array.dtype), path)
    blob = bytearray(gzip.decompress(path.read_bytes()) if path.name.endswith("gz") else path.read_bytes())
    header = (nibabel.Nifti1Header if blob[0] in (92, 0) and len(blob) and blob[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c")
              else nibabel.Nifti2Header)(bytes(blob[:348 if b"\x5c" in blob[:4] else 540]), check=False)
    for name, value in fields.items():
        header[name] = value
    raw = header.binaryblock
    blob[:len(raw)] = raw
    path.write_bytes(gzip.compress(blob, mtime=0) if path.name.endswith("gz") else blob)
    return path


def whole(shape=(4, 5, 6), dtype=np.int16):
    return RNG.integers(-1000, 1000, shape).astype(dtype)


def volume(array, spacing=(4.0, 3.0, 2.0), origin=(0.0, 0.0, 0.0)) -> Volume:
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin
    return Volume(torch.as_tensor(array)[None], spacing, affine)
