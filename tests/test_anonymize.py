"""`medssl anonymize`: files full of planted identifiers go in, and none of them comes out, by a search of its own.

Every planted text holds the letters ZQX, every planted UID begins with ROOT, and the planted dates are few: no byte of
the output, no file name and no report may hold one of them.
"""

import gzip
import io
import json
import os
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from medssl import cli
from medssl.data import deidentify, deidentify_dicom
from medssl.data.deidentify import anonymize
from medssl.data.deidentify_check import Identifiers, survivors
from medssl.data.deidentify_profile import action_for
from medssl.data.dicom import read_dicom
from medssl.data.dicom_series import read_series
from medssl.data.volumes import read_volume
from medssl.errors import MedsslError

ROOT = "1.2.826.0.1.424242"
CT, MR, US, SC = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "6.1", "7"))
PLANTED = (b"zqx", ROOT.encode(), b"19530717", b"19530101", b"19870304", b"1987:03:04")
PIXELS = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8) * 7


def item(**values) -> Dataset:
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def hostile(k: int = 0, syntax=ExplicitVRLittleEndian, patient: str = "ZQX-4711", day: str = "19870304") -> Dataset:
    """A CT slice that names its patient wherever a file can."""
    ds = item(
        SpecificCharacterSet="ISO_IR 100", SOPClassUID=CT, SOPInstanceUID=f"{ROOT}.1.{k + 1}", Modality="CT",
        StudyInstanceUID=f"{ROOT}.8", SeriesInstanceUID=f"{ROOT}.9", FrameOfReferenceUID=f"{ROOT}.10",
        PatientName=f"Zqxmüller^Zqx Anna^Zqxmiddle^Dr. zqx^PhD={patient}", PatientID=patient, StudyID="zqx7",
        PatientBirthDate="19530717", PatientSex="F", PatientAge="034Y", PatientWeight="71.5",
        OtherPatientIDs=["ZQX1", "ZQX22"],
        StudyDate=day, SeriesDate=day, AcquisitionDateTime=f"{day}101112.5+0100", ContentTime="101112", ContentDate=day,
        InstitutionName="ZQX Klinik", InstitutionAddress="Zqxstraße 1\r\nZQX", StationName="ZQXCT01",
        AccessionNumber="ZQX99887766",
        DeviceSerialNumber="ZQX-SER-1", ReferringPhysicianName="Zqxdoc^Eva", OperatorsName=["zqxop^a", "zqxop^b"],
        StudyDescription="Kontrolle Frau Zqxmüller", ImageComments="zqx free text, ring +49 ZQX", PatientComments="zqx",
        RetrieveAETitle=["ZQXPACS", "ZQXAE2"], ManufacturerModelName="Model 5", Manufacturer="Maker AG",
        ProtocolName="thorax zqx", DeidentificationMethod="zqx earlier tool", ImageType=["ORIGINAL", "PRIMARY"],
        BodyPartExamined="CHEST", WindowCenter="40", WindowWidth="400", ImagePositionPatient=[0, 0, 2.5 * k],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[0.5, 0.75], SliceThickness="2.5",
        InstanceNumber=k + 1,
        RequestAttributesSequence=[item(RequestedProcedureID="ZQX-REQ", ScheduledProcedureStepDescription="zqx")],
        IconImageSequence=[item(BitsAllocated=8, PixelData=b"ZQX!")], EncryptedAttributesSequence=[
            item(EncryptedContent=b"zqx zqx ")],
        ReferencedImageSequence=[item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=f"{ROOT}.1.1")],
        DerivationCodeSequence=[item(CodeValue="113040", CodingSchemeDesignator="DCM", CodeMeaning="Lossy Compression",
                                     PatientName="Zqxdeep^Name", TextComments="zqx deep",
                                     SourceImageSequence=[item(ReferencedSOPInstanceUID=f"{ROOT}.1.1",
                                                               OperatorsName="zqx^deeper")])],
    )  # fmt: skip
    for tag, vr, value in (
        (0x00102297, "PN", "zqx^responsible"), (0xFFFCFFFC, "OB", b"zqx "), (0x00181078, "DT", f"{day}120000"),
        (0x00409999, "UN", b"ZQX unknown "), (0x00104000, "UN", b"zqx comment "), (0x50003000, "OW", b"ZQXcurve"),
        (0x50000040, "LO", "zqx curve"), (0x60003000, "OW", b"ZQX overlay!"), (0x60000022, "LO", "zqx overlay"),
    ):  # fmt: skip
        ds.add_new(tag, vr, value)
    for group in (0x0009, 0x0029, 0x7FE1):
        block = ds.private_block(group, "ZQX CREATOR 1.0", create=True)
        block.add_new(0x10, "LO", patient)
        block.add_new(0x20, "SQ", [item(PatientName="zqx^private", StudyDate="19530101")])
        block.add_new(0x30, "OB", "Zqxmüller".encode("utf-16-le"))
    ds.DerivationCodeSequence[0].private_block(0x0011, "ZQX NESTED", create=True).add_new(1, "UN", b"zqx nested")
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 6, 8, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    values = (PIXELS + k).astype(">u2" if syntax == ExplicitVRBigEndian else "<u2")
    ds.add_new(0x7FE00010, "OW", values.tobytes())
    ds.file_meta, ds.preamble = FileMetaDataset(), b"ZQX preamble 19530717 ".ljust(128, b"z")
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.ImplementationVersionName, ds.file_meta.SourceApplicationEntityTitle = "ZQXVENDOR", "ZQXSTORE"
    ds.file_meta.ImplementationClassUID = f"{ROOT}.77"
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = f"{ROOT}.78", b"zqx private "
    if syntax == RLELossless:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(RLELossless, generate_instance_uid=False)
    if syntax == JPEGBaseline8Bit:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = encapsulate([jpeg(comment=b"zqx in the frame")])
        ds["PixelData"].VR = "OB"
    return ds


def jpeg(comment: bytes = b"", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS.astype(np.uint8)).save(file, "JPEG", comment=comment, **options)
    return file.getvalue()


def save(path: Path, ds: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(path, enforce_file_format=True)
    return path


def clean(out: Path) -> None:
    """No planted byte in any file, name or report below `out`; DICOM also inflated, NIfTI unpacked."""
    for path in out.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        for planted in PLANTED:
            assert planted not in data.lower(), f"{planted} in {path.name} at {data.lower().find(planted)}"
            assert planted not in str(path.relative_to(out)).lower().encode()


def outputs(out: Path) -> list[Dataset]:
    """The written DICOM files, in the order of their slices."""
    return sorted((dcmread(path) for path in out.rglob("*.dcm")), key=lambda ds: int(ds.get("InstanceNumber") or 0))


@pytest.fixture
def run(tmp_path):
    """anonymize tmp/in to tmp/out; everything must have been copied."""

    def go(**options) -> list[Dataset]:
        report = anonymize(tmp_path / "in", tmp_path / "out", **options)
        assert not report.refused()
        return outputs(tmp_path / "out")

    return go


SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
            RLELossless, JPEGBaseline8Bit]


@pytest.mark.parametrize(("syntax", "shift"), [(syntax, k % 2 == 0) for k, syntax in enumerate(SYNTAXES)])
def test_nothing_that_was_planted_is_left(tmp_path, run, syntax, shift):
    """In no encoding; and the pixels, the geometry, the machine and the codes are still there."""
    source = save(tmp_path / "in/Zqxmüller_19530717.dcm", hostile(syntax=syntax))
    (ds,) = run(shift_dates=shift)
    (path,) = (tmp_path / "out").rglob("*.dcm")
    clean(tmp_path / "out")
    assert (read_dicom(path).array == read_dicom(source).array).all()
    plain = ExplicitVRLittleEndian if syntax.is_deflated else syntax  # deflated bytes could not be searched
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


def test_the_same_uid_stays_the_same_everywhere_and_is_another_in_the_next_run(tmp_path, run):
    for k in range(3):
        save(tmp_path / f"in/{k}.dcm", hostile(k))
    save(tmp_path / "in/other.dcm", hostile(7, patient="ZQX-0815"))
    *files, other = run()
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


def test_shifted_dates_keep_their_intervals_for_a_patient_and_hide_the_time(tmp_path, run):
    days = {"ZQX-A": ("19870304", "19870401", "19871224"), "ZQX-B": ("19870304", "19870305", "19870306")}
    number = 0
    for patient, dates in days.items():
        for day in dates:
            save(tmp_path / f"in/{number}.dcm", hostile(number, patient=patient, day=day))
            number += 1
    files = run(shift_dates=True)
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


def test_places_that_would_harm_are_refused(tmp_path):
    folder = save(tmp_path / "in/a.dcm", hostile()).parent
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("x")
    (tmp_path / "shortcut").symlink_to(folder)
    for out in (folder, folder / "out", tmp_path / "full", tmp_path / "full/x", tmp_path / "shortcut/out"):
        with pytest.raises(MedsslError, match="inside|not empty"):
            anonymize(folder, out)
    for key in (tmp_path / "out/key.json", folder / "key.json", tmp_path / "shortcut/key.json"):
        with pytest.raises(MedsslError, match="key"):
            anonymize(folder, tmp_path / "out", key=key)
    with pytest.raises(MedsslError, match="not there"):
        anonymize(tmp_path / "nowhere", tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["a.dcm"] and not (tmp_path / "out").exists()


def test_the_way_back_exists_only_where_it_is_asked_for(tmp_path, run):
    save(tmp_path / "in/zqx_a.dcm", hostile())
    key = tmp_path / "safe/key.json"
    (ds,) = run(key=key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    kept = json.loads(key.read_text())
    assert kept["patients"][ds.PatientID] == "ZQX-4711" and kept["uids"][ds.SOPInstanceUID] == f"{ROOT}.1.1"
    assert list(kept["files"].values()) == [str(tmp_path / "in/zqx_a.dcm")]
    clean(tmp_path / "out")
    anonymize(tmp_path / "in", tmp_path / "later", key=key)
    later = outputs(tmp_path / "later")[0]
    assert (later.PatientID, later.SOPInstanceUID) == (ds.PatientID, ds.SOPInstanceUID)
    key.write_text("{}")
    with pytest.raises(MedsslError, match="no key"):
        anonymize(tmp_path / "in", tmp_path / "third", key=key)


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


@pytest.mark.parametrize("keyword", ["InstitutionName", "AccessionNumber", "StudyDate", "FrameOfReferenceUID",
                                     "OperatorsName", "PatientBirthDate", "StudyID", "RetrieveAETitle",
                                     "StudyDescription"])
def test_the_check_does_not_trust_the_rules(tmp_path, monkeypatch, keyword):
    """A rule that keeps what it should not: the file is refused, and nothing of it is in the output."""
    save(tmp_path / "in/a.dcm", hostile())
    monkeypatch.setattr(deidentify_dicom, "action_for", lambda e: "K" if e.keyword == keyword else action_for(e))
    monkeypatch.setattr(deidentify_dicom, "is_text", lambda e: False)  # nor does the cleaning of kept texts help
    report = anonymize(tmp_path / "in", tmp_path / "out")
    assert len(report.refused()) == 1 and "still stood" in report.refused()[0][1]
    assert not list((tmp_path / "out").rglob("*.dcm"))
    clean(tmp_path / "out")


@pytest.mark.parametrize("hidden", [b"Zqxmiddle", b"ZQX99887766", f"{ROOT}.8".encode(), b"x19530717x",
                                    "Zqxmüller".encode("utf-16-le"), "ZQXMÜLLER".encode("latin-1")])
def test_an_identifier_among_the_pixels_is_found(tmp_path, hidden):
    ds = hostile()
    ds.PixelData = hidden + ds.PixelData[len(hidden):]
    save(tmp_path / "in/a.dcm", ds)
    assert "still stood" in anonymize(tmp_path / "in", tmp_path / "out").refused()[0][1]
    clean(tmp_path / "out")


def test_short_names_are_words_and_short_numbers_are_not_pieces_of_longer_ones(tmp_path, run):
    own = Identifiers()
    for value, person in (("Lee^An", True), ("123456", False), ("Anonymous", True), ("Yamada^Tarou=山田^太郎", True)):
        own.add(value, person)
    assert own.in_text("scanner of lee") and not own.in_text("sleeve") and not own.in_text("anonymous")
    assert own.in_text("for 山田 only")
    none = Identifiers()
    assert survivors(b"\0 123456\0", own, none) and survivors(b"id=123456", own, none)
    assert not survivors(b"2.25.99123456001", own, none) and not survivors(b"123456.0", own, none)
    ds = hostile(patient="555")
    ds.PatientName, ds.Manufacturer, ds.SequenceName, ds.BodyPartExamined = "Lee^An", "for Dr. LEE", "sleeve", "HEAD"
    save(tmp_path / "in/a.dcm", ds)
    (new,) = run()
    assert not new.Manufacturer and new.SequenceName == "sleeve" and new.BodyPartExamined == "HEAD"


def test_what_hides_beside_the_pixels_is_cut_off(tmp_path, run):
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
    first, second = run()
    assert first.PixelData == PIXELS.astype("<u2").tobytes()
    assert second.PixelData == values.tobytes(), "the sign of a negative number is no overlay"


@pytest.mark.parametrize(("change", "word"), [
    ({"BurnedInAnnotation": "YES"}, "burned into its pixels"), ({"SOPClassUID": US, "Modality": "US"}, "often"),
    ({"SOPClassUID": SC, "Modality": "OT"}, "often"), ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "often"),
    ({"Modality": "DX"}, "does not say"), ({}, ""), ({"Modality": "DX", "BurnedInAnnotation": "NO"}, "")])  # fmt: skip
def test_text_that_may_be_in_the_pixels_is_warned_of(tmp_path, change, word):
    ds = hostile()
    for name, value in change.items():
        setattr(ds, name, value)
    save(tmp_path / "in/a.dcm", ds)
    warning = anonymize(tmp_path / "in", tmp_path / "out").files[0]["warning"]
    assert word in warning and bool(word) == bool(warning)


def test_the_table_does_at_least_what_the_standard_says():
    """Each row of Table E.1-1 as another tool lists it (edition 2026c): removed or emptied there, so here too."""
    selector = pytest.importorskip("dicomanonymizer.dicomfields_selector")
    table, weaker, seen = selector.dicom_anonymization_database_selector("dicomfields_2026c"), [], 0
    for kind, rows in table.items():
        for row in rows if kind != "ALL_TAGS" else ():
            if len(row) > 2:
                continue  # repeating groups, private elements: see the first test
            tag = Tag(*row)
            vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
            seen += 1
            action = action_for(DataElement(tag, vr, [] if vr == "SQ" else None))
            allowed = {"U_TAGS": "UX", "X_Z_U_STAR_TAGS": "KXZ", "X_TAGS": "X"}.get(kind, "XZDU")
            if action not in allowed:
                weaker.append((keyword_for_tag(tag) or str(tag), kind, action))
    assert seen > 600 and not weaker, weaker
    kept = {e for e in ("PatientName", "InstitutionName", "StudyDescription", "PatientAge") if action_for(
        DataElement(e, "LO", "x")) == "K"}
    assert not kept


def test_nifti_keeps_its_voxels_and_its_place_and_nothing_in_words(tmp_path, run):
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
    run()
    clean(tmp_path / "out")
    for new in (tmp_path / "out/volumes/000001.nii", tmp_path / "out/volumes/000002.nii.gz"):
        image = nibabel.load(new)
        assert (np.asarray(image.dataobj) == voxels * 2 - 1).all() and (image.affine == affine).all()
        assert not image.header.extensions
    assert b"zqx" not in (tmp_path / "out/volumes/000002.nii.gz").read_bytes()  # gzip keeps a file's name
    old, new = (read_volume(tmp_path / place) for place in ("in/zqx0.nii", "out/volumes/000001.nii"))
    assert (old.array == new.array).all() and old.spacing == new.spacing


def test_pictures_keep_their_pixels_and_lose_their_notes(tmp_path, run):
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
    run()
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
    folder = real("dicom/series_sts002_mr_t1")
    assert not anonymize(folder, tmp_path / "out").refused()
    old, new = read_series(folder), read_series(tmp_path / "out")
    assert (old.array == new.array).all() and (old.affine == new.affine).all() and old.modality == new.modality
    assert len(list((tmp_path / "out").glob("ANON-*/2.25.*/2.25.*.dcm"))) == len(list(folder.iterdir()))
    assert deidentify.NOTICE in (tmp_path / "out/report.txt").read_text()
