"""Volumes: every file lands in one orientation, in mm, voxel for voxel."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from small_volumes import RNG, save, volume, whole

from medssl.data import read_volume, to_index, to_world, write_nifti
from medssl.errors import MedsslError

nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: pip install 'medssl[volumes]'")

@pytest.fixture(scope="session")
def real_nifti(real_data_root) -> list[Path]:
    folder = real_data_root.parent / "nifti"
    if not folder.is_dir():
        pytest.skip("MEDSSL_TEST_DATA has no folder nifti/: real volumes are not checked")
    return sorted(folder.rglob("*.nii.gz"))


def test_every_real_file_equals_nibabels_own_canonical_image(real_nifti):
    for path in real_nifti:
        found, stored = read_volume(path), nibabel.load(path)
        canonical = nibabel.as_closest_canonical(stored)
        assert np.array_equal(found.array[0].numpy(), np.asarray(canonical.dataobj).T), path
        assert np.allclose(found.affine, canonical.affine, atol=1e-4), path
        assert np.allclose(found.spacing, np.abs(nibabel.affines.voxel_sizes(canonical.affine))[::-1]), path
        is_whole = np.issubdtype(stored.get_data_dtype(), np.integer)
        assert found.array.dtype == (torch.int16 if is_whole else torch.float32) and not found.notes, path
    assert len(real_nifti) >= 50


# x, y, z as stored; mm; orientation of the file; lowest and highest value: from the table that came with the files
FACTS = {"ct_abdomen_crlm1004": ((512, 512, 41), (0.797, 0.797, 5), "LPS", -3024, 1377),
         "mr_breast_ucsf_br06_t1dce": ((256, 256, 60), (0.703, 0.703, 2), "PIR", 0, 163),
         "mr_prostate_px0000_t2sag": ((320, 320, 19), (0.562, 0.562, 3.6), "PIR", 0, 1115),
         "mr_head_torchio_t2": ((320, 320, 26), (0.75, 0.75, 5.5), "LAS", 0, 867),
         "ct_torso_totalseg_example": ((122, 101, 112), (3, 3, 3), "RAS", -1207, 3382)}


def test_shape_spacing_and_values_are_those_written_down_for_the_files(real_nifti):
    for path in real_nifti:
        if path.name[:-7] in FACTS:
            shape, mm, letters, low, high = FACTS[path.name[:-7]]
            order = {letter: axis for pair, axis in zip(("RL", "AP", "SI"), "xyz", strict=True) for letter in pair}
            place = {order[letter]: k for k, letter in enumerate(letters)}
            found = read_volume(path)
            assert found.shape == tuple(shape[place[axis]] for axis in "zyx")
            assert np.allclose(found.spacing, [mm[place[axis]] for axis in "zyx"], atol=6e-4)
            assert (found.array.min(), found.array.max()) == (low, high)


def test_the_liver_of_a_real_patient_is_on_the_right_and_the_spleen_on_the_left(real_nifti):
    path = next(path for path in real_nifti if path.name == "ct_torso_totalseg_example_sm_seg.nii.gz")
    labels = read_volume(path).array[0]
    spleen, right_kidney, left_kidney, liver = (torch.nonzero(labels == k).double().mean(0) for k in (1, 2, 3, 5))
    assert liver[2] > spleen[2] + 20 and right_kidney[2] > left_kidney[2] + 20
    assert spleen[1] < liver[1]  # the spleen lies behind the middle of the liver


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "LAS", "ASL", "IPR", "SAR"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_one_scan_stored_in_any_order_reads_the_same(tmp_path, orientation, ending):
    scan = volume(whole(), origin=(-7.0, 11.0, 30.0))
    path = write_nifti(tmp_path / f"a{ending}", scan, orientation)
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == orientation
    back = read_volume(path, modality="CT")
    assert torch.equal(back.array, scan.array) and back.spacing == scan.spacing and back.modality == "CT"
    assert np.allclose(back.affine, scan.affine) and back.array.is_contiguous() and back.source == str(path)


def test_an_oblique_scan_keeps_its_rotation_in_the_affine(tmp_path):
    turn, c, s = np.eye(4), np.cos(0.3), np.sin(0.3)
    turn[:2, :2] = [[c, -s], [s, c]]
    affine = turn @ np.array([[-2.0, 0, 0, 5], [0, 0, 3, -4], [0, -4, 0, 9], [0, 0, 0, 1]])
    array = whole()
    found = read_volume(save(tmp_path / "a.nii", array, affine))
    for xyz in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):  # every voxel keeps its value and its place
        world = affine @ [*xyz, 1]
        z, y, x = np.rint(to_index(found, world[:3])).astype(int)
        assert found.array[0, z, y, x] == array[xyz] and np.allclose(to_world(found, (z, y, x)), world[:3], atol=1e-5)
    assert (np.diag(found.affine)[:3] > 0).all() and np.allclose(found.spacing, (4, 3, 2), atol=1e-6)


def test_indices_and_millimetres_are_inverse_and_agree_with_nibabel():
    scan = volume(whole(), origin=(-7.0, 11.0, 30.0))
    points = RNG.uniform(-5, 5, (4, 7, 3))
    assert np.allclose(to_world(scan, points), nibabel.affines.apply_affine(scan.affine, points[..., ::-1]))
    assert np.allclose(to_index(scan, to_world(scan, points)), points)
    assert to_world(scan, (1, 0, 0)).tolist() == [-7, 11, 34]  # z first in indices, last in the world


@pytest.mark.parametrize("dtype, fields, expected", [
    (np.uint8, {}, torch.int16), (np.int8, {}, torch.int16), (np.int32, {}, torch.int16), (np.int64, {}, torch.int16),
    (np.uint16, {}, torch.int16), (np.float32, {}, torch.float32), (np.float64, {}, torch.float32),
    (np.int16, dict(scl_slope=1, scl_inter=-24), torch.int16), (np.int16, dict(scl_slope=2, scl_inter=5), torch.int16),
    (np.int16, dict(scl_slope=1000, scl_inter=0), torch.float32), (np.int16, dict(scl_slope=0.37, scl_inter=-3),
                                                                  torch.float32),
    (np.int16, dict(scl_slope=0, scl_inter=77), torch.int16), (np.uint16, dict(scl_slope=1, scl_inter=-32768),
                                                               torch.int16)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_whole_numbers_stay_int16_where_they_fit(tmp_path, dtype, fields, expected, order):
    array = RNG.integers(0, 100, (4, 5, 6)).astype(dtype)
    array[0, 0, 0] = 65535 if fields.get("scl_inter") == -32768 else 100
    array = array.astype(array.dtype.newbyteorder(order))
    path = save(tmp_path / "a.nii.gz", array, **fields)
    found = read_volume(path)
    reference = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata().T
    assert found.array.dtype == expected and np.array_equal(found.array[0].numpy(), reference.astype(np.float32))


@pytest.mark.parametrize("array", [np.full((2, 2, 2), 40000, np.uint16), np.full((2, 2, 2), -40000, np.int32)])
def test_numbers_too_large_for_int16_become_float32(tmp_path, array):
    found = read_volume(save(tmp_path / "a.nii", array)).array
    assert found.dtype == torch.float32 and (found == int(array[0, 0, 0])).all()


def test_nifti_2_is_read(tmp_path):
    array = whole()
    found = read_volume(save(tmp_path / "a.nii.gz", array, kind=nibabel.Nifti2Image))
    assert np.array_equal(found.array[0].numpy(), array.T)


def test_frames_are_asked_for(tmp_path):
    array = whole((4, 5, 6, 3))
    path = save(tmp_path / "a.nii.gz", array, np.diag([-2.0, 3, 4, 1]))
    with pytest.raises(MedsslError, match=r"4-D.*3 frames"):
        read_volume(path)
    for bad in (3, -1, "first", 1.0):
        with pytest.raises(MedsslError, match="frame="):
            read_volume(path, frame=bad)
    for k in range(3):
        assert np.array_equal(read_volume(path, frame=k).array[0].numpy(), array[::-1, ..., k].T)
    assert np.array_equal(read_volume(path, frame="all").array.numpy(), array[::-1].T)
    one = save(tmp_path / "b.nii", array[..., :1])
    assert read_volume(one).array.shape == (1, 6, 5, 4)
    back = read_volume(write_nifti(tmp_path / "c.nii", read_volume(path, frame="all"), "LPS"), frame="all")
    assert np.array_equal(back.array.numpy(), array[::-1].T)


@pytest.mark.parametrize("fields", [dict(scl_slope=1, scl_inter=-24), dict(scl_slope=0.5, scl_inter=0)])
def test_a_large_ct_needs_less_than_four_times_its_size(tmp_path, fields):
    header = nibabel.Nifti1Header()
    header.set_data_shape((512, 512, 200))
    header.set_data_dtype(np.int16)
    header.set_sform(np.diag([-0.8, -0.8, 1, 1]), 1)
    header["pixdim"][1:4] = 0.8, 0.8, 1
    for name, value in dict(vox_offset=352, **fields).items():
        header[name] = value
    path, size = tmp_path / "ct.nii.gz", 512 * 512 * 200 * 2
    with gzip.open(path, "wb", 1) as file:
        file.write(header.binaryblock + bytes(4))
        for k in range(200):
            file.write(np.full((512, 512), k, np.int16).tobytes())
    tracemalloc.start()
    found = read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (200, 512, 512)
    assert found.array[0, 100, 0, 0] == 100 * fields["scl_slope"] + fields["scl_inter"]
    assert peak < (3.2 if found.array.dtype == torch.float32 else 2.2) * size
