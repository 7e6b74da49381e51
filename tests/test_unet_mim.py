"""Week 13: the loss of masked patches and of halves, and a small pretraining with all that it writes."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import medssl.data
from medssl import cli, recipes
from medssl.data import Split, together
from medssl.errors import MedsslError
from medssl.figures import reconstruction
from medssl.losses import mask_of_pixels, masked_error, nt_xent
from medssl.methods import UNetMIM
from medssl.methods.unet_mim import GREY, unit_variance
from medssl.models import ENCODERS, SmallCNN, UNet
from medssl.models.export import pretrained_as
from medssl.recipes.beside import untrained
from medssl.recipes.unet_mim import Prepared, evenly
from medssl.train import Trainer
from medssl.views import Halves

VIEWS = Halves(32, 8)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """Drawing takes longer than these trainings: two images a panel, forty on a map."""
    monkeypatch.setattr(recipes.unet_mim, "SHOWN", 2)
    monkeypatch.setattr(recipes.unet_mim, "MAPPED", 40)


def unet() -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(width=4)


def built(**settings) -> UNetMIM:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return UNetMIM(unet(), proj_dim=16, **settings)


def batch_of(n=8, seed=0) -> dict:
    g = torch.Generator().manual_seed(seed)
    return VIEWS({"image": torch.rand(n, 1, 32, 32, generator=g)}, g)


def pretrain(data, **settings):
    return recipes.pretrain_unet_mim(data, **{"model": unet(), "views": VIEWS, "epochs": 3, "batch_size": 24,
                                              "proj_dim": 16, "device": "cpu", "quiet": "silent", **settings})


def test_a_thousand_batches_have_no_loss_and_no_gradient_outside_the_mask():
    g, dice = torch.Generator().manual_seed(0), np.random.default_rng(0)
    for _ in range(1000):
        b, c, rows, columns, patch = (int(n) for n in dice.integers((1, 1, 1, 1, 1), (4, 4, 5, 5, 4)))
        shape = (b, c, rows * patch, columns * patch)
        x, drawn = torch.rand(shape, generator=g), torch.rand(shape, generator=g).requires_grad_()
        mask = torch.rand(b, rows, columns, generator=g) < 0.4
        mask[0, 0, 0] = True
        loss = masked_error(drawn, x, mask)
        (gradient,) = torch.autograd.grad(loss, drawn)
        inside = torch.from_numpy(np.kron(mask.numpy(), np.ones((1, patch, patch), bool)))[:, None].expand(shape)
        assert torch.equal(inside, mask_of_pixels(mask, x).expand(shape))
        assert (gradient[~inside] == 0).all() and (gradient[inside].abs() > 0).all()
        assert torch.allclose(loss, (drawn - x).abs()[inside].mean())
        elsewhere = torch.where(inside, drawn, 1e6 * torch.rand(shape, generator=g))
        assert torch.equal(masked_error(elsewhere, x, mask), loss)


def test_l2_is_added_and_what_is_no_mask_is_refused():
    x, mask = torch.zeros(2, 1, 4, 4), torch.tensor([[[True, False]] * 2] * 2)
    assert masked_error(x + 0.5, x, mask, l2=0.1) == pytest.approx(0.5 + 0.1 * 0.25)
    assert masked_error((x + 0.5).bfloat16(), x, mask).dtype == torch.float32
    for wrong in (mask.float(), mask[0], mask[:1], torch.ones(2, 3, 2, dtype=torch.bool)):
        with pytest.raises(MedsslError, match="A mask"):
            masked_error(x, x, wrong)
    with pytest.raises(MedsslError, match="No patch"):
        masked_error(x, x, mask & False)


def test_the_contrast_of_halves_knows_no_order_no_side_no_length_and_no_turn():
    g, dice = torch.Generator().manual_seed(0), np.random.default_rng(0)
    for turned in range(1000):
        n, d = int(dice.integers(2, 9)), int(dice.integers(2, 9))
        left, right = torch.randn(2, n, d, generator=g, dtype=torch.float64)
        loss, order = nt_xent(left, right, 0.2), torch.randperm(n, generator=g)
        turn = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0]
        length = torch.rand(n, 1, generator=g, dtype=torch.float64) + 0.1
        same = ((right, left), (left[order], right[order]), (left @ turn, right @ turn), (left * length, right))
        assert torch.allclose(nt_xent(*same[turned % 4], 0.2), loss)
    z = torch.nn.functional.normalize(torch.cat([left, right]), dim=1)  # 2N embeddings, each against 2N - 1
    terms = [torch.log(sum(torch.exp(z[i] @ z[k] / 0.2) for k in range(2 * n) if k != i))
             - z[i] @ z[(i + n) % (2 * n)] / 0.2 for i in range(2 * n)]
    assert torch.allclose(nt_xent(left, right, 0.2), torch.stack(terms).mean())


def test_the_loss_is_the_sum_of_its_weighted_terms():
    batch = batch_of()
    out = built(recon_weight=2.0, contrast_weight=0.5, l2=0.1)(batch)
    assert out["loss"].item() == pytest.approx(2 * out["reconstruction"].item() + 0.5 * out["contrast"].item())
    method = built().eval()
    out = method(batch)
    assert torch.allclose(out["reconstruction"], masked_error(method.draw(batch), batch["image"], batch["mask"]))
    left, right = (method.head(method.encoder(batch[side])) for side in ("left", "right"))
    assert torch.allclose(out["contrast"], nt_xent(left, right, 0.2), atol=1e-5)
    assert [type(part).__name__ for part in method.head] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_a_term_of_weight_zero_trains_nothing():
    for settings, still in (({"contrast_weight": 0}, set()), ({"recon_weight": 0}, {"up", "join", "draw"})):
        method = built(**settings)
        out = method(batch_of())
        out["loss"].backward()
        assert {name.split(".")[1] for name, p in method.named_parameters() if p.grad is None} == still
        assert hasattr(method, "head") == ("contrast" in out) and ("reconstruction" in out) != ("contrast" in out)
    for wrong in ({"recon_weight": 0, "contrast_weight": 0}, {"l2": -1}, {"contrast_weight": -1}):
        with pytest.raises(MedsslError, match="weights of 0 or more"):
            built(**wrong)
    with pytest.raises(MedsslError, match="a UNet"):
        UNetMIM(SmallCNN(width=4))


def test_mask_input_hides_the_patches_and_the_default_does_not():
    batch = batch_of()
    inside = mask_of_pixels(batch["mask"], batch["image"])
    other = batch | {"image": torch.where(inside, torch.rand_like(batch["image"]), batch["image"])}
    for hidden in (True, False):
        method = built(mask_input=hidden)
        assert torch.equal(method.draw(batch), method.draw(other)) is hidden
        seen = method.seen(batch)
        assert torch.equal(seen[~inside], batch["image"][~inside])
        assert (seen[inside] == GREY).all() if hidden else torch.equal(seen, batch["image"])
    assert method.training, "drawing leaves the mode as it was"
    assert not torch.allclose(method.draw(batch), method.draw(batch, skips=False))


def test_the_variance_of_directions():
    z = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * 7
    unit = (z / z.norm(dim=1, keepdim=True)).numpy()
    found = unit_variance(z)
    assert float(found["variance_mean"]) == pytest.approx(unit.var(0).mean(), rel=1e-4)
    assert float(found["variance_min"]) == pytest.approx(unit.var(0).min(), rel=1e-4)
    assert 0.85 / 8 < found["variance_min"] <= found["variance_mean"] < 1.01 / 8
    point = unit_variance(torch.ones(10, 8) * torch.arange(1, 11)[:, None])
    assert point["variance_mean"] < 1e-12 and point["dead"] == 8 and found["dead"] == 0
    assert unit_variance(torch.cat([z[:, :5], z[:, 5:] * 0 + 3], 1))["dead"] == 0, "a third of the length still turns"
    assert unit_variance(torch.cat([z[:, :5], z[:, 5:] * 0], 1))["dead"] == 3


def test_a_pretraining_leaves_all_that_the_week_asks_for(few, tmp_path):
    run = pretrain(few, out=tmp_path, map_every=2, epochs=2)
    last = run.history[-1]
    for key in ("reconstruction", "contrast", "variance_mean", "variance_min"):
        assert np.isfinite(last[key]) and np.isfinite(last[f"val_{key}"])
    assert last["loss"] < run.history[0]["loss"] and last["reconstruction"] < run.history[0]["reconstruction"]
    assert sorted(p.name for p in (tmp_path / "panels").iterdir()) == [f"epoch_{n:03}.png" for n in (1, 2)]
    assert [p.name for p in (tmp_path / "tsne").iterdir()] == ["epoch_002.png"]
    readme = (tmp_path / "README.md").read_text()
    config = run.config
    for said in ("train images | 80", "val images | 24", "changes of a half | brightness=0.1", "device | cpu", "torch ",
                 "tsne/: every 2 epochs", "is of halves through the head,\n  evenly spread 0.0625",
                 "`medssl evaluate` does"):
        assert said in readme
    assert "mask_input | False" in readme and "Halves(32, 8" in readme and f"epoch {config['best_epoch']}," in readme
    assert (config["lr"], config["weight_decay"], config["schedule"], config["tau"]) == (1e-3, 1e-4, "cosine", 0.2)
    assert config["recon_weight"] == config["contrast_weight"] == 1 and config["backbone"] == "unet"
    probes = recipes.prepared(few, run.views)
    assert probes.train.images.shape == (80, 1, 32, 32) and probes.train.images.dtype == torch.uint8
    recipes.probe_grid(probes, [run.encoder], fractions=(1.0,), draws=1, split="val")


def test_dead_dimensions_are_counted_and_said(few, monkeypatch):
    monkeypatch.setattr(recipes.unet_mim, "EARLY", 0)
    monkeypatch.setattr(recipes.unet_mim, "pretrain", lambda *a, **k: run)
    rows = [{"epoch": 1, "val_loss": 1.0, "val_dead": dead} for dead in (1.0, 5.0)]
    run = recipes.pretraining.Pretrained(unet(), built(), rows[:1], 0, {"proj_dim": 16, "steps": 9}, "", VIEWS)
    assert not recipes.pretrain_unet_mim(few, views=VIEWS).warning
    run.history = rows
    assert "5 of 16 dimensions" in recipes.pretrain_unet_mim(few, views=VIEWS).warning


def test_the_readme_names_what_is_there_and_where_slices_go(few, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes.unet_mim.sys, "argv", ["/bin/medssl", "pretrain", "unet-mim", "--data", "my scans"])
    unlabelled = dataclasses.replace(few, classes=("unlabelled",), modality="CT slices", **{
        name: Split(split.images, split.labels * 0) for name, split in few.splits.items()})
    for every, there in ((5, False), (1, True)):
        pretrain(unlabelled, out=tmp_path, epochs=1, map_every=every, resume=False)
        readme = (tmp_path / "README.md").read_text()
        assert ("tsne/" in readme) is there and "unlabelled" not in readme and "1 epochs" not in readme
        assert "medssl pretrain unet-mim --data 'my scans'" in readme and "load_slices" in readme
    assert "each epoch the same images on a map, in one colour" in readme


def test_images_of_three_channels_and_of_one_in_one_run(few, tmp_path):
    red = dataclasses.replace(few, key="red", **{
        name: Split(split.images.expand(-1, 3, -1, -1) * torch.tensor([1, 0, 0], dtype=torch.uint8)[:, None, None],
                    split.labels) for name, split in few.splits.items()})
    asked = {"views": None, "pixels": 32, "halves": {"patch": 8, "ratio": 0.25}, "l2": 0.1}
    for data in (red, together([few, red])):
        run = pretrain(data, model="unet", **asked, out=tmp_path / data.key, steps=1, epochs=None, map_every=1)
        assert (run.views.size, run.views.patch, run.views.ratio, run.method.l2) == (32, 8, 0.25, 0.1)
        assert data.channels == 3 and recipes.prepared(data, VIEWS).val.images.shape[1:] == (3, 32, 32)
        batch = VIEWS({"image": data.val.images[:2]}, torch.Generator().manual_seed(0))
        assert run.method.draw(batch).shape == batch["image"].shape == (2, 3, 32, 32)


def test_a_run_that_was_cut_ends_as_one_that_was_not(few, tmp_path):
    few = dataclasses.replace(few, train=Split(few.train.images[:32], few.train.labels[:32]))
    whole = pretrain(few, batch_size=16)

    def stop(trainer: Trainer, _) -> None:
        if trainer.epoch == 2 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            trainer.save()
            raise KeyboardInterrupt

    hooks = recipes.unet_mim.pretrain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes.unet_mim, "pretrain", lambda *a, **k: hooks(*a, **k | {"hooks": [(1, "epoch", stop)]}))
        with pytest.raises(KeyboardInterrupt):
            pretrain(few, batch_size=16, out=tmp_path)
    again = pretrain(few, batch_size=16, out=tmp_path)
    assert [row["epoch"] for row in again.history] == [1, 2, 3]
    for a, b in zip(whole.method.state_dict().values(), again.method.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(MedsslError, match="mask_input was False, is True"):
        pretrain(few, batch_size=16, out=tmp_path, mask_input=True)


def test_it_stops_early_and_keeps_the_weights_that_were_best_on_val(few):
    run = pretrain(few, epochs=15, lr=0.3, patience=2, clip=None)  # far too large a step
    losses = [row["val_loss"] for row in run.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 15 and run.config["best_epoch"] == best + 1
    watch = recipes.unet_mim.watch_losses(few, VIEWS, 24, 0)
    run.method.eval()
    with torch.no_grad():
        assert watch(run.method)["loss"] == pytest.approx(losses[best], rel=1e-4)


def test_each_piece_of_the_validation_holds_images_of_each_source(few):
    """Sources lie one behind the other: black images, then white ones."""
    part = Split(torch.cat([torch.full((40, 1, 32, 32), grey, dtype=torch.uint8) for grey in (0, 255)]),
                 torch.arange(2).repeat_interleave(40))
    watch = recipes.unet_mim.watch_losses(dataclasses.replace(few, val=part), VIEWS, 20, 0)
    met, method = [], built().eval()
    method.register_forward_pre_hook(lambda _, batch: met.append(batch[0]["image"].mean((1, 2, 3)).round().tolist()))
    for _ in range(2):
        with torch.no_grad():
            watch(method)
    assert len(met) == 8 and met[:4] == met[4:], "the same order each time"
    assert sum(map(sum, met[:4])) == 40 and all(4 <= sum(piece) <= 16 for piece in met[:4])


def test_an_encoder_can_be_made_to_see_images_as_in_its_pretraining(few):
    images = few.train.images[:4]
    for net in (unet(), untrained(unet(), 0)):
        wanted = net.eval()(VIEWS.prepare(images))
        assert not torch.allclose(net(images), wanted)
        net.normalise = Prepared(net.normalise, {"size": 32, "patch": 8, "radius": 2.0, "amount": 0.5})
        assert torch.allclose(net(images), wanted)
        assert torch.allclose(untrained(net, 0).eval()(images), untrained(unet(), 0).eval()(VIEWS.prepare(images)))


def test_a_collapse_is_said(few, monkeypatch, tmp_path):
    run = pretrain(few, epochs=1, lr=1e-9, contrast_weight=0, recon_weight=1)
    assert not hasattr(run.method, "head") and run.config["chance_level"] is None and "chance" not in str(run)
    with torch.no_grad():
        run.encoder.down[-1][1][1].weight.zero_(), run.encoder.down[-1][1][1].bias.fill_(1)  # one feature for all
    again = pretrain(few, model=run.encoder, epochs=1, lr=1e-9)
    assert again.warning.startswith("Too early to say after 3 steps") and "Collapse" in again.warning
    monkeypatch.setattr(recipes.unet_mim, "EARLY", 3)
    again = pretrain(few, model=run.encoder, epochs=1, lr=1e-9, out=tmp_path)
    assert again.warning.startswith("Collapse") and f"**{again.warning}**" in (tmp_path / "README.md").read_text()


def test_several_sources_give_the_map_its_colours(few, tmp_path):
    other = dataclasses.replace(few, key="other", **{
        name: Split(255 - split.images, split.labels) for name, split in few.splits.items()})
    both = together([few, other])
    some = evenly(both.train, 20)
    assert some.labels.bincount().tolist() == [10, 10]
    run = pretrain(both, out=tmp_path, steps=1, epochs=None, map_every=1)
    assert (tmp_path / "tsne/epoch_001.png").is_file() and f"{few.key} / other" in (tmp_path / "README.md").read_text()
    assert len(recipes.prepared(both, VIEWS).test) == 0 and run.config["dataset"] == f"{few.key}+other"


def test_the_panel_says_the_errors_of_masked_and_other_patches():
    x, mask = torch.full((2, 1, 32, 32), 0.5), torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, 0] = True
    drawn = x + torch.where(mask_of_pixels(mask, x), 0.25, 0.125)
    figure = reconstruction(x, mask, drawn, title="epoch 1")
    assert "0.2500" in figure.get_suptitle() and "0.1250" in figure.get_suptitle()
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert len(shown) == 8 and np.allclose(np.asarray(shown[6])[:8, ..., 0] if shown[6].ndim == 3 else shown[6][:8], 1)
    with pytest.raises(MedsslError, match="of one shape"):
        reconstruction(x, mask, drawn[:1])


def test_the_command(few, monkeypatch, tmp_path, capsys):
    sets = {key: dataclasses.replace(few, key=key) for key in ("one", "two")}
    monkeypatch.setattr("medssl.handout.load", None)  # imported now, so that it keeps no fake of the next line
    monkeypatch.setattr(medssl.data, "load", lambda key, root, size: sets[key])
    monkeypatch.setitem(ENCODERS, "unet", lambda in_channels=1: UNet(in_channels, width=4))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDSSL_QUIET", "1")
    words = ["pretrain", "unet-mim", "--dataset", "one,two", "--pixels", "32", "--steps", "1",
             "--mask-input", "--device", "cpu", "--out", "run"]
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert not ended.value.code, capsys.readouterr()
    config = json.loads((tmp_path / "run/ssl_config.json").read_text())
    assert config["method"] == "unet_mim" and config["mask_input"] and config["batch_size"] == 64
    assert config["lr"] == 1e-3 and config["dataset"] == "one+two"
    assert pretrained_as(tmp_path / "run")["halves"] == {"size": 32, "patch": 16, "radius": 2.0, "amount": 0.5}
    assert {"README.md", "panels", "view_pairs.png", "encoder.safetensors"} <= {p.name for p in (
        tmp_path / "run").iterdir()}
