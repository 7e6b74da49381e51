"""Volumes pass the recipes that images pass: the ladder of baselines, and training with labels."""

import numpy as np
import torch

from medssl import recipes
from medssl.data import ImageData, Split
from medssl.models import ViT


def volumes(n: int, seed: int) -> Split:
    """[n,1,8,8,8]; the positives are brighter near the far end of z only."""
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(n) % 2
    images = torch.randint(0, 120, (n, 1, 8, 8, 8), generator=generator)
    images[labels == 1, :, 6:] += 25
    return Split(images.to(torch.uint8), labels)


def data() -> ImageData:
    return ImageData("own", volumes(80, 0), volumes(40, 1), volumes(60, 2), ("no", "yes"), "ct", "none", True, 8)


def test_pixels_keep_every_voxel_and_average_larger_volumes():
    x = torch.rand(2, 1, 56, 28, 6)
    features = recipes.Pixels()(x)
    assert features.shape == (2, 28 * 28 * 6)
    by_hand = (x[:, 0, 0::2] + x[:, 0, 1::2]) / 2
    assert torch.allclose(features.reshape(2, 28, 28, 6), by_hand, atol=1e-6)


def test_the_ladder_of_volumes_has_voxels_and_the_network_that_a_function_builds():
    built = []

    def encoder():
        built.append(ViT(patch=(4, 4, 4)))
        return built[-1]

    before = torch.get_rng_state()
    rungs = recipes.ladder(data(), model=encoder, seeds=2, draws=2, fractions=(1.0,), split="test")
    assert torch.equal(before, torch.get_rng_state())
    assert list(rungs.rungs) == ["majority", "logistic regression on voxels", "random encoder, frozen"]
    assert len(built) == 2 and not torch.equal(built[0].embed.weight, built[1].embed.weight)
    assert np.mean(rungs.values()["logistic regression on voxels"][1.0]) > 0.9


def test_volumes_are_trained_on_as_they_are():
    torch.manual_seed(0)
    seen = []
    model = ViT(patch=(4, 4, 4))
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    recipes.train_supervised(data(), model, augment=None, steps=2, batch_size=16, quiet="silent")
    assert seen[0].shape == (16, 1, 8, 8, 8) and seen[0].dtype == torch.uint8
