"""Images that stand twice in a data set, exactly or nearly, within a split and across splits."""

import numpy as np
import torch
from medmnist import INFO
from toy_data import random_split, small_set, write_npz

from medssl import data
from medssl.data import Split, find_duplicates, near_twins


def test_the_one_image_in_train_and_test_is_found(real_data_root):
    found = find_duplicates(data.load("breastmnist", real_data_root))
    assert [(d.split_a, d.split_b) for d in found] == [("train", "test")]
    with np.load(real_data_root / "breastmnist.npz") as file:  # by hand: all pairs, no hashing
        same = (file["train_images"][:, None] == file["test_images"][None]).all(axis=(2, 3))
    assert list(zip(*np.nonzero(same), strict=True)) == [(found[0].index_a, found[0].index_b)]
    assert not found[0].same_label  # one and the same image is called malignant here, benign there
    report = data.check("breastmnist", real_data_root)
    assert "1 across splits, 0 within one" in report and "147 “malignant”" in report and "ANOTHER label" in report


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
