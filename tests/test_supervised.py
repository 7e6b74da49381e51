"""The supervised method: the loss it says, labels it refuses, and a head that learns while the encoder stands still."""

import pytest
import torch

from medssl.errors import MedsslError
from medssl.methods import Supervised
from medssl.models import SmallCNN


def bright_or_dark(n=32, seed=0):
    """Images that are bright (label 1) or dark (label 0), with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=generator)
    noise = 60 * torch.rand(n, 1, 16, 16, generator=generator)
    return {"image": (noise + 120 * labels.view(-1, 1, 1, 1)).to(torch.uint8), "label": labels}


def train(method, steps=25, lr=1e-2):
    optimiser = torch.optim.AdamW(method.param_groups(lr=lr, weight_decay=0.05))
    method.train()
    for step in range(steps):
        optimiser.zero_grad()
        method(bright_or_dark(seed=step))["loss"].backward()
        optimiser.step()
    return method.eval()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_formula_in_the_docstring(smoothing):
    method, batch = Supervised(SmallCNN(width=4), num_classes=3, label_smoothing=smoothing).eval(), bright_or_dark()
    logits = method.predict(batch["image"])
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    q = torch.full_like(log_p, smoothing / 3)
    q[torch.arange(32), batch["label"]] += 1 - smoothing
    out = method(batch)
    assert out["loss"].item() == pytest.approx(-(q * log_p).sum(1).mean().item(), rel=1e-5)
    hits = [int(row.argmax()) == int(label) for row, label in zip(logits, batch["label"], strict=True)]
    assert out["accuracy"].item() == pytest.approx(sum(hits) / 32)
    assert not out["accuracy"].requires_grad and out["loss"].requires_grad


@pytest.mark.parametrize("spoil", [lambda y: y[:, None], lambda y: y.float()])
def test_labels_of_the_wrong_kind_are_refused(spoil):
    batch = bright_or_dark()
    with pytest.raises(MedsslError, match=r"int64 of shape \[B\]"):
        Supervised(SmallCNN(width=4))({**batch, "label": spoil(batch["label"])})


def test_it_learns():
    torch.manual_seed(0)
    method = train(Supervised(SmallCNN(width=4)))
    assert method(bright_or_dark(200, seed=99))["accuracy"] > 0.95


def test_head_only_moves_the_head_and_nothing_else():
    encoder = SmallCNN(width=4)
    method = Supervised(encoder, train_encoder=False)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    train(method, steps=5)
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"}
    train(Supervised(encoder), steps=2)  # asked to train the encoder, it does, whoever froze it before
    assert not torch.equal(encoder.body[0][1].running_mean, before["encoder.body.0.1.running_mean"])


def test_param_groups_hold_every_trainable_parameter_once():
    method = Supervised(SmallCNN(width=4), head_lr_scale=10)
    groups = method.param_groups(lr=0.01, weight_decay=0.05)
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in method.parameters())
    rate = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert rate[id(method.head.weight)] == pytest.approx((0.1, 0.05))
    assert rate[id(method.head.bias)] == pytest.approx((0.1, 0.0))
    assert rate[id(method.encoder.body[0][0].weight)] == pytest.approx((0.01, 0.05))
    assert rate[id(method.encoder.body[0][1].weight)] == pytest.approx((0.01, 0.0))
    head_only = Supervised(SmallCNN(width=4), train_encoder=False).param_groups(lr=0.01, weight_decay=0.05)
    assert sum(p.numel() for group in head_only for p in group["params"]) == 2 * 32 + 2


def test_a_checkpoint_is_the_whole_state(tmp_path):
    method, batch = train(Supervised(SmallCNN(width=4)), steps=3), bright_or_dark(seed=5)
    torch.save(method.state_dict(), tmp_path / "best.pt")
    state = torch.load(tmp_path / "best.pt", weights_only=True)
    assert "encoder.normalise.mean" in state and "encoder.normalise.std" in state
    fresh = Supervised(SmallCNN(width=4)).eval()
    fresh.load_state_dict(state)
    assert torch.equal(fresh.predict(batch["image"]), method.predict(batch["image"]))


def test_encode_lets_gradients_through():
    method, images = Supervised(SmallCNN(width=4)).eval(), torch.rand(2, 1, 16, 16, requires_grad=True)
    method.encode(images).sum().backward()
    assert images.grad.abs().sum() > 0 and method.encoder.body[0][0].weight.grad is not None


@pytest.mark.parametrize("settings", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"num_classes": 1},
                                      {"head_lr_scale": 0.0}])
def test_absurd_settings_are_refused(settings):
    with pytest.raises(MedsslError, match="cannot be"):
        Supervised(SmallCNN(width=4), **settings)
