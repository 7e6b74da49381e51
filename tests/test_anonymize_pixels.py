"""Pixels in DICOM through `medssl anonymize`: the same numbers, and nothing beside them, in no codestream."""

import struct

import numpy as np
import pytest
from anonymize_files import PIXELS, clean, copied, hostile, jpeg, save
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medssl.data.deidentify import anonymize
from medssl.data.deidentify_codestreams import bare_frame, bare_j2k, bare_jpeg
from medssl.data.dicom import read_dicom
from medssl.errors import MedsslError


def test_what_hides_beside_the_pixels_is_cut_off(tmp_path):
    """Bytes after the last pixel, and text in the four bits that a 12-bit image leaves free, with no overlay named."""
    ds = hostile()
    ds.BitsStored, ds.HighBit = 12, 11
    del ds[0x60000022], ds[0x60003000]
    ds.PixelData = (PIXELS | 0xA000).astype("<u2").tobytes() + b"free text"
    save(tmp_path / "in/a.dcm", ds)
    signed = hostile(1)
    signed.BitsStored, signed.HighBit, signed.PixelRepresentation = 12, 11, 1
    values = PIXELS.astype("<i2") - 200
    signed.PixelData = values.tobytes()
    save(tmp_path / "in/b.dcm", signed)
    first, second = copied(tmp_path)
    assert first.PixelData == PIXELS.astype("<u2").tobytes()
    assert second.PixelData == values.tobytes(), "the sign of a negative number is no overlay"


SYNTAXES = {"jpeg2k": JPEG2000Lossless, "htj2k": HTJ2KLossless, "jpegls": JPEGLSLossless, "ljpeg": JPEGLosslessSV1,
            "jpeg8": JPEGBaseline8Bit}


def encoded(kind: str, pixels: np.ndarray) -> bytes:
    """One frame by an encoder that this package does not use."""
    codecs = pytest.importorskip("imagecodecs")
    options = {"jpeg2k": {"codecformat": "j2k", "reversible": True, "bitspersample": 16}}
    encode = getattr(codecs, f"{kind}_encode", None)
    if encode is None:
        pytest.skip(f"this imagecodecs cannot write {kind}")
    data = bytes(encode(pixels, **options.get(kind, {})))
    return data[:data.index(b"\xff\xd9") + 2]  # behind its end imagecodecs 2024.6 leaves whatever memory held


def decoded(kind: str, data: bytes) -> np.ndarray:
    return getattr(pytest.importorskip("imagecodecs"), f"{kind}_decode")(data)


def with_notes(kind: str, data: bytes) -> bytes:
    """The codestream with a comment in its header (JPEG 2000: also one in a tile's) and text after its end."""
    note = b"zqx note 19530717"
    if not kind.endswith("2k"):
        segments = ((0xFE, note), (0xE0, note), (0xE8, b"zqx"), (0xEE, b"zqx short"), (0xEE, b"AdobeZQX"))
        notes = b"".join(struct.pack(">BBH", 255, mark, len(text) + 2) + text for mark, text in segments)
        return data[:2] + notes + data[2:] + note
    comment = struct.pack(">HHH", 0xFF64, len(note) + 4, 1) + note
    tile = data.index(b"\xff\x90\0\x0a")
    size = int.from_bytes(data[tile + 6:tile + 10])
    long = struct.pack(">I", size + len(comment)) if size else bytes(4)
    return (data[:tile] + comment + data[tile:tile + 6] + long + data[tile + 10:tile + 12] + comment + data[tile + 12:]
            + note)


@pytest.mark.parametrize("kind", SYNTAXES)
def test_notes_in_a_codestream_go_and_each_pixel_stays(tmp_path, kind):
    """In the whole way through a file; the pixels are compared by another decoder, too."""
    pixels = np.random.default_rng(1).integers(0, 65536, (64, 48), dtype=np.uint16)
    pixels = (pixels >> 8).astype(np.uint8) if kind == "jpeg8" else pixels
    plain = encoded(kind, pixels)
    dirty = with_notes(kind, plain)
    assert b"zqx note" in dirty and (decoded(kind, plain) == decoded(kind, dirty)).all()
    ds = hostile()
    ds.Rows, ds.Columns, bits = 64, 48, 8 * pixels.itemsize
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.file_meta.TransferSyntaxUID = bits - 1, SYNTAXES[kind]
    ds.NumberOfFrames, ds.PixelData = 2, encapsulate([dirty, plain])
    ds["PixelData"].VR = "OB"
    source = save(tmp_path / "in/a.dcm", ds)
    (new,) = copied(tmp_path)
    clean(tmp_path / "out")
    assert new.file_meta.TransferSyntaxUID == SYNTAXES[kind]
    for frame in generate_frames(new.PixelData, number_of_frames=2):
        assert (decoded(kind, frame) == decoded(kind, plain)).all()
    assert (read_dicom(new.filename).array == read_dicom(source).array).all()


def test_a_long_tile_and_one_that_reaches_to_the_end_are_followed():
    """Psot = 0 says: as far as the end of the image; two parts with their own lengths."""
    plain = encoded("jpeg2k", PIXELS)
    tile = plain.index(b"\xff\x90\0\x0a")
    open_end = plain[:tile + 6] + bytes(4) + plain[tile + 10:]
    for data in (plain, open_end, plain[:-2]):
        assert (decoded("jpeg2k", bare_j2k(data)) == PIXELS).all()
    assert bare_j2k(bare_j2k(plain)) == bare_j2k(plain)
    tiled = encoded("jpeg2k", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    for damage in (tiled[:len(tiled) // 2], plain.replace(b"\xff\x52", b"\xff\x7a"), plain[:-2] + b"zqx"):
        with pytest.raises(MedsslError):
            bare_j2k(damage)


@pytest.mark.parametrize("frame", [b"\0\0\0\x0cjP  \r\n\x87\n" + b"zqx" * 9, b"\xff\x0a zqx", b"zqx"])
def test_a_compressed_form_that_cannot_be_followed_is_refused(frame):
    with pytest.raises(MedsslError, match="cannot be looked through"):
        bare_frame(frame)


def test_colours_of_a_jpeg_are_kept_and_nothing_else_of_its_application_segments():
    adobe = b"\xff\xee\0\x0eAdobezqx zq\1"
    data = jpeg()
    marked = data[:2] + adobe + b"\xff\xf3\0\5zqx" + b"\xff\xfb\0\5zqx" + data[2:]
    assert b"zqx" not in bare_jpeg(marked) and b"Adobe\0\x64\0\0\0\0\1" in bare_jpeg(marked)
    with pytest.raises(MedsslError, match="between"):
        bare_jpeg(data[:2] + b"zqx" + data[2:])


def test_text_behind_the_segments_of_rle_and_in_its_unused_bits_goes(tmp_path):
    ds = hostile(syntax=RLELossless)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame + b"zqx behind" * 2])
    source = save(tmp_path / "in/a.dcm", ds)
    high = hostile(1)
    high.BitsStored, high.HighBit = 12, 11
    high.PixelData = (PIXELS | 0x7000).astype("<u2").tobytes()
    high.compress(RLELossless, generate_instance_uid=False)
    save(tmp_path / "in/b.dcm", high)
    old = read_dicom(source).array
    first, second = copied(tmp_path)
    clean(tmp_path / "out")
    assert (read_dicom(first.filename).array == old).all() and second.PixelData == PIXELS.astype("<u2").tobytes()


def test_compressed_pixels_with_something_in_their_unused_bits_are_refused(tmp_path):
    for name, values in (("a", PIXELS), ("b", PIXELS | 0x7000)):
        ds = hostile(int(name == "b"))
        ds.BitsStored, ds.HighBit, ds.file_meta.TransferSyntaxUID = 12, 11, JPEG2000Lossless
        ds.PixelData = encapsulate([encoded("jpeg2k", values)])
        ds["PixelData"].VR = "OB"
        save(tmp_path / f"in/{name}.dcm", ds)
    ((path, why),) = anonymize(tmp_path / "in", tmp_path / "out").refused()
    assert path.name == "b.dcm" and "beside the image" in why
