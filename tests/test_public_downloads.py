"""Downloads of the public sets: a server that breaks off, archives that would write elsewhere, other programs."""

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tiny_public import RNG, decathlon, picture

from medssl import data
from medssl.data.public import SETS, File, fetch
from medssl.errors import MedsslError


class Breaking(BaseHTTPRequestHandler):
    """Serves `content` with ranges, but lets go of the connection after `bite` bytes."""

    def do_GET(self):
        server, start = self.server, 0
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200 if self.path != "/gone" else 404)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start:start + server.bite])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    server.content, server.bite, server.ranges, server.asked = RNG.bytes(100_000), 40_000, True, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def md5(content):
    return hashlib.md5(content).hexdigest()


def test_a_download_that_breaks_off_goes_on_where_it_was(server, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(server.content[:10_000])  # of an earlier day
    path = fetch.fetch(server.url + "/x", tmp_path / "x.bin", md5(server.content))
    assert path.read_bytes() == server.content and server.asked == ["bytes=10000-", "bytes=50000-", "bytes=90000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    assert fetch.fetch("http://127.0.0.1:1/", path, md5(server.content)) == path  # at hand: nobody is asked
    path.write_bytes(b"saved by hand, but an error page")
    with pytest.raises(MedsslError, match="another file(.|\n)*Move .*x.bin away"):
        fetch.fetch("http://127.0.0.1:1/", path, md5(server.content))
    assert path.exists()


def test_a_server_without_ranges_a_whole_part_and_a_wrong_one(server, tmp_path):
    server.ranges, server.bite = False, 200_000
    (tmp_path / "x.part").write_bytes(b"of another file")
    assert fetch.fetch(server.url, tmp_path / "x", md5(server.content)).read_bytes() == server.content
    server.ranges = True
    (tmp_path / "y.part").write_bytes(server.content)  # all of it was here, only the name was not yet given
    assert fetch.fetch(server.url, tmp_path / "y", md5(server.content)).read_bytes() == server.content
    (tmp_path / "z.part").write_bytes(b"?" * 10)
    with pytest.raises(MedsslError, match="another file(.|\n)*download was deleted"):
        fetch.fetch(server.url, tmp_path / "z", md5(server.content))
    assert not (tmp_path / "z.part").exists() and not (tmp_path / "z").exists()
    with pytest.raises(MedsslError, match="404"):
        fetch.fetch(server.url + "/gone", tmp_path / "gone")
    server.bite = 10_000
    with pytest.raises(MedsslError, match="broke off .*50,000 of 100,000 bytes.*\n.*\n.*goes on"):
        fetch.fetch(server.url, tmp_path / "slow", md5(server.content))
    assert (tmp_path / "slow.part").stat().st_size == 50_000
    with pytest.raises(MedsslError, match="^No network, or 127.0.0.1:1 does not answer .*refused") as told:
        fetch.fetch("http://127.0.0.1:1/", tmp_path / "new" / "nobody")
    assert "urlopen" not in str(told.value) and not (tmp_path / "new").exists()


def test_get_that_fetches_nothing_leaves_no_folder(tmp_path, monkeypatch):
    for about in (dict(disk_gb=1e9), dict(disk_gb=0.0, files=(File("a.zip", "http://127.0.0.1:1/a.zip", ""),))):
        monkeypatch.setitem(SETS, "chestxray14", replace(SETS["chestxray14"], **about))
        with pytest.raises(MedsslError, match="GB free|No network"):
            fetch.get("chestxray14", tmp_path / "not" / "yet", lambda line: None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setitem(SETS, "ham10000", replace(SETS["ham10000"], disk_gb=0.0))
    with pytest.raises(MedsslError, match="kaggle is not installed"):
        fetch.get("ham10000", tmp_path / "not" / "yet", lambda line: None)
    assert not list(tmp_path.iterdir())


def tar_of(folder):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(folder, folder.name)
    return out.getvalue()


def test_get_says_the_licence_first_then_fetches_and_unpacks(server, tmp_path, monkeypatch):
    decathlon(tmp_path / "made" / "Task09_Spleen", 1, "CT")
    server.content, server.bite = tar_of(tmp_path / "made" / "Task09_Spleen"), 20_000
    about = replace(SETS["msd-spleen"], files=(File("Task09_Spleen.tar", server.url, md5(server.content)),))
    monkeypatch.setitem(SETS, "msd-spleen", about)
    said = []
    folder = fetch.get("msd-spleen", tmp_path / "own", said.append)
    assert "Licence: CC BY-SA 4.0" in said[0] and "1.6 GB" in said[1]
    assert folder == tmp_path / "own" / "msd-spleen" and not (folder / "Task09_Spleen.tar").exists()
    assert sum(map(len, data.load("msd-spleen", tmp_path / "own", size=8).splits.values())) == 8
    asked = len(server.asked)
    assert data.get("msd-spleen", tmp_path / "own") == folder and len(server.asked) == asked
    assert {row["key"]: row["at hand"] for row in data.list_datasets(tmp_path / "own")}["msd-spleen"] == "yes"


def test_get_needs_room_and_says_what_is_still_to_do_by_hand(server, tmp_path, monkeypatch):
    monkeypatch.setitem(SETS, "chestxray14", replace(SETS["chestxray14"], disk_gb=1e9))
    with pytest.raises(MedsslError, match="GB free"):
        fetch.get("chestxray14", tmp_path, lambda line: None)
    picture(tmp_path / "made" / "images" / "00000001_000.png", (8, 8))
    server.content, server.bite = gzip.compress(tar_of(tmp_path / "made" / "images")), 10 ** 6
    files = tuple(File(f"images_{k:03}.tar.gz", server.url, md5(server.content)) for k in (1, 2))
    monkeypatch.setitem(SETS, "chestxray14", replace(SETS["chestxray14"], disk_gb=0.0, files=files))
    for asked in (2, 2):  # the second time nothing is fetched again
        with pytest.raises(MedsslError, match="still lacks Data_Entry_2017.*\n.*\n.*train_val_list.txt"):
            fetch.get("chestxray14", tmp_path, lambda line: None)
        assert len(server.asked) == asked and (tmp_path / "chestxray14/images/00000001_000.png").exists()


def test_no_archive_can_write_outside_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../escaped.txt"))
    with pytest.raises(MedsslError, match="cannot be unpacked"):
        fetch.unpack(tmp_path / "evil.tar", tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../escaped.txt", "x")
    fetch.unpack(tmp_path / "evil.zip", tmp_path / "in")
    assert not (tmp_path / "escaped.txt").exists()
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(MedsslError, match="cannot be unpacked"):
        fetch.unpack(tmp_path / "cut.zip", tmp_path)


@pytest.mark.parametrize(("key", "program"), [("ham10000", "kaggle"), ("aptos2019", "kaggle"), ("brats", "synapse")])
def test_a_route_through_another_program(tmp_path, monkeypatch, key, program):
    monkeypatch.setitem(SETS, key, replace(SETS[key], disk_gb=0.0))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MedsslError, match=f"The command {program} is not installed.(.|\n)*account"):
        fetch.get(key, tmp_path / "own", lambda line: None)
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / program
    stand_in.write_text("#!/bin/sh\nexit 3\n")
    stand_in.chmod(0o755)
    with pytest.raises(MedsslError, match=r"failed \(code 3\)"):
        fetch.get(key, tmp_path / "own", lambda line: None)
    folder = tmp_path / "own" / key
    name = SETS[key].source.split("/")[-1]
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for inside in ("HAM10000_metadata.csv", "a/1.jpg", "train.csv", "train_images/1.png", "b/b_flair.nii.gz"):
            archive.writestr(inside, "x")
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n'
                        f"/bin/cp {tmp_path}/archive.zip {folder}/{name}.zip\n")
    assert fetch.get(key, tmp_path / "own", lambda line: None) == folder and not (folder / f"{name}.zip").exists()
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:-1] == {"ham10000": ["datasets", "download", "-d", "kmader/skin-cancer-mnist-ham10000", "-p"],
                          "aptos2019": ["competitions", "download", "-c", "aptos2019-blindness-detection", "-p"],
                          "brats": ["get", "-r", "syn27046444", "--downloadLocation"]}[key]
    assert asked[-1] == str(folder)
