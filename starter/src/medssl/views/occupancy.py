"""How much of any box of a scan is foreground: a summed-area table of counts on a coarse grid, built once a scan."""

import math
from collections import OrderedDict

import numpy as np
from torch import Tensor

from medssl.errors import MedsslError

SHARE = 0.05  # of the bytes of the scan as int16: the table and the lists of corners stay below it


class Occupancy:
    """Foreground counts of a mask bool [Z,Y,X] in every box whose faces lie between cells of `cell` voxels.

    table[z, y, x] counts the foreground in the first z × y × x cells, so a box needs eight numbers of it:
    count = Σ ± table[corner], plus where an even number of its coordinates are low ones. On this grid the counts are
    exact, whole numbers of int32 (int64 above 2³¹ voxels). Cells at the far edge may reach beyond the scan; what is
    beyond is background.
    """

    def __init__(self, mask, cell: int | tuple[int, int, int] = 4):
        mask = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
        cell = (cell,) * 3 if isinstance(cell, int) else tuple(int(k) for k in cell)
        if mask.ndim != 3 or mask.dtype != bool or 0 in mask.shape or len(cell) != 3 or min(cell) < 1:
            raise MedsslError(f"A mask of shape {list(mask.shape)}, {mask.dtype}, cells of {cell} voxels.",
                              "bool [Z,Y,X], one voxel at least, cells of one voxel at least")
        counts = cell_counts(mask, cell)
        self.shape, self.cell, self.grid = mask.shape, cell, counts.shape
        self.table = np.zeros([n + 1 for n in self.grid], np.int32 if mask.size < 2**31 else np.int64)
        inner = self.table[1:, 1:, 1:]
        np.cumsum(counts, 2, self.table.dtype, out=inner)
        for layers in (inner.swapaxes(0, 1), inner):  # a layer at a time: np.cumsum takes three times as long here
            for k in range(1, len(layers)):
                layers[k] += layers[k - 1]
        self.lists, self.room = OrderedDict(), SHARE * 2 * mask.size - self.table.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the table and of the lists of corners that are kept."""
        return self.table.nbytes + sum(places.nbytes for places, _ in self.lists.values())

    def whole(self, size) -> tuple[int, int, int]:
        """The nearest size in voxels that is a whole number of cells, one at least."""
        return tuple(max(1, round(n / k)) * k for n, k in zip(size, self.cell, strict=True))

    def counts(self, cells, low=(0, 0, 0), high=None) -> np.ndarray:
        """Foreground voxels of each box of so many cells with its corner, and all of it, in the cells [low, high)."""
        part = self.table[tuple(slice(a, b + 1) for a, b in zip(low, high or self.grid, strict=True))]
        for axis, n in enumerate(cells):
            part = np.moveaxis(part, axis, 0)
            part = np.moveaxis(part[n:] - part[:len(part) - n], 0, axis)
        return part

    def at(self, corner, cells) -> int:
        """Foreground voxels of the box of so many cells at this corner, in cells: plus where an even number of the
        coordinates are low ones. Plain numbers: for one box, numpy's arrays would take ten times as long."""
        (z, y, x), (c, b, a), t = corner, [i + n for i, n in zip(corner, cells, strict=True)], self.table.item
        return (t(c, b, a) - t(z, b, a) - t(c, y, a) - t(c, b, x) + t(z, y, a) + t(z, b, x) + t(c, y, x) - t(z, y, x))

    def places(self, cells, needed: int, low=(0, 0, 0), high=None) -> tuple[np.ndarray, bool]:
        """(flat indices of the corners whose box holds `needed` foreground voxels, False), or, where there is none,
        (those with the most, True). Lists for the whole scan are kept while they are small enough."""
        high = high or self.grid
        key = (*cells, needed) if (tuple(low), tuple(high)) == ((0, 0, 0), self.grid) else None
        if key in self.lists:
            self.lists.move_to_end(key)
            return self.lists[key]
        counts = self.counts(cells, low, high).ravel()
        most = int(counts.max())
        places = np.flatnonzero(counts >= min(needed, most)).astype(np.int32 if counts.size < 2**31 else np.int64)
        if key and places.nbytes <= self.room:
            self.lists[key] = places, most < needed
            while self.nbytes - self.table.nbytes > self.room:
                self.lists.popitem(last=False)
        return places, most < needed


def cell_for(shape, spacing=(1.0, 1.0, 1.0)) -> tuple[int, int, int]:
    """The finest cell whose table takes at most SHARE of the scan's int16 bytes: its shortest edge in mm grows first,
    so that cells are about as high as they are wide, whatever the spacing."""
    cell, mm = np.ones(3, int), np.asarray(spacing, float)
    while (grown := cell < shape).any() and 4 * math.prod(-(-n // k) + 1 for n, k in zip(shape, cell, strict=True)) > (
            SHARE * 2 * math.prod(shape)):
        cell[np.where(grown, cell * mm, np.inf).argmin()] += 1
    return tuple(int(k) for k in cell)


def cell_counts(mask: np.ndarray, cell: tuple[int, int, int]) -> np.ndarray:
    """Foreground voxels [⌈Z/cz⌉,⌈Y/cy⌉,⌈X/cx⌉] in each cell; beyond the far edge there are none."""
    kind = np.uint8 if math.prod(cell) < 256 else np.int32  # bytes are added sixteen at a time
    counts = np.empty([-(-n // k) for n, k in zip(mask.shape, cell, strict=True)], kind)
    for k in range(len(counts)):
        plane = np.add.reduce(mask[k * cell[0]:(k + 1) * cell[0]].view(np.uint8), 0, kind)
        counts[k] = _together(_together(plane, cell[1]).T, cell[2]).T
    return counts


def _together(rows: np.ndarray, k: int) -> np.ndarray:
    """Rows 0 to k-1 added, rows k to 2k-1, …: whole arrays at a time, 8 times as fast as numpy's reduceat."""
    out = rows[::k].copy(order="K")
    for j in range(1, k):
        more = rows[j::k]
        out[:len(more)] += more
    return out
