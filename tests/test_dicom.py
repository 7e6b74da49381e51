"""One DICOM file: every way of writing pixels gives the same numbers."""

import io
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from dicom_files import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    J2K,
    JPEG,
    JPEG_12_BIT,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    dataset,
    encapsulate,
    pattern,
    write,
)
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut
from pydicom.sequence import Sequence

from medssl.data.dicom import read_dicom
from medssl.errors import MedsslError


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG, RLE, J2K, JPEG_LS], ids=lambda uid: uid.name)
@pytest.mark.parametrize("dtype, low, high", [(np.int16, -1000, 2000), (np.uint16, 0, 60000), (np.uint8, 0, 255)])
def test_every_lossless_way_of_writing_gives_the_same_numbers(tmp_path, syntax, dtype, low, high):
    pixels = pattern(low=low, high=high, dtype=dtype)
    path = write(tmp_path / "a.dcm", dataset(pixels, syntax))
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    image = read_dicom(path)
    assert image.array.dtype == (torch.float32 if high > 32767 else torch.int16)
    assert image.array.shape == (1, *pixels.shape)
    assert np.array_equal(image.array[0].numpy(), pixels.astype(np.float32))


@pytest.mark.parametrize("bits, signed, predictor", [(16, True, 1), (16, False, 6), (12, False, 1), (12, True, 1)])
def test_jpeg_lossless_and_12_bit_jpeg(tmp_path, bits, signed, predictor):
    """Old CT and most cardiology is in JPEG lossless, which pydicom cannot decode by itself."""
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = pattern(low=-1000 if signed else 0, high=2000, dtype=np.int16 if signed else np.uint16)
    bare = pixels.view(np.uint16) & (2**bits - 1)
    for syntax, options in ((JPEG_LOSSLESS, {"lossless": True, "predictor": predictor}), (JPEG_12_BIT, {"level": 99})):
        if syntax == JPEG_12_BIT and (bits != 12 or signed):
            continue
        ds = dataset(pixels, BitsStored=bits, HighBit=bits - 1, RescaleSlope=1, RescaleIntercept=-24)
        encapsulate(ds, syntax, imagecodecs.jpeg8_encode(bare, bitspersample=bits, **options))
        got = read_dicom(write(tmp_path / "a.dcm", ds)).array[0].numpy()
        assert np.abs(got - (pixels.astype(int) - 24)).mean() <= (0 if syntax == JPEG_LOSSLESS else 4)


def test_baseline_jpeg_in_grey_and_in_colour(tmp_path):
    y, x = np.mgrid[:64, :64]
    red = np.stack([255 - 2 * y, 2 * x, 0 * x + 40], -1).clip(0, 255).astype(np.uint8)
    for pixels, photometric in ((red[..., 0], "MONOCHROME2"), (red, "YBR_FULL_422")):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=95)
        ds = dataset(pixels)
        ds.PhotometricInterpretation = photometric
        encapsulate(ds, JPEG, stream.getvalue())
        got = read_dicom(write(tmp_path / "j.dcm", ds)).array.numpy()
        want = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        assert got.shape == want.shape
        assert np.abs(got.astype(int) - want).mean() < 3  # lossy, and the colours are not exchanged


def test_files_without_preamble_and_without_header(tmp_path):
    pixels = pattern()
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        stream = io.BytesIO()
        ds = dataset(pixels, syntax)
        del ds.file_meta
        ds.save_as(stream, enforce_file_format=False, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG)
        (tmp_path / "old").write_bytes(stream.getvalue())
        assert stream.getvalue()[128:132] != b"DICM"
        assert np.array_equal(read_dicom(tmp_path / "old").array[0].numpy(), pixels)


def test_modality_lut_as_slope_and_as_table(tmp_path):
    pixels = pattern(low=0, high=200, dtype=np.uint8)
    half = read_dicom(write(tmp_path / "a.dcm", dataset(pixels, RescaleSlope="0.5", RescaleIntercept="-10")))
    assert half.array.dtype == torch.float32
    assert np.array_equal(half.array[0].numpy(), pixels * np.float32(0.5) - 10)
    alone = read_dicom(write(tmp_path / "b.dcm", dataset(pixels, RescaleSlope="3")))  # pydicom alone would ignore it
    assert np.array_equal(alone.array[0].numpy(), pixels.astype(int) * 3)
    lut = Dataset()
    table = (np.arange(201) ** 2 // 4).astype("<u2")
    lut.LUTDescriptor, lut.ModalityLUTType = [201, 0, 16], "US"
    lut["LUTData"] = pydicom.DataElement("LUTData", "OW", table.tobytes())
    lut["LUTDescriptor"].VR = "US"
    image = read_dicom(write(tmp_path / "c.dcm", dataset(pixels, ModalityLUTSequence=Sequence([lut]))))
    assert np.array_equal(image.array[0].numpy(), table[pixels])
    with pytest.raises(MedsslError, match="rescale slope is 0"):
        read_dicom(write(tmp_path / "d.dcm", dataset(pixels, RescaleSlope="0", RescaleIntercept="0")))


@pytest.mark.parametrize("how", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_of_the_file_against_pydicom(tmp_path, how):
    pixels = pattern()
    ds = dataset(pixels, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=[-600, 40], WindowWidth=[1500, 400],
                 VOILUTFunction=how)
    shown = read_dicom(write(tmp_path / "a.dcm", ds), window="file").array[0].numpy()
    theirs = apply_voi_lut(pixels.astype(np.float64) - 1024, ds)
    ends = np.array([-32768, 32767]) - 1024  # pydicom stretches the window over the range of the bits
    assert np.abs(shown - (theirs - ends[0]) / (ends[1] - ends[0])).max() < 1e-6
    named = read_dicom(tmp_path / "a.dcm", window="lung").array[0].numpy()
    assert np.allclose(named, ((pixels - 1024.0 + 600 + 750) / 1500).clip(0, 1), atol=1e-6)


def test_voi_table_and_no_window(tmp_path):
    pixels = pattern(low=0, high=255, dtype=np.uint8)
    lut = Dataset()
    lut.LUTDescriptor = [256, 0, 16]
    lut["LUTDescriptor"].VR = "US"
    lut["LUTData"] = pydicom.DataElement("LUTData", "OW", (np.arange(255, -1, -1) * 257).astype("<u2").tobytes())
    path = write(tmp_path / "a.dcm", dataset(pixels, VOILUTSequence=Sequence([lut])))
    assert np.allclose(read_dicom(path, window="file").array[0].numpy(), (255 - pixels) / 255.0, atol=1e-6)
    lut.LUTData = b"short"
    with pytest.raises(MedsslError, match="b.dcm.*table"):
        read_dicom(write(tmp_path / "b.dcm", dataset(pixels, VOILUTSequence=Sequence([lut]))), window="file")
    with pytest.raises(MedsslError, match="no window of its own"):
        read_dicom(write(tmp_path / "b.dcm", dataset(pixels)), window="file")


def test_monochrome1_is_turned_so_that_high_is_bright(tmp_path):
    pixels = pattern(low=0, high=4095, dtype=np.uint16)
    ds = dataset(pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11, WindowCenter=2048,
                 WindowWidth=4096)
    path = write(tmp_path / "a.dcm", ds)
    image = read_dicom(path)
    assert np.array_equal(image.array[0].numpy(), 4095 - pixels)
    assert any("MONOCHROME1" in note for note in image.notes)
    assert np.array_equal(read_dicom(path, invert=False).array[0].numpy(), pixels)
    shown, kept = (read_dicom(path, window="file", invert=turn).array for turn in (True, False))
    assert torch.allclose(shown, 1 - kept) and shown[0].numpy()[pixels == 0].min() == 1


def test_palette_rgb_and_ybr_become_rgb(tmp_path):
    index = pattern(low=0, high=255, dtype=np.uint8)
    tables = [np.arange(256) * 257, np.arange(255, -1, -1) * 257, np.full(256, 100 * 257)]
    ds = dataset(index, PhotometricInterpretation="PALETTE COLOR")
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        ds[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(ds, f"{colour}PaletteColorLookupTableData", table.astype("<u2").tobytes())
    want = np.stack([index, 255 - index, np.full_like(index, 100)])
    assert np.array_equal(read_dicom(write(tmp_path / "p.dcm", ds)).array.numpy(), want)
    rgb = np.moveaxis(want, 0, -1).copy()
    assert np.array_equal(read_dicom(write(tmp_path / "r.dcm", dataset(rgb))).array.numpy(), want)
    planar = dataset(rgb, PlanarConfiguration=1)
    planar.PixelData = want.tobytes()
    assert np.array_equal(read_dicom(write(tmp_path / "planar.dcm", planar)).array.numpy(), want)
    ybr = np.array(Image.fromarray(rgb).convert("YCbCr"))
    got = read_dicom(write(tmp_path / "y.dcm", dataset(ybr, PhotometricInterpretation="YBR_FULL"))).array.numpy()
    assert np.abs(got.astype(int) - want).max() <= 3
    with pytest.raises(MedsslError, match="in colour"):
        read_dicom(tmp_path / "r.dcm", window="lung")


def test_several_frames(tmp_path):
    frames = np.stack([pattern() + 10 * k for k in range(4)])
    path = write(tmp_path / "a.dcm", dataset(frames))
    assert np.array_equal(read_dicom(path).array[:, 0].numpy(), frames)
    assert np.array_equal(read_dicom(path, frame=2).array[0].numpy(), frames[2])
    with pytest.raises(MedsslError, match="4 frames"):
        read_dicom(path, frame=4)


def test_an_enhanced_file_has_a_slope_for_each_frame(tmp_path):
    frames, groups = np.stack([pattern(low=0, high=100)] * 2), []
    for slope in (1, 3):
        transform, group = Dataset(), Dataset()
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = slope, -5, "US"
        group.PixelValueTransformationSequence = Sequence([transform])
        groups.append(group)
    image = read_dicom(write(tmp_path / "a.dcm", dataset(frames, PerFrameFunctionalGroupsSequence=Sequence(groups))))
    assert np.array_equal(image.array[:, 0].numpy(), frames * np.array([1, 3])[:, None, None] - 5)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_stored_are_no_part_of_the_value(tmp_path, signed):
    """Old files keep an overlay in the four bits above the twelve of the pixel."""
    values = pattern(low=-2048 if signed else 0, high=2047 if signed else 4095)
    raw = (values.astype(np.uint16) & 0x0FFF) | (np.arange(values.size).reshape(values.shape) % 16 << 12)
    ds = dataset(raw.astype(np.uint16), BitsStored=12, HighBit=11, PixelRepresentation=int(signed))
    assert np.array_equal(read_dicom(write(tmp_path / "a.dcm", ds)).array[0].numpy(), values)
    left = ((values.astype(np.uint16) & 0x0FFF) << 4).astype(np.int16 if signed else np.uint16)
    ds = dataset(left, BitsStored=12, HighBit=15)  # and the oldest keep the value in the upper bits
    assert np.array_equal(read_dicom(write(tmp_path / "b.dcm", ds)).array[0].numpy(), values)


def test_padding_is_reported_and_filled_when_asked(tmp_path):
    pixels = pattern(low=0, high=2000)
    pixels[:10] = -2000
    ds = dataset(pixels, PixelPaddingValue=-2000, RescaleSlope=1, RescaleIntercept=-1024)
    path = write(tmp_path / "a.dcm", ds)
    image = read_dicom(path)
    assert image.array.min() == -3024 and image.padding.sum() == 10 * 56 and image.padding[:10].all()
    assert "25.0%" in image.notes[0]
    assert read_dicom(path, fill=-1000).array[0, :10].unique().tolist() == [-1000]
    assert read_dicom(path, fill="lowest").array.min() == pixels[10:].min() - 1024
    assert (read_dicom(path, window=(40, 400)).array[0, :10] == 0).all()
    wrong = dataset(pixels, RescaleSlope=1, RescaleIntercept=-1024)
    wrong.PixelPaddingValue = 63536  # -2000 written as an unsigned number
    wrong["PixelPaddingValue"].VR = "US"
    assert read_dicom(write(tmp_path / "b.dcm", wrong)).padding.sum() == 10 * 56
    both = dataset(pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=0)
    assert read_dicom(write(tmp_path / "c.dcm", both)).padding.sum() == (pixels <= 0).sum()
    assert read_dicom(write(tmp_path / "d.dcm", dataset(pattern(), PixelPaddingValue=-2000))).padding is None


def test_overlays_and_burned_in_text_are_told(tmp_path):
    ds = dataset(pattern(), BurnedInAnnotation="YES")
    ds.add_new(0x60000010, "US", 40)
    ds.add_new(0x60000011, "US", 56)
    ds.add_new(0x60003000, "OW", b"\xff" * 280)
    image = read_dicom(write(tmp_path / "a.dcm", ds))
    assert np.array_equal(image.array[0].numpy(), pattern())
    assert "1 overlay " in image.notes[0] and "burned" in image.notes[1]


# The table of the real files: shape, stored range, slope, intercept, window of the file, what a note must say.
REAL = {
    "pydicom_CT_small": ((128, 128), 128, 2191, 1, -1024, ""),
    "pydicom_MR_small": ((64, 64), 127, 2145, 1, 0, ""),
    "pydicom_examples_overlay": ((300, 484), 0, 1123, 1, 0, "overlay"),
    "pydicom_J2K_pixelrep_mismatch": ((512, 512), -2000, 1896, 1, 0, ""),
    "pydicomdata_MR-SIEMENS-DICOM-WithOverlays": ((484, 484), 0, 1123, 1, 0, "overlay"),
    "dicompyler_ct0": ((512, 512), -1000, 1457, 1, 0, ""),
    "lungmask_ct_0": ((512, 512), -2048, 1502, 1, 0, ""),
    "lungmask_ct_1": ((512, 512), -2048, 1502, 1, 0, ""),
    "dcmqi_ct3slice_01": ((512, 512), -2000, 2405, 1, -1024, "padding"),
    "dcmqi_ct3slice_02": ((512, 512), -2000, 2364, 1, -1024, "padding"),
    "dcmqi_ct3slice_03": ((512, 512), -2000, 2390, 1, -1024, "padding"),
}


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("MEDSSL_TEST_DATA")
    if not folder or not (Path(folder) / "dicom").is_dir():
        pytest.skip("MEDSSL_TEST_DATA names no folder with dicom/: these tests need real DICOM files")
    return Path(folder) / "dicom"


@pytest.mark.parametrize("name", REAL)
def test_real_files_hold_the_values_of_their_table(real, name):
    shape, low, high, slope, intercept, note = REAL[name]
    image = read_dicom(real / f"{name}.dcm")
    assert image.array.dtype == torch.int16 and image.array.shape == (1, *shape)
    assert (image.array.min(), image.array.max()) == (low * slope + intercept, high * slope + intercept)
    assert note in " ".join(image.notes) and bool(note) == bool(image.notes)


def test_no_real_file_is_forgotten(real):
    """A file that the table does not know is read, or refused by an error of ours."""
    for path in sorted(real.rglob("*")):
        if path.is_file() and path.stem not in REAL:
            try:
                assert read_dicom(path).array.ndim == 3
            except MedsslError as error:
                assert str(path) in str(error)
