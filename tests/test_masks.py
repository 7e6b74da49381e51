"""Masks: nothing of a target is seen, no edge is favoured, blocks are as large as asked, and small grids end."""

import math
from functools import partial

import pytest
import torch

from medssl.errors import MedsslError
from medssl.views import Augment, MaskedViews, Masks, blocks_3d, multi_block, random_masks, temporal, tubes
from medssl.views.masked import foreground_share
from medssl.views.masks import block_size, choose, place

PLANES, VOLUMES = [(1, 5), (5, 1), (3, 3), (7, 7), (14, 14), (6, 9)], [(4, 7, 7), (2, 3, 4), (8, 6, 5)]
KINDS = [(make, grid) for make in (random_masks, multi_block) for grid in PLANES] + [
    (make, grid) for make in (random_masks, partial(blocks_3d, spacing=(8.0, 5.0, 5.0)), tubes, temporal)
    for grid in VOLUMES]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def members(numbers: torch.Tensor, grid) -> torch.Tensor:
    """bool [..., *grid] of token numbers [..., K]."""
    flags = torch.zeros(*numbers.shape[:-1], math.prod(grid), dtype=torch.bool)
    return flags.scatter(-1, numbers, True).unflatten(-1, grid)


@pytest.mark.parametrize(("make", "grid"), KINDS)
def test_what_every_mask_must_be(make, grid):
    n, batch = math.prod(grid), 16
    for seed in range(25):
        masks = make(grid, batch, seeded(seed))
        context, targets = masks
        assert isinstance(masks, Masks) and context.dtype == targets.dtype == torch.int64
        assert context.shape[0] == targets.shape[1] == batch and context.shape[1] >= 1 and targets.shape[2] >= 1
        for numbers in (context, targets):
            assert numbers.min() >= 0 and numbers.max() < n
            assert (numbers.diff(dim=-1) > 0).all()  # sorted, so none stands there twice
        assert not (members(context, grid) & members(targets, grid).any(0)).any()
        again = make(grid, batch, seeded(seed))
        assert torch.equal(context, again.context) and torch.equal(targets, again.targets)
    if n > 12:
        assert len(torch.cat([context, targets[0]], 1).unique(dim=0)) > batch // 2, "images share their mask"
        other = make(grid, batch, seeded(99))
        assert other.targets.shape != targets.shape or not torch.equal(other.targets, targets)


def test_every_place_of_a_block_is_as_likely():
    """A block of 3 in 7 lies over the last row in 1 of 5 draws; an upper bound one too small would make it none."""
    draws = 20_000
    blocks = place((7, 4), torch.tensor([3, 2]).expand(1, draws, 2), seeded()).view(draws, 7, 4)
    assert (blocks.sum((1, 2)) == 6).all()
    rows, columns = blocks.any(2).double().mean(0), blocks.any(1).double().mean(0)
    assert torch.allclose(rows, torch.tensor([1, 2, 3, 3, 3, 2, 1]).double() / 5, atol=0.015)
    assert torch.allclose(columns, torch.tensor([1, 2, 2, 1]).double() / 3, atol=0.015)


@pytest.mark.parametrize("make", [random_masks, multi_block])
def test_no_corner_is_favoured(make):
    """Cutting each context to the shortest from its end would take tokens from the last rows only."""
    total = torch.zeros(7, 7)
    for seed in range(60):
        total += members(make((7, 7), 64, seeded(seed)).context, (7, 7)).double().mean(0)
    seen = total / 60
    for turned in (seen.flip(0), seen.flip(1), seen.flip(0, 1)):
        assert (seen - turned).abs().max() < 0.06
    assert (seen - seen.flip(0)).mean(1).abs().max() < 0.025


def test_random_masks_reach_their_ratio():
    for grid, ratio, hidden in [((7, 7), 0.75, 37), ((14, 14), 0.75, 147), ((1, 5), 0.99, 4), ((3, 3), 0.01, 1)]:
        masks = random_masks(grid, 3, seeded(), ratio)
        assert masks.targets.shape == (1, 3, hidden) and masks.context.shape == (3, math.prod(grid) - hidden)


def test_blocks_hide_what_chance_says():
    """Independent draw in plain Python: 4 blocks of 3 × 3 on 7 × 7, and how many tokens they cover together."""
    import random

    rng, reference = random.Random(0), []
    for _ in range(4000):
        covered = set()
        for _ in range(4):
            y, x = rng.randrange(5), rng.randrange(5)
            covered |= {(y + i, x + j) for i in range(3) for j in range(3)}
        reference.append(len(covered))
    masks = multi_block((7, 7), 4000, seeded(), scale=(9 / 49, 9 / 49), aspect=(1, 1), min_keep=1)
    assert masks.targets.shape == (4, 4000, 9)
    hidden = members(masks.targets, (7, 7)).any(0).sum((1, 2)).double()
    assert abs(hidden.mean() - sum(reference) / 4000) < 0.25  # 25.1 of 49 tokens
    assert abs(hidden.std() - torch.tensor(reference).double().std()) < 0.25


def test_scale_and_aspect_are_drawn_separately_and_kept():
    sizes = torch.tensor([block_size((100, 100), seeded(seed), (0.15, 0.2), (0.75, 1.5)) for seed in range(2000)])
    area, aspect = (sizes.prod(1) / 1e4).double(), (sizes[:, 0] / sizes[:, 1]).double()
    assert 0.148 < area.min() < 0.152 and 0.198 < area.max() < 0.202
    assert 0.72 < aspect.min() < 0.77 and 1.46 < aspect.max() < 1.56
    assert abs(torch.corrcoef(torch.stack([area, aspect]))[0, 1]) < 0.06  # one number for both: 1.0
    for grid in [(1, 5), (5, 1), (3, 3), (7, 7), (2, 40), (14, 3)]:
        for seed in range(200):
            for low, high in [(0.15, 0.2), (0.85, 1.0)]:
                rows, columns = block_size(grid, seeded(seed), (low, high), (0.75, 1.5))
                half, n = max(rows, columns) / 2, math.prod(grid)
                assert 1 <= rows <= grid[0] and 1 <= columns <= grid[1]
                assert max(1, low * n - half) <= rows * columns <= max(1, high * n + half)


def test_the_minimum_is_kept_and_no_loop_is_endless():
    assert multi_block((7, 7), 300, seeded(), min_keep=20).context.shape[1] >= 20
    assert multi_block((7, 7), 300, seeded()).context.shape[1] >= 12
    for call in (lambda g: multi_block((7, 7), 4, g, scale=(1.0, 1.0)), lambda g: multi_block((1, 1), 4, g),
                 lambda g: blocks_3d((2, 3, 4), 4, g, (1, 1, 1), size_mm=(50, 60)),
                 lambda g: tubes((4, 2, 2), 4, g, min_keep=5)):
        with pytest.raises(MedsslError, match="in 100 draws"):
            call(seeded())
    for call in (lambda g: random_masks((1, 1), 4, g), lambda g: temporal((1, 7, 7), 4, g),
                 lambda g: multi_block((4, 7, 7), 4, g), lambda g: random_masks((7, 7), 4, None),
                 lambda g: multi_block((7, 7), 4, g, scale=(0.3, 0.2)), lambda g: temporal((4, 7, 7), 4, g, 1.0),
                 lambda g: blocks_3d((4, 7, 7), 4, g, (0, 1, 1)), lambda g: random_masks((7, 7), 0, g)):
        with pytest.raises(MedsslError):
            call(seeded())


def test_of_too_many_tokens_a_random_part_is_taken():
    member = torch.zeros(2000, 10, dtype=torch.bool)
    member[:, :8] = True
    member[0, 2:8] = False  # this image has two only
    chosen = choose(member, seeded())
    assert chosen.shape == (2000, 2) and chosen[0].tolist() == [0, 1] and chosen.max() == 7
    assert (chosen.flatten().bincount() / 4000 - 1 / 8).abs().max() < 0.02


def test_blocks_in_mm_grow_in_tokens_when_the_spacing_shrinks():
    edges = []
    for mm in (20.0, 10.0, 5.0):
        masks = blocks_3d((12, 12, 12), 4, seeded(), (mm, mm, mm), size_mm=(38, 42), n_targets=2)
        block = members(masks.targets, (12, 12, 12))[0, 0]
        edges.append([int(block.any(a).any(a - (a > 0)).sum()) for a in (0, 1, 2)])
    assert edges == [[2] * 3, [4] * 3, [8] * 3]
    masks = blocks_3d((12, 12, 12), 4, seeded(), (40.0, 10.0, 5.0), size_mm=(38, 42), n_targets=2)
    block = members(masks.targets, (12, 12, 12))[0, 0]
    assert [int(block.any(2).any(1).sum()), int(block.any(2).any(0).sum()), int(block.any(1).any(0).sum())] == [1, 4, 8]


def test_images_of_different_spacing_get_blocks_of_one_size_in_mm():
    spacing = torch.tensor([[5.0, 5, 5], [10, 10, 10]])
    masks = blocks_3d((8, 8, 8), 2, seeded(), spacing, size_mm=(20, 20), n_targets=3)
    assert masks.targets.shape == (3, 2, 8)  # 4³ tokens of the first, cut to the 2³ of the second
    z, y, x = (part.amax(-1) - part.amin(-1) for part in torch.unravel_index(masks.targets, (8, 8, 8)))
    assert max(z[:, 0].max(), y[:, 0].max(), x[:, 0].max()) == 3 and (z[:, 1] == 1).all() and (y[:, 1] == 1).all()


def test_targets_lie_in_the_foreground():
    grid, body = (4, 8, 8), torch.zeros(60, 4, 8, 8)
    body[:, :, 3:, 4:] = 1
    make = partial(blocks_3d, grid, 60, spacing=(10, 10, 10), size_mm=(20, 30), n_targets=4)
    share = members(make(seeded()).targets, grid).double().mul(body).sum((2, 3, 4))
    share = share / make(seeded()).targets.shape[2]
    assert (share < 0.5).float().mean() > 0.4  # without a word about the foreground half of the blocks miss it
    masks = make(seeded(), foreground=body, least_foreground=0.5)
    held = members(masks.targets, grid).double().mul(body).sum((2, 3, 4)) / masks.targets.shape[2]
    assert held.min() >= 0.5 and (held < 1).any()  # every place with half of it is a place, not the best ones only
    flat = multi_block((8, 8), 60, seeded(), foreground=body[:, 0], least_foreground=0.5)
    assert (members(flat.targets, (8, 8)) & (body[:, 0] > 0)).sum((2, 3)).min() >= flat.targets.shape[2] / 2
    tube = tubes(grid, 60, seeded(), kinds=((1, 0.15),), foreground=body, least_foreground=0.9)
    assert (members(tube.targets, grid) & (body > 0)).sum((2, 3, 4)).min() >= 0.9 * tube.targets.shape[2]


def test_an_image_without_enough_foreground_takes_the_place_with_most():
    body = torch.zeros(3, 6, 6)
    body[1, 5, 5] = 1  # a single token of body; image 0 has none, image 2 is all of it
    body[2] = 1
    sizes = torch.tensor([2, 2]).expand(500, 3, 2)
    blocks = place((6, 6), sizes, seeded(), body, 0.9).view(500, 3, 6, 6)
    assert blocks[:, 1, 5, 5].all()
    for image in (0, 2):  # all places are alike: each of the 25 is drawn
        assert len(blocks[:, image].flatten(1).unique(dim=0)) == 25


def test_tubes_are_as_deep_as_the_clip():
    for seed in range(30):
        masks = tubes((5, 7, 7), 9, seeded(seed))
        for part in (members(masks.context, (5, 7, 7)), members(masks.targets[0], (5, 7, 7))):
            assert (part == part[:, :1]).all()
    shares = [tubes((2, 14, 14), 1, seeded(s), kinds=(kind,)).targets.shape[2] / 392
              for kind in ((8, 0.15), (2, 0.7)) for s in range(60)]
    # one block of share s leaves a token out with 1 - s where edges play no part; both kinds of V-JEPA hide most
    assert 0.5 < sum(shares[:60]) / 60 < 0.75 and 0.75 < sum(shares[60:]) / 60 < 0.9
    lengths = {tubes((2, 14, 14), 1, seeded(s)).targets.shape[2] // 2 for s in range(40)}
    assert min(lengths) < 130 and max(lengths) > 150  # both kinds are drawn


def test_no_hidden_frame_is_seen():
    """The defaults of the course: half of the frames hidden, three quarters of the patches in the others."""
    grid = (16, 4, 4)
    for seed in range(30):
        masks = temporal(grid, 8, seeded(seed))
        seen, hidden = members(masks.context, grid).flatten(2), members(masks.targets[0], grid).flatten(2)
        assert ((hidden.sum(2) == 16) | (hidden.sum(2) == 0)).all() and (hidden.any(2).sum(1) == 8).all()
        assert (seen.any(2) != hidden.any(2)).all()  # a frame is hidden, or seen in part
        assert ((seen.sum(2) == 4) == seen.any(2)).all()
        assert (seen.any(1, keepdim=True) & seen.any(2, keepdim=True) == seen).all()  # the same places in each
    assert temporal(grid, 8, seeded(), spatial=0.0).context.shape[1] == 8 * 16


def test_masked_views_of_images():
    images = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8)
    make = partial(multi_block, n_targets=2)
    batch = {"image": images, "label": torch.arange(6)}
    seen = MaskedViews(None, make, 4)(batch, seeded())
    assert seen["image"] is images and set(seen) == {"image", "label", "context", "targets"}
    direct = make((7, 7), 6, seeded())
    assert torch.equal(seen["context"], direct.context) and torch.equal(seen["targets"], direct.targets)
    moved = MaskedViews(Augment(flip=0.5), make, 4)(batch, seeded())
    assert moved["image"].dtype == torch.float32 and not torch.equal(moved["image"] * 255, images.float())
    assert MaskedViews(None, random_masks, (7, 4))(batch, seeded())["targets"].shape == (1, 6, 21)  # 4 × 7 tokens
    assert repr(MaskedViews(None, make, 4)) == "MaskedViews(None, multi_block, n_targets=2, patch=4)"
    for call in (lambda: MaskedViews(None, make, 5)(batch, seeded()),
                 lambda: MaskedViews(None, temporal, 4, foreground=0.1),
                 lambda: MaskedViews(None, make, (4, 4, 4))(batch, seeded())):
        with pytest.raises(MedsslError):
            call()


def test_masked_views_of_volumes():
    volumes = torch.zeros(5, 1, 8, 16, 24, dtype=torch.uint8)
    volumes[..., :12] = 200
    make = partial(blocks_3d, n_targets=2, size_mm=(16, 16), least_foreground=1.0)
    views = MaskedViews(None, make, (2, 4, 4), spacing=(4.0, 2.0, 2.0), foreground=0.1)
    seen = views({"image": volumes}, seeded())
    assert seen["targets"].shape == (2, 5, 8) and seen["spacing"].tolist() == [[4.0, 2.0, 2.0]] * 5
    assert (members(seen["targets"], (4, 4, 6)).any(0)[..., 3:] == 0).all()  # air is no target
    own = views({"image": volumes, "spacing": torch.full((5, 3), 1.0)}, seeded())
    assert own["targets"].shape == (2, 5, 4 * 4 * 4) and (own["spacing"] == 1).all()  # 16 mm: all the depth there is
    share = foreground_share(volumes / 255, (2, 4, 8), 0.1)
    assert share.shape == (5, 4, 4, 3) and share[0, 0, 0].tolist() == [1, 0.5, 0]
