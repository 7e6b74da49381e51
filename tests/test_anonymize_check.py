"""The rules and the check of `medssl anonymize`: what a header may say, and what is found of it afterwards."""

import pytest
from anonymize_files import ROOT, SC, US, clean, copied, hostile, save
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from medssl.data import deidentify_dicom
from medssl.data.deidentify import anonymize
from medssl.data.deidentify_check import Identifiers, survivors
from medssl.data.deidentify_profile import action_for


@pytest.mark.parametrize("keyword", ["InstitutionName", "AccessionNumber", "StudyDate", "FrameOfReferenceUID",
                                     "OperatorsName", "PatientBirthDate", "StudyID", "RetrieveAETitle",
                                     "StudyDescription"])
def test_the_check_does_not_trust_the_rules(tmp_path, monkeypatch, keyword):
    """A rule that keeps what it should not: the file is refused, and nothing of it is in the output."""
    save(tmp_path / "in/a.dcm", hostile())
    monkeypatch.setattr(deidentify_dicom, "action_for", lambda e: "K" if e.keyword == keyword else action_for(e))
    monkeypatch.setattr(deidentify_dicom, "names_someone", lambda *about: False)  # nor does emptying kept texts help
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


def test_short_names_are_words_and_short_numbers_are_not_pieces_of_longer_ones(tmp_path):
    own = Identifiers()
    for value, person in (("Lee^An", True), ("123456", False), ("Anonymous", True), ("Yamada^Tarou=山田^太郎", True)):
        own.add(value, person)
    assert own.in_text("scanner of lee") and not own.in_text("sleeve") and not own.in_text("anonymous")
    assert own.in_text("for 山田 only")
    none = Identifiers()
    assert survivors(b"\0 123456\0", own, none) and survivors(b"id=123456", own, none)
    assert not survivors(b"2.25.99123456001", own, none) and not survivors(b"123456.0", own, none)
    ds = hostile(patient="555")
    ds.PatientName, ds.Manufacturer, ds.ConvolutionKernel, ds.BodyPartExamined = "Lee^An", "of Dr. LEE", "sleeve", "HEAD"
    save(tmp_path / "in/a.dcm", ds)
    (new,) = copied(tmp_path)
    assert not new.Manufacturer and new.ConvolutionKernel == "sleeve" and new.BodyPartExamined == "HEAD"


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
