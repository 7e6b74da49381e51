"""Models: shapes, counts, normalisation inside, ImageNet weights or a clear no, and a freeze that freezes."""

import copy
import urllib.error

import pytest
import torch
from torch import nn
from torchvision.models import ResNet18_Weights
from torchvision.models import resnet18 as torchvision_resnet18

from medssl.errors import MedsslError
from medssl.models import (
    SmallCNN,
    build_encoder,
    count_parameters,
    decay_groups,
    freeze,
    imagenet_weights_at_hand,
    is_frozen,
    resnet18,
    unfreeze,
)


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(module, before):
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(("name", "settings", "side"), [
    ("smallcnn", {}, 16), ("smallcnn", {}, 28), ("smallcnn", {"in_channels": 3, "width": 8}, 47),
    ("resnet18", {}, 28), ("resnet18", {"in_channels": 3, "stem": "small"}, 28), ("resnet18", {"stem": "cifar"}, 16),
])
def test_features_have_the_dim_they_announce(name, settings, side):
    encoder = build_encoder(name, **settings).eval()
    images = torch.randint(0, 256, (2, settings.get("in_channels", 1), side, side), dtype=torch.uint8)
    features = encoder(images)
    assert features.shape == (2, encoder.dim) and features.isfinite().all()
    assert torch.allclose(features, encoder(images.float() / 255), atol=1e-6)  # both spellings of one image


def test_parameter_counts_agree_with_known_ones():
    torchvision_without_head = 11_689_512 - 513_000  # torchvision's documented count, less its 1000-class layer
    assert count_parameters(resnet18(in_channels=3))["total"] == torchvision_without_head
    assert count_parameters(resnet18(in_channels=1))["total"] == torchvision_without_head - 2 * 64 * 49
    kernels, norms = 9 * (32 + 32 * 64 + 64 * 128 + 128 * 256), 2 * (32 + 64 + 128 + 256)
    assert count_parameters(SmallCNN())["total"] == kernels + norms
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].weight.requires_grad_(False)
    assert count_parameters(model) == {"trainable": 5, "total": 11}


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 7), ("small", 14), ("cifar", 28)])
def test_stems_differ_in_what_the_first_block_sees(stem, side):
    encoder, seen = resnet18(stem=stem).eval(), []
    encoder.body.layer1.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
    encoder(torch.zeros(1, 1, 28, 28))
    assert seen == [(side, side)]


def test_describe_says_random_until_told_otherwise():
    assert resnet18().describe() == "resnet18 (imagenet stem, random backbone, 1 channel)"
    assert resnet18(3, "small").describe() == "resnet18 (small stem, random backbone, 3 channels)"
    assert SmallCNN().describe() == "smallcnn (width 32, random backbone, 1 channel)"


def test_normalisation_travels_with_the_checkpoint():
    trained, fresh = SmallCNN(width=4).eval(), SmallCNN(width=4).eval()
    trained.normalise.mean.fill_(0.3)
    fresh.load_state_dict(trained.state_dict())
    images = torch.rand(2, 1, 16, 16)
    assert fresh.normalise.mean.item() == pytest.approx(0.3) and torch.equal(fresh(images), trained(images))


@pytest.mark.parametrize("images", [torch.rand(2, 3, 28, 28), torch.rand(28, 28), torch.zeros(2, 1, 28, 28).long()])
def test_wrong_images_are_refused(images):
    with pytest.raises(MedsslError, match="The encoder was given images of"):
        SmallCNN()(images)


# --- ImageNet weights -------------------------------------------------------------------------------------------------
@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache folder and no network; gives the path where torchvision looks for its file."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def refuse(*_, **__):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints" / "resnet18-f37072fd.pth"


def test_absent_imagenet_weights_are_an_error_that_names_file_and_folder(hub):
    assert not imagenet_weights_at_hand()
    with pytest.raises(MedsslError, match="resnet18-f37072fd.pth") as caught:
        resnet18(weights="imagenet")
    assert str(hub.parent) in str(caught.value) and "weights=None" in str(caught.value)


def test_a_damaged_weights_file_is_an_error_too(hub):
    hub.write_bytes(b"<html>please log in to the hospital's proxy</html>")
    with pytest.raises(MedsslError, match="cannot be read"):
        resnet18(weights="imagenet")
    torch.save({"conv1.weight": torch.zeros(1)}, hub)
    with pytest.raises(MedsslError, match="cannot be read"):
        resnet18(weights="imagenet")


@pytest.mark.parametrize("in_channels", [1, 3])
def test_imagenet_weights_give_torchvision_s_own_features(hub, in_channels):
    theirs = torchvision_resnet18(weights=None).eval()
    torch.save(theirs.state_dict(), hub)
    assert imagenet_weights_at_hand()
    ours = resnet18(in_channels, weights="imagenet").eval()
    images = torch.rand(2, in_channels, 64, 64)
    recipe = ResNet18_Weights.IMAGENET1K_V1.transforms()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (recipe.mean, recipe.std))
    theirs.fc = nn.Identity()
    assert torch.allclose(ours(images), theirs((images.expand(-1, 3, -1, -1) - mean) / std), atol=1e-5)
    assert "imagenet backbone" in ours.describe() and ours.backbone == "imagenet"


@pytest.mark.parametrize(("settings", "says"), [
    ({"weights": "imagenet", "stem": "small"}, "do not fit"), ({"weights": "imagenet", "in_channels": 2}, "2 channels"),
    ({"weights": "radimagenet"}, "weights=None"), ({"stem": "tiny"}, "imagenet, small, cifar"),
])
def test_what_cannot_be_built_is_refused(settings, says, hub):
    with pytest.raises(MedsslError, match=says):
        resnet18(**settings)


def test_build_encoder_names_the_choices():
    with pytest.raises(MedsslError, match="smallcnn, resnet18"):
        build_encoder("resnet19")
    with pytest.raises(MedsslError, match="in_channels, width"):
        build_encoder("smallcnn", stem="small")


# --- freezing ---------------------------------------------------------------------------------------------------------
def train_a_little(model, steps=3):
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.rand(8, 1, 16, 16)).square().sum().backward()
        optimiser.step()
        model.train()


def test_frozen_means_no_number_moves_not_even_batchnorm_s():
    encoder = SmallCNN(width=4)
    model = nn.Sequential(encoder, nn.Linear(encoder.dim, 2))
    before = snapshot(encoder)
    freeze(encoder)
    train_a_little(model)
    assert unchanged(encoder, before) and all(p.grad is None for p in encoder.parameters())
    encoder.body[0].train()  # not even a part of it, taken by itself
    assert not any(m.training for m in encoder.modules()) and model.training
    unfreeze(encoder)
    train_a_little(model)
    after = encoder.state_dict()
    assert not torch.equal(after["body.0.1.running_mean"], before["body.0.1.running_mean"])
    assert not torch.equal(after["body.0.0.weight"], before["body.0.0.weight"])


def test_unfreeze_restores_what_was_and_no_more():
    encoder = SmallCNN(width=4)
    encoder.body[0][0].weight.requires_grad_(False)
    freeze(freeze(encoder))
    assert is_frozen(encoder) and count_parameters(encoder)["trainable"] == 0
    unfreeze(encoder)
    assert not is_frozen(encoder) and encoder.training and not encoder.body[0][0].weight.requires_grad
    assert all(p.requires_grad for p in encoder.body[2].parameters())
    assert not any(m.training for m in encoder.eval().modules())
    assert all(m.training for m in unfreeze(encoder).train().modules())


def test_a_part_frozen_before_stays_frozen():
    encoder = SmallCNN(width=4)
    freeze(encoder.body[0])
    unfreeze(freeze(encoder)).train()
    assert not encoder.body[0][1].training and encoder.body[2][1].training


def test_a_copy_of_a_frozen_encoder_has_a_life_of_its_own():
    original = freeze(SmallCNN(width=4))
    twin = unfreeze(copy.deepcopy(original)).train()
    assert twin.body[0][1].training and not original.train().body[0][1].training
    assert all(p.requires_grad for p in twin.parameters()) and not any(p.requires_grad for p in original.parameters())
    frozen_twin = copy.deepcopy(original)
    assert frozen_twin.eval() is frozen_twin  # with a lambda for `train` this would be the original


def test_weight_decay_pulls_on_kernels_only():
    encoder = SmallCNN(width=4)
    decayed, spared = decay_groups(encoder, lr=0.1, weight_decay=0.05)
    assert (decayed["lr"], decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.05, 0.0)
    assert len(decayed["params"]) == 4 and len(spared["params"]) == 8  # four kernels; four BatchNorms' scale and bias
    assert all(p.ndim == 4 for p in decayed["params"])
    assert decay_groups(freeze(encoder), 0.1, 0.05) == []
