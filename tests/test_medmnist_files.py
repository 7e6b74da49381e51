"""The official files of MedMNIST: read as they are; damaged, hostile or wrong ones are refused and left alone."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from medmnist import INFO
from toy_data import write_npz

from medssl import data
from medssl.data import medmnist
from medssl.errors import MedsslError


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


def test_a_folder_in_place_of_the_file_and_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "breastmnist.npz").mkdir()
    assert [row["at hand"] for row in data.list_datasets(tmp_path) if row["key"] == "breastmnist"] == ["no"]
    with pytest.raises(MedsslError, match="breastmnist.npz is a folder"):
        data.get("breastmnist", tmp_path)
    (tmp_path / "elsewhere.npz").touch()
    with pytest.raises(MedsslError, match="elsewhere.npz is a file, not a folder"):
        data.load("breastmnist", tmp_path / "elsewhere.npz")
