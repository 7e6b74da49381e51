"""`medssl pretrain dino3d`: a folder of scans of differing sizes; a typo is an error before any scan is read."""

import json

import pytest

from medssl import cli
from medssl.data import write_nifti
from medssl.data.phantom_volumes import ct_phantom
from medssl.models.export import load_encoder, pretrained_as, seen_images

pytest.importorskip("nibabel")
SHORT = ["--modality", "CT", "--steps", "2", "--batch-size", "2", "--size", "16", "--patch", "8", "--device", "cpu",
         "--set", "local_size=8", "--set", "global_mm=[7.0, 9.0]", "--set", "local_mm=[6.0, 8.0]", "--set", "rows=1",
         "--set", "prototypes=16", "--set", "centring=sinkhorn", "--set", "crops=16", "--set", "n_local=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("scans")
    for k in range(4):
        scan = ct_phantom(k, (20 + k, 28, 32 - k), (12.0, 12.0, 12.0)).image
        write_nifti(place / f"scan{k}.nii.gz", scan, "LPS")
    return place


def medssl(*words, fails=False):
    with pytest.raises(SystemExit) as ended:
        cli.main(["pretrain", "dino3d", *map(str, words)])
    assert bool(ended.value.code) is fails


def test_a_folder_of_scans_becomes_an_encoder_that_others_load(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDSSL_QUIET", "1")
    medssl("--data", folder, *SHORT, "--set", "foreground_crop_prob=0.5", "--out", tmp_path)
    told = capsys.readouterr().out
    config = json.loads((tmp_path / "ssl_config.json").read_text())
    assert "2 scans in train, 2 scans in val" in told and "collapse: " in told
    assert config["prototypes"] == 16 and config["centring"] == "sinkhorn" and config["steps"] == 2
    assert "foreground_crop_prob=0.5" in config["views"] and "global_size=16" in config["views"]
    assert load_encoder(tmp_path).dim == 128 and pretrained_as(tmp_path)["image_size"] == "16×16×16"
    assert len(seen_images(tmp_path)) == 2 and (tmp_path / "history.jsonl").read_text().count("\n") == 1
    assert str(folder) not in (tmp_path / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(("words", "says"), [
    (["--set", "foreground_crop_probability=1"], "perhaps foreground_crop_prob"),
    (["--set", "centring"], "KEY=VALUE"),
    (["--masks", "tubes"], "dino3d has no --masks"),
    (["--window", "liver"], "one of lung, soft"),
    (["--config", "base_config"], ".toml file of yours"),
])
def test_what_cannot_be_is_said_before_a_scan_is_read(words, says, folder, tmp_path, capsys):
    (tmp_path / "broken.nii.gz").write_bytes(b"would be an error of its own")
    medssl("--data", tmp_path, *SHORT, *words, fails=True)
    assert says in capsys.readouterr().err


def test_a_config_of_ones_own_is_read_and_its_typo_is_an_error(folder, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text("koleo = 0.0\nmin_foreground_ration = 0.4\n")
    medssl("--data", folder, *SHORT, "--config", tmp_path / "mine.toml", "--out", tmp_path, fails=True)
    assert "perhaps min_foreground_ratio" in capsys.readouterr().err
    (tmp_path / "mine.toml").write_text("koleo = 0.0\nprototypes = 8\n")
    medssl("--data", folder, *SHORT, "--config", tmp_path / "mine.toml", "--out", tmp_path)
    config = json.loads((tmp_path / "ssl_config.json").read_text())
    assert config["koleo"] == 0 and config["prototypes"] == 16  # the command line wins


def test_without_a_folder_and_with_set_elsewhere(capsys):
    medssl("--steps", 2, fails=True)
    assert "--data DIR" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["pretrain", "simclr", "--set", "koleo=0"])
    assert "--set belongs to dino3d" in capsys.readouterr().err
