"""SimCLR and MoCo: what they learn from, what they leave alone, what leaks."""

import copy
import dataclasses
import math
from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import METHODS, batch_of, both_methods, build, pretrain, same, small, weights
from torch import nn

from medssl import recipes
from medssl.data import Split
from medssl.errors import MedsslError
from medssl.losses import chance_level, info_nce_queue, nt_xent
from medssl.methods import MoCo
from medssl.models import follow, freeze, momentum_copy, projection_head
from medssl.views import preset

# ---- what pretraining learns from

@both_methods
def test_no_label_is_read(few, method):
    model = build(method).train()
    batch = batch_of(few)
    assert "label" not in batch and model(batch)["loss"].requires_grad
    shuffled = dataclasses.replace(few, train=Split(few.train.images, few.train.labels.flip(0)))
    assert not torch.equal(few.train.labels, shuffled.train.labels)
    assert same(weights(pretrain(few, method).method), weights(pretrain(shuffled, method).method))


@both_methods
def test_nothing_is_learnt_from_val_and_test(few, method):
    noise = torch.randint(0, 256, few.val.images.shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    other = dataclasses.replace(few, val=Split(noise, few.val.labels), test=Split(noise, few.test.labels))
    one, two = pretrain(few, method), pretrain(other, method)
    assert same(weights(one.method), weights(two.method)), "BatchNorm's statistics, or more, moved with val"
    assert one.history[-1]["val_std_mean"] != two.history[-1]["val_std_mean"], "val is what is watched"


@both_methods
def test_the_same_seed_gives_the_same_encoder_and_another_seed_another(few, method):
    torch.manual_seed(3)
    before = torch.rand(2)
    torch.manual_seed(3)
    one = pretrain(few, method, model="smallcnn", steps=3)
    assert torch.equal(before, torch.rand(2)), "the caller's random numbers were moved"
    two, other = (pretrain(few, method, model="smallcnn", steps=3, seed=seed) for seed in (0, 1))
    assert same(weights(one.method), weights(two.method)) and one.config == two.config
    assert not same(weights(one.encoder), weights(other.encoder))
    views = [Dies(), Dies()]
    for seed in (0, 1):
        pretrain(few, method, augment=views[seed], steps=1, seed=seed)
    assert not torch.equal(views[0].seen, views[1].seen), "the images come in another order, too"


@both_methods
def test_it_learns(breast, method):
    own = {"queue_size": 256, "momentum": 0.95} if method == "moco" else {}  # 24 steps: the copy must follow quickly
    run = pretrain(breast, method, steps=24, batch_size=64, proj_dim=32, lr=5e-3, **own)
    first, last = run.history[0], run.history[-1]
    chance = math.log(257) if own else chance_level(64)
    assert run.config["chance_level"] == chance
    assert last["loss"] < chance - 0.3 and last["positive_cosine"] > last["negative_cosine"] + 0.15
    assert run.warning == "" and last["val_rank"] > 8
    assert len(run.history) == 3 and first["step"] == 8 and last["step"] == 24
    assert run.encoder.backbone == f"{method} 3 epochs"


@both_methods
def test_one_step_follows_the_gradient_of_the_written_loss(few, method):
    """The method's loss is the loss of losses/, of embeddings made in the way its docstring says."""
    model, batch = build(method).eval(), batch_of(few)
    out = model(batch)
    z1, z2 = (model.head(model.encoder(batch[view])) for view in ("view1", "view2"))
    if method == "simclr":
        expected = nt_xent(z1, z2, 0.2)
    else:
        assert out["loss"] == 0, "in eval nothing was ever enqueued: no negatives"
        model.enqueue(torch.randn(40, 16), torch.arange(40) % 30)
        expected = sum(info_nce_queue(q, k, model.queue, 0.2, batch["index"], model.queue_ids)
                       for q, k in ((z1, z2), (z2, z1))) / 2  # each view's key is that of the other view
        out = model(batch)
    assert torch.allclose(out["loss"], expected, atol=1e-6)
    assert out["positive_cosine"] == pytest.approx(F.cosine_similarity(z1, z2).mean().item(), abs=1e-5)
    assert model.encode(batch["view1"]).shape == (24, model.encoder.dim)


# ---- MoCo: the slow copy

def test_the_key_side_has_no_gradient_and_no_optimiser(few):
    model = build("moco").train()
    model(batch_of(few))  # the first fills the queue
    model(batch_of(few, seed=1))["loss"].backward()
    slow = [*model.key_encoder.parameters(), *model.key_head.parameters()]
    fast = [*model.encoder.parameters(), *model.head.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in slow)
    assert all(p.grad is not None for p in fast)
    moved = [p for group in model.param_groups(1e-3, 1e-4) for p in group["params"]]
    assert sorted(map(id, moved)) == sorted(map(id, fast)), "each query parameter once, no other"


def test_the_copy_begins_equal_apart_and_follows_exactly():
    model = build("moco", momentum=0.9)
    assert same(weights(model.encoder), weights(model.key_encoder))
    assert same(weights(model.head), weights(model.key_head))
    for p in [*model.encoder.parameters(), *model.head.parameters()]:
        p.data += torch.randn_like(p)
    for name, buffer in [*model.encoder.named_buffers(), *model.head.named_buffers()]:
        if "running" in name:
            buffer += torch.rand_like(buffer)
        elif "tracked" in name:
            buffer += 7
    before = [weights(model.key_encoder), weights(model.key_head)]
    model.after_step()
    for old, fast, slow in zip(before, (model.encoder, model.head), (model.key_encoder, model.key_head), strict=True):
        for name, p in slow.named_parameters():
            expected = 0.9 * old[name].double() + 0.1 * fast.get_parameter(name).double()
            assert torch.allclose(p.double(), expected, atol=1e-6, rtol=1e-6)
        for name, buffer in slow.named_buffers():
            assert torch.equal(buffer, fast.get_buffer(name)), "an averaged statistic belongs to no weights"
    follow(model.key_encoder, model.encoder, 0.0)
    assert same(weights(model.key_encoder), weights(model.encoder)), "momentum 0: the copy is the network itself"


def test_the_copy_of_a_frozen_network_can_train_its_statistics_again():
    source = freeze(small())
    twin = momentum_copy(source)
    assert twin.train().body[0][1].training and not any(p.requires_grad for p in twin.parameters())
    assert not source.train().body[0][1].training, "the frozen one stays frozen"


def test_the_copy_is_moved_once_a_step_by_the_trainer(few):
    run = pretrain(few, "moco", steps=3, momentum=0.0)
    assert same(weights(run.method.encoder), weights(run.method.key_encoder))
    slower = pretrain(few, "moco", steps=3, momentum=0.99)
    gap = [(a - b).abs().max().item() for a, b in zip(slower.method.encoder.parameters(),
                                                      slower.method.key_encoder.parameters(), strict=True)]
    assert max(gap) > 1e-3


# ---- MoCo: the queue

@pytest.mark.parametrize("size", [1, 5, 16, 48, 50])
def test_the_queue_keeps_the_newest_keys_whatever_the_batch(size):
    """Batches of 1 to 60 keys, against a deque: K % B != 0 wraps, B > K keeps the last K."""
    model = build("moco", queue_size=size)
    newest, draw, ids = deque(maxlen=size), torch.Generator().manual_seed(0), 0
    for n in (3, 16, 5, 60, 1, 7, 48, 2):
        keys = torch.randn(n, 16, generator=draw)
        model.enqueue(keys, torch.arange(ids, ids + n))
        newest.extend(zip(F.normalize(keys, dim=1), range(ids, ids + n), strict=True))
        ids += n
        filled = min(ids, size)
        assert (model.queue_ids >= 0).sum() == filled == len(newest)
        order = model.queue_ids.argsort()[-filled:]
        assert model.queue_ids[order].tolist() == [i for _, i in newest]
        assert torch.equal(model.queue[order], torch.stack([key for key, _ in newest]))
        assert model.queue_ids[model.pointer] == model.queue_ids.min(), "the next slot is the oldest, or empty"


def test_keys_come_in_after_the_loss_with_the_ids_of_their_images(few):
    model, batch = build("moco").train(), batch_of(few) | {"index": torch.arange(100, 124)}
    assert model(batch)["loss"] == 0, "an empty queue: the new keys are no negatives of their own queries"
    assert model.pointer == 48 and model.queue_ids.tolist() == [*range(100, 124)] * 2 + [-1, -1]
    assert torch.allclose(model.queue[model.queue_ids >= 0].norm(dim=1), torch.ones(48))
    assert model(batch)["loss"] > 0.5
    model.queue_ids.fill_(7)
    assert model(batch | {"index": torch.full((24,), 7)})["loss"] == 0, "nothing but keys of the same image: all masked"


def test_a_small_set_in_a_long_queue_meets_no_image_as_its_own_negative(few):
    """The queue holds two or three old keys of each of 80 images; without the mask the loss counts them."""
    run = pretrain(few, "moco", queue_size=240, steps=7)
    model = run.method.eval()
    assert (model.queue_ids >= 0).all() and model.queue_ids.bincount().max() > 1
    batch = batch_of(few)
    masked = model(batch)["loss"]
    assert masked < model(batch | {"index": batch["index"] + 1000})["loss"]


@both_methods
def test_eval_moves_nothing(few, method):
    model = build(method).train()
    model(batch_of(few))
    before = weights(model.eval())
    model(batch_of(few, seed=1))
    assert same(before, weights(model))
    model.train()
    model(batch_of(few, seed=1))
    assert not same(before, weights(model)), "in training BatchNorm, and MoCo's queue, do move"


# ---- MoCo: BatchNorm's groups

class BlackCorner(nn.Module):
    """An encoder that looks at one pixel, which is 0 in every image: it sees nothing but its BatchNorm's statistics."""

    dim = 16

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x):
        return self.norm(x)[:, :, 0, 0]


class Unshuffled(MoCo):
    """The fault: keys pass in the same groups as their queries."""

    def embed_keys(self, x):
        return torch.cat([self.key_head(self.key_encoder(part)) for part in x.tensor_split(self.bn_groups)])


def loss_of_a_blind_encoder(made, bn_groups: int) -> float:
    """The loss on images with nothing to be seen in their corner, the queue full of keys of other batches."""
    model = made(BlackCorner(), proj_dim=16, queue_size=256, bn_groups=bn_groups).train()
    model.head = model.key_head = nn.Identity()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        losses = []
        for step in range(12):
            x = torch.randn(64, 16, 1, 1) * torch.ones(64, 16, 4, 4)
            x[:, :, 0, 0] = 0
            losses.append(model({"view1": x, "view2": x, "index": torch.arange(64) + 64 * step})["loss"].item())
    return np.mean(losses[4:])


def test_unshuffled_batchnorm_gives_the_answer_away_and_shuffled_does_not():
    """Group means are written into the corner, query and key of an image carry the same ones: no image is needed."""
    chance = math.log(257)
    assert loss_of_a_blind_encoder(Unshuffled, 8) < 0.4 * chance
    assert loss_of_a_blind_encoder(MoCo, 1) < 0.4 * chance, "one group is the whole batch: the same companions again"
    assert loss_of_a_blind_encoder(MoCo, 8) > 0.9 * chance
    assert loss_of_a_blind_encoder(MoCo, 4) > 0.75 * chance, "a quarter of the companions met again tells a little"


def test_companions_differ_and_keys_return_to_their_places():
    """Images that carry their own number through both encoders: who was normalised with whom?"""

    class Numbered(nn.Module):
        dim = 1

        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.ones(1)), []

        def forward(self, x):
            self.seen.append(set(x[:, 0, 0, 0].long().tolist()))
            return x[:, 0, 0] * self.weight

    model = MoCo(Numbered(), proj_dim=1, queue_size=8, bn_groups=4).train()
    model.head = model.key_head = nn.Identity()
    x = torch.arange(64.0).view(64, 1, 1, 1)
    assert torch.equal(model.embed(x), x[:, 0, 0]) and torch.equal(model.embed_keys(x), x[:, 0, 0])
    asked, kept = model.encoder.seen, model.key_encoder.seen
    assert [len(group) for group in asked + kept] == [16] * 8
    shared = [len(a & b) - 1 for i in range(64) for a in asked if i in a for b in kept if i in b]
    assert np.mean(shared) < 8, "of 15 companions about a quarter are met again"
    first = copy.deepcopy(kept)
    kept.clear()
    model.embed_keys(x)
    assert kept != first, "drawn anew for each pass"
    model.eval()
    kept.clear()
    assert torch.equal(model.embed_keys(x), x[:, 0, 0]) and [len(group) for group in kept] == [64]
    model.train()
    kept.clear()
    model.embed_keys(x[:7])
    assert [len(group) for group in kept] == [7], "too few for groups of two"


# ---- cut and resumed

class Dies:
    """Views that end the process, as it were, at the call number `at`; with the name of those that do not."""

    def __init__(self, at=None):
        self.augment, self.at, self.calls, self.seen = preset("ultrasound", "ssl"), at, 0, None

    def __repr__(self):
        return "views"

    def __call__(self, images, generator):
        self.calls, self.seen = self.calls + 1, images
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.augment(images, generator)


@both_methods
def test_a_run_that_was_cut_ends_as_one_that_was_not(few, tmp_path, method):
    whole = pretrain(few, method, augment=Dies(), steps=9)
    with pytest.raises(KeyboardInterrupt):
        pretrain(few, method, augment=Dies(at=6), steps=9, out=tmp_path, checkpoint_every=2)
    again = Dies()
    resumed = pretrain(few, method, augment=again, steps=9, out=tmp_path, checkpoint_every=2)
    assert again.calls == 5, "from step 4 on, and not from the start"
    assert same(weights(whole.method), weights(resumed.method))
    if method == "moco":
        assert {"queue", "queue_ids", "pointer"} <= weights(resumed.method).keys()
        assert (resumed.method.queue_ids >= 0).all()
    clock = {"seconds"}
    for a, b in zip(whole.history, resumed.history, strict=True):
        assert {k: v for k, v in a.items() if k not in clock} == {k: v for k, v in b.items() if k not in clock}
    assert whole.config == resumed.config
    for other in ({"temperature": 0.1}, {"model": small(seed=5)}):
        with pytest.raises(MedsslError, match="other settings"):
            pretrain(few, method, **{"augment": Dies(), "steps": 9, "out": tmp_path, **other})


# ---- edges and mistakes

@pytest.mark.parametrize(("call", "says"), [
    (lambda few: pretrain(few, "simclr2"), "simclr, moco"),
    (lambda few: pretrain(few, "simclr", queue_size=64), "simclr has no queue_size"),
    (lambda few: pretrain(few, "simclr", momentum=0.9, queue_size=9), "queue_size or momentum"),
    (lambda few: pretrain(few, "moco", momentum=1.0), "momentum"),
    (lambda few: pretrain(few, "moco", momentum=-0.1), "momentum"),
    (lambda few: pretrain(few, "moco", queue_size=0), "queue_size"),
    (lambda few: pretrain(few, temperature=0.0), "temperature"),
    (lambda few: pretrain(few, proj_dim=0), "1 output or more"),
    (lambda few: pretrain(few, batch_size=1), "2 or more"),
    (lambda few: pretrain(few, lr=0.0), "lr > 0"),
    (lambda few: pretrain(few, augment="D"), "strength 'D'"),
    (lambda few: pretrain(few, epochs=2), "not both"),
    (lambda few: MoCo(small(), bn_groups=0), "bn_groups"),
    (lambda few: recipes.pretrain_seeds(few, 0), "seeds=0"),
    (lambda few: recipes.finetune(few, small(), batchnorm="eval"), "frozen"),
])  # fmt: skip
def test_mistakes_are_named(few, call, says):
    with pytest.raises(MedsslError, match=says):
        call(few)


def test_the_smallest_queue_and_batch_train(few):
    run = pretrain(few, "moco", queue_size=1, batch_size=2, momentum=0.0, steps=4)
    assert all(math.isfinite(row["loss"]) for row in run.history)


def test_half_the_steps_in_bfloat16_are_finite_and_keys_stay_float32(few):
    for method in METHODS:
        run = pretrain(few, method, precision="bf16", steps=3)
        assert all(math.isfinite(row["loss"]) for row in run.history)
        assert {v.dtype for v in run.method.state_dict().values()} == {torch.float32, torch.int64}


def test_the_head_is_two_layers_with_batchnorm_between():
    head = projection_head(32, 8)
    assert [type(part) for part in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert head[0].bias is None and head(torch.randn(4, 32)).shape == (4, 8) and head[0].out_features == 32


def test_seeds_are_told_one_a_line(few, capsys):
    runs = recipes.pretrain_seeds(few, 2, steps=3, batch_size=24, proj_dim=16, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert [run.config["seed"] for run in runs] == [0, 1]
    assert sum(line.startswith("seed ") and f"{chance_level(24):.2f}" in line for line in lines) == 2
