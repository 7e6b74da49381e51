"""Files are written whole or not at all."""

import errno
import os

import pytest

from medssl.files import OnlyWhatIsThere, write_atomic


@pytest.mark.parametrize("fault", ["replace", "fsync", "open"])
def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, fault):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write_atomic(tmp_path / "deep" / "a.json", "old")
    if fault == "open":
        monkeypatch.setattr("builtins.open", full)
    else:
        monkeypatch.setattr(os, fault, full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new and longer")
    monkeypatch.undo()
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
    assert write_atomic(path, b"new").read_bytes() == b"new"


def test_ctrl_c_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "a.json", "old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_claim_of_a_file_costs_no_memory(tmp_path):
    """A read of 4 GB is what a damaged length in a DICOM or PNG file asks for."""
    import tracemalloc

    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    tracemalloc.start()
    with OnlyWhatIsThere(path) as file:
        assert file.read(4) == b"0123" and file.read(1 << 32) == b"456789" and file.read(1 << 32) == b""
        file.seek(2)
        assert file.read() == b"23456789" and file.read(-1) == b""
        file.seek(20)  # beyond its end
        assert file.read(5) == b""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_an_error_names_the_file_that_was_wanted_not_the_one_beside_it():
    if not os.path.isdir("/proc/self"):
        pytest.skip("no folder here in which nobody may write")
    with pytest.raises(OSError) as caught:
        write_atomic("/proc/x.html", "new")
    assert caught.value.filename == "/proc/x.html"
