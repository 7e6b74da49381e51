"""Pictures and NIfTI volumes through `medssl anonymize`: the same pixels, no notes, no memory filled."""

import gzip
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from anonymize_files import PIXELS, clean, copied, jpeg
from PIL import Image, PngImagePlugin

from medssl.data import deidentify_files
from medssl.data.deidentify import anonymize
from medssl.data.deidentify_files import LIMIT, bare_png
from medssl.data.volumes import read_volume


def test_nifti_keeps_its_voxels_and_its_place_and_nothing_in_words(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])
    for number, kind in enumerate((nibabel.Nifti1Image, nibabel.Nifti2Image)):
        image = kind(voxels, affine)
        for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
            if name in image.header.structarr.dtype.names:
                image.header[name] = b"zqx name"
        image.header.set_slope_inter(2, -1)
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"zqx extension 19530717"))
        path = tmp_path / f"in/zqx{number}.nii{'.gz' * number}"
        path.parent.mkdir(exist_ok=True)
        nibabel.save(image, path)
        if not number:
            path.write_bytes(path.read_bytes() + b"zqx after the end")
    copied(tmp_path)
    clean(tmp_path / "out")
    for new in (tmp_path / "out/volumes/000001.nii", tmp_path / "out/volumes/000002.nii.gz"):
        image = nibabel.load(new)
        assert (np.asarray(image.dataobj) == voxels * 2 - 1).all() and (image.affine == affine).all()
        assert not image.header.extensions
    assert b"zqx" not in (tmp_path / "out/volumes/000002.nii.gz").read_bytes()  # gzip keeps a file's name
    old, new = (read_volume(tmp_path / place) for place in ("in/zqx0.nii", "out/volumes/000001.nii"))
    assert (old.array == new.array).all() and old.spacing == new.spacing


def test_pictures_keep_their_pixels_and_lose_their_notes(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x13B], exif[0x10E], exif[0x112], exif[0x132] = "zqx artist", "zqx description", 6, "1987:03:04 10:00:00"
    (folder / "zqx_a.jpg").write_bytes(jpeg(b"zqx comment", exif=exif, progressive=True) + b"zqx after the end")
    colour = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(colour).convert("CMYK").save(folder / "b.jpg", exif=exif)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Patient", "zqx text")
    notes.add_itxt("Patient", "zqx zipped " * 9, zip=True)
    Image.fromarray(PIXELS).save(folder / "c.png", pnginfo=notes)
    (folder / "c.png").write_bytes((folder / "c.png").read_bytes() + b"zqx after the end")
    tags = {270: "zqx description", 315: "zqx artist"}
    Image.fromarray(colour).save(folder / "d.tif", tiffinfo=tags, compression="tiff_lzw")
    pages = [Image.fromarray(PIXELS + k) for k in range(3)]
    pages[0].save(folder / "e.tiff", save_all=True, append_images=pages[1:])
    copied(tmp_path)
    clean(tmp_path / "out")
    written = sorted((tmp_path / "out/pictures").iterdir())
    assert [path.suffix for path in written] == [".jpg", ".png", ".tif", ".tif", ".jpg"]
    for old, new in zip(sorted(folder.iterdir()), written, strict=True):
        with Image.open(old) as a, Image.open(new) as b:
            assert a.mode == b.mode and (np.asarray(a) == np.asarray(b)).all(), old.name
            assert b.getexif().get(0x112, 1) == (6 if new.suffix == ".jpg" else 1), "turned pictures stay turned"
            assert getattr(b, "n_frames", 1) == (3 if old.name == "e.tiff" else 1)
    pages[1] = pages[1].resize((3, 3))
    pages[0].save(tmp_path / "slide.tif", save_all=True, append_images=pages[1:])
    ((_, why),) = anonymize(tmp_path / "slide.tif", tmp_path / "slide").refused()
    assert "label" in why


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("laced", [0, 1])
@pytest.mark.parametrize(("colour", "depth", "channels"), [
    (0, 1, 1), (0, 16, 1), (2, 8, 3), (3, 4, 1), (4, 8, 2), (6, 8, 4), (6, 16, 4)])  # fmt: skip
def test_a_png_keeps_its_pixels_and_each_chunk_its_own_length(colour, depth, channels, laced):
    """Every kind of PNG, with text in chunks that are too long, behind the pixels, and in a second packed stream."""
    width, height = 13, 9
    passes = [(0, 0, 1, 1)] if not laced else [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                                               (1, 0, 2, 2), (0, 1, 1, 2)]  # fmt: skip
    sizes = [(len(range(x, width, right)), len(range(y, height, down))) for x, y, right, down in passes]
    random = np.random.default_rng(3)
    raw = b"".join(b"\0" + random.bytes((columns * channels * depth + 7) // 8)
                   for columns, rows in sizes for _ in range(rows) if columns)
    palette = chunk(b"PLTE", bytes(range(48)) + b"zqx" * 9 * (colour == 3)) if colour == 3 else b""
    notes = (chunk(b"gAMA", b"\0\0\xb1\x8f zqx") + chunk(b"sBIT", b"\1" * channels + b"zqx")
             if colour != 3 else chunk(b"sRGB", b"\0zqx"))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, laced))
    plain = start + (chunk(b"PLTE", bytes(range(48))) if colour == 3 else b"") + chunk(
        b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    dirty = (start + notes + palette + chunk(b"pHYs", b"\0\0\0\1\0\0\0\1\1 PatientID zqx")
             + chunk(b"tIME", b"zqx") + chunk(b"IDAT", zlib.compress(raw + b"zqx in the stream" * 9))
             + chunk(b"IDAT", zlib.compress(b"zqx second stream") + b"zqx") + chunk(b"IEND", b"") + b"zqx")
    with Image.open(io.BytesIO(plain)) as a, Image.open(io.BytesIO(bare_png(dirty))) as b:
        assert a.mode == b.mode and a.getpalette() == b.getpalette() and (np.asarray(a) == np.asarray(b)).all()
    new, at, packed = bare_png(dirty), 8, b""
    while at < len(new):
        length, kind = int.from_bytes(new[at:at + 4]), new[at + 4:at + 8]
        packed += new[at + 8:at + 8 + length] * (kind == b"IDAT")
        at += length + 12
    assert not [word for word in (b"zqx", b"gAMA", b"pHYs", b"tIME") if word in new] and zlib.decompress(packed) == raw
    second = chunk(b"IDAT", zlib.compress(raw) + zlib.compress(b"zqx", 0)) + chunk(b"IEND", b"")
    assert b"zqx" not in bare_png(plain[:plain.index(b"IDAT") - 4] + second)
    assert bare_png(plain) == plain, "a picture with nothing to remove stays as it is, byte for byte"


def test_palettes_become_colours_and_what_cannot_be_kept_is_refused(tmp_path):
    folder, colour = tmp_path / "in", np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    folder.mkdir()
    pictures = {"a_palette": Image.fromarray(colour).quantize(4), "b_cmyk": Image.fromarray(colour).convert("CMYK"),
                "c_float": Image.fromarray(PIXELS.astype(np.float32) / 3), "d_deep": Image.fromarray(PIXELS),
                "e_bits": Image.fromarray(PIXELS % 2 > 0), "f_alpha": Image.fromarray(colour).convert("RGBA"),
                "g_whole": Image.fromarray(PIXELS.astype(np.int32) - 99)}
    for name, image in pictures.items():
        image.save(folder / f"{name}.tif")
    big = (folder / "h_big.tif", PIXELS.astype(">u2"))
    Image.frombytes("I;16B", PIXELS.shape[::-1], big[1].tobytes()).save(big[0])
    report = anonymize(folder, tmp_path / "out")
    assert [path.stem for path, why in report.refused() if "without loss" in why] == ["b_cmyk", "f_alpha"]
    for path, row in zip(report.paths, report.files, strict=True):
        if "output" in row:
            with Image.open(path) as old, Image.open(tmp_path / "out" / row["output"]) as new:
                seen = old.convert("RGB") if path.stem == "a_palette" else old
                assert new.mode == {"a_palette": "RGB", "h_big": "I;16"}.get(path.stem, old.mode)
                assert (np.asarray(seen) == np.asarray(new)).all(), path.stem


def test_the_same_numbers_in_other_colours_are_no_copy(tmp_path, monkeypatch):
    Image.fromarray(PIXELS.astype(np.uint8) % 2).save(tmp_path / "a.tif")

    def coloured(image, pages) -> bytes:
        file, wrong = io.BytesIO(), Image.fromarray(np.asarray(image)).convert("P")
        wrong.save(file, "TIFF")
        return file.getvalue()

    monkeypatch.setattr(deidentify_files, "_bare_tiff", coloured)
    ((_, why),) = anonymize(tmp_path / "a.tif", tmp_path / "out").refused()
    assert "cannot be kept" in why


def test_colours_of_sixteen_bits_in_a_tiff_are_refused(tmp_path):
    """Pillow reads the upper eight of them, and would say that nothing had changed."""
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 7, 3), np.uint16), photometric="rgb")
    ((_, why),) = anonymize(tmp_path / "a.tif", tmp_path / "out").refused()
    assert "TIFF" in why or "damaged" in why


def test_a_small_file_cannot_fill_the_memory(tmp_path):
    """24 MB of zeros behind a tiny volume; and a header that speaks of more than any scanner makes."""
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.nii.gz").write_bytes(gzip.compress(image.to_bytes() + bytes(24 << 20)))
    lie = bytearray(image.to_bytes())
    lie[40:56] = struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1)
    (tmp_path / "in/b.nii.gz").write_bytes(gzip.compress(bytes(lie)))
    tracemalloc.start()
    report = anonymize(tmp_path / "in", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ((path, why),) = report.refused()
    assert path.name == "b.nii.gz" and f"{LIMIT:,}" in why and peak < 8 << 20
    new = nibabel.load(tmp_path / "out/volumes/000001.nii.gz")
    assert (np.asarray(new.dataobj) == np.asarray(image.dataobj)).all()
