"""Compressed pixels without what is stored beside them: comments, profiles, previews, bytes after the end.

A codestream is a row of segments (marker FFxx, length, content). Those that make the picture are copied byte for byte,
those that say something are left out, and a stream that cannot be followed to its end is refused. The pixels are those
of before: nothing is decoded and compressed again.
"""

import struct

from medssl.errors import MedsslError

JPEG, JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
# Segments that make the picture. JPEG and JPEG-LS: frame, tables, restart, scan. JPEG 2000: size, capabilities, coding,
# quantisation, region, order, packed packet headers. Left out there: lengths (TLM, PLM, PLT), registration, comment.
JPEG_KEPT = ({*range(0xC0, 0xD0)} - {0xC8}) | {0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xF7}
J2K_KEPT = {0x50, 0x51, 0x52, 0x53, 0x56, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61}
J2K_LEFT = {0x55, 0x57, 0x58, 0x63, 0x64}


def bare_frame(frame: bytes) -> bytes:
    """One compressed frame of a DICOM file."""
    if frame[:2] == JPEG:
        return bare_jpeg(frame)
    if frame[:4] == JPEG_2000:
        return bare_j2k(frame)
    raise MedsslError("compressed in a form that cannot be looked through for notes (a JP2 file, JPEG XL or another); "
                      "unpack it first")


def bare_jpeg(data: bytes, orientation: int = 1) -> bytes:
    """A JPEG (also JPEG-LS, lossless) without comments, EXIF, previews and whatever follows its end.

    Of the application segments only what changes the colours or the shape of a pixel is written anew: JFIF, Adobe, HP.
    orientation: how a camera was held, the one thing of EXIF that changes the picture.
    """
    out, at = [data[:2]], 2
    if orientation != 1:
        exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)
        out.append(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    while at + 4 <= len(data) and data[at:at + 2] != b"\xff\xd9":
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0, 0xD8):
            raise MedsslError("a damaged JPEG: bytes between its segments")
        if marker == 0xFF or marker == 1 or 0xD0 <= marker <= 0xD7:  # a fill byte, or a marker alone
            at += 1 if marker == 0xFF else 2
            continue
        piece = data[at:at + 2 + int.from_bytes(data[at + 2:at + 4])]
        at += len(piece)
        out.append(piece if marker in JPEG_KEPT else _application(marker, piece))
        if marker == 0xDA:
            start = at
            while at < len(data) - 1 and (data[at] != 0xFF or data[at + 1] < 0x80 or 0xD0 <= data[at + 1] <= 0xD7):
                at = data.find(b"\xff", at + 1) if data.find(b"\xff", at + 1) >= 0 else len(data)
            out.append(data[start:at])
    return b"".join([*out, b"\xff\xd9"])


def _application(marker: int, piece: bytes) -> bytes:
    """What is left of a segment that is none of the picture's own: mostly nothing."""
    if marker == 0xE0 and piece[4:9] == b"JFIF\0" and len(piece) >= 18:
        return b"\xff\xe0\0\x10JFIF\0\1\1" + piece[11:16] + b"\0\0"  # the shape of a pixel; no thumbnail
    if marker == 0xEE and piece[4:9] == b"Adobe" and len(piece) == 16:
        return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + piece[15:]  # which colours: RGB, YCbCr, CMYK
    if marker == 0xE8 and piece[4:8] == b"mrfx" and len(piece) == 9:
        return piece  # JPEG-LS: HP's colour transform
    if marker == 0xF8 and piece[4:5] != b"\1":
        raise MedsslError("a JPEG-LS image with tables of its own; unpack it first")
    return piece[:15] if marker == 0xF8 and len(piece) == 15 else b""  # JPEG-LS: its thresholds


def bare_j2k(data: bytes) -> bytes:
    """A JPEG 2000 codestream (also high-throughput) without comments and lengths; nothing after its end (T.800 A)."""
    main, at = _header(data, 2, 0x90)
    out = [data[:2], main]
    while data[at:at + 2] == b"\xff\x90":  # one part of a tile: its header, then its bits
        length, tile, size, number, parts = struct.unpack(">HHIBB", data[at + 2:at + 12])
        end = at + size if size else data.rfind(b"\xff\xd9")  # 0: as far as the end of the image
        if length != 10 or not at < end <= len(data):
            raise MedsslError("a damaged JPEG 2000 image")
        header, bits = _header(data[:end], at + 12, 0x93)
        piece = header + data[bits:end]
        out.append(b"\xff\x90" + struct.pack(">HHIBB", 10, tile, 12 + len(piece), number, parts) + piece)
        at = end
    if data[at:at + 2] != b"\xff\xd9" and data[at:].strip(b"\0"):
        raise MedsslError("a damaged JPEG 2000 image")
    return b"".join([*out, b"\xff\xd9"])


def _header(data: bytes, at: int, last: int) -> tuple[bytes, int]:
    """(the segments that are kept, where the marker `last` stands)."""
    out = []
    while data[at:at + 1] == b"\xff" and data[at + 1:at + 2] != bytes([last]):
        marker, length = data[at + 1], int.from_bytes(data[at + 2:at + 4])
        if marker not in J2K_KEPT | J2K_LEFT or length < 2:
            raise MedsslError(f"a JPEG 2000 image with an unknown segment FF{marker:02X}; unpack it first")
        if marker in J2K_KEPT:
            out.append(data[at:at + 2 + length])
        at += 2 + length
    if data[at:at + 2] != bytes([0xFF, last]):
        raise MedsslError("a damaged JPEG 2000 image")
    return b"".join(out), at
