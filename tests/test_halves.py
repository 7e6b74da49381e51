"""Masks of two halves that never mirror each other, and the halves themselves."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medssl.errors import MedsslError
from medssl.views import Augment, Halves, mirror_masks, unsharp

STILL = Augment()  # changes nothing


def seeded(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_thousand_batches_keep_the_ratio_and_the_rule():
    dice, drawn = np.random.default_rng(0), 0
    while drawn < 1000:
        rows, columns, batch = (int(n) for n in dice.integers((1, 2, 1), (13, 9, 9)))
        ratio = float(dice.uniform(0.2, 0.45))
        k = round(ratio * rows * columns)
        if not 1 <= k <= rows * columns // 2:
            continue  # a grid too small for that ratio is another test
        drawn += 1
        left, right = mirror_masks((rows, columns), batch, seeded(drawn), ratio)
        assert left.dtype == torch.bool and left.shape == right.shape == (batch, rows, columns)
        assert (left.sum((1, 2)) == k).all() and (right.sum((1, 2)) == k).all(), "k different patches in every half"
        for image in range(batch):  # the rule, entry by entry as the issue writes it
            for r, c in left[image].nonzero().tolist():
                assert not right[image, r, columns - 1 - c]


def test_the_grid_of_192_pixels_hides_25_of_72():
    for seed in range(100):
        left, right = mirror_masks((12, 6), 64, seeded(seed))
        assert (left.sum((1, 2)) == 25).all() and (right.sum((1, 2)) == 25).all()
        assert not (left & right.flip(2)).any()
    assert len({tuple(mask.flatten().tolist()) for mask in left}) == 64, "each image has its own"
    again = mirror_masks((12, 6), 64, seeded(99))
    assert torch.equal(left, again[0]) and torch.equal(right, again[1])
    assert not torch.equal(left, mirror_masks((12, 6), 64, seeded(98))[0])


def test_every_allowed_pair_of_masks_is_as_likely_as_any_other():
    left, right = mirror_masks((2, 2), 24_000, seeded(), 0.25)
    pairs, counts = torch.cat([left.flatten(1), right.flatten(1)], 1).unique(dim=0, return_counts=True)
    assert len(pairs) == 12  # 4 places for the left's patch, 3 for the right's
    assert ((counts - 2000).abs() < 5 * 2000**0.5).all()
    half, other = mirror_masks((2, 2), 50, seeded(), 0.5)
    assert torch.equal(half, ~other.flip(2)), "at one half each half hides what the other shows"


@pytest.mark.parametrize(("grid", "ratio"), [((12, 6), 0.51), ((12, 6), 0.9), ((12, 6), 0.0), ((3, 1), 0.5),
                                             ((12, 6), 0.001), ((12, 6), -0.1)])
def test_where_the_rule_cannot_be_kept_an_error_says_so(grid, ratio):
    with pytest.raises(MedsslError, match="at most 50 %"):
        mirror_masks(grid, 2, seeded(), ratio)
    if ratio > 0.5:
        with pytest.raises(MedsslError, match="at most 50 %"):
            Halves(ratio=ratio)({"image": torch.rand(2, 1, 192, 192)}, seeded())
    with pytest.raises(MedsslError, match="Generator"):
        mirror_masks((12, 6), 2, None)


def test_the_cut_is_at_the_midline():
    painted = torch.zeros(2, 1, 192, 192, dtype=torch.uint8)
    painted[..., :96], painted[..., 96:] = 51, 204
    painted[:, :, 10, 95], painted[:, :, 20, 96] = 255, 0  # the last column of the left, the first of the right
    seen = Halves(amount=0, augment=STILL)({"image": painted, "label": torch.arange(2)}, seeded())
    left, right = seen["left"], seen["right"]
    assert left.shape == right.shape == (2, 1, 192, 96) and seen["mask"].shape == (2, 12, 12)
    assert (left[:, :, 10, 95] == 1).all() and (right[:, :, 20, 0] == 0).all()
    left[:, :, 10, 95], right[:, :, 20, 0] = 0.2, 0.8
    assert torch.allclose(left, torch.tensor(0.2)) and torch.allclose(right, torch.tensor(0.8))
    assert torch.equal(seen["label"], torch.arange(2)), "the rest of the batch goes along"


def test_the_mask_covers_whole_patches_of_each_half():
    seen = Halves(96, 8)({"image": torch.rand(5, 1, 28, 28)}, seeded())
    left, right = seen["mask"].chunk(2, 2)
    assert left.shape == (5, 12, 6) and (left.sum((1, 2)) == 25).all() and (right.sum((1, 2)) == 25).all()
    assert not (left & right.flip(2)).any(), "the rule in the whole image: no patch and its mirror image"
    assert not (seen["mask"] & seen["mask"].flip(2)).any()


def test_unsharp_is_the_textbooks():
    x = torch.rand(3, 1, 40, 48, generator=seeded())
    for radius, amount in ((2.0, 0.5), (1.0, 1.5), (2.0, 0.0)):
        blurred = np.stack([gaussian_filter(image[0].double().numpy(), radius, mode="nearest", radius=int(
            np.ceil(3 * radius))) for image in x])
        wanted = np.clip(x[:, 0].numpy() + amount * (x[:, 0].numpy() - blurred), 0, 1)
        assert np.abs(unsharp(x, radius, amount)[:, 0].numpy() - wanted).max() < 1e-5
    ramp = (torch.arange(40) / 40).expand(1, 1, 40, 40)
    assert torch.allclose(unsharp(ramp)[..., 8:-8], ramp[..., 8:-8], atol=1e-5), "what is smooth stays"
    with pytest.raises(MedsslError, match="radius"):
        unsharp(x, 0)


def test_the_target_is_sharp_and_without_noise_and_each_half_has_numbers_of_its_own():
    half = torch.rand(1, 1, 64, 32, generator=seeded())
    same = torch.cat([half, half], 3).expand(4, -1, -1, -1)  # four equal images, the halves of each equal
    views = Halves(64, 8)
    seen = views({"image": same}, seeded())
    assert torch.equal(seen["image"], unsharp(same)) and torch.equal(views.prepare(same), unsharp(same))
    eight = torch.cat([seen["left"], seen["right"]])
    for i in range(8):
        for j in range(i):
            assert (eight[i] - eight[j]).abs().mean() > 1e-3
    change = (eight - torch.cat(seen["image"].chunk(2, 3))).abs().mean()
    assert 0 < change < 0.15, "mild"
    again = views({"image": same}, seeded())
    assert all(torch.equal(seen[name], again[name]) for name in seen)


def test_masks_do_not_depend_on_how_the_halves_are_changed():
    x = {"image": torch.rand(4, 1, 64, 64, generator=seeded())}
    assert torch.equal(Halves(64, 8)(x, seeded(3))["mask"], Halves(64, 8, augment=STILL)(x, seeded(3))["mask"])


def test_only_a_turn_of_the_whole_may_move_pixels():
    for name, value in {"flip": 0.5, "rotate": 3, "crop": (0.5, 1.0), "translate": 0.1, "shear": 2, "size": 32}.items():
        with pytest.raises(MedsslError, match=f"changed by {name}"):
            Halves(augment=Augment(**{name: value}))
    x = {"image": torch.rand(4, 1, 64, 64, generator=seeded())}
    turned = Halves(64, 8, rotate=5, augment=STILL)(x, seeded())
    assert not torch.allclose(turned["image"], Halves(64, 8, augment=STILL)(x, seeded())["image"])
    assert torch.equal(torch.cat([turned["left"], turned["right"]], 3), turned["image"]), "the target turns along"
    assert "rotate=5" in repr(Halves(rotate=5))
    for size, patch in ((192, 100), (190, 16), (8, 8)):
        with pytest.raises(MedsslError, match="patches of"):
            Halves(size, patch)
