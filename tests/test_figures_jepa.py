"""Figures of tokens: what is drawn as seen is what the mask says, scales are shared, and nothing is smoothed."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from test_figures import TITLE, assert_tidy, texts

from medssl import figures
from medssl.errors import MedsslError
from medssl.figures.masks import BLANK
from medssl.models.vit import ViT
from medssl.views import Masks, blocks_3d, multi_block, temporal

GRID, DEEP = (7, 7), (4, 4, 4)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pictures(grid=GRID, patch: int = 4, n: int = 5) -> torch.Tensor:
    return torch.randint(0, 256, (n, 1, *(patch * cells for cells in grid)), dtype=torch.uint8, generator=seeded())


def drawn(figure) -> list[np.ndarray]:
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def words(figure) -> str:
    return " ".join(t.get_text() for t in texts(figure))


def every_figure(title: str = "") -> dict:
    x, deep = pictures(), pictures(DEEP, n=2)
    flat, through = multi_block(GRID, 5, seeded()), blocks_3d(DEEP, 2, seeded(), (4, 4, 4))
    even = torch.full((5, 49), 1 / 49)
    tokens = torch.randn(5, 49, 16, generator=seeded())
    mm = {"spacing": (3.3, 1.0, 0.7)}
    return {
        "masks": lambda: figures.masks(x, flat, GRID, title=title),
        "one image": lambda: figures.masks(x, flat, GRID, 1, title=title),
        "frames": lambda: figures.masks(deep, temporal(DEEP, 2, seeded()), DEEP, title=title),
        "planes": lambda: figures.masks(deep, through, DEEP, title=title, **mm),
        "attention": lambda: figures.attention_overlay(x, even, GRID, title=title),
        "attention of a volume": lambda: figures.attention_overlay(deep, np.full((2, 64), 1 / 64), DEEP, title=title,
                                                                  **mm),
        "tokens": lambda: figures.token_colours(x, tokens, GRID, title=title),
        "tokens of frames": lambda: figures.token_colours(deep, np.random.default_rng(0).random((2, 64, 9)), DEEP, 2,
                                                          title=title),
    }


@pytest.mark.parametrize("title", ["", f"multi-block masks, {TITLE}"])
@pytest.mark.parametrize("name", every_figure())
def test_no_text_lies_on_another_or_leaves_the_page(name, title):
    assert_tidy(every_figure(title)[name]())


def test_masks_show_what_is_seen_and_nothing_else():
    x, masks = pictures(), multi_block(GRID, 5, seeded())
    figure = figures.masks(x, masks, GRID, 3)
    shown = drawn(figure)
    assert len(shown) == 9
    for k in range(3):
        image = x[k, 0].numpy()[..., None] / 255
        seen = np.isin(np.arange(49), masks.context[k]).reshape(7, 7).repeat(4, 0).repeat(4, 1)
        ahead = np.isin(np.arange(49), masks.targets[:, k]).reshape(7, 7).repeat(4, 0).repeat(4, 1)
        assert np.allclose(shown[k], image)
        assert np.allclose(shown[3 + k][seen], np.broadcast_to(image, (28, 28, 3))[seen])
        assert np.allclose(shown[3 + k][~seen], BLANK) and np.allclose(shown[6 + k][~ahead], BLANK)
        assert (np.abs(shown[6 + k][ahead] - BLANK).max(1) > 0.05).all()
    share = np.mean([len(np.unique(masks.targets[:, k])) / 49 for k in range(5)])
    assert f"{masks.context.shape[1]} of 49 tokens seen" in words(figure) and f"{share:.0%} of all" in words(figure)
    one = Masks(masks.context, masks.targets[:, :, :1])  # a block of one token each: each block its own colour
    colours = {to_hex(drawn(figures.masks(x * 0, one, GRID, 1))[2].reshape(7, 4, 7, 4, 3)[t // 7, 0, t % 7, 0])
               for t in one.targets[:, 0, 0].tolist()}
    assert len(colours) == len(set(one.targets[:, 0, 0].tolist()))


def test_planes_meet_in_the_brightest_hidden_token():
    """In a volume of air with a light token in each of two blocks and one in the context."""
    x, grid = torch.zeros(1, 1, 16, 16, 16, dtype=torch.uint8), (4, 4, 4)
    targets = torch.tensor([[[0, 1, 4, 5]], [[42, 43, 46, 47]]])
    for token, grey in ((5, 40), (46, 200), (63, 255)):
        z, y, row = (int(4 * k) for k in np.unravel_index(token, grid))
        x[0, 0, z:z + 4, y:y + 4, row:row + 4] = grey
    x[0, 0, 8:12, 13:16, 8:12] = 0  # of the second one a slice is left: its middle is air
    context = torch.tensor([[k for k in range(64) if k not in targets.flatten().tolist()]])
    said = words(figures.masks(x, Masks(context, targets), grid, spacing=(1.0, 1.0, 1.0)))
    assert all(f"{axis} = {cut}" in said for axis, cut in (("z", 10), ("y", 12), ("x", 10)))
    said = words(figures.token_colours(x, torch.rand(1, 64, 8, generator=seeded()), grid, spacing=(1.0, 1.0, 1.0)))
    assert all(f"{axis} = {cut}" in said for axis, cut in (("z", 14), ("y", 14), ("x", 14)))


def test_planes_go_through_a_block_and_keep_their_shape():
    masks = blocks_3d((4, 6, 8), 2, seeded(), (4, 4, 4), size_mm=(4, 8), n_targets=1)
    x = pictures((4, 6, 8), n=2)
    figure = figures.masks(x, masks, (4, 6, 8), spacing=(3.0, 1.5, 1.0))
    shown = drawn(figure)
    assert [image.shape[:2] for image in shown[:3]] == [(24, 32), (16, 32), (16, 24)]
    assert [ax.get_aspect() for ax in figure.axes[:3]] == [1.5, 3.0, 2.0]
    assert all((np.abs(image - BLANK).max(-1) > 0.01).any() for image in shown[6:]), "a plane misses the block"
    z = int(words(figure).split("axial\nz = ")[1].split()[0])
    assert np.allclose(shown[0][..., 0], x[0, 0, z].numpy()[::-1, ::-1] / 255)  # front up, right on the left


def test_frames_are_in_order():
    clip = (torch.arange(8, dtype=torch.uint8) * 30)[None, None, :, None, None].expand(1, 1, 8, 16, 16)
    figure = figures.masks(clip, temporal((4, 4, 4), 1, seeded()), (4, 4, 4), 4)
    assert [round(float(image.mean() * 255)) for image in drawn(figure)[:4]] == [30, 90, 150, 210]
    assert "no. 1" in words(figure) and "no. 7" in words(figure)


def test_attention_is_relative_to_an_even_share():
    x = pictures(n=2) * 0
    weights = torch.full((2, 49), 1 / 49)
    weights[1] = 0
    weights[1, 9] = 1  # all of it on one patch: 49 times an even share
    figure = figures.attention_overlay(x, weights, GRID)
    even, one = drawn(figure)[2:4]
    assert np.ptp(even.reshape(-1, 3), 0).max() == 0
    bright = one.sum(-1).reshape(7, 4, 7, 4).mean((1, 3))
    assert np.unravel_index(bright.argmax(), GRID) == (1, 2) and np.unique(bright.round(6)).size == 2
    assert figure.axes[-1].get_ylim() == (0, 49) and "even share" in figure.axes[-1].get_ylabel()
    assert figures.attention_overlay(x[:1], weights[:1], GRID).axes[-1].get_ylim() == (0, 2)


def test_attention_of_a_vit_is_that_of_its_class_token_or_the_mean_of_all():
    x = pictures(n=2)
    for pool in ("mean", "cls"):
        vit = ViT(pool=pool, registers=1)
        with torch.no_grad():
            weights = vit.attention(x)
        by_hand = weights[:, :, 0, 1:].mean(1) if pool == "cls" else weights.mean((1, 2))
        whole, own = (drawn(figures.attention_overlay(x, w, GRID)) for w in (weights, by_hand))
        assert all(np.allclose(a, b) for a, b in zip(whole, own, strict=True))


def test_tokens_of_one_kind_have_one_colour():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, (3, 49))
    tokens = rng.normal(size=(4, 32))[kinds] + 1e-3 * rng.normal(size=(3, 49, 32))
    figure = figures.token_colours(pictures(n=3), tokens, GRID)
    painted = np.stack([image[::4, ::4].reshape(49, 3) for image in drawn(figure)[3:]])
    means = np.stack([painted[kinds == kind].mean(0) for kind in range(4)])
    assert np.abs(painted - means[kinds]).max() < 0.05, "one kind, two colours"
    assert min(np.abs(means[a] - means[b]).max() for a in range(4) for b in range(a)) > 0.2
    assert "three components hold 100%" in words(figure)
    again = figures.token_colours(pictures(n=3), np.concatenate([99 * np.ones((3, 1, 32)), tokens], 1), GRID)
    assert all(np.allclose(a, b) for a, b in zip(drawn(figure), drawn(again), strict=True))  # a class token in front


def test_the_supervised_baseline_is_black_whatever_its_place():
    rng = np.random.default_rng(0)
    curves = {name: {f: rng.random(3) for f in (0.01, 0.1, 1.0)} for name in ("LeJEPA", "supervised", "I-JEPA")}
    lines = {line.get_label(): to_hex(line.get_color()) for line in
             figures.label_efficiency(curves, baseline="supervised").axes[0].lines if line.get_label()[0] != "_"}
    assert lines["supervised"] == "#000000" and len(set(lines.values())) == 3
    many = {str(k): curves["LeJEPA"] for k in range(7)} | {"supervised": curves["supervised"]}
    looks = {(to_hex(line.get_color()), str(line.get_linestyle())) for line in
             figures.label_efficiency(many, baseline="supervised").axes[0].lines}
    assert len(looks) == 8
    with pytest.raises(MedsslError, match="baseline"):
        figures.label_efficiency(curves, baseline="no such curve")


def test_what_does_not_belong_together_is_refused():
    x, masks = pictures(), multi_block(GRID, 5, seeded())
    nan = torch.full((5, 49), torch.nan)
    for draw in (lambda: figures.masks(x[:3], masks, GRID), lambda: figures.masks(x, masks, (4, 7)),
                 lambda: figures.masks(x, masks, (5, 7)), lambda: figures.masks(x, masks, (7, 7, 1)),
                 lambda: figures.masks(x, Masks(masks.context, masks.targets[0]), GRID),
                 lambda: figures.masks(x, masks, GRID, 0), lambda: figures.attention_overlay(x, nan, GRID),
                 lambda: figures.attention_overlay(x, torch.ones(5, 48), GRID),
                 lambda: figures.token_colours(x, torch.ones(5, 49, 8), GRID),
                 lambda: figures.token_colours(x, torch.rand(5, 49, 2), GRID)):
        with pytest.raises(MedsslError):
            draw()
