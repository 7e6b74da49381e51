"""One picture: right numbers whatever the format, the bits, the turn, the size."""

import numpy as np
import pytest
from picture_files import H, W, picture, raw, save
from PIL import Image
from test_dicom_series import make_slice

from medssl.data.folder_listing import list_folder


def middle(pixels):
    """The rows of a padded picture that are its own."""
    return pixels[..., (W - H) // 2:(W + H) // 2, :]


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "A.TIFF"])
def test_lossless_formats_keep_their_numbers(tmp_path, name):
    grey, colour = picture(), np.stack([picture(k) for k in range(3)], -1)
    assert np.array_equal(middle(raw(save(tmp_path / name)))[0], grey)
    assert np.array_equal(middle(raw(save(tmp_path / name, colour), 3)), np.moveaxis(colour, -1, 0))
    assert np.array_equal(middle(raw(save(tmp_path / name), 3)), np.stack([grey] * 3))
    assert (raw(tmp_path / name)[:, :4] == 0).all()  # padded with black


def test_modes_of_pillow(tmp_path):
    colour = Image.fromarray(np.stack([picture(k) for k in range(3)], -1))
    palette = colour.quantize(16)
    want = np.moveaxis(np.asarray(palette.convert("RGB")), -1, 0)
    assert np.array_equal(middle(raw(save(tmp_path / "p.png", palette), 3)), want)
    clear = colour.copy()
    clear.putalpha(Image.fromarray(np.where(np.arange(W) < 10, 255, 0).astype(np.uint8)[None].repeat(H, 0)))
    flat = middle(raw(save(tmp_path / "rgba.png", clear), 3))
    assert np.array_equal(flat[..., :10], np.moveaxis(np.asarray(colour), -1, 0)[..., :10])
    assert (flat[..., 10:] == 0).all()
    two = Image.fromarray(picture() > 127)
    assert np.array_equal(middle(raw(save(tmp_path / "1.png", two)))[0], np.where(picture() > 127, 255, 0))
    smooth = Image.fromarray(np.stack([np.full((H, W), v, np.uint8) for v in (200, 40, 90)], -1))
    cmyk = middle(raw(save(tmp_path / "cmyk.jpg", smooth.convert("CMYK"), quality=98), 3))
    assert np.abs(cmyk.reshape(3, -1).mean(1) - [200, 40, 90]).max() < 4


def test_exif_orientation_is_applied(tmp_path):
    values = np.zeros((H, W), np.uint8)
    values[:3, :3] = 255  # a bright corner, top left
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that this must be turned clockwise
    turned = raw(save(tmp_path / "a.jpg", values, exif=exif, quality=98))[0]
    bright = np.argwhere(turned > 127)
    assert bright[:, 0].max() < 4 and bright[:, 1].min() > W // 2  # now top right, upright


def test_16_bits_are_scaled_by_percentiles_not_by_extremes(tmp_path):
    values = np.linspace(1000, 3000, 40 * 40).reshape(40, 40).round().astype(np.uint16)
    values[0, 0], values[0, 1] = 65535, 0  # a burnt-in letter and a dead pixel
    image = raw(save(tmp_path / "a.png", values), size=40)[0].astype(int)
    low, high = np.percentile(values, [0.5, 99.5])
    assert np.abs(image - ((values.astype(float) - low) / (high - low)).clip(0, 1) * 255).max() <= 0.5001
    assert image[20].mean() == pytest.approx(129, abs=6)  # min and max would leave it at 8
    decimal = Image.fromarray((values / 65535).astype(np.float32))
    assert np.abs(raw(save(tmp_path / "f.tif", decimal), size=40)[0].astype(int) - image).max() <= 1
    assert (raw(save(tmp_path / "c.png", np.full((8, 8), 700, np.uint16)), size=8) == 0).all()


def test_dicom_among_pictures(tmp_path):
    pixels = np.arange(64, dtype="<i2").reshape(8, 8) * 10
    pixels[:2] = -2000
    ds = make_slice(shape=(8, 8), PixelPaddingValue=-2000, PixelData=pixels.tobytes())
    for name in ("a.dcm", "IM0001"):
        ds.save_as(tmp_path / name, enforce_file_format=True)
    image = raw(tmp_path / "a.dcm", size=8)[0].astype(int)
    inside = pixels[2:].astype(float)
    low, high = np.percentile(inside, [0.5, 99.5])  # padding takes no part
    assert np.abs(image[2:] - ((inside - low) / (high - low)).clip(0, 1) * 255).max() <= 0.5001
    assert (image[:2] == 0).all()
    shown = raw(tmp_path / "a.dcm", size=8, window=(400, 400))[0].astype(int)
    assert np.abs(shown[2:] - ((inside - 200) / 400).clip(0, 1) * 255).max() <= 0.5001
    save(tmp_path / "b.png", picture())
    (tmp_path / "README").write_text("no picture")
    (tmp_path / ".DS_Store").write_bytes(b"x" * 200)
    assert [f.name for f in list_folder(tmp_path).files] == ["IM0001", "a.dcm", "b.png"]


def test_resizing_does_not_make_patterns_up(tmp_path):
    """A fine checkerboard is grey from afar; without anti-aliasing it would stay black and white."""
    board = ((np.indices((256, 256)).sum(0) % 2) * 255).astype(np.uint8)
    small = raw(save(tmp_path / "a.png", board), size=30)[0]
    assert np.abs(small.astype(int) - 127).max() <= 3
    for fit, shape in (("stretch", (16, 16)), ("crop", (16, 16)), ("pad", (16, 8))):
        tall = raw(save(tmp_path / "b.png", np.full((64, 32), 200, np.uint8)), size=16, fit=fit)[0]
        assert (tall == 200).sum() == shape[0] * shape[1]
