"""Prism: the encoder of loose patches, heads and their targets, normalisation, the ramp of SupCon."""

import math

import pytest
import torch
from prism_batches import CONSTANTS, batch
from torch.nn.functional import smooth_l1_loss

from medssl.errors import MedsslError
from medssl.losses import supcon
from medssl.methods import Prism
from medssl.methods.prism import supcon_exposure, supcon_weight
from medssl.models.patch_encoder import PatchEncoder
from medssl.models.positions import positions, positions_mm


def encoder(**settings):
    torch.manual_seed(0)
    return PatchEncoder(**settings).eval()


def prism(**settings):
    torch.manual_seed(0)
    return Prism(PatchEncoder(), constants=CONSTANTS, **settings).eval()


def test_places_on_a_grid_are_those_of_the_vit():
    step = torch.tensor([[4.0, 8.0, 8.0]])
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (2, 3, 4)), indexing="ij"), -1).flatten(0, 2)
    assert torch.equal(positions_mm((grid[None] + 0.5) * step, 96), positions((2, 3, 4), 96, step))


def test_patches_come_in_any_order_and_their_places_count():
    net, b = encoder(), batch()
    x, at, order = b["patches_a"], b["positions_a"], torch.randperm(5)
    x = x + torch.rand(x.shape)
    assert net(x, at).shape == (6, net.dim)
    assert torch.allclose(net(x, at), net(x[:, order], at[:, order]), atol=1e-5)
    assert not torch.allclose(net(x, at), net(x, at + 5.0), atol=1e-3)


def test_a_patch_outside_the_scan_shows_nothing_of_its_filling():
    net, b = encoder(), batch()
    x, at = b["patches_a"].clone().requires_grad_(), b["positions_a"]
    valid = torch.rand(6, 5, generator=torch.Generator().manual_seed(2)) > 0.4
    valid[0] = False
    features = net(x, at, valid)
    features.square().sum().backward()
    assert torch.equal(features[0], torch.zeros(net.dim)) and torch.isfinite(x.grad).all()
    assert (x.grad[~valid] == 0).all() and (x.grad[1:][valid[1:]].abs().amax((1, 2, 3)) > 0).all()
    assert torch.allclose(net(x, at, torch.ones(6, 5, dtype=torch.bool)), net(x, at), atol=1e-6)


def test_wrong_shapes_are_told():
    net, b = encoder(), batch()
    for wrong in ((b["patches_a"][..., 0], b["positions_a"]), (b["patches_a"], b["positions_a"][..., :2]),
                  (b["patches_a"], b["positions_a"][:, :3])):
        with pytest.raises(MedsslError, match="in mm"):
            net(*wrong)


def test_the_loss_is_the_written_sum():
    method, b = prism(w_distance=2.0, w_rotation=0.5, w_window=3.0, w_supcon=0.4, temperature=0.2), batch()
    method.before_step(0, 1)
    out = method(b)
    features = method.both(b)
    said, parts = method.predict(features), {}
    wanted = {"distance": b["center_distance_mm"][:, None], "rotation": b["rotation_delta_deg"],
              "window_center": b["window_target"][:, :1], "window_width": b["window_target"][:, 1:]}
    for head, (mean, std) in CONSTANTS.items():
        parts[head] = smooth_l1_loss(said[head], (wanted[head] - mean) / std)
        assert torch.allclose(out[f"loss_{head}"], parts[head])
        assert torch.allclose(out[f"loss_{head}_raw"], (said[head] * std + mean - wanted[head]).abs().mean())
    contrast = supcon(method.project(features), torch.cat([b["series_label"]] * 2), 0.2)
    expected = (2 * parts["distance"] + 0.5 * parts["rotation"] + 3 * (parts["window_center"] + parts["window_width"])
                + 0.4 * contrast)
    assert out["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_normalisation_does_not_depend_on_the_batch():
    """The loss of a batch is the mean of the losses of its halves; with the batch's own std it would not be."""
    method, b = prism(w_supcon=0.0), batch(size=8)
    halves = [{k: v[part] for k, v in b.items() if torch.is_tensor(v)} for part in (slice(0, 4), slice(4, 8))]
    for name in ("loss_distance", "loss_rotation", "loss_window_center", "loss_window_width", "loss"):
        both = sum(method(half)[name].item() for half in halves) / 2
        assert method(b)[name].item() == pytest.approx(both, rel=1e-5)


def test_sign_mode_asks_for_five_signs_and_no_distance():
    method, b = prism(head_mode="sign"), batch()
    out = method(b)
    assert set(method.heads) == {"direction", "window_center", "window_width"} and "loss_rotation" not in out
    said = method.predict(method.both(b))
    assert said["direction"].shape == (6, 3)
    yes = (b["center_delta_mm"] > 0).double()
    p = said["direction"].double().sigmoid()
    nats = -(yes * p.log() + (1 - yes) * (1 - p).log()).mean().item()
    assert out["loss_direction_raw"].item() == pytest.approx(nats, rel=1e-4)
    assert out["loss_direction"].item() == pytest.approx(nats / math.log(2), rel=1e-4)
    with pytest.raises(MedsslError, match="regression or sign"):
        prism(head_mode="classification")


def test_raw_targets_are_possible():
    method, b = prism(normalize_targets=False, w_supcon=0.0), batch()
    out = method(b)
    said = method.predict(method.both(b))["distance"]
    assert torch.allclose(out["loss_distance"], smooth_l1_loss(said, b["center_distance_mm"][:, None]))
    assert out["moment1/target/distance/0"].item() == pytest.approx(((b["center_distance_mm"] - 30) / 12).mean().item())


@pytest.mark.parametrize("mode", ["regression", "sign"])
def test_every_part_of_it_learns(mode):
    method = prism(head_mode=mode, w_supcon=0.3).train()
    b = batch()
    b["valid_fraction"] = torch.tensor([1.0] * 4 + [0.3]).expand(6, 2, 5)
    method(b)["loss"].backward()
    assert not [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_stage_a_leaves_the_projection_alone():
    method = prism(w_supcon=0.3, warmup=10, ramp=10).train()
    for step, learns in ((9, False), (10, False), (11, True)):
        method.zero_grad()
        method.before_step(step, 100)
        method(batch())["loss"].backward()
        assert (method.project[0].weight.grad.abs().sum() > 0) == learns


def test_each_view_has_its_own_patches_outside():
    method, b = prism(), batch()
    share = torch.ones(6, 2, 5)
    share[2, 1, 3] = 0.49  # a patch of view b of pair 2
    seen, told = method.both(b | {"valid_fraction": torch.ones(6, 2, 5)}), method.both(b | {"valid_fraction": share})
    assert ((seen - told).abs().amax(1) > 1e-4).nonzero().flatten().tolist() == [6 + 2]


def test_positives_are_counted_over_both_views():
    out = prism()(batch() | {"series_label": torch.tensor([0, 0, 0, 1, 1, 2])})
    # of 12 embeddings: 6 x 5 partners, 4 x 3, 2 x 1
    assert out["positives_per_anchor"].item() == pytest.approx((30 + 12 + 2) / 12)
    assert out["positives_per_anchor_min"] == 1 and out["distinct_series_per_batch"] == 3


def test_the_ramp_at_its_edges():
    weight = [supcon_weight(step, 100, 40, 0.2) for step in (0, 99, 100, 120, 140, 141, 10**6)]
    assert weight == pytest.approx([0, 0, 0, 0.1, 0.2, 0.2, 0.2])
    assert [supcon_weight(step, 5, 0, 0.2) for step in (4, 5)] == [0, 0.2]
    assert supcon_exposure(200, 100, 40, 0.2) == pytest.approx(0.2 * (19.5 + 60))


def test_an_encoder_can_be_asked_alone():
    method, b = prism(), batch()
    features = method.encode(b["patches_a"], b["positions_a"])
    assert torch.equal(features, method.encoder(b["patches_a"], b["positions_a"])) and features.requires_grad
