"""Volumes on other grids: resampled, cropped and padded, each voxel where it was in the world."""

import numpy as np
import pytest
import torch
from small_volumes import RNG, volume, whole

from medssl.data import Volume, to_index, to_world
from medssl.data.volume_grid import crop_or_pad, resample
from medssl.errors import MedsslError


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
