"""The test split is for reporting: whatever stands in it, what is learnt and what is chosen stays the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medssl import recipes
from medssl.data import ImageData, Split
from medssl.models import SmallCNN

QUIET = {"quiet": "silent", "device": "cpu"}


def split(n, seed):
    """Class 1 is a little brighter, in much noise: no epoch and no C is perfect, so there is something to choose."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.permutation(np.arange(n) % 2))
    images = rng.integers(0, 200, (n, 1, 16, 16)) + 8 * labels.numpy()[:, None, None, None]
    return Split(torch.from_numpy(images.astype(np.uint8)), labels)


@pytest.fixture(scope="module")
def both():
    """A data set, and the same one with other test images and turned labels."""
    data = ImageData(key="toy", train=split(64, 0), val=split(32, 1), test=split(32, 2), classes=("dark", "bright"),
                     modality="xray", license="none", is_phantom=True, size=16)
    return data, replace(data, test=Split(255 - data.test.images, 1 - data.test.labels))


def encoder():
    torch.manual_seed(0)
    return SmallCNN(width=4)


def same_weights(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def same_history(a, b):
    return [{**row, "seconds": 0} for row in a.history] == [{**row, "seconds": 0} for row in b.history]


@pytest.mark.parametrize("train", [
    lambda data: recipes.train_supervised(data, encoder(), epochs=6, batch_size=16, lr=0.01, **QUIET),
    lambda data: recipes.finetune(data, encoder(), fraction=0.5, epochs=6, batch_size=16, lr=0.01, **QUIET),
], ids=["train_supervised", "finetune"])
def test_training_and_its_best_epoch_are_the_same_with_another_test_split(both, train):
    one, other = map(train, both)
    assert one.best == other.best and same_history(one, other) and same_weights(one.model, other.model)
    on_val = recipes.score([one], both[0], "val", n_boot=0).per_seed[0]["auroc"]
    assert one.best["value"] == max(row["val_auroc"] for row in one.history) == pytest.approx(on_val)


def test_pretraining_is_the_same_with_another_test_split(both):
    one, other = (recipes.pretrain(data, "simclr", encoder(), epochs=2, batch_size=32, **QUIET) for data in both)
    assert same_history(one, other) and same_weights(one.encoder, other.encoder)


def test_probes_are_the_same_with_another_test_split(both):
    one, other = (recipes.probe_grid(data, [encoder()], fractions=(0.25, 1.0), draws=3, split="test", tta=False)
                  for data in both)
    assert [row["C"] for row in one.rows] == [row["C"] for row in other.rows]
    for fraction in one.probes:
        for (w, b), (w2, b2) in zip(one.probes[fraction], other.probes[fraction], strict=True):
            assert np.array_equal(w, w2) and b == b2
