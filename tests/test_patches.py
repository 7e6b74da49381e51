"""Patches in millimetres: the right place, angle and size for every storage order and spacing; air lies outside."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from medssl.errors import MedsslError
from medssl.views import sample_patches, scan_frame

SPACINGS = ((1.0, 1.0, 3.0), (0.7, 0.7, 0.7), (2.0, 0.9, 0.9), (0.8, 4.0, 0.8))  # of the stored axes, mm
SIGNED = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
TWELVE = SIGNED[::4]  # each order of axes twice, left- and right-handed
OBLIQUE = Rotation.from_euler("xyz", (12, -8, 15), degrees=True).as_matrix()
SLOPE = np.array([3.0, -7.0, 11.0])
BLOB, WIDTH = np.array([4.0, -6.0, 3.0]), 25.0


def grey(world):
    """A ramp, in which every place and direction differs, and a blob beside the middle."""
    return 50 + world @ SLOPE + 400 * np.exp(-((world - BLOB) ** 2).sum(-1) / (2 * WIDTH**2))


def stored(order, signs, spacing, turn):
    """(affine, voxels [Z,Y,X]) of the phantom: stored axis k runs along signs[k] · world axis order[k]."""
    columns = np.zeros((3, 3))
    for k in range(3):
        columns[order[k], k] = signs[k] * spacing[k]
    affine, shape = np.eye(4), tuple(int(46 / mm) for mm in spacing)  # (x, y, z)
    affine[:3, :3] = turn @ columns
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + (1.5, -2.5, 0.5)
    index = np.moveaxis(np.indices(shape[::-1]), 0, -1)[..., ::-1]
    return affine, grey(index @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32)


@pytest.mark.parametrize("turn", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_pixels_show_their_place_in_the_patient(spacing, turn):
    rotation = Rotation.from_rotvec((20, -15, 30), degrees=True).as_matrix()
    rng, mm = np.random.default_rng(0), 12.8
    bound = 400 / WIDTH**2 * (np.square(spacing).sum() / 8) + 0.01  # of what straight lines miss of the blob
    for order, signs in TWELVE:
        affine, voxels = stored(order, signs, spacing, turn)
        centres = rng.uniform(-8, 8, (5, 3))
        largest = max(order[k] for k in range(3) if spacing[k] == max(spacing))
        axes = turn[:, [(largest + 1) % 3, (largest + 2) % 3, largest]]
        across, down = (axes @ rotation.T)[:, :2].T
        offset = (np.arange(16) - 7.5) * mm / 16
        world = centres[:, None, None] + offset[:, None, None] * down + offset[:, None] * across
        for numba in (True, False):
            patches, valid = sample_patches(voxels, affine, centres, rotation, mm, numba=numba)
            assert patches.shape == (5, 16, 16, 1) and patches.dtype == np.float32 and (valid == 1).all()
            assert np.abs(patches[..., 0] - grey(world)).max() < bound
        # footprint: over the ramp, last minus first pixel is 15/16 of patch_mm, whatever the spacing
        flat = voxels - (grey(world0 := _places(voxels, affine)) - 50 - world0 @ SLOPE).astype(np.float32)
        patches, _ = sample_patches(flat, affine, centres, rotation, mm)
        np.testing.assert_allclose(patches[:, 0, -1, 0] - patches[:, 0, 0, 0], SLOPE @ across * mm * 15 / 16, atol=0.01)
        np.testing.assert_allclose(patches[:, -1, 0, 0] - patches[:, 0, 0, 0], SLOPE @ down * mm * 15 / 16, atol=0.01)


def _places(voxels, affine):
    index = np.moveaxis(np.indices(voxels.shape), 0, -1)[..., ::-1]
    return index @ affine[:3, :3].T + affine[:3, 3]


def test_any_storage_order_gives_the_same_patches():
    """One scan, its axes exchanged and reversed in all 48 ways: the frame and the patches stay."""
    affine, voxels = stored((0, 1, 2), (1, 1, 1), (1.0, 1.5, 2.5), OBLIQUE)
    centres, rotation = np.random.default_rng(0).uniform(-20, 20, (6, 3)), Rotation.random(random_state=0).as_matrix()
    first, _ = sample_patches(voxels, affine, centres, rotation, 16.0)
    for order, signs in SIGNED:
        array, matrix = voxels.transpose([2 - k for k in order[::-1]]), np.eye(4)
        for k in range(3):  # stored axis k is axis order[k] of the first
            n = array.shape[2 - k]
            matrix[:, k] = 0
            matrix[order[k], k] = signs[k]
            if signs[k] < 0:
                array = np.flip(array, 2 - k)
                matrix[order[k], 3] = n - 1
        again, valid = sample_patches(array, affine @ matrix, centres, rotation, 16.0)
        assert np.abs(again - first).max() < 0.02, (order, signs)
        np.testing.assert_allclose(scan_frame(affine @ matrix), scan_frame(affine), atol=1e-12)


@pytest.mark.parametrize("spacing, normal", [((1, 1, 1), 2), ((3.001, 1, 3), 2), ((3, 3, 1), 1), ((4, 1, 1), 0)])
def test_slices_lie_across_the_largest_spacing_and_the_head_wins_a_tie(spacing, normal):
    frame = scan_frame(np.diag([*spacing, 1.0]))
    assert frame[normal, 2] == 1 and np.linalg.det(frame) == pytest.approx(1)


def test_frames_are_right_handed_for_any_rotation_and_reflection():
    for k in range(100):
        columns = Rotation.random(random_state=k).as_matrix() @ np.diag([1, 1, 1 if k % 2 else -1]) * (1, 1.2, 3)
        affine = np.eye(4)
        affine[:3, :3] = columns
        frame = scan_frame(affine)
        assert np.linalg.det(frame) == pytest.approx(1) and np.allclose(frame.T @ frame, np.eye(3))
        assert abs(frame[:, 2] @ columns[:, 2]) == pytest.approx(3)


def reference(voxels, affine, centres, rotation, mm, pixels, fill):
    """float64, by scipy; where pixels are sparse, from a volume averaged as a whole."""
    pitch, spacing = mm / pixels, np.linalg.norm(affine[:3, :3], axis=0)
    across, down = (scan_frame(affine) @ rotation.T)[:, :2].T * pitch
    offset = np.arange(pixels) - (pixels - 1) / 2
    world = centres[:, None, None] + offset[:, None, None] * down + offset[:, None] * across
    index = (world - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    inside = ((index >= -0.5) & (index <= np.array(voxels.shape[::-1]) - 0.5)).all(-1)
    mean, mip = voxels.astype(float), [int(2 ** np.floor(np.log2(pitch / s))) if pitch > 2 * s else 1 for s in spacing]
    for axis, n in enumerate(mip[::-1]):
        mean = np.pad(mean, [(0, -mean.shape[axis] % n if k == axis else 0) for k in range(3)], "edge")
        mean = np.stack([mean.take(range(k, mean.shape[axis], n), axis) for k in range(n)]).mean(0)
    index = ((index - (np.array(mip) - 1) / 2) / mip)[..., ::-1]
    values = map_coordinates(mean, np.moveaxis(index, -1, 0), order=1, mode="nearest")
    return np.where(inside, values, fill), inside.mean((1, 2))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_values_are_those_of_scipy_in_float64(seed):
    """Any shape, one voxel too, any oblique affine, patches within, across the edge and outside; within 0.05 HU."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(-1024, 3071, rng.integers(1, 28, 3)).astype(np.int16)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=rng).as_matrix() * rng.uniform(0.3, 5, 3)
    affine[:3, 3] = rng.normal(0, 200, 3)
    middle = affine[:3, :3] @ ((np.array(voxels.shape[::-1]) - 1) / 2) + affine[:3, 3]
    centres = middle + rng.uniform(-1, 1, (8, 3)) * (np.abs(affine[:3, :3]) @ np.array(voxels.shape[::-1])) / 2
    how = Rotation.random(random_state=rng).as_matrix(), float(rng.uniform(4, 40)), int(rng.integers(1, 18)), -1024.0
    values, share = reference(voxels, affine, centres, *how)
    for numba in (True, False):
        patches, valid = sample_patches(voxels, affine, centres, *how, numba=numba)
        assert np.abs(patches[..., 0] - values).max() <= 0.05
        np.testing.assert_allclose(valid, share, atol=1e-6)


def test_pixels_far_apart_average_the_voxels_between_them():
    """Stripes of one voxel are finer than pixels 2.5 voxels apart can show: grey. Left out, they are noise."""
    voxels = np.where(np.indices((60, 60, 60)).sum(0) % 2, 1000, 0).astype(np.int16)
    affine, centres = np.diag([0.4, 0.4, 0.4, 1]), np.random.default_rng(0).uniform(9, 14, (20, 3))
    turn = Rotation.from_rotvec((10, 5, -8), degrees=True).as_matrix()
    coarse, _ = sample_patches(voxels, affine, centres, turn, 16.0)
    fine, _ = sample_patches(voxels, affine, centres, turn, 8.0)  # 1.25 voxels apart: nothing to average
    assert coarse.std() < 1 and abs(coarse.mean() - 500) < 1 and fine.std() > 50


def test_outside_the_scan_lies_its_background():
    voxels, affine = np.full((20, 20, 20), 300, np.int16), np.eye(4)
    patches, valid = sample_patches(voxels, affine, [[9.5, 9.5, 10], [-0.5, 9.5, 10], [90, 9.5, 10]], np.eye(3), 16.0,
                                    fill=-1000.0)
    assert valid.tolist() == [1.0, 0.5, 0.0]
    assert (patches[0] == 300).all() and (patches[1, :, 8:] == 300).all() and (patches[1, :, :8] == -1000).all()
    assert (patches[2] == -1000).all()


def test_one_block_is_read_no_larger_than_the_patches_need():
    affine, voxels = stored((0, 1, 2), (1, 1, 1), (1.0, 1.0, 2.0), np.eye(3))

    class Remote:
        shape, asked = voxels.shape, []

        def read_block(self, low, size):
            self.asked.append((low, size))
            return voxels[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))]

    centres, scan = np.array([[-10.0, 0, 0], [10, 5, 5]]), Remote()
    patches, _ = sample_patches(scan, affine, centres, np.eye(3), 16.0)
    assert np.array_equal(patches, sample_patches(voxels, affine, centres, np.eye(3), 16.0)[0])
    (_, (depth, height, width)), = scan.asked
    assert width <= 20 + 15 + 3 and height <= 5 + 15 + 3 and depth <= 2.5 + 3


@settings(max_examples=25, deadline=None)
@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(-10, 10), st.integers(0, 1000))
def test_a_patient_who_lies_otherwise_gives_the_same_patches(a, b, c, seed):
    """Scan and centres turned and moved together: the frame turns with them."""
    affine, voxels = stored((0, 1, 2), (1, 1, 1), (1.0, 1.0, 3.0), np.eye(3))
    rng = np.random.default_rng(seed)
    centres, rotation, moved = rng.uniform(-12, 12, (3, 3)), Rotation.random(random_state=rng).as_matrix(), np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec((a, b, c), degrees=True).as_matrix()
    moved[:3, 3] = rng.normal(0, 100, 3)
    first, _ = sample_patches(voxels, affine, centres, rotation, 10.0)
    again, _ = sample_patches(voxels, moved @ affine, centres @ moved[:3, :3].T + moved[:3, 3], rotation, 10.0)
    assert np.abs(again - first).max() < 0.02


@pytest.mark.parametrize("centres, mm", [(np.zeros((0, 3)), 16.0), (np.zeros((2, 2)), 16.0), (np.zeros((2, 3)), 0.0)])
def test_what_cannot_be_cut(centres, mm):
    with pytest.raises(MedsslError, match="centres"):
        sample_patches(np.zeros((4, 4, 4), np.int16), np.eye(4), centres, np.eye(3), mm)
