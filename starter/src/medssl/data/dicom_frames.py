"""Compressed frames in a DICOM file: which library decodes which, and a look at a frame's own header before it does.

A decoder believes the header inside the compressed frame. One that claims 60,000 × 60,000 pixels takes all memory, so
it must agree with the DICOM header first. GDCM is not used: a damaged frame makes it end the whole process.
"""

import contextlib
import struct

from medssl.errors import MedsslError

# By a word in the name of the transfer syntax: (pydicom's plugin, what pip installs).
DECODERS = {"JPEG 2000": ("pylibjpeg", "pylibjpeg pylibjpeg-openjpeg"), "JPEG-LS": ("pyjpegls", "pyjpegls"),
            "JPEG Baseline": ("pillow", "pillow"), "JPEG": ("imagecodecs", "imagecodecs"),
            "RLE": ("pydicom", "pydicom")}
DECODER_DEPENDENCIES = {f"1.2.840.10008.1.2.4.{end}": ("numpy", "imagecodecs") for end in (51, 57, 70)}  # pydicom asks


def decoder_for(syntax) -> tuple[object, str, str]:
    """(pydicom's decoder, the name of the plugin to use, what pip installs for it); KeyError for a video."""
    from pydicom.pixels import get_decoder

    plugin, package = next((DECODERS[word] for word in DECODERS if word in syntax.name), ("", ""))
    if not plugin:
        raise KeyError(syntax.name)
    decoder = get_decoder(syntax)
    if plugin == "imagecodecs" and plugin not in decoder.available_plugins:
        with contextlib.suppress(ValueError):  # it was added before, without the library
            decoder.add_plugin(plugin, (__name__, "decode_frame"))
    return decoder, plugin, package


def is_available(uid: str) -> bool:
    """Asked by pydicom."""
    try:
        import imagecodecs  # noqa: F401  # 45 MB: only where JPEG lossless or 12-bit JPEG is met
    except ImportError:
        return False
    return True


def decode_frame(src: bytes, runner) -> bytes:
    """JPEG lossless and 12-bit JPEG through libjpeg-turbo; colours as they are stored (pydicom turns YBR to RGB)."""
    import imagecodecs

    stay = {"colorspace": "RGB", "outcolorspace": "RGB"} if runner.samples_per_pixel == 3 else {}
    pixels = imagecodecs.jpeg8_decode(src, **stay)
    runner.set_option("bits_allocated", 8 * pixels.itemsize)
    runner.set_option("planar_configuration", 0)
    return pixels.tobytes()


def check_frame(path, frame: bytes, rows: int, columns: int) -> None:
    """Does the compressed frame hold as many pixels as the DICOM header says?"""
    size = _size(frame)
    if size and size != (rows, columns):
        raise MedsslError(f"{path}: its header says {rows}×{columns} pixels, its compressed image {size[0]}×{size[1]}.",
                          "the same size in both", "It is damaged or made to do harm: fetch it again.")


def _size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) in the header of a JPEG, JPEG-LS or JPEG 2000 frame; None where there is none to be found."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 200)  # JPEG 2000: start of codestream, SIZ; a few files put it in a box
    if start >= 0 and len(frame) >= start + 24:
        x, y, x0, y0 = struct.unpack(">4I", frame[start + 8:start + 24])
        return y - y0, x - x0
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = struct.unpack(">BH", frame[at + 1:at + 4])
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):  # a start of frame
            return struct.unpack(">HH", frame[at + 5:at + 9])
        at += 2 + length
    return None
