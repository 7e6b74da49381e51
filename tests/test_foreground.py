"""The mask of the patient, the table of counts, and the draws from it: exact, uniform, small, for any shape."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.data.phantom_volumes import ORGANS, ct_phantom, mr_phantom
from medssl.data.volumes import read_volume
from medssl.errors import MedsslError
from medssl.views.crops3d import Crop, draw_crops
from medssl.views.foreground import Occupancy, foreground_mask
from medssl.views.occupancy import cell_for


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def count(mask, low, size):
    """Foreground in a box that may reach beyond the mask, by going there."""
    z, y, x = (slice(max(0, a), max(0, a + s)) for a, s in zip(low, size, strict=True))
    return int(mask[z, y, x].sum())


shapes = st.tuples(*[st.integers(1, 23)] * 3)


@settings(max_examples=150, deadline=None)
@given(shape=shapes, cell=st.tuples(*[st.integers(1, 5)] * 3), cells=st.tuples(*[st.integers(1, 6)] * 3),
       dense=st.sampled_from([0.0, 0.02, 0.5, 0.97, 1.0]), ratio=st.sampled_from([0.0, 1e-9, 0.1, 0.5, 0.7, 1.0]),
       seed=st.integers(0, 2**31))
def test_every_crop_of_any_volume_meets_the_ratio_or_says_that_none_does(shape, cell, cells, dense, ratio, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < dense
    mask[rng.integers(shape[0]):] &= rng.random() < 0.5  # half of it empty, as a patient in air is
    occupancy, size = Occupancy(mask, cell), tuple(k * n for k, n in zip(cell, cells, strict=True))
    crops = draw_crops(occupancy, size, ratio, 4, seeded(seed), None)
    grid = [-(-n // k) for n, k in zip(shape, cell, strict=True)]
    corners = [[-(max(0, n - g) // 2) * k] if n >= g else [i * k for i in range(g - n + 1)]
               for n, g, k in zip(cells, grid, cell, strict=True)]
    best = max(count(mask, (z, y, x), size) for z in corners[0] for y in corners[1] for x in corners[2])
    for crop in crops:
        assert all(a in places for a, places in zip(crop.low, corners, strict=True)) and crop.size == size
        assert crop.ratio == count(mask, crop.low, size) / math.prod(size)
        assert crop.ratio >= ratio if not crop.relaxed else crop.ratio == best / math.prod(size) < ratio
    parent = crops[0]
    inner = tuple(rng.integers(1, n + 1) * k for n, k in zip(cells, cell, strict=True))
    for crop in draw_crops(occupancy, inner, ratio, 3, seeded(seed), parent):
        assert all(p <= a and a + s <= p + q for p, q, a, s in zip(parent.low, size, crop.low, inner, strict=True))
        assert crop.ratio == count(mask, crop.low, inner) / math.prod(inner)
        assert crop.relaxed or crop.ratio >= ratio


def test_corners_that_qualify_are_drawn_evenly():
    mask = np.zeros((16, 24, 20), bool)
    mask[4:12, 3:15, 5:18] = True
    occupancy, size, n = Occupancy(mask, 2), (6, 8, 8), 20_000
    for inside in (None, Crop((2, 2, 4), (12, 16, 14), 0.0, False)):
        low, high = ((0, 0, 0), mask.shape) if inside is None else (inside.low, np.add(inside.low, inside.size))
        valid = [(z, y, x) for z in range(low[0], high[0] - 5, 2) for y in range(low[1], high[1] - 7, 2)
                 for x in range(low[2], high[2] - 7, 2) if count(mask, (z, y, x), size) >= 0.7 * 6 * 8 * 8]
        seen = [crop.low for crop in draw_crops(occupancy, size, 0.7, n, seeded(1), inside)]
        assert set(seen) == set(valid) and 8 < len(valid) < 200
        expected = n / len(valid)
        chi2 = sum((seen.count(corner) - expected) ** 2 / expected for corner in valid)
        spread = math.sqrt(2 * (len(valid) - 1))
        assert abs(chi2 - (len(valid) - 1)) < 4 * spread, "neither a corner preferred nor too even to be chance"


def test_best_places_are_shared_evenly_too():
    mask = np.zeros((4, 4, 12), bool)
    mask[..., [0, 8]] = True  # two columns: 16 voxels of 64 in three places, never half
    crops = draw_crops(Occupancy(mask, 4), (4, 4, 4), 0.5, 3000, seeded())
    assert {crop.low[2] for crop in crops} == {0, 8} and all(c.relaxed and c.ratio == 0.25 for c in crops)
    assert 1350 < sum(crop.low[2] == 0 for crop in crops) < 1650


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 300)] * 3), mm=st.tuples(*[st.floats(0.3, 8)] * 3))
def test_the_table_takes_a_twentieth_of_the_scan(shape, mm):
    cell = cell_for(shape, mm)
    table = 4 * math.prod(-(-n // k) + 1 for n, k in zip(shape, cell, strict=True))
    assert table <= 0.05 * 2 * math.prod(shape) or cell == shape  # one cell is all: nothing smaller is possible


def test_lists_of_corners_stay_within_the_memory_too():
    mask = torch.rand(64, 96, 80, generator=seeded()) < 0.6
    occupancy = Occupancy(mask, cell_for(mask.shape))
    for side in range(6, 60):
        draw_crops(occupancy, occupancy.whole((side,) * 3), 0.5, 2, seeded())
        assert occupancy.nbytes <= 0.05 * 2 * mask.numel()
    for kept in (1, 2):  # the second time from the list
        assert draw_crops(occupancy, occupancy.whole((32,) * 3), 0.99, 1, seeded())[0].relaxed, kept
    assert occupancy.lists, "and some are kept"


def test_above_16_million_voxels_every_count_is_exact():
    """float32 counts, and torch.multinomial, end at 2^24 = 16,777,216."""
    mask = torch.ones(65, 512, 512, dtype=torch.bool)
    mask[0, 0, 0] = False
    occupancy = Occupancy(mask, 8)
    crop = draw_crops(occupancy, (72, 512, 512), 0.9, 1, seeded())[0]
    assert crop.ratio == (65 * 512 * 512 - 1) / (72 * 512 * 512) and crop.low == (0, 0, 0)
    assert {c.relaxed for c in draw_crops(occupancy, (64, 256, 256), 1.0, 8, seeded())} == {False}
    assert Occupancy(torch.zeros(1, 1, 1, dtype=torch.bool)).table.dtype == np.int32


def test_sizes_between_cells_and_crops_larger_than_their_parent_are_refused():
    occupancy = Occupancy(np.ones((16, 16, 16), bool), 4)
    assert occupancy.whole((7, 1, 30)) == (8, 4, 32)
    with pytest.raises(MedsslError, match="multiples of the cells"):
        draw_crops(occupancy, (8, 8, 6), 0.5, 1, seeded())
    with pytest.raises(MedsslError, match="inside one of"):
        draw_crops(occupancy, (8, 8, 8), 0.5, 1, seeded(), Crop((0, 0, 0), (8, 4, 8), 0.0, False))
    for low, parent in (((2, 0, 0), (8, 8, 8)), ((0, 0, 0), (8, 8, 10))):  # its corners, 4 apart, would lie outside
        with pytest.raises(MedsslError, match="on the grid"):
            draw_crops(occupancy, (8, 8, 8), 0.5, 1, seeded(), Crop(low, parent, 0.0, False))
    for wrong in (np.ones((4, 4), bool), np.ones((4, 4, 4)), np.ones((0, 4, 4), bool)):
        with pytest.raises(MedsslError, match="bool"):
            Occupancy(wrong)


@pytest.mark.parametrize("spacing, shape", [((8.0, 6.0, 6.0), (32, 64, 64)), ((6.0, 4.0, 4.0), (40, 80, 96))])
def test_the_table_goes_and_the_patient_stays(spacing, shape):
    for seed in range(3):
        scan = ct_phantom(seed, shape, spacing)
        hu, patient = scan.image.array[0], scan.organs.array[0] > 0
        mask = foreground_mask(hu, "CT", spacing=spacing)
        table = (hu > -500) & ~patient
        assert table.sum() > 3000, "the phantom lies on one"
        assert (mask & table).sum() < 0.01 * table.sum()
        tissue = patient & (hu > -500)
        assert (mask & tissue).sum() > 0.998 * tissue.sum()
        lung = scan.organs.array[0] == ORGANS.index("lung left")
        assert (mask & lung).sum() < 0.5 * lung.sum(), "lung is air at -500 HU, its vessels are not"
        filled = foreground_mask(hu, "CT", spacing=spacing, fill=True)
        assert (filled ^ patient).sum() < 0.02 * patient.sum() and not (mask & ~filled).any()


def test_the_threshold_is_in_hounsfield_units_and_any_number_type_gives_the_same():
    scan = ct_phantom(0).image
    soft, bone = (foreground_mask(scan.array[0], "CT", hu, scan.spacing) for hu in (-500.0, 200.5))
    assert bone.sum() < 0.3 * soft.sum() and not (bone & (scan.array[0] <= 200)).any()
    assert torch.equal(soft, foreground_mask(scan.array[0].float(), "CT", spacing=scan.spacing))
    assert torch.equal(soft, foreground_mask(scan.array[0].numpy(), "CT", spacing=scan.spacing))


def test_two_legs_are_one_patient_and_a_cushion_is_none():
    z, y, x = torch.meshgrid(*[torch.arange(n) * 3.0 for n in (10, 60, 80)], indexing="ij")
    legs = [((y - 90) ** 2 + (x - c) ** 2) < r**2 for c, r in ((60, 45.0), (180, 35.0))]
    hu = torch.where(legs[0] | legs[1], 40.0, -1000.0)
    hu[:, 3:5] = 100.0  # a table of 6 mm
    hu[:3, 40:44, 38:42] = 0.0  # what lies between them
    mask = foreground_mask(hu, "CT", spacing=(3.0, 3.0, 3.0))
    assert torch.equal(mask, legs[0] | legs[1])


def test_mr_by_otsu_whatever_its_scale_and_dark_tissue_is_tissue():
    scan = mr_phantom(3, (40, 80, 80), (6.0, 5.0, 5.0))
    patient, image = scan.organs.array[0] > 0, scan.image.array[0]
    lungs = (scan.organs.array[0] == ORGANS.index("lung left")) | (scan.organs.array[0] == ORGANS.index("lung right"))
    mask = foreground_mask(image, "MR", spacing=(6.0, 5.0, 5.0))
    assert (mask & ~patient).sum() < 0.04 * patient.sum()  # its skin is soft: half a voxel
    assert (mask & patient & ~lungs).sum() > 0.93 * (patient & ~lungs).sum()
    louder = foreground_mask(image.float() * 7.3 + 11, "MR", spacing=(6.0, 5.0, 5.0))
    assert (louder ^ mask).sum() < 0.01 * mask.sum()


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (5, 1, 9), (20, 20, 20)])
def test_empty_thin_and_tiny_scans_have_a_mask(modality, shape):
    empty = foreground_mask(torch.full(shape, -1000, dtype=torch.int16), modality, spacing=(5.0, 0.7, 0.7), fill=True)
    assert empty.shape == shape and not empty.any()
    thing = torch.full(shape, -1000, dtype=torch.int16)
    thing[:, shape[1] // 4:, : shape[2] // 2 + 1] = 50
    mask = foreground_mask(thing, modality, spacing=(5.0, 0.7, 0.7))
    if thing.max() > thing.min():  # of one grey value MR knows no tissue
        assert (mask ^ (thing > -500)).sum() <= 0.03 * (thing > -500).sum(), "a sharp corner is rounded a little"


def test_a_scan_without_modality_is_refused():
    with pytest.raises(MedsslError, match="CT"):
        foreground_mask(torch.zeros(4, 4, 4), "")


def test_couches_of_real_scans_are_gone(real_data_root):
    folder = real_data_root.parent / "nifti"
    for name in ("ct_chest_lidc0314_half", "sts/STS_025_CT_image"):
        scan = read_volume(folder / f"{name}.nii.gz", "CT")
        mask = foreground_mask(scan.array[0], "CT", spacing=scan.spacing).numpy()
        tissue = scan.array[0].numpy() > -500
        gone = 1 - mask.sum() / tissue.sum()
        assert 0.03 < gone < 0.25, "the couch is some percent of what is above -500 HU"
        behind = tissue[:, : mask.any((0, 2)).argmax()]  # rows behind the patient's back
        assert behind.any(), "there was a couch to see"
