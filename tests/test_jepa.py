"""Masked prediction: what the context has seen, the loss by hand, teachers, collapses, runs that are cut."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch
from small_runs import same, small, weights
from torch import nn

from medssl import recipes
from medssl.data import ImageData, Split
from medssl.errors import MedsslError
from medssl.evaluate import embedding_health
from medssl.losses import random_directions, sigreg
from medssl.methods import VJEPA, MaskedJEPA, SeedJEPA
from medssl.models import Predictor, ViT
from medssl.models.vit import SIZES
from medssl.views import multi_block, tubes

KINDS = {"ema": MaskedJEPA, "sigreg": partial(MaskedJEPA, target="sigreg"), "vjepa": VJEPA,
         "lejepa": partial(VJEPA, mode="lejepa"), "seed": SeedJEPA}


@pytest.fixture(autouse=True)
def mini(monkeypatch):
    monkeypatch.setitem(SIZES, "mini", (32, 2, 2))


def build(kind="ema", patch=4, **settings) -> MaskedJEPA:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return KINDS[kind](ViT(1, "mini", patch), **settings)


def batch_of(shape=(12, 12), n=3, context=4, blocks=2, size=2, seed=0, patch=4) -> dict:
    """Token numbers by hand: a random order of all, the first few are seen, blocks of the next are targets."""
    draw = torch.Generator().manual_seed(seed)
    tokens = int(np.prod([side // patch for side in shape]))
    order = torch.rand(n, tokens, generator=draw).argsort(1)
    targets = order[:, context:context + blocks * size].unflatten(1, (blocks, size)).transpose(0, 1)
    return {"image": torch.rand(n, 1, *shape, generator=draw), "context": order[:, :context], "targets": targets}


def pixels_of(tokens: torch.Tensor, shape, patch=4) -> torch.Tensor:
    """bool [B,1,*shape]: the pixels of the tokens int64 [B,K]."""
    grid = [side // patch for side in shape]
    seen = torch.zeros(len(tokens), int(np.prod(grid)), dtype=torch.bool).scatter_(1, tokens, True).unflatten(1, grid)
    for axis in range(1, 1 + len(shape)):
        seen = seen.repeat_interleave(patch, axis)
    return seen[:, None]


# ---- the leak

@pytest.mark.parametrize("shape", [(12, 12), (8, 12, 8)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_target_pixel_reaches_a_context_embedding(kind, shape):
    """By gradient, embedding by embedding, and by changing what must not be seen. SeedJEPA fails, in every token."""
    model, batch = build(kind, 4 if len(shape) == 2 else (4, 4, 4)).eval(), batch_of(shape)
    image = batch["image"].requires_grad_()
    targets = pixels_of(batch["targets"].transpose(0, 1).flatten(1), shape)
    seen = pixels_of(batch["context"], shape)
    embeddings = model.context(batch)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(2))
    for k in range(embeddings.shape[1]):
        reached = torch.autograd.grad((embeddings[:, k] @ direction).sum(), image, retain_graph=True)[0]
        assert (reached[seen] != 0).any()
        assert (reached[targets] == 0).all() == (reached[~seen] == 0).all() == (kind != "seed")
    changed = torch.where(targets, torch.rand(image.shape), image.detach())
    after = model.context({**batch, "image": changed})
    assert (after == embeddings).all() == (kind != "seed")
    if kind == "seed":
        assert (after != embeddings).any(2).all()
    predicted = model.predict(batch, embeddings)  # nor the predictions: they know the context, and places
    reached = torch.autograd.grad(predicted.square().sum(), image)[0]
    assert (reached[targets] == 0).all() == (kind != "seed")


def iid_error(kind: str, steps: int = 25) -> float:
    """Patches that know nothing of one another, targets a fixed function of each: the error of predicting, in
    variances of the target. 1 is all that can be reached without looking."""
    model, draw = build(kind), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([*model.encoder.parameters(), *model.predictor.parameters()], 3e-3)
    for step in range(steps + 1):
        n = 128 if step < steps else 4096
        value = torch.rand(n, 4, generator=draw)  # of the patches of a 2 x 2 grid
        order = torch.rand(n, 4, generator=draw).argsort(1)
        image = value.unflatten(1, (1, 2, 2)).repeat_interleave(4, 2).repeat_interleave(4, 3)
        batch = {"image": image, "context": order[:, :3], "targets": order[None, :, 3:]}
        wanted = (value.gather(1, order[:, 3:]) - 0.5) * 12**0.5
        error = (model.predict(batch, model.context(batch))[0, :, :, 0] - wanted).square().mean()
        if step < steps:
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
    return error.item() / wanted.square().mean().item()


def test_what_cannot_be_predicted_is_not_predicted_unless_it_leaks():
    assert iid_error("ema") > 0.99
    assert iid_error("seed") < 0.8


# ---- the loss

@pytest.mark.parametrize("kind", ["ema", "vjepa", "sigreg", "lejepa"])
@pytest.mark.parametrize("loss", ["smooth_l1", "l1"])
def test_the_loss_is_the_written_one(kind, loss):
    """By loops over blocks, images, tokens and dimensions."""
    model, batch = build(kind, loss=loss).eval(), batch_of(blocks=2)
    if "ema" in (kind, model.target):
        nn.init.normal_(model.teacher.norm.weight)  # a teacher apart from the encoder
    out, source = model(batch), model.teacher if model.target == "ema" else model.encoder
    with torch.no_grad():
        h, context = source.tokens(batch["image"]), model.context(batch)
        h = h if model.target == "ema" else torch.stack([model.head(tokens) for tokens in h])
        z, h = h.mean(1), h.double().numpy()
        total = []
        for t, block in enumerate(batch["targets"]):
            predicted = model.predictor(context, batch["context"], block, (3, 3))
            assert torch.allclose(model.predict(batch, context)[t], predicted, atol=1e-6), "blocks know of no other"
            for b in range(3):
                for m, token in enumerate(block[b]):
                    wanted = h[b, token]
                    if model.target == "ema":
                        wanted = (wanted - wanted.mean()) / np.sqrt(wanted.var() + 1e-5)
                    for gap in np.abs(predicted[b, m].double().numpy() - wanted):
                        total.append(gap if loss == "l1" else 0.5 * gap**2 if gap < 1 else gap - 0.5)
    assert out["prediction"].item() == pytest.approx(np.mean(total), rel=1e-5)
    if model.target == "ema":
        assert out["loss"] == out["prediction"]
    else:
        gaussian = sigreg(z, random_directions(64, 256, torch.Generator().manual_seed(0)))
        assert out["sigreg"].item() == pytest.approx(gaussian.item(), rel=1e-4)
        assert out["loss"].item() == pytest.approx((0.5 * out["prediction"] + 0.5 * gaussian).item(), rel=1e-4)


def test_the_papers_numbers_are_the_defaults():
    assert build("ema").settings() == {"target": "ema", "loss": "smooth_l1", "predictor_depth": 3,
                                           "momentum": 0.996}
    assert build("vjepa").settings() == {"target": "ema", "loss": "l1", "predictor_depth": 3, "momentum": 0.998}
    assert build("lejepa").settings() == {"target": "sigreg", "loss": "l1", "predictor_depth": 3, "lam": 0.5,
                                              "slices": 256}
    assert "EXPERIMENTAL" in MaskedJEPA.__doc__


def test_chance_is_the_loss_of_saying_nothing():
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    assert nn.functional.smooth_l1_loss(x, 0 * x).item() == pytest.approx(build("ema").chance_level(), rel=0.01)
    assert x.abs().mean().item() == pytest.approx(build("vjepa").chance_level(), rel=0.01)
    a, b = (nn.functional.normalize(part, dim=1) for part in x[:64_000].view(2, -1, 32))
    assert (a - b).square().mean().item() == pytest.approx(build("seed").chance_level(), rel=0.02)


def test_the_seeds_loss_is_the_seeds():
    model, batch = build("seed", lam=0.5).eval(), batch_of()
    out = model(batch)
    with torch.no_grad():
        h = model.encoder.tokens(batch["image"])
        tokens = h.flatten(0, 1) - h.flatten(0, 1).mean(0)
        penalty = ((tokens.T @ tokens / (len(tokens) - 1) - torch.eye(32)) ** 2).mean()
        cosine = torch.cosine_similarity(model.predict(batch, model.context(batch)),
                                         torch.stack([h[torch.arange(3)[:, None], t] for t in batch["targets"]]), -1)
    assert out["penalty"].item() == pytest.approx(penalty.item(), rel=1e-4)
    assert out["prediction"].item() == pytest.approx(((2 - 2 * cosine) / 32).mean().item(), rel=1e-4)
    assert out["loss"].item() == pytest.approx((out["prediction"] + 0.5 * out["penalty"]).item(), rel=1e-5)


@pytest.mark.parametrize(("kind", "flows"), [("ema", False), ("vjepa", False), ("sigreg", True), ("lejepa", True),
                                             ("seed", None)])
def test_the_target_branch_has_a_gradient_where_it_should(kind, flows):
    """Pixels outside the context are met by the target branch alone (but for the seed's context)."""
    model, batch = build(kind), batch_of()
    image = batch["image"].requires_grad_()
    model(batch)["prediction"].backward()
    if flows is not None:
        assert (image.grad[~pixels_of(batch["context"], (12, 12))] != 0).any() == flows
    learns = {name for name, p in model.named_parameters() if p.grad is not None}
    assert not any(name.startswith("teacher") for name in learns)
    assert {name for name, _ in model.encoder.named_parameters(prefix="encoder")} <= learns


# ---- predictor

def test_the_predictor_knows_places_not_order():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, context = Predictor(32), torch.randn(3, 4, 32)
    batch = batch_of()
    keep, targets = batch["context"], batch["targets"][0]
    out = model(context, keep, targets, (3, 3))
    assert torch.allclose(model(context.flip(1), keep.flip(1), targets, (3, 3)), out, atol=1e-5)
    assert torch.allclose(model(context, keep, targets.flip(1), (3, 3)), out.flip(1), atol=1e-5)
    assert not torch.allclose(model(context, keep.flip(1), targets, (3, 3)), out, atol=1e-3)
    assert not torch.allclose(out[:, 0], out[:, 1], atol=1e-3), "one mask token, told apart by its place"
    step = torch.tensor([[4.0, 4.0]] * 2 + [[8.0, 4.0]])
    mm = model(context, keep, targets, (3, 3), step)
    other = model(context, keep, targets, (3, 3), 4 * torch.ones(3, 2))
    assert torch.allclose(mm[:2], other[:2], atol=1e-6) and not torch.allclose(mm[2], other[2], atol=1e-3)


def test_spacing_reaches_encoder_teacher_and_predictor():
    batch = batch_of((8, 8, 8))
    for kind in KINDS:
        model = build(kind, (4, 4, 4)).eval()
        loss = {name: model({**batch, **extra})["prediction"].item() for name, extra in {
            "patches": {}, "mm": {"spacing": torch.ones(3, 3)}, "thick": {"spacing": torch.tensor([[5.0, 1, 1]] * 3)},
        }.items()}
        assert len(set(loss.values())) == 3, kind


# ---- the teacher

def test_the_teacher_follows_and_learns_nothing():
    class Counting(ViT):
        def __init__(self):
            super().__init__(1, "mini")
            self.register_buffer("scale", torch.ones(3))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MaskedJEPA(Counting(), momentum=0.9).train()
    assert model.encoder.training and not any(part.training for part in model.teacher.modules())
    start, before = weights(model.teacher), weights(model.encoder)
    assert same(start, before)
    optimizer = torch.optim.SGD(model.param_groups(0.1, 0.0))
    named = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert named == {id(p) for part in (model.encoder, model.predictor) for p in part.parameters()}
    model.before_step(5, 10)
    assert model.momentum == pytest.approx(0.95)
    model(batch_of())["loss"].backward()
    optimizer.step()
    model.encoder.scale.fill_(7.0)
    assert same(weights(model.teacher), start), "nothing but after_step moves it"
    model.after_step()
    for name, value in model.teacher.state_dict().items():
        expected = 0.95 * start[name] + 0.05 * model.encoder.state_dict()[name]
        expected = model.encoder.state_dict()[name] if name in ("scale", "normalise.mean") else expected
        assert torch.allclose(value, expected, atol=1e-6), name
    model.before_step(0, 10)
    assert model.momentum == 0.9
    model.before_step(10, 10)
    assert model.momentum == 1.0
    assert not hasattr(build("lejepa"), "teacher")


def test_encode_can_be_fine_tuned():
    for kind in KINDS:
        model, x = build(kind), batch_of()["image"]
        features = model.encode(x)
        assert features.shape == (3, 32) and torch.allclose(features, model.encoder.tokens(x).mean(1), atol=1e-6)
        features.square().sum().backward()
        assert all(p.grad is not None for p in model.encoder.parameters())


# ---- collapse

def after(lam: float, seed: int, steps: int = 20) -> tuple[dict, dict]:
    """An encoder that gives all images nearly the same tokens: what its forward says then, and some steps later."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MaskedJEPA(ViT(1, "mini"), target="sigreg", lam=lam, slices=32, proj_dim=8).train()
        model.encoder.norm.weight.data *= 1e-3
        nn.init.normal_(model.encoder.norm.bias)
        optimizer, said = torch.optim.Adam(model.parameters(), 3e-3), []
        for step in range(steps):
            batch = batch_of((8, 8), 32, context=2, blocks=1, seed=step)
            batch["image"] = batch["image"] * torch.rand(32, 1, 1, 1)  # bright and dark images: something to tell
            optimizer.zero_grad()
            said.append(model(batch))
            said[-1]["loss"].backward()
            optimizer.step()
    return tuple({name: value.item() for name, value in said[k].items()} for k in (0, -1))


@pytest.mark.parametrize("seed", [0])
def test_a_collapse_recovers_with_sigreg_and_does_not_without(seed):
    (start, recovered), (same_start, left) = after(0.5, seed), after(0.0, seed)
    assert start["embedding_std"] == same_start["embedding_std"] < 0.25 and start["sigreg"] > 5
    assert recovered["embedding_std"] > 0.5 and recovered["sigreg"] < 3
    assert left["embedding_std"] < 0.2 and left["sigreg"] > 5


# ---- pretraining

def test_patches_by_size_or_by_choice():
    from medssl.recipes.learners import patch_for

    assert patch_for((1, 28, 28)) == 4 and patch_for((1, 8, 64, 224)) == (4, 8, 16)
    assert patch_for((1, 28, 28), 7) == patch_for((1, 28, 28), [7, 7]) == 7 and patch_for((1, 28, 28), [7, 4]) == (7, 4)
    assert patch_for((1, 8, 16, 16), 8) == (8, 8, 8) and patch_for((1, 8, 16, 16), [2, 8, 8]) == (2, 8, 8)


def test_what_is_watched_is_what_sigreg_sees():
    """With target="sigreg": the mean of the tokens' projections, not the projection of the mean token."""
    model, data = build("sigreg", proj_dim=16, lam=0.5), images()
    grids = torch.arange(9).expand(16, -1)
    batch = {"image": data.val.images, "context": grids[:, :4], "targets": grids[None, :, 4:]}
    with torch.no_grad():
        std = model.eval()(batch)["embedding_std"].item()
        z = model.head(model.encoder.tokens(data.val.images).flatten(0, 1)).unflatten(0, (16, 9)).mean(1)
        watched = recipes.pretraining.Embeddings(model)(data.val.images)
        assert torch.allclose(watched, z, atol=1e-5) and watched.std(0).mean().item() == pytest.approx(std, rel=1e-4)
        assert not torch.allclose(watched, model.head(model.encoder(data.val.images)), atol=1e-3)
    assert recipes.watch_embeddings(data)(model) == embedding_health(watched.numpy())


def images(shape=(1, 12, 12), n=16) -> ImageData:
    draw = torch.Generator().manual_seed(0)
    split = Split(torch.randint(0, 256, (n, *shape), generator=draw).to(torch.uint8), torch.arange(n) % 2)
    return ImageData("noise", split, split, split, ("a", "b"), "ultrasound", "none", True, shape[-1])


def run(data, method="ijepa", **settings):
    patch = 4 if data.train.images.ndim == 4 else (4, 4, 4)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        settings = {"model": ViT(1, "mini", patch), "steps": 5, "batch_size": 8, "device": "cpu", "quiet": "silent",
                    **settings}
    return recipes.pretrain(data, method, **settings)


@pytest.mark.parametrize(("method", "shape", "masks", "settings"), [
    ("ijepa", (1, 12, 12), multi_block, {}), ("vjepa", (1, 12, 12, 12), tubes, {}),
    ("vjepa", (1, 12, 12, 12), tubes, {"mode": "lejepa", "slices": 16})])  # fmt: skip
def test_a_run_that_was_cut_ends_as_one_that_was_not(method, shape, masks, settings, tmp_path):
    class Dies:
        def __init__(self, at=None):
            self.calls, self.at, self.__name__ = 0, at, "dies"

        def __call__(self, grid, batch, generator):
            self.calls += 1
            if self.calls == self.at:
                raise KeyboardInterrupt
            return masks(grid, batch, generator)

        def __repr__(self):
            return "Dies()"

    data = images(shape)
    whole = run(data, method, masks=Dies(), **settings)
    with pytest.raises(KeyboardInterrupt):
        run(data, method, masks=Dies(4), out=tmp_path, checkpoint_every=2, **settings)
    resumed = run(data, method, masks=Dies(), out=tmp_path, checkpoint_every=2, **settings)
    assert same(weights(whole.method), weights(resumed.method)) and whole.config == resumed.config
    other = {"mode": "ema" if settings else "lejepa"} if method == "vjepa" else {"momentum": 0.9}
    with pytest.raises(MedsslError, match="other settings"):
        run(data, method, masks=Dies(), out=tmp_path, **settings | other)


def test_no_label_is_read_and_the_same_seed_gives_the_same():
    data = images()
    other = dataclasses.replace(data, train=Split(data.train.images, data.train.labels.flip(0)))
    one, two, three = run(data), run(other), run(data, seed=1)
    assert same(weights(one.method), weights(two.method)) and not same(weights(one.method), weights(three.method))


@pytest.mark.parametrize(("method", "shape", "masks"), [
    ("ijepa", (1, 16, 16), "multi_block"), ("ijepa", (1, 16, 16, 16), "blocks_3d, spacing=(8.0, 4.0, 4.0)"),
    ("vjepa", (1, 16, 16, 16), "tubes"), ("seedjepa", (1, 16, 16), "multi_block")])
def test_what_it_was_built_with_is_in_the_config_and_the_encoder_comes_back(method, shape, masks, tmp_path):
    data = images(shape)
    data = dataclasses.replace(data, spacing=(2.0, 1.0, 1.0)) if len(shape) == 4 else data
    made = run(data, method, model="vit", steps=2)
    config = json.loads(json.dumps(made.config))
    assert masks in config["views"] and config["method"] == method and config["rank_at_most"] == 16
    assert "crop=(0.3, 1.0), ratio" in config["views"] if len(shape) == 3 else config["augmentations"] == "None"
    torch.save(made.encoder.state_dict(), tmp_path / "e.pt")
    again = recipes.load_encoder(config, tmp_path / "e.pt").eval()
    assert torch.equal(again(data.val.images), made.encoder.eval()(data.val.images))
    without = recipes.load_encoder({**config, "backbone_settings": {**config["backbone_settings"], "spacing": None}},
                                   tmp_path / "e.pt").eval()
    assert torch.equal(without(data.val.images), again(data.val.images)) == (len(shape) == 3), "mm, as it was trained"


@pytest.mark.parametrize(("call", "says"), [
    (lambda: MaskedJEPA(small()), "no tokens"),
    (lambda: MaskedJEPA(ViT(1, "mini", pool="cls")), 'pool="mean"'),
    (lambda: MaskedJEPA(ViT(1, "mini"), target="covariance"), "target ema or sigreg"),
    (lambda: MaskedJEPA(ViT(1, "mini"), loss="l2"), "smooth_l1 or l1"),
    (lambda: VJEPA(ViT(1, "mini"), mode="both"), "ema or lejepa"),
    (lambda: Predictor(32, 30), "multiple of heads"),
    (lambda: run(images(), "ijepa", mode="ema"), "ijepa has no mode"),
    (lambda: run(images(), "vjepa", temperature=0.1), "vjepa has no temperature"),
    (lambda: run(images(), "lejepa", masks="random"), "lejepa has no masks"),
    (lambda: run(images(), masks="squares"), "multi_block, random"),
    (lambda: run(images(), model="smallcnn"), "no tokens"),
    (lambda: run(images((1, 12, 12, 12)), "simclr"), "on volumes"),
    (lambda: run(images(), masks="tubes"), "3"),
])
def test_mistakes_are_named(call, says):
    with pytest.raises(MedsslError, match=says):
        call()
