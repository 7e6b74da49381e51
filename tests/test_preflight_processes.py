"""Preflight in several processes: the same verdicts, and nothing left when the main one is killed."""

import os
import pickle
import subprocess
import sys
import time

import pytest

from medssl.data import preflight as module
from medssl.data.catalog import read_catalog
from medssl.data.phantom_catalog import phantom_catalog
from medssl.data.preflight import preflight

pytest.importorskip("polars")
pytest.importorskip("blosc2")
psutil = pytest.importorskip("psutil")


# an interpreter of its own: the one of the tests has threads of other tests by now, and forking those is a gamble
MAIN = """
import pickle, sys
from medssl.data.preflight import preflight
preflight(pickle.load(open(sys.argv[1], "rb")), "full", cache=sys.argv[2], workers=2)
"""


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
    (tmp_path / "records").write_bytes(pickle.dumps(records))
    with open(tmp_path / "errors", "wb") as errors:
        main = subprocess.Popen([sys.executable, "-c", MAIN, tmp_path / "records", cache], stderr=errors)
    try:
        assert wait(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 4)
        children = psutil.Process(main.pid).children(recursive=True)
        assert len(children) >= 3  # the server that forks, and two workers
    finally:
        main.kill()
        main.wait()
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
