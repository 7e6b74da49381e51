"""One DICOM file becomes an image: values in the scanner's own unit (CT: Hounsfield), or windowed for the eye.

The standard's chain (PS3.3 C.11): stored number -> modality LUT (slope · stored + intercept, or a table) -> VOI LUT
(window, or a table) -> inverted where the file says MONOCHROME1 (its lowest value is white).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medssl.data.dicom_header import OVERLAYS, library, open_dicom
from medssl.data.intensity import window_ct
from medssl.errors import MedsslError

Window = str | tuple[float, float]


@dataclass(frozen=True, eq=False, repr=False)
class DicomImage:
    """Pixels [C,H,W] (several frames: [T,C,H,W]), int16 or float32; colour is RGB in 0…255."""

    array: torch.Tensor
    modality: str = ""  # as in the file: "CT", "MR", "DX", "US", …
    spacing: tuple[float, float] | None = None  # mm from row to row, from column to column; None where nobody said
    padding: torch.Tensor | None = None  # bool [H,W] or [T,H,W]: pixels outside the field of view, where declared
    notes: tuple[str, ...] = ()  # what was left out, turned or marked
    source: str = ""

    def __repr__(self) -> str:
        size, kind = "×".join(map(str, self.array.shape)), str(self.array.dtype).removeprefix("torch.")
        return "\n".join([f"DicomImage({size} {kind}, {self.modality or 'modality unknown'}, {self.source})",
                          *(f"  note: {note}" for note in self.notes)])


def read_dicom(path: str | Path, window: Window | None = None, fill: float | str | None = None,
               frame: int | None = None, invert: bool = True) -> DicomImage:
    """One file. Without a window: values after the modality LUT, int16 where they are whole and fit, else float32.

    window: "file" (the file's own, its table or its first centre and width), a name such as "lung", or (centre,
    width): float32 in 0…1 as on a monitor. fill: the value of pixels that the file declares as padding (outside the
    field of view), "lowest" for the lowest real value; None leaves what is there. frame: one of several, from 0.
    invert: bright is high, also in a MONOCHROME1 file (values are mirrored in the range of its bits).
    Overlays (drawings, text beside the pixels) are left out, and a note says so.
    """
    path, ds = Path(path), open_dicom(path)
    flip = invert and ds.PhotometricInterpretation == "MONOCHROME1"
    frames, masks = [], []
    for k, stored, colour in _stored(path, ds, frame):
        if colour:
            frames.append(_small(_colour(path, stored, ds, window)))
            continue
        mask = _padding(stored, ds)
        values = _modality(path, stored, _group(ds, k, "PixelValueTransformationSequence"), ds)
        if fill is not None and mask is not None:
            values[mask] = values[~mask].min(initial=values.max()) if fill == "lowest" else fill
        if window is not None:
            values = _windowed(path, values, window, _group(ds, k, "FrameVOILUTSequence"), ds)
        if flip:
            values = 1 - values if window is not None else sum(_ends(path, ds, k)) - values
        if window is not None and mask is not None:
            values[mask] = 0  # black, whichever way round
        frames.append(_small(values[None]))
        masks.append(mask)
    padded = masks and masks[0] is not None and any(mask.any() for mask in masks)
    several = len(frames) > 1
    array = np.stack(frames) if several else frames[0]  # float32 if one frame needs it
    mask = (np.stack(masks) if several else masks[0]) if padded else None
    return DicomImage(torch.from_numpy(array), str(ds.get("Modality") or ""), _spacing(ds),
                      None if mask is None else torch.from_numpy(mask), _notes(ds, mask, fill, flip), str(path))


def _stored(path: Path, ds, frame: int | None) -> Iterator[tuple[int, np.ndarray, bool]]:
    """(number of the frame, its stored values [H,W] or [H,W,3], is it in colour), a frame at a time."""
    from pydicom.pixels import apply_color_lut, get_decoder

    n, syntax = int(ds.get("NumberOfFrames") or 1), ds.file_meta.TransferSyntaxUID
    if frame is not None and not (isinstance(frame, int) and 0 <= frame < n):
        raise MedsslError(f"{path} has {n} frames, and frame={frame!r} was asked for.", f"0 … {n - 1}")
    bits, high = int(ds.get("BitsStored") or ds.BitsAllocated), ds.get("HighBit")
    low_bit = 0 if high is None else int(high) + 1 - bits  # above 0 only in files older than DICOM 3
    for k in range(n) if frame is None else [frame]:
        try:
            options = {"correct_unused_bits": False} if low_bit > 0 else {}
            stored, about = get_decoder(syntax).as_array(ds, index=k, **options)
            if "PALETTE" in about["photometric_interpretation"]:
                stored = apply_color_lut(stored, ds)
        except Exception as error:  # every decoder has its own kinds; `ds` holds nothing that names a patient
            said = " ".join(str(error).split())[:200]
            more = f"; if it is not, install {library(syntax)}" if syntax.is_encapsulated else ""
            raise MedsslError(f"{path}: its pixels ({syntax.name}) cannot be decoded: {said}", "a whole DICOM image",
                              f"It may be damaged: export or fetch it again{more}.") from error
        yield k, stored >> low_bit if low_bit > 0 else stored, stored.ndim == 3


def _group(ds, k: int, name: str):
    """Where an enhanced multi-frame file keeps a frame's slope or window; else the file itself."""
    frames, shared = ds.get("PerFrameFunctionalGroupsSequence"), ds.get("SharedFunctionalGroupsSequence")
    for item in ([frames[k]] if frames and k < len(frames) else []) + list(shared or []):
        if item.get(name):
            return item[name].value[0]
    return ds


def _modality(path: Path, stored: np.ndarray, item, ds) -> np.ndarray:
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


def _windowed(path: Path, values: np.ndarray, window: Window, item, ds) -> np.ndarray:
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


def _colour(path: Path, stored: np.ndarray, ds, window: Window | None) -> np.ndarray:
    """[H,W,3] -> [3,H,W] in 0…255, in 0…1 for the file's own window (a colour image is shown as it is)."""
    if window not in (None, "file"):
        raise MedsslError(f"{path} is in colour, and window={window!r} is for grey values.", 'window=None or "file"')
    most = 2.0 ** (8 * stored.dtype.itemsize if "PALETTE" in ds.PhotometricInterpretation else int(ds.BitsStored)) - 1
    if stored.max() <= 255:  # also a 16-bit palette that was filled with 8-bit numbers
        most = 255.0
    return np.moveaxis(stored, -1, 0) * ((1.0 if window else 255.0) / most)


def _padding(stored: np.ndarray, ds) -> np.ndarray | None:
    """Where the pixels hold the padding value, or lie between it and the padding limit (both stored numbers)."""
    if ds.get("PixelPaddingValue") is None:
        return None
    ends = [ds.PixelPaddingValue, ds.get("PixelPaddingRangeLimit")]
    first, last = sorted(int(np.array(end if end is not None else ends[0]).astype(stored.dtype)) for end in ends)
    return (stored >= first) & (stored <= last)


def _ends(path: Path, ds, k: int) -> tuple[float, float]:
    """The lowest and the highest value that the file's bits could hold, after the modality LUT."""
    item, bits, signed = _group(ds, k, "PixelValueTransformationSequence"), int(ds.BitsStored), ds.PixelRepresentation
    if item.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** item.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    low = -(2 ** (bits - 1)) if signed else 0
    return tuple(_modality(path, np.array([low, low + 2**bits - 1]), item, ds))


def _small(values: np.ndarray) -> np.ndarray:
    """int16 where every value is whole and fits, else float32."""
    whole = values.min() >= -32768 and values.max() <= 32767 and (values == np.rint(values)).all()
    return np.ascontiguousarray(values, np.int16 if whole else np.float32)


def _spacing(ds) -> tuple[float, float] | None:
    pair = _group(ds, 0, "PixelMeasuresSequence").get("PixelSpacing") or ds.get("ImagerPixelSpacing")
    return (float(pair[0]), float(pair[1])) if pair else None


def _notes(ds, mask: np.ndarray | None, fill, flip: bool) -> tuple[str, ...]:
    overlays, notes = sum(tag in ds for tag in OVERLAYS), []
    if overlays:
        notes.append(f"{overlays} overlay{'s' * (overlays > 1)} (drawings or text beside the pixels) left out")
    if flip:
        notes.append("MONOCHROME1 (low is white): inverted, so that high is bright")
    if mask is not None:
        done = "left as they are" if fill is None else f"set to {fill}"
        notes.append(f"{mask.mean():.1%} of the pixels are padding outside the field of view; they were {done}")
    if ds.get("ImagerPixelSpacing") and not ds.get("PixelSpacing"):
        notes.append("the spacing is that on the detector; in the patient it is smaller")
    if ds.get("BurnedInAnnotation") == "YES":
        notes.append("the file says that text is burned into the pixels: it may name the patient")
    return tuple(notes)
