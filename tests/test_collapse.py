"""Collapse: numbers worked out by hand, and a warning that fires on a collapse and on nothing else."""


import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import build, pretrain

from medssl import recipes
from medssl.data import InMemory
from medssl.errors import MedsslError
from medssl.evaluate import collapse_warning, embedding_health, rankme
from medssl.methods import SimCLR
from medssl.train import Trainer
from medssl.views import TwoViews, preset

# ---- collapse

def test_rankme_of_what_can_be_worked_out_by_hand():
    assert rankme(np.full((20, 5), 3.0)) == pytest.approx(1), "one point"
    assert rankme(np.zeros((4, 3))) == 1
    line = np.linspace(-1, 1, 20)[:, None] * np.array([1.0, 2, 3])
    assert rankme(line) == pytest.approx(1), "a line through 0"
    assert 1 < rankme(line + np.array([5.0, -1, 0])) <= 2, "a line beside 0: its direction and the offset's"
    assert rankme(np.eye(7)) == pytest.approx(7)
    assert rankme(np.eye(7)[:, :3]) == pytest.approx(3), "no more than D"
    assert rankme(np.diag([3.0, 1.0])) == pytest.approx(4 / 3**0.75), "exp(-3/4 ln 3/4 - 1/4 ln 1/4)"
    assert rankme(torch.eye(4, requires_grad=True)) == pytest.approx(4)


def test_rankme_of_a_gaussian_is_near_full_and_does_not_change_with_scale_or_rotation():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 12))
    p = np.sqrt(np.linalg.eigvalsh(z.T @ z))
    p /= p.sum()
    assert rankme(z) == pytest.approx(np.exp(-(p * np.log(p)).sum())) and 11.8 < rankme(z) < 12
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    assert rankme(1e-6 * z @ turn) == pytest.approx(rankme(z)) == pytest.approx(rankme(z[::-1]))


def test_health_of_a_sphere_a_point_two_poles_and_one_dead_dimension():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(4000, 16)) * rng.uniform(0.1, 9, (4000, 1))  # lengths do not matter
    health = embedding_health(z)
    assert health["std_mean"] == pytest.approx(1, abs=0.02) and health["cosine"] == pytest.approx(0, abs=0.01)
    assert health["std_min"] <= health["std_mean"]
    point = embedding_health(np.full((9, 4), -2.0))
    assert point == pytest.approx({"rank": 1, "std_mean": 0, "std_min": 0, "cosine": 1}, abs=1e-7)
    poles = embedding_health(np.array([[1.0, 0], [-1, 0]] * 4))
    assert poles["std_min"] == 0 and poles["cosine"] == pytest.approx(-1 / 7)
    dead = embedding_health(np.pad(z, ((0, 0), (0, 1))))
    assert dead["std_min"] == 0 and dead["std_mean"] > 0.9
    unit = z[:50] / np.linalg.norm(z[:50], axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(50) for j in range(50) if i != j]
    assert embedding_health(z[:50])["cosine"] == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("z", [np.ones(4), np.ones((1, 4)), np.ones((3, 0)), np.full((3, 2), np.nan),
                               np.array([[1.0, np.inf], [0, 0]])])
def test_embeddings_that_cannot_be_judged(z):
    with pytest.raises(MedsslError, match="N > 1"):
        embedding_health(z)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 16, 128])
def test_no_false_alarm_for_a_gaussian_and_an_alarm_for_a_point_and_a_line(dim):
    rng = np.random.default_rng(2)
    assert collapse_warning(embedding_health(rng.normal(size=(78, dim))), dim) == ""
    point = np.ones((78, dim)) + 0.01 * rng.normal(size=(78, dim))
    assert "mean std 0.0" in collapse_warning(embedding_health(point), dim) or dim == 1
    line = rng.normal(size=(78, 1)) * np.ones((1, dim))
    assert f"1.0 of {dim} directions" in collapse_warning(embedding_health(line), dim) or dim == 1


@pytest.mark.parametrize("n", [2, 3, 9, 10, 20])
def test_the_rank_of_a_handful_of_images_is_no_alarm_and_one_point_is(n):
    """Two images span a plane at most, however well they spread; ten have room for more."""
    rng = np.random.default_rng(n)
    for centred in (False, True):
        z = rng.normal(size=(n, 64))
        assert collapse_warning(embedding_health(z - centred * z.mean(0)), 64, n) == ""
    point = embedding_health(np.ones((n, 64)) + 0.001 * rng.normal(size=(n, 64)))
    assert "look at masks.png" in collapse_warning(point, 64, n, "masks.png")
    line = embedding_health(rng.normal(size=(n, 1)) * np.ones((1, 64)))
    assert line["std_mean"] < 0.1 or bool(collapse_warning(line, 64, n)) == (n >= 10)
    assert n < 10 or f"1.0 of {n} directions" in collapse_warning(line, 64, n)


class OnlyTogether(SimCLR):
    """SimCLR without its negatives: all images at one point is a perfect answer."""

    def forward(self, batch):
        z1, z2 = self.head(self.encoder(torch.cat([batch["view1"], batch["view2"]]))).chunk(2)
        return {"loss": 1 - F.cosine_similarity(z1, z2).mean()}


def test_a_collapse_in_training_is_told(breast, capsys):
    run = pretrain(breast, OnlyTogether, steps=40, batch_size=64, lr=1e-2)
    assert run.history[-1]["loss"] < 0.01, "the loss looks splendid"
    assert run.warning.startswith("Collapse") and "mean std" in run.warning and "Try" in run.warning
    assert run.history[-1]["val_std_mean"] < 0.1 and run.history[-1]["val_cosine"] > 0.98


def test_val_is_watched_in_eval_mode_and_through_the_head(few):
    model = build("simclr")
    source = InMemory(few.train, 24, drop_last=True)
    trainer = Trainer(model, source, steps=2, views=TwoViews(preset("ultrasound", "ssl")), device="cpu",
                      validate=recipes.watch_embeddings(few), quiet="silent")
    row = trainer.fit().history[-1]
    with torch.no_grad():
        z = model.eval().head(model.encoder(few.val.images)).numpy()
    assert {f"val_{k}": v for k, v in embedding_health(z).items()} == pytest.approx(
        {k: v for k, v in row.items() if k.startswith("val_")}, rel=1e-4)
