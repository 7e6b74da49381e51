"""Volumes on another grid: resampled to a spacing in mm, cut or padded to a size. The affine always goes along.

Convention: a whole index is the centre of a voxel. The new grid has the same middle as the old one, so the middle of
the field of view does not move, and new voxel j of an axis lies at the old index

    x_j = (j - (n' - 1) / 2) * spacing' / spacing + (n - 1) / 2,      n' = round(n * spacing / spacing').

Outside the centres of the old outermost voxels (by half a new voxel at most) the outermost value goes on.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from medssl.data.volumes import Volume, to_world
from medssl.errors import MedsslError

FWHM = 2.3548  # width at half height of a Gaussian, in standard deviations


def resample(volume: Volume, spacing_mm: float | Sequence[float], mode: str = "linear",
             anti_alias: bool = True) -> Volume:
    """The volume at another spacing, one number or (z, y, x) in mm. int16 stays int16, rounded.

    mode="linear", or "nearest" for label maps, which never mixes values. Linear with anti_alias first blurs the axes
    that get coarser: a Gaussian turns a voxel of width s into one of width s' (in quadrature: FWHM² = s'² - s²;
    Cardoso 2015), or detail finer than the new voxels would come back as a pattern that is not there.
    """
    new = np.broadcast_to(np.asarray(spacing_mm, float), 3)
    if mode not in ("linear", "nearest"):
        raise MedsslError(f"mode={mode!r}.", '"linear" for images, "nearest" for label maps')
    if not (np.isfinite(new) & (new > 0)).all():
        raise MedsslError(f"A spacing of {spacing_mm} mm.", "one length above zero, or three: (z, y, x)")
    old, shape = np.array(volume.spacing), np.array(volume.shape)
    size = np.maximum(1, np.rint(shape * old / new)).astype(int)
    values = volume.array
    for axis in np.argsort(size / shape):  # the axis that shrinks most goes first: less is left for the others
        same = size[axis] == shape[axis] and np.isclose(old[axis], new[axis], rtol=1e-6)
        if not same:
            at = _positions(shape[axis], size[axis], new[axis] / old[axis])
            if mode == "nearest":
                near = np.floor(at + 0.5).clip(0, shape[axis] - 1).astype(np.int64)
                values = values.index_select(1 + axis, torch.from_numpy(near))
            else:
                weights = _weights(at, shape[axis], new[axis] / old[axis] if anti_alias else 1.0)
                values = torch.tensordot(values.to(torch.float32), weights, dims=([1 + int(axis)], [1]))
                values = values.movedim(-1, 1 + int(axis))
    if values.dtype != volume.array.dtype:
        values = values.round().to(volume.array.dtype)
    first = to_world(volume, [_positions(n, m, b / a)[0] for n, m, a, b in zip(shape, size, old, new, strict=True)])
    return _moved(volume, values, new, first)


def _positions(n: int, m: int, step: float) -> np.ndarray:
    """x_j of the m new voxels on an axis of n old ones (see above)."""
    return (np.arange(m) - (m - 1) / 2) * step + (n - 1) / 2


def _weights(at: np.ndarray, n: int, step: float) -> torch.Tensor:
    """[m, n]: row j weighs the old voxels for a new one at index at[j]. Both the blur and the line between two voxels
    weigh evenly on both sides, so a linear ramp stays the same ramp, except near the ends."""
    sigma = np.sqrt(max(0.0, step**2 - 1)) / FWHM
    reach = int(np.ceil(4 * sigma)) + 1
    tap = np.arange(-reach, reach + 1)
    blur = np.exp(-0.5 * (tap / sigma) ** 2) if sigma > 0 else (tap == 0).astype(float)
    left = np.floor(at).astype(int)
    weights, rows = np.zeros((len(at), n)), np.arange(len(at))[:, None]
    for side, share in ((0, 1 - (at - left)), (1, at - left)):
        columns = (left[:, None] + side + tap).clip(0, n - 1)
        np.add.at(weights, (rows, columns), share[:, None] * blur / blur.sum())
    return torch.from_numpy(weights.astype(np.float32))


def crop_or_pad(volume: Volume, shape: Sequence[int] | None = None, size_mm: Sequence[float] | None = None,
                centre: Sequence[float] | None = None, fill: float | None = None) -> Volume:
    """Exactly `shape` voxels (z, y, x), or the nearest to `size_mm`, around `centre` (an index (z, y, x), else the
    middle). What lies outside the volume becomes `fill`, else the volume's lowest value: air in CT, no signal in MR."""
    if (shape is None) == (size_mm is None):
        raise MedsslError("crop_or_pad got " + ("no size." if shape is None else "two sizes."),
                          "shape=(z, y, x) in voxels, or size_mm=(z, y, x)")
    if shape is None:
        shape = np.maximum(1, np.rint(np.asarray(size_mm, float) / volume.spacing))
    shape, old = np.asarray(shape).astype(int), np.array(volume.shape)
    if shape.shape != (3,) or shape.min() < 1:
        raise MedsslError(f"The size {shape.tolist()}.", "three whole numbers above zero: (z, y, x)")
    middle = (old - 1) / 2 if centre is None else np.asarray(centre, float)
    start = np.floor(middle - (shape - 1) / 2 + 0.5).astype(int)
    low, high = np.clip(start, 0, old), np.clip(start + shape, 0, old)
    if (low >= high).any():
        raise MedsslError(f"Around {middle.tolist()} lies nothing of a volume of {old.tolist()} voxels.",
                          "a centre within or near it", "Give the index as (z, y, x).")
    inside = volume.array[(slice(None), *map(slice, low, high))]
    value = volume.array.min().item() if fill is None else fill
    values = volume.array.new_full((len(volume.array), *shape), value)
    values[(slice(None), *map(slice, low - start, high - start))] = inside
    return _moved(volume, values, np.array(volume.spacing), to_world(volume, start))


def _moved(volume: Volume, values: torch.Tensor, spacing: np.ndarray, first: np.ndarray) -> Volume:
    """The volume with other voxels, of this spacing (z, y, x), the first of them at `first` in the world."""
    affine = volume.affine.copy()
    affine[:3, :3] *= (spacing / volume.spacing)[::-1]
    affine[:3, 3] = first
    return replace(volume, array=values.contiguous(), spacing=tuple(float(s) for s in spacing), affine=affine)
