"""`medssl anonymize` on real files, where MEDSSL_TEST_DATA names a folder that has some."""

import os
import shutil
from pathlib import Path

import pytest
from pydicom import dcmread

from medssl.data.deidentify import NOTICE, anonymize
from medssl.data.dicom import read_dicom
from medssl.data.dicom_series import read_series


def real(name: str) -> Path:
    folder = os.environ.get("MEDSSL_TEST_DATA")
    if not folder or not (Path(folder) / "dicom").is_dir():
        pytest.skip("MEDSSL_TEST_DATA names no folder with dicom/: these tests need real DICOM files")
    return Path(folder) / name


def test_real_files_lose_every_identifier_and_keep_every_pixel(tmp_path):
    """All single files, by an independent look at their own identifiers."""
    sources = sorted(real("dicom").glob("*.dcm"))
    for path in sources:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    report = anonymize(tmp_path / "in", tmp_path / "out", shift_dates=True)
    assert not report.refused() and len(report.files) == len(sources) >= 10
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")).lower()
    looked = 0
    for path, row in zip(sources, report.files, strict=True):
        old, new = dcmread(path, force=True), dcmread(tmp_path / "out" / row["output"])
        assert (read_dicom(path).array == read_dicom(new.filename).array).all(), path.name
        for element in old.iterall():
            text = str(element.value).strip().lower()
            if element.VR == "UI" and not text.startswith("1.2.840.10008") and len(text) > 20:
                assert text.encode() not in everything
            elif len(text) > 5 and (element.VR == "PN" or element.keyword in ("InstitutionName", "DeviceSerialNumber")):
                assert text.encode() not in everything, element.keyword
            elif element.keyword == "StudyDate" and text:
                assert new.StudyDate != text
            else:
                continue
            looked += 1
    assert looked > 70


def test_a_real_series_reads_as_the_same_volume(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for path in sorted(real("dicom/series_sts002_mr_t1").iterdir())[:8]:
        shutil.copy(path, folder)
    assert not anonymize(folder, tmp_path / "out").refused()
    old, new = read_series(folder), read_series(tmp_path / "out")
    assert (old.array == new.array).all() and (old.affine == new.affine).all() and old.modality == new.modality
    assert len(list((tmp_path / "out").glob("ANON-*/2.25.*/2.25.*.dcm"))) == len(list(folder.iterdir()))
    assert NOTICE in (tmp_path / "out/report.txt").read_text()
