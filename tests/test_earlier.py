"""Later weeks stand on earlier ones: what is found is used as it is, what is missing is replaced aloud."""

import json

import numpy as np
import pytest
import torch

from medssl import earlier, recipes
from medssl.course import Submission
from medssl.data import load
from medssl.errors import MedsslError
from medssl.views import to_float


@pytest.fixture(scope="module")
def data():
    return load("breastphantom")


@pytest.fixture(scope="module")
def pretrained(data):
    return [recipes.pretrain(data, steps=2, batch_size=32, seed=seed, quiet="silent") for seed in (0, 1)]


def hand_in_encoders(data, runs, root, name="ada", **changed):
    week4 = Submission(4, data.key, name, root, data=data, backbone="ssl")
    week4.config("ssl_config.json", {**runs[0].config, "seeds": [run.config["seed"] for run in runs], **changed})
    for seed, run in enumerate(runs):
        week4.weights(f"ssl_encoder_seed{seed}.pt" if seed else "ssl_encoder.pt", run.encoder.state_dict())


def test_all_encoders_of_week_4_are_found_and_give_the_same_features(data, pretrained, tmp_path):
    hand_in_encoders(data, pretrained, tmp_path)
    found, note = earlier.encoders(data, "Ada", tmp_path, seeds=3)
    assert note == "" and len(found) == 2
    for run, encoder in zip(pretrained, found, strict=True):
        torch.testing.assert_close(encoder.eval()(data.val.images), run.encoder.eval()(data.val.images))


def test_encoders_of_an_earlier_longer_run_are_left_out(data, pretrained, tmp_path, capsys):
    hand_in_encoders(data, pretrained, tmp_path)
    hand_in_encoders(data, pretrained[:1], tmp_path)  # again, with one seed: the other file is still there
    found, _ = earlier.encoders(data, "ada", tmp_path, seeds=3)
    assert len(found) == 1 and "(3 were asked for)" in capsys.readouterr().out


def test_a_missing_encoder_is_replaced_and_said(data, tmp_path, capsys):
    found, note = earlier.encoders(data, "ada", tmp_path, seeds=1, steps=1)
    assert len(found) == 1 and "week 4 not found for ada" in note and "1 steps" in note
    assert note in capsys.readouterr().out


def test_an_encoder_of_another_data_set_is_refused(data, pretrained, tmp_path):
    hand_in_encoders(data, pretrained, tmp_path, split_hash="another")
    with pytest.raises(MedsslError, match="pretrained on another"):
        earlier.encoders(data, "ada", tmp_path)


def hand_in_reference(data, root, order=None, name="ada"):
    week3 = Submission(3, data.key, name, root, data=data)
    rng, out = np.random.default_rng(0), {}
    for split in ("val", "test"):
        y = data.splits[split].labels.numpy()
        index = np.arange(len(y)) if order is None else rng.permutation(len(y))
        for seed in (4, 7):
            out[split, seed] = rng.random(len(y))
            week3.predictions(f"predictions_reference_{split}.csv", seed=seed, index=index, y=y[index],
                              p=out[split, seed][index])
    return out


@pytest.mark.parametrize("order", [None, "shuffled"])
def test_the_reference_is_read_in_the_order_of_the_split(data, tmp_path, order):
    handed_in = hand_in_reference(data, tmp_path, order)
    found, note = earlier.reference(data, "ada", tmp_path)
    assert note == "" and list(found["test"].p) == [4, 7]
    for (split, seed), p in handed_in.items():
        assert np.array_equal(found[split].p[seed], p)
        assert found[split].of(seed)["n"] == len(p)


def test_the_courses_own_hand_in_stands_in_where_there_is_one(data, pretrained, tmp_path, capsys):
    hand_in_encoders(data, pretrained, tmp_path, name="reference")
    handed_in = hand_in_reference(data, tmp_path, name="reference")
    found, note = earlier.encoders(data, "ada", tmp_path, seeds=2)
    assert len(found) == 2 and note == "Week 4 not found for ada: the course's own stands in."
    scores, note = earlier.reference(data, "ada", tmp_path)
    assert np.array_equal(scores["val"].p[4], handed_in["val", 4]) and "Week 3 not found for ada" in note
    assert note in capsys.readouterr().out
    hand_in_encoders(data, pretrained[:1], tmp_path)  # now she has her own
    found, note = earlier.encoders(data, "ada", tmp_path, seeds=2)
    assert len(found) == 1 and note == ""


def test_predictions_for_other_labels_are_refused(data, tmp_path):
    hand_in_reference(data, tmp_path)
    path = tmp_path / f"results/week3/{data.key}/ada/predictions_reference_val.csv"
    lines = path.read_text().splitlines()
    seed, index, y, p = lines[1].split(",")
    path.write_text("\n".join([lines[0], f"{seed},{index},{1 - int(y)},{p}", *lines[2:]]))
    with pytest.raises(MedsslError, match="labels of breastphantom's val split"):
        earlier.reference(data, "ada", tmp_path)


def test_a_missing_reference_and_a_missing_fine_tuned_model_are_replaced_and_said(data, pretrained, tmp_path):
    hand_in_encoders(data, pretrained[:1], tmp_path)
    reference, note = earlier.reference(data, "ada", tmp_path, seeds=1, steps=1)
    assert "week 3 not found" in note and len(reference["test"].y) == len(data.test)
    tuned, note = earlier.fine_tuned(data, "ada", tmp_path, seeds=1, steps=1)
    assert "week 6 not found" in note and "week 4" not in note  # the encoder itself was there
    assert set(tuned) == {"val", "test"}


def test_a_config_without_its_weights_is_no_encoder(data, pretrained, tmp_path):
    folder = tmp_path / f"results/week4/{data.key}/ada"
    folder.mkdir(parents=True)
    (folder / "ssl_config.json").write_text(json.dumps(pretrained[0].config))
    _, note = earlier.encoders(data, "ada", tmp_path, seeds=1, steps=1)
    assert "not found" in note


def locked(data, root, change=lambda config: config, model="smallcnn", **settings):
    """A locked reference of week 3 with its weights, as ada's notebook hands it in; the model itself is returned."""
    run = recipes.train_supervised(data, model, steps=1, batch_size=16, quiet="silent", **settings)
    week3 = Submission(3, data.key, "ada", root, data=data)
    for split in ("val", "test"):
        scored = recipes.score([run], data, split, n_boot=0)
        week3.predictions(f"predictions_reference_{split}.csv", seed=0, index=range(len(scored.y)), y=scored.y,
                          p=scored.p[0])
    week3.metrics("reference_supervised.json", scored.per_seed, model=model, config=change(run.config),
                  selected_on="val")
    week3.weights("reference_supervised.pt", run.model.state_dict())
    return run.model


@pytest.mark.parametrize(("model", "settings"), [("smallcnn", {}), ("resnet18", {"stem": "small"})])
def test_the_locked_reference_comes_back_as_the_same_model(data, tmp_path, model, settings):
    mine = locked(data, tmp_path, model=model, **settings).eval()
    (found,), note = earlier.classifiers(data, "ada", tmp_path)
    few = to_float(data.val.images[:8])
    torch.testing.assert_close(found.predict(few), mine.predict(few))
    assert note == "" and not found.training


def test_weights_of_another_model_or_data_are_refused(data, tmp_path):
    locked(data, tmp_path, lambda config: {**config, "model": "resnet18 (imagenet stem, random backbone, 1 channel)"})
    with pytest.raises(MedsslError, match="does not fit its config"):
        earlier.classifiers(data, "ada", tmp_path)
    locked(data, tmp_path, lambda config: {**config, "split_hash": "0"})
    with pytest.raises(MedsslError, match="another breastphantom"):
        earlier.classifiers(data, "ada", tmp_path)


def test_a_reference_without_its_weights_is_trained_again_and_said(data, tmp_path, capsys):
    models, note = earlier.classifiers(data, "ada", tmp_path, seeds=2, steps=2)
    assert len(models) == 2 and "not found for ada" in note and note in capsys.readouterr().out
    assert models[0].predict(to_float(data.val.images[:4])).shape == (4, 2)
