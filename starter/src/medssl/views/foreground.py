"""Where the patient is in a scan, and how much of any box of it is patient: a mask, then a table of counts.

A voxel is foreground if it is tissue of the patient: in CT above `threshold` HU (-500: denser than air and lung, so
fat, muscle, bone), in MR above Otsu's threshold. Table, cushions and what lies loose around the patient are taken away.
Lungs and gas in the bowel are air, so they are *not* foreground: a ratio counts tissue. `fill=True` counts everything
inside the skin instead, lungs too: for a chest, whose lungs are what the crops should show.
"""

import math

import numpy as np
import torch
from torch import Tensor

from medssl.errors import MedsslError
from medssl.otsu import best_edge
from medssl.views.occupancy import Occupancy, cell_counts

__all__ = ["Occupancy", "foreground_mask", "otsu_clipped"]

COARSE = 3.0  # mm: edge of the cells on which parts are told apart; on voxels it would take ten times as long
TABLE = 9.0  # mm: what is thinner than twice this, in every direction but its own plane, is no trunk and no limb
KEEP = 0.1  # parts this large beside the largest are patient as well: the other leg, an arm beside the trunk


def foreground_mask(array, modality: str, threshold: float = -500.0, spacing=None, fill: bool = False) -> Tensor:
    """Scan [Z,Y,X], HU or MR signal -> bool [Z,Y,X]. `spacing` (z, y, x) in mm; without it a voxel counts as 1 mm.

    1. tissue: CT above `threshold`, MR above Otsu's. 2. CT: opening with a ball of TABLE mm takes away the table,
    which is a thin plate even where it touches the back. 3. the largest part stays, and others of KEEP of its size.
    4. what was shaved off the patient in step 2 returns: tissue within reach of what stayed. Steps 2–4 work on cells of
    some 3 mm; the mask itself is of voxels. 5. `fill`: all that an axial slice of the patient encloses.
    """
    values = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    if values.ndim != 3 or modality not in ("CT", "MR"):
        raise MedsslError(f"A scan of shape {list(values.shape)}, modality {modality!r}.", '[Z,Y,X], "CT" or "MR"',
                          "Name it when reading: read_volume(path, modality=\"CT\").")
    limit = threshold if modality == "CT" else otsu_clipped(values)
    mask = values > (math.floor(limit) if values.dtype.kind in "iu" else limit)  # the same, without a float copy
    mm = np.asarray((1.0, 1.0, 1.0) if spacing is None else spacing, float)
    cell = tuple(int(n) for n in np.maximum(1, np.round(COARSE / mm)))
    z, y, x = (np.minimum(k, n - np.arange(0, n, k)) for n, k in zip(mask.shape, cell, strict=True))
    filled = cell_counts(mask, cell) / (z[:, None, None] * y[:, None] * x)  # the last cells may be cut short
    patient = _patient(filled >= 0.5, mm * cell, TABLE if modality == "CT" else 0.0) & (filled > 0)
    inside = ~_outside(patient) if fill else None
    for k in range(len(patient)):  # a row of cells at a time: no second mask of the whole scan
        rows = mask[k * cell[0]:(k + 1) * cell[0]]
        rows &= _voxels(patient[k], cell, mask.shape)
        if fill:
            rows |= _voxels(inside[k], cell, mask.shape)
    return torch.from_numpy(mask)


def otsu_clipped(values: np.ndarray, percentiles: tuple[float, float] = (1, 99)) -> float:
    """Otsu's threshold, where the values fall into two groups that lie farthest apart.

    Of values clipped to their percentiles, or a few bright vessels would stretch the 256 bins; and of their logarithm,
    log(1 + 100 v) with v in [0, 1]: on the plain scale the two groups of a T1 image are fat and all else, and muscle
    and tumours fall to the air.
    """
    some = values.reshape(-1)[::values.size // 1_000_000 | 1].astype(np.float32)
    low, high = np.percentile(some, percentiles)
    if not high > low:
        return float(some.max())  # one grey value, some outliers aside: none of it stands out
    count, edges = np.histogram(np.log1p(100 * (some.clip(low, high) - low) / (high - low)), 256, (0, math.log(101)))
    return low + (high - low) * math.expm1(best_edge(count, edges)) / 100


def _patient(cells: np.ndarray, mm: np.ndarray, radius: float) -> np.ndarray:
    """Cells of tissue, edges in mm -> cells of the patient and their neighbours, the table gone."""
    from scipy import ndimage

    if not cells.any():
        return cells
    ball = _ball(radius, mm)
    core = ndimage.binary_erosion(cells, ball, border_value=1)  # beyond the scan the patient goes on
    core = core if core.any() else cells  # a scan of thin things only: nothing to open
    labels, n = ndimage.label(core, np.ones((3, 3, 3)))
    size = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    stay = np.concatenate([[False], size >= KEEP * size.max()])[labels]
    grown = ndimage.binary_dilation(stay, ball) if core is not cells else stay
    return ndimage.binary_dilation(grown, np.ones((3, 3, 3)))  # one cell more: skin that fills its cell by a part


def _ball(radius: float, mm: np.ndarray) -> np.ndarray:
    z, y, x = np.ogrid[tuple(slice(-n, n + 1) for n in np.floor(radius / mm).astype(int))]
    return (z * mm[0]) ** 2 + (y * mm[1]) ** 2 + (x * mm[2]) ** 2 <= radius**2 + 1e-6


def _outside(patient: np.ndarray) -> np.ndarray:
    """What is reached from the side walls of each axial slice. In 3D lungs would drain through the top of a scan."""
    from scipy import ndimage

    solid = np.stack([ndimage.binary_fill_holes(part) for part in patient])
    return ndimage.binary_dilation(~solid, np.ones((3, 3, 3)))  # cells that hold skin belong to the voxels' own mask


def _voxels(cells: np.ndarray, cell, shape) -> np.ndarray:
    """Cells [y,x] -> voxels [Y,X]."""
    return cells.repeat(cell[1], 0).repeat(cell[2], 1)[:shape[1], :shape[2]]
