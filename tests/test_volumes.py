"""Volumes: every file lands in one orientation, in mm, voxel for voxel; what cannot be read says why."""

import gzip
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.data import Volume, read_volume, read_volumes, to_index, to_world, write_nifti
from medssl.data.intensity import otsu, quantiles, scale_mr, window_ct
from medssl.data.volume_grid import crop_or_pad, resample
from medssl.errors import MedsslError

nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: pip install 'medssl[volumes]'")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_nifti(real_data_root) -> list[Path]:
    folder = real_data_root.parent / "nifti"
    if not folder.is_dir():
        pytest.skip("MEDSSL_TEST_DATA has no folder nifti/: real volumes are not checked")
    return sorted(folder.rglob("*.nii.gz"))


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


# ---------------------------------------------------------------- real files

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


# ---------------------------------------------------------------- the convention

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


# ---------------------------------------------------------------- numbers

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


# ---------------------------------------------------------------- what is refused, and what is said

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


@pytest.mark.parametrize("blob", [b"", b"hello", b"P" * 5000, gzip.compress(b"P" * 5000)])
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


# ---------------------------------------------------------------- other grids

def ramp_volume(shape, spacing, origin=(-20.0, 5.0, 40.0)) -> Volume:
    """Value = 3 right + 2 front - 5 head + 100, in mm."""
    blank = volume(torch.zeros(shape), spacing, origin)
    return volume(torch.from_numpy(line(to_world(blank, np.stack(np.indices(shape), -1)))).float(), spacing, origin)


def line(world):
    return world @ [3.0, 2.0, -5.0] + 100


@pytest.mark.parametrize("spacing", [(2.5, 0.8, 0.8), (5, 2, 2), (5.0, 1.1, 3.7), 1.0, (10, 1.0, 2.5), 4.0])
@pytest.mark.parametrize("anti_alias", [True, False])
def test_a_ramp_in_mm_stays_the_same_ramp(spacing, anti_alias):
    scan = ramp_volume((24, 40, 44), (5.0, 1.0, 1.2))
    new = resample(scan, spacing, anti_alias=anti_alias)
    expected = line(to_world(new, np.stack(np.indices(new.shape), -1)))
    factor = np.maximum(1, np.array(new.spacing) / scan.spacing)
    reach = 4 * np.sqrt(factor**2 - 1) / 2.35 * anti_alias + 1  # of the blur, in old voxels
    old = to_index(scan, to_world(new, np.stack(np.indices(new.shape), -1)))
    inner = ((old >= reach) & (old <= np.array(scan.shape) - 1 - reach)).all(-1)
    assert inner.sum() > 10 and np.abs(new.array[0].numpy() - expected)[inner].max() < 2e-3
    assert np.allclose(new.spacing, np.broadcast_to(spacing, 3))
    centre = [to_world(v, (np.array(v.shape) - 1) / 2) for v in (scan, new)]
    assert np.allclose(*centre)  # the middle of the field of view stays
    assert np.allclose(new.shape, np.array(scan.shape) * scan.spacing / new.spacing, atol=0.51)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (6.0, 2.0, 2.0), (3.0, 1.5, 0.7)])
def test_a_point_stays_where_it_is_in_the_world(spacing):
    array = torch.zeros(20, 40, 42)
    array[9, 25, 11] = 1000
    scan = volume(array, (3.0, 1.0, 1.2), (-30.0, 8.0, 2.0))
    new = resample(scan, spacing)
    weight = new.array[0].double().numpy()
    found = to_world(new, (np.stack(np.indices(new.shape), -1) * weight[..., None]).sum((0, 1, 2)) / weight.sum())
    half = np.maximum(new.spacing, scan.spacing)[::-1] / 2
    assert (np.abs(found - to_world(scan, (9, 25, 11))) <= half).all()


def test_detail_finer_than_the_new_voxels_is_blurred_away():
    stripes = torch.zeros(8, 8, 90)
    stripes[..., ::2] = 1000
    scan = volume(stripes, (1.0, 1.0, 1.0))
    smooth, aliased = (resample(scan, (1, 1, 2.9), anti_alias=a).array[..., 5:-5] for a in (True, False))
    assert smooth.std() < 40 < 200 < aliased.std() and abs(smooth.mean() - 500) < 20


def test_int16_is_rounded_and_the_same_spacing_changes_nothing():
    scan = volume(whole((6, 7, 8)))
    assert torch.equal(resample(scan, scan.spacing).array, scan.array)
    exact = resample(volume(scan.array[0].float()), (2.0, 2.0, 2.0)).array
    found = resample(scan, 2.0).array
    assert found.dtype == torch.int16 and torch.equal(found, exact.round().to(torch.int16))


def test_nearest_never_mixes_labels_and_linear_does():
    labels = volume((RNG.random((8, 12, 12)) > 0.5).astype(np.int16) * 7)
    for spacing in (1.3, 5.0, (4.0, 2.0, 7.0)):
        assert set(resample(labels, spacing, "nearest").array.unique().tolist()) == {0, 7}
    assert len(resample(labels, 1.3).array.unique()) > 2
    twice = resample(labels, (2.0, 3.0, 2.0), "nearest").array
    assert torch.equal(twice[:, ::2], labels.array) and torch.equal(twice[:, 1::2], labels.array)


@pytest.mark.parametrize("bad", [dict(spacing_mm=0), dict(spacing_mm=(1, -1, 1)), dict(spacing_mm=np.nan),
                                 dict(spacing_mm=1, mode="cubic")])
def test_resample_refuses_what_has_no_meaning(bad):
    with pytest.raises(MedsslError):
        resample(volume(whole()), **bad)


def test_crop_and_pad_keep_every_voxel_in_its_place():
    scan = volume(whole((6, 7, 8)), origin=(-7.0, 11.0, 30.0))
    for shape, centre in (((3, 9, 8), None), ((2, 2, 2), (0, 6, 7)), ((9, 8, 9), None), ((4, 4, 4), (5, 0, 3.5))):
        new = crop_or_pad(scan, shape, centre=centre, fill=-1024)
        assert new.shape == shape and new.array.dtype == torch.int16
        outside = 0
        for zyx in np.ndindex(*shape):
            old = np.rint(to_index(scan, to_world(new, zyx))).astype(int)
            held = ((old >= 0) & (old < scan.shape)).all()
            outside += not held
            assert new.array[0][zyx] == (scan.array[0][tuple(old)] if held else -1024)
        if centre is None:  # the middle moves by half a voxel at most
            apart = to_world(new, (np.array(shape) - 1) / 2) - to_world(scan, (np.array(scan.shape) - 1) / 2)
            assert (np.abs(apart) <= np.array(scan.spacing)[::-1] / 2 + 1e-9).all()
    assert outside > 0 and crop_or_pad(scan, (9, 9, 9)).array.min() == scan.array.min()
    assert crop_or_pad(scan, size_mm=(12, 21, 30)).shape == (3, 7, 15)
    for bad in ({}, dict(shape=(1, 2, 3), size_mm=(1, 2, 3)), dict(shape=(0, 1, 1)), dict(shape=(2, 2)),
                dict(shape=(2, 2, 2), centre=(50, 0, 0))):
        with pytest.raises(MedsslError):
            crop_or_pad(scan, **bad)


# ---------------------------------------------------------------- grey values

def test_windows_map_their_ends_to_0_and_1():
    hu = torch.tensor([-3024, -160, 40, 240, 3000], dtype=torch.int16)
    assert window_ct(hu, "soft").tolist() == window_ct(hu, 40, 400).tolist() == [0, 0, 0.5, 1, 1]
    assert window_ct(torch.tensor([-600.0, 150.0]), "lung").tolist() == [0.5, 1]
    before = torch.tensor([1.0, 2.0])
    window_ct(before, 0, 10)
    assert before.tolist() == [1, 2]  # the voxels themselves are left alone
    for bad in (("liver",), (40,), (40, 0), ("soft", 100)):
        with pytest.raises(MedsslError):
            window_ct(hu, *bad)


@pytest.mark.parametrize("values", [[-32768, 32767, 0, -1, 5], [3], [7, 7], RNG.integers(-32768, 32768, 9999),
                                    RNG.normal(0, 30, 10**5).round()])
def test_percentiles_by_counting_are_those_of_numpy(values):
    array, shares = torch.tensor(np.asarray(values), dtype=torch.int16), [0, 0.1, 1, 25, 50, 73.21, 99, 99.9, 100]
    assert np.allclose(quantiles(array, shares), np.percentile(array.numpy(), shares), rtol=0, atol=1e-9)
    assert np.allclose(quantiles(array.float(), shares), np.percentile(array.numpy(), shares), rtol=1e-6)
    for above in (-0.5, 2, 2.5):
        kept = array.numpy()[array.numpy() > above]
        for kind in (array, array.float()):
            if len(kept):
                assert np.allclose(quantiles(kind, shares, above), np.percentile(kept, shares), rtol=1e-6)


def test_mr_is_scaled_alike_whatever_the_air_and_one_bright_vessel():
    rng = np.random.default_rng(3)
    body = torch.from_numpy(rng.normal(400, 80, (20, 20, 20)).clip(60).astype(np.int16))
    scans = [torch.from_numpy(np.abs(rng.normal(0, 8, (n, n, n))).astype(np.int16)) for n in (24, 40)]
    for scan in scans:
        scan[2:22, 2:22, 2:22] = body
    scans[1][3, 3, 3] = 32000
    small, large = (scale_mr(scan)[2:22, 2:22, 2:22] for scan in scans)
    assert (small - large).abs().flatten().quantile(0.99) < 0.02 and 0.5 < large.mean() < 0.8
    assert (scans[1] > otsu(scans[1])).float().mean() == pytest.approx(8000 / 40**3, rel=0.1)
    assert large.min() >= 0 and large.max() <= 1
    mask = torch.zeros_like(scans[0], dtype=torch.bool)
    mask[2:22, 2:22, 2:22] = True
    assert scale_mr(scans[0], (0, 50), mask)[mask].median() == 1
    assert scale_mr(torch.full((3, 3), 5, dtype=torch.int16)).tolist() == [[0] * 3] * 3
    with pytest.raises(MedsslError, match="percentiles"):
        scale_mr(body, (99, 1))
    with pytest.raises(MedsslError, match="mask empty"):
        scale_mr(scans[0], mask=torch.zeros_like(mask))


def test_without_nibabel_the_extra_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii", whole())
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(MedsslError, match=r"medssl\[volumes\]"):
        read_volume(path)
