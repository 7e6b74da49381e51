"""Preflight in several processes: the same verdicts, and nothing left when the main one is killed."""

import multiprocessing
import os
import time

import pytest

from medssl.data import preflight as module
from medssl.data.catalog import read_catalog
from medssl.data.phantom_catalog import phantom_catalog
from medssl.data.preflight import preflight

pytest.importorskip("polars")
pytest.importorskip("blosc2")
psutil = pytest.importorskip("psutil")


def main_process(records, cache, errors) -> None:
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY), 2)
    preflight(records, "full", cache=cache, workers=2)


def wait(until, seconds: float = 120) -> bool:
    end = time.time() + seconds
    while not until() and time.time() < end:
        time.sleep(0.05)
    return bool(until())


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe as a file, and SIGKILL")
def test_killed_without_a_word(tmp_path, monkeypatch):
    """Two workers; a scan that never ends. SIGKILL to the main process: the workers end too, and the next run reads
    only what has no verdict yet."""
    catalog, cache, journal = phantom_catalog(tmp_path, 5), tmp_path / "cache", tmp_path / "cache" / "journal.jsonl"
    records, _ = read_catalog(catalog)
    whole = tmp_path / "whole.nii.gz"
    os.rename(records[1].nifti_path, whole)
    link = tmp_path / "endless"
    os.mkfifo(link)
    os.symlink(link, records[1].nifti_path)  # opened for ever
    main = multiprocessing.get_context("fork").Process(target=main_process, args=(records, cache, tmp_path / "errors"))
    main.start()
    try:
        assert wait(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 4)
        children = psutil.Process(main.pid).children(recursive=True)
        assert len(children) >= 3  # the server that forks, and two workers
    finally:
        main.kill()
        main.join()
    assert wait(lambda: not any(child.is_running() and child.status() != "zombie" for child in children), 20)
    assert "Traceback" not in (tmp_path / "errors").read_text()

    os.unlink(records[1].nifti_path)
    os.rename(whole, records[1].nifti_path)
    read, write = [], module.write_cache

    def noted(record, folder):
        read.append(record.scan_id)
        return write(record, folder)

    monkeypatch.setattr(module, "write_cache", noted)
    assert preflight(records, "full", cache=cache).kept == records and read == [records[1].scan_id]
    alone = preflight(records, "full", cache=tmp_path / "alone")  # the same bytes as those of the workers
    assert [(cache / f"{one.scan_id}.b2nd").read_bytes() for one in records] == [
        (tmp_path / "alone" / f"{one.scan_id}.b2nd").read_bytes() for one in alone.kept]
