"""Pictures and NIfTI volumes without their notes: pixels and voxels stay as they are, byte for byte where that can be.

PNG and JPEG are copied piece by piece, only the pieces that make the picture; TIFF is written anew without loss; of
NIfTI the header's free text and extensions go. The pixels of the result are compared with those of the original.
"""

import gzip
import io
import struct
from pathlib import Path

import numpy as np

from medssl.data.nifti_header import read_header
from medssl.errors import MedsslError

PNG = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs")
TIFFS = (b"II*\0", b"MM\0*")
TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")  # fields of a NIfTI header that hold free text
ZEROS = ("extents", "session_error", "regular", "glmax", "glmin", "unused_str")  # left over from ANALYZE, or unused


def bare_jpeg(data: bytes, orientation: int = 1) -> bytes:
    """A JPEG (also JPEG-LS, lossless) without comments, EXIF, previews and whatever follows its end.

    Kept of the application segments: JFIF, Adobe (colours) and nothing longer. orientation: how a camera was held, the
    one thing of EXIF that changes the picture, is written anew.
    """
    out, at = [data[:2]], 2
    if orientation != 1:
        exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)
        out.append(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], 2 + int.from_bytes(data[at + 2:at + 4])
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xD9:
            break
        piece, at = data[at:at + length], at + length
        if marker == 0xE0 and piece[4:9] == b"JFIF\0":
            piece = b"\xff\xe0\0\x10" + piece[4:16] + b"\0\0"  # without its thumbnail
        if (marker & 0xF0) != 0xE0 and marker != 0xFE or marker in (0xE0, 0xE8, 0xEE) and len(piece) <= 18:
            out.append(piece)
        if marker == 0xDA:
            start = at
            while at < len(data) - 1 and (data[at] != 0xFF or data[at + 1] < 0x80 or 0xD0 <= data[at + 1] <= 0xD7):
                at = data.find(b"\xff", at + 1) if data.find(b"\xff", at + 1) >= 0 else len(data)
            out.append(data[start:at])
    return b"".join([*out, b"\xff\xd9"])


def bare_png(data: bytes) -> bytes:
    """A PNG of the chunks that make the picture: no text, time, EXIF or profile, nothing after its end."""
    out, at = [PNG], 8
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at:at + 4]), data[at + 4:at + 8]
        if kind in PNG_KEPT:
            out.append(data[at:at + 12 + length])
        at += 12 + length
        if kind == b"IEND":
            break
    return b"".join(out)


def deidentify_picture(path: Path, data: bytes) -> tuple[bytes, list[str], str]:
    """(the picture, the texts that were in it, ending)."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        exif, pages = image.getexif(), getattr(image, "n_frames", 1)
        texts = [value if isinstance(value, str) else value.decode("latin-1")
                 for value in (*image.info.values(), *exif.values(), *getattr(image, "tag_v2", {}).values())
                 if isinstance(value, str | bytes)]
        if data[:8] == PNG and pages == 1:
            out, ending = bare_png(data), ".png"
        elif data[:4] in TIFFS:
            out, ending = _bare_tiff(image, pages), ".tif"
        elif data[:2] == b"\xff\xd8":
            out, ending = bare_jpeg(data, exif.get(0x112, 1)), ".jpg"
        else:
            raise MedsslError("it is a moving picture")
        with Image.open(io.BytesIO(out)) as new:
            for page in range(pages if ending == ".tif" else 1):
                image.seek(page), new.seek(page)
                if not np.array_equal(np.asarray(image), np.asarray(new)):
                    raise MedsslError("its pixels cannot be kept as they are without its notes")
    return out, texts, ending


def _bare_tiff(image, pages: int) -> bytes:
    from PIL import Image

    plain, sizes = [], set()
    for page in range(pages):
        image.seek(page)
        sizes.add(image.size)
        plain.append(Image.fromarray(np.asarray(image)))
    if len(sizes) > 1:
        raise MedsslError("its pages differ in size: a scanned slide may hold a photograph of its label")
    file = io.BytesIO()
    plain[0].save(file, "TIFF", compression="tiff_adobe_deflate", save_all=pages > 1, append_images=plain[1:])
    return file.getvalue()


def deidentify_nifti(path: Path, data: bytes) -> tuple[bytes, list[str], str]:
    """(the volume, the texts that were in its header, ending). The voxels are copied, scaling and place are kept."""
    packed = data[:2] == b"\x1f\x8b"
    data = gzip.decompress(data) if packed else data
    header = read_header(path, io.BytesIO(data))
    start, size = int(header["vox_offset"]), int(np.prod(header.get_data_shape())) * header.get_data_dtype().itemsize
    voxels = data[start:start + size]
    if len(voxels) < size or start < header.sizeof_hdr:
        raise MedsslError("it is cut short")
    names = [name for name in (*TEXTS, *ZEROS) if name in header.structarr.dtype.names]
    texts = [bytes(header[name]).strip(b"\0").decode("latin-1") for name in names if name in TEXTS]
    for name in names:
        header[name] = b"" if header[name].dtype.kind == "S" else 0
    header["vox_offset"] = header.sizeof_hdr + 4
    out = header.binaryblock + bytes(4) + voxels
    return (gzip.compress(out, 6, mtime=0), texts, ".nii.gz") if packed else (out, texts, ".nii")
