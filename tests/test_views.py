"""Views: each property a view promises, against references that share no code with it (numpy, scipy, torchvision)."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms import functional as TF

from medssl.errors import MedsslError
from medssl.views import Augment, OneView, TwoViews, augment2d, preset, to_float
from medssl.views.augment2d import DRAWS
from medssl.views.presets import STRENGTHS, WHY

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
EVERYTHING = dict(crop=(0.3, 1.0), flip=0.5, vertical_flip=0.5, rotate=40, shear=10, translate=0.1, brightness=0.3,
                  contrast=0.3, noise=0.1, blur=0.5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_images(n=6, c=1, height=20, width=36):
    noise = np.random.default_rng(0).random((n, c, height, width))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2, 2))
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth)).float()


def draws(n, seed=0):
    """The random numbers a view will use, by name, drawn a second time."""
    return dict(zip(DRAWS, torch.rand(len(DRAWS), n, generator=seeded(seed)).double().numpy(), strict=True))


def test_nothing_asked_nothing_changed_to_the_last_bit():
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(Augment()(images, seeded()), images.float() / 255)
    floats = torch.rand(5, 1, 28, 28)
    assert torch.equal(Augment()(floats, seeded()), floats)


def test_the_images_handed_in_stay_as_they_were():
    images = torch.rand(4, 1, 28, 28)
    before = images.clone()
    for name in EVERYTHING:
        Augment(**{name: EVERYTHING[name]})(images, seeded())
        assert torch.equal(images, before), name


@pytest.mark.parametrize("shape", [(8, 1, 28, 28), (8, 3, 20, 36)])
def test_all_chance_comes_from_the_generator(shape):
    images, augment = torch.rand(shape), Augment(**EVERYTHING)
    torch.manual_seed(1)
    first = augment(images, seeded(7))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(augment(images, seeded(7)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(augment(images, seeded(8)), first)


def test_each_image_gets_its_own_draw():
    same = torch.rand(1, 1, 28, 28).expand(6, -1, -1, -1)
    for name in ("crop", "rotate", "shear", "translate", "brightness", "contrast", "noise"):
        views = Augment(**{name: EVERYTHING[name]})(same, seeded())
        assert all(not torch.allclose(views[0], other) for other in views[1:]), name


@pytest.mark.parametrize(("name", "axis"), [("flip", 3), ("vertical_flip", 2)])
def test_flips_mirror_exactly_the_right_axis_of_about_the_right_share(name, axis):
    images = torch.rand(400, 1, 12, 20)
    assert torch.allclose(Augment(**{name: 1})(images, seeded()), images.flip(axis), atol=1e-5)
    views = Augment(**{name: 0.25})(images, seeded())
    flipped = [torch.allclose(a, b, atol=1e-4) for a, b in zip(views, images.flip(axis), strict=True)]
    unchanged = [torch.allclose(a, b, atol=1e-4) for a, b in zip(views, images, strict=True)]
    assert sum(flipped) + sum(unchanged) == 400 and 0.18 < np.mean(flipped) < 0.32


@pytest.mark.parametrize(("padding", "scipy_mode"), [("reflection", "reflect"), ("border", "nearest")])
def test_geometry_of_oblong_images_agrees_with_scipy(padding, scipy_mode):
    """The whole affine map, composed from textbook matrices in pixel units and resampled once by scipy."""
    images, u = smooth_images(n=12, c=2), draws(12)
    settings = {k: EVERYTHING[k] for k in ("crop", "flip", "vertical_flip", "rotate", "shear", "translate")}
    views = Augment(**settings, padding=padding)(images, seeded())
    height, width = images.shape[2:]
    for i, image in enumerate(images.numpy()):
        d = {name: values[i] for name, values in u.items()}
        angle, slant = math.radians(40 * (2 * d["angle"] - 1)), math.radians(10 * (2 * d["shear"] - 1))
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shear = np.array([[1, math.tan(slant)], [0, 1]])
        area, aspect = 0.3 + 0.7 * d["area"], (3 / 4) * (16 / 9) ** d["aspect"]
        side = np.minimum(1, [math.sqrt(area * aspect), math.sqrt(area / aspect)])
        mirror = np.where([d["flip"] < 0.5, d["vertical_flip"] < 0.5], -1, 1)
        size = np.array([width, height])
        corner = (1 - side) / 2 * [2 * d["crop_x"] - 1, 2 * d["crop_y"] - 1] * size
        matrix = rotation @ shear @ np.diag(side * mirror)
        offset = rotation @ shear @ corner + 0.1 * size * [2 * d["move_x"] - 1, 2 * d["move_y"] - 1]
        centre = (size - 1) / 2
        matrix_yx, offset_yx = matrix[::-1, ::-1], (centre + offset - matrix @ centre)[::-1]
        for channel, view in zip(image, views[i].numpy(), strict=True):
            expected = ndimage.affine_transform(channel, matrix_yx, offset_yx, order=1, mode=scipy_mode)
            assert np.abs(view - expected).max() < 2e-4


def test_a_crop_lies_inside_the_image_and_has_the_area_asked_for():
    ones = torch.ones(500, 1, 96, 96)
    # Between the last pixel's centre and the image's edge zeros blend in, down to 0.25 in a corner; beyond it all is 0.
    assert Augment(crop=(0.3, 1), padding="zeros")(ones, seeded()).min() > 0.25
    ramp = torch.linspace(0, 1, 100).expand(200, 1, 100, 100)
    views = Augment(crop=(0.25, 0.25), ratio=(1, 1))(ramp, seeded())
    spans = views.amax((1, 2, 3)) - views.amin((1, 2, 3))
    assert torch.allclose(spans, torch.tensor(0.5), atol=0.02)  # a quarter of the area is half of the side
    middles = views.mean((1, 2, 3))
    assert middles.min() < 0.3 and middles.max() > 0.7  # and it is taken from everywhere


def test_turned_images_have_no_black_corners():
    grey = torch.full((50, 1, 28, 28), 0.5)
    assert torch.allclose(Augment(rotate=15, translate=0.1)(grey, seeded()), grey, atol=1e-6)
    assert Augment(rotate=15, padding="zeros")(grey, seeded()).min() < 0.1


def test_brightness_and_contrast_agree_with_torchvision():
    images, u = 0.3 + 0.3 * torch.rand(8, 1, 16, 16), draws(8)
    views = Augment(brightness=0.2, contrast=0.3)(images, seeded())
    for i, image in enumerate(images):
        expected = TF.adjust_brightness(image, 1 + 0.2 * (2 * u["brightness"][i] - 1))
        expected = TF.adjust_contrast(expected, 1 + 0.3 * (2 * u["contrast"][i] - 1))
        assert torch.allclose(views[i], expected, atol=1e-5)


def test_blur_agrees_with_scipy_and_leaves_the_others_alone():
    images, u = torch.rand(20, 2, 15, 23), draws(20)
    views = Augment(blur=0.5, blur_sigma=(0.4, 1.2))(images, seeded())
    blurred = u["blur"] < 0.5
    assert 0 < blurred.sum() < 20
    for i, image in enumerate(images):
        if not blurred[i]:
            assert torch.equal(views[i], image)
            continue
        sigma = 0.4 + 0.8 * u["sigma"][i]
        expected = ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma), mode="nearest", radius=(0, 4, 4))
        assert np.abs(views[i].numpy() - expected).max() < 1e-5


def test_noise_has_the_strength_drawn_for_each_image():
    images, u = torch.full((6, 1, 100, 100), 0.5), draws(6)
    noise = Augment(noise=0.1)(images, seeded()) - images
    assert np.allclose(noise.std((1, 2, 3)), 0.1 * u["noise"], rtol=0.05)
    assert noise.mean((1, 2, 3)).abs().max() < 0.005
    assert np.abs(np.corrcoef(noise.flatten(1))[np.triu_indices(6, 1)]).max() < 0.05


def test_large_batches_are_cut_into_pieces_without_a_trace(monkeypatch):
    images, settings = torch.rand(7, 1, 20, 36), EVERYTHING | {"noise": 0}
    whole, floats = Augment(**settings)(images, seeded()), Augment()(images, seeded())
    monkeypatch.setattr(augment2d, "PIXELS_AT_ONCE", 2 * 20 * 36)
    assert torch.allclose(Augment(**settings)(images, seeded()), whole, atol=1e-6)
    assert torch.equal(Augment()(images, seeded()), floats)
    noisy = Augment(noise=0.1)(torch.full((4, 1, 20, 36), 0.5), seeded())
    assert not torch.allclose(noisy[0] - 0.5, noisy[2] - 0.5, atol=1e-3)  # each piece draws noise of its own


def test_a_setting_more_does_not_reshuffle_the_others():
    images = smooth_images(n=16)
    plain = Augment(flip=0.5, rotate=10)(images, seeded())
    noisy = Augment(flip=0.5, rotate=10, noise=1e-4, brightness=1e-4)(images, seeded())
    assert torch.allclose(plain, noisy, atol=2e-3)
    plain, noisy = (TwoViews(Augment(flip=0.5, rotate=10, **more))({"image": images}, seeded())
                    for more in ({}, {"noise": 1e-4, "brightness": 1e-4}))
    for view in ("view1", "view2"):
        assert torch.allclose(plain[view], noisy[view], atol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("modality", WHY)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_presets_give_finite_float_images_in_range(modality, strength, device):
    augment = preset(modality, strength)
    for shape in [(5, 1, 28, 28), (2, 3, 64, 48)]:
        images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
        views = augment(images, seeded())  # a CPU generator, wherever the images are
        assert views.shape == images.shape and views.dtype == torch.float32 and views.device == images.device
        assert views.isfinite().all() and views.min() >= 0 and views.max() <= 1
        assert torch.equal(views, augment(images, seeded()))
    assert augment.settings["vertical_flip"] == 0
    assert augment.why and "\n" not in augment.why


def test_presets_say_what_the_flip_does_to_anatomy():
    assert "heart" in preset("xray", "A").why and "laterality" in preset("ultrasound", "A").why
    assert preset("xray", "none").settings == Augment().settings


def test_repr_is_the_whole_recipe():
    augment = preset("ultrasound", "ssl")
    again = eval(repr(augment))
    assert again.settings == augment.settings
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(again(images, seeded()), augment(images, seeded()))


def test_one_and_two_views_keep_the_rest_of_the_batch():
    batch = {"image": torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8), "label": torch.arange(4)}
    one = OneView(preset("xray", "B"))(batch, seeded())
    assert torch.equal(one["label"], batch["label"]) and one["image"].dtype == torch.float32
    assert batch["image"].dtype == torch.uint8
    two = TwoViews(preset("xray", "B"))(batch, seeded())
    assert two["view1"].shape == two["view2"].shape == batch["image"].shape
    pairs = zip(two["view1"], two["view2"], strict=True)
    assert not any(torch.allclose(first, second, atol=0.05) for first, second in pairs)
    same = TwoViews(Augment())(batch, seeded())
    assert torch.equal(same["view1"], same["view2"]) and torch.equal(same["view1"], to_float(batch["image"]))
    assert torch.equal(two["label"], batch["label"]) and torch.equal(two["image"], batch["image"])


@pytest.mark.parametrize("settings", [
    {"flip": -0.1}, {"flip": 1.1}, {"rotate": -5}, {"rotate": float("nan")}, {"noise": -1}, {"contrast": 2},
    {"translate": 0.9}, {"blur": 5}, {"crop": (0.9, 0.3)}, {"crop": (0, 1)}, {"crop": (0.5, 1.5)}, {"ratio": (2, 1)},
    {"blur_sigma": (0, 1)}, {"padding": "black"}, {"crop": 0.5}, {"crop": ()}, {"crop": 0}, {"crop": ("a", "b")},
    {"crop": (0.2, 0.5, 1)}, {"ratio": None}, {"noise": "a"}, {"flip": None}, {"rotate": (-5, 5)},
])
def test_absurd_settings_are_refused_by_name(settings):
    with pytest.raises(MedsslError, match=f"{next(iter(settings))}=.*cannot be"):
        Augment(**settings)


@pytest.mark.parametrize("generator", [None, 0])
def test_chance_without_a_generator_is_refused(generator):
    with pytest.raises(MedsslError, match="manual_seed"):
        OneView(Augment())({"image": torch.rand(2, 1, 8, 8)}, generator)


@pytest.mark.parametrize("images", [255 * torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8) - 0.5,
                                    torch.full((2, 1, 8, 8), float("nan"))])
def test_float_images_that_would_be_clamped_are_refused(images):
    with pytest.raises(MedsslError, match="Divide by 255"):
        Augment(flip=0.5)(images, seeded())
    assert Augment(flip=0.5)(torch.rand(0, 1, 8, 8), seeded()).shape == (0, 1, 8, 8)


def test_unknown_presets_name_the_choices():
    with pytest.raises(MedsslError, match="xray, ultrasound"):
        preset("mri", "A")
    with pytest.raises(MedsslError, match="none, A, B, C, ssl"):
        preset("xray", "D")


@pytest.mark.parametrize("images", [torch.rand(28, 28), torch.zeros(2, 1, 8, 8, dtype=torch.int64)])
def test_wrong_images_are_refused(images):
    with pytest.raises(MedsslError, match=r"\[B,C,H,W\]"):
        to_float(images)
