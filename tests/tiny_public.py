"""Files of which miniatures of public data sets are made: a picture, a table, a volume, a task of the Decathlon."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

RNG = np.random.default_rng(0)


def picture(path, shape=(24, 32, 3), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape, np.uint8) if value is None else np.full(shape, value, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def nifti(path, array, spacing=(1.0, 1.0, 1.0)):
    nibabel = pytest.importorskip("nibabel")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


def decathlon(root, channels, modality, cases=8, shape=(12, 14, 10)):
    names = [f"case_{k:03}.nii.gz" for k in range(cases)]
    for k, name in enumerate(names):
        array = RNG.integers(0, 100, (*shape, channels) if channels > 1 else shape).astype(np.int16)
        array[..., 0 if channels > 1 else slice(None)] += 100 * (channels > 1)
        nifti(root / "imagesTr" / name, array - 100 * (modality == "CT"))
        mask = np.zeros(shape, np.uint8)
        mask[2:5 + k % 3, 3:9, 4:8] = 1 + k % 2
        nifti(root / "labelsTr" / name, mask)
    (root / "imagesTr" / "._case_000.nii.gz").write_bytes(b"\0")  # a Mac was here, as in the real archives
    said = {"name": "x", "tensorImageSize": "4D" if channels > 1 else "3D", "numTraining": cases, "numTest": 1,
            "modality": {str(c): modality for c in range(channels)}, "labels": {"0": "background", "1": "organ"},
            "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
            "test": ["./imagesTs/case_900.nii.gz"]}
    (root / "dataset.json").write_text(json.dumps(said))
    return said
