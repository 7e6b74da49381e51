"""The check of views before they are timed: an equal recipe passes, each step left out is named."""

import sys
from pathlib import Path

import pytest
import torch
from torchvision import transforms as T
from torchvision.transforms.functional import to_pil_image

sys.path.insert(0, str(Path(__file__).parent / "bench"))
import agreement
from views import RECIPE, recipe

from medssl.views import Augment

SIZE = 28


def drawn(**changed) -> dict:
    augment, g = Augment(**RECIPE | changed), torch.Generator().manual_seed(1)
    return agreement.of(lambda images: augment(images, g), SIZE)


@pytest.fixture(scope="module")
def ours() -> dict:
    return drawn()


def test_torchvision_draws_from_our_recipe(ours):
    pipeline = recipe(T, SIZE, T.ToTensor())
    theirs = agreement.of(lambda images: torch.stack([pipeline(to_pil_image(image)) for image in images]), SIZE)
    assert "6 traits of 512 views" in agreement.agree(theirs, ours)


@pytest.mark.parametrize("step, without", [("crop", None), ("flip", 0), ("rotate", 0), ("brightness", 0),
                                           ("contrast", 0)])
def test_a_step_left_out_is_named(ours, step, without):
    with pytest.raises(AssertionError, match={"rotate": "rotation"}.get(step, step)):
        agreement.agree(drawn(**{step: without}), ours)


def test_blur_left_out_is_named_where_both_resample_alike():
    with_blur = drawn(blur=0.5)
    assert agreement.agree(drawn(blur=0.5), with_blur, agreement.SHARP)
    with pytest.raises(AssertionError, match="blur"):
        agreement.agree(drawn(), with_blur, agreement.SHARP)


def test_the_distance_is_that_of_scipy():
    from scipy.stats import ks_2samp

    a, b = torch.randn(50), torch.randn(70) + 0.5
    assert agreement.distance(a, b) == pytest.approx(ks_2samp(a, b).statistic)
    assert agreement.distance(torch.ones(5), torch.ones(5)) == 0
