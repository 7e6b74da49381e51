"""Pairs of views: positions, contents and targets tell one story, and grey values without a unit give the same one."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medssl.errors import MedsslError
from medssl.views import View, draw_view, look, pair_targets, pair_views, scan_frame
from medssl.views.pair_views import WINDOW_CENTRE, WINDOW_WIDTH, rotation_matrix, rotation_vector

SLOPE = np.array([3.0, -7.0, 11.0])


class Scan:
    """A ramp in an oblique scan of 90 mm: grey = 1000 + SLOPE · place. `a` and `b`: other units, a · grey + b."""

    shape, scale, offset = (30, 90, 45), 1.0, 0.0

    def __init__(self, a=1.0, b=0.0):
        self.affine = np.eye(4)
        self.affine[:3, :3] = Rotation.from_euler("xyz", (8, -5, 12), degrees=True).as_matrix() * (2, 1, 3)
        self.affine[:3, 3] = -self.affine[:3, :3] @ ((np.array(self.shape[::-1]) - 1) / 2) + (30, -20, 10)
        index = np.moveaxis(np.indices(self.shape), 0, -1)[..., ::-1]
        grey = 1000 + (index @ self.affine[:3, :3].T + self.affine[:3, 3]) @ SLOPE
        self.codes = (a * grey + b).astype(np.float32)
        self.stats = SimpleNamespace(median=a * 1000 + b, spread=a * 300, background=a * -1000 + b, threshold=-1e9)

    def read_block(self, low, size):
        return self.codes[tuple(slice(n, n + m) for n, m in zip(low, size, strict=True))]


scan = Scan()
WIDE = (1000.0, 1e5)  # a window that cuts nothing off


def grey_of(patches):
    return patches * WIDE[1] + WIDE[0] - WIDE[1] / 2


def test_an_item_has_the_agreed_shapes():
    item = pair_views(scan, 5, 16.0, np.random.default_rng(0))
    shapes = {name: value.shape for name, value in item.items()}
    assert shapes == {"patches_a": (5, 16, 16, 1), "positions_a": (5, 3), "patches_b": (5, 16, 16, 1),
                      "positions_b": (5, 3), "valid_fraction": (2, 5), "center_distance_mm": (), "window_target": (2,),
                      "center_delta_mm": (3,), "rotation_delta_deg": (3,), "window_delta": (2,)}
    assert all(value.dtype == np.float32 for value in item.values())
    assert item["patches_a"].min() >= 0 and item["patches_a"].max() <= 1 and item["patches_a"].std() > 0
    again, other = (pair_views(scan, 5, 16.0, np.random.default_rng(seed)) for seed in (0, 1))
    assert all(np.array_equal(item[name], again[name]) for name in item)
    assert not np.allclose(item["patches_a"], other["patches_a"])


@pytest.mark.parametrize("seed", range(5))
def test_a_patch_shows_what_lies_at_its_position_turned_as_the_view_is(seed):
    view = draw_view(scan, 40, np.random.default_rng(seed), prism_mm=20.0)._replace(window=WIDE)
    patches, valid = look(scan, view, 8.0)
    axes = scan_frame(scan.affine) @ view.rotation.T  # of the view, in the patient
    offset = (np.arange(16) - 7.5) * 0.5
    for k in np.flatnonzero(valid == 1):
        q = view.positions[k] + np.stack(np.broadcast_arrays(offset, offset[:, None], 0.0), -1)  # in the view's frame
        places = view.centre + q @ axes.T
        index = (places - scan.affine[:3, 3]) @ np.linalg.inv(scan.affine[:3, :3]).T
        amid = ((index >= 0) & (index <= np.array(scan.shape[::-1]) - 1)).all(-1)  # the outer half of a voxel is flat
        np.testing.assert_allclose(grey_of(patches[k, ..., 0])[amid], (1000 + places @ SLOPE)[amid], atol=0.2)
    assert (valid == 1).sum() > 10


@pytest.mark.parametrize("seed", range(5))
def test_targets_take_places_of_one_view_to_the_other(seed):
    """q in A lies at Q (q - t) in B, with t and Q from the targets alone; both show the same grey value there."""
    a, b = (draw_view(scan, 60, rng, 40.0)._replace(window=WIDE) for rng in np.random.default_rng(seed).spawn(2))
    b = b._replace(centre=a.centre + (b.centre - a.centre) * 0.2)  # near enough to share places
    targets = pair_targets(scan, a, b)
    assert targets["center_distance_mm"] == pytest.approx(np.linalg.norm(b.centre - a.centre), rel=1e-5)
    assert targets["center_distance_mm"] == pytest.approx(np.linalg.norm(targets["center_delta_mm"]), rel=1e-5)
    turned = rotation_matrix(targets["rotation_delta_deg"].astype(float))
    b = b._replace(positions=(a.positions - targets["center_delta_mm"]) @ turned.T)
    (first, ok), (second, fine) = (look(scan, view, 1.0, pixels=1) for view in (a, b))
    both = (ok == 1) & (fine == 1)
    np.testing.assert_allclose(grey_of(first[both]), grey_of(second[both]), atol=0.3)
    assert both.sum() > 20


def turn(seed):
    return Rotation.random(random_state=seed).as_matrix()


def delta(first, second):
    a, b = (View(np.zeros(3), rotation, WIDE, np.zeros((1, 3))) for rotation in (first, second))
    return pair_targets(scan, a, b)["rotation_delta_deg"].astype(float)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(0, 2**31))
def test_rotation_targets_are_those_of_a_group(a, b, c):
    a, b, c = turn(a), turn(b), turn(c)
    np.testing.assert_allclose(delta(a, a), 0, atol=1e-4)
    np.testing.assert_allclose(delta(a, b), -delta(b, a), atol=1e-3)
    both = rotation_matrix(delta(b, c)) @ rotation_matrix(delta(a, b))
    np.testing.assert_allclose(both, rotation_matrix(delta(a, c)), atol=1e-5)
    assert np.linalg.norm(delta(a, b)) <= 180.001
    np.testing.assert_allclose(delta(a @ c, b @ c), delta(a, b), atol=1e-3)  # how the patient lies does not matter


def test_small_rotations_subtract_and_large_ones_wrap():
    def euler(angles):
        return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()

    small, large = np.array([0.6, -0.5, 0.4]), np.array([20.0, -18, 16])
    assert np.abs(delta(euler(-small), euler(small)) - 2 * small).max() < 0.1
    assert np.abs(delta(euler(-large), euler(large)) - 2 * large).max() > 0.5  # not the same thing
    np.testing.assert_allclose(delta(euler((0, 0, 179)), euler((0, 0, -179))), [0, 0, 2], atol=1e-4)
    np.testing.assert_allclose(rotation_vector(rotation_matrix((0, 179.9, 0))), [0, 179.9, 0], atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 20), st.floats(-500, 500), st.integers(0, 1000))
def test_grey_values_in_other_units_change_nothing(a, b, seed):
    """As in MR: patches and targets without a unit stay, only the raw change of window has the unit."""
    one, two = (pair_views(s, 6, 16.0, np.random.default_rng(seed)) for s in (scan, Scan(a, b)))
    for name in set(one) - {"window_delta"}:
        np.testing.assert_allclose(two[name], one[name], atol=2e-3, err_msg=name)
    np.testing.assert_allclose(two["window_delta"], a * one["window_delta"], rtol=1e-4, atol=1e-3)


def test_codes_with_a_scale_and_an_offset_are_restored():
    coded = Scan()
    coded.scale, coded.offset = 0.25, -700.0
    coded.codes = ((coded.codes - coded.offset) / coded.scale).astype(np.float32)
    one, two = (pair_views(s, 6, 40.0, np.random.default_rng(3)) for s in (scan, coded))
    assert (one["valid_fraction"] < 1).any()  # the background, too
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=1e-4, err_msg=name)


def test_windows_and_views_follow_their_laws():
    views = [draw_view(scan, 50, np.random.default_rng(k)) for k in range(400)]
    centres, widths = ((np.array([view.window[k] for view in views]) - (1000, 0)[k]) / 300 for k in (0, 1))
    for values, low, high in ((centres, -WINDOW_CENTRE, WINDOW_CENTRE), (np.log(widths), *np.log(WINDOW_WIDTH))):
        assert low <= values.min() < low + 0.1 * (high - low) and high >= values.max() > high - 0.1 * (high - low)
        assert abs(values.mean() - (low + high) / 2) < 4 * (high - low) / np.sqrt(12 * 400)
    turns = np.array([rotation_vector(view.rotation) for view in views])
    assert np.abs(turns).max() <= 20 and np.abs(turns).max(0).min() > 18
    box = np.array([view.positions for view in views])
    assert np.abs(box).max((0, 1)) == pytest.approx([22.5, 22.5, 22.5], rel=0.01)  # half of the half of 90 mm
    frame = scan_frame(scan.affine)
    assert np.abs((np.array([view.centre for view in views]) - (30, -20, 10)) @ frame).max() <= 22.5


def test_a_view_is_centred_in_the_patient():
    """Two thirds of this scan are air."""
    some, inside = Scan(), []
    some.stats.threshold = 1000 + 300
    for k in range(100):
        centre = draw_view(some, 1, np.random.default_rng(k)).centre
        inside.append(1000 + centre @ SLOPE > some.stats.threshold - 30)
    assert np.mean(inside) > 0.8
    some.stats.threshold = 1e9  # none at all: the first centre serves
    draw_view(some, 1, np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [{"n_patches": 0}, {"prism_mm": 0.0}, {"max_degrees": 60.0}])
def test_what_cannot_be(wrong):
    with pytest.raises(MedsslError, match="n_patches"):
        pair_views(scan, **{"n_patches": 4, "patch_mm": 16.0, "rng": np.random.default_rng(0), **wrong})
