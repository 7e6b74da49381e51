"""DICOM files that are no image, broken, or more than they say: refused with a reason, and no patient is named."""

import logging
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import DEFLATED, J2K, JPEG_LS, RLE, SECRET, dataset, pattern, write
from pydicom.uid import UID

from medssl.data import dicom_header
from medssl.data.dicom import read_dicom
from medssl.errors import MedsslError


def test_a_compressed_frame_of_another_size_is_not_decoded(tmp_path):
    """A frame may claim any size; a decoder would believe it."""
    for syntax in (J2K, JPEG_LS):
        ds = dataset(pattern(), syntax)
        ds.Rows = 41
        with pytest.raises(MedsslError, match="41×56 pixels, its compressed image 40×56"):
            read_dicom(write(tmp_path / "a.dcm", ds))


KINDS = {"1.2.840.10008.5.1.4.1.1.88.22": "structured report", "1.2.840.10008.5.1.4.1.1.104.1": "document",
         "1.2.840.10008.5.1.4.1.1.66.4": "segmentation", "1.2.840.10008.5.1.4.1.1.481.3": "radiotherapy",
         "1.2.840.10008.5.1.4.1.1.481.2": "radiotherapy", "1.2.840.10008.5.1.4.1.1.11.1": "presentation state",
         "1.2.840.10008.5.1.4.1.1.88.59": "key object", "1.2.840.10008.5.1.4.1.1.9.1.1": "waveform",
         "1.2.840.10008.5.1.4.1.1.4.2": "spectroscopy", "1.2.840.10008.5.1.4.1.1.66.1": "registration",
         "1.2.840.10008.1.3.10": "DICOMDIR", "1.2.840.10008.5.1.4.1.1.88.67": "structured report",
         "1.2.840.10008.5.1.4.1.1.66": "raw data"}


@pytest.mark.parametrize("uid", KINDS)
def test_what_is_no_image_is_named(tmp_path, uid):
    ds = dataset(pattern(), SOPClassUID=uid, Modality="OT")
    ds.file_meta.MediaStorageSOPClassUID = uid
    with pytest.raises(MedsslError, match=KINDS[uid]):
        read_dicom(write(tmp_path / "a.dcm", ds))


def broken_files(folder: Path) -> dict[Path, str]:
    """{file: what the error must say}; each holds the name of the patient."""
    whole = write(folder / "whole.dcm", dataset(pattern())).read_bytes()
    files = {}

    def put(name, content, says):
        (folder / name).write_bytes(content)
        files[folder / name] = says

    put("half.dcm", whole[:-300], "cut short")
    put("start.dcm", whole[:400], "holds no pixels|damaged|does not say")
    put("empty.dcm", b"", "empty")
    put("text.dcm", f"{SECRET} is a patient".encode() * 40, "no DICOM file|damaged")
    put("noise.dcm", bytes(range(256)) * 20, "no DICOM file|damaged")
    ds = dataset(pattern())
    del ds.PixelData
    put("header.dcm", write(folder / "x", ds).read_bytes(), "holds no pixels")
    ds = dataset(pattern())
    del ds.Rows
    put("rows.dcm", write(folder / "x", ds).read_bytes(), "does not say Rows")
    ds = dataset(pattern(), J2K)
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f" + SECRET.encode() * 9])
    put("j2k.dcm", write(folder / "x", ds).read_bytes(), "cannot be decoded")
    ds = dataset(pattern(), RLE)
    ds.Rows = ds.Columns = 60000
    put("bomb.dcm", write(folder / "x", ds).read_bytes(), "7.2 GB of memory")
    ds = dataset(pattern())
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
    ds.PixelData = pydicom.encaps.encapsulate([b"video"])
    put("video.dcm", write(folder / "x", ds).read_bytes(), "MPEG")
    return files


def test_broken_files_are_named_and_no_patient_is(tmp_path, caplog):
    """Neither an error, nor a warning, nor the log repeats what the header says of the patient."""
    files, odd = broken_files(tmp_path), dataset(pattern())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is we who write this
        odd.PatientBirthDate, odd.PatientSex, odd.SpecificCharacterSet = "Erika 1934", "ERIKA", "ISO_IR nope"
        write(tmp_path / "odd.dcm", odd)
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for path, says in files.items():
            with pytest.raises(MedsslError, match=says) as error:
                read_dicom(path)
            assert str(path) in str(error.value)
            said += [str(error.value), repr(error.value.__cause__)]
        image = read_dicom(tmp_path / "odd.dcm")
        said += [repr(image), str(image.notes)]
    said += [str(w.message) for w in caught] + [caplog.text]
    assert not [line for line in said if "Erika" in line or "77123" in line or "1934" in line]


def test_the_patient_is_never_held(tmp_path):
    ds = dicom_header.open_dicom(write(tmp_path / "a.dcm", dataset(pattern())))
    assert "PatientName" not in ds and "PatientID" not in ds and "PatientBirthDate" not in ds


def test_a_deflated_bomb_is_not_inflated(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm", dataset(np.zeros((512, 512), np.uint16), DEFLATED))
    assert read_dicom(path).array.shape == (1, 512, 512)
    monkeypatch.setattr(dicom_header, "LIMIT", 100_000)
    monkeypatch.setattr(zlib, "decompress", lambda *_, **__: pytest.fail("inflated"))
    with pytest.raises(MedsslError, match="deflated and would fill"):
        read_dicom(path)


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm", dataset(pattern(), JPEG_LS))
    from pydicom.pixels.decoders import base

    monkeypatch.setattr(base.JPEGLSLosslessDecoder, "_available", {})
    with pytest.raises(MedsslError, match="JPEG-LS.*(\n.*)*pip install pyjpegls"):
        read_dicom(path)
