"""Pixels, pictures and volumes through `medssl anonymize`: the same numbers, and nothing beside them."""


import numpy as np
import pytest
from anonymize_files import PIXELS, clean, copied, hostile, jpeg, save
from PIL import Image, PngImagePlugin

from medssl.data.deidentify import anonymize
from medssl.data.volumes import read_volume


def test_what_hides_beside_the_pixels_is_cut_off(tmp_path):
    """Bytes after the last pixel, and an old overlay in the four bits that a 12-bit image leaves free."""
    ds = hostile()
    ds.BitsStored, ds.HighBit = 12, 11
    ds.add_new(0x60000102, "US", 12)
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
