"""`medssl pretrain` on files of one's own: pictures, volumes, clips, configurations, and mistakes with them."""

import inspect
import json

import numpy as np
import pytest
import torch
from PIL import Image
from pretrain_calls import FILES, alone, call, encoder_of, make_quick

import medssl
from medssl import cli_own, configs, recipes
from medssl.data import Volume, image_hashes, load_own, write_nifti
from medssl.models import ENCODERS
from medssl.models.export import seen_images
from medssl.views import Augment


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path)


@pytest.fixture
def quick(monkeypatch):
    make_quick(monkeypatch)


def pictures(folder, n=24):
    """Noise as PNG, two of each patient, and the table."""
    folder.mkdir()
    rows = ["Image Index;Finding Labels;Patient ID"]
    for k in range(n):
        pixels = np.random.default_rng(k).integers(0, 256, (24, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:02}.png")
        rows.append(f"{k:02}.png;{('Mass', 'No Finding', 'Mass|Hernia')[k % 3]};P{k // 2}")
    (folder.parent / "table.csv").write_text("\n".join(rows))
    return folder


def test_a_folder_of_ones_own_from_pictures_to_an_encoder_that_loads(capsys, tmp_path, quick):
    pictures(tmp_path / "films")
    words = ["--data", "films", "--size", "28", "--batch-size", "8", "--steps", "2", "--proj-dim", "8"]
    code, out, err = call(capsys, "lejepa", *words, "--slices", "16")
    assert code == 0, err
    folder = tmp_path / "runs/films_lejepa_smallcnn_seed0"
    assert {path.name for path in folder.iterdir()} == FILES | {"checkpoints"} and "medssl evaluate" in out
    config = json.loads((folder / "ssl_config.json").read_text())
    assert config["settings_from"]["views"] == config["settings_from"]["lr"] == "base_config"
    assert config["dataset"] == "films" and "flip=0.0" in config["augmentations"], "nobody said that it may be mirrored"
    assert "training images | 22 |" in (folder / "MODEL_CARD.md").read_text() and "train   22" in out
    seen = load_own("films", size=[28], folders=False, seed=0)  # the same files, the same parts
    assert seen_images(folder) == set(image_hashes(seen.train.images)) and len(seen_images(folder)) == 22
    given, kept = medssl.load_encoder(folder).state_dict(), encoder_of(folder)
    assert given.keys() == kept.keys() and all(torch.equal(given[name], kept[name]) for name in kept)
    code, out, _ = call(capsys, "lejepa", *words, "--slices", "16", "--labels", "table.csv", "--image-column",
                        "Image Index", "--label-column", "Finding Labels", "--patients", "Patient ID", "--out", "two")
    assert code == 0 and "several of these" in out and "“Hernia”" in out


@pytest.mark.parametrize(("words", "whose"), [([], "base_config"), (["--config", "chest_xray"], "chest_xray"),
                                              (["--config", "batch.toml"], None)])
def test_a_batch_that_nobody_asked_for_fits_a_small_folder(capsys, tmp_path, quick, words, whose):
    """22 train images and a default of 256, or of 64; what a file of the user's says is asked for."""
    pictures(tmp_path / "films")
    (tmp_path / "batch.toml").write_text("batch_size = 64")
    code, out, err = call(capsys, "simclr", "--data", "films", "--labels", "table.csv", "--image-column", "Image Index",
                          "--model", "smallcnn", "--size", "28", "--steps", "2", "--out", "run", *words)
    if whose is None:
        assert code == 1 and "--batch-size 22 or less" in err
        return
    assert code == 0 and "batch: all" in out, err
    config = json.loads((tmp_path / "run/ssl_config.json").read_text())
    assert config["settings_from"]["batch_size"] == whose
    assert f"batch: all {config['batch_size']} train images" in out and 18 <= config["batch_size"] <= 22


def test_a_config_is_taken_and_the_command_line_wins(capsys, tmp_path, quick):
    pictures(tmp_path / "films")
    words = ["--data", "films", "--labels", "table.csv", "--config", "chest_xray", "--model", "smallcnn",
             "--size", "28", "--batch-size", "8", "--steps", "2", "--device", "cpu", "--precision", "fp32"]
    code, out, err = call(capsys, *words)
    assert code == 0, err
    config = json.loads((tmp_path / "runs/films_lejepa_smallcnn_seed0/ssl_config.json").read_text())
    assert (config["method"], config["lr"], config["batch_size"], config["image_size"]) == ("lejepa", 5e-4, 8, 28)
    said = config["settings_from"]
    assert said["lr"] == said["method"] == said["views"] == said["label_column"] == "chest_xray"
    assert said["batch_size"] == said["model"] == said["size"] == "command line" and "seed" not in said
    assert "crop=(0.5, 1.0)" in config["augmentations"] and "“Mass”" in out
    (tmp_path / "own.toml").write_text('lr = 1\nsize = [28]\nbatch_size = 8\nepochs = 1\n[views]\nrotate = 3\n')
    assert call(capsys, "simclr", "--data", "films", "--config", "own.toml", "--steps", "1", "--lr", "0.01")[0] == 0
    config = json.loads((tmp_path / "runs/films_simclr_smallcnn_seed0/ssl_config.json").read_text())
    assert (config["lr"], config["steps"]) == (0.01, 1) and "rotate=3.0" in config["augmentations"]


def test_every_config_of_the_package_can_be_read_and_base_config_is_the_default():
    assert configs.names() == ["base_config", "brain_mri", "chest_xray", "histopathology"]
    defaults = {name: p.default for name, p in inspect.signature(cli_own.pretrain).parameters.items()}
    for name in configs.names():
        said = configs.read_config(name, cli_own.pretrain)
        Augment(**said.get("views", {}))
        assert said.get("method", "simclr") in recipes.METHODS and said.get("model", "smallcnn") in ENCODERS
    base = configs.read_config("base_config", cli_own.pretrain)
    assert base.pop("views") and base == {name: defaults[name] for name in base}
    assert "flip" not in configs.read_config("chest_xray", cli_own.pretrain)["views"], "the heart stays on the left"


@pytest.mark.parametrize(("words", "code", "says"), [
    (["--data", "nowhere"], 1, "nowhere"), (["--data", "empty"], 1, "holds no picture"),
    (["--data", "films", "--config", "chest_xry"], 1, "perhaps chest_xray"),
    (["--data", "films", "--config", "bad.toml"], 1, "unknown key 'batchsize'"),
    (["--data", "films", "--config", "views.toml"], 1, "unknown key 'flips'"),
    (["--data", "films", "--config", "type.toml"], 1, "a whole number"),
    (["--data", "films", "--batch-size", "400"], 1, "--batch-size 22 or less"),
    (["--data", "films", "--size", "0"], 1, "--size 0"), (["--data", "films", "--size", "a"], 1, "--size a"),
    (["--data", "films", "--size", "8,8,8"], 1, "for pictures"),
    (["--data", "films", "--spacing", "2", "--size", "8"], 1, "holds no volume"),
    (["--data", "films", "--label-column", "x"], 1, "--labels CSV"),
    (["--data", "films", "--labels", "table.csv"], 1, "no column 'image'"),
    (["--data", "films", "--labels", "up.csv"], 1, "no path below the folder"),
    (["--data", "films", "--labels", "twice.csv"], 1, "more than once"),
    (["--data", "films", "--labels", "parts.csv", "--split-column", "part", "--patients", "who"], 1, "two parts"),
    (["--data", "films", "--labels", "more.csv"], 1, "leave such lines out with --skip-broken."),
    (["--data", "films", "--size", "20000"], 1, "Expected: at most 4 GB\nWhat to do: Choose a smaller size.\n"),
    (["--data", "broken"], 1, "cut short"), (["--data", "films", "--augment", "E"], 1, "no strength"),
    (["--labels", "table.csv"], 1, "--data DIR"), (["--device", "tpu"], 1, "auto, cuda, mps, cpu"),
    (["--dataset", "breastphantom", "--precision", "fp8"], 1, "fp8"), (["--size", "28,28,28"], 1, "one number")])
def test_a_mistake_with_a_folder_is_named(capsys, tmp_path, quick, words, code, says):
    pictures(tmp_path / "films")
    (tmp_path / "empty").mkdir()
    whole = (pictures(tmp_path / "broken") / "03.png").read_bytes()
    (tmp_path / "broken/03.png").write_bytes(whole[:len(whole) // 2])
    for name, text in {"bad.toml": "batchsize = 8", "views.toml": "[views]\nflips = 1", "type.toml": 'batch_size = "8"',
                       "up.csv": "image\n../table.csv", "more.csv": "image\n00.png\nlost.png",
                       "twice.csv": "image\n01.png\n01.png",
                       "parts.csv": "image,part,who\n00.png,train,1\n01.png,test,1\n02.png,val,2"}.items():
        (tmp_path / name).write_text(text)
    done, _, err = call(capsys, "lejepa", "--batch-size", "8", "--steps", "1", *words)
    assert done == code and says in err and "Traceback" not in err, err
    assert not list(tmp_path.glob("runs/*/ssl_*"))


def mr(folder, n=8):
    """Noise as MR, with air beside it."""
    folder.mkdir()
    for k in range(n):
        array = torch.from_numpy(np.random.default_rng(k).integers(300, 900, (1, 8, 16, 16)).astype(np.int16))
        array[..., 8:] = 0
        write_nifti(folder / f"{k}.nii.gz", Volume(array, (2.0, 2.0, 2.0), np.diag([2.0, 2.0, 2.0, 1.0])))
    return folder


def test_volumes_of_ones_own(capsys, tmp_path, quick):
    mr(tmp_path / "mr")
    words = ["--data", "mr", "--config", "brain_mri", "--size", "8,16,16", "--batch-size", "3", "--steps", "2"]
    code, _, err = call(capsys, *words)
    assert code == 0, err
    folder = tmp_path / "runs/mr_vjepa_vit_seed0"
    assert {path.name for path in folder.iterdir()} == FILES - {"view_pairs.png", "ssl_proj_head.pt"} | {
        "checkpoints", "masks.png"}
    encoder = medssl.load_encoder(folder / "encoder.safetensors")
    assert encoder(torch.zeros(2, 1, 8, 16, 16, dtype=torch.uint8)).shape == (2, 128)
    assert "(2.0, 2.0, 2.0)" in (folder / "MODEL_CARD.md").read_text()
    config = json.loads((folder / "ssl_config.json").read_text())
    assert "foreground=0.05" in config["views"] and config["settings_from"]["foreground"] == "brain_mri"
    code, _, err = call(capsys, "simclr", *words)
    assert code == 1 and "simclr on volumes" in err


def test_masks_and_networks_can_be_chosen(capsys, tmp_path, quick):
    mr(tmp_path / "mr")
    (tmp_path / "own.toml").write_text(
        'method = "vjepa"\nsize = [8, 16, 16]\nspacing = [2.0]\nmodality = "MR"\nbatch_size = 3\nsteps = 1\n'
        'masks = "blocks_3d"\nforeground = 0.1\nleast_foreground = 0.5\nmode = "lejepa"\nslices = 8\nloss = "l1"\n'
        'predictor_depth = 1\nvit_size = "tiny"\npatch = [4, 8, 8]\n')
    words = ["--data", "mr", "--config", "own.toml"]
    code, _, err = call(capsys, "vjepa", *words)
    assert code == 0, err
    config = json.loads((tmp_path / "runs/mr_vjepa_vit_seed0/ssl_config.json").read_text())
    assert (config["target"], config["predictor_depth"], config["loss"]) == ("sigreg", 1, "l1")
    assert config["backbone_settings"] == {"patch": [4, 8, 8], "size": "tiny", "spacing": [2.0, 2.0, 2.0]}
    assert config["views"] == ("MaskedViews(None, blocks_3d, least_foreground=0.5, spacing=(8.0, 16.0, 16.0), "
                               "patch=(4, 8, 8), foreground=0.1)")
    other = ["--masks", "random", "--mode", "ema", "--predictor-depth", "2", "--patch", "8"]
    code, _, err = call(capsys, "vjepa", *words, *other, "--out", "a")
    assert code == 1 and "foreground=0.5" in err, "random masks know no foreground"
    text = (tmp_path / "own.toml").read_text()
    (tmp_path / "own.toml").write_text("\n".join(line for line in text.split("\n") if "foreground" not in line))
    code, _, err = call(capsys, "vjepa", *words, *other, "--out", "a")
    assert code == 0, err
    config = json.loads((tmp_path / "a/ssl_config.json").read_text())
    assert (config["target"], config["predictor_depth"]) == ("ema", 2) and "random_masks" in config["views"]
    assert config["backbone_settings"]["patch"] == [8, 8, 8]
    code, _, err = call(capsys, "ijepa", *words, "--target", "sigreg", "--masks", "temporal", "--out", "b")
    assert code == 0, err  # the config's mode is vjepa's, and is left out
    assert json.loads((tmp_path / "b/ssl_config.json").read_text())["target"] == "sigreg"
    for more, says in [(["--mode", "teacher"], "ema or lejepa"), (["--masks", "squares"], "no masks 'squares'"),
                       (["--foreground", "12"], "below 1"), (["--least-foreground", "0.1"], "least_foreground=0.1"),
                       (["--patch", "3"], "side is a multiple"), (["--vit-size", "huge"], "tiny, small, base"),
                       (["--target", "ema"], "vjepa has no target"), (["--frames", "4"], "--frames with --spacing"),
                       (["--model", "smallcnn"], "without a ViT")]:
        code, _, err = call(capsys, "vjepa", *words, *more, "--out", "c")
        assert code == 1 and says in err, (more, err)


def test_clips_of_ones_own(capsys, tmp_path, quick):
    (tmp_path / "cine").mkdir()
    for k in range(8):
        frames = torch.from_numpy(np.random.default_rng(k).integers(0, 900, (10, 1, 16, 16)).astype(np.int16))
        write_nifti(tmp_path / f"cine/{k}.nii.gz", Volume(frames, (8.0, 2.0, 2.0), np.diag([2.0, 2.0, 8.0, 1.0])))
    words = ["--data", "cine", "--frames", "8", "--size", "16", "--batch-size", "3", "--steps", "1"]
    code, out, err = call(capsys, "vjepa", *words, "--patch", "2,8,8", "--masks", "temporal")
    assert code == 0, err
    folder = tmp_path / "runs/cine_vjepa_vit_seed0"
    assert medssl.load_encoder(folder)(torch.zeros(2, 1, 8, 16, 16, dtype=torch.uint8)).shape == (2, 128)
    config = json.loads((folder / "ssl_config.json").read_text())
    assert "temporal" in config["views"] and config["backbone_settings"] == {"patch": [2, 8, 8]}
    code, _, err = call(capsys, "vjepa", *words, "--frames", "12")
    assert code == 1 and "10 frames" in err


def test_a_folders_name_is_not_given_away(capsys, tmp_path, quick):
    pictures(tmp_path / "Doe_John_1950")
    words = ["simclr", "--data", "Doe_John_1950", "--size", "28", "--batch-size", "8", "--steps", "1"]
    for more, called in (["--out", "a"], "images of one's own"), (["--out", "b", "--name", "my films"], "my films"):
        assert call(capsys, *words, *more)[0] == 0
        folder = tmp_path / more[1]
        for file in ("MODEL_CARD.md", "encoder.safetensors"):
            given = (folder / file).read_bytes()
            assert b"Doe" not in given and called.encode() in given
        assert json.loads((folder / "ssl_config.json").read_text())["dataset"] == "Doe_John_1950"
