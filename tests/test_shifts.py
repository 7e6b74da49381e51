"""Domain shifts against numpy and scipy.ndimage, five grades that grow; and what robustness() makes of them."""

import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from medssl.errors import MedsslError
from medssl.evaluate import evaluate, robustness, told_apart
from medssl.views import SHIFTS, shift
from medssl.views.shifts import LIMITS

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_images(n=6, c=1, height=28, width=28):
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((n, c, height, width)), (0, 0, 2, 2))
    return torch.from_numpy(0.2 + 0.6 * (smooth - smooth.min()) / np.ptp(smooth)).float()


@pytest.mark.parametrize("kind", SHIFTS)
def test_strength_zero_is_the_image_to_the_last_bit(kind):
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(shift(images, kind, 0), images.float() / 255)
    assert torch.equal(shift(images.float() / 255, kind, 0.0, seeded()), images.float() / 255)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", SHIFTS)
def test_five_grades_that_grow_and_leave_the_input_alone(kind, device):
    images = smooth_images(c=3).to(device)
    images[:, :, 10:14, 8:20] = 0.9  # edges, for blur to soften
    before = images.clone()
    moved = [shift(images, kind, strength, seeded()) for strength in SHIFTS[kind]]
    distance = [float((view - images).abs().mean()) for view in moved]
    assert len(distance) == 5 and distance == sorted(distance) and distance[0] > 0.001
    assert distance[4] > 2 * distance[0]
    for view in moved:
        assert view.shape == images.shape and view.dtype == torch.float32 and view.device == images.device
        assert view.min() >= 0 and view.max() <= 1
    assert torch.equal(images, before)


def test_brightness_and_contrast_by_their_formulas():
    images = smooth_images(c=3)
    x = images.double().numpy()
    for s in (0.3, -0.2):
        assert shift(images, "brightness", s).numpy() == pytest.approx(np.clip(x * (1 - s), 0, 1), abs=1e-6)
    m = x.mean((1, 2, 3), keepdims=True)
    for s in (0.5, -0.3):
        flat = shift(images, "contrast", s).numpy()
        assert flat == pytest.approx(np.clip(m + (1 - s) * (x - m), 0, 1), abs=1e-6)
    assert shift(images, "contrast", 0.5).mean((1, 2, 3)).numpy() == pytest.approx(m.ravel(), abs=1e-6)
    assert shift(images, "contrast", 1).numpy() == pytest.approx(np.broadcast_to(m, x.shape), abs=1e-6)


@pytest.mark.parametrize(("size", "strength"), [(28, 1.0), (28, 0.6), (56, 0.6)])
def test_blur_is_ndimages_with_sigma_in_28ths(size, strength):
    images, sigma = smooth_images(height=size, width=size), strength * size / 28
    images[:, :, 5:9, 5:9] = 1  # something sharp
    expected = ndimage.gaussian_filter(images.double().numpy(), (0, 0, sigma, sigma), mode="nearest",
                                       radius=(0, 0) + (int(np.ceil(3 * sigma)),) * 2)
    assert shift(images, "blur", strength).numpy() == pytest.approx(expected, abs=1e-5)


def test_crop_is_the_middle_stretched():
    images = smooth_images(2, 1, 24, 32)
    s = 0.25
    rows, columns = ((np.arange(n) - (n - 1) / 2) * (1 - s) + (n - 1) / 2 for n in (24, 32))
    for image, view in zip(images[:, 0].double().numpy(), shift(images, "crop", s)[:, 0].numpy(), strict=True):
        expected = ndimage.map_coordinates(image, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")
        assert view == pytest.approx(expected, abs=1e-5)


def test_noise_has_its_width_comes_from_the_generator_and_only_grows():
    grey = torch.full((4, 1, 64, 64), 0.5)
    noise = shift(grey, "noise", 0.08, seeded(3)) - 0.5
    assert float(noise.std()) == pytest.approx(0.08, rel=0.03) and abs(float(noise.mean())) < 0.003
    assert not torch.allclose(noise[0], noise[1])
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(shift(grey, "noise", 0.08, seeded(3)) - 0.5, noise)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(shift(grey, "noise", 0.08, seeded(4)) - 0.5, noise)
    assert torch.allclose(shift(grey, "noise", 0.04, seeded(3)) - 0.5, noise / 2, atol=1e-6)  # the same grain, half


@pytest.mark.parametrize("kind", [kind for kind in SHIFTS if kind != "noise"])
def test_an_image_is_shifted_alone_as_among_others(kind):
    images = smooth_images()
    whole = shift(images, kind, SHIFTS[kind][2])
    alone = torch.cat([shift(image[None], kind, SHIFTS[kind][2]) for image in images])
    assert torch.allclose(whole, alone, atol=1e-6)


def test_errors_say_what_to_do():
    images = smooth_images()
    for kind, strength in [("fog", 0.1), ("blur", -1), ("noise", 2), ("crop", 1), ("brightness", float("nan"))]:
        with pytest.raises(MedsslError, match="from 0 to 1"):
            shift(images, kind, strength, seeded())
    with pytest.raises(MedsslError, match="manual_seed"):
        shift(images, "noise", 0.1)
    with pytest.raises(MedsslError, match="255"):
        shift(images * 255, "blur", 0)
    assert set(LIMITS) == set(SHIFTS) and all(low <= s <= high for kind, (low, high) in LIMITS.items()
                                              for s in SHIFTS[kind])


# ---- robustness

CLASSES = ("normal", "pneumonia")


def a_model_of_brightness(n=150, seed=0):
    """Class 1 is brighter; predict knows by how much. Its logits are calibrated on the clean images."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.6).astype(np.int64)
    level = torch.from_numpy(0.5 + 0.05 * (2 * y - 1) + 0.05 * rng.normal(size=n)).float()
    images = level.view(-1, 1, 1, 1).expand(-1, 1, 28, 28).contiguous()
    return images, y, lambda batch: torch.sigmoid(40 * (batch.double().mean((1, 2, 3)) - 0.5) + 0.405).numpy()


def test_rows_against_evaluate_and_a_shift_that_moves_only_calibration():
    images, y, predict = a_model_of_brightness()
    rows = robustness(predict, images, y, CLASSES, lambda x, kind, s: shift(x, kind, s, seeded()),
                      {kind: SHIFTS[kind] for kind in ("brightness", "contrast")}, n_boot=300)
    assert [(row["shift"], row["strength"]) for row in rows] == [("none", 0.0)] + [
        (kind, s) for kind in ("brightness", "contrast") for s in SHIFTS[kind]]
    clean, dark, flat = rows[0], rows[5], rows[10]
    for row in rows:
        p = predict(images if row["shift"] == "none" else shift(images, row["shift"], row["strength"]))
        alone = evaluate(y, p, CLASSES, n_boot=300)
        for name in ("accuracy", "auroc", "ece", "nll"):
            assert row[name] == alone[name] and row["ci95"][name] == alone["ci95"][name]
            if row is not clean:
                change = row["change"][name]
                assert change["change"] == pytest.approx(row[name] - clean[name], abs=1e-12)
                assert change["ci95"][0] <= change["change"] <= change["ci95"][1]
    assert dark["auroc"] == clean["auroc"]  # all images alike darker: the ranking stays, the meaning of p does not
    assert dark["change"]["auroc"]["ci95"] == [0, 0] and dark["change"]["ece"]["ci95"][0] > 0.2
    assert flat["change"]["nll"]["ci95"] == pytest.approx([0, 0], abs=1e-5)  # flat images have no contrast to lose
    assert clean["change"] == {}
    json.dumps(rows)


def test_noise_rows_repeat_and_the_paired_interval_is_sharper():
    images, y, predict = a_model_of_brightness(seed=1)
    images = images + 0.02 * torch.randn(images.shape, generator=seeded())

    def run():
        return robustness(lambda x: predict(x[:, :, :5, :5]), images, y, CLASSES,
                          lambda x, kind, s: shift(x, kind, s, seeded(7)), {"noise": (0.04, 0.16)}, n_boot=300)

    rows = run()
    assert rows == run()
    assert rows[2]["auroc"] < rows[1]["auroc"]
    (low, high), (worst, best) = rows[1]["change"]["auroc"]["ci95"], rows[1]["ci95"]["auroc"]
    assert high - low < 0.7 * (best - worst)


def test_images_of_one_place_are_not_told_apart_and_brighter_ones_are():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8) for _ in range(2))
    assert abs(told_apart(a, b) - 0.5) < 0.15
    assert told_apart(a, np.clip(b.astype(int) + 40, 0, 255).astype(np.uint8)) > 0.9
    with pytest.raises(MedsslError, match="at least 5"):
        told_apart(a[:4], b)


def test_told_apart_is_the_same_each_time_and_neither_many_of_one_nor_their_order_help_it():
    rng = np.random.default_rng(0)
    a, b = (np.clip(rng.normal(np.linspace(*ends, n)[:, None, None, None], 30, (n, 1, 8, 8)), 0, 255).astype(np.uint8)
            for n, ends in ((200, (60, 180)), (20, (180, 60))))  # from dark to bright, and from bright to dark
    value = told_apart(a, b)
    assert abs(value - 0.5) < 0.2, "always saying a would be right for 200 of 220"
    assert value == told_apart(torch.from_numpy(a), torch.from_numpy(b))
    assert told_apart(a, a) <= 0.5, "the same images twice: nothing to find"
