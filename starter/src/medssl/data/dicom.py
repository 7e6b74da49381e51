"""One DICOM file becomes an image: values in the scanner's own unit (CT: Hounsfield), or windowed for the eye.

The standard's chain (PS3.3 C.11): stored number -> modality LUT (slope · stored + intercept, or a table) -> VOI LUT
(window, or a table) -> inverted where the file says MONOCHROME1 (its lowest value is white).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medssl.data.dicom_frames import check_frame, decoder_for
from medssl.data.dicom_header import OVERLAYS, open_dicom
from medssl.data.dicom_values import Window, colour_values, ends, functional_group, modality_lut, padding_mask, voi_lut
from medssl.errors import MedsslError


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
    try:
        return _read(path, ds, window, fill, frame, invert)
    except MedsslError:
        raise
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, NotImplementedError,
            struct.error) as error:
        raise MedsslError(f"{path}: a table, window or size in its header is damaged ({error}).",
                          "a DICOM image after the standard", "Export or fetch it again.") from error


def _read(path: Path, ds, window: Window | None, fill, frame: int | None, invert: bool) -> DicomImage:
    flip = invert and ds.PhotometricInterpretation == "MONOCHROME1"
    frames, masks = [], []
    for k, stored, colour in _stored(path, ds, frame):
        if colour:
            frames.append(_small(colour_values(path, stored, ds, window)))
            continue
        mask = padding_mask(stored, ds)
        values = modality_lut(path, stored, functional_group(ds, k, "PixelValueTransformationSequence"), ds)
        if fill is not None and mask is not None:
            values[mask] = values[~mask].min(initial=values.max()) if fill == "lowest" else fill
        if window is not None:
            values = voi_lut(path, values, window, functional_group(ds, k, "FrameVOILUTSequence"), ds)
        if flip:
            values = 1 - values if window is not None else sum(ends(path, ds, k)) - values
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
    from pydicom.encaps import get_frame
    from pydicom.pixels import apply_color_lut, get_decoder

    n, syntax = int(ds.get("NumberOfFrames") or 1), ds.file_meta.TransferSyntaxUID
    if frame is not None and not (isinstance(frame, int) and 0 <= frame < n):
        raise MedsslError(f"{path} has {n} frames, and frame={frame!r} was asked for.", f"0 … {n - 1}")
    bits, high = int(ds.get("BitsStored") or ds.BitsAllocated), ds.get("HighBit")
    low_bit = 0 if high is None else int(high) + 1 - bits  # above 0 only in files older than DICOM 3
    for k in range(n) if frame is None else [frame]:
        try:
            options = {"correct_unused_bits": False} if low_bit > 0 else {}
            if syntax.is_encapsulated:
                check_frame(path, get_frame(ds.PixelData, k, number_of_frames=n), int(ds.Rows), int(ds.Columns))
                decoder, plugin, _ = decoder_for(syntax)
                options["decoding_plugin"] = plugin
            else:
                decoder = get_decoder(syntax)
            stored, about = decoder.as_array(ds, index=k, **options)
            if "PALETTE" in about["photometric_interpretation"]:
                stored = apply_color_lut(stored, ds)
        except MedsslError:
            raise
        except Exception as error:  # every decoder has its own kinds; `ds` holds nothing that names a patient
            said = " ".join(str(error).split())[:200]
            raise MedsslError(f"{path}: its pixels ({syntax.name}) cannot be decoded: {said}", "a whole DICOM image",
                              "It is damaged: export or fetch it again.") from error
        yield k, stored >> low_bit if low_bit > 0 else stored, stored.ndim == 3


def _small(values: np.ndarray) -> np.ndarray:
    """int16 where every value is whole and fits, else float32."""
    whole = values.min() >= -32768 and values.max() <= 32767 and (values == np.rint(values)).all()
    return np.ascontiguousarray(values, np.int16 if whole else np.float32)


def _spacing(ds) -> tuple[float, float] | None:
    pair = functional_group(ds, 0, "PixelMeasuresSequence").get("PixelSpacing") or ds.get("ImagerPixelSpacing")
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
