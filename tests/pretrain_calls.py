"""How tests call `medssl pretrain`: in a folder of their own, with a narrow network, without pictures."""

import pytest
import torch

import medssl.handout
from medssl import cli
from medssl.models import ENCODERS, SmallCNN

FILES = {"ssl_config.json", "ssl_encoder.pt", "ssl_proj_head.pt", "ssl_loss.csv", "ssl_loss_curve.png",
         "view_pairs.png", "history.jsonl", "env.json", "encoder.safetensors", "MODEL_CARD.md"}  # fmt: skip


def call(capsys, *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `medssl pretrain WORDS`."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["pretrain", *words])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def alone(monkeypatch, folder) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MEDSSL_DEBUG", raising=False)
    monkeypatch.setenv("MEDSSL_QUIET", "1")


def make_narrow(monkeypatch) -> None:
    """A SmallCNN with an eighth of the channels, for speed."""
    monkeypatch.setitem(ENCODERS, "smallcnn", lambda in_channels=1: SmallCNN(in_channels, width=4))


def make_quick(monkeypatch) -> None:
    """No pictures either."""
    make_narrow(monkeypatch)
    monkeypatch.setattr(medssl.handout, "to_png", lambda *_: b"a picture")


def encoder_of(folder) -> dict:
    return torch.load(folder / "ssl_encoder.pt", weights_only=True)
