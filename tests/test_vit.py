"""The ViT: what a token sees, where it lies, what is left out."""

import numpy as np
import pytest
import torch
from torchvision.models import VisionTransformer

from medssl.errors import MedsslError
from medssl.models import ViT, build_encoder, count_parameters, decay_groups
from medssl.models.positions import positions


def vit(**settings) -> ViT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ViT(**settings).eval()


def images(n=3, side=28, channels=1) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("settings", [{}, {"pool": "cls"}, {"registers": 3}, {"pool": "cls", "registers": 2},
                                      {"patch": 7}, {"in_channels": 3}])
def test_shapes(settings):
    model, x = vit(**settings), images(channels=settings.get("in_channels", 1))
    count = (28 // model.patch) ** 2
    keep = torch.stack([torch.randperm(count)[:5] for _ in x])
    assert model(x).shape == model(x, keep).shape == (3, model.dim)
    extra = int(model.pool == "cls")
    assert model.tokens(x).shape == (3, count + extra, model.dim) and model.tokens(x, keep).shape == (3, 5 + extra, 128)
    assert torch.allclose(model(x), model((255 * x).round().to(torch.uint8)), atol=0.05)
    assert model.describe().startswith("vit (tiny, patch") and model.backbone == "random"


def test_sizes_are_the_published_ones():
    """torchvision's ViT of the same width, less its last layer and its learnt positions."""
    for size, dim, heads in (("small", 384, 6), ("base", 768, 12)):
        with torch.device("meta"):
            model = ViT(3, size, patch=16, pool="cls")
            theirs = VisionTransformer(224, 16, 12, heads, dim, 4 * dim)
        known = sum(p.numel() for p in theirs.parameters()) - 1000 * (dim + 1) - 197 * dim
        assert count_parameters(model)["total"] == known
    assert count_parameters(vit())["total"] < 1_000_000


def test_what_is_left_out_has_no_influence_at_all():
    model, x = vit(pool="cls", registers=1), images().requires_grad_()
    keep = torch.tensor([[0, 8, 48], [3, 2, 1], [20, 21, 40]])
    model.tokens(x, keep).square().sum().backward()
    seen = torch.zeros(3, 49, dtype=torch.bool).scatter_(1, keep, True).unflatten(1, (7, 7))
    reached = x.grad[:, 0].unflatten(1, (7, 4)).unflatten(3, (7, 4)).abs().amax((2, 4))  # [B,7,7]
    assert (reached[~seen] == 0).all() and (reached[seen] > 0).all()


def test_all_patches_in_any_order_are_the_image():
    """A token carries its position with it: the order in which tokens are handed in says nothing."""
    model, x = vit(), images()
    order = torch.stack([torch.randperm(49) for _ in x])
    shuffled, whole = model.tokens(x, order), model.tokens(x)
    assert torch.allclose(shuffled, whole.gather(1, order[:, :, None].expand_as(whole)), atol=1e-5)
    assert torch.allclose(model(x, order), model(x), atol=1e-5)
    moved = x.roll(4, 3)
    assert not torch.allclose(model(moved), model(x), atol=1e-3), "patches at other places are another image"


def test_mean_pooling_sees_patches_only_and_registers_change_nothing_in_the_count():
    model, x = vit(registers=4), images()
    assert torch.allclose(model(x), model.tokens(x).mean(1)) and model.tokens(x).shape[1] == 49
    assert torch.equal(vit(pool="cls")(x), vit(pool="cls").tokens(x)[:, 0])
    assert vit().extra is None, "registers are off by default"


def test_positions_against_the_written_formula():
    table, dim = positions((3, 5), 16), 16
    for row in range(3):
        for column in range(5):
            expected = [wave(place * 10000 ** (-k / (dim / 4))) for place in (row, column)
                        for wave in (np.sin, np.cos) for k in range(dim // 4)]
            assert np.allclose(table[5 * row + column], expected, atol=1e-6)
    assert len(positions((7, 7), 128).unique(dim=0)) == 49


def test_a_volume_against_a_convolution_and_written_positions():
    """Tokens before the first block: Conv3d with the same weights, and sine and cosine of z, y, x in patches."""
    model, x = vit(patch=(2, 4, 7)), torch.rand(2, 1, 6, 8, 28)
    model.blocks = torch.nn.ModuleList()
    assert model.grid(x) == model.grid((6, 8, 28)) == (3, 2, 4)
    kernel, expected = model.embed.weight.detach().double(), np.zeros((2, 3, 2, 4, 128))
    pixels, n = (x.double() - 0.5) / 0.5, 128 // 6
    for z, row, column in np.ndindex(3, 2, 4):
        cube = pixels[:, 0, 2 * z:2 * z + 2, 4 * row:4 * row + 4, 7 * column:7 * column + 7]
        where = [wave(place * 10000 ** (-k / n)) for place in (z, row, column) for wave in (np.sin, np.cos)
                 for k in range(n)]
        expected[:, z, row, column] = torch.einsum("bzyx,dzyx->bd", cube, kernel[:, 0]) + model.embed.bias.double() \
            .detach() + torch.tensor([*where, 0, 0])
    expected = torch.tensor(expected).flatten(1, 3)
    expected = (expected - expected.mean(2, True)) / (expected.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(model.tokens(x), expected.float(), atol=1e-5)
    clip = vit(patch=(1, 4, 4), in_channels=3)
    assert clip(torch.rand(2, 3, 5, 8, 8)).shape == (2, 128) and "patch 1 x 4 x 4" in clip.describe()
    assert torch.equal(vit(patch=(4, 4))(images()), vit()(images())), "one number is a square"


def test_places_in_mm():
    """The same place in mm, centre to centre, is the same position, in a fine scan as in a coarse one."""
    fine = positions((6, 2, 9), 128, torch.tensor([[4.0, 8, 8]]))[0].unflatten(0, (6, 2, 9))
    coarse = positions((2, 2, 3), 128, torch.tensor([[12.0, 8, 24], [8, 8, 8]])).unflatten(1, (2, 2, 3))
    assert torch.allclose(fine[1::3, :, 1::3], coarse[0], atol=1e-5)  # centres at 6, 18 mm and 12, 36, 60 mm
    assert not torch.allclose(coarse[0], coarse[1], atol=0.1)
    written = torch.sin(2 * torch.pi * 12 / (16 * 64 ** (torch.arange(21) / 20)))  # y is 12 mm; 16 to 1024 mm
    assert torch.allclose(fine[0, 1, 0, 42:63], written, atol=1e-5)
    model, x = vit(patch=(4, 4, 4)), torch.rand(2, 1, 8, 8, 8)
    one = model.tokens(x, spacing=(5.0, 1.0, 1.0))
    assert torch.equal(model.tokens(x, spacing=torch.tensor([[5.0, 1, 1], [5, 1, 1]])), one)
    each = model.tokens(x, spacing=torch.tensor([[5.0, 1, 1], [1, 1, 1]]))
    assert torch.allclose(each[0], one[0], atol=1e-5) and not torch.allclose(each[1], one[1], atol=1e-3)
    assert not torch.allclose(model.tokens(x), one, atol=1e-3)
    model.spacing = (5.0, 1.0, 1.0)
    assert torch.equal(model.tokens(x), one), "the network's own, for images without"
    keep = torch.tensor([[7, 0, 3], [1, 2, 6]])
    model.blocks = model.blocks[:0]
    whole = model.tokens(x, spacing=torch.tensor([[5.0, 1, 1], [1, 1, 1]]))
    kept = model.tokens(x, keep, torch.tensor([[5.0, 1, 1], [1, 1, 1]]))
    assert torch.equal(kept, whole.gather(1, keep[:, :, None].expand_as(kept))), "each its own place, in any order"


@pytest.mark.parametrize("settings", [{}, {"pool": "cls"}, {"patch": (7, 7, 7)}])
@pytest.mark.parametrize("layer", [0, 2, -1])
def test_attention_weights_are_those_of_the_fused_path(settings, layer):
    model = vit(**settings)
    x = torch.rand(2, 1, 14, 14, 14) if "patch" in settings else images(2)
    seen = {}
    block = model.blocks[layer]
    block.norm1.register_forward_hook(lambda *a: seen.update(x=a[2]))
    block.out.register_forward_hook(lambda *a: seen.update(fused=a[1][0]))
    model(x)
    fused, v = seen["fused"], block.qkv(seen["x"])[:, :, 256:].unflatten(2, (4, 32))
    weights = model.attention(x, layer)
    n = model.tokens(x).shape[1]
    assert weights.shape == (2, 4, n, n) and torch.allclose(weights.sum(3), torch.ones(2, 4, n), atol=1e-5)
    assert torch.allclose(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2), fused, atol=1e-5)


def test_attention_leaves_registers_out():
    weights = vit(pool="cls", registers=2).attention(images())
    assert weights.shape == (3, 4, 50, 50) and (weights.sum(3) < 1).all()


def test_attention_against_the_written_formula():
    model = vit()
    block, x = model.blocks[0], torch.randn(2, 5, 128)
    q, k, v = (part.unflatten(2, (4, 32)) for part in block.qkv(x).chunk(3, 2))  # [B,N,heads,d]
    out = torch.empty(2, 5, 4, 32)
    for b in range(2):
        for head in range(4):
            weight = torch.softmax(q[b, :, head] @ k[b, :, head].T / 32**0.5, 1)
            out[b, :, head] = weight @ v[b, :, head]
    assert torch.allclose(block.attend(x), block.out(out.flatten(2)), atol=1e-6)


def test_other_image_sizes_and_oblong_ones_need_no_other_network():
    model = vit()
    assert model(images(side=16)).shape == (3, 128) and model(torch.rand(2, 1, 16, 32)).shape == (2, 128)
    assert torch.equal(positions((4, 8), 128)[:8], positions((7, 8), 128)[:8])


def test_the_same_seed_builds_the_same_and_every_weight_learns():
    model = vit(pool="cls", registers=2).train()
    other = vit(pool="cls", registers=2)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    (model(images()) * torch.randn(3, 128)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert sum(len(group["params"]) for group in decay_groups(model, 1e-3, 0.1)) == len([*model.parameters()])


@pytest.mark.parametrize(("call", "says"), [
    (lambda: build_encoder("vit", size="huge"), "tiny, small, base"),
    (lambda: build_encoder("vit", pool="max"), "mean or cls"),
    (lambda: build_encoder("vit", depth=3), "no setting depth"),
    (lambda: vit()(torch.rand(2, 1, 30, 28)), "multiples of 4"),
    (lambda: vit()(images(), torch.tensor([[0.5]])), "int64"),
    (lambda: vit()(images(), torch.zeros(2, 4, dtype=torch.long)), r"\[3, K\]"),
    (lambda: vit()(images(), torch.zeros(3, 0, dtype=torch.long)), "at least 1"),
    (lambda: positions((2, 2, 2), 5), "6 or more"),
    (lambda: vit()(torch.rand(2, 1, 8, 8, 8)), "patch of three sides"),
    (lambda: vit(patch=(4, 4, 4))(images()), "D, H, W"),
    (lambda: vit(patch=(4, 4, 4))(torch.rand(2, 1, 8, 10, 8)), "multiples of 4 x 4 x 4"),
    (lambda: vit(patch=(4, 4, 4))(torch.rand(2, 1, 8, 8, 8), spacing=(1.0, 0.0, 1.0)), "3 numbers above 0"),
    (lambda: vit(patch=(4, 4, 4, 4)), "three for volumes"),
])
def test_mistakes_are_named(call, says):
    with pytest.raises(MedsslError, match=says):
        call()
