"""The pixels of a DICOM file without what is stored with them and is none of them.

Bytes after the last pixel, bits that the image leaves free (old overlays lie there, or anything else), notes in
compressed frames. The pixels keep their values; what they show is not looked at.
"""

from collections import Counter

import numpy as np

from medssl.data.deidentify_codestreams import bare_frame
from medssl.data.dicom_frames import decoder_for
from medssl.errors import MedsslError


def pixels_only(ds, done: Counter) -> None:
    """Change `ds` in place and count what was cut off. RLE is unpacked: anything can stand behind its segments."""
    from pydicom.encaps import encapsulate, generate_frames
    from pydicom.pixels.utils import get_expected_length
    from pydicom.uid import RLELossless

    if ds.file_meta.TransferSyntaxUID == RLELossless:
        ds.decompress(as_rgb=False, generate_instance_uid=False, decoding_plugin="pydicom")
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        frames = list(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1)))
        bare = [bare_frame(frame) for frame in frames]
        _check_bits(ds, len(frames))
        done["X", "notes in compressed pixels"] += bare != [frame.rstrip(b"\0") for frame in frames]
        ds.PixelData = encapsulate(bare)  # anew, also where no frame has changed: tables of offsets are bytes, too
        for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            ds.pop(name, None)
        return
    size = get_expected_length(ds)
    data = ds.PixelData[:size]
    if ds.BitsAllocated in (8, 16, 32):
        order = "<" if ds.file_meta.TransferSyntaxUID.is_little_endian else ">"
        stored = np.frombuffer(data, f"{order}u{ds.BitsAllocated // 8}")
        data = _used_bits(stored, ds, bool(ds.PixelRepresentation)).tobytes()
    size += size % 2
    if data != ds.PixelData[:len(data)] or len(ds.PixelData) > size:
        done["X", "bits and bytes beside the pixels"] += 1
    ds.PixelData = data.ljust(size, b"\0")


def _used_bits(stored: np.ndarray, ds, signed: bool) -> np.ndarray:
    """The bits beside the image become 0; above a negative number 1, as for any signed number."""
    above = ds.BitsAllocated - 1 - int(ds.BitsStored - 1 if ds.get("HighBit") is None else ds.HighBit)
    below = ds.BitsAllocated - ds.BitsStored - above
    if ds.BitsStored < 1 or above < 0 or below < 0:
        raise MedsslError(f"{ds.BitsStored} bits of {ds.BitsAllocated} up to bit {ds.HighBit}: that is impossible")
    numbers = stored.view(stored.dtype.str.replace("u", "i")) if signed else stored
    return ((numbers << above >> (above + below)) << below).astype(numbers.dtype).view(stored.dtype)


def _check_bits(ds, frames: int) -> None:
    """Compressed frames with something in the free bits could only be cleaned by compressing them anew."""
    if not 0 < ds.BitsStored < ds.BitsAllocated:
        return
    decoder, plugin, _ = decoder_for(ds.file_meta.TransferSyntaxUID)
    for k in range(frames):
        pixels, _ = decoder.as_array(ds, index=k, raw=True, correct_unused_bits=False, decoding_plugin=plugin)
        stored = pixels.astype(f"<i{ds.BitsAllocated // 8}").view(f"<u{ds.BitsAllocated // 8}")
        if not ((stored == _used_bits(stored, ds, False)) | (stored == _used_bits(stored, ds, True))).all():
            raise MedsslError("its compressed pixels have something in the bits beside the image; unpack it first")
