"""NIfTI files that are no volume, cut short or odd: each says why, and none is replaced."""

import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from small_volumes import save, volume, whole

from medssl.data import Volume, read_volume, read_volumes, write_nifti
from medssl.errors import MedsslError


def quaternion(**values):
    return dict(sform_code=0, qform_code=1, **values)


SHEARED = np.array([[2.0, 0, 0.4, 0], [0, 3, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
BROKEN = {
    "zero voxel": (whole(), None, dict(pixdim=[1, 2, 0, 4, 0, 0, 0, 0]), "voxel size"),
    "negative voxel": (whole(), None, dict(pixdim=[1, 2, -3, 4, 0, 0, 0, 0]), "voxel size"),
    "NaN voxel": (whole(), None, dict(pixdim=[1, 2, np.nan, 4, 0, 0, 0, 0]), "voxel size"),
    "sheared": (whole(), SHEARED, {}, "right angles.*gantry tilt"),
    "singular": (whole(), None, dict(srow_x=[2, 2, 0, 0], srow_y=[2, 2, 0, 0]), "singular"),
    "zero row": (whole(), None, dict(srow_y=[0, 0, 0, 0]), "no length"),
    "NaN affine": (whole(), None, dict(srow_y=[0, np.nan, 0, 0]), "no length"),
    "no rotation": (whole(), None, quaternion(quatern_b=2.0), "no rotation"),
    "NaN": (np.array([[[1, np.nan], [2, 3]]], np.float32), None, {}, "1 of 4 voxels are no numbers"),
    "infinite": (np.array([[[1, np.inf], [2, -np.inf]]], np.float32), None, {}, "2 of 4 voxels"),
    "beyond float32": (np.full((2, 2, 2), 1e300), None, {}, "8 of 8 voxels"),
    "intercept": (whole(), None, dict(scl_slope=1, scl_inter=np.inf), "intercept"),
    "complex": (whole().astype(np.complex64), None, {}, "complex"),
    "one slice": (whole((4, 5)), None, {}, "three axes"),
    "no type": (whole(), None, dict(datatype=3), "damaged"),
    "two files": (whole(), None, dict(magic=b"ni1"), "not a NIfTI file of its own"),
    "bomb": (whole(), None, dict(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "cannot hold"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_that_is_no_volume_says_why(tmp_path, name, ending):
    array, affine, fields, told = BROKEN[name]
    path = save(tmp_path / f"a{ending}", array, **fields)
    if affine is not None:
        path = save(path, array, srow_x=affine[0], srow_y=affine[1], srow_z=affine[2], qform_code=0, **fields)
    with pytest.raises(MedsslError, match=told) as caught:
        read_volume(path)
    assert str(path) in caught.value.wrong and len(caught.value.expected) > 3


def test_colour_is_refused(tmp_path):
    colour = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(MedsslError, match="colour"):
        read_volume(save(tmp_path / "a.nii", colour))


@pytest.mark.parametrize("keep", [0, 3, 20, 347, 352, 400, -500, -9, -4])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_cut_short_is_named(tmp_path, keep, ending):
    path = save(tmp_path / f"a{ending}", whole((9, 9, 9)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(MedsslError, match=r"cut short|no NIfTI file") as caught:
        read_volume(path)
    assert str(path) in caught.value.wrong


def test_one_flipped_byte_within_gzip_is_found(tmp_path):
    path = tmp_path / "a.nii.gz"
    blob = bytearray(gzip.compress(save(tmp_path / "a.nii", whole((9, 9, 9))).read_bytes(), 0))  # stored, not packed
    blob[-700] ^= 1
    path.write_bytes(blob)
    with pytest.raises(MedsslError, match="CRC"):
        read_volume(path)


@pytest.mark.parametrize("blob", [b"", b"hello", b"P" * 5000, gzip.compress(b"P" * 5000, mtime=0)])
def test_other_files_with_the_name_of_a_nifti(tmp_path, blob):
    for name in ("a.nii", "a.nii.gz"):
        (tmp_path / name).write_bytes(blob)
        with pytest.raises(MedsslError, match=r"a\.nii"):
            read_volume(tmp_path / name)


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "folder.nii").mkdir()
    for name, told in (("folder.nii", "is a folder"), ("none.nii.gz", "not there"), ("scan.mgz", "another ending")):
        with pytest.raises(MedsslError, match=told):
            read_volume(tmp_path / name)


def test_any_header_gives_a_volume_or_a_reason(tmp_path):
    path = save(tmp_path / "a.nii", whole())
    good, rng, outcomes = path.read_bytes(), np.random.default_rng(1), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(250):
            bad = bytearray(good)
            for at in rng.integers(0, 348, rng.integers(1, 6)):
                bad[at] = rng.integers(256)
            path.write_bytes(bad)
            try:
                found = read_volume(path)
                assert torch.isfinite(found.array).all() and min(found.spacing) > 0
                outcomes.add("volume")
            except MedsslError as error:
                assert str(path) in error.wrong
                outcomes.add("reason")
    assert outcomes == {"volume", "reason"}


@pytest.mark.parametrize("fields, told", [
    (dict(sform_code=0, qform_code=0), "says nothing of the orientation"),
    (dict(qoffset_x=3.0, qform_code=1), "3 mm apart; the sform is used"),
    (dict(quatern_b=2.0, qform_code=1), "the qform is no use"),
    (dict(pixdim=[1, 1, 1, 1, 0, 0, 0, 0], qform_code=0), "the affine is used"),
    (dict(xyzt_units=1), "in metres")])
def test_what_is_odd_but_readable_is_said(tmp_path, fields, told):
    path = save(tmp_path / "a.nii", whole(), **fields)
    with pytest.warns(UserWarning, match=told):
        found = read_volume(path)
    assert any(told in note for note in found.notes) and told in repr(found)
    expected = (4000, 3000, 2000) if "units" in str(fields) else (4, 3, 2)
    assert np.allclose(found.spacing, expected)


def test_a_file_without_oddities_is_read_without_a_word(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_volume(write_nifti(tmp_path / "a.nii", volume(whole()), "PIR")).notes == ()


def test_broken_files_stop_or_are_counted_never_replaced(tmp_path):
    paths = [save(tmp_path / f"{k}.nii", whole()) for k in range(3)]
    paths[1].write_bytes(b"broken")
    with pytest.raises(MedsslError, match=r"1\.nii"):
        read_volumes(paths)
    with pytest.warns(UserWarning, match=r"1 of 3 files were left out.*1\.nii"):
        volumes, skipped = read_volumes(paths, broken="skip")
    assert [Path(v.source).name for v in volumes] == ["0.nii", "2.nii"]
    assert [*skipped] == [str(paths[1])] and "no NIfTI file" in skipped[str(paths[1])]
    with pytest.raises(MedsslError, match="broken="):
        read_volumes(paths, broken="blank")


@pytest.mark.parametrize("array, spacing", [
    (torch.zeros(3, 4, 5), (4, 3, 2)), (torch.zeros(1, 3, 4, 5).double(), (4, 3, 2)),
    (torch.zeros(1, 0, 4, 5), (4, 3, 2)), (torch.zeros(1, 3, 4, 5), (2, 3, 4))])
def test_a_volume_is_consistent(array, spacing):
    with pytest.raises(MedsslError, match="volume of shape|The spacing"):
        Volume(array, spacing, np.diag([2.0, 3.0, 4.0, 1.0]))


def test_without_nibabel_the_extra_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii", whole())
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(MedsslError, match=r"medssl\[volumes\]"):
        read_volume(path)
