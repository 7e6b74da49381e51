"""`medssl anonymize`: files full of planted identifiers go in, and none of them comes out (see anonymize_files.py)."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from anonymize_files import CT, PIXELS, ROOT, clean, copied, hostile, item, outputs, save
from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from medssl import cli
from medssl.data.deidentify import anonymize
from medssl.data.dicom import read_dicom

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
            RLELossless, JPEGBaseline8Bit]


@pytest.mark.parametrize(("syntax", "shift"), [(syntax, k % 2 == 0) for k, syntax in enumerate(SYNTAXES)])
def test_nothing_that_was_planted_is_left(tmp_path, syntax, shift):
    """In no encoding; and the pixels, the geometry, the machine and the codes are still there."""
    source = save(tmp_path / "in/Zqxmüller_19530717.dcm", hostile(syntax=syntax))
    (ds,) = copied(tmp_path, shift_dates=shift)
    (path,) = (tmp_path / "out").rglob("*.dcm")
    clean(tmp_path / "out")
    assert (read_dicom(path).array == read_dicom(source).array).all()
    packed = syntax.is_deflated or syntax == RLELossless  # those bytes could not be searched
    plain = ExplicitVRLittleEndian if packed else syntax
    assert ds.file_meta.TransferSyntaxUID == plain
    assert ds.preamble == bytes(128) and ds.file_meta.ImplementationClassUID.startswith("1.2.826.0.1.3680043.8.498")
    assert [e.keyword for e in ds.file_meta] == [
        "FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName"]
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID and ds.SOPInstanceUID.is_valid
    assert not [e for e in ds.iterall() if e.tag.is_private or e.tag.group >> 8 in (0x50, 0x60)]
    assert ds.PatientIdentityRemoved == "YES" and "PS3.15" in str(ds.DeidentificationMethod)
    codes = [code.CodeValue for code in ds.DeidentificationMethodCodeSequence]
    assert codes == (["113100", "113107"] if shift else ["113100"])
    assert ds.LongitudinalTemporalInformationModified == ("MODIFIED" if shift else "REMOVED")
    assert ds.PatientID == ds.PatientName and ds.PatientID.startswith("ANON-") and ds.PatientBirthDate == ""
    assert (ds.Manufacturer, ds.ManufacturerModelName, ds.BodyPartExamined) == ("Maker AG", "Model 5", "CHEST")
    assert ds.PixelSpacing == [0.5, 0.75] and ds.DerivationCodeSequence[0].CodeMeaning == "Lossy Compression"
    assert "PatientName" not in ds.DerivationCodeSequence[0] or not ds.DerivationCodeSequence[0].PatientName


def test_the_same_uid_stays_the_same_everywhere_and_is_another_in_the_next_run(tmp_path):
    for k in range(3):
        save(tmp_path / f"in/{k}.dcm", hostile(k))
    save(tmp_path / "in/other.dcm", hostile(7, patient="ZQX-0815"))
    *files, other = copied(tmp_path)
    assert len({ds.SOPInstanceUID for ds in (*files, other)}) == 4
    for ds in (*files, other):
        assert ds.SeriesInstanceUID == files[0].SeriesInstanceUID != ds.StudyInstanceUID
        deep = ds.DerivationCodeSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert files[0].SOPInstanceUID == ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID == deep
        assert ds.SOPClassUID == ds.ReferencedImageSequence[0].ReferencedSOPClassUID == CT
    assert len({ds.PatientID for ds in files}) == 1 and other.PatientID != files[0].PatientID
    anonymize(tmp_path / "in", tmp_path / "again")
    again = outputs(tmp_path / "again")[0]
    assert again.SOPInstanceUID != files[0].SOPInstanceUID and again.PatientID != files[0].PatientID


def test_a_file_that_names_no_patient_gets_a_pseudonym_and_a_copy_is_refused(tmp_path):
    ds = hostile()
    del ds.PatientID, ds.PatientName, ds.StudyInstanceUID
    for name in ("a", "b"):
        save(tmp_path / f"in/{name}.dcm", ds)
    ds.SOPInstanceUID, ds.StudyInstanceUID = f"{ROOT}.1.2", f"{ROOT}.8"
    save(tmp_path / "in/c.dcm", ds)
    save(tmp_path / "in/d.dcm", ds)
    report = anonymize(tmp_path / "in", tmp_path / "out")
    ((path, why),) = report.refused()
    assert path.name == "d.dcm" and "a second file" in why
    assert len({ds.PatientID for ds in outputs(tmp_path / "out")}) == 3  # nothing says that a and b are one patient
    clean(tmp_path / "out")


def test_shifted_dates_keep_their_intervals_for_a_patient_and_hide_the_time(tmp_path):
    days = {"ZQX-A": ("19870304", "19870401", "19871224"), "ZQX-B": ("19870304", "19870305", "19870306")}
    number = 0
    for patient, dates in days.items():
        for day in dates:
            save(tmp_path / f"in/{number}.dcm", hostile(number, patient=patient, day=day))
            number += 1
    files = copied(tmp_path, shift_dates=True)
    new = [np.datetime64(f"{ds.StudyDate[:4]}-{ds.StudyDate[4:6]}-{ds.StudyDate[6:]}") for ds in files]
    gaps = [(b - a).astype(int) for a, b in zip(new, new[1:], strict=False)]
    assert gaps[:2] == [28, 267] and gaps[3:] == [1, 1]
    assert new[0] != new[3], "two patients share a shift"
    for ds in files:
        assert ds.SeriesDate == ds.ContentDate == ds.StudyDate == ds.AcquisitionDateTime  # a day without its time
        assert ds.StudyDate != "" and ds.StudyTime == "" if "StudyTime" in ds else True
        assert ds.PatientBirthDate == "" and ds.ContentTime == "000000"


def state(folder: Path) -> dict:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino, path.read_bytes() if path.is_file() else b"")
            for path in sorted(folder.rglob("*"))}


def other_kinds(folder: Path) -> dict[str, str]:
    """Files that must be refused, and a word of the reason."""
    base = hostile()
    kinds = (("sr", "88.33", "SR"), ("pdf", "104.1", "DOC"), ("pr", "11.1", "PR"), ("seg", "66.4", "SEG"))
    for name, uid, modality in kinds:
        base.SOPClassUID, base.Modality = f"1.2.840.10008.5.1.4.1.1.{uid}", modality
        base.EncapsulatedDocument = b"zqx pdf "
        save(folder / f"{name}.dcm", base)
    base = hostile()
    base.SOPClassUID = f"{ROOT}.5"
    save(folder / "private_class.dcm", base)
    base = hostile()
    base.ImageType = ["DERIVED", "PRIMARY", "LABEL"]
    save(folder / "label.dcm", base)
    base = item(DirectoryRecordSequence=[item(PatientName="Zqx^Dir", DirectoryRecordType="PATIENT")])
    base.SOPClassUID, base.SOPInstanceUID, base.file_meta = "1.2.840.10008.1.3.10", f"{ROOT}.3", FileMetaDataset()
    base.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    save(folder / "DICOMDIR", base)
    whole = save(folder / "cut.dcm", hostile()).read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:whole.find(PIXELS.tobytes()) + 20])
    (folder / "cut_header.dcm").write_bytes(whole[:900])
    (folder / "zqx.txt").write_text("zqx")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "moving.gif").write_bytes(b"GIF89a zqx")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n zqx")
    (folder / "broken.nii.gz").write_bytes(gzip.compress(b"zqx" * 200))
    (folder / "link.dcm").symlink_to(save(folder.parent / "outside.dcm", hostile(9)))
    (folder / "loop").symlink_to(folder)
    return {"sr.dcm": "structured report", "pdf.dcm": "document", "pr.dcm": "presentation state",
            "seg.dcm": "segmentation", "private_class.dcm": "SOP class", "label.dcm": "label", "DICOMDIR": "DICOMDIR",
            "cut.dcm": "", "cut_header.dcm": "", "zqx.txt": "neither", "empty.dcm": "", "moving.gif": "neither",
            "broken.png": "damaged", "broken.nii.gz": "NIfTI", "link.dcm": "link", "loop": "link"}


def test_other_kinds_are_refused_listed_and_not_copied_and_the_input_stays(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    kinds = other_kinds(folder)
    save(folder / "good/zqx.dcm", hostile(5))
    before = state(folder)
    with pytest.raises(SystemExit) as stop:
        cli.main(["anonymize", str(folder), str(tmp_path / "out")])
    assert stop.value.code == 1
    said = capsys.readouterr().out
    for name, word in kinds.items():
        (why,) = [line.partition(f"/{name}: ")[2] for line in said.splitlines() if f"/{name}: " in line]
        assert word in why and "second file" not in why, (name, why)
    assert "no certificate" in said and "1 of 17 files copied" in said
    assert state(folder) == before
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1
    clean(tmp_path / "out")
    written = (tmp_path / "out/report.txt").read_text()
    assert "no certificate" in written and "PatientName" in written and written.count("refused") == len(kinds)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [row["number"] for row in report["files"]] == list(range(1, 18))
    (row,) = [row for row in report["files"] if "output" in row]
    assert row["done"]["X"]["private"] == 14 and row["done"]["U"]["SOPInstanceUID"] == 1
    assert row["done"]["X"]["PatientAge"] == 1 and row["done"]["Z"]["PatientBirthDate"] == 1


def test_an_interrupted_run_leaves_no_half_file(tmp_path, monkeypatch):
    for k in range(3):
        save(tmp_path / f"in/{k}.dcm", hostile(k))
    real, calls = os.replace, []

    def stop(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        anonymize(tmp_path / "in", tmp_path / "out")
    (path,) = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert (dcmread(path).pixel_array == PIXELS).all()
