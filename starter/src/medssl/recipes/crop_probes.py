"""Does an encoder of crops know anatomy? Crops with a label and a place, cut from whole scans, and probes on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from medssl.data import Volume, window_ct
from medssl.data.phantom_volumes import ORGANS, PhantomScan
from medssl.errors import MedsslError
from medssl.evaluate.by_scan import class_probe, place_probe
from medssl.views import Crop, draw_crops
from medssl.views.cut3d import cut_box
from medssl.views.foreground import foreground_mask
from medssl.views.occupancy import Occupancy, cell_for

NAMED = tuple(k for k, name in enumerate(ORGANS) if name not in ("outside", "body", "lesion"))
MIDDLE = 0.25  # of each edge: the part of a crop in which organs are counted
THIRDS = ("lower third", "middle third", "upper third")


@dataclass
class LabelledCrops:
    """N crops of CT scans: x [N,1,S,S,S] in [0, 1], spacing [N,3], label [N], place [N,3] and scan [N]."""

    x: Tensor
    spacing: Tensor  # mm from voxel to voxel, (z, y, x)
    label: np.ndarray  # the organ (an index into ORGANS), or 0, 1, 2: the third of the scan from the feet up
    place: np.ndarray  # mm of the crop's centre from the middle of the patient's tissue, (z, y, x)
    scan: np.ndarray


def organ_crops(scans: Sequence[PhantomScan], n: int, side: int, mm: float, seed: int = 0) -> LabelledCrops:
    """n crops a scan, cubes of `side` voxels of `mm`, with a known organ in the middle: an organ is drawn, each alike,
    and a voxel of it becomes the centre. The label is the organ with the most voxels in the middle MIDDLE of the crop;
    tissue between organs, lesions and air do not count."""
    rng, parts = np.random.default_rng(seed), []
    for scan in scans:
        organs = scan.organs.array[0].numpy()
        at = {k: np.flatnonzero(organs == k) for k in NAMED}
        drawn = rng.choice([k for k, where in at.items() if len(where)], n)
        centres = np.stack(np.unravel_index([rng.choice(at[k]) for k in drawn], organs.shape), 1)
        labels = [_majority(organs, centre, scan.image.spacing, side * mm * MIDDLE) for centre in centres]
        parts.append((scan.image, centres, labels))
    return _cut(parts, side, mm)


def third_crops(volumes: Sequence[Volume], n: int, side: int, mm: float, seed: int = 0) -> LabelledCrops:
    """n crops a scan, uniform among those that are at least half patient; the label is the third of the scan, from the
    feet to the head, in which the centre lies: a place in the file, which is anatomy only as far as scans cover like
    parts."""
    generator, parts = Generator().manual_seed(seed), []
    for volume in volumes:
        mask = foreground_mask(volume.array[0], "CT", spacing=volume.spacing)
        occupancy = Occupancy(mask, cell_for(volume.shape, volume.spacing))
        size = occupancy.whole(side * mm / np.asarray(volume.spacing))
        crops: list[Crop] = draw_crops(occupancy, size, 0.5, n, generator)
        centres = np.array([crop.low for crop in crops]) + (np.array(size) - 1) / 2
        parts.append((volume, centres, np.clip(3 * centres[:, 0] // volume.shape[0], 0, 2).astype(int)))
    return _cut(parts, side, mm)


def encode_crops(encoder: nn.Module, crops: LabelledCrops) -> np.ndarray:
    """Features [N,dim], without gradients, 64 crops at a time."""
    encoder.eval()
    with torch.no_grad():
        pairs = zip(crops.x.split(64), crops.spacing.split(64), strict=True)
        return torch.cat([encoder(x, spacing=mm) for x, mm in pairs]).numpy()


def grey_statistics(crops: LabelledCrops) -> np.ndarray:
    """What needs no network [N,8]: mean, deviation, five percentiles of the grey values, and the share of air."""
    x = crops.x.flatten(1)
    levels = torch.quantile(x, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]), 1).T
    return torch.cat([x.mean(1, keepdim=True), x.std(1, keepdim=True), levels, (x == 0).float().mean(1, keepdim=True)],
                     1).numpy()


def thumbnail(crops: LabelledCrops) -> np.ndarray:
    """The crop itself, [N,64]: the means of 4×4×4 parts."""
    return torch.nn.functional.adaptive_avg_pool3d(crops.x, 4).flatten(1).numpy()


def ask(read: Mapping[str, Callable[[LabelledCrops], np.ndarray]], learn: LabelledCrops,
        test: LabelledCrops) -> dict[str, dict[str, np.ndarray]]:
    """{name: {"label" [M], "place" [M,3]}}: what linear probes on read[name](crops) say of the crops of `test`, learnt
    on those of `learn`, which are to be of other scans."""
    found = {}
    for name, features in read.items():
        x, x_test = features(learn), features(test)
        found[name] = {"label": class_probe(x, learn.label, learn.scan, x_test),
                       "place": place_probe(x, learn.place, learn.scan, x_test)}
    return found


def _majority(organs: np.ndarray, centre: np.ndarray, spacing, edge: float) -> int:
    """The named organ with the most voxels in a cube of `edge` mm about a voxel of one."""
    half = np.maximum(0, np.round(edge / 2 / np.asarray(spacing)).astype(int))
    part = organs[tuple(slice(max(0, c - h), c + h + 1) for c, h in zip(centre, half, strict=True))]
    count = np.bincount(part.ravel(), minlength=len(ORGANS))
    return max(NAMED, key=lambda k: count[k])


def _cut(parts: list[tuple[Volume, np.ndarray, Sequence[int]]], side: int, mm: float) -> LabelledCrops:
    """The crops about centres [n,3], in voxels, of CT volumes."""
    if any(volume.modality != "CT" for volume, _, _ in parts):
        raise MedsslError("Crops of MR scans.", "CT, whose grey values mean the same in every scan")
    x, spacings, places = [], [], []
    for volume, centres, _ in parts:
        spacing = np.asarray(volume.spacing)
        size = np.maximum(1, np.round(side * mm / spacing)).astype(int)
        mask = foreground_mask(volume.array[0], "CT", spacing=volume.spacing).numpy()
        middle = np.array([axis.mean() for axis in np.nonzero(mask)])
        lows = np.round(centres - (size - 1) / 2).astype(int)  # no voxel is the centre of an even number of them
        places.append((lows + (size - 1) / 2 - middle) * spacing)
        x += [cut_box(volume.array[0], low.tolist(), size.tolist(), side, -1000.0) for low in lows]
        spacings.append(np.tile(size * spacing / side, (len(centres), 1)))
    numbers = np.repeat(np.arange(len(parts)), [len(centres) for _, centres, _ in parts])
    return LabelledCrops(window_ct(torch.stack(x))[:, None], torch.tensor(np.concatenate(spacings)).float(),
                         np.concatenate([labels for _, _, labels in parts]), np.concatenate(places), numbers)
