"""What a data set is: its key and size, its splits and their hash, the list of all sets."""

from pathlib import Path

import pytest
import torch
from medmnist import INFO
from toy_data import small_set, write_npz

from medssl import data
from medssl.data import Split, medmnist
from medssl.errors import MedsslError


def test_root_is_the_argument_then_the_variable_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSSL_DATA", str(tmp_path))
    assert data.data_root("elsewhere") == Path("elsewhere") and data.data_root() == tmp_path
    monkeypatch.delenv("MEDSSL_DATA")
    assert data.data_root() == Path.home() / ".medmnist"


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
