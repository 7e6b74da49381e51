"""The UNet: what its encoder gives, what its skip connections carry, and that it is a backbone like the others."""

import pytest
import torch

from medssl.errors import MedsslError
from medssl.models import UNet, build_encoder, count_parameters
from medssl.models.export import load_encoder, save_encoder
from medssl.recipes import finetune, probe_grid


def unet(seed=0, **settings) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet(**{"width": 4} | settings)


def images(n=3, side=32, seed=0) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def test_the_widths_are_those_of_the_seed():
    net = UNet().eval()
    x = images(2, 64)
    assert [list(level.shape[1:]) for level in net.maps(x)] == [[16, 64, 64], [32, 32, 32], [64, 16, 16], [128, 8, 8]]
    assert net(x).shape == (2, 128) and net.dim == 128 and net.reconstruct(x).shape == x.shape

    def double(a, b):  # two 3x3 convolutions without bias, each with a scale and a shift a channel
        return 9 * a * b + 2 * b + 9 * b * b + 2 * b

    down = sum(double(a, b) for a, b in [(1, 16), (16, 32), (32, 64), (64, 128)])
    up = sum(4 * b * a + a + double(2 * a, a) for a, b in [(64, 128), (32, 64), (16, 32)])
    assert count_parameters(net)["total"] == down + up + 16 + 1


def test_features_send_gradients_through_the_whole_encoder_and_into_nothing_else():
    net = unet()
    net(images()).square().sum().backward()
    moved = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    still = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is None}
    assert moved == {"down"} and still == {"up", "join", "draw"}


def test_features_are_the_mean_over_the_bottleneck_and_take_any_size():
    net = unet().eval()
    x = images(2, 28)
    assert torch.allclose(net(x), net.maps(x)[-1].mean((2, 3))) and net(x).shape == (2, 32)
    assert torch.allclose(net((x * 255).round().to(torch.uint8)), net((x * 255).round() / 255), atol=1e-6)
    with pytest.raises(MedsslError, match="multiples of 8"):
        net.reconstruct(x)
    with pytest.raises(MedsslError, match="float in"):
        net(torch.ones(1, 1, 32, 32, dtype=torch.int64))


def test_cut_skips_leave_the_bottleneck_as_the_only_way():
    net = unet().eval()
    maps = net.maps(images())
    other = [torch.randn_like(level) for level in maps[:-1]] + maps[-1:]
    assert torch.equal(net.decode(maps, skips=False), net.decode(other, skips=False))
    assert not torch.allclose(net.decode(maps), net.decode(other))
    deeper = maps[:-1] + [torch.randn_like(maps[-1])]
    assert not torch.allclose(net.decode(maps, skips=False), net.decode(deeper, skips=False))


def test_a_net_built_without_skips_is_the_same_net_with_them_cut():
    one, two = unet().eval(), unet(skips=False).eval()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert torch.equal(one.reconstruct(images(), skips=False), two.reconstruct(images()))
    assert torch.equal(one.reconstruct(images()), two.reconstruct(images(), skips=True))
    two.train().reconstruct(images()).sum().backward()
    into_skips = two.join[0][0][0].weight.grad[:, 4:]  # what comes up lies first, then the encoder's map
    assert not into_skips.any(), "a net without skips learns nothing about them"


def test_a_fresh_net_draws_grey_and_can_learn_to_copy():
    net, x = unet(), images(4)
    assert 0.2 < net.eval().reconstruct(x).mean() < 0.8
    optimizer = torch.optim.Adam(net.train().parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        loss = (net.reconstruct(x) - x).abs().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 < (x - x.mean()).abs().mean()


def test_it_is_given_away_and_loaded_as_other_backbones_are(tmp_path):
    for skips in (True, False):
        net = unet(skips=skips).eval()
        save_encoder(tmp_path, net, {"method": "unet_mim", "epochs": 1})
        loaded = load_encoder(tmp_path).eval()
        assert torch.equal(loaded(images()), net(images())) and loaded.skips is skips
        assert torch.equal(loaded.reconstruct(images()), net.reconstruct(images()))
    assert "no skip connections" in build_encoder("unet", skips=False).describe()


def test_probes_and_fine_tuning_take_it(few):
    net = unet()
    grid = probe_grid(few, [net], fractions=(1.0,), draws=1, split="val")
    assert grid.p[1.0].shape == (1, 24)
    tuned = finetune(few, net, fraction=1.0, epochs=1, batch_size=16, device="cpu", quiet="silent")
    moved = {name.split(".")[0] for name, p in tuned.model.encoder.named_parameters()
             if not torch.equal(p.cpu(), net.get_parameter(name))}
    assert moved == {"down"}
