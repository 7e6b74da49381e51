"""A folder of slices: the same volume as the NIfTI of the series, in whatever order; anything else is refused."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medssl.data.dicom_series import read_series
from medssl.data.volumes import read_volume, to_world
from medssl.errors import MedsslError

AXIAL, CORONAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)
OBLIQUE = (np.cos(0.2), np.sin(0.2), 0, -np.sin(0.2), np.cos(0.2), 0)
N, ROWS, COLUMNS = 5, 6, 4


def make_slice(k=0, series="1.2.3", turn=AXIAL, step=2.5, start=(-10.0, 20.0, 5.0), shift=(0, 0, 0), **more):
    """Slice k of a series; each pixel holds 100·slice + 10·row + column, so that none is like another."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{series}.{k + 1}"
    ds.SeriesInstanceUID, ds.Modality, ds.PatientName, ds.ImageType = series, "CT", "Mustermann^Erika", ["ORIGINAL"]
    ds.Rows, ds.Columns = more.pop("shape", (ROWS, COLUMNS))
    normal = np.cross(turn[:3], turn[3:])
    ds.ImagePositionPatient = [f"{v:.6f}" for v in np.array(start) + k * step * normal + np.array(shift)]
    ds.ImageOrientationPatient, ds.PixelSpacing = [f"{c:.9f}" for c in turn], [0.5, 0.75]  # between rows, columns
    y, x = np.mgrid[:ds.Rows, :ds.Columns]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = (100 * k + 10 * y + x).astype("<i2").tobytes()
    ds.SliceThickness = abs(step)
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def write(folder: Path, slices, names="abcdefghijk") -> Path:
    folder.mkdir(exist_ok=True)
    for ds, name in zip(slices, names, strict=False):
        ds.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return folder


@pytest.mark.parametrize("turn", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
@pytest.mark.parametrize("step", [2.5, -2.5])
def test_every_voxel_keeps_its_place_in_the_patient(tmp_path, turn, step):
    """Independent of how axes are exchanged: world position of each pixel (C.7.6.2.1.1), looked up in the volume."""
    order = np.random.default_rng(0).permutation(N)
    slices = [make_slice(k, turn=turn, step=step) for k in order]
    volume = read_series(write(tmp_path / "s", slices))
    assert volume.modality == "CT" and volume.array.dtype == torch.int16
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    assert (np.diag(directions) > 0.9).all()  # RAS+, but for the remaining turn
    inverse = np.linalg.inv(volume.affine)
    for ds in slices:
        row, column, place = np.array(turn[:3]), np.array(turn[3:]), np.array(ds.ImagePositionPatient, float)
        pixels = np.frombuffer(ds.PixelData, "<i2").reshape(ROWS, COLUMNS)
        for i in range(ROWS):
            for j in range(COLUMNS):
                left_back_up = place + row * 0.75 * j + column * 0.5 * i
                x, y, z, _ = inverse @ np.append(left_back_up * [-1, -1, 1], 1)
                at = np.rint([x, y, z])
                assert np.allclose([x, y, z], at, atol=1e-4)
                assert volume.array[0, int(at[2]), int(at[1]), int(at[0])] == pixels[i, j]
    assert np.allclose(sorted(volume.spacing), [0.5, 0.75, 2.5])
    assert np.allclose(to_world(volume, (0, 0, 0)), volume.affine[:3, 3])


def test_spacing_comes_from_positions_and_slopes_belong_to_slices(tmp_path):
    slices = [make_slice(k, SliceThickness=5, RescaleSlope=k + 1, RescaleIntercept=-1000) for k in range(N)]
    with pytest.warns(UserWarning, match="5 mm thick lie 2.5 mm apart"):
        volume = read_series(write(tmp_path / "s", slices))
    assert volume.spacing == pytest.approx((2.5, 0.5, 0.75))
    assert volume.array[0, :, -1, -1].tolist() == [100 * k * (k + 1) - 1000 for k in range(N)]
    slices = [make_slice(k, RescaleSlope=0.5 if k == 2 else 1, RescaleIntercept=0) for k in range(N)]
    mixed = read_series(write(tmp_path / "f", slices))
    assert mixed.array.dtype == torch.float32 and mixed.array[0, 2, -1, -2] == 100.5


def test_padding_is_filled_when_asked(tmp_path):
    slices = [make_slice(k, PixelPaddingValue=100 * k) for k in range(N)]
    volume = read_series(write(tmp_path / "s", slices), fill=-1000)
    assert volume.array[0, :, -1, -1].tolist() == [-1000] * N
    assert (volume.array == -1000).sum() == N


def cases():
    """{name: (slices, what the error must say)}"""
    whole = [make_slice(k) for k in range(N)]
    return {
        "missing": (whole[:2] + whole[3:], "1 slice missing, the first between b.dcm and c.dcm.*5 mm"),
        "double": ([*whole, make_slice(2)], "copies of one image"),
        "two times": (whole + [make_slice(k, SOPInstanceUID=f"9.{k}") for k in range(N)], "echoes or b-values"),
        "uneven": ([make_slice(k, shift=(0, 0, 0.4 * (k == 2))) for k in range(N)], "varies from 2.1 to 2.9"),
        "tilt": ([make_slice(k, shift=(0, 0.5 * k, 0)) for k in range(N)], "11.3°, as after a gantry tilt"),
        "jitter": ([make_slice(k, shift=(0, 1.0 * (k == 2), 0)) for k in range(N)], "off the straight row"),
        "mixed": ([*whole, make_slice(0, turn=CORONAL)], "mixed orientation(.|\n)*axial(.|\n)*coronal"),
        "sizes": ([*whole, make_slice(9, shape=(8, 8))], "mixed orientation or size"),
        "series": (whole + [make_slice(k, "1.2.4") for k in range(3)],
                   "2 series(.|\n)*series=1: 5 (.|\n)*series=2: 3 "),
        "localizer": ([make_slice(k, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]) for k in range(3)], "scout"),
        "report": ([make_slice(0, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")], "1 × a structured report"),
        "single": (whole[:1], "single slice"),
        "spacing": ([make_slice(k, PixelSpacing=[0.5, 0.75 + 0.1 * (k == 1)]) for k in range(N)],
                    "pixel spacing differs"),
        "no place": ([make_slice(k, ImagePositionPatient=None) for k in range(N)], "ImagePositionPatient"),
        "bent": ([make_slice(k, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]) for k in range(N)], "impossible"),
        "colour": ([make_slice(k, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
                               BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0,
                               PixelData=bytes(3 * ROWS * COLUMNS)) for k in range(N)], "in colour"),
        "empty": ([], "no file at all"),
    }


@pytest.mark.parametrize("name", cases())
def test_what_is_no_volume_is_refused(tmp_path, name):
    slices, says = cases()[name]
    folder = write(tmp_path / "s", slices)
    with pytest.raises(MedsslError, match=says) as error:
        read_series(folder)
    assert str(folder) in str(error.value) and "Erika" not in str(error.value)


def test_one_of_several_can_be_chosen_and_others_left_out(tmp_path):
    slices = [*(make_slice(k) for k in range(N)), *(make_slice(k, "1.2.4", step=1) for k in range(3)),
              make_slice(0, "1.2.5", ImageType=["DERIVED", "SECONDARY", "LOCALIZER"])]
    folder = write(tmp_path / "s", slices)
    (folder / "notes.txt").write_text("seen")
    (folder / ".hidden").write_text("not seen")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second = read_series(folder, series=2)
        assert [str(w.message).split(": ", 1)[1] for w in caught] == list(second.notes)
        assert "localizer" in " ".join(second.notes)
        assert len(second.notes) == 2
        assert second.shape == (3, ROWS, COLUMNS) == read_series(folder, series="1.2.4").shape
        assert read_series(folder, series=1).shape == (N, ROWS, COLUMNS)
        for wrong in (0, 3, -1, "1.2.5"):
            with pytest.raises(MedsslError, match="has no series"):
                read_series(folder, series=wrong)


def test_a_broken_slice_is_named_not_left_out(tmp_path):
    folder = write(tmp_path / "s", [make_slice(k) for k in range(N)])
    (folder / "c.dcm").write_bytes((folder / "c.dcm").read_bytes()[:-9])
    with pytest.raises(MedsslError, match="c.dcm is cut short"):
        read_series(folder)
    (folder / "e.dcm").write_bytes(b"")
    with pytest.raises(MedsslError, match="e.dcm.*empty"):
        read_series(folder)


def test_nearly_equal_orientations_are_one_series(tmp_path):
    turn = (0.9995, 0.0316, 0, -0.0316, 0.9995, 0)
    near = (0.99949, 0.03195, 0, -0.03195, 0.99949, 0)
    slices = [make_slice(k, turn=near if k % 2 else turn) for k in range(N)]
    assert read_series(write(tmp_path / "s", slices)).shape == (N, ROWS, COLUMNS)


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("MEDSSL_TEST_DATA")
    if not folder or not (Path(folder) / "dicom").is_dir():
        pytest.skip("MEDSSL_TEST_DATA names no folder with dicom/: these tests need real DICOM series")
    return Path(folder)


@pytest.mark.parametrize("folder, nifti", [("ct", "CT"), ("mr_t1", "MR_T1")])
def test_real_series_equal_their_nifti_voxel_by_voxel(real, folder, nifti):
    mine = read_series(real / "dicom" / f"series_sts002_{folder}")
    theirs = read_volume(real / "nifti" / "sts" / f"STS_002_{nifti}_image.nii.gz")
    assert mine.modality == nifti[:2] and mine.array.shape == theirs.array.shape
    assert (mine.array.float() - theirs.array).abs().max() == 0
    assert np.abs(mine.affine - theirs.affine).max() < 1e-4  # mm; NIfTI keeps float32


def test_real_folder_of_many_series(real):
    with pytest.raises(MedsslError, match="holds 10 series"):
        read_series(real / "dicom")
    with pytest.warns(UserWarning, match="1.25 mm thick lie 1 mm apart"):
        volume = read_series(real / "dicom", series=1, fill=-1024)
    assert volume.shape == (3, 512, 512) and volume.array.min() == -1024
