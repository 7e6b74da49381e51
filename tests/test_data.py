"""Data: the official files and what can go wrong with them, label shares, duplicates, the batches of a source."""

import hashlib
import math
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from medmnist import INFO

from medssl import data
from medssl.data import ImageData, InMemory, Split, find_duplicates, label_subset, medmnist, near_twins
from medssl.errors import MedsslError


def random_split(n: int, seed: int, size: int = 6) -> Split:
    g = torch.Generator().manual_seed(seed)
    return Split(torch.randint(0, 256, (n, 1, size, size), generator=g, dtype=torch.uint8), torch.arange(n) % 2)


def small_set(**changes) -> ImageData:
    parts = {"key": "toy", "train": random_split(10, 0), "val": random_split(4, 1), "test": random_split(6, 2),
             "classes": ("no", "yes"), "modality": "xray", "license": "none", "is_phantom": False, "size": 6}
    return ImageData(**(parts | changes))


def write_npz(path: Path, **changes) -> str:
    """A file laid out as MedMNIST lays them out (labels [N,1] uint8); returns its MD5."""
    rng = np.random.default_rng(0)
    arrays = {f"{s}_images": rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for s, n in
              (("train", 6), ("val", 4), ("test", 4))}
    arrays |= {f"{s}_labels": (np.arange(len(arrays[f"{s}_images"])) % 2).astype(np.uint8)[:, None] for s in
               ("train", "val", "test")}
    np.savez(path, **(arrays | changes))
    return hashlib.md5(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- the official files

def test_breastmnist_is_the_official_one(real_data_root):
    breast = data.load("breastmnist", real_data_root)
    assert [list(s.images.shape) for s in breast.splits.values()] == [[n, 1, 28, 28] for n in (546, 78, 156)]
    assert all(s.labels.shape == (len(s),) and s.labels.dtype == torch.int64 for s in breast.splits.values())
    assert breast.counts() == {"train": {"malignant": 147, "normal, benign": 399},
                               "val": {"malignant": 21, "normal, benign": 57},
                               "test": {"malignant": 42, "normal, benign": 114}}
    assert (breast.classes, breast.positive) == (("malignant", "normal, benign"), "normal, benign")
    assert (breast.license, breast.modality, breast.channels) == ("CC BY 4.0", "ultrasound", 1)
    assert not breast.is_phantom and breast.size == 28
    with np.load(real_data_root / "breastmnist.npz") as file:  # the same pixels in the same order
        assert np.array_equal(breast.test.images[:, 0].numpy(), file["test_images"])
        assert np.array_equal(breast.test.labels.numpy(), file["test_labels"][:, 0])


def test_a_3d_set_is_volumes_with_a_channel(real_data_root):
    adrenal = data.load("adrenalmnist3d", real_data_root)
    assert [list(s.images.shape) for s in adrenal.splits.values()] == [[n, 1, 28, 28, 28] for n in (1188, 98, 298)]
    assert adrenal.counts()["train"] == {"normal": 929, "hyperplasia": 259}
    assert adrenal.modality == "ct"


def test_the_one_image_in_train_and_test_is_found(real_data_root):
    found = find_duplicates(data.load("breastmnist", real_data_root))
    assert [(d.split_a, d.split_b) for d in found] == [("train", "test")]
    with np.load(real_data_root / "breastmnist.npz") as file:  # by hand: all pairs, no hashing
        same = (file["train_images"][:, None] == file["test_images"][None]).all(axis=(2, 3))
    assert list(zip(*np.nonzero(same), strict=True)) == [(found[0].index_a, found[0].index_b)]
    assert not found[0].same_label  # one and the same image is called malignant here, benign there
    report = data.check("breastmnist", real_data_root)
    assert "1 across splits, 0 within one" in report and "147 “malignant”" in report and "ANOTHER label" in report


def flip_a_byte(blob: bytes) -> bytes:
    return blob[:5000] + bytes([blob[5000] ^ 1]) + blob[5001:]


def refused_and_left_alone(path: Path):
    before = path.read_bytes()
    with pytest.raises(MedsslError) as error:
        data.load("breastmnist", path.parent)
    assert str(path) in str(error.value) and INFO["breastmnist"]["MD5"] in str(error.value)
    assert "Move it away" in error.value.fix
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("damage", [flip_a_byte, lambda blob: blob[:-1], lambda blob: b"", lambda blob: b"<html>"])
def test_a_damaged_file_is_named_and_left_alone(tmp_path, monkeypatch, damage):
    path = tmp_path / "breastmnist.npz"
    monkeypatch.setitem(INFO["breastmnist"], "MD5", write_npz(path))
    assert len(data.load("breastmnist", tmp_path).val) == 4  # whole, it is read
    path.write_bytes(damage(path.read_bytes()))
    refused_and_left_alone(path)


def test_one_flipped_byte_in_the_real_file_is_found(real_data_root, tmp_path):
    path = tmp_path / "breastmnist.npz"
    path.write_bytes(flip_a_byte((real_data_root / path.name).read_bytes()))
    refused_and_left_alone(path)


def test_another_official_set_under_the_wrong_name_is_refused(real_data_root, tmp_path):
    shutil.copy(real_data_root / "adrenalmnist3d.npz", tmp_path / "breastmnist.npz")
    with pytest.raises(MedsslError, match="not the official file"):
        data.load("breastmnist", tmp_path)


class Bomb:
    def __init__(self, flag: Path):
        self.flag = flag

    def __reduce__(self):
        return Path.touch, (self.flag,)


def test_a_hostile_file_runs_nothing(tmp_path, monkeypatch):
    flag = tmp_path / "the code inside was run"
    md5 = write_npz(tmp_path / "breastmnist.npz", test_labels=np.array([Bomb(flag)], dtype=object))
    with pytest.raises(MedsslError, match="not the official file"):
        data.load("breastmnist", tmp_path)
    monkeypatch.setitem(INFO["breastmnist"], "MD5", md5)  # even if the checksum were forged
    with pytest.raises(MedsslError, match="test_labels claims to be .* of object"):
        data.load("breastmnist", tmp_path)
    assert not flag.exists()
    pickle.loads(pickle.dumps(Bomb(flag)))
    assert flag.exists()  # the bomb is a real one


def test_each_size_has_its_own_file_and_checksum(tmp_path, monkeypatch):
    assert medmnist.sizes("pneumoniamnist") == [28, 64, 128, 224] and medmnist.sizes("synapsemnist3d") == [28, 64]
    rng = np.random.default_rng(1)
    big = {f"{s}_images": rng.integers(0, 256, (n, 64, 64), dtype=np.uint8)
           for s, n in (("train", 6), ("val", 4), ("test", 4))}
    monkeypatch.setitem(INFO["pneumoniamnist"], "MD5_64", write_npz(tmp_path / "pneumoniamnist_64.npz", **big))
    assert data.load("pneumoniamnist", tmp_path, size=64).train.images.shape == (6, 1, 64, 64)
    with pytest.raises(MedsslError, match="no images of size 32"):
        data.load("pneumoniamnist", tmp_path, size=32)
    with pytest.raises(MedsslError, match="no images of size 224"):
        data.load("adrenalmnist3d", tmp_path, size=224)


def test_root_is_the_argument_then_the_variable_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSSL_DATA", str(tmp_path))
    assert data.data_root("elsewhere") == Path("elsewhere") and data.data_root() == tmp_path
    monkeypatch.delenv("MEDSSL_DATA")
    assert data.data_root() == Path.home() / ".medmnist"


# ---------------------------------------------------------------- downloads, from a host of our own

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


def test_a_folder_in_place_of_the_file_and_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "breastmnist.npz").mkdir()
    assert [row["at hand"] for row in data.list_datasets(tmp_path) if row["key"] == "breastmnist"] == ["no"]
    with pytest.raises(MedsslError, match="breastmnist.npz is a folder"):
        data.get("breastmnist", tmp_path)
    (tmp_path / "elsewhere.npz").touch()
    with pytest.raises(MedsslError, match="elsewhere.npz is a file, not a folder"):
        data.load("breastmnist", tmp_path / "elsewhere.npz")


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


# ---------------------------------------------------------------- keys and lists

def test_a_mistyped_or_unsuitable_key_says_so():
    with pytest.raises(MedsslError, match="Write 'breastmnist'"):
        data.load("BreasMNIST")
    with pytest.raises(MedsslError, match="not two classes"):
        data.get("pathmnist")
    with pytest.raises(MedsslError, match="pneumoniaphantom"):
        data.check("nothing like it")
    with pytest.raises(MedsslError, match="no data set"):
        data.load(["x"])


def test_a_key_as_papers_write_it_is_the_key(tmp_path, monkeypatch):
    monkeypatch.setitem(INFO["breastmnist"], "MD5", write_npz(tmp_path / "breastmnist.npz"))
    assert data.load("BreastMNIST", tmp_path).key == "breastmnist"
    assert data.get("BreastMNIST", tmp_path).name == "breastmnist.npz"
    assert data.load("BreastPhantom").key == "breastphantom" and data.get("BreastPhantom") is None


@pytest.mark.parametrize("key", ["breastmnist", "breastphantom"])
@pytest.mark.parametrize("size", [28.0, 64.0, "28"])
def test_a_size_is_a_whole_number(tmp_path, key, size):
    with pytest.raises(MedsslError, match="whole number"):
        data.load(key, tmp_path, size=size)


def test_a_phantom_changed_in_place_is_whole_when_loaded_again():
    first = data.load("breastphantom")
    before = first.split_hash()
    first.train.images.zero_()
    first.test.labels.fill_(0)
    assert data.load("breastphantom").split_hash() == before != first.split_hash()


def test_every_binary_set_is_listed_and_has_a_modality(tmp_path):
    (tmp_path / "adrenalmnist3d_64.npz").touch()
    rows = {row["key"]: row for row in data.list_datasets(tmp_path)}
    binary = {key for key, info in INFO.items() if info["task"] == "binary-class"}
    assert set(rows) == binary | set(data.PHANTOMS) | set(data.public.SETS) and set(medmnist.MODALITY) == binary
    assert len({tuple(row) for row in rows.values()}) == 1  # the same columns in each row
    assert rows["breastmnist"]["train/val/test"] == "546/78/156" and rows["breastmnist"]["at hand"] == "no"
    assert rows["adrenalmnist3d"]["at hand"] == "64" and rows["adrenalmnist3d"]["sizes"] == "28, 64"
    assert all("patients" in rows[key]["licence"] for key in data.PHANTOMS)


# ---------------------------------------------------------------- what a split and a data set are

IMAGES = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(("images", "labels", "told"), [
    (IMAGES, torch.zeros(4, 1, dtype=torch.int64), "squeeze"),
    (IMAGES, torch.zeros(3, dtype=torch.int64), r"\[4\]"),
    (IMAGES, torch.zeros(4, dtype=torch.uint8), "int64"),
    (IMAGES, torch.zeros(4), "float32"),
    (IMAGES.float() / 255, torch.zeros(4, dtype=torch.int64), "uint8"),
    (IMAGES[:, 0], torch.zeros(4, dtype=torch.int64), "unsqueeze"),
])
def test_a_split_refuses_wrong_shapes_and_types(images, labels, told):
    with pytest.raises(MedsslError, match=told):
        Split(images, labels)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_class_is_refused(label):
    labels = torch.tensor([0, 1, label, 1])
    with pytest.raises(MedsslError, match="toy, val"):
        small_set(val=Split(IMAGES, labels))


def test_the_split_hash_knows_every_pixel_every_label_and_their_order():
    plain = small_set()
    assert plain.split_hash() == small_set(key="another name").split_hash() and len(plain.split_hash()) == 16
    pixel, label = plain.test.images.clone(), plain.test.labels.clone()
    pixel[3, 0, 2, 2] ^= 1
    label[3] = 1 - label[3]
    turned = torch.arange(6).flip(0)
    others = [small_set(test=Split(pixel, plain.test.labels)), small_set(test=Split(plain.test.images, label)),
              small_set(test=Split(plain.test.images[turned], plain.test.labels[turned])),
              small_set(train=plain.val, val=plain.train)]
    assert len({d.split_hash() for d in [plain, *others]}) == 5
    striding = Split(plain.test.images.transpose(2, 3).contiguous().transpose(2, 3), plain.test.labels)
    assert small_set(test=striding).split_hash() == plain.split_hash()  # the memory layout does not matter


def test_a_data_set_introduces_itself_and_a_phantom_says_phantom():
    assert "10 = 5 “no”, 5 “yes”" in repr(small_set()) and "positive class (label 1): “yes”" in repr(small_set())
    assert "PHANTOM" in repr(small_set(is_phantom=True)) and "PHANTOM" not in repr(small_set())


# ---------------------------------------------------------------- duplicates

def test_duplicates_within_and_across_splits_each_with_its_label():
    d = small_set()
    d.train.images[7] = d.train.images[2]      # labels 1 and 0
    d.val.images[1] = d.train.images[2]        # a third copy
    d.test.images[4] = d.val.images[0]         # labels 0 and 0
    near = d.test.images[5].clone()
    near[0, 0, 0] ^= 1
    d.test.images[3] = near                    # one bit off: not exact
    assert find_duplicates(d) == [("train", 2, "train", 7, False), ("train", 2, "val", 1, False),
                                  ("val", 0, "test", 4, True)]
    assert find_duplicates(small_set()) == []


def test_near_twins_are_measured_in_grey_values_of_an_image():
    d = small_set()
    moved = d.val.images.clone()
    moved[0] = (d.train.images[3].int() // 2 + 60).to(torch.uint8)  # far
    moved[1] = d.train.images[3].clamp(6, 249) + 6  # 6 grey values away, or less where it was clamped
    d = small_set(val=Split(moved, d.val.labels))
    twin, nearest = near_twins(d, "val", within=7)
    rms = ((moved[1].float() - d.train.images[3].float()) ** 2).mean().sqrt()
    assert 5 < rms < 7 and bool(twin[1]) and nearest[1] == 3 and not twin[0]
    assert not near_twins(d, "val", within=float(rms) - 0.01)[0][1]


def test_a_train_image_is_not_its_own_twin():
    train = random_split(1100, 0)  # more than one block
    near = train.images[1090].clone()
    near[0, 0, 0] ^= 1
    train.images[20] = near
    twin, nearest = near_twins(small_set(train=train), "train", within=1)
    assert twin.nonzero().flatten().tolist() == [20, 1090] and nearest[[20, 1090]].tolist() == [1090, 20]
    assert not (nearest == torch.arange(1100)).any()
    assert not near_twins(small_set(train=random_split(1, 0)), "train")[0].any()


def test_breastmnist_holds_other_frames_of_its_train_images(real_data_root):
    breast = data.load("breastmnist", real_data_root)
    for split, count in (("val", 29), ("test", 48)):  # counted by hand with another program
        twin, nearest = near_twins(breast, split)
        assert twin.sum() == count
        gap = breast.splits[split].images[twin].float() - breast.train.images[nearest[twin]].float()
        assert (gap**2).mean((1, 2, 3)).sqrt().max() <= 8


def test_the_report_tells_leaks_from_repeats_within_a_split(tmp_path, monkeypatch):
    images = np.random.default_rng(2).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    images[5] = images[3]                      # train and train, labels 1 and 1
    test = np.stack([images[0], images[1] ^ 1, images[4], images[2] ^ 1])  # labels 0 and 0, 0 and 0
    md5 = write_npz(tmp_path / "breastmnist.npz", train_images=images, test_images=test)
    monkeypatch.setitem(INFO["breastmnist"], "MD5", md5)
    report = data.check("breastmnist", tmp_path)
    assert "2 across splits, 1 within one" in report and "test[2] is train[4], with the same label" in report
    assert "train[5]" not in report and str(tmp_path / "breastmnist.npz") in report


# ---------------------------------------------------------------- label shares

BREAST = torch.tensor([0] * 147 + [1] * 399)[torch.randperm(546, generator=torch.Generator().manual_seed(5))]


@pytest.mark.parametrize(("fraction", "total", "malignant"), [(0.05, 27, 7), (0.1, 55, 15), (0.2, 109, 29),
                                                              (0.01, 5, 1), (1.0, 546, 147), (1e-9, 2, 1)])
def test_rounding_on_breastmnist(fraction, total, malignant):
    chosen = label_subset(BREAST, fraction)
    assert chosen.dtype == torch.int64 and torch.equal(chosen, chosen.unique())  # sorted and distinct
    assert (len(chosen), int((BREAST[chosen] == 0).sum())) == (total, malignant)


def largest_remainder(labels, fraction):
    """The rule written the long way, in exact fractions, for two classes; None where the remainders tie."""
    n = np.bincount(labels)
    total = max(len(n), math.floor(fraction * len(labels) + 0.5))
    quota = [Fraction(total * int(k), len(labels)) for k in n]
    share = [math.floor(q) for q in quota]
    rest = [q - s for q, s in zip(quota, share, strict=True)]
    if sum(share) < total:
        if rest[0] == rest[1]:
            return None
        share[int(rest[1] > rest[0])] += 1
    for c in (0, 1):  # at least one of each
        if share[c] == 0:
            share[c], share[1 - c] = 1, share[1 - c] - 1
    return share


def test_two_classes_are_rounded_by_the_largest_remainder():
    rng = np.random.default_rng(0)
    checked = 0
    for _ in range(400):
        labels = rng.permutation(np.repeat([0, 1], rng.integers(1, 80, 2)))
        fraction = float(rng.uniform(0.001, 1))
        expected = largest_remainder(labels, fraction)
        if expected is not None:
            assert np.bincount(labels[label_subset(labels, fraction)]).tolist() == expected
            checked += 1
    assert checked > 300


@pytest.mark.parametrize("counts", [(147, 399), (1, 60), (30, 31, 500), (7, 7, 6, 2)])
def test_shares_are_nested_and_hold_every_class_at_every_size(counts):
    labels = torch.from_numpy(np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts)))
    before = set()
    for step in range(1, 201):
        chosen = label_subset(labels, step / 200, seed=3)
        assert before <= set(chosen.tolist()) and set(labels[chosen].tolist()) == set(range(len(counts)))
        for c, n in enumerate(counts):  # stratified: never more than one image from the exact share, but for the first
            exact = len(chosen) * n / len(labels)
            assert abs(int((labels[chosen] == c).sum()) - exact) <= (1 if len(chosen) > 20 else 2)
        before = set(chosen.tolist())
    assert before == set(range(len(labels)))


def test_shares_depend_on_the_seed_and_on_it_alone():
    assert torch.equal(label_subset(BREAST, 0.1, seed=4), label_subset(BREAST.numpy(), 0.1, seed=4))
    assert not torch.equal(label_subset(BREAST, 0.1, seed=4), label_subset(BREAST, 0.1, seed=5))


def test_shares_refuse_what_cannot_be_meant():
    with pytest.raises(MedsslError, match="squeeze"):
        label_subset(BREAST[:, None], 0.1)
    for fraction in (0, 10, -0.1, float("nan")):
        with pytest.raises(MedsslError, match="0.10"):
            label_subset(BREAST, fraction)
    for seed in (None, 0.5, -1):  # None would draw another share every time
        with pytest.raises(MedsslError, match="again"):
            label_subset(BREAST, 0.1, seed=seed)


# ---------------------------------------------------------------- batches

def order(source: InMemory, epoch: int) -> list[int]:
    return [i for batch in source.batches(epoch) for i in batch["index"].tolist()]


def test_batches_carry_image_label_and_index_and_the_last_is_small():
    split = random_split(10, 0)
    source = InMemory(split, 4)
    batches = list(source.batches(0))
    assert [len(b["index"]) for b in batches] == [4, 4, 2] and len(source) == 3
    assert sorted(order(source, 0)) == list(range(10))
    for b in batches:
        assert b["image"].dtype == torch.uint8 and b["label"].dtype == b["index"].dtype == torch.int64
        assert torch.equal(b["image"], split.images[b["index"]]) and torch.equal(b["label"], split.labels[b["index"]])


def test_order_is_a_function_of_seed_and_epoch_only():
    split = random_split(50, 0)
    source = InMemory(split, 7, seed=3)
    fifth = order(source, 5)
    torch.manual_seed(99)
    np.random.seed(99)
    half = source.batches(5)
    next(half)  # an iteration that is given up
    order(source, 0)
    assert order(source, 5) == fifth == order(InMemory(split, 7, seed=3), 5)
    assert order(InMemory(split, 8, seed=3), 5) == fifth  # another batch size, the same order
    orders = {tuple(order(InMemory(split, 7, seed=s), e)) for s in range(6) for e in range(6)}
    assert len(orders) == 36  # (1, 2) is not (2, 1), nor (0, 3)


def test_drop_last_shuffle_off_and_a_batch_that_divides():
    split = random_split(10, 0)
    dropped = InMemory(split, 4, drop_last=True)
    assert [len(b["index"]) for b in dropped.batches(0)] == [4, 4] and len(dropped) == 2
    assert order(InMemory(split, 4, shuffle=False), 8) == list(range(10))
    whole = InMemory(split, 5)
    assert [len(b["index"]) for b in whole.batches(0)] == [5, 5] and len(whole) == 2


def test_a_single_image_left_over_joins_the_batch_before_it():
    """BatchNorm refuses a batch of one image in training: 546 images in batches of 109 ended every epoch with one."""
    for n, size, sizes in ((546, 109, [109] * 4 + [110]), (9, 4, [4, 5]), (9, 8, [9]), (3, 1, [1, 1, 1]), (1, 4, [1])):
        for shuffle in (True, False):
            source = InMemory(random_split(n, 0), size, shuffle=shuffle)
            assert [len(b["index"]) for b in source.batches(3)] == sizes and len(source) == len(sizes)
            assert sorted(order(source, 3)) == list(range(n)) and (shuffle or order(source, 3) == list(range(n)))
    dropped = InMemory(random_split(9, 0), 4, drop_last=True)
    assert [len(b["index"]) for b in dropped.batches(0)] == [4, 4] and len(dropped) == 2


def test_indices_name_places_in_the_split():
    split, chosen = random_split(10, 0), torch.tensor([1, 4, 9])
    source = InMemory(split, 2, indices=chosen)
    assert sorted(order(source, 1)) == [1, 4, 9] and len(source) == 1
    first = next(source.batches(0))
    assert torch.equal(first["image"], split.images[first["index"]])
    assert order(InMemory(split, 2, indices=[9, 1], shuffle=False), 0) == [9, 1]


@pytest.mark.parametrize("bad", [{"indices": torch.tensor([0, 10])}, {"indices": [-1]}, {"indices": torch.ones(10) > 0},
                                 {"indices": []}, {"indices": [1, 1, 1]}, {"indices": [0.5]},
                                 {"indices": torch.tensor([[1], [2]])},
                                 {"batch_size": 0}, {"batch_size": 11, "drop_last": True}])
def test_a_source_without_a_sensible_batch_is_refused(bad):
    with pytest.raises(MedsslError):
        InMemory(random_split(10, 0), **({"batch_size": 4} | bad))


def test_a_source_moves_whole_and_has_no_state():
    source = InMemory(random_split(10, 0), 4, indices=[1, 2, 3, 5])
    moved = source.to("meta")
    assert moved is source and source.images.device.type == source.labels.device.type == "meta"
    assert source.state_dict() == {}
    source.load_state_dict({})
