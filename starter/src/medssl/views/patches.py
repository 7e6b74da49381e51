"""Patches in millimetres: small planes cut out of a scan, at any place and angle, whatever size its voxels have.

Pixel (r, c) of a patch with P×P pixels, `patch_mm` wide and so p = patch_mm / P mm from pixel to pixel, lies at

    centre + F Rᵀ ((c - (P-1)/2) p, (r - (P-1)/2) p, 0)        in mm to the patient's right, front and head.

F are the scan's own axes (`scan_frame`: two within the acquired slices, the third across them), R is the rotation of
the view: R Fᵀ takes a direction in the patient to the view, whose third axis is the line of sight. Values between
voxels are trilinear. Where pixels are more than twice as far apart as voxels, voxels between them would be left out by
chance (aliasing): there the block is first averaged over 2, 4, … voxels along each such axis, a mip level.
"""

import math
from functools import cache, lru_cache
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F

from medssl.errors import MedsslError

TIE = 0.99  # spacings within one percent of the largest count as equal to it
SLACK = 1e-3  # cells that the block is larger than its pixels need, for the rounding of float32


def scan_frame(affine: np.ndarray) -> np.ndarray:
    """F [3,3]: columns are the scan's axes as unit vectors in RAS mm, the last one across the slices (the axis with
    the largest spacing; of equal ones the one towards the head). However the file stores them, each axis points to
    the right, the front or the head, so the same scan in another storage order gives the same patches."""
    return _frame(np.ascontiguousarray(affine, np.float64).tobytes()).copy()


@lru_cache(256)
def _frame(affine: bytes) -> np.ndarray:
    columns = np.frombuffer(affine).reshape(4, 4)[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    unit = columns / spacing
    order = list(max(permutations(range(3)), key=lambda order: np.abs(unit[range(3), order]).sum()))
    axes, spacing = unit[:, order] * np.sign(unit[range(3), order]), spacing[order]  # right, front, head
    normal = np.flatnonzero(spacing >= TIE * spacing.max())[-1]
    u, _, v = np.linalg.svd(axes[:, [(normal + 1) % 3, (normal + 2) % 3, normal]])  # right angles, where it leans
    return u @ v


def sample_patches(voxels, affine: np.ndarray, centres_mm: np.ndarray, rotation: np.ndarray, patch_mm: float,
                   pixels: int = 16, fill: float = 0.0, numba: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(patches float32 [N,pixels,pixels,1], valid float32 [N]: which share of each patch lies within the scan).

    voxels: int16 or float32 [Z,Y,X], or anything with a `shape` and `read_block(low, size)`: one block, the box around
    all patches, is all that is read. affine 4×4: voxel (x, y, z) -> mm. centres_mm [N,3]. fill: the value outside the
    scan, the scan's background (0 would be water in a CT). numba is taken where it is installed, four times as fast;
    False, or none, is torch's grid_sample, which gives the same values within 0.05.
    """
    affine, centres = np.asarray(affine, np.float64), np.asarray(centres_mm, np.float64)
    if centres.ndim != 2 or centres.shape[1:] != (3,) or not len(centres) or not patch_mm > 0 or pixels < 1:
        raise MedsslError(f"Centres of shape {list(centres.shape)}, patch_mm={patch_mm}, pixels={pixels}.",
                          "centres [N,3] in mm, N of 1 or more, and a patch of some size")
    pitch, into = patch_mm / pixels, np.linalg.inv(affine[:3, :3])
    mip = np.array([_level(pitch / mm) for mm in np.linalg.norm(affine[:3, :3], axis=0)])  # (x, y, z)
    steps = (into @ scan_frame(affine) @ np.asarray(rotation, np.float64).T * pitch / mip[:, None]).T[:2]
    origins = ((centres - affine[:3, 3]) @ into.T - (mip - 1) / 2) / mip  # in cells of mip voxels
    reach = (pixels - 1) / 2 * np.abs(steps).sum(0)
    extent = np.array(voxels.shape[::-1]) / mip
    last = np.ceil(extent) - 1
    low = np.clip(np.floor(origins.min(0) - reach - SLACK), -1, last + 1).astype(int)
    high = np.clip(np.floor(origins.max(0) + reach + SLACK) + 1, low, last + 1).astype(int)
    block = _block(voxels, low, high, last.astype(int), mip)
    how = _with_numba if numba and _compiled() else _with_torch
    patches, inside = how(block, origins - low, steps, -0.5 - low, extent - 0.5 - low, pixels, np.float32(fill))
    return patches[..., None], inside


def _level(ratio: float) -> int:
    """Voxels to average along one axis: the power of two at or below pixels' distance / voxels' distance."""
    return 2 ** math.floor(math.log2(ratio)) if ratio > 2 else 1


def _block(voxels, low, high, last, mip) -> np.ndarray:
    """Cells low…high [Z,Y,X] as float32, each the mean of mip voxels; cells -1 and last + 1 repeat their neighbours, so
    that a pixel in the outer half of a scan's outermost voxels has its value. All (x, y, z)."""
    start, end = (np.clip(corner, 0, last) for corner in (low, high))
    first, stop = (start * mip)[::-1], np.minimum((end + 1) * mip, voxels.shape[::-1])[::-1]
    if hasattr(voxels, "read_block"):
        block = voxels.read_block(tuple(first.tolist()), tuple((stop - first).tolist()))
    else:
        block = voxels[tuple(slice(a, b) for a, b in zip(first, stop, strict=True))]
    block = block.astype(np.float32, order="C")
    for axis, n in enumerate(mip[::-1]):
        if n > 1:  # at the scan's end the last voxel counts for those that are missing
            missing = -block.shape[axis] % n
            block = np.pad(block, [(0, missing if k == axis else 0) for k in range(3)], "edge")
            parts = (block[(slice(None),) * axis + (slice(k, None, n),)] for k in range(n))
            block = sum(parts) / np.float32(n)
    if (low < start).any() or (high > end).any():
        block = np.pad(block, list(zip((start - low)[::-1], (high - end)[::-1], strict=True)), "edge")
    return block


def _with_torch(block, origins, steps, first, last, pixels, fill):
    offsets = np.arange(pixels) - (pixels - 1) / 2
    places = (origins[:, None, None] + offsets[:, None, None] * steps[1] + offsets[:, None] * steps[0])  # [N,P,P,3]
    inside = ((places >= first) & (places <= last)).all(-1)
    grid = 2 * places / np.maximum(np.array(block.shape[::-1]) - 1, 1) - 1
    values = F.grid_sample(torch.from_numpy(block)[None, None], torch.from_numpy(grid).float()[None],
                           padding_mode="border", align_corners=True)[0, 0].numpy()
    return np.where(inside, values, fill), inside.mean((1, 2), dtype=np.float32)


def _with_numba(block, origins, steps, first, last, pixels, fill):
    values, inside = _compiled()(block.reshape(-1), block.shape, origins, steps, first, last, pixels, fill)
    return values, inside / np.float32(pixels**2)


@cache
def _compiled():
    """A loop over rows of pixels as machine code, or None where numba is not installed."""
    try:
        from numba import njit
    except ImportError:
        return None

    def trilinear(flat, shape, origins, steps, first, last, pixels, fill):
        one, width, layer = np.int32(1), np.int32(shape[2]), np.int32(shape[1] * shape[2])
        values = np.empty((len(origins), pixels, pixels), np.float32)
        inside, middle, (u0, u1, u2) = np.zeros(len(origins), np.float32), (pixels - 1) / 2, steps[0]
        ux, uy, uz = np.float32(u0), np.float32(u1), np.float32(u2)
        for k in range(len(origins)):
            for r in range(pixels):
                x0 = origins[k, 0] + (r - middle) * steps[1, 0] - middle * u0  # the first pixel of the row
                y0 = origins[k, 1] + (r - middle) * steps[1, 1] - middle * u1
                z0 = origins[k, 2] + (r - middle) * steps[1, 2] - middle * u2
                x9, y9, z9 = x0 + (pixels - 1) * u0, y0 + (pixels - 1) * u1, z0 + (pixels - 1) * u2  # the last
                whole = (min(x0, x9) >= first[0] and min(y0, y9) >= first[1] and min(z0, z9) >= first[2] and
                         max(x0, x9) <= last[0] and max(y0, y9) <= last[1] and max(z0, z9) <= last[2])
                xf, yf, zf = np.floor(min(x0, x9)), np.floor(min(y0, y9)), np.floor(min(z0, z9))
                corner = np.int32(xf) + np.int32(yf) * width + np.int32(zf) * layer
                px, py, pz = np.float32(x0 - xf), np.float32(y0 - yf), np.float32(z0 - zf)  # a few voxels: exact enough
                for c in range(np.uint32(pixels)):
                    if not whole:
                        x, y, z = x0 + c * u0, y0 + c * u1, z0 + c * u2
                        if not (first[0] <= x <= last[0] and first[1] <= y <= last[1] and first[2] <= z <= last[2]):
                            values[k, r, c] = fill
                            continue
                    inside[k] += np.float32(1)
                    t = np.float32(c)
                    fx, fy, fz = px + t * ux, py + t * uy, pz + t * uz
                    xi, yi, zi = np.int32(fx), np.int32(fy), np.int32(fz)
                    fx, fy, fz = fx - np.float32(xi), fy - np.float32(yi), fz - np.float32(zi)
                    i = corner + xi + yi * width + zi * layer
                    j = i + layer
                    # uint32: else numba asks of every index whether it is negative
                    a, b = flat[np.uint32(i)], flat[np.uint32(i + width)]
                    a += fx * (flat[np.uint32(i + one)] - a)
                    b += fx * (flat[np.uint32(i + width + one)] - b)
                    near = a + fy * (b - a)
                    a, b = flat[np.uint32(j)], flat[np.uint32(j + width)]
                    a += fx * (flat[np.uint32(j + one)] - a)
                    b += fx * (flat[np.uint32(j + width + one)] - b)
                    values[k, r, c] = near + fz * (a + fy * (b - a) - near)
        return values, inside

    return njit(trilinear, nogil=True, cache=True, fastmath={"contract"})
