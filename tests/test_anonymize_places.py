"""Where `medssl anonymize` writes: below the output and nowhere else, and the way back only where it is asked for."""

import json
import stat
import warnings

import pytest
from anonymize_files import CT, ROOT, clean, copied, hostile, outputs, save
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement

from medssl.data import deidentify
from medssl.data.deidentify import anonymize
from medssl.errors import MedsslError


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


@pytest.mark.parametrize(("keyword", "vr", "copies"), [
    ("SeriesInstanceUID", "CS", True), ("SeriesInstanceUID", "UI", True), ("SOPInstanceUID", "CS", False),
    ("SOPInstanceUID", "UI", True), ("PatientID", "CS", True)])
@pytest.mark.parametrize("away", ["../../../zqxaway", "/absolute"])
def test_no_file_can_name_a_place_outside_the_output(tmp_path, keyword, vr, copies, away):
    ds = hostile()
    away = str(tmp_path / "zqxaway") if away == "/absolute" else away
    ds.add(DataElement(tag_for_keyword(keyword), vr, away))
    ds.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.1.1"
    ds.file_meta.MediaStorageSOPClassUID = CT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (tmp_path / "deep/in").mkdir(parents=True)
        ds.save_as(tmp_path / "deep/in/a.dcm", enforce_file_format=False)
        report = anonymize(tmp_path / "deep/in", tmp_path / "deep/out")
    assert bool(report.refused()) != copies
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != tmp_path / "deep/in/a.dcm"]
    assert len(written) == 2 + copies and all(path.is_relative_to(tmp_path / "deep/out") for path in written)
    clean(tmp_path / "deep/out")


@pytest.mark.parametrize("name", ["../a.dcm", "x/../../a.dcm", "/absolute/a.dcm", "link/a.dcm"])
def test_the_last_door_is_shut_too(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path)
    with pytest.raises(MedsslError, match="out of the output"):
        deidentify._write(tmp_path / "out", name, b"zqx")
    assert not (tmp_path / "a.dcm").exists()


def test_the_way_back_exists_only_where_it_is_asked_for(tmp_path):
    save(tmp_path / "in/zqx_a.dcm", hostile())
    key = tmp_path / "safe/key.json"
    (ds,) = copied(tmp_path, key=key)
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
