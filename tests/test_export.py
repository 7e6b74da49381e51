"""Encoders to keep or give away: what comes back is what was saved, and nothing damaged or hostile gets through."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import medssl
from medssl.data import image_hashes
from medssl.errors import MedsslError
from medssl.models import IMAGENET_MEAN, IMAGENET_STD, Normalise, PatchEncoder, SmallCNN, ViT, resnet18
from medssl.models.export import CARD, WEIGHTS, save_encoder, seen_images

ABOUT = {"method": "lejepa", "epochs": 3, "steps": 40, "dataset": "films", "modality": "xray", "images": 90,
         "license": "CC BY 4.0"}


def imagenet_like():
    """As a ResNet that began as ImageNet's: a grey image shown three times over."""
    encoder = resnet18(in_channels=3)
    encoder.normalise = Normalise(1, IMAGENET_MEAN, IMAGENET_STD)
    return encoder


@pytest.mark.parametrize(("build", "shape"), [
    (lambda: SmallCNN(1, width=4), (1, 28, 28)), (lambda: SmallCNN(3, width=4), (3, 28, 28)),
    (lambda: ViT(1, patch=(8, 7)), (1, 32, 28)),
    (lambda: ViT(2, patch=(4, 8, 8), pool="cls", registers=2), (2, 8, 16, 16)),
    (lambda: ViT(1, patch=(4, 8, 8), spacing=(4.0, 2.0, 2.0)), (1, 8, 16, 16)),
    (lambda: resnet18(stem="small"), (1, 28, 28)), (imagenet_like, (1, 32, 32))])  # fmt: skip
def test_an_encoder_comes_back_from_its_file_alone(tmp_path, build, shape):
    encoder = build().eval()
    written = save_encoder(tmp_path / "new" / "e", encoder, ABOUT)
    assert {path.name for path in written.parent.iterdir()} == {WEIGHTS, CARD} and written.name == WEIGHTS
    images = torch.randint(0, 256, (2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for path in (written, str(written.parent)):
        again = medssl.load_encoder(path).eval()
        with torch.no_grad():
            assert torch.equal(again(images), encoder(images)) and again.dim == encoder.dim
        assert "lejepa 3 epochs" in again.describe()


def test_an_encoder_of_patches_comes_back_too(tmp_path):
    encoder = PatchEncoder("tiny", 4).eval()
    whole = save_encoder(tmp_path, encoder, ABOUT | {"patch_mm": 16.0})
    generator = torch.Generator().manual_seed(0)
    patches, places = torch.rand(2, 5, 4, 4, 1, generator=generator), 40 * torch.randn(2, 5, 3, generator=generator)
    valid = torch.rand(2, 5, generator=generator) > 0.3
    again = medssl.load_encoder(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(patches, places, valid), encoder(patches, places, valid))
    assert (again.size, again.pixels, again.dim) == ("tiny", 4, encoder.dim)
    card = (tmp_path / CARD).read_text()
    assert "encoder(patches, places)  # grey values from 0 to 1 [B,N,4,4,1]" in card and "a patch | 16.0 |" in card
    state, content = load_file(whole), whole.read_bytes()
    for lie in ({"pixels": 10**6}, {"size": "huge"}, {"pixels": 4, "weights": 1}, {"pixels": "4"}):
        says = {"encoder": json.dumps({"backbone": "patchencoder", "settings": {"size": "tiny"} | lie}), "about": "{}"}
        save_file(state, whole, says)
        with pytest.raises(MedsslError, match="encoder.safetensors"):
            medssl.load_encoder(tmp_path)
    for damaged in (content[:-1], content[:200], b""):
        whole.write_bytes(damaged)
        with pytest.raises(MedsslError, match="cannot be loaded as an encoder"):
            medssl.load_encoder(tmp_path)


def test_the_card_says_what_it_is_and_what_it_is_not_for(tmp_path):
    save_encoder(tmp_path, SmallCNN(1, width=4), ABOUT)
    card = (tmp_path / CARD).read_text()
    for said in ("xray", "lejepa, films", "| steps of the optimiser | 40 |", "CC BY 4.0", "No diagnosis",
                 "not been evaluated", "medssl.load_encoder", "[B,1,H,W] -> [B,32]"):
        assert said in card
    save_encoder(tmp_path, ViT(1, patch=(4, 4, 4)), {})
    card = (tmp_path / CARD).read_text()
    assert "unknown: unknown, unknown" in card and "[B,1,D,H,W]" in card


def test_the_file_knows_which_images_it_was_pretrained_on(tmp_path):
    images = torch.arange(3 * 16, dtype=torch.uint8).view(3, 1, 4, 4)
    known = [hashlib.sha256(bytes(range(16 * k, 16 * k + 16))).hexdigest()[:16] for k in range(3)]
    assert image_hashes(images) == image_hashes(images.numpy()) == known
    whole = save_encoder(tmp_path, SmallCNN(1, width=4), ABOUT, image_hashes(images[[0, 2, 2]]))
    assert seen_images(whole) == seen_images(str(tmp_path)) == {known[0], known[2]}
    assert "short hash of each" in (tmp_path / CARD).read_text()
    save_encoder(tmp_path / "quiet", SmallCNN(1, width=4), ABOUT)
    assert seen_images(tmp_path / "quiet") == seen_images(tmp_path / "nowhere") == set()
    assert "short hash" not in (tmp_path / "quiet" / CARD).read_text()
    whole.write_bytes(b"x" * 99)
    with pytest.raises(MedsslError, match="cannot be loaded"):
        seen_images(tmp_path)


def test_a_class_of_ones_own_is_not_exported(tmp_path):
    class Own(SmallCNN):
        pass

    with pytest.raises(MedsslError, match="Own cannot be exported"):
        save_encoder(tmp_path, Own(1, width=4), ABOUT)
    assert not list(tmp_path.iterdir())


def meta(**changes) -> dict:
    built = {"backbone": "smallcnn", "channels": 1, "settings": {"width": 4}, "imagenet": False} | changes
    return {"encoder": json.dumps(built), "about": "{}"}


def tensors(**changes) -> dict:
    return {key: value.contiguous() for key, value in SmallCNN(1, width=4).state_dict().items()} | changes


@pytest.mark.parametrize(("state", "says_itself", "says"), [
    (tensors(), {}, "does not say how"),
    (tensors(), {"encoder": "{"}, "cannot be loaded"), (tensors(), {"encoder": "[]"}, "cannot be loaded"),
    (tensors(), {"encoder": "{}"}, "cannot be loaded"), (tensors(), {"encoder": "[" * 100_000}, "cannot be loaded"),
    (tensors(), meta(backbone="os.system"), "no encoder"), (tensors(), meta(settings={"wdith": 4}), "wdith"),
    (tensors(), meta(settings={"width": 10**7}), "not those of smallcnn"),  # 10^15 numbers: never asked for
    (tensors(), meta(settings={"weights": "imagenet"}), "name weights"),
    (tensors(), meta(settings={"width": "4"}), "cannot be loaded"), (tensors(), meta(settings=[]), "cannot be loaded"),
    (tensors(), meta(channels=-1), "cannot be loaded"), (tensors(), meta(channels=3), "not those of"),
    (tensors(more=torch.ones(1)), meta(), "not those of"),
    (tensors(**{"normalise.mean": torch.full((1, 1, 1, 1), float("nan"))}), meta(), "no numbers")])
def test_a_file_that_lies_is_refused(tmp_path, state, says_itself, says):
    save_file(state, tmp_path / WEIGHTS, says_itself)
    with pytest.raises(MedsslError, match=says) as error:
        medssl.load_encoder(tmp_path)
    assert str(tmp_path / WEIGHTS) in str(error.value)


def test_a_file_cannot_make_its_reader_fetch_weights(tmp_path, monkeypatch):
    import medssl.models.resnet as resnet

    fetched = []
    monkeypatch.setattr(resnet, "_load_imagenet", fetched.append)
    state = {key: value.contiguous() for key, value in imagenet_like().state_dict().items()}
    save_file(state, tmp_path / WEIGHTS, meta(backbone="resnet18", channels=3, settings={"weights": "imagenet"}))
    with pytest.raises(MedsslError, match="weights, which is no matter of its shape"):
        medssl.load_encoder(tmp_path)
    assert not fetched


def test_damage_is_told_and_a_pickle_is_never_opened(tmp_path):
    whole = save_encoder(tmp_path, SmallCNN(1, width=4), ABOUT).read_bytes()
    harm = tmp_path / "harm"

    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {harm}",)

    torch.save(Harm(), tmp_path / "pickle.pt")
    pickle = (tmp_path / "pickle.pt").read_bytes()
    for content in (b"", b"\0" * 8, whole[:100], whole[:-1], whole + b"x", b"\xff" * 9, b"<html>404</html>", pickle):
        (tmp_path / WEIGHTS).write_bytes(content)
        with pytest.raises(MedsslError, match="cannot be loaded as an encoder"):
            medssl.load_encoder(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(MedsslError, match="is not there"):
        medssl.load_encoder(tmp_path)
    (tmp_path / "ssl_config.json").write_text(json.dumps({"backbone": "smallcnn", "method": "x", "epochs": 1}))
    (tmp_path / "ssl_encoder.pt").write_bytes(pickle)
    with pytest.raises(MedsslError, match="cannot be loaded"):
        medssl.load_encoder(tmp_path)
    assert not harm.exists()


def test_the_folder_of_an_earlier_pretraining_will_do(tmp_path):
    encoder = ViT(1, patch=(4, 4, 4))
    torch.save(encoder.state_dict(), tmp_path / "ssl_encoder.pt")
    config = {"backbone": "vit", "channels": 1, "method": "vjepa", "epochs": 2,
              "backbone_settings": {"patch": [4, 4, 4]}}
    (tmp_path / "ssl_config.json").write_text(json.dumps(config))
    again = medssl.load_encoder(tmp_path)
    assert isinstance(again, nn.Module) and "vjepa 2 epochs" in again.describe()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in encoder.state_dict().items())


def test_a_kill_in_the_middle_leaves_the_earlier_file_or_the_new_one(tmp_path):
    """Another process exports without end, and is killed at a moment that nobody chose."""
    program = ("import sys, torch\nfrom medssl.models import SmallCNN\nfrom medssl.models.export import save_encoder\n"
               "e = SmallCNN(1, width=64)\nk = 0\nwhile True:\n    k += 1\n"
               "    [p.data.fill_(k) for p in e.parameters()]\n    save_encoder(sys.argv[1], e, {'steps': k})\n"
               "    print(k, flush=True)\n")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                               env=env)
    try:
        assert process.stdout.readline().strip() == "1"
        time.sleep(0.137)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    encoder = medssl.load_encoder(Path(tmp_path))
    assert len({value for p in encoder.parameters() for value in p.unique().tolist()}) == 1, "of one export, and whole"
    assert load_file(tmp_path / WEIGHTS).keys() == encoder.state_dict().keys()
