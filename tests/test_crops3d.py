"""Crops of scans: where they say they are, what they show, how they are drawn, and that each setting matters."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.data.phantom_volumes import ct_phantom, mr_phantom
from medssl.data.volumes import Volume
from medssl.errors import MedsslError
from medssl.views import MultiCrop3D
from medssl.views.cut3d import cut_box
from medssl.views.foreground import foreground_mask

PLAIN = dict(flip_left_right=0.0, contrast=0.0, brightness=0.0, gamma=0.0, noise=0.0, blur=0.0)
SMALL = dict(global_size=12, local_size=6, global_mm=(10.0, 16.0), local_mm=(8.0, 14.0))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def volume(array, spacing=(1.0, 1.0, 1.0), modality="CT"):
    return Volume(torch.as_tensor(array)[None], spacing, np.diag([*spacing[::-1], 1.0]), modality)


@pytest.fixture(scope="module")
def scans():
    return [ct_phantom(0, (24, 48, 48), (10.0, 8.0, 8.0)).image, ct_phantom(1, (20, 32, 60), (12.0, 11.0, 6.0)).image,
            mr_phantom(2, (24, 48, 48), (10.0, 8.0, 8.0)).image]


def drawn(scans, seed=0, batch=(0, 1, 2), **changed):
    return MultiCrop3D(scans, **SMALL | changed)({"scan": torch.tensor(batch)}, seeded(seed))


def truth(mask, scan, box):
    """(foreground voxels, all voxels) in a box in mm, by counting voxels of the mask."""
    low, high = (np.rint(np.asarray(side, float) / scan.spacing + 0.5).astype(int) for side in box)
    inside = tuple(slice(max(0, a), max(0, b)) for a, b in zip(low, high, strict=True))
    return int(mask[inside].sum()), int(np.prod(high - low))


def test_shapes_and_types_are_those_that_were_agreed(scans):
    seen = drawn(scans, n_global=2, n_local=3)
    for name, n, side in (("global", 2, 12), ("local", 3, 6)):
        assert seen[f"{name}s"].shape == (n, 3, 1, side, side, side) and seen[f"{name}s"].dtype == torch.float32
        assert seen[f"{name}s"].min() >= 0 and seen[f"{name}s"].max() <= 1 and seen[f"{name}s"].std() > 0.1
        assert seen[f"{name}_ratio"].shape == seen[f"{name}_relaxed"].shape == (n, 3)
        assert seen[f"{name}_box"].shape == (n, 3, 2, 3) and seen[f"{name}_spacing"].shape == (n, 3, 3)
        edges = seen[f"{name}_box"][:, :, 1] - seen[f"{name}_box"][:, :, 0]
        assert torch.allclose(edges, seen[f"{name}_spacing"] * side, atol=1e-3)
        assert seen[f"{name}_relaxed"].dtype == torch.bool and (edges > 0).all()
    assert drawn(scans, n_local=0)["locals"].shape[:2] == (0, 3)


@pytest.mark.parametrize("fill", [False, True])
def test_the_ratio_is_that_of_the_box_counted_voxel_by_voxel(scans, fill):
    masks = [foreground_mask(scan.array[0], scan.modality, spacing=scan.spacing, fill=fill).numpy() for scan in scans]
    view = MultiCrop3D(scans, foreground_fill=fill, foreground_crop_prob=0.5, **SMALL)
    for seed in range(3):
        seen = view({"scan": torch.tensor([0, 1, 2])}, seeded(seed))
        for name in ("global", "local"):
            for v, row in enumerate(seen[f"{name}_ratio"].tolist()):
                for b, ratio in enumerate(row):
                    hit, voxels = truth(masks[b], scans[b], seen[f"{name}_box"][v, b])
                    assert ratio == pytest.approx(hit / voxels, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 30)] * 3), mm=st.tuples(*[st.sampled_from([0.7, 2.0, 5.0])] * 3),
       seed=st.integers(0, 99), subset=st.booleans(), modality=st.sampled_from(["CT", "MR"]))
def test_any_scan_gives_crops_that_meet_the_ratio_or_say_so(shape, mm, seed, subset, modality):
    array = torch.full(shape, -1000, dtype=torch.int16)
    array[shape[0] // 3:, : shape[1] // 2, shape[2] // 4:] = 60
    array[torch.rand(shape, generator=seeded(seed)) < 0.1] += 500
    view = MultiCrop3D([volume(array, mm, modality)], global_size=6, local_size=4, global_mm=(1.0, 6.0),
                       local_mm=(1.0, 5.0), global_min_foreground_ratio=0.7, local_min_foreground_ratio=0.6,
                       localcrops_subset_of_globalcrops=subset)
    seen = view({"scan": torch.zeros(2, dtype=torch.int64)}, seeded(seed))
    for name, least in (("global", 0.7), ("local", 0.6)):
        assert ((seen[f"{name}_ratio"] >= least) | seen[f"{name}_relaxed"]).all()
        assert torch.isfinite(seen[f"{name}s"]).all() and (seen[f"{name}_ratio"] <= 1).all()
    if subset:
        assert_inside(seen)


def assert_inside(seen):
    """Local k within global k mod n_global, in mm."""
    parents = seen["global_box"][torch.arange(len(seen["local_box"])) % len(seen["global_box"])]
    assert (seen["local_box"][:, :, 0] >= parents[:, :, 0] - 1e-3).all()
    assert (seen["local_box"][:, :, 1] <= parents[:, :, 1] + 1e-3).all()


def test_locals_lie_inside_their_global_only_where_that_is_asked(scans):
    view = MultiCrop3D(scans, localcrops_subset_of_globalcrops=True, **SMALL | {"local_mm": (2.0, 15.0)})
    for seed in range(5):
        assert_inside(view({"scan": torch.tensor([0, 1, 2])}, seeded(seed)))
    with pytest.raises(AssertionError):
        assert_inside(drawn(scans, localcrops_subset_of_globalcrops=False))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_whose_values_are_its_own_millimetres_shows_the_box(axis):
    """Value = position in mm along one axis: each voxel of a crop must hold the position that its box gives it."""
    spacing, shape = (5.0, 2.0, 1.0), (60, 120, 198)  # whole cells: no crop reaches beyond the scan
    positions = torch.arange(shape[axis], dtype=torch.float32) * spacing[axis]
    ramp = positions.view([-1 if k == axis else 1 for k in range(3)]).expand(shape).clone()
    view = MultiCrop3D([volume(ramp, spacing)], global_size=16, local_size=8, global_mm=(2.0, 6.0),
                       local_mm=(0.5, 4.0), aspect=1.5, window=(150.0, 300.0), **PLAIN)
    checked = 0
    for seed in range(4):
        seen = view({"scan": torch.zeros(3, dtype=torch.int64)}, seeded(seed))
        for name in ("global", "local"):
            for crop, box, mm in zip(seen[f"{name}s"].flatten(0, 2), seen[f"{name}_box"].flatten(0, 1)[:, :, axis],
                                     seen[f"{name}_spacing"].flatten(0, 1)[:, axis], strict=True):
                expected = box[0] + mm * (torch.arange(len(crop)) + 0.5)
                reach = max(mm, spacing[axis])  # next to the scan's end there is less to average over
                safe = (expected > reach) & (expected < positions[-1] - reach)
                got = 300 * crop.movedim(axis, 0)
                assert torch.allclose(got[safe], expected[safe, None, None].expand_as(got[safe]), atol=0.02)
                checked += int(safe.sum())
    assert checked > 300


def test_each_mirror_turns_its_own_anatomical_axis_and_no_other():
    off = dict(flip_left_right=0.0, flip_front_back=0.0, flip_head_foot=0.0)
    scan = [volume(torch.randint(0, 80, (24, 24, 24), generator=seeded(), dtype=torch.int16))]
    settings = SMALL | PLAIN | dict(global_mm=(1.0, 1.0), local_mm=(1.0, 1.0))
    straight = drawn(scan, 5, (0,), **settings | off)
    for name, axis in (("flip_head_foot", 3), ("flip_front_back", 4), ("flip_left_right", 5)):
        mirrored = drawn(scan, 5, (0,), **settings | off | {name: 1.0})
        assert torch.equal(mirrored["global_box"], straight["global_box"])
        assert torch.allclose(mirrored["globals"], straight["globals"].flip(axis), atol=1e-5)
        assert not torch.allclose(mirrored["globals"], straight["globals"], atol=1e-2)


def test_by_default_left_and_right_change_places_but_never_head_and_feet():
    array = torch.zeros(40, 40, 40, dtype=torch.int16)
    ramp = torch.arange(40, dtype=torch.int16)
    found = []
    for axis in range(3):
        scan = volume(array + ramp.view([-1 if k == axis else 1 for k in range(3)]))
        view = MultiCrop3D([scan], global_size=8, global_mm=(2.0, 2.0), aspect=1.0, window=(20.0, 40.0), n_local=0,
                           **PLAIN | {"flip_left_right": 0.5})
        crops = view({"scan": torch.zeros(40, dtype=torch.int64)}, seeded())["globals"].movedim(axis + 3, -1)
        found.append((crops[..., -1] > crops[..., 0]).float().mean().item())
    assert found[:2] == [1.0, 1.0] and 0.3 < found[2] < 0.7


def test_one_generator_one_result_and_another_another(scans):
    view = MultiCrop3D(scans, **SMALL)
    one, same, other = (view({"scan": torch.tensor([2, 0])}, seeded(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["globals"], other["globals"]) and not torch.equal(one["local_box"], other["local_box"])


def test_local_crops_have_their_own_scale_mirror_and_grey_values(scans):
    """In the source that this replaces, a local crop was cut out of the finished global one."""
    same = dict(n_global=1, n_local=8, localcrops_subset_of_globalcrops=True, global_size=12, local_size=12)
    seen = drawn(scans, **same | dict(global_mm=(12.0, 12.0), local_mm=(12.0, 12.0), aspect=1.0, noise=0.0))
    assert torch.equal(seen["global_box"].expand_as(seen["local_box"]), seen["local_box"]), "the same box, whole"
    assert all(not torch.allclose(seen["locals"][k], seen["globals"][0], atol=0.02) for k in range(8))
    assert len({tuple(mm.tolist()) for mm in drawn(scans, **same)["local_spacing"][:, 0]}) > 1


def boxes(scans, **changed):
    return drawn(scans, 1, (0, 0, 0, 0, 1, 1), n_local=4, **changed)


def test_no_setting_of_the_foreground_is_dead(scans):
    """The source kept a minimum ratio that nothing read."""
    base = boxes(scans)
    assert not base["global_relaxed"].any() and base["global_ratio"].min() >= 0.5
    free = boxes(scans, foreground_crop_prob=0.0)
    assert free["global_ratio"].min() < 0.3 and not free["global_relaxed"].any(), "nothing asked, nothing relaxed"
    some = boxes(scans, foreground_crop_prob=0.5)["local_ratio"]
    assert (some >= 0.5).sum() > (free["local_ratio"] >= 0.5).sum() and (some < 0.5).any()
    assert boxes(scans, min_foreground_ratio=0.2)["global_ratio"].min() < 0.5
    strict = boxes(scans, min_foreground_ratio=0.9)
    assert strict["global_relaxed"].any() and (strict["local_ratio"] >= 0.9)[~strict["local_relaxed"]].all()
    two = boxes(scans, global_min_foreground_ratio=0.1, local_min_foreground_ratio=0.8)
    assert two["global_ratio"].min() < 0.5 and two["local_ratio"].min() >= 0.8
    assert boxes(scans, foreground_threshold=150.0)["global_relaxed"].all(), "there is less bone than that"
    chest = boxes(scans, foreground_fill=True)
    assert not torch.equal(chest["global_ratio"], base["global_ratio"]) and chest["global_ratio"].min() >= 0.5
    inside = boxes(scans, localcrops_subset_of_globalcrops=True)
    assert torch.equal(inside["global_ratio"][0, :1], base["global_ratio"][0, :1])
    assert not torch.equal(inside["local_box"], base["local_box"])


def test_every_other_setting_changes_what_is_seen_too(scans):
    scan, base = scans[:1], drawn(scans[:1], batch=(0, 0), **PLAIN)
    changes = [dict(contrast=0.5), dict(brightness=0.3), dict(gamma=0.5), dict(noise=0.1), dict(blur=2.0),
               dict(flip_left_right=1.0), dict(flip_front_back=1.0), dict(flip_head_foot=1.0), dict(aspect=1.8),
               dict(window=(-600.0, 1500.0)), dict(global_mm=(6.0, 7.0)), dict(local_mm=(4.0, 5.0))]
    for change in changes:
        seen = drawn(scan, batch=(0, 0), **PLAIN | change)
        name = "locals" if "local_mm" in change else "globals"
        assert not torch.allclose(seen[name], base[name], atol=1e-3), change
        if not {"aspect", "global_mm", "local_mm"} & set(change):
            assert torch.equal(seen["global_box"], base["global_box"]), f"{change} moves no box"


def test_settings_that_cannot_be_are_errors(scans):
    with pytest.raises(TypeError, match="foreground_probability"):
        MultiCrop3D(scans, foreground_probability=1.0)
    for wrong in (dict(min_foreground_ratio=1.5), dict(foreground_crop_prob=-1), dict(flip_left_right=2),
                  dict(blur="a"), dict(global_mm=(0, 1)), dict(local_mm=(3, 2)), dict(aspect=0.5), dict(n_global=0),
                  dict(window=(40.0, 0.0)), dict(localcrops_subset_of_globalcrops="False"), dict(global_mm=4.0),
                  dict(foreground_fill="no"), dict(local_size=8.5), dict(foreground_threshold="bone"),
                  dict(region_mm="a"), dict(noise=None), dict(window="soft")):
        with pytest.raises(MedsslError, match=next(iter(wrong))):
            MultiCrop3D(scans, **wrong)
    with pytest.raises(MedsslError, match="no scan"):
        MultiCrop3D([])


@pytest.mark.parametrize("which, told, changed", [
    (0, "never asks", dict(foreground_crop_prob=0.0, min_foreground_ratio=0.3)),
    (0, "take its place", dict(min_foreground_ratio=0.6, global_min_foreground_ratio=0.7,
                               local_min_foreground_ratio=0.6)),
    (0, "draws none", dict(n_local=0, local_min_foreground_ratio=0.3)),
    (0, "draws none", dict(n_local=0, localcrops_subset_of_globalcrops=True)),
    (2, "no scan is CT", dict(foreground_threshold=-300.0)), (2, "no scan is CT", dict(window=[-600, 1500]))])
def test_a_setting_that_nothing_would_read_is_told(scans, which, told, changed):
    with pytest.warns(UserWarning, match=told) as warned:
        MultiCrop3D(scans[which:which + 1], **changed)
    assert len(warned) == 1


def test_settings_that_are_read_are_not_warned_about(scans):
    for changed in (dict(), dict(min_foreground_ratio=0.6, global_min_foreground_ratio=0.7), dict(n_local=0),
                  dict(window=[-600, 1500]), dict(foreground_crop_prob=0.0)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            MultiCrop3D(scans[:1], **changed)


def test_soft_tissue_keeps_its_contrast():
    """A threshold of 500 HU with a window from 500 on, as the source had, shows soft tissue as nothing."""
    scan = ct_phantom(0).image
    seen = drawn([scan], batch=(0,), **PLAIN)
    assert (seen["globals"] > 0.05).float().mean() > 0.4 and seen["globals"].std() > 0.15


def test_what_lies_beyond_the_scan_is_air():
    scan = volume(torch.full((10, 40, 40), 40, dtype=torch.int16))
    seen = MultiCrop3D([scan], global_size=16, global_mm=(2.0, 2.0), aspect=1.0, n_local=0, **PLAIN)(
        {"scan": torch.tensor([0])}, seeded())
    crop = seen["globals"][0, 0, 0]
    inside = seen["global_ratio"][0, 0] * 16
    assert 0 < inside < 16 and seen["global_relaxed"].all()
    assert abs((crop.amax((1, 2)) > 0).sum() - inside) < 1 and crop.max() == pytest.approx(0.5)


def test_shrinking_averages_what_it_leaves_out():
    """Every fifth voxel alone would show a fine checkerboard as black, white or moiré."""
    z, y, x = torch.meshgrid(*[torch.arange(64)] * 3, indexing="ij")
    board = (((z + y + x) % 2) * 100).to(torch.int16)
    small = cut_box(board, (8, 8, 8), (40, 40, 40), 8, 0.0)  # each fifth voxel is the centre of a new one
    assert (small - 50).abs().max() < 1.0
    assert torch.equal(cut_box(board, (8, 8, 8), (8, 8, 8), 8, 0.0), board[8:16, 8:16, 8:16].float())


def test_no_float_copy_of_a_scan_is_kept():
    scan = ct_phantom(0, (30, 64, 64), (8.0, 6.0, 6.0)).image
    view = MultiCrop3D([scan], **SMALL)
    assert view.scans[0].array.dtype == torch.int16 and view.scans[0].array is scan.array
    assert view.occupancies[0].nbytes <= 0.05 * scan.array.numel() * 2
