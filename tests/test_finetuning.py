"""Frozen BatchNorm, fine-tuning, and an encoder that comes back from the disk."""

import copy
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from small_runs import pretrain, same, small, weights
from torch import nn

from medssl import recipes
from medssl.data import ImageData, Split
from medssl.errors import MedsslError
from medssl.evaluate import encode, predict_many, predict_proba
from medssl.models import ViT, freeze, freeze_batchnorm, resnet18

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


@pytest.mark.parametrize("kind", ["classes", "findings"])
def test_more_than_two_classes_and_several_findings(kind):
    """Three bright corners, one for each class or finding: found after a few steps, and not with labels permuted."""
    rng, parts = np.random.default_rng(0), {}
    for name, n in (("train", 120), ("val", 60), ("test", 90)):
        y = rng.integers(0, 2, (n, 3)) if kind == "findings" else rng.permutation(np.arange(n) % 3)
        lit = torch.from_numpy(y if kind == "findings" else np.eye(3, dtype=int)[y])
        x = torch.from_numpy(rng.integers(0, 90, (n, 1, 12, 12)))
        for k, (i, j) in enumerate(((0, 0), (0, 6), (6, 0))):
            x[:, 0, i:i + 6, j:j + 6] += 110 * lit[:, k, None, None]
        parts[name] = Split(x.to(torch.uint8), torch.from_numpy(y))
    data = ImageData("corners", **parts, classes=("a", "b", "c"), modality="", license="", is_phantom=True, size=12)
    torch.manual_seed(0)
    encoder = ViT(patch=6)
    how = {"fraction": 1.0, "steps": 40, "lr": 2e-3, "augment": None, "quiet": "silent", "device": "cpu"}
    run = recipes.finetune(data, encoder, **how)
    p = predict_many(run.model, data.test.images, several=kind == "findings")
    assert p.shape == (90, 3) and (np.allclose(p.sum(1), 1) == (kind == "classes"))
    y = data.test.labels.numpy()
    assert roc_auc_score(y, p, multi_class="ovr") > 0.85
    val = predict_many(run.model, data.val.images, several=kind == "findings")
    y = data.val.labels.numpy()
    assert run.best["value"] == pytest.approx(roc_auc_score(y, val, multi_class="ovr"), abs=1e-6)
    if kind == "findings":
        batch = {"image": data.val.images, "label": data.val.labels}
        q = 0.95 * y + 0.025
        want = -(q * np.log(val) + (1 - q) * np.log(1 - val)).mean()
        with torch.no_grad():
            out = run.model.eval()(batch)
        assert out["loss"].item() == pytest.approx(want, rel=1e-4)
        assert out["accuracy"].item() == pytest.approx(((val > 0.5) == y).mean())


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
        with pytest.raises(MedsslError, match="cannot be loaded as an encoder"):
            recipes.load_encoder(config, file)
