"""From the numbers that a DICOM file stores to values: slope and intercept or a table, window or table, padding."""

import math
from pathlib import Path

import numpy as np
import torch

from medssl.data.intensity import window_ct
from medssl.errors import MedsslError

Window = str | tuple[float, float]


def functional_group(ds, k: int, name: str):
    """Where an enhanced multi-frame file keeps a frame's slope or window; else the file itself."""
    frames, shared = ds.get("PerFrameFunctionalGroupsSequence"), ds.get("SharedFunctionalGroupsSequence")
    for item in ([frames[k]] if frames and k < len(frames) else []) + list(shared or []):
        if item.get(name):
            return item[name].value[0]
    return ds


def modality_lut(path: Path, stored: np.ndarray, item, ds) -> np.ndarray:
    """Stored numbers -> the scanner's unit, float64 for one frame."""
    from pydicom.pixels import apply_modality_lut

    if item.get("ModalityLUTSequence"):
        item.setdefault("PixelRepresentation", ds.get("PixelRepresentation", 0))
        return apply_modality_lut(stored, item).astype(np.float64)
    slope, intercept = (default if item.get(name) in (None, "") else float(item.get(name))
                        for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)))
    if slope == 0 or not math.isfinite(slope + intercept):
        raise MedsslError(f"{path}: the rescale slope is {slope} and the intercept {intercept}.",
                          "a slope that is not zero", "Its unit is unknown: export it again.")
    values = slope * stored.astype(np.float64) + intercept
    if not np.isfinite(values).all():
        raise MedsslError(f"{path}: some pixels are no numbers (NaN) or infinite.", "a finite value everywhere",
                          "Decide what they mean and write the file anew.")
    return values


def voi_lut(path: Path, values: np.ndarray, window: Window, item, ds) -> np.ndarray:
    """0…1 through a window (PS3.3 C.11.2.1.2). LINEAR, the file's default, is off by half a step from LINEAR_EXACT."""
    if window != "file":
        pair = (window,) if isinstance(window, str) else window
        return window_ct(torch.from_numpy(values), *pair).numpy().astype(np.float64)
    if item.get("VOILUTSequence"):
        from pydicom.pixels import apply_voi

        return apply_voi(values.astype(np.int64), item) / (2.0 ** item.VOILUTSequence[0].LUTDescriptor[2] - 1)
    pairs = [np.atleast_1d(np.asarray(item.get(name) or [], float)) for name in ("WindowCenter", "WindowWidth")]
    if not all(map(len, pairs)):
        raise MedsslError(f"{path} has no window of its own.", 'a name such as "soft", or (centre, width)',
                          "Leave window out and scale by percentiles, or name one.")
    (centre, *_), (width, *_), how = *pairs, item.get("VOILUTFunction") or "LINEAR"
    if how == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if how == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1e-9)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def colour_values(path: Path, stored: np.ndarray, ds, window: Window | None) -> np.ndarray:
    """[H,W,3] -> [3,H,W] in 0…255, in 0…1 for the file's own window (a colour image is shown as it is)."""
    if window not in (None, "file"):
        raise MedsslError(f"{path} is in colour, and window={window!r} is for grey values.", 'window=None or "file"')
    most = 2.0 ** (8 * stored.dtype.itemsize if "PALETTE" in ds.PhotometricInterpretation else int(ds.BitsStored)) - 1
    if stored.max() <= 255:  # also a 16-bit palette that was filled with 8-bit numbers
        most = 255.0
    return np.moveaxis(stored, -1, 0) * ((1.0 if window else 255.0) / most)


def padding_mask(stored: np.ndarray, ds) -> np.ndarray | None:
    """Where the pixels hold the padding value, or lie between it and the padding limit (both stored numbers)."""
    if ds.get("PixelPaddingValue") is None:
        return None
    ends = [ds.PixelPaddingValue, ds.get("PixelPaddingRangeLimit")]
    first, last = sorted(int(np.array(end if end is not None else ends[0]).astype(stored.dtype)) for end in ends)
    return (stored >= first) & (stored <= last)


def ends(path: Path, ds, k: int) -> tuple[float, float]:
    """The lowest and the highest value that the file's bits could hold, after the modality LUT."""
    item, bits = functional_group(ds, k, "PixelValueTransformationSequence"), int(ds.BitsStored)
    if item.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** item.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    low = -(2 ** (bits - 1)) if ds.PixelRepresentation else 0
    return tuple(modality_lut(path, np.array([low, low + 2**bits - 1]), item, ds))
