"""Preflight: each fault has its reason, the counts add up, and nothing is read that need not be."""

import gzip
import json
import multiprocessing
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from medssl.cli import app
from medssl.data import preflight as module
from medssl.data.catalog import ScanRecord, read_catalog
from medssl.data.phantom_catalog import FAULTS, phantom_catalog
from medssl.data.preflight import check_header, preflight
from medssl.data.preflight_report import REASONS
from medssl.data.scan_cache import open_cached
from medssl.errors import MedsslError

pytest.importorskip("polars")
pytest.importorskip("blosc2")
EXPECTED = {"no folder": "no_folder", "no file": "no_file", "two files": "ambiguous_nifti",
            "cut short": "nifti_load_failed", "not nifti": "nifti_load_failed", "singular affine": "affine_singular",
            "nan": "nonfinite", "4d": "ndim", "too small": "shape_too_small", "other modality": "other_modality"}
ONLY_IN_VOXELS = ("cut short", "nan")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Path:
    """Six good scans, then one of each fault, in the order of FAULTS."""
    return phantom_catalog(tmp_path_factory.mktemp("catalog"), 6, FAULTS)


@pytest.fixture(scope="module")
def full(catalog, tmp_path_factory):
    """(report, its JSON, the folder of the cache)"""
    folder = tmp_path_factory.mktemp("full")
    found = preflight(catalog, "full", folder / "report.json", folder / "cache")
    return found, json.loads((folder / "report.json").read_text()), folder / "cache"


def reasons(report: dict) -> dict[str, str]:
    """{series folder: reason}"""
    return {"/".join((one["path"] if "." not in one["path"] else str(Path(one["path"]).parent)).split("/")[-3:]):
            one["reason"] for one in report["scans"]}


@pytest.mark.parametrize("level", ["header", "full"])
def test_each_fault_has_its_reason(catalog, full, tmp_path, level):
    if level == "full":
        found, told, _ = full
    else:
        found = preflight(catalog, report=tmp_path / "report.json")
        told = json.loads((tmp_path / "report.json").read_text())
    by_place, n = reasons(told), 0
    for k, fault in enumerate(FAULTS, 6):
        place = f"PHANTOM{k // 3:04d}/{('ct', 'ct', 'mr')[k % 3]}/series{k % 3}"
        kept = level == "header" and fault in ONLY_IN_VOXELS
        assert by_place[place] == ("" if kept else EXPECTED[fault]), fault
        n += not kept
    assert (told["kept"], told["rejected"], told["total"]) == (len(found.kept), len(found.rejected), 16)
    assert told["rejected"] == n
    assert sum(told["reasons"].values()) == n and len(told["scans"]) == 16 and told["level"] == level
    assert all(len(one["why"]) > 20 for one in told["scans"] if one["reason"])
    assert set(told["reasons"]) <= set(REASONS) and list(told)[:3] == ["kept", "rejected", "reasons"]
    table = found.table()
    assert f"{16 - n} of 16 kept" in table and all(f"{REASONS[code]}\n" in table for code in told["reasons"])


def test_full_writes_cache_and_statistics(full):
    found, told, cache = full
    assert {path.stem for path in cache.glob("*.b2nd")} == {one.scan_id for one in found.kept}
    for one in told["scans"]:
        if not one["reason"]:
            assert open_cached(cache, one["scan_id"]).stats.median == one["stats"]["median"]


def nifti(path: Path, array=None, affine=None, zooms=None, qform=None, **header) -> Path:
    """A file written by nibabel alone."""
    if array is None:
        array = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 12)).astype(np.int16)
    image = nibabel.Nifti1Image(array, None)
    image.header.set_zooms(zooms or (2.0, 2.0, 5.0)[:array.ndim] + (1.0,) * (array.ndim - 3))
    image.set_sform(np.diag([2.0, 2, 5, 1]) if affine is None else affine, 1)
    if qform is not None:
        image.set_qform(qform, 1)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


SHEARED = np.diag([2.0, 2, 5, 1])
SHEARED[1, 2] = 1.0
FLAT = np.diag([2.0, 2, 0, 1])
ROUNDED = np.diag([2.0, 2, 5, 1])  # no affine of a scanner, and still far from invertible for floats
ROUNDED[:3, 2] = ROUNDED[:3, 1] * 2.5 + 1e-9
MOVED = np.diag([2.0, 2, 5, 1])
MOVED[0, 3] = 30
COLOURS = np.zeros((20, 20, 12), [("R", "u1"), ("G", "u1"), ("B", "u1")])
GREY = np.random.default_rng(0).integers(0, 900, (20, 20, 12))


@pytest.mark.parametrize(("how", "reason"), [
    ({}, ""),
    ({"affine": FLAT}, "affine_singular"), ({"affine": ROUNDED}, "affine_singular"),
    ({"affine": SHEARED}, "affine_sheared"), ({"affine": np.diag([3.0, 2, 5, 1])}, "spacing_mismatch"),
    ({"pixdim": [1, 2, 0, 5, 0, 0, 0, 0]}, "spacing_mismatch"), ({"qform": np.diag([2.0, 2, 5, 1])}, ""),
    ({"qform": MOVED}, "forms_disagree"), ({"array": COLOURS}, "dtype"),
    ({"array": GREY.astype(np.complex64)}, "dtype"), ({"array": GREY[:, :, 0].astype(np.int16)}, "ndim"),
    ({"array": GREY[..., None].astype(np.int16)}, ""), ({"array": np.stack([GREY] * 3, 3).astype(np.int16)}, "ndim"),
    ({"array": GREY[:, :, :7].astype(np.int16)}, "shape_too_small"),  # 7 slices
    ({"array": GREY[:9, :9].repeat(1, 0).astype(np.int16), "affine": np.diag([1.0, 1, 5, 1]), "zooms": (1.0, 1, 5)},
     "shape_too_small"),  # 9 mm of a patch of 16 mm
])  # fmt: skip
def test_headers(tmp_path, how, reason):
    path = nifti(tmp_path / "scan.nii.gz", **how)
    report = preflight([ScanRecord("a", "b", "MR", str(path), "")])
    assert report.reasons == ({reason: 1} if reason else {})
    if not reason:
        assert check_header(str(path))["shape"] == (20, 20, 12)


@pytest.mark.parametrize(("array", "modality", "reason"), [
    ((GREY > 400).astype(np.uint8), "MR", "few_values"), (np.full((20, 20, 12), 7, np.int16), "MR", "few_values"),
    (GREY.astype(np.int16), "CT", "not_hounsfield"), (GREY.astype(np.int16), "MR", ""),
    ((GREY - 1500).astype(np.int16), "CT", "empty_foreground"), (GREY.astype(np.uint8), "MR", ""),
    (np.where(GREY > 890, np.inf, GREY).astype(np.float32), "MR", "nonfinite"),
    (GREY.astype(np.uint16) + 60000, "MR", ""), (GREY.astype(np.float64) / 7, "MR", ""),
])  # fmt: skip
def test_voxels(tmp_path, array, modality, reason):
    record = ScanRecord("a", "b", modality, str(nifti(tmp_path / "scan.nii", array)), "")
    report = preflight([record], "full", cache=tmp_path / "cache")
    assert report.reasons == ({reason: 1} if reason else {})
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == (
        [".jsonl"] if reason else [".b2nd", ".json", ".jsonl"])


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_header_level_reads_no_voxels(tmp_path, ending):
    whole = nifti(tmp_path / "whole.nii", np.random.default_rng(0).integers(0, 900, (64, 64, 64)).astype(np.int16))
    path = tmp_path / f"scan.{ending}"
    path.write_bytes(whole.read_bytes()[:352] if ending == "nii" else gzip.compress(whole.read_bytes())[:20_000])
    if ending == "nii":  # as long as its header says, but empty
        os.truncate(path, whole.stat().st_size)
    record = ScanRecord("a", "b", "MR", str(path), "")
    assert preflight([record]).reasons == {}
    reason = "few_values" if ending == "nii" else "nifti_load_failed"
    assert preflight([record], "full", cache=tmp_path / "cache").reasons == {reason: 1}


def test_a_plain_file_cut_short_is_found_by_its_length_alone(tmp_path):
    path = nifti(tmp_path / "scan.nii")
    whole = path.stat().st_size
    for size, reasons in ((whole, {}), (whole - 1, {"nifti_load_failed": 1}), (2000, {"nifti_load_failed": 1})):
        os.truncate(path, size)
        found = preflight([ScanRecord("a", "b", "MR", str(path), "")])
        assert found.reasons == reasons
    assert f"2,000 of {whole:,} bytes" in found.rejected[0].why


# mtime=0: the bytes are a test's name, and every process of xdist must find the same names
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", gzip.compress(b"", mtime=0), b"0" * 1000,
                                     b"\x5c\x01\0\0" + b"\xff" * 600,
                                     gzip.compress(b"\x5c\x01\0\0" + bytes(600), mtime=0)])
def test_rubbish(tmp_path, content):
    (tmp_path / "scan.nii.gz").write_bytes(content)
    (tmp_path / "scan.nii").write_bytes(content)
    (tmp_path / "folder.nii").mkdir()
    paths = [str(tmp_path / name) for name in ("scan.nii.gz", "scan.nii", "folder.nii", "absent.nii")]
    report = preflight([ScanRecord(path, "b", "MR", path, "") for path in paths])
    assert report.reasons == {"nifti_load_failed": 3, "no_file": 1}


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_header_gets_a_verdict(tmp_path, changes):
    path = tmp_path / "scan.nii"
    content = bytearray((path if path.exists() else nifti(path)).read_bytes())
    for where, byte in changes:
        content[where] = byte
    (tmp_path / "changed.nii").write_bytes(content)
    report = preflight([ScanRecord("a", "b", "MR", str(tmp_path / "changed.nii"), "")])
    assert set(report.reasons) <= set(REASONS) and len(report.kept) + len(report.rejected) == 1
    assert not any("Error," in one.why for one in report.rejected)  # each is one that we know


def count_reads(monkeypatch) -> list[str]:
    """A list that grows by the id of each scan whose voxels are read."""
    read, write = [], module.write_cache

    def noted(record, cache):
        read.append(record.scan_id)
        return write(record, cache)

    monkeypatch.setattr(module, "write_cache", noted)
    return read


def test_a_second_run_reads_what_is_new(catalog, tmp_path, monkeypatch):
    records, _ = read_catalog(catalog)
    cache = tmp_path / "cache"
    read = count_reads(monkeypatch)
    first = preflight(records[:5], "full", cache=cache)
    assert len(read) == len({*read}) and {one.scan_id for one in first.kept} <= {*read}
    read.clear()
    again = preflight(records, "full", cache=cache)
    assert {*read}.isdisjoint(one.scan_id for one in records[:5])
    everything = preflight(records, "full", cache=tmp_path / "other")
    assert (again.kept, again.rejected) == (everything.kept, everything.rejected)

    read.clear()
    good = again.kept
    (cache / f"{good[2].scan_id}.b2nd").unlink()
    (cache / f"{good[1].scan_id}.b2nd").write_bytes(b"half")
    os.utime(good[0].nifti_path, ns=(1, 1))  # written anew since
    with open(cache / "journal.jsonl", "ab") as file:
        file.write(b'{"scan_id": "half a li')
    assert preflight(records, "full", cache=cache).kept == good and {*read} == {one.scan_id for one in good[:3]}
    read.clear()
    assert preflight(records, "full", cache=cache).kept == good and not read
    assert preflight(records, "full", cache=cache, patch_mm=300).reasons["shape_too_small"] > 1  # another question


def slow(records, cache, after):
    """In a process of its own: stops for ever before scan number `after`."""
    write = module.write_cache
    module.write_cache = lambda record, folder: (
        multiprocessing.Event().wait() if len(list(Path(folder).glob("*.json"))) >= after else write(record, folder))
    preflight(records, "full", cache=cache)


def test_killed_in_the_middle(full, tmp_path, monkeypatch):
    records, cache = full[0].kept, tmp_path / "cache"
    process = multiprocessing.get_context("fork").Process(target=slow, args=(records, cache, 4))
    process.start()
    journal = cache / "journal.jsonl"
    for _ in range(600):
        if journal.exists() and journal.read_bytes().count(b"\n") == 4:
            break
        process.join(0.05)
    process.kill()
    process.join()
    assert process.exitcode == -9
    read = count_reads(monkeypatch)
    report = preflight(records, "full", cache=cache)
    assert report.kept == records and read == [one.scan_id for one in records[4:]]


def test_a_full_disk_is_no_fault_of_the_scan(full, tmp_path, monkeypatch):
    def no_space(record, cache):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_cache", no_space)
    with pytest.raises(OSError, match="No space"):
        preflight(full[0].kept, "full", cache=tmp_path)
    assert not (tmp_path / "journal.jsonl").read_bytes()


def test_wrong_questions(catalog):
    for how in ({"level": "fast"}, {"level": "full"}, {"cache": "x"}):
        with pytest.raises(MedsslError):
            preflight(catalog, **how)


def test_command(catalog, tmp_path):
    run = CliRunner().invoke
    good = run(app, ["prism", "preflight", str(catalog), "--report", str(tmp_path / "r.json")])
    assert good.exit_code == 0 and "8 of 16 kept (6 CT, 2 MR; 4 patients)" in good.output and "written" in good.output
    assert json.loads((tmp_path / "r.json").read_text())["kept"] == 8
    empty = run(app, ["prism", "preflight", str(catalog), "--root", str(tmp_path)])
    assert empty.exit_code == 1 and "0 of 16 kept" in empty.output and "no_folder" in empty.output
    mr = run(app, ["prism", "preflight", str(catalog), "--full", "--cache", str(tmp_path / "cache"), "--workers", "0",
                   "--modality", "MR"])  # fmt: skip
    assert mr.exit_code == 0 and "2 of 16 kept (2 MR; 2 patients)" in mr.output and "other_modality" in mr.output
