"""Statistics of images against numpy and scipy.ndimage; the group test against full enumeration, Welch and Holm."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from medssl.errors import MedsslError
from medssl.evaluate import compare_groups, image_statistics
from medssl.evaluate.image_statistics import EDGE_LEVEL


def images(n=5, c=1, height=20, width=28, seed=0):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((n, c, height, width)), (0, 0, 1.5, 1.5))
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


@pytest.mark.parametrize("c", [1, 3])
def test_against_numpy_and_ndimage(c):
    batch = images(c=c)
    found = image_statistics(batch)
    for k, image in enumerate(batch):
        grey = image.astype(float).mean(0) / 255
        slope = np.hypot(*(ndimage.sobel(grey, axis, mode="nearest") for axis in (0, 1))) / 8
        assert found["brightness"][k] == pytest.approx(grey.mean())
        assert found["contrast"][k] == pytest.approx(grey.std())
        assert found["edge_density"][k] == pytest.approx(np.mean(slope > EDGE_LEVEL))
    assert c == 3 or 0.05 < found["edge_density"].mean() < 0.95  # the level divides these images


def test_a_ramp_has_the_slope_that_it_has():
    ramp = np.broadcast_to(np.arange(10) / 10, (1, 1, 10, 10))
    assert image_statistics(ramp, edge_level=0.0999)["edge_density"][0] == pytest.approx(0.8)  # 0.05 at both borders
    assert image_statistics(ramp, edge_level=0.1001)["edge_density"][0] == 0
    assert image_statistics(np.full((2, 1, 8, 8), 7, np.uint8))["edge_density"].tolist() == [0, 0]


def test_uint8_float_and_tensor_say_the_same():
    batch = images()
    expected = image_statistics(batch)
    for other in (torch.from_numpy(batch), batch / 255, torch.from_numpy(batch).float() / 255):
        for name, values in image_statistics(other).items():
            assert values == pytest.approx(expected[name], abs=1e-6), name


def test_darker_flatter_smoother():
    batch = images() / 255
    whole = image_statistics(batch)
    assert (image_statistics(batch * 0.7)["brightness"] < whole["brightness"]).all()
    assert image_statistics(0.5 + (batch - 0.5) / 2)["contrast"] == pytest.approx(whole["contrast"] / 2)
    smooth = ndimage.gaussian_filter(batch, (0, 0, 1.5, 1.5))
    assert (image_statistics(smooth)["edge_density"] < whole["edge_density"]).all()


def test_images_that_are_none():
    batch = images()
    for bad in (batch[0], batch.astype(float), batch / 255 - 0.5, batch.astype(np.int64), batch[:0],
                np.where(batch > 200, np.nan, batch / 255)):
        with pytest.raises(MedsslError, match="before normalising"):
            image_statistics(bad)


# ---- groups

def test_permutation_p_against_all_groupings():
    rng = np.random.default_rng(1)
    values, mask = rng.normal(size=11), np.arange(11) < 4
    values[:4] += 0.9
    gap = [values[list(pick)].mean() - np.delete(values, pick).mean() for pick in combinations(range(11), 4)]
    exact = np.mean(np.abs(gap) >= abs(gap[0]) - 1e-12)
    result = compare_groups({"contrast": values}, mask, permutations=20_000)["contrast"]
    assert result["difference"] == pytest.approx(gap[0]) == pytest.approx(result["mean_group"] - result["mean_rest"])
    assert result["p"] == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))
    assert 0.02 < exact < 0.5  # a value that could go wrong


def test_interval_is_welchs():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.3, 1, 6), rng.normal(0, 2, 90)
    result = compare_groups({"x": np.r_[a, b]}, np.arange(96) < 6, permutations=10)["x"]
    va, vb = a.var(ddof=1) / 6, b.var(ddof=1) / 90
    df = (va + vb) ** 2 / (va**2 / 5 + vb**2 / 89)
    half = stats.t.ppf(0.975, df) * np.sqrt(va + vb)
    assert result["ci95"] == pytest.approx([a.mean() - b.mean() - half, a.mean() - b.mean() + half])
    assert (result["n_group"], result["n_rest"]) == (6, 90)


def test_interval_of_a_group_of_five_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        values = rng.normal(size=80)
        low, high = compare_groups({"x": values}, np.arange(80) < 5, permutations=1)["x"]["ci95"]
        held += low <= 0 <= high
    assert held / 400 > 0.925  # percentile bootstrap: about 0.85


def test_holm_written_out():
    rng = np.random.default_rng(4)
    mask = np.arange(60) < 12
    values = {name: rng.normal(size=60) + step * mask for name, step in zip("abcd", (0, 0.7, 1.2, 0.8), strict=True)}
    values["e"] = -values["c"]  # the same p: its factor is one less, its corrected p may not be
    result = compare_groups(values, mask, permutations=2000)
    ordered, running = sorted(values, key=lambda name: result[name]["p"]), 0.0
    for k, name in enumerate(ordered):
        running = max(running, result[name]["p"] * (5 - k))
        assert result[name]["p_holm"] == pytest.approx(min(1, running))
    assert result["c"]["p_holm"] < 0.05 < result["a"]["p_holm"]
    assert result["e"]["p_holm"] == result["c"]["p_holm"] and list(result) == list("abcde")


def test_no_difference_gives_a_uniform_p_and_the_seed_rules():
    p = []
    for seed in range(300):
        values = np.random.default_rng(seed).normal(size=40)
        p.append(compare_groups({"x": values}, np.arange(40) < 8, permutations=199, seed=seed)["x"]["p"])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    again = [compare_groups({"x": values}, np.arange(40) < 8, permutations=99, seed=s)["x"]["p"] for s in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    constant = compare_groups({"x": np.full(40, 0.1)}, np.arange(40) < 8, permutations=99)["x"]
    assert constant["p"] == 1 and constant["ci95"] is None and constant["difference"] == pytest.approx(0)


def test_masks_that_divide_nothing():
    values = {"x": np.arange(6.0)}
    assert compare_groups(values, np.arange(6) == 2, permutations=9)["x"]["ci95"] is None  # a group of one
    for bad in (np.zeros(6, bool), np.ones(6, bool), np.array([0, 1, 0, 0, 1, 0]), np.ones((6, 1), bool)):
        with pytest.raises(MedsslError, match="True or False"):
            compare_groups(values, bad)
    with pytest.raises(MedsslError, match="same images"):
        compare_groups(values, np.arange(5) == 2)
