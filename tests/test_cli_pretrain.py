"""`medssl pretrain` as a student meets it: what it writes, how it is cut and goes on, and what it says to mistakes."""

import csv
import errno
import inspect
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from pretrain_calls import FILES, alone, call, encoder_of, make_narrow, make_quick

from medssl import cli, cli_own, recipes
from medssl.course.contract import load_contract
from medssl.data import load
from medssl.methods import SimCLR
from medssl.views import Augment

SHORT = ("--dataset", "breastphantom", "--batch-size", "180", "--steps", "4", "--proj-dim", "8")  # 3 steps an epoch


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    alone(monkeypatch, tmp_path)


@pytest.fixture
def narrow(monkeypatch):
    make_narrow(monkeypatch)


@pytest.fixture
def quick(monkeypatch):
    make_quick(monkeypatch)


def test_it_writes_what_week_4_hands_in(capsys, tmp_path, narrow):
    code, out, err = call(capsys, "moco", *SHORT, "--queue-size", "100", "--seed", "3")
    assert code == 0, err
    folder = tmp_path / "runs/breastphantom_moco_smallcnn_seed3"
    assert {path.name for path in folder.iterdir()} == FILES | {"checkpoints"}
    wanted = {slot.short: slot for slot in load_contract().week(4).files}
    config = json.loads((folder / "ssl_config.json").read_text())
    assert not set(wanted["ssl_config.json"].keys) - config.keys() and {"queue_size", "momentum"} <= config.keys()
    assert (config["method"], config["seed"], config["steps"], config["epochs"]) == ("moco", 3, 4, 2)
    handed_in = FILES - {"history.jsonl", "env.json", "encoder.safetensors", "MODEL_CARD.md"}
    assert handed_in <= wanted.keys(), "copied into results/week4/ these are the hand-in"

    with open(folder / "ssl_loss.csv") as file:
        rows = list(csv.DictReader(file))
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == ["1", "2"] and [row["step"] for row in rows] == ["3", "4"]
    for row, told in zip(rows, history, strict=True):
        assert {"loss", "positive_cosine", "negative_cosine", "val_rank", "val_std_mean"} <= row.keys() == told.keys()
        assert float(row["loss"]) == pytest.approx(told["loss"], rel=1e-5)
    for picture in ("ssl_loss_curve.png", "view_pairs.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG") and (folder / picture).stat().st_size > 10_000

    data = load("breastphantom")
    again = recipes.pretrain(data, "moco", steps=4, batch_size=180, proj_dim=8, queue_size=100, seed=3, quiet="silent")
    loaded = recipes.load_encoder(config, folder / "ssl_encoder.pt").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in again.encoder.state_dict().items())
    head = torch.load(folder / "ssl_proj_head.pt", weights_only=True)
    assert all(torch.equal(head[name], value) for name, value in again.method.head.state_dict().items())
    said_by = config.pop("settings_from")
    assert said_by["seed"] == said_by["queue_size"] == "command line" and "lr" not in said_by
    assert config == json.loads(json.dumps(again.config)), "the command is recipes.pretrain, and nothing else"

    lines = out.splitlines()
    assert "PHANTOM" in lines[0] and sum(line.startswith("epoch ") for line in lines) == 2
    assert "week 5 probes" in lines[-1]
    assert "chance 4.62" in out and f"written: {folder.relative_to(tmp_path)}" in out and lines[-1].startswith("next: ")


def test_the_defaults_are_those_of_the_recipe():
    """--help must not import torch, so they stand twice."""
    ours = {name: p.default for name, p in inspect.signature(cli_own.pretrain).parameters.items()}
    theirs = {name: p.default for name, p in inspect.signature(recipes.pretrain).parameters.items()}
    shared = ours.keys() & theirs.keys() - {"weights", "data"}
    assert len(shared) >= 14 and {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert ours["weights"] == "none" and theirs["weights"] is None
    moco = inspect.signature(recipes.METHODS["moco"]).parameters
    helps = {param.name: param.help for param in cli.typer.main.get_command(cli.app).commands["pretrain"].params}
    for name in ("queue_size", "momentum"):
        assert f"Default: {moco[name].default}." in helps[name]


def test_ctrl_c_ends_a_step_and_the_same_command_goes_on(capsys, tmp_path, quick, monkeypatch):
    calls, draw = [], Augment.__call__

    def interrupting(self, images, generator):
        calls.append(len(images))
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(self, images, generator)

    words = ["moco", *SHORT, "--steps", "8", "--queue-size", "500"]
    monkeypatch.setattr(Augment, "__call__", interrupting)
    code, out, _ = call(capsys, *words, "--out", "cut")
    assert code != 0 and "the same command" in out and len(calls) == 5
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {"checkpoints"}, "half a run is no result"
    code, out, _ = call(capsys, *words, "--out", "cut")
    assert code == 0 and "epoch   1 " not in out and "epoch   2 " in out
    assert len(calls) == 5 + 3 + 1, "three steps were left; the last call is for view_pairs.png"
    assert call(capsys, *words, "--out", "whole")[0] == 0
    cut, whole = encoder_of(tmp_path / "cut"), encoder_of(tmp_path / "whole")
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


def test_the_handouts_command_from_its_own_folder(repo, tmp_path):
    """On a Python that finds medssl only through starter/src; METHOD may be left out."""
    env = {**os.environ, "MEDSSL_QUIET": "1", "OMP_NUM_THREADS": "1"}
    words = ["--dataset", "breastphantom", "--steps", "1", "--batch-size", "32", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "src.train_ssl", *words], cwd=repo / "starter", env=env,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES | {"checkpoints"}
    assert json.loads((tmp_path / "run/ssl_config.json").read_text())["method"] == "simclr"


def test_another_run_in_the_same_folder_is_refused_or_starts_over(capsys, tmp_path, quick):
    assert call(capsys, "simclr", *SHORT, "--out", "run")[0] == 0
    first = {name: (tmp_path / "run" / name).read_bytes() for name in FILES}
    code, _, err = call(capsys, "simclr", *SHORT, "--out", "run", "--temperature", "0.5")
    assert code == 1 and "temperature was 0.2, is 0.5" in err and "checkpoints: --fresh" in err
    code, _, err = call(capsys, "simclr", *SHORT, "--out", "run", "--fresh", "--lr", "0")
    assert code == 1 and first == {name: (tmp_path / "run" / name).read_bytes() for name in FILES}
    code, out, _ = call(capsys, "simclr", *SHORT, "--out", "run")
    assert code == 0 and "epoch " not in out.split("label 1")[1].split("loss")[0], "finished: nothing is trained again"
    assert (tmp_path / "run/ssl_encoder.pt").read_bytes() == first["ssl_encoder.pt"]
    assert call(capsys, "simclr", *SHORT, "--out", "run", "--fresh", "--temperature", "0.5")[0] == 0
    assert json.loads((tmp_path / "run/ssl_config.json").read_text())["tau"] == 0.5
    assert (tmp_path / "run/ssl_encoder.pt").read_bytes() != first["ssl_encoder.pt"]


@pytest.mark.parametrize("failing", range(1, len(FILES) + 1))
def test_a_disk_that_fills_up_while_files_are_written_leaves_the_earlier_result_whole(tmp_path, monkeypatch, failing):
    import medssl.handout as handout

    handout._write(tmp_path, dict.fromkeys(FILES, "an earlier result"))
    (tmp_path / "notes.md").write_text("the student's own")
    written, write_atomic = [], handout.write_atomic

    def full(path, content):
        written.append(path)
        if len(written) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_atomic(path, content)

    monkeypatch.setattr(handout, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        handout._write(tmp_path, dict.fromkeys(FILES, "a later result"))
    assert len(written) == failing and {path.name for path in tmp_path.iterdir()} == FILES | {"notes.md"}
    assert {(tmp_path / file).read_text() for file in FILES} == {"an earlier result"}
    monkeypatch.undo()
    handout._write(tmp_path, dict.fromkeys(FILES, "a later result"))
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"notes.md"}
    assert {(tmp_path / file).read_text() for file in FILES} == {"a later result"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["simsiam"], 1, "one of simclr, moco, lejepa, ijepa, vjepa, unet-mim\n"),
        (["--batch-size", "547"], 1, "--batch-size 546 or less"),
        (["--batch-size", "1"], 2, "--batch-size"),
        (["--queue-size", "64"], 1, "simclr has no queue_size"),
        (["simclr", "--momentum", "0.9"], 1, "simclr has no momentum"),
        (["moco", "--queue-size", "0"], 2, "--queue-size"),
        (["moco", "--momentum", "1"], 1, "below 1"),
        (["--lr", "0"], 1, "above 0"),
        (["--lr", "nan"], 1, "above 0"),
        (["--weight-decay", "-1"], 1, "weight_decay >= 0"),
        (["--temperature", "0"], 1, "temperature"),
        (["--proj-dim", "0"], 2, "--proj-dim"),
        (["--steps", "0"], 2, "--steps"),
        (["--steps", "3", "--epochs", "2"], 1, "not both"),
        (["--epochs", "-1"], 2, "--epochs"),
        (["--augment", "D"], 1, "none, A, B, C, ssl"),
        (["--model", "resnet81"], 1, "resnet18"),
        (["--weights", "clip"], 1, "imagenet or none"),
        (["--size", "30"], 1, "28"),
        (["--dataset", "nomnist"], 1, "breastmnist"),
        (["--out", "file"], 1, "where a folder should be"),
        (["--out", "file/deeper"], 1, "where a folder should be"),
        (["--seed", "-1"], 2, "--seed"),
        (["--que-size", "3"], 2, "--queue-size"),
    ],
)
def test_a_mistake_is_named_and_leaves_the_earlier_result_alone(capsys, tmp_path, words, code, says):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "run").mkdir()
    for file in FILES:
        (tmp_path / "run" / file).write_text("an earlier result")
    done, _, err = call(capsys, "--dataset", "breastphantom", "--out", "run", *words)
    assert done == code and says in err and "Traceback" not in err
    assert {(tmp_path / "run" / file).read_text() for file in FILES} == {"an earlier result"}
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_missing_data_set_is_answered_with_the_phantom(capsys, tmp_path, monkeypatch):
    import medssl.data.medmnist as source

    monkeypatch.setattr(source, "download_url", lambda *_, **__: 1 / 0)
    code, _, err = call(capsys, "--root", str(tmp_path / "data"))
    assert code == 1 and "--dataset breastphantom" in err and "breastmnist.npz" in err


class OnlyTogether(SimCLR):
    """SimCLR without its negatives: it collapses."""

    def forward(self, batch):
        z1, z2 = self.head(self.encoder(torch.cat([batch["view1"], batch["view2"]]))).chunk(2)
        return {"loss": 1 - F.cosine_similarity(z1.float(), z2.float()).mean()}


def test_a_collapse_is_told_and_a_healthy_run_is_not_called_one(capsys, monkeypatch, quick):
    words = ["--dataset", "breastphantom", "--batch-size", "32", "--steps", "24", "--lr", "0.01"]
    assert "Collapse" not in call(capsys, *words, "--out", "healthy")[1]
    monkeypatch.setitem(recipes.METHODS, "simclr", OnlyTogether)
    code, out, _ = call(capsys, *words, "--out", "collapsed")
    assert code == 0 and "Collapse: all images have nearly the same embedding" in out


def test_a_method_of_masks_leaves_a_picture_of_its_masks(capsys, tmp_path, monkeypatch):
    import medssl.recipes.pretraining as recipe

    monkeypatch.setattr(recipe, "collapse_warning", lambda health, dim, n, picture: f"judged by {n}, see {picture}")
    words = ["--dataset", "cinephantom", "--size", "16", "--batch-size", "8", "--steps", "1", "--out", "run"]
    code, out, err = call(capsys, "vjepa", *words)
    assert code == 0 and "look at masks.png" in out, err
    assert f"judged by {len(load('cinephantom', size=16).val)}, see masks.png" in out
    assert "medssl evaluate run --dataset cinephantom" in out and "week 5" not in out, "a set that week 5 does not take"
    assert (tmp_path / "run/masks.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run/view_pairs.png").exists()
