"""Crops of scans that show the patient: their share of foreground is met exactly or reported as missed."""

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from medssl.errors import MedsslError
from medssl.views.crop_settings import SOFT, TISSUE, check, unread
from medssl.views.cut3d import cut_box
from medssl.views.foreground import foreground_mask
from medssl.views.occupancy import Occupancy, cell_for

DRAWS = ("scale", "aspect_z", "aspect_y", "aspect_x", "foreground", "flip_z", "flip_y", "flip_x", "contrast",
         "brightness", "gamma", "noise", "blur")


class Crop(NamedTuple):
    """A box of a scan, in voxels: its low corner (it may lie outside the scan) and its size (z, y, x).

    ratio: foreground voxels / all voxels of the box, what lies beyond the scan being background. relaxed: a ratio was
    asked for that no box of this size has, so this is one of those with the most.
    """

    low: tuple[int, int, int]
    size: tuple[int, int, int]
    ratio: float
    relaxed: bool


def draw_crops(occupancy: Occupancy, size, min_ratio: float, n: int, generator: Generator,
               inside: Crop | None = None) -> list[Crop]:
    """n independent boxes of `size` voxels (whole cells; see Occupancy.whole), their corners uniform among all corners
    of the grid, inside the scan or inside the crop `inside`, at which the ratio is at least `min_ratio`.

    Nothing is tried and thrown away: the corners that qualify are known from the table. Where there is none, the boxes
    with the highest ratio take their place, uniformly, and say so. Along an axis that is shorter than the box there is
    one place: the scan in the middle.
    """
    size, cell, voxels = tuple(int(n) for n in size), occupancy.cell, math.prod(size)
    if any(s < 1 or s % k for s, k in zip(size, cell, strict=True)):
        raise MedsslError(f"A crop of {size} voxels.", f"multiples of the cells, {cell} voxels",
                          "Ask occupancy.whole(size) for the nearest: only there the ratio is exact.")
    low, high = (0, 0, 0), occupancy.grid
    if inside is not None:
        if any(s > i or a % k or i % k for s, i, a, k in zip(size, inside.size, inside.low, cell, strict=True)):
            raise MedsslError(f"A crop of {size} voxels inside one of {inside.size} from {inside.low} on.",
                              f"one that fits, in one on the grid of {cell} voxels", "Take one that draw_crops gave.")
        low = tuple(max(0, a // k) for a, k in zip(inside.low, cell, strict=True))
        high = tuple(min(n, (a + s) // k) for n, a, s, k in zip(high, inside.low, inside.size, cell, strict=True))
    cells = [s // k for s, k in zip(size, cell, strict=True)]
    fit = tuple(min(c, b - a) for c, a, b in zip(cells, low, high, strict=True))
    _, ny, nx = corners = [b - a - f + 1 for a, b, f in zip(low, high, fit, strict=True)]
    places, relaxed = None, False
    if min_ratio > 0:
        needed = math.floor(min_ratio * voxels)
        needed += needed / voxels < min_ratio  # the least whole number whose ratio is enough, rounding or not
        places, relaxed = occupancy.places(fit, needed, low, high)
    total = math.prod(corners) if places is None else len(places)
    crops = []
    for drawn in torch.randint(total, (n,), generator=generator, device=generator.device).tolist():
        rest, x = divmod(drawn if places is None else places.item(drawn), nx)
        z, y = divmod(rest, ny)
        corner = z + low[0], y + low[1], x + low[2]
        start = tuple((a - (c - f) // 2) * k for a, c, f, k in zip(corner, cells, fit, cell, strict=True))
        crops.append(Crop(start, size, occupancy.at(corner, fit) / voxels, relaxed))
    return crops


class MultiCrop3D:
    """A batch {"scan": int64 [B]} -> n_global large and n_local small crops of each scan, with their boxes and ratios.

    scans: `array` [1,Z,Y,X] in HU (CT) or signal (MR), `spacing` (z, y, x) in mm, `modality`, in RAS+ order, as
    medssl.data reads them. Only their occupancy tables are kept beside them.

    Geometry. A crop of `global_size`³ voxels shows a box of global_size × mm, with mm drawn from `global_mm` (evenly in
    its logarithm); each edge is stretched by a factor from 1/`aspect` to `aspect`, then all three brought back to the
    same volume; then the box is rounded to whole cells of the table, so the ratio is that of the very box that is
    shown. `localcrops_subset_of_globalcrops`: local crop k lies within global crop k mod n_global; scale, mirror and
    grey values are its own. `region_mm`: all crops of a scan in a batch lie within one cube of that edge, drawn first.
    They then share a place; without it two crops of a scan that do not happen to overlap have nothing in common but the
    patient. An edge longer than that of what it has to lie in is cut to it.

    Foreground (see foreground_mask). With probability `foreground_crop_prob` a crop has to hold min_foreground_ratio,
    or global_…/local_min_foreground_ratio where given; else its place is uniform. Its ratio is reported either way.

    Grey values. CT: `window` (centre, width) in HU becomes [0, 1]; MR: its 1st percentile and the 99th of its
    foreground. contrast, gamma: factors of at most 1 ± that; brightness: ± that; noise: standard deviation of at most
    that; blur: a Gaussian of at most so many voxels. Mirrors are probabilities by anatomical axis; a patient with the
    head at the feet is none, so head to foot is off.
    """

    def __init__(self, scans, *, n_global: int = 2, n_local: int = 4, global_size: int = 48, local_size: int = 24,
                 global_mm: tuple[float, float] = (3.0, 5.0), local_mm: tuple[float, float] = (2.0, 4.0),
                 aspect: float = 1.15, foreground_threshold: float = TISSUE, foreground_fill: bool = False,
                 foreground_crop_prob: float = 1.0, min_foreground_ratio: float | None = None,
                 global_min_foreground_ratio: float | None = None, local_min_foreground_ratio: float | None = None,
                 localcrops_subset_of_globalcrops: bool = False, region_mm: float | None = None,
                 window: tuple[float, float] = SOFT,
                 flip_left_right: float = 0.5, flip_front_back: float = 0.0, flip_head_foot: float = 0.0,
                 contrast: float = 0.2, brightness: float = 0.1, gamma: float = 0.2, noise: float = 0.05,
                 blur: float = 0.7):
        self.settings = s = {k: v for k, v in locals().items() if k not in ("self", "scans")}
        check(s, scans)
        ratio = 0.5 if min_foreground_ratio is None else min_foreground_ratio
        given = (global_min_foreground_ratio, local_min_foreground_ratio)
        self.ratios = [ratio if own is None else own for own in given]
        for told in unread(s, scans):
            warnings.warn(told, stacklevel=2)
        self.scans, self.occupancies, self.ranges = list(scans), [], []
        for scan in self.scans:
            array = scan.array[0]
            mask = foreground_mask(array, scan.modality, foreground_threshold, scan.spacing, foreground_fill)
            self.occupancies.append(Occupancy(mask, cell_for(array.shape, scan.spacing)))
            self.ranges.append(_grey_range(array, mask, scan.modality, window))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"MultiCrop3D({len(self.scans)} scans, {settings})"

    def __call__(self, batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        s, ids = self.settings, batch["scan"].tolist()
        views = s["n_global"] + s["n_local"]
        u = torch.rand(len(DRAWS), views, len(ids), generator=generator, device=generator.device).cpu()
        crops = [[] for _ in range(views)]
        for b, scan in enumerate(ids):
            region = self.region(scan, generator)
            for v in range(views):
                parent = crops[v % s["n_global"]][b] if self._in_global(v) else region
                crops[v].append(self.draw(scan, v >= s["n_global"], u[:, v, b].tolist(), generator, parent))
        seen = dict(batch)
        for name, first, last in (("global", 0, s["n_global"]), ("local", s["n_global"], views)):
            part, numbers, side = crops[first:last], u[:, first:last], s[f"{name}_size"]
            images = torch.empty(last - first, len(ids), 1, side, side, side)
            for v, row in enumerate(part):
                for b, crop in enumerate(row):
                    images[v, b, 0] = self.cut(ids[b], crop, side, dict(zip(DRAWS, numbers[:, v, b].tolist(),
                                                                            strict=True)))
            mm = torch.tensor([self.scans[i].spacing for i in ids], dtype=torch.float64)
            low, size = (torch.tensor([[getattr(c, field) for c in row] for row in part], dtype=torch.float64)
                         .reshape(last - first, len(ids), 3) for field in ("low", "size"))
            shape, device = (last - first, len(ids)), batch["scan"].device
            found = {"s": self.grey(images, numbers, generator), "_spacing": size * mm / side,
                     "_box": torch.stack([(low - 0.5) * mm, (low + size - 0.5) * mm], 2),
                     "_ratio": torch.tensor([[c.ratio for c in row] for row in part]).reshape(shape),
                     "_relaxed": torch.tensor([[c.relaxed for c in row] for row in part], dtype=bool).reshape(shape)}
            for key, value in found.items():
                seen[name + key] = (value.float() if value.is_floating_point() else value).to(device)
        return seen

    def _in_global(self, view: int) -> bool:
        return view >= self.settings["n_global"] and self.settings["localcrops_subset_of_globalcrops"]

    def region(self, scan: int, generator: Generator) -> Crop | None:
        """The box that is to hold all crops of a scan, no larger than the scan, or None: the whole scan."""
        s, occupancy = self.settings, self.occupancies[scan]
        if s["region_mm"] is None:
            return None
        size = occupancy.whole(np.minimum(s["region_mm"] / np.asarray(self.scans[scan].spacing), occupancy.shape))
        return draw_crops(occupancy, size, self.ratios[0] if s["foreground_crop_prob"] else 0.0, 1, generator)[0]

    def draw(self, scan: int, local: bool, numbers: list[float], generator: Generator, parent: Crop | None) -> Crop:
        """The box of one crop: its size from `numbers`, its place from the generator."""
        s, u, name = self.settings, dict(zip(DRAWS, numbers, strict=True)), "local" if local else "global"
        low, high = s[f"{name}_mm"]
        aspects = np.array([2 * u[f"aspect_{axis}"] - 1 for axis in "zyx"])
        mm = low * (high / low) ** u["scale"] * s["aspect"] ** (aspects - aspects.mean())  # the same volume
        occupancy = self.occupancies[scan]
        size = occupancy.whole(s[f"{name}_size"] * mm / np.asarray(self.scans[scan].spacing))
        if parent is not None:
            size = tuple(min(pair) for pair in zip(size, parent.size, strict=True))
        ratio = self.ratios[local] if u["foreground"] < s["foreground_crop_prob"] else 0.0
        return draw_crops(occupancy, size, ratio, 1, generator, parent)[0]

    def cut(self, scan: int, crop: Crop, side: int, u: dict[str, float]) -> Tensor:
        """[side,side,side] in [0, 1]: the box, mirrored, softened and windowed."""
        s, (low, high) = self.settings, self.ranges[scan]
        flips = [u[f"flip_{axis}"] < s[f"flip_{name}"]
                 for axis, name in zip("zyx", ("head_foot", "front_back", "left_right"), strict=True)]
        beyond = -1000.0 if self.scans[scan].modality == "CT" else low
        x = cut_box(self.scans[scan].array[0], crop.low, crop.size, side, beyond, flips, s["blur"] * u["blur"])
        return x.sub_(low).div_(high - low).clamp_(0, 1)

    def grey(self, images: Tensor, numbers: Tensor, generator: Generator) -> Tensor:
        """Contrast about the middle grey, brightness, gamma and noise, each crop with its own numbers, in [0, 1]."""
        s = self.settings
        u = {name: (2 * row - 1)[..., None, None, None, None] for name, row in zip(DRAWS, numbers, strict=True)}
        x = (images - 0.5) * (1 + s["contrast"] * u["contrast"]) + 0.5 + s["brightness"] * u["brightness"]
        x = x.clamp_(0, 1) ** torch.exp(math.log1p(s["gamma"]) * u["gamma"])
        if s["noise"]:
            field = torch.randn(x.shape, generator=generator, device=generator.device).cpu()
            x = x + s["noise"] * (u["noise"] + 1) / 2 * field
        return x.clamp_(0, 1)


def _grey_range(array: Tensor, mask: Tensor, modality: str, window) -> tuple[float, float]:
    """The values that become 0 and 1."""
    if modality == "CT":
        return window[0] - window[1] / 2, window[0] + window[1] / 2
    step = array.numel() // 1_000_000 | 1  # an odd step meets every column of an even row
    some, of_patient = array.flatten()[::step].float(), mask.flatten()[::step]
    low = float(np.percentile(some, 1))
    high = float(np.percentile(some[of_patient], 99)) if of_patient.any() else low
    return low, max(high, low + 1e-6)
