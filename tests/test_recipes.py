"""Recipes: data, method, trainer and evaluation said in one sentence, the same sentence giving the same result."""

import math

import numpy as np
import pytest
import torch

from medssl import recipes
from medssl.data import ImageData, Split, load
from medssl.errors import MedsslError
from medssl.evaluate import evaluate, predict_proba
from medssl.evaluate.encode import nearby
from medssl.methods import MoCo, SimCLR
from medssl.models import build_encoder


def split(n, seed):
    """Bright squares on the left (1) or on the right (0), in noise: learnable in a few steps."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.permutation(np.arange(n) % 2)).long()
    images = torch.from_numpy(rng.integers(0, 120, (n, 1, 28, 28))).to(torch.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 10:18, 3:11 if label else 28] = 230 if label else 20
    return Split(images, labels)


@pytest.fixture(scope="module")
def toy():
    return ImageData(key="toy", train=split(64, 0), val=split(24, 1), test=split(24, 2), classes=("right", "left"),
                     modality="xray", license="none", is_phantom=True, size=28)


def train(toy, **settings):
    settings = {"model": "smallcnn", "steps": 12, "batch_size": 32, "quiet": "silent", "device": "cpu", **settings}
    return recipes.train_supervised(toy, **settings)


def weights(run):
    return run.model.state_dict()


def test_learns_and_the_same_seed_learns_the_same(toy):
    torch.manual_seed(5)
    before = torch.rand(3)
    torch.manual_seed(5)
    one = train(toy, augment="A", seed=1)
    assert torch.equal(torch.rand(3), before), "the caller's random numbers were moved"
    two, other = train(toy, augment="A", seed=1), train(toy, augment="A", seed=2)
    assert all(torch.equal(weights(one)[k], weights(two)[k]) for k in weights(one))
    assert not all(torch.equal(weights(one)[k], weights(other)[k]) for k in weights(one))
    assert one.best["value"] > 0.9


def test_head_only_leaves_every_number_of_the_backbone_alone(toy):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder("smallcnn", in_channels=1)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    run = train(toy, model=encoder, finetune="head")
    after = run.model.encoder.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert run.config["parameters"]["trainable"] == encoder.dim * 2 + 2


def test_a_share_of_the_labels_is_what_it_says_and_is_written_down(toy):
    run = train(toy, fraction=0.25)
    assert len(run.label_indices) == 16 == run.config["n_labels"] and len(set(run.label_indices)) == 16
    assert sum(int(toy.train.labels[i]) for i in run.label_indices) == 8


def test_the_best_epoch_and_the_last_are_different_choices(toy):
    last = train(toy, select="last")
    assert last.best is None
    best = train(toy, select="best")
    top = max(row["val_auroc"] for row in best.history)
    assert best.best["value"] == top
    with pytest.raises(MedsslError, match="select"):
        train(toy, select="test")


def test_score_is_evaluate_on_the_split_seed_by_seed(toy):
    runs = recipes.over_seeds(toy, 2, "smallcnn", steps=4, batch_size=32, device="cpu")
    scored = recipes.score(runs, toy, "val", n_boot=50)
    assert list(scored.p) == [0, 1] and len(scored.per_seed) == 2
    again = evaluate(toy.val.labels, scored.p[1], toy.classes, n_boot=50, seed=1)
    assert scored.per_seed[1]["auroc"] == again["auroc"] and scored.per_seed[1]["ci95"] == again["ci95"]
    assert scored.mean["auroc"]["mean"] == pytest.approx(np.mean([m["auroc"] for m in scored.per_seed]))


def test_a_killed_recipe_goes_on_where_it_was(toy, tmp_path):
    whole = train(toy, augment="B")
    run = train(toy, augment="B", out=tmp_path)
    again = train(toy, augment="B", out=tmp_path)  # finished: nothing is trained anew
    assert again.history == run.history
    assert all(torch.equal(weights(whole)[k], weights(again)[k]) for k in weights(whole))


def test_the_folder_of_another_experiment_is_not_taken_for_this_one(toy, tmp_path):
    train(toy, out=tmp_path)
    other = ImageData(**{**vars(toy), "train": split(64, 9)})
    for wrong in ({"finetune": "head"}, {"label_smoothing": 0.3}, {"data": other}):
        with pytest.raises(MedsslError, match="other settings"):
            train(**{"toy": wrong.pop("data", toy), "out": tmp_path, **wrong})


def test_score_refuses_what_would_hide_a_run(toy):
    run = train(toy)
    with pytest.raises(MedsslError, match="seed of their own"):
        recipes.score([run, run], toy)
    with pytest.raises(MedsslError, match="no split"):
        recipes.score([run], toy, "tset")
    with pytest.raises(MedsslError, match="seeds=0"):
        recipes.over_seeds(toy, 0, "smallcnn", steps=1)


def test_tta_does_not_see_a_mirrored_or_shifted_image_as_another(toy):
    run = train(toy)
    x = toy.val.images
    assert np.allclose(predict_proba(run.model, x, tta=True), predict_proba(run.model, x.flip(-1), tta=True), atol=1e-6)
    by_hand = [predict_proba(run.model, version) for version in nearby(x)]
    assert len(by_hand) == 10 and np.allclose(np.mean(by_hand, 0), predict_proba(run.model, x, tta=True))
    up = nearby(x)[2]
    assert torch.equal(up[..., :-1, :], x[..., 1:, :]) and torch.equal(up[..., -1, :], x[..., -1, :])


def test_the_typical_seed_is_the_median_one_by_rule():
    rows = [{"seed": s, "auroc": a} for s, a in ((0, 0.7), (1, 0.9), (2, 0.8))]
    scored = recipes.Scored("val", np.zeros(1), {}, rows, {})
    assert scored.typical == 2 and scored.of(1)["auroc"] == 0.9
    assert recipes.Scored("val", np.zeros(1), {}, rows[:2], {}).typical == 0  # of two, the lower


def test_a_notebooks_weights_parameter_is_checked_before_anything_is_trained():
    assert recipes.weights_from("ImageNet") == "imagenet" and recipes.weights_from("none") is None
    with pytest.raises(MedsslError, match="WEIGHTS = 'imagnet'"):
        recipes.weights_from("imagnet")


def test_a_setting_left_out_the_second_time_is_noticed_on_resuming(tmp_path):
    data = load("breastphantom")
    options = {"steps": 1, "batch_size": 16, "quiet": "silent", "out": tmp_path}
    recipes.pretrain(data, "moco", momentum=0.5, **options)
    with pytest.raises(MedsslError, match="momentum was 0.5, is 0.99"):
        recipes.pretrain(data, "moco", **options)


def test_each_seed_has_its_own_folder_and_a_class_is_its_method(tmp_path):
    data = load("breastphantom")
    options = {"steps": 1, "batch_size": 16, "quiet": "silent"}
    runs = recipes.pretrain_seeds(data, 2, MoCo, queue_size=32, out=tmp_path, steps=1, batch_size=16)
    assert {path.name for path in tmp_path.iterdir()} == {"seed0", "seed1"}
    assert runs[0].config["method"] == "moco" and runs[0].config["queue_size"] == 32
    assert runs[0].config["chance_level"] == pytest.approx(math.log(33))
    assert recipes.pretrain(data, SimCLR, **options).config["method"] == "simclr"
