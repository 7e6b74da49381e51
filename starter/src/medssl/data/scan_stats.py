"""Numbers of a scan that are computed once and kept: its grey values as int16, and robust statistics of the patient.

An int16 scan has 65,536 values at most, so one pass that counts them gives every percentile exactly, without sorting
and without a copy in float: 0.1 s instead of 4.6 s for 512×512×200 voxels. The patient ("foreground") is here what is
above one threshold, -500 HU in CT and Otsu's (see `above_air`) in MR; the table counts as patient, the lungs as air.
That is enough for percentiles, and it needs no mask, only the counts.
"""

from dataclasses import dataclass

import numpy as np
import torch

from medssl.data.intensity import SAMPLE, count_quantiles, histogram, otsu
from medssl.errors import MedsslError

PERCENTILES = (0.5, 1, 5, 25, 50, 75, 95, 99, 99.5)
CT_FOREGROUND = -500.0  # HU: half way from air to water
AIR = -1024.0  # HU: what scanners write where they saw nothing; lower values are padding
TISSUE = 0.25  # brightness, from dark to bright, from which a group of voxels is tissue, not noise or fold-over
FEWEST_VOXELS = 1000  # of foreground: 10×10×10, a few patches
FEWEST_VALUES = 16  # grey values: a mask has 2, a label map a few, a scan hundreds


@dataclass(frozen=True)
class ScanStats:
    """In the units of the scan: HU for CT."""

    percentiles: dict[str, float]  # of foreground voxels: {"0.5": …, "1": …, …}
    median: float  # of foreground voxels
    spread: float  # (75th - 25th percentile) / 1.349: the standard deviation, were they normally distributed
    background: float  # what to fill in outside the scan: air, or the darkest percent of an MR
    threshold: float  # foreground is above
    foreground: float  # share of voxels, 0 to 1
    minimum: float
    maximum: float
    n_values: int  # different grey values


def as_int16(array: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """(codes int16, scale, offset) with array = codes · scale + offset, to within `max_error(scale, offset)`.

    Whole numbers that fit stay as they are (scale 1, offset 0, no error). Others get the 65,536 steps between their
    lowest and highest value.
    """
    if array.dtype == torch.int16:
        return array, 1.0, 0.0
    low, high = float(array.min()), float(array.max())
    if low >= -32768 and high <= 32767 and all(bool((part == part.round()).all()) for part in array):
        return array.to(torch.int16), 1.0, 0.0
    scale = (high - low) / 65535 or 1.0
    offset = low + 32768 * scale
    codes = torch.empty(array.shape, dtype=torch.int16)
    for k, part in enumerate(array):  # float64 for one part at a time
        codes[k] = ((part.double() - offset) / scale).round().clamp(-32768, 32767).to(torch.int16)
    return codes, scale, offset


def max_error(scale: float, offset: float) -> float:
    """Of a value restored from its code: half a step, and what float32 rounds away."""
    largest = max(abs(offset - 32768 * scale), abs(offset + 32767 * scale))
    return 0.0 if (scale, offset) == (1, 0) else scale / 2 + largest * 2**-23


def above_air(codes: torch.Tensor) -> float:
    """The grey value that parts an MR's tissue from air: Otsu's threshold, taken twice.

    Where fat is bright, the first one parts fat from all else, and tumour and muscle are on the side of air. What is
    below is parted again; the second threshold counts if the group above it is a quarter as bright as the fat.
    """
    some = codes.flatten()[::codes.numel() // SAMPLE | 1].float()
    first = otsu(some)
    dark = some[some <= first]
    if len(dark) == 0:  # nearly every voxel has the same value
        return first
    second = otsu(dark)
    air, middle, bright = dark[dark <= second].mean(), dark[dark > second].mean(), some[some > first].mean()
    return second if middle - air >= TISSUE * (bright - air) else first  # one of them NaN, an empty group: first


def scan_stats(codes: torch.Tensor, modality: str, scale: float = 1.0, offset: float = 0.0) -> ScanStats:
    """The statistics of a scan stored as int16, or an error whose code says why it is no scan to learn from."""
    count = histogram(codes)
    values = np.flatnonzero(count) - 32768
    minimum, maximum = (float(end) * scale + offset for end in (values[0], values[-1]))
    if len(values) < FEWEST_VALUES:
        raise MedsslError(f"It has {len(values)} different grey values only: a mask, a label map or an empty scan.",
                          f"{FEWEST_VALUES} at least", code="few_values")
    if modality == "CT" and minimum >= 0:
        raise MedsslError(f"It is called CT, and its values go from {minimum:g} to {maximum:g}: not one below 0 HU, "
                          "where fat and air are.", "Hounsfield units", code="not_hounsfield")
    above = (CT_FOREGROUND - offset) / scale if modality == "CT" else above_air(codes)
    patient = count.copy()
    patient[:max(0, int(np.floor(above)) + 32769)] = 0
    if patient.sum() < FEWEST_VOXELS:
        raise MedsslError(f"{int(patient.sum())} of {codes.numel()} voxels belong to the patient: they are above "
                          f"{above * scale + offset:.4g}.", f"{FEWEST_VOXELS} at least", code="empty_foreground")
    found = [value * scale + offset for value in count_quantiles(patient, PERCENTILES)]
    percentiles = {f"{p:g}": value for p, value in zip(PERCENTILES, found, strict=True)}
    if percentiles["25"] == percentiles["75"]:
        raise MedsslError(f"Half of what should be the patient has the grey value {percentiles['50']:g}.",
                          "a spread of grey values", code="empty_foreground")
    darkest = count_quantiles(count, (1,))[0] * scale + offset
    return ScanStats(percentiles, percentiles["50"], (percentiles["75"] - percentiles["25"]) / 1.349,
                     max(minimum, AIR) if modality == "CT" else darkest, above * scale + offset,
                     float(patient.sum() / count.sum()), minimum, maximum, len(values))
