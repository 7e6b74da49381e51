"""Catalogs of scans: which rows become records, who they are, and what is refused."""

import csv
import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medssl.data.catalog import ScanRecord, identity, read_catalog
from medssl.data.phantom_catalog import COLUMNS, FAULTS, phantom_catalog
from medssl.errors import MedsslError

pytest.importorskip("polars")


def table(path: Path, rows: list[dict], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def series(folder: Path, *places: str, **more) -> list[dict]:
    """Rows, each with a folder of one (empty) NIfTI file."""
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "scan.nii.gz").touch()
    return [{"pmbb_id": place.split("/")[0], "modality": "CT", "series_path": place} | more for place in places]


def test_phantom_catalog(tmp_path):
    path = phantom_catalog(tmp_path, 6, FAULTS)
    records, rejected = read_catalog(path)
    assert {one.reason for one in rejected} == {"no_folder", "no_file", "ambiguous_nifti", "other_modality"}
    assert len(records) + len(rejected) == 6 + len(FAULTS)
    assert all(one.why.endswith((".", "?")) and one.path for one in rejected)
    first = next(one for one in records if one.series_path == "PHANTOM0001/mr/series2")
    assert (first.patient, first.study, first.modality) == ("PHANTOM0001", "PHANTOM0001/mr", "MR")
    assert first.nifti_path == str(tmp_path / "PHANTOM0001/mr/series2/series2.nii.gz")
    only_mr, others = read_catalog(path, ("MR",))
    assert {one.modality for one in only_mr} == {"MR"} and len(only_mr) + len(others) == 6 + len(FAULTS)


def test_a_file_of_two_patients_is_nobodys(tmp_path):
    """One of the two could be held out while the other is learnt from."""
    rows = series(tmp_path, "P1/ct/a", "P2/ct/b", "P3/ct/c")
    (tmp_path / "link").symlink_to(tmp_path / "P1")
    rows += [{"pmbb_id": "P9", "modality": "CT", "series_path": "P2/../P2/ct/b"}]
    rows += [{"pmbb_id": "P1", "modality": "CT", "series_path": "link/ct/a"}]  # the same patient's own scan again
    records, rejected = read_catalog(table(tmp_path / "c.csv", rows))
    assert {one.patient for one in records} == {"P1", "P3"}
    assert sorted((one.reason, one.row, one.patient) for one in rejected) == [
        ("duplicate", 5, "P1"), ("several_patients", 2, "P2"), ("several_patients", 4, "P9")]
    assert all(one.scan_id and one.why for one in rejected)


def test_identity_is_the_sha256_of_the_fields(tmp_path):
    (record,), _ = read_catalog(table(tmp_path / "c.csv", series(tmp_path, "P1/ct/a")))
    told = hashlib.sha256(json.dumps(["", "P1", "P1/ct", "P1/ct/a"]).encode()).hexdigest()
    assert record == ScanRecord(told, told, "CT", str(tmp_path / "P1/ct/a/scan.nii.gz"), "P1/ct/a", "P1", "P1/ct")
    assert identity("a", "b|c") != identity("a|b", "c") != identity("a|b", "c", "")


def test_no_two_of_a_million_identities_are_the_same():
    ids = {identity("pmbb", f"P{k // 20}", f"{k % 20 // 4}", f"{k % 4}") for k in range(1_000_000)}
    assert len(ids) == 1_000_000


def test_identities_in_other_processes(tmp_path, repo):
    path = table(tmp_path / "c.csv", series(tmp_path, *(f"P{k}/ct/é{k % 3}" for k in range(20))))
    program = (
        "import sys, types\n"  # the package's own __init__ would import torch
        "for name in ('medssl', 'medssl.data'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        f"    sys.modules[name].__path__ = [{str(repo / 'starter/src')!r} + '/' + name.replace('.', '/')]\n"
        "from medssl.data.catalog import read_catalog\n"
        "print(*(one.scan_id for one in read_catalog(sys.argv[1])[0]))\n")  # fmt: skip
    mine = [one.scan_id for one in read_catalog(path)[0]]
    assert mine == sorted(mine) and len(set(mine)) == 20
    for seed in ("0", "1", "77"):
        told = subprocess.run([sys.executable, "-c", program, str(path)], env=os.environ | {"PYTHONHASHSEED": seed},
                              capture_output=True, text=True, check=True).stdout.split()
        assert told == mine


def test_a_moved_archive_keeps_its_identities(tmp_path):
    ids = []
    for name in ("here", "there"):
        folder = tmp_path / name
        rows = series(folder, "P1/ct/a", "P1/ct/b")
        ids.append([one.scan_id for one in read_catalog(table(folder / "c.csv", rows))[0]])
        for row in rows:  # the same place, written in other ways
            row["series_path"] = f"{folder}/./{row['series_path']}/"
        ids.append([one.scan_id for one in read_catalog(table(folder / "absolute.csv", rows))[0]])
    assert ids[0] == ids[1] == ids[2] == ids[3]
    elsewhere = table(tmp_path / "c.csv", series(tmp_path / "here", "P1/ct/a", "P1/ct/b"))
    assert [one.scan_id for one in read_catalog(elsewhere, root=tmp_path / "here")[0]] == ids[0]


def test_the_same_series_counts_once(tmp_path):
    rows = series(tmp_path, "P1/ct/a", "P1/ct/b", "P1/ct/a", "P1//ct/./a")
    records, rejected = read_catalog(table(tmp_path / "c.csv", rows))
    assert len(records) == 2 and [one.reason for one in rejected] == ["duplicate", "duplicate"]


def test_never_a_guess(tmp_path):
    rows = series(tmp_path, "P1/ct/a", "P1/ct/b", "P1/ct/c")
    (tmp_path / "P1/ct/a/._scan.nii.gz").touch()  # what macOS leaves behind is no second file
    (tmp_path / "P1/ct/a/scan.json").touch()
    (tmp_path / "P1/ct/b/scan.nii").touch()
    (tmp_path / "P1/ct/c/scan.nii.gz").unlink()
    (tmp_path / "P1/ct/c/deeper").mkdir()
    (tmp_path / "P1/ct/c/deeper/scan.nii.gz").touch()
    (tmp_path / "P1/ct/large.nii.gz").write_bytes(b"0" * 1000)  # beside the series, not in it
    (kept,), rejected = read_catalog(table(tmp_path / "c.csv", rows))
    assert kept.series_path == "P1/ct/a"
    assert {one.path: one.reason for one in rejected} == {"P1/ct/b": "ambiguous_nifti", "P1/ct/c": "no_file"}


def test_a_table_of_ones_own(tmp_path):
    for name in ("a_ct.nii.gz", "a_mr.nii", "b.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    rows = [{"patient": "007", "modality": " ct ", "nifti_path": "a_ct.nii.gz"},
            {"patient": "007", "modality": "MR", "nifti_path": str(tmp_path / "a_mr.nii")},
            {"patient": "8", "modality": "MR", "nifti_path": "b.nii.gz"},
            {"patient": "", "modality": "MR", "nifti_path": "b.nii.gz"},
            {"patient": "8", "modality": "MR", "nifti_path": ""},
            {"patient": "8", "modality": "MR", "nifti_path": "notes.txt"},
            {"patient": "8", "modality": "MRI", "nifti_path": "b.nii.gz"},
            {"patient": "8", "modality": "MR", "nifti_path": "c.nii.gz"}]
    records, rejected = read_catalog(table(tmp_path / "c.csv", rows))
    assert sorted((one.patient, one.modality, Path(one.nifti_path).name) for one in records) == [
        ("007", "CT", "a_ct.nii.gz"), ("007", "MR", "a_mr.nii"), ("8", "MR", "b.nii.gz")]
    assert [one.reason for one in rejected] == ["no_patient", "no_path", "no_file", "other_modality", "no_file"]
    assert len({one.series_id for one in records}) == 3  # one folder, and yet three series

    for row in rows:
        row["series"], row["study"] = "one", "first"
    named, _ = read_catalog(table(tmp_path / "named.csv", rows))
    assert len({one.series_id for one in named}) == 2 and len({one.scan_id for one in named}) == 3
    assert {one.study for one in named} == {"first"}


@pytest.mark.parametrize("kind", ["tsv", "gz", "parquet", "bom"])
def test_kinds_of_table(tmp_path, kind):
    rows = series(tmp_path, *(f"{k:04d}/ct/a" for k in range(150)), "late/ct/a")  # late: no number any more
    told = read_catalog(table(tmp_path / "c.csv", rows))[0]
    assert len(told) == 151 and "0007" in {one.patient for one in told}
    if kind == "tsv":
        path = table(tmp_path / "c.tsv", rows, "\t")
    elif kind == "gz":
        path = tmp_path / "c.csv.gz"
        path.write_bytes(gzip.compress((tmp_path / "c.csv").read_bytes()))
    elif kind == "bom":
        path = table(tmp_path / "bom.csv", rows, encoding="utf-8-sig")
    else:
        import polars

        path = tmp_path / "c.parquet"
        polars.DataFrame(rows).write_parquet(path)
    assert read_catalog(path)[0] == told


def test_missing_columns_are_told_with_the_nearest(tmp_path):
    path = table(tmp_path / "c.csv", [{"PMBB_ID": "1", "modality": "CT", "seriespath": "a", "body_part": "x"}])
    with pytest.raises(MedsslError, match="no column pmbb_id or patient, and none nifti_path or series_path") as error:
        read_catalog(path)
    assert "'PMBB_ID'" in str(error.value) and "'seriespath'" in str(error.value)
    with pytest.raises(MedsslError, match="no column modality; it has pmbb_id, series_path"):
        read_catalog(table(tmp_path / "c.csv", [{"pmbb_id": "1", "series_path": "a"}]))


@pytest.mark.parametrize("content", [b"", b"pmbb_id,modality,series_path\nP1,CT,a,more,and,more\n",
                                     b"pmbb_id,modality,series_path\nP\xe9,CT,a\n", b"PAR1 is no parquet"])
def test_no_table(tmp_path, content):
    path = tmp_path / ("c.parquet" if content.startswith(b"PAR1") else "c[1].csv")
    path.write_bytes(content)
    with pytest.raises(MedsslError, match="cannot be read as a table"):
        read_catalog(path)
    with pytest.raises(MedsslError, match="no catalog"):
        read_catalog(tmp_path)


def test_no_row(tmp_path):
    (tmp_path / "c.csv").write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    assert read_catalog(tmp_path / "c.csv") == ([], [])


hostile = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(hostile, hostile, hostile), min_size=1, max_size=6))
@example([("P1", "a\x00b", "CT"), ("=1+1", "../../etc", "CT"), ('"', ",\n", "CT"), ("P1", "x" * 5000, "CT")])
@example([("P\r", "a\rb", "CT"), ("P", "~", "MR"), ("\ufeff", "$HOME", "CT"), ("P", "/", "CT")])
def test_hostile_text(tmp_path, rows):
    """Whatever the cells hold: each row is counted once, and no file comes from anywhere."""
    path = table(tmp_path / "c.csv", [dict(zip(("pmbb_id", "series_path", "modality"), row, strict=True))
                                      for row in rows])
    records, rejected = read_catalog(path)
    assert len(records) == 0 and len(rejected) == len(rows)
    assert {one.reason for one in rejected} <= {"no_folder", "no_file", "no_patient", "no_path", "other_modality"}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40))
@example("a, b\"c'd\ne")
def test_hostile_folder_names(tmp_path, name):
    """A folder may be called what it likes, but for blanks at its ends: cells are stripped of those."""
    name = "x" + name.encode()[:80].decode(errors="ignore") + "x"
    folder = tmp_path / "archive"
    (record,), rejected = read_catalog(table(tmp_path / "c.csv", series(folder, f"P/ct/{name}")), root=folder)
    assert not rejected and record.nifti_path == str(folder / "P/ct" / name / "scan.nii.gz")
