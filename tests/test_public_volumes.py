"""The public sets of volumes, each as a miniature in the layout of the real one."""

import json

import numpy as np
import pytest
from tiny_public import RNG, decathlon, nifti

from medssl import data
from medssl.data import public
from medssl.data.public import SETS
from medssl.errors import MedsslError


@pytest.mark.parametrize(("case", "names"), [
    ("BraTS2021_{:05}", {"t1": 1, "t1ce": 2, "t2": 3, "flair": 4, "seg": 0}),
    ("BraTS-GLI-{:05}-000", {"t1n": 1, "t1c": 2, "t2w": 3, "t2f": 4, "seg": 0}),
])
def test_brats_puts_the_four_sequences_into_channels_in_one_order(tmp_path, case, names):
    mark = "-" if "GLI" in case else "_"
    for k in range(8):
        for name, corner in names.items():
            array = RNG.integers(1, 60, (20, 24, 16)).astype(np.int16)
            if corner:
                array[4 * corner:4 * corner + 3, 10:14, 6:10] = 500 + k  # each sequence is bright elsewhere
            else:
                array = (array > 50).astype(np.int16) * 4
            here = case.format(k)
            nifti(tmp_path / "brats" / "BraTS_Training_Data" / here / f"{here}{mark}{name}.nii.gz", array)
    found = data.load("brats", tmp_path, size=(16, 24, 20), mm=1)
    assert found.train.images.shape[1:] == (4, 16, 24, 20) and found.spacing == (1.0, 1.0, 1.0)
    for channel in range(4):
        columns = found.train.images[:, channel].float().mean((0, 1, 2))
        assert int(columns.argmax()) in range(4 * (channel + 1), 4 * (channel + 1) + 3)
    masks = data.load("brats", tmp_path, size=(16, 24, 20), mm=1, masks=True)
    assert masks.train.images.unique().tolist() == [0, 4] and [len(s) for s in masks.splits.values()] == \
        [len(s) for s in found.splits.values()]
    with pytest.raises(MedsslError, match="masks=True with broken"):
        data.load("brats", tmp_path, masks=True, broken="skip")
    last = case.format(7)
    folder = tmp_path / "brats" / "BraTS_Training_Data" / last
    end = list(names)[3]
    nifti(folder / f"{last}{mark}{end}.nii.gz", np.arange(16 ** 3, dtype=np.int16).reshape(16, 16, 16))
    with pytest.raises(MedsslError, match="does not lie on the grid"):
        data.load("brats", tmp_path, size=16)
    (folder / f"{last}{mark}{end}.nii.gz").unlink()
    with pytest.raises(MedsslError, match="has no file of FLAIR"):
        data.load("brats", tmp_path, size=16)
    with pytest.warns(UserWarning, match="1 of 8 images were left out"):
        assert sum(map(len, data.load("brats", tmp_path, size=16, broken="skip").splits.values())) == 7


def test_two_times_of_one_patient_stay_together(tmp_path):
    for k in range(12):
        case = f"BraTS-GLI-{k // 2:05}-00{k % 2}"
        for name in ("t1n", "t1c", "t2w", "t2f"):
            array = RNG.integers(0, 50, (8, 8, 8)).astype(np.int16)
            array[0] = 100 * (k // 2 + 1)
            nifti(tmp_path / "brats" / case / f"{case}-{name}.nii.gz", array)
    seen = []
    from medssl.data.public import scans  # noqa: F401 (public imports it when it is asked for)

    public.scans.as_data, keep = lambda listing, images, **how: seen.append((listing, how)) or keep(
        listing, images, **how), public.scans.as_data
    try:
        found = data.load("brats", tmp_path, size=8, mm=1)
    finally:
        public.scans.as_data = keep
    assert seen[0][0].columns["patient"] == tuple(f"BraTS-GLI-{k // 2:05}" for k in range(12))
    assert seen[0][1]["patients"] == "patient" and all(len(s) % 2 == 0 for s in found.splits.values())


@pytest.mark.parametrize(("key", "channels", "modality"), [("msd-prostate", 2, "MRI"), ("msd-spleen", 1, "CT")])
def test_a_task_of_the_decathlon(tmp_path, key, channels, modality):
    root = tmp_path / SETS[key].folder
    said = decathlon(root, channels, modality)
    found = data.load(key, tmp_path, size=(10, 14, 12), mm=1)
    masks = data.load(key, tmp_path, size=(10, 14, 12), mm=1, masks=True)
    assert found.train.images.shape[1:] == (channels, 10, 14, 12) and sum(map(len, found.splits.values())) == 8
    assert set(masks.train.images.unique().tolist()) == {0, 1, 2}
    assert masks.train.images[0, 0, 4:8, 3:9, 2:5].min() > 0  # z, y, x, upright and in place
    if modality == "CT":  # soft tissue, -160 to 240 HU; the voxels are -100 to -1
        assert found.train.images.min() >= 38 and found.train.images.max() <= 102
    path = root / "imagesTr" / "case_003.nii.gz"
    nifti(path, np.zeros((12, 14, 10, 3), np.int16))
    with pytest.raises(MedsslError, match="case_003.nii.gz has 3 channels"):
        data.load(key, tmp_path, size=8)
    path.write_bytes(b"not an image")
    with pytest.raises(MedsslError, match="case_003"):
        data.load(key, tmp_path, size=8)
    said["training"][0]["image"] = "../../etc/passwd"
    (root / "dataset.json").write_text(json.dumps(said))
    with pytest.raises(MedsslError, match="leads out of the folder"):
        data.load(key, tmp_path, size=8)
