"""Downloads of MedMNIST from a host of our own: checked and kept, or cut, refused, killed, and nothing is left."""

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from medmnist import INFO
from toy_data import write_npz

from medssl import data
from medssl.data import medmnist
from medssl.errors import MedsslError


@pytest.fixture
def host(monkeypatch):
    """A web server that answers with host.body, says it has host.length bytes, and may stop talking in between."""
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(server.status)
            self.send_header("Content-Length", str(server.length or len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)
            self.wfile.flush()
            server.silent.wait(0 if server.length is None else server.hold)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.handle_error = lambda *args: None  # a client that hangs up is part of the test
    server.body, server.length, server.status, server.hold, server.silent = b"", None, 200, 0, threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for key in ("breastmnist", "pneumoniamnist"):
        monkeypatch.setitem(INFO[key], "url", f"http://127.0.0.1:{server.server_port}/{key}.npz?download=1")
    yield server
    server.silent.set()
    server.shutdown()
    server.server_close()


def test_a_missing_file_is_downloaded_checked_and_kept(host, tmp_path, monkeypatch):
    md5 = write_npz(tmp_path / "source.npz")
    host.body = (tmp_path / "source.npz").read_bytes()
    monkeypatch.setitem(INFO["breastmnist"], "MD5", md5)
    root = tmp_path / "not" / "there yet"
    assert len(data.load("breastmnist", root).train) == 6
    assert [p.name for p in root.iterdir()] == ["breastmnist.npz"]
    host.body = b"gone"
    assert data.get("breastmnist", root) == root / "breastmnist.npz"  # from the disk now


@pytest.mark.parametrize("fault", ["wrong content", "cut short", "silent", "not found"])
def test_a_failed_download_leaves_nothing_and_says_what_to_do(host, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(medmnist, "PATIENCE", 0.5)
    host.body = b"x" * 5000
    if fault == "cut short":
        host.length = 10_000
    elif fault == "silent":
        host.length, host.hold = 10_000, 20
    elif fault == "not found":
        host.status = 404
    patience_before, start = socket.getdefaulttimeout(), time.monotonic()
    with pytest.raises(MedsslError) as error:
        data.load("pneumoniamnist", tmp_path)
    for told in ("pneumoniamnist.npz", str(tmp_path), 'load("pneumoniaphantom")', INFO["pneumoniamnist"]["MD5"],
                 INFO["pneumoniamnist"]["url"]):
        assert told in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - start < 10 and socket.getdefaulttimeout() == patience_before


def test_no_network_fails_at_once_and_names_the_phantom(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(MedsslError, match=r'(?s)breastmnist.npz is not in .*unreachable.*load\("breastphantom"\)'):
        data.load("breastmnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_the_same_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MedsslError, match="its download failed"):
        data.load("breastmnist", tmp_path / "file" / "folder")


def test_ctrl_c_during_a_download_is_ctrl_c(tmp_path, monkeypatch):
    def interrupted(url, folder, name, md5):
        Path(folder, name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(medmnist, "download_url", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.load("breastmnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sigkill_during_a_download_leaves_no_file_under_the_final_name(tmp_path, host):
    host.body, host.length, host.hold = b"x" * 200_000, 400_000, 30
    code = ("from medmnist import INFO; import sys; from medssl import data; INFO['breastmnist']['url'] = sys.argv[1]\n"
            "data.load('breastmnist', sys.argv[2])")
    child = subprocess.Popen([sys.executable, "-c", code, INFO["breastmnist"]["url"], str(tmp_path)],
                             stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".download-*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob(".download-*/*"))  # it was in the middle of it
    child.kill()
    child.wait()
    assert list(tmp_path.glob("*.npz")) == [] and not (tmp_path / "breastmnist.npz").exists()
