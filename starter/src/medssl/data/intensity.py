"""Grey values: windows for CT, whose numbers mean something, and robust scaling for MR, whose numbers do not."""

import numpy as np
import torch

from medssl.errors import MedsslError
from medssl.otsu import best_edge

# Centre and width in Hounsfield units, as radiologists set them: water is 0, air -1000, fat about -100.
WINDOWS = {"lung": (-600, 1500), "soft": (40, 400), "bone": (400, 1800), "brain": (40, 80)}
CHUNK = 1 << 17  # voxels counted at a time: numpy counts through a copy of 8 bytes a voxel, which fits into the cache
SAMPLE = 1 << 20  # voxels, about, that are enough to find the rough threshold of a foreground


def window_ct(array: torch.Tensor, centre: float | str = "soft", width: float | None = None) -> torch.Tensor:
    """Hounsfield units -> float32 in [0, 1]: (HU - (centre - width/2)) / width, clipped (DICOM's LINEAR_EXACT).

    window_ct(array, "lung") or window_ct(array, -600, 1500).
    """
    if isinstance(centre, str):
        if centre not in WINDOWS or width is not None:
            raise MedsslError(f"There is no window {centre!r}" + (f" with a width of {width}." if width else "."),
                              f"one of {', '.join(WINDOWS)}, or two numbers", "Soft tissue: window_ct(array, 40, 400).")
        centre, width = WINDOWS[centre]
    if width is None or not width > 0:
        raise MedsslError(f"The window has the width {width}.", "a width above zero, in HU", "Name one: 400.")
    return array.to(torch.float32, copy=True).sub_(centre - width / 2).div_(width).clamp_(0, 1)


def quantiles(array: torch.Tensor, percentiles, above: float | None = None) -> list[float]:
    """The percentiles of all voxels, or of those `above` a value; between ranks a straight line, as in np.percentile.

    int16 has only 65,536 values: counting how often each occurs gives the same answer without sorting anything.
    """
    if array.dtype == torch.int16:
        count = histogram(array)
        if above is not None:
            count[:max(0, int(np.floor(above)) + 32769)] = 0
        return count_quantiles(count, percentiles)
    values = array.detach().cpu().numpy().reshape(-1)
    values = values if above is None else values[values > above]
    _refuse_none(len(values))
    return np.percentile(values, np.asarray(percentiles, float)).tolist()


def histogram(array: torch.Tensor) -> np.ndarray:
    """How often each value of an int16 array occurs: int64 [65536], from -32768 on."""
    values, count = array.detach().cpu().numpy().reshape(-1), np.zeros(65536, np.int64)
    for start in range(0, len(values), CHUNK):
        count += np.bincount(values[start:start + CHUNK].view(np.uint16), minlength=65536)
    return np.roll(count, 32768)


def count_quantiles(count: np.ndarray, percentiles) -> list[float]:
    """The percentiles of the values that `histogram` counted, exactly those of np.percentile on them."""
    percentiles = np.asarray(percentiles, float)
    ranks = np.cumsum(count)  # how many voxels are at most this value
    _refuse_none(ranks[-1])
    place = percentiles / 100 * (ranks[-1] - 1)
    low, high = (np.searchsorted(ranks, side(place), side="right") - 32768 for side in (np.floor, np.ceil))
    return (low + (high - low) * (place % 1)).tolist()


def _refuse_none(n: int) -> None:
    if n == 0:
        raise MedsslError("There is no voxel to take percentiles of.", "one voxel at least", "Is the mask empty?")


def otsu(array: torch.Tensor) -> float:
    """Otsu's threshold: it parts the grey values into two groups with the largest distance of their means, so that it
    moves little with the share of air around the patient. Voxels above it are a rough mask of the patient."""
    some = array.flatten()[::array.numel() // SAMPLE | 1]  # an odd step meets every column of an even row
    low, high = quantiles(some, (0, 99.5))  # the brightest voxels, vessels and metal, do not set the scale
    if high <= low:
        return low - 1  # one grey value: all of it
    return best_edge(torch.histc(some.to(torch.float32), 256, low, high).numpy(), np.linspace(low, high, 257))


def scale_mr(array: torch.Tensor, percentiles: tuple[float, float] = (1, 99),
             mask: torch.Tensor | None = None) -> torch.Tensor:
    """MR -> float32 in [0, 1]. 0 is the lower percentile of all voxels, 1 the upper percentile of the patient.

    Percentiles, because one bright vessel would squeeze everything else under min-max. The upper one is of the
    foreground only (`mask` bool, else what is above `otsu(array)`): else the same head in a wider field of view, with
    more air, would come out brighter.
    """
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise MedsslError(f"percentiles={percentiles}.", "a lower and an upper one from 0 to 100", "Use (1, 99).")
    (low,) = quantiles(array, percentiles[:1])
    patient, above = (array, otsu(array)) if mask is None else (array[mask], None)
    (high,) = quantiles(patient, percentiles[1:], above)
    if not high > low:  # one grey value everywhere
        return torch.zeros_like(array, dtype=torch.float32)
    return array.to(torch.float32, copy=True).sub_(low).div_(high - low).clamp_(0, 1)
