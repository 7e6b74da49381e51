"""SimCLR, MoCo, fine-tuning and the collapse diagnostics: what they learn from, what they leave alone, what leaks."""

import copy
import dataclasses
import json
import math
from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medssl import recipes
from medssl.data import ImageData, InMemory, Split, load
from medssl.errors import MedsslError
from medssl.evaluate import collapse_warning, embedding_health, encode, predict_proba, rankme
from medssl.losses import chance_level, info_nce_queue, nt_xent
from medssl.methods import MoCo, SimCLR
from medssl.models import SmallCNN, follow, freeze, freeze_batchnorm, momentum_copy, projection_head, resnet18
from medssl.train import Trainer
from medssl.views import TwoViews, preset

METHODS = ("simclr", "moco")
both_methods = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def breast() -> ImageData:
    return load("breastphantom")


@pytest.fixture(scope="module")
def few(breast) -> ImageData:
    """80 images to train on: three batches of 24 an epoch."""
    parts = {name: Split(split.images[:n], split.labels[:n])
             for (name, split), n in zip(breast.splits.items(), (80, 24, 24), strict=True)}
    return dataclasses.replace(breast, **parts)


def small(seed=0) -> SmallCNN:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SmallCNN(width=8)


def build(method: str, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = {"simclr": SimCLR, "moco": MoCo}[method]
        return made(small(), proj_dim=16, **({"queue_size": 50} if method == "moco" else {}) | settings)


def batch_of(data: ImageData, n: int = 24, seed: int = 0) -> dict:
    images = {"image": data.train.images[:n], "index": torch.arange(n)}
    return TwoViews(preset("ultrasound", "ssl"))(images, torch.Generator().manual_seed(seed))


def pretrain(data, method="simclr", **settings):
    own = {"queue_size": 50} if method == "moco" else {}
    return recipes.pretrain(data, method, **{"model": small(), "steps": 7, "batch_size": 24, "proj_dim": 16,
                                             "device": "cpu", "quiet": "silent", **own, **settings})


def weights(module: nn.Module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


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


# ---- freezing BatchNorm, fine-tuning

def statistics(module: nn.Module) -> dict:
    return {name: value.clone() for name, value in module.named_buffers() if "running" in name or "tracked" in name}


def test_freeze_batchnorm_keeps_statistics_while_the_rest_learns(few):
    encoder = freeze_batchnorm(small()).train()
    before, x = statistics(encoder), few.train.images[:16]
    encoder(x).sum().backward()
    assert same(before, statistics(encoder)) and encoder.body[0].training
    assert all(p.grad is not None for p in encoder.parameters()), "scales and shifts learn"
    twin = copy.deepcopy(encoder).train()
    twin(x)
    assert same(before, statistics(twin)) and twin.body[0][1] is not encoder.body[0][1]
    assert torch.equal(twin.train()(x), twin.eval()(x)), "training mode gives what eval gives"
    plain = small().train()
    plain(x)
    assert not same(before, statistics(plain))


@pytest.fixture(scope="module")
def pretrained(few):
    return pretrain(few, steps=12)


@pytest.mark.parametrize("batchnorm", ["frozen", "train"])
def test_finetune_leaves_the_given_encoder_alone(few, pretrained, batchnorm):
    given = copy.deepcopy(pretrained.encoder).train()
    before = weights(given)
    run = recipes.finetune(few, given, fraction=0.5, batchnorm=batchnorm, steps=3, quiet="silent", device="cpu")
    assert same(before, weights(given)) and given.training and all(p.requires_grad for p in given.parameters())
    tuned = run.model.encoder
    assert all(not torch.equal(p, before[name]) for name, p in tuned.named_parameters()), "all layers learn"
    kept = same(statistics(given), statistics(tuned))
    assert kept == (batchnorm == "frozen")
    assert run.config["batchnorm"] == batchnorm and run.config["start"].startswith("simclr 4 epochs")
    assert run.config["head_start"] == "random" and run.config["n_labels"] == 40


def test_finetune_keeps_the_statistics_of_an_encoder_that_a_probe_had_frozen(few, pretrained):
    given = freeze(copy.deepcopy(pretrained.encoder))
    run = recipes.finetune(few, given, steps=2, quiet="silent", device="cpu")
    assert same(statistics(given), statistics(run.model.encoder))
    assert not torch.equal(given.body[0][0].weight, run.model.encoder.body[0][0].weight)


def test_finetune_begins_with_the_predictions_of_the_probe(few, pretrained):
    """With steps too small to move anything: P(class 1) is the probe's sigmoid(w · features + b)."""
    rng = np.random.default_rng(0)
    w, features = 20 * rng.normal(size=pretrained.encoder.dim), encode(pretrained.encoder, few.val.images).astype(float)
    b = 0.7 - (features @ w).mean()
    expected = 1 / (1 + np.exp(-(features @ w + b)))
    still = {"steps": 1, "lr": 1e-12, "select": "last", "quiet": "silent", "device": "cpu"}
    for probe in ((w, b), (w.astype(np.float32), np.array([b])), (torch.tensor(w), torch.tensor(b))):
        run = recipes.finetune(few, pretrained.encoder, probe=probe, **still)
        assert predict_proba(run.model, few.val.images) == pytest.approx(expected, abs=1e-5)
        assert run.config["head_start"].startswith("probe ")
    assert np.ptp(expected) > 0.1


def test_a_fine_tuning_goes_on_only_from_its_own_start(few, pretrained, tmp_path):
    settings = {"steps": 2, "out": tmp_path, "quiet": "silent", "device": "cpu"}
    w = np.ones(pretrained.encoder.dim)
    run = recipes.finetune(few, pretrained.encoder, probe=(w, 0.0), **settings)
    again = recipes.finetune(few, pretrained.encoder, probe=(w, 0.0), **settings)
    assert same(weights(run.model), weights(again.model))
    for encoder, other in ((small(seed=9), {}), (pretrained.encoder, {"batchnorm": "train"}),
                           (pretrained.encoder, {"probe": (w, 1.0)}), (pretrained.encoder, {"probe": None})):
        with pytest.raises(MedsslError, match="other settings"):
            recipes.finetune(few, encoder, **{"probe": (w, 0.0), **other}, **settings)


# ---- the encoder on disk

def saved(run, folder):
    torch.save(run.encoder.state_dict(), folder / "ssl_encoder.pt")
    (folder / "ssl_config.json").write_text(json.dumps(run.config))
    return json.loads((folder / "ssl_config.json").read_text()), folder / "ssl_encoder.pt"


@pytest.mark.parametrize("model", [lambda: small(), lambda: "smallcnn", lambda: resnet18(stem="small")])
def test_an_encoder_comes_back_bit_by_bit(few, tmp_path, model):
    run = pretrain(few, model=model(), steps=1)
    config, file = saved(run, tmp_path)
    loaded = recipes.load_encoder(config, file)
    assert same(weights(run.encoder), weights(loaded)) and loaded.backbone == "simclr 1 epochs"
    assert np.allclose(encode(run.encoder, few.val.images), encode(loaded, few.val.images), atol=1e-5)
    assert loaded.describe() == run.encoder.describe()


def test_an_encoder_that_began_as_imagenet_comes_back(few, tmp_path, monkeypatch):
    import medssl.models.resnet as resnet

    monkeypatch.setattr(resnet, "_load_imagenet", lambda body: None)
    run = pretrain(few, model="resnet18", weights="imagenet", steps=1)
    config, file = saved(run, tmp_path)
    monkeypatch.setattr(resnet, "_load_imagenet", lambda body: pytest.fail("a download, for weights thrown away"))
    loaded = recipes.load_encoder(config, file)
    assert np.allclose(encode(run.encoder, few.val.images), encode(loaded, few.val.images), atol=1e-5)


def test_files_that_are_not_an_encoder_are_named(pretrained, tmp_path):
    config, file = saved(pretrained, tmp_path)
    whole = file.read_bytes()
    without = {key: value for key, value in config.items() if key != "backbone"}
    cases = [(config, whole[:len(whole) // 2]), (config, b""), (config, b"no weights"), (config, None),
             (config | {"backbone_settings": {"width": 4}}, whole), (config | {"backbone": "resnet18"}, whole),
             (config | {"backbone": "vit"}, whole), (without, whole), (config | {"channels": 3}, whole)]  # fmt: skip
    for wrong, content in cases:
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(MedsslError):
            recipes.load_encoder(wrong, file)
    for other in ([1, 2], {"a": torch.ones(2)}):
        torch.save(other, file)
        with pytest.raises(MedsslError, match="does not fit"):
            recipes.load_encoder(config, file)


# ---- collapse

def test_rankme_of_what_can_be_worked_out_by_hand():
    assert rankme(np.full((20, 5), 3.0)) == pytest.approx(1), "one point"
    assert rankme(np.zeros((4, 3))) == 1
    line = np.linspace(-1, 1, 20)[:, None] * np.array([1.0, 2, 3])
    assert rankme(line) == pytest.approx(1), "a line through 0"
    assert 1 < rankme(line + np.array([5.0, -1, 0])) <= 2, "a line beside 0: its direction and the offset's"
    assert rankme(np.eye(7)) == pytest.approx(7)
    assert rankme(np.eye(7)[:, :3]) == pytest.approx(3), "no more than D"
    assert rankme(np.diag([3.0, 1.0])) == pytest.approx(4 / 3**0.75), "exp(-3/4 ln 3/4 - 1/4 ln 1/4)"
    assert rankme(torch.eye(4, requires_grad=True)) == pytest.approx(4)


def test_rankme_of_a_gaussian_is_near_full_and_does_not_change_with_scale_or_rotation():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 12))
    p = np.sqrt(np.linalg.eigvalsh(z.T @ z))
    p /= p.sum()
    assert rankme(z) == pytest.approx(np.exp(-(p * np.log(p)).sum())) and 11.8 < rankme(z) < 12
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    assert rankme(1e-6 * z @ turn) == pytest.approx(rankme(z)) == pytest.approx(rankme(z[::-1]))


def test_health_of_a_sphere_a_point_two_poles_and_one_dead_dimension():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(4000, 16)) * rng.uniform(0.1, 9, (4000, 1))  # lengths do not matter
    health = embedding_health(z)
    assert health["std_mean"] == pytest.approx(1, abs=0.02) and health["cosine"] == pytest.approx(0, abs=0.01)
    assert health["std_min"] <= health["std_mean"]
    point = embedding_health(np.full((9, 4), -2.0))
    assert point == pytest.approx({"rank": 1, "std_mean": 0, "std_min": 0, "cosine": 1}, abs=1e-7)
    poles = embedding_health(np.array([[1.0, 0], [-1, 0]] * 4))
    assert poles["std_min"] == 0 and poles["cosine"] == pytest.approx(-1 / 7)
    dead = embedding_health(np.pad(z, ((0, 0), (0, 1))))
    assert dead["std_min"] == 0 and dead["std_mean"] > 0.9
    unit = z[:50] / np.linalg.norm(z[:50], axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(50) for j in range(50) if i != j]
    assert embedding_health(z[:50])["cosine"] == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("z", [np.ones(4), np.ones((1, 4)), np.ones((3, 0)), np.full((3, 2), np.nan),
                               np.array([[1.0, np.inf], [0, 0]])])
def test_embeddings_that_cannot_be_judged(z):
    with pytest.raises(MedsslError, match="N > 1"):
        embedding_health(z)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 16, 128])
def test_no_false_alarm_for_a_gaussian_and_an_alarm_for_a_point_and_a_line(dim):
    rng = np.random.default_rng(2)
    assert collapse_warning(embedding_health(rng.normal(size=(78, dim))), dim) == ""
    point = np.ones((78, dim)) + 0.01 * rng.normal(size=(78, dim))
    assert "mean std 0.0" in collapse_warning(embedding_health(point), dim) or dim == 1
    line = rng.normal(size=(78, 1)) * np.ones((1, dim))
    assert f"1.0 of {dim} directions" in collapse_warning(embedding_health(line), dim) or dim == 1


class OnlyTogether(SimCLR):
    """SimCLR without its negatives: all images at one point is a perfect answer."""

    def forward(self, batch):
        z1, z2 = self.head(self.encoder(torch.cat([batch["view1"], batch["view2"]]))).chunk(2)
        return {"loss": 1 - F.cosine_similarity(z1, z2).mean()}


def test_a_collapse_in_training_is_told(breast, capsys):
    run = pretrain(breast, OnlyTogether, steps=40, batch_size=64, lr=1e-2)
    assert run.history[-1]["loss"] < 0.01, "the loss looks splendid"
    assert run.warning.startswith("Collapse") and "mean std" in run.warning and "Try" in run.warning
    assert run.history[-1]["val_std_mean"] < 0.1 and run.history[-1]["val_cosine"] > 0.98


def test_val_is_watched_in_eval_mode_and_through_the_head(few):
    model = build("simclr")
    source = InMemory(few.train, 24, drop_last=True)
    trainer = Trainer(model, source, steps=2, views=TwoViews(preset("ultrasound", "ssl")), device="cpu",
                      validate=recipes.watch_embeddings(few), quiet="silent")
    row = trainer.fit().history[-1]
    with torch.no_grad():
        z = model.eval().head(model.encoder(few.val.images)).numpy()
    assert {f"val_{k}": v for k, v in embedding_health(z).items()} == pytest.approx(
        {k: v for k, v in row.items() if k.startswith("val_")}, rel=1e-4)
