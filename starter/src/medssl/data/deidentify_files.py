"""Pictures and NIfTI volumes without their notes: pixels and voxels stay as they are, byte for byte where that can be.

PNG and JPEG are copied piece by piece, only the pieces that make the picture; TIFF is written anew without loss; of
NIfTI the header's free text and extensions go. The pixels of the result are compared with those of the original.
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from medssl.data.deidentify_codestreams import bare_jpeg
from medssl.data.dicom_header import LIMIT
from medssl.data.nifti_header import read_header
from medssl.errors import MedsslError

PNG = b"\x89PNG\r\n\x1a\n"
PNG_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}  # chunks of one length; others are cut to the image's
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG, by its type of colour
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
TIFFS = (b"II*\0", b"MM\0*")
TIFF_MODES = {"1": "1", "L": "L", "I": "I", "F": "F", "RGB": "RGB", "P": "RGB",
              "I;16": "I;16", "I;16B": "I;16"}  # what is read -> what is written
TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")  # fields of a NIfTI header that hold free text
ZEROS = ("extents", "session_error", "regular", "glmax", "glmin", "unused_str")  # left over from ANALYZE, or unused


def bare_png(data: bytes) -> bytes:
    """A PNG of the chunks that make the picture, each at its own length: no text, time, EXIF or profile, no palette
    beyond its colours, and of the packed pixels not a byte more than the image has."""
    chunks, at = {}, 8
    while at + 12 <= len(data) and data[at + 4:at + 8] != b"IEND":
        length, kind = int.from_bytes(data[at:at + 4]), data[at + 4:at + 8]
        content = data[at + 8:at + 8 + length]
        chunks[kind] = chunks.get(kind, b"") + content if kind == b"IDAT" else chunks.get(kind, content)
        at += 12 + length
    head = chunks[b"IHDR"][:13]
    width, height, depth, colour, _, _, laced = struct.unpack(">IIBBBBB", head)
    longest = {kind: length for kind, length in PNG_LENGTHS.items() if len(chunks.get(kind, b"")) == length}
    if colour == 3:
        longest |= {b"PLTE": 3 << depth, b"tRNS": 1 << depth}
    else:
        longest |= {b"tRNS": 2 * CHANNELS[colour]} if colour in (0, 2) else {}
    longest[b"sBIT"] = 3 if colour == 3 else CHANNELS[colour]
    sizes = [(math.ceil((width - x) / right), math.ceil((height - y) / down)) for x, y, right, down in
             (PASSES if laced else ((0, 0, 1, 1),))]
    size = sum(rows * (1 + math.ceil(columns * CHANNELS[colour] * depth / 8)) for columns, rows in sizes
               if columns > 0 and rows > 0)
    unpack = zlib.decompressobj()
    pixels = unpack.decompress(chunks[b"IDAT"], size)
    if len(pixels) < size:
        raise MedsslError("it is cut short")
    more = unpack.decompress(unpack.unconsumed_tail, 1) if not unpack.eof else b""
    whole = unpack.eof and not more and not unpack.unused_data  # then it is as short as it can be, and stays
    out = [(b"IHDR", head)]
    out += [(kind, chunks[kind][:longest[kind]]) for kind in chunks if kind in longest]
    out += [(b"IDAT", chunks[b"IDAT"] if whole else zlib.compress(pixels)), (b"IEND", b"")]
    return PNG + b"".join(struct.pack(f">I4s{len(content)}sI", len(content), kind, content, zlib.crc32(kind + content))
                          for kind, content in out)


def deidentify_picture(data: bytes) -> tuple[bytes, list[str], str]:
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
                old = _plain(image) if ending == ".tif" else image
                if old.mode != new.mode or old.getpalette() != new.getpalette() or not np.array_equal(
                        np.asarray(old), np.asarray(new)):
                    raise MedsslError("its pixels cannot be kept as they are without its notes")
    return out, texts, ending


def _plain(image):
    """A page of a TIFF in a form that can be written as it is; a palette becomes the colours that it stands for."""
    from PIL import Image

    depth = max(image.tag_v2.get(258, (1,)))  # bits of a sample: of 16 in colour Pillow reads only 8
    if image.mode not in TIFF_MODES or (image.mode == "RGB" and depth > 8):
        raise MedsslError(f"a TIFF of a kind that cannot be written anew without loss ({image.mode}, {depth} bits); "
                          "save it as grey or 8-bit RGB")
    if image.mode == "P":
        return image.convert("RGB")
    pixels = np.asarray(image)
    return Image.fromarray(pixels.astype(pixels.dtype.newbyteorder("=")))


def _bare_tiff(image, pages: int) -> bytes:
    plain, sizes = [], set()
    for page in range(pages):
        image.seek(page)
        sizes.add(image.size)
        plain.append(_plain(image))
    if len(sizes) > 1:
        raise MedsslError("its pages differ in size: a scanned slide may hold a photograph of its label")
    file = io.BytesIO()
    plain[0].save(file, "TIFF", compression="tiff_adobe_deflate", save_all=pages > 1, append_images=plain[1:])
    return file.getvalue()


def deidentify_nifti(path: Path) -> tuple[bytes, list[str], str]:
    """(the volume, not packed; the texts that were in its header; ending). Voxels, scaling and place are kept.

    Of a packed file not a byte more is unpacked than its header says that the volume has: a few kilobytes may hide
    gigabytes.
    """
    packed = path.open("rb").read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        header = read_header(path, file)
        start, size = int(header["vox_offset"]), math.prod(map(int, header.get_data_shape()))
        size *= header.get_data_dtype().itemsize
        if not header.sizeof_hdr <= start <= LIMIT or not 0 < size <= LIMIT:
            raise MedsslError(f"its header speaks of {size:,} bytes from byte {start:,} on; the limit is {LIMIT:,}")
        file.seek(start)
        voxels = file.read(size)
    if len(voxels) < size:
        raise MedsslError("it is cut short")
    names = [name for name in (*TEXTS, *ZEROS) if name in header.structarr.dtype.names]
    texts = [bytes(header[name]).strip(b"\0").decode("latin-1") for name in names if name in TEXTS]
    for name in names:
        header[name] = b"" if header[name].dtype.kind == "S" else 0
    header["vox_offset"] = header.sizeof_hdr + 4
    return header.binaryblock + bytes(4) + voxels, texts, ".nii.gz" if packed else ".nii"
