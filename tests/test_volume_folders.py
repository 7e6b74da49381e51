"""Volumes of a folder: on one grid, in one scale, side and millimetre kept; and every real file read or refused."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from test_dicom_series import make_slice

from medssl.data import Volume, load_own, load_volume_folder, read_volume, write_nifti
from medssl.data.folder_listing import picture_files
from medssl.data.pictures import read_picture
from medssl.data.volume_folders import on_grid, volume_files
from medssl.errors import MedsslError

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def scan(seed=0, modality="") -> Volume:
    """CT: air, a body of water 24 × 16 × 12 mm (x, y, z) in the middle, in its left half a bone."""
    array = torch.full((1, 16, 40, 40), -1000, dtype=torch.int16)
    array[:, 5:11, 12:28, 8:32] = 40
    array[:, 6:10, 16:24, 24 - 12:20] = 700 + seed
    return Volume(array, (2.0, 1.0, 1.0), AFFINE, modality)


def folder(at: Path, n=6) -> Path:
    at.mkdir()
    for k in range(n):  # each stored otherwise: what is read must not show it
        write_nifti(at / f"scan{k}.nii.gz", scan(k), ("RAS", "LPS", "PIR", "LAS", "RAS", "SPL")[k])
    return at


def test_files_in_any_order_of_axes_come_out_alike_and_where_they_belong(tmp_path):
    data = load_volume_folder(folder(tmp_path / "ct"), size=(10, 20, 20), spacing=2, modality="CT", window=(0, 2048))
    assert (data.key, data.modality, data.spacing, data.size) == ("ct", "CT", (2.0, 2.0, 2.0), 20)
    assert [len(part) for part in data.splits.values()] == [4, 2, 0] and "10×20×20" in repr(data)
    images = torch.cat([data.train.images, data.val.images])
    assert images.shape == (6, 1, 10, 20, 20) and images.dtype == torch.uint8
    assert (images - images[:1].float()).abs().max() <= 1, "they differ by five HU at most"
    inside = (images[0, 0].float() > (40 - 500 + 1024) / 2048 * 255).float()
    assert [int(inside.sum(axes).gt(0).sum()) for axes in ((1, 2), (0, 2), (0, 1))] == [6, 8, 12]  # 12, 16, 24 mm
    bright = images[0, 0].float().argmax().item() % 20
    assert bright < 10, "the bone is on the left, the lower x"
    assert images[0, 0, 5, 10, 14] == round((40 + 1024) / 2048 * 255)


def test_padding_of_the_scanner_does_not_blur_into_the_patient():
    marked, plain = scan(), scan()
    marked.array[..., :8] = -3024
    plain.array[..., :8] = -1024
    assert torch.equal(on_grid(marked.__class__(**{**vars(marked), "modality": "CT"}), (8, 16, 16), 2.5),
                       on_grid(plain.__class__(**{**vars(plain), "modality": "CT"}), (8, 16, 16), 2.5))


def test_mr_is_scaled_by_its_own_percentiles_whatever_its_unit(tmp_path):
    for k, factor in enumerate((1, 7)):
        array = torch.zeros(1, 8, 30, 30, dtype=torch.int16)
        array[:, 2:6, 8:22, 8:22] = factor * torch.arange(100, 296, dtype=torch.int16).view(14, 14)
        array[0, 3, 9, 9] = factor * 4000  # one bright vessel
        write_nifti(tmp_path / f"{k}.nii", Volume(array, (2.0, 1.0, 1.0), AFFINE))
    data = load_volume_folder(tmp_path, size=(8, 30, 30), spacing=(2, 1, 1), modality="MR")
    one, other = data.train.images[0], data.val.images[0]
    assert (one.int() - other.int()).abs().max() <= 1 and one[0, 4, 21, 21] == 255 and one[0, 4, 8, 8] > 60
    assert (one[0, 0] == 0).all()


def series(at: Path, n=5, **how) -> Path:
    at.mkdir(parents=True)
    for k in range(n):
        pixels = np.full((8, 8), 20 * k, "<i2")
        pixels[:, :4] = -500
        make_slice(k, shape=(8, 8), PixelData=pixels.tobytes(), **how).save_as(at / f"IM{k}", enforce_file_format=True)
    return at


def test_dicom_series_and_nifti_in_one_folder_with_a_table(tmp_path):
    root = folder(tmp_path / "all", 4)
    for name in "ab":
        series(root / name)
    (root / "notes.txt").write_text("no volume")
    assert [file.name for file in volume_files(root)] == ["a", "b", *(f"scan{k}.nii.gz" for k in range(4))]
    table = tmp_path / "t.csv"
    table.write_text("who,image,lesion,cyst\n1,scan0,1,0\n1,scan1.nii.gz,0,0\n2,a,1,1\n3,b,0,1\n4,scan3,1,0\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a and b are copies
        data = load_volume_folder(root, table, label_column=["lesion", "cyst"], size=8, spacing=2, modality="CT",
                                  patients="who", fractions=(0.5, 0.25, 0.25))
    assert data.classes == ("lesion", "cyst") and data.multilabel and sum(map(len, data.splits.values())) == 5
    assert torch.cat([part.labels for part in data.splits.values()]).sum(0).tolist() == [3, 2]
    assert data.counts()["train"]["lesion"] == int(data.train.labels[:, 0].sum()) and "several" in repr(data)


def test_what_cannot_be_read_is_named_or_counted(tmp_path):
    root = folder(tmp_path / "s", 3)
    whole = (root / "scan0.nii.gz").read_bytes()
    (root / "cut.nii.gz").write_bytes(whole[:len(whole) // 2])
    (root / "empty.nii").write_bytes(b"")
    write_nifti(root / "mask.nii", Volume((scan().array > 0).to(torch.int16), (2.0, 1.0, 1.0), AFFINE))
    write_nifti(root / "blank.nii", Volume(scan().array * 0, (2.0, 1.0, 1.0), AFFINE))
    how = {"size": 8, "spacing": 4, "modality": "CT"}
    for only, says in (("cut*", "cut short"), ("empty*", "empty.nii"), ("mask*", "only 0 and 1"),
                       ("b*", "0 everywhere"), ("*.mhd", "no volume like")):
        with pytest.raises(MedsslError, match=says):
            load_volume_folder(root, only=only, **how)
    with pytest.warns(UserWarning, match="4 of 7 images were left out"):
        data = load_volume_folder(root, broken="skip", **how)
    assert sum(map(len, data.splits.values())) == 3
    with pytest.raises(MedsslError, match="whether it is CT or MR"):
        load_volume_folder(root, size=8, spacing=4, only="scan*")
    with pytest.raises(MedsslError, match="CT or MR"):
        load_volume_folder(root, **how | {"modality": "PET"})
    with pytest.raises(MedsslError, match="at most max_gb"):
        load_volume_folder(root, **how | {"size": 2000})
    with pytest.raises(MedsslError, match="on which grid"):
        load_own(root)
    single = series(tmp_path / "one", 1)
    with pytest.raises(MedsslError, match="single slice"):
        load_own(single, size=[8], spacing=[2])


def test_every_real_file_is_read_or_refused_with_a_reason(real_data_root):
    """Pictures: every DICOM file by itself. Volumes: every NIfTI header and grid; the small ones through all steps."""
    root = Path(os.environ["MEDSSL_TEST_DATA"])
    files = picture_files(root / "dicom")
    seen = [read_picture(file, 32, 1) for file in files]
    assert len(files) == 94 and all(len(image.unique()) > 8 for image in seen), "none of them blank"
    nifti = volume_files(root / "nifti")
    assert len(nifti) == 57
    read, refused = 0, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in nifti:
            if file.stat().st_size > 3_000_000:
                continue  # large ones: test_volumes.py reads them
            volume = read_volume(file)
            kind = "CT" if "ct_" in file.name.lower() else "MR"
            try:
                image = on_grid(Volume(volume.array, volume.spacing, volume.affine, kind, file.name), (16,) * 3, 8)
                assert image.shape == (1, 16, 16, 16) and len(image.unique()) > 8
                read += 1
            except MedsslError as error:
                refused[file.name] = error.wrong
    masks = {file.name for file in nifti if file.name.endswith("_mask.nii.gz")}
    assert set(refused) == masks and len(masks) == 22 and all("only 0 and 1" in why for why in refused.values())
    assert read >= 22
    for name, modality in (("series_sts002_ct", "CT"), ("series_sts002_mr_t1", "MR")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = load_volume_folder(root / "dicom" / name, size=16, spacing=8, fractions=(1.0, 0.0, 0.0))
        assert len(data.train) == 1 and data.modality == modality
