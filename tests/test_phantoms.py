"""The phantoms: the same bytes every time, the real sets' sizes, one scene at every resolution, a task of its own."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from medssl.data import find_duplicates, load, phantoms
from medssl.errors import MedsslError

KEYS = list(phantoms.PHANTOMS)
DRAW = {"breastphantom": phantoms.draw_ultrasound, "pneumoniaphantom": phantoms.draw_chest}


@pytest.fixture(scope="module", params=KEYS)
def data(request):
    return load(request.param)


def small(key, size=28, counts=(40, 40)):
    """A few images of one key, fresh from the drawing board."""
    return phantoms.make_split(DRAW[key], counts, (5, 0), size)


def shrink(images, size):
    return torch.nn.functional.interpolate(images.float(), size=(size, size), mode="area")[:, 0]


COUNTS = {
    "breastphantom": {"train": (147, 399), "val": (21, 57), "test": (42, 114)},
    "pneumoniaphantom": {"train": (1214, 3494), "val": (135, 389), "test": (234, 390)},
}
CLASSES = {"breastphantom": ("malignant", "normal, benign"), "pneumoniaphantom": ("normal", "pneumonia")}
HASHES = {"breastphantom": "1a714adf0657db5a", "pneumoniaphantom": "71e2f0a19e434010"}


def test_shapes_counts_and_names_are_those_of_the_real_set(data):
    assert data.classes == CLASSES[data.key] and data.is_phantom and "PHANTOM" in repr(data)
    for name, split in data.splits.items():
        assert tuple(torch.bincount(split.labels).tolist()) == COUNTS[data.key][name]
        assert split.images.dtype == torch.uint8 and tuple(split.images.shape[1:]) == (1, 28, 28)
        ordered = split.labels.sort().values
        assert not torch.equal(split.labels, ordered), "labels must not come sorted"


def test_the_bytes_never_change(data):
    """A change here changes every phantom result ever published: do it knowingly, and run the experiment again."""
    assert data.split_hash() == HASHES[data.key]


def digest():
    return hashlib.sha256(b"".join(small(key).images.numpy().tobytes() for key in KEYS)).hexdigest()


def test_another_process_with_more_threads_and_other_seeds_draws_the_same():
    code = ("import numpy, torch; torch.set_num_threads(2); torch.manual_seed(7); numpy.random.seed(7); "
            "import test_phantoms; print(test_phantoms.digest())")
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           cwd=os.path.dirname(__file__), env={**os.environ, "OMP_NUM_THREADS": "2"})
    assert there.stdout.strip() == digest()


def test_no_image_twice(data):
    assert find_duplicates(data) == []


def test_grey_values_use_the_range_without_drowning_in_black_or_white(data):
    images = data.train.images
    assert 60 < images.float().mean() < 190 and images.float().std() > 35
    clipped = ((images == 0) | (images == 255)).float().mean()
    assert clipped < 0.3
    assert images.float().std((1, 2, 3)).min() > 5, "no image may be empty"


@pytest.mark.parametrize("key", KEYS)
def test_every_size_shows_the_same_scene(key):
    coarse = small(key, 28, (6, 6))
    for size in (64, 128, 224):
        fine = small(key, size, (6, 6))
        assert torch.equal(fine.labels, coarse.labels) and fine.images.shape[-1] == size
        a, b = shrink(fine.images, 28).flatten(1), coarse.images[:, 0].float().flatten(1)
        match = torch.corrcoef(torch.cat([a, b]))[:12, 12:]
        assert match.diagonal().min() > 0.85, (size, match.diagonal())
        assert (match.argmax(1) == torch.arange(12)).all(), "each image resembles its own scene most"


@pytest.mark.parametrize("key", KEYS)
def test_a_flip_shows(key):
    """The mean image is lopsided (tissue slopes, the heart sits on one side), so a network can tell mirror images."""
    mean = small(key, 28, (100, 100)).images.float().mean((0, 1))
    assert (mean - mean.flip(1)).abs().mean() > 4


def test_the_heart_lies_on_the_right_of_the_image():
    lower = small("pneumoniaphantom", 28, (100, 100)).images.float().mean((0, 1))[17:21]
    assert lower[:, 15:20].mean() > lower[:, 8:13].mean() + 20


def test_a_patch_of_pneumonia_is_one_sided_and_shadows_of_the_healthy_are_not():
    split = small("pneumoniaphantom", 28, (300, 300))
    upper = split.images[:, 0, 6:14].float()  # above the heart
    left, right = upper[:, :, 5:11].mean((1, 2)), upper[:, :, 17:23].mean((1, 2))
    difference = (left - right - (left - right).median()).abs()
    ill = split.labels == 1
    assert difference[ill].mean() > 2 * difference[~ill].mean()


def test_malignant_lesions_cast_more_shadow():
    split = small("breastphantom", 28, (300, 300))
    deep = split.images[:, 0, 18:24, 8:20].float().mean((1, 2))
    assert deep[split.labels == 0].mean() < deep[split.labels == 1].mean() - 8


def test_pixels_alone_do_not_solve_it(data):
    """Logistic regression on pixels: better than chance, far from perfect."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    x, y = data.train.images.flatten(1).numpy() / 255 - 0.5, data.train.labels.numpy()
    take = slice(0, 1200)
    model = LogisticRegression(C=0.003, max_iter=300, class_weight="balanced").fit(x[take], y[take])
    auroc = roc_auc_score(data.test.labels, model.decision_function(data.test.images.flatten(1).numpy() / 255 - 0.5))
    assert 0.6 < auroc < 0.88


def test_drawn_once_per_process():
    assert phantoms.make("breastphantom") is phantoms.make("breastphantom", 28)


def test_an_unknown_phantom_or_size_says_what_exists():
    with pytest.raises(MedsslError, match="breastphantom, pneumoniaphantom"):
        phantoms.make("liverphantom")
    with pytest.raises(MedsslError, match="28, 64, 128, 224"):
        phantoms.make("breastphantom", 32)


def test_smooth_noise_meets_its_lattice():
    """At the lattice points the interpolation gives the lattice, halfway the mean of two neighbours."""
    lattice = np.random.default_rng(0).standard_normal((2, 3, 5))
    x, y = np.linspace(-1, 1, 9)[None, None], np.linspace(-1, 1, 3)[None, :, None]
    got = phantoms.smooth_noise(lattice, x, y)
    assert np.allclose(got[:, :, ::2], lattice, atol=0.01)
    assert np.allclose(got[:, :, 1::2], (lattice[:, :, 1:] + lattice[:, :, :-1]) / 2, atol=0.01)
