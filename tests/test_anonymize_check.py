"""The rules and the check of `medssl anonymize`: what a header may say, and what is found of it afterwards."""

import pytest
from anonymize_files import CT, ROOT, SC, US, clean, copied, hostile, item, save
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from medssl.data import deidentify_dicom
from medssl.data.deidentify import anonymize
from medssl.data.deidentify_check import Identifiers, identifiers, names_someone, survivors
from medssl.data.deidentify_profile import action_for


def odd(keyword: str, vr: str, value):
    """An element in a representation that the standard does not give it."""
    return DataElement(tag_for_keyword(keyword), vr, value)


@pytest.mark.parametrize("vr", ["CS", "UI", "DT"])
def test_what_a_file_says_of_its_own_representations_is_not_believed(tmp_path, vr):
    """A name as a code string is a name: removed by the rules, and sought by the check."""
    ds = hostile()
    words = {"InstitutionName": "ZQX SPITAL", "PatientBirthName": "ZQXODD", "PatientAddress": "ZQX STREET 7",
             "StudyDescription": "FRAU ZQXODD", "ContentDate": "19530101"}
    for keyword, value in words.items():
        ds.add(odd(keyword, vr, value))
    ds.add(odd("FrameOfReferenceUID", "CS", f"{ROOT}.10"))
    assert {"zqx spital", "zqxodd"} <= identifiers(ds).strings and "19530101" in identifiers(ds).dates
    assert f"{ROOT}.10" in identifiers(ds).uids
    save(tmp_path / "in/a.dcm", ds)
    (new,) = copied(tmp_path, shift_dates=True)
    assert not {*words, "FrameOfReferenceUID"} & set(new.dir())
    clean(tmp_path / "out")


def test_old_dates_are_sought_too():
    ds = hostile()
    ds.add(DataElement(tag_for_keyword("PatientBirthDate"), "DA", "1951.07.17"))
    assert identifiers(ds).in_text("born 17/07/1951")


@pytest.mark.parametrize(("keyword", "value", "why"), [("SOPInstanceUID", CT, "one of the standard's own"),
                                                       ("HighBit", 20, "impossible")])
def test_a_number_that_cannot_be_is_refused(tmp_path, keyword, value, why):
    ds = hostile()
    setattr(ds, keyword, value)
    save(tmp_path / "in/a.dcm", ds)
    assert why in anonymize(tmp_path / "in", tmp_path / "out").refused()[0][1]


@pytest.mark.parametrize("keyword", ["RescaleSlope", "PhotometricInterpretation"])
def test_an_odd_representation_of_what_the_pixels_mean_is_refused(tmp_path, keyword):
    ds = hostile()
    ds.add(odd(keyword, "LO", "1"))
    save(tmp_path / "in/a.dcm", ds)
    assert f"its {keyword} is written as LO" in anonymize(tmp_path / "in", tmp_path / "out").refused()[0][1]


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


@pytest.mark.parametrize(("name", "text", "found"), [
    ("Li^Wu", "Li Wu", True), ("Li^Wu", "WU, LI", True), ("Li^Wu", "for li_wu", True), ("Li^Wu", "liwu_t1", True),
    ("Li^Wu", "of Mr Li", True), ("Li^Wu", "lithium wurst", False), ("Doe^John", "DoeJohn_t1", True),
    ("Doe^John", "JohnDoe", True), ("Doe^John", "doe, john", True), ("Doe^John", "does johnny", False),
    ("Yu^Hu", "HU", True), ("Nakamura", "sinakamuration", True)])
def test_the_parts_of_a_name_are_found_however_they_are_joined(name, text, found):
    own = Identifiers()
    own.add(name, person=True)
    assert own.in_text(text) == found


def test_two_letters_are_no_name_among_the_terms_of_the_standard():
    """Mr No Hu would cost each MR its modality, and each CT its unit."""
    own = Identifiers()
    own.add("No^Hu^^Mr", person=True)
    assert not own.in_text("MR", code=True) and not own.in_text("NO", code=True) and own.in_text("NO^HU", code=True)
    for element in (DataElement("Modality", "CS", "MR"), DataElement("RescaleType", "LO", "HU")):
        assert not names_someone(element, own, Identifiers())
    assert names_someone(DataElement("ConvolutionKernel", "SH", "of Hu"), own, Identifiers())


@pytest.mark.parametrize("hidden", [b"JOHN DOE", b"DoeJohn", b"Doe_John", "Doe John".encode("utf-16-le"),
                                    b"1953-07-17", b"17.07.1953", b"07/17/1953"])
def test_other_spellings_are_found_anywhere(hidden):
    own = Identifiers()
    own.add("Doe^John", person=True)
    own.dates.add("19530717")
    assert survivors(b"\0\1" + hidden + b"\0", own, Identifiers())
    assert not survivors(b"\0does 1953 johnny 0717\0", own, Identifiers())


def test_dates_in_words_and_a_number_of_the_patient_among_the_figures_are_emptied(tmp_path):
    ds = hostile(patient="004711")
    ds.StudyID, ds.AccessionNumber, ds.InstitutionalDepartmentName = "0001", "0000", "²³²³"
    ds.SeriesNumber, ds.AcquisitionNumber, ds.RescaleSlope, ds.EchoTrainLength = "4711", "47110", "4711", "0"
    ds.ManufacturerModelName, ds.ConvolutionKernel = "1953-07-17 syngo", "b30f"
    save(tmp_path / "in/a.dcm", ds)
    (new,) = copied(tmp_path)
    assert new.SeriesNumber is None and not new.ManufacturerModelName
    assert (new.AcquisitionNumber, new.RescaleSlope, new.EchoTrainLength, new.InstanceNumber) == (47110, 4711, 0, 1)
    assert new.ConvolutionKernel == "b30f"


def test_free_text_in_codes_versions_and_profiles_goes_and_so_does_the_size_of_the_body(tmp_path):
    ds = hostile()
    for scheme, meaning in (("99HOSPITAL", "free text 1"), ("", "free text 2"), ("SCT", "Lung")):
        code = item(CodeValue="1", CodingSchemeDesignator=scheme, CodeMeaning=meaning)
        ds.DerivationCodeSequence.append(code)
    ds.DerivationCodeSequence[1].LongCodeValue = "free text 3"
    ds.SequenceName, ds.SoftwareVersions, ds.ICCProfile = "free text 4", "free text 5", b"free text 6 "
    ds.PatientBodyMassIndex, ds.MeasuredAPDimension, ds.MeasuredLateralDimension = 31.5, 314.5, 315.5
    save(tmp_path / "in/a.dcm", ds)
    (new,) = copied(tmp_path)
    assert [code.CodeMeaning for code in new.DerivationCodeSequence][1:] == ["REMOVED", "REMOVED", "Lung"]
    data = next((tmp_path / "out").rglob("*.dcm")).read_bytes()
    assert not [n for n in range(1, 7) if f"free text {n}".encode() in data]
    assert [element.keyword for element in new if element.tag.group == 0x10] == [
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex"]
    assert "meanings of public codes" in (tmp_path / "out/report.txt").read_text()


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
    ds.PatientName, ds.Manufacturer = "Lee^An", "for Dr. LEE"
    ds.ConvolutionKernel, ds.BodyPartExamined = "sleeve", "HEAD"
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
            others = {"CS", "IS", "DS", "US", "FD", "AT", "UI", "SQ"} - set(vr.split(" or "))
            assert all(action_for(DataElement(tag, other, [] if other == "SQ" else None)) == "X" for other in others)
            allowed = {"U_TAGS": "UX", "X_Z_U_STAR_TAGS": "KXZ", "X_TAGS": "X"}.get(kind, "XZDU")
            if action not in allowed:
                weaker.append((keyword_for_tag(tag) or str(tag), kind, action))
    assert seen > 600 and not weaker, weaker
    kept = {e for e in ("PatientName", "InstitutionName", "StudyDescription", "PatientAge") if action_for(
        DataElement(e, "LO", "x")) == "K"}
    assert not kept
