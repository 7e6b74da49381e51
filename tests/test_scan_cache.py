"""The cache of scans: the same voxels, exact statistics, and damage that is noticed."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medssl.data import Volume, read_volume, write_nifti
from medssl.data.catalog import ScanRecord
from medssl.data.intensity import otsu
from medssl.data.phantom_volumes import ct_phantom, mr_phantom
from medssl.data.scan_cache import cached_scan, open_cached, write_cache
from medssl.data.scan_stats import AIR, PERCENTILES, as_int16, max_error, scan_stats
from medssl.errors import MedsslError

pytest.importorskip("blosc2")
SHAPE, SPACING = (40, 70, 60), (4.0, 3.0, 3.0)


def record(path: Path, modality: str, scan_id: str = "a" * 64) -> ScanRecord:
    return ScanRecord(scan_id, "b" * 64, modality, str(path), "series", "P1", "ct")


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> tuple[ScanRecord, Path]:
    """A CT in its file, and the folder it is cached in."""
    folder = tmp_path_factory.mktemp("ct")
    one = record(write_nifti(folder / "scan.nii.gz", ct_phantom(1, SHAPE, SPACING).image, "LPS"), "CT")
    write_cache(one, folder / "cache")
    return one, folder / "cache"


def test_voxels_and_place(ct):
    one, folder = ct
    scan, volume = open_cached(folder, one.scan_id), read_volume(one.nifti_path, "CT")
    assert scan.read().dtype == np.int16 and (scan.read() == volume.array[0].numpy()).all()
    assert (scan.shape, scan.spacing) == (volume.shape, volume.spacing) and (scan.affine == volume.affine).all()
    assert (scan.scan_id, scan.series_id, scan.patient, scan.modality) == ("a" * 64, "b" * 64, "P1", "CT")
    assert (scan.scale, scan.offset, scan.max_error) == (1, 0, 0) and scan.restore(scan.read()).dtype == np.float32


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_block_is_a_slice(ct, data):
    one, folder = ct
    scan, volume = open_cached(folder, one.scan_id, check=False), read_volume(one.nifti_path, "CT")
    low = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
    size = [data.draw(st.integers(1, n - a)) for n, a in zip(SHAPE, low, strict=True)]
    slices = tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))
    block = scan.read_block(low, np.array(size))
    assert block.dtype == np.int16 and np.array_equal(block, volume.array[0].numpy()[slices])
    assert np.allclose(scan.affine, volume.affine)


@pytest.mark.parametrize(("low", "size"), [((0, 0, 0), (41, 1, 1)), ((-1, 0, 0), (2, 2, 2)), ((0, 0, 0), (0, 1, 1)),
                                           ((39, 0, 0), (2, 1, 1))])
def test_a_block_outside_is_refused(ct, low, size):
    with pytest.raises(MedsslError, match="not inside"):
        open_cached(ct[1], ct[0].scan_id).read_block(low, size)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_statistics_are_those_of_numpy(modality):
    phantom = (ct_phantom if modality == "CT" else mr_phantom)(3, SHAPE, SPACING).image.array[0]
    found, values = scan_stats(phantom, modality), phantom.numpy().astype(float)
    patient = values[values > found.threshold]
    expected = np.percentile(patient, PERCENTILES)
    assert np.allclose(list(found.percentiles.values()), expected, rtol=0, atol=1e-9)
    assert found.median == np.median(patient)
    assert np.isclose(found.spread, (np.percentile(patient, 75) - np.percentile(patient, 25)) / 1.349)
    assert np.isclose(found.foreground, patient.size / values.size)
    assert (found.minimum, found.maximum, found.n_values) == (values.min(), values.max(), len(np.unique(values)))
    if modality == "CT":
        assert found.threshold == -500 and found.background == max(values.min(), AIR)
    else:
        assert found.background == np.percentile(values, 1)
        body = ct_phantom(3, SHAPE, SPACING).image.array[0].numpy() > -500  # of the same patient
        assert 2 * (body & (values > found.threshold)).sum() / (body.sum() + patient.size) > 0.93  # Otsu once: 0.75


def test_tissue_of_an_mr_is_more_than_its_fat():
    """Air, muscle and fat: Otsu's threshold lies above the muscle. Air, noise and fat: the noise stays outside."""
    noise = torch.randn(30, 40, 40, generator=torch.Generator().manual_seed(0)).abs()
    scan, place = noise * 8, torch.arange(40)
    for middle, share in ((300, 0.75), (90, 0.25)):
        scan[..., place >= 10] = middle + 10 * noise[..., place >= 10]
        scan[..., place >= 30] = 900 + 10 * noise[..., place >= 30]
        assert otsu(scan.to(torch.int16)) > middle + 40  # all of the middle is below
        assert abs(scan_stats(scan.to(torch.int16), "MR").foreground - share) < 0.01


def test_tumours_of_real_mr_are_foreground(real_data_root):
    """Sarcomas in T1 are darker than the fat around them: at least 95 % of each tumour counts as patient."""
    folder, shares = real_data_root.parent / "nifti" / "sts", []
    for mask in sorted(folder.glob("*_MR_T1_mask.nii.gz")):
        tumour = read_volume(mask).array[0] > 0
        codes = as_int16(read_volume(str(mask).replace("mask", "image")).array[0])[0]
        shares.append(float((codes[tumour] > scan_stats(codes, "MR").threshold).double().mean()))
    assert len(shares) == 11 and min(shares) > 0.95, shares


def test_statistics_of_padding():
    """-3024 outside the round field of view is no grey value of air."""
    scan = ct_phantom(3, SHAPE, SPACING).image.array[0].clone()
    scan[:, :8] = -3024
    assert scan_stats(scan, "CT").background == AIR and scan_stats(scan, "CT").minimum == -3024
    assert scan_stats(scan.clamp(min=-900), "CT").background == -900


def test_statistics_in_units():
    """A float CT is stored in other numbers; its statistics stay in HU."""
    whole = ct_phantom(3, SHAPE, SPACING).image.array[0]
    codes, scale, offset = as_int16(whole.float() + 0.25)
    found, expected = scan_stats(codes, "CT", scale, offset), scan_stats(whole, "CT")
    assert scale < 0.1 and abs(found.median - expected.median - 0.25) <= scale / 2
    assert abs(found.spread - expected.spread) <= scale and found.background == AIR + 0.25


def test_a_scan_of_next_to_nothing():
    """Fewer than one voxel in 200 is not dark: no threshold can part it."""
    scan = torch.zeros(60, 60, 60, dtype=torch.int16)
    scan[:8, :8, :8] = torch.arange(512).reshape(8, 8, 8)
    with pytest.raises(MedsslError) as error:
        scan_stats(scan, "MR")
    assert error.value.code == "empty_foreground"


@pytest.mark.parametrize(("values", "code"), [
    (torch.zeros(20, 20, 20), "few_values"), (torch.arange(8000).reshape(20, 20, 20) % 15, "few_values"),
    (torch.arange(8000).reshape(20, 20, 20) % 400, "not_hounsfield"),
    (torch.arange(8000).reshape(20, 20, 20) % 400 - 1000, "empty_foreground")])  # fmt: skip
def test_what_is_no_scan(values, code):
    with pytest.raises(MedsslError) as error:
        scan_stats(values.to(torch.int16), "CT")
    assert error.value.code == code


@settings(deadline=None, max_examples=50)
@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), seed=st.integers(0, 99))
def test_float_volumes_come_back_within_the_stated_error(low, width, seed):
    values = torch.tensor(np.random.default_rng(seed).random((3, 4, 5)) * width + low, dtype=torch.float32)
    codes, scale, offset = as_int16(values)
    error = max_error(scale, offset)
    back = (codes.numpy() * np.float64(scale) + offset).astype(np.float32)
    assert codes.dtype == torch.int16 and np.abs(back - values.numpy()).max() <= error
    step = float(values.max() - values.min()) / 65535
    assert not step or error <= step + 2.5e-7 * values.abs().max()


def test_whole_floats_stay_whole():
    values = torch.tensor([-1000.0, 0, 32767, -32768]).reshape(1, 2, 2)
    codes, scale, offset = as_int16(values)
    assert (scale, offset, max_error(scale, offset)) == (1, 0, 0) and (codes.float() == values).all()
    codes, scale, offset = as_int16(values + 1)  # 32768 does not fit as it is
    assert offset == 1 and (codes * scale + offset == values + 1).all()
    assert as_int16(torch.full((1, 2, 2), 0.5))[1:] == (1, 0.5 + 32768)  # one value: no division by zero


def test_float_scan_in_the_cache(tmp_path):
    volume = mr_phantom(2, SHAPE, SPACING).image
    odd = Volume(volume.array.float() * 0.37 + 1e-3, volume.spacing, volume.affine, "MR")
    one = record(write_nifti(tmp_path / "scan.nii", odd), "MR")
    scan = cached_scan(one, tmp_path / "cache")
    back = scan.restore(scan.read_block((3, 5, 7), (20, 30, 40)))
    assert 0 < scan.max_error < 0.01
    assert np.abs(back - odd.array[0, 3:23, 5:35, 7:47].numpy()).max() <= scan.max_error


def flip(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("fault", ["bit 0.03", "bit 0.5", "bit 0.999", "short", "long", "empty", "no voxels", "no json",
                                   "json bit", "half json", "other json", "json list"])
def test_damage_is_noticed_and_mended(ct, tmp_path, fault):
    one, _ = ct
    path = write_cache(one, tmp_path)
    about, good = path.with_suffix(".json"), path.read_bytes()
    if fault.startswith("bit"):
        flip(path, float(fault.split()[1]))
    elif fault in ("short", "long", "empty"):
        path.write_bytes({"short": good[:-100], "long": good + b"0", "empty": b""}[fault])
    elif fault == "no voxels":
        path.unlink()
    elif fault == "no json":  # killed between the two files
        about.unlink()
    elif fault == "json bit":
        about.write_text(about.read_text().replace('"median": ', '"median": 1'))
    elif fault == "half json":
        about.write_text(about.read_text()[:300])
    elif fault == "json list":
        about.write_text("[]")
    else:  # the description of another scan
        other = record(write_nifti(tmp_path / "b.nii", ct_phantom(2, SHAPE, SPACING).image), "CT", "c" * 64)
        about.write_bytes(write_cache(other, tmp_path).with_suffix(".json").read_bytes())
    with pytest.raises(MedsslError) as error:
        open_cached(tmp_path, one.scan_id)
    assert error.value.code == "cache_damaged"
    assert (cached_scan(one, tmp_path).read() == read_volume(one.nifti_path).array[0].numpy()).all()
    assert path.read_bytes() == good  # the same bytes again


def test_a_cache_older_than_its_file_is_made_again(tmp_path):
    one = record(write_nifti(tmp_path / "scan.nii", ct_phantom(1, SHAPE, SPACING).image), "CT")
    before = cached_scan(one, tmp_path)
    made = before.path.stat().st_mtime_ns
    assert cached_scan(one, tmp_path).path.stat().st_mtime_ns == made  # nothing to do
    write_nifti(tmp_path / "scan.nii", ct_phantom(2, SHAPE, SPACING).image)
    os.utime(one.nifti_path, ns=(1, 1))
    now = cached_scan(one, tmp_path)
    assert (now.read() == read_volume(one.nifti_path).array[0].numpy()).all()
    Path(one.nifti_path).unlink()  # an archive that is no longer mounted
    assert (cached_scan(one, tmp_path).read() == now.read()).all()


def test_in_another_process(ct):
    scan = open_cached(ct[1], ct[0].scan_id)
    block = scan.read_block((1, 2, 3), (4, 5, 6))
    assert (pickle.loads(pickle.dumps(scan)).read_block((1, 2, 3), (4, 5, 6)) == block).all()


def test_what_the_file_says(ct):
    about = json.loads((ct[1] / f"{ct[0].scan_id}.json").read_text())["about"]
    assert about["format"] == 1 and about["source"]["path"] == ct[0].nifti_path
    assert about["bytes"] == (ct[1] / f"{ct[0].scan_id}.b2nd").stat().st_size
