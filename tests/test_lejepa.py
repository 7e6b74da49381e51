"""LeJEPA: its loss by hand, its views, what it reads and leaves alone, how a collapse is undone."""

import dataclasses
import json
import math

import pytest
import torch
from small_runs import pretrain, same, small, weights
from torch import nn

from medssl import cli, recipes
from medssl.data import Split
from medssl.errors import MedsslError
from medssl.losses import gaussian_level, random_directions, sigreg
from medssl.methods import LeJEPA
from medssl.models import ViT, build_encoder
from medssl.views import Augment, ManyViews, preset


def build(encoder=None, **settings) -> LeJEPA:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return LeJEPA(encoder or small(), **{"proj_dim": 16, "hidden": 32, "slices": 32} | settings)


def batch_of(data, n=24, views=(2, 2), seed=0) -> dict:
    return ManyViews(preset("ultrasound", "ssl"), *views)({"image": data.train.images[:n]},
                                                          torch.Generator().manual_seed(seed))


# ---- views

def test_many_views_are_independent_and_come_from_the_generator(few):
    images, views = few.train.images[:6], ManyViews(preset("ultrasound", "ssl"), 3, 2)
    batch = views({"image": images, "index": torch.arange(6)}, torch.Generator().manual_seed(0))
    assert batch["global"].shape == (3, 6, 1, 28, 28) and batch["local"].shape == (2, 6, 1, 16, 16)
    assert torch.equal(batch["image"], images) and torch.equal(batch["index"], torch.arange(6))
    again = views({"image": images}, torch.Generator().manual_seed(0))
    assert torch.equal(batch["global"], again["global"]) and torch.equal(batch["local"], again["local"])
    flat = batch["global"].flatten(2)
    assert not torch.equal(flat[0], flat[1]) and not torch.equal(batch["local"][0], batch["local"][1])
    whole = ManyViews(Augment(), 2)({"image": images}, torch.Generator().manual_seed(0))
    assert torch.equal(whole["global"][1], images / 255) and "local" not in whole


def test_a_local_view_is_a_small_part_of_the_image():
    """Pixels that carry their own column and row: the range they span in a view is the part that is seen."""
    ramp = torch.arange(56) / 56
    images = torch.stack([ramp.expand(56, 56), ramp.expand(56, 56).T]).expand(200, 2, 56, 56)
    seen = ManyViews(Augment(crop=(0.5, 1.0)), 1, 1, local_crop=(0.05, 0.3))({"image": images},
                                                                            torch.Generator().manual_seed(0))
    area = {}
    for kind in ("global", "local"):
        view = seen[kind][0]
        span = view.amax((2, 3)) - view.amin((2, 3))
        area[kind] = (span * view.shape[-1] / (view.shape[-1] - 1)).prod(1)
    assert seen["local"].shape[-1] == 28
    assert area["local"].min() > 0.04 and area["local"].max() < 0.32 and area["local"].max() > 0.26
    assert area["global"].min() > 0.45 and area["global"].max() <= 1.05


def test_a_smaller_view_is_the_larger_one_seen_with_fewer_pixels():
    ramp = (torch.arange(32) / 32).expand(4, 1, 32, 32)
    settings = {"crop": (0.4, 0.6), "flip": 0.5, "translate": 0.05}
    large, fine = (Augment(**settings, size=size)(ramp, torch.Generator().manual_seed(0)) for size in (None, 16))
    assert fine.shape[-2:] == (16, 16) and torch.allclose(nn.functional.avg_pool2d(large, 2), fine, atol=1e-2)
    with pytest.raises(MedsslError, match="size=0"):
        Augment(size=0)


# ---- the loss

def test_the_loss_is_the_written_one(few):
    """By loops over views, images and dimensions, from embeddings of one view at a time (eval: no batch statistics)."""
    model, batch = build(lam=0.1).eval(), batch_of(few, 5)
    model.head[-1].weight.data *= 3000  # a fresh network tells its views hardly apart: that part would not show
    out = model(batch)
    z = [model.head(model.encoder(view)).detach() for kind in ("global", "local") for view in batch[kind]]
    assert torch.allclose(model.embed(batch), torch.stack(z), atol=1e-3, rtol=1e-3)
    squares = []
    for n in range(5):
        for d in range(16):
            centre = (z[0][n, d] + z[1][n, d]) / 2
            squares += [(centre - view[n, d]) ** 2 for view in z]
    prediction = sum(squares) / len(squares)
    a = random_directions(16, 32, torch.Generator().manual_seed(0))
    gaussian = sum(sigreg(view, a) for view in z) / 4
    assert out["prediction"].item() == pytest.approx(prediction.item(), rel=1e-3) and prediction > 0.1
    assert out["sigreg"].item() == pytest.approx(gaussian.item(), rel=1e-3)
    assert out["loss"].item() == pytest.approx((0.9 * prediction + 0.1 * gaussian).item(), rel=1e-3)
    assert {"positive_cosine", "negative_cosine", "embedding_std", "embedding_rank"} <= out.keys()


def test_sigreg_is_asked_view_by_view():
    """One view twice is half as much evidence as it seems: taken as one sample of 2B it would score twice as high."""
    model = build().eval()
    z = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)).expand(2, 64, 16)
    model.embed = lambda batch: z
    a = random_directions(16, 32, torch.Generator().manual_seed(0))
    assert model({"global": z})["sigreg"].item() == pytest.approx(sigreg(z[0], a).item(), rel=1e-5)
    assert sigreg(z.flatten(0, 1), a).item() == pytest.approx(2 * sigreg(z[0], a).item(), rel=1e-5)


def test_the_gradient_flows_through_the_centre_too(few):
    """No stopped gradient: with two global views both move, and by opposite amounts."""
    model = build(lam=0.0).eval()
    z = torch.randn(3, 5, 16, requires_grad=True)
    model.embed = lambda batch: z
    model({"global": torch.zeros(2, 5), "local": torch.zeros(1, 5)})["prediction"].backward()
    m = (z[0] + z[1]) / 2
    slope = 2 / z.numel()
    for view in range(2):  # own term, and a half of each of the three terms through the centre
        expected = slope * ((z[view] - m) + 0.5 * ((m - z[0]) + (m - z[1]) + (m - z[2])))
        assert torch.allclose(z.grad[view], expected, atol=1e-6)
    assert torch.allclose(z.grad[2], slope * (z[2] - m), atol=1e-6)
    model = build()
    model(batch_of(few))["loss"].backward()
    assert all(p.grad is not None for p in model.parameters()), "no teacher: every weight learns"


def test_directions_are_fresh_each_step_and_always_the_same_in_eval(few, monkeypatch):
    import medssl.methods.lejepa as module

    seen, batch = [], batch_of(few)
    monkeypatch.setattr(module, "sigreg", lambda z, a: (seen.append(a), sigreg(z, a))[1])
    model = build().train()
    for step in (0, 1, 0):
        torch.manual_seed(step)
        model(batch)
    assert not torch.equal(seen[0], seen[4]) and torch.equal(seen[0], seen[8]), "the trainer's seed decides"
    assert torch.equal(seen[0], seen[3]), "one set of directions for all views of a step"
    seen.clear()
    model.eval()
    before = torch.get_rng_state()
    assert model(batch)["loss"] == model(batch)["loss"] and torch.equal(seen[0], seen[4])
    assert torch.equal(before, torch.get_rng_state())


def test_chance_is_the_loss_of_noise():
    for n_global, n_local in ((4, 0), (2, 6), (1, 3)):
        model, losses = build(lam=0.2, slices=64).eval(), []
        for seed in range(20):
            draw = torch.Generator().manual_seed(seed)
            z = torch.randn(n_global + n_local, 200, 16, generator=draw)
            model.embed = lambda batch, z=z: z
            losses.append(model({"global": z[:n_global]})["loss"].item())
        assert sum(losses) / 20 == pytest.approx(model.chance_level(n_global, n_local), rel=0.03)
    assert build(lam=1.0).chance_level(2) == gaussian_level()


# ---- collapse

def after(lam: float, seed: int) -> tuple[dict, dict]:
    """A network whose embeddings begin as nearly one point: what its forward says then, and 200 steps later.

    Exactly one point would stay: there SIGReg's gradient is 0, too, as on the tip of a hill.
    """
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 12, generator=draw)

    class Body(nn.Sequential):
        dim = 32

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = Body(nn.Flatten(), nn.Linear(12, 32), nn.Tanh())
        model = LeJEPA(body, proj_dim=4, hidden=32, slices=16, lam=lam).train()
        model.head[-1].weight.data *= 1e-3
        optimizer, said = torch.optim.Adam(model.parameters(), 1e-2), []
        for _ in range(200):
            views = x + 0.1 * torch.randn(2, 64, 12, generator=draw)
            optimizer.zero_grad()
            said.append(model({"global": views[..., None, None]}))
            said[-1]["loss"].backward()
            optimizer.step()
    return tuple({name: value.item() for name, value in said[k].items()} for k in (0, -1))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_collapse_recovers_with_lambda_and_does_not_without(seed):
    (start, recovered), (same_start, left) = after(0.1, seed), after(0.0, seed)
    assert start["embedding_std"] == same_start["embedding_std"] < 1e-3 and start["sigreg"] > 20
    assert 0.8 < recovered["embedding_std"] < 1.4 and recovered["embedding_rank"] > 2.5 and recovered["sigreg"] < 2
    assert left["embedding_std"] < 1e-3 and left["sigreg"] > 20


# ---- the house's rules for a method

@pytest.mark.parametrize("name", ["smallcnn", "resnet18", "vit"])
def test_it_works_on_every_encoder(few, name):
    model = build(build_encoder(name)).train()
    model(batch_of(few, 4))["loss"].backward()
    features = model.encode(few.train.images[:4])
    assert features.shape == (4, model.encoder.dim) and features.requires_grad
    assert sum(len(group["params"]) for group in model.param_groups(1e-3, 1e-4)) == len([*model.parameters()])


def test_no_label_is_read_and_nothing_is_learnt_from_val_and_test(few):
    noise = torch.randint(0, 256, few.val.images.shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    other = dataclasses.replace(few, train=Split(few.train.images, few.train.labels.flip(0)),
                                val=Split(noise, few.val.labels), test=Split(noise, few.test.labels))
    one, two = lejepa(few), lejepa(other)
    assert same(weights(one.method), weights(two.method))
    assert one.history[-1]["val_std_mean"] != two.history[-1]["val_std_mean"]


def lejepa(data, **settings):
    return pretrain(data, "lejepa", **{"slices": 32, "global_views": 2, "steps": 5} | settings)


def test_the_same_seed_gives_the_same_encoder_and_another_another(few):
    one, two, other = (lejepa(few, model="smallcnn", steps=3, seed=seed) for seed in (0, 0, 1))
    assert same(weights(one.method), weights(two.method)) and one.config == two.config
    assert not same(weights(one.encoder), weights(other.encoder))


def test_eval_moves_nothing(few):
    model = build().train()
    model(batch_of(few))
    before = weights(model.eval())
    model(batch_of(few, seed=1))
    assert same(before, weights(model))


def test_it_learns(breast):
    run = pretrain(breast, "lejepa", steps=24, batch_size=64, proj_dim=32, lr=5e-3)
    first, last = run.history[0], run.history[-1]
    assert last["loss"] < first["loss"] and last["loss"] < run.config["chance_level"] - 0.1
    assert last["positive_cosine"] > last["negative_cosine"] + 0.15
    assert run.warning == "" and last["val_rank"] > 4 and last["embedding_std"] > 0.3
    assert run.encoder.backbone == "lejepa 3 epochs"


def test_half_precision_is_finite_and_the_loss_stays_float32(few):
    model = build().train()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(batch_of(few, 6))
    assert {value.dtype for value in out.values()} == {torch.float32} and out["loss"].isfinite()


def test_a_run_that_was_cut_ends_as_one_that_was_not(few, tmp_path):
    class Dies(Augment):
        calls = 0

        def __call__(self, images, generator):
            self.calls += 1
            if self.calls == self.at:
                raise KeyboardInterrupt
            return super().__call__(images, generator)

    def views(at=None):
        made = Dies(crop=(0.3, 1.0), flip=0.5)
        made.at = at
        return made

    whole = lejepa(few, augment=views(), steps=7)
    with pytest.raises(KeyboardInterrupt):
        lejepa(few, augment=views(5), steps=7, out=tmp_path, checkpoint_every=2)
    resumed = lejepa(few, augment=views(), steps=7, out=tmp_path, checkpoint_every=2)
    assert same(weights(whole.method), weights(resumed.method)) and whole.config == resumed.config
    for other in ({"lam": 0.1}, {"slices": 64}, {"global_views": 3}, {"local_views": 1}):
        with pytest.raises(MedsslError, match="other settings"):
            lejepa(few, **{"augment": views(), "steps": 7, "out": tmp_path} | other)


def test_what_it_was_built_with_is_in_the_config_and_the_encoder_comes_back(few, tmp_path):
    encoder = ViT(1, "tiny", patch=7, pool="cls", registers=1)
    run = lejepa(few, model=encoder, lam=0.02, local_views=0, steps=3)
    config = json.loads(json.dumps(run.config))
    assert {"method": "lejepa", "backbone": "vit", "lam": 0.02, "slices": 32, "global_views": 2, "local_views": 0,
            "tau": None}.items() <= config.items()
    assert run.config["chance_level"] == pytest.approx(0.98 / 2 + 0.02 * gaussian_level())
    assert all(math.isfinite(row["loss"]) for row in run.history)
    torch.save(run.encoder.state_dict(), tmp_path / "e.pt")
    again = recipes.load_encoder(config, tmp_path / "e.pt").eval()
    assert torch.equal(again(few.val.images), run.encoder.eval()(few.val.images))


def test_the_command(capsys, tmp_path, monkeypatch):
    import medssl.handout

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(medssl.handout, "to_png", lambda *_: b"a picture")
    with pytest.raises(SystemExit) as ended:
        cli.main(["pretrain", "lejepa", "--dataset", "breastphantom", "--model", "vit", "--batch-size", "16", "--steps",
                  "3", "--local-views", "2", "--global-views", "2", "--lam", "0.02", "--slices", "16"])
    assert not ended.value.code
    folder = tmp_path / "runs/breastphantom_lejepa_vit_seed0"
    config = json.loads((folder / "ssl_config.json").read_text())
    assert (config["lam"], config["slices"], config["global_views"], config["local_views"]) == (0.02, 16, 2, 2)
    encoder = recipes.load_encoder(config, folder / "ssl_encoder.pt")
    assert encoder.describe().startswith("vit (tiny, patch 4, mean pooling, lejepa")
    assert "sigreg" in (folder / "ssl_loss.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(("call", "says"), [
    (lambda few: pretrain(few, "lejepa", temperature=0.2), "lejepa has no temperature"),
    (lambda few: pretrain(few, "simclr", lam=0.1), "simclr has no lam"),
    (lambda few: pretrain(few, "moco", global_views=4, slices=9), "moco has no slices or global_views"),
    (lambda few: pretrain(few, "lejepa", global_views=1), "2 views or more"),
    (lambda few: pretrain(few, "lejepa", global_views=0, local_views=4), "1 of them global"),
    (lambda few: build(lam=1.5), "from 0 to 1"),
    (lambda few: build(slices=0), "1 slice"),
    (lambda few: build()({"global": torch.rand(1, 4, 1, 28, 28)}), "single view"),
])  # fmt: skip
def test_mistakes_are_named(few, call, says):
    with pytest.raises(MedsslError, match=says):
        call(few)


def test_a_loss_that_is_no_number_is_told_by_the_trainer(few):
    class Broken(LeJEPA):
        def embed(self, batch):
            return super().embed(batch) * math.nan

    with pytest.raises(MedsslError, match="no number any more at step 1"):
        recipes.pretrain(few, Broken, small(), steps=2, batch_size=24, proj_dim=8, quiet="silent", device="cpu")
