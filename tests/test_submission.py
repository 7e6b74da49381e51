"""Hand-ins: known files only, numbers that follow from predictions, and where everything came from."""

import json
import platform
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hand_ins import CLASSES, filled, scores

from medssl.course import Submission
from medssl.course.contract import load_contract
from medssl.course.predictions import read_predictions
from medssl.errors import MedsslError
from medssl.evaluate import evaluate


def test_only_files_of_the_contract_are_written(tmp_path):
    work = Submission(2, "breastmnist", "ada", tmp_path)
    assert work.path("cm_smallcnn.png") == tmp_path / "results/week2/breastmnist/ada/cm_smallcnn.png"
    for file, word in [
        ("cm_smalcnn.png", "perhaps cm_smallcnn.png"),
        ("../cm_smallcnn.png", "hands in no file"),
        ("x_B1.csv", "hands in no file"),
        ("README.md", "README_week2.md"),
        ("", "hands in no file"),
    ]:
        with pytest.raises(MedsslError, match=word):
            work.path(file)
    with pytest.raises(MedsslError, match="is a figure file"):
        work.table("cm_smallcnn.png", "text")
    assert not work.folder.exists()


def test_the_weeks_with_other_folders(tmp_path):
    ethics = Submission(8, "breastmnist", "Ada", tmp_path)
    assert ethics.path("{name}_ethics_limits.md") == ethics.path("ada_ethics_limits.md")
    assert ethics.path("ada_ethics_limits.md") == tmp_path / "reports/week8/ada_ethics_limits.md"
    assert ethics.path("robustness_table.md") == tmp_path / "results/week8/breastmnist/ada/robustness_table.md"
    with pytest.raises(MedsslError):
        ethics.path("bob_ethics_limits.md")
    ethics.finish(params={})
    assert "## Intended and non-intended use" in ethics.path("ada_ethics_limits.md").read_text()
    draft, talk = Submission(9, "breastmnist", "ada", tmp_path), Submission(10, "breastmnist", "ada", tmp_path)
    assert draft.path("figures/roc.png") == tmp_path / "reports/final_writeup/figures/roc.png"
    assert talk.path("slides/Labels are few.pdf") == tmp_path / "results/week10/slides/Labels are few.pdf"
    for file in ("figures/../../x.png", "figures/a/b.png", "figures/.png", "figures//x.png"):
        with pytest.raises(MedsslError):
            draft.path(file)


def test_metrics_hold_mean_and_spread_and_follow_from_the_predictions(tmp_path):
    work = filled(tmp_path)
    m = json.loads(work.path("test_metrics.json").read_text())
    recomputed = [
        evaluate(y, p, CLASSES, n_boot=0) for _, y, p in read_predictions(work.folder / m["predictions"]).values()
    ]
    aurocs = [one["auroc"] for one in recomputed]
    assert m["seeds"] == [0, 1, 2] and m["n"] == 156 and m["positive"] == "normal, benign"
    assert m["auroc"] == pytest.approx(np.mean(aurocs)) and m["std"]["auroc"] == pytest.approx(np.std(aurocs, ddof=1))
    assert [one["confusion"] for one in m["per_seed"]] == [one["confusion"] for one in recomputed]
    assert all(key in m for key in work.week.slot("test_metrics.json").keys)


def test_metrics_without_their_predictions_are_refused(tmp_path):
    work = Submission(1, "breastmnist", "ada", tmp_path)
    index, y, p = scores(0)
    one = evaluate(y, p, CLASSES, n_boot=0)
    with pytest.raises(MedsslError, match="first call predictions"):
        work.metrics("test_metrics.json", [one], model="smallcnn")
    work.predictions("predictions_test.csv", seed=0, index=index, y=y, p=p)
    with pytest.raises(MedsslError, match="metrics of 2 seeds, predictions of 1"):
        work.metrics("test_metrics.json", [one, one], model="smallcnn")
    with pytest.raises(MedsslError, match="metrics of 0 seeds"):
        work.metrics("test_metrics.json", [], model="smallcnn")
    with pytest.raises(MedsslError, match="NaN or infinite"):
        work.metrics("test_metrics.json", [one], model="smallcnn", config={"lr": float("nan")})
    assert not work.path("test_metrics.json").exists()
    week3 = Submission(3, "breastmnist", "ada", tmp_path)
    week3.predictions("predictions_reference_test.csv", seed=0, index=index, y=y, p=p)
    with pytest.raises(MedsslError, match="lacks config, selected_on"):
        week3.metrics("reference_supervised.json", [one], model="resnet18")
    week3.metrics("reference_supervised.json", [one], model="resnet18", config={"lr": 1e-3}, selected_on="val")


def test_all_seeds_are_handed_in_at_once(tmp_path):
    rows = {seed: scores(seed) for seed in (4, 2)}
    y = rows[4][1]
    per_seed = [{"seed": seed, **evaluate(y, p, CLASSES, n_boot=0)} for seed, (_, _, p) in rows.items()]
    result = SimpleNamespace(split="test", y=y, p={seed: p for seed, (_, _, p) in rows.items()}, per_seed=per_seed)
    one_by_one = filled(tmp_path / "a", seeds=(4, 2))
    for work in [Submission(1, "breastmnist", "ada lovelace", tmp_path / "b")] * 2:  # a cell may be run twice
        work.scored("test_metrics.json", result, model="smallcnn")
    assert work.path("predictions_test.csv").read_text() == one_by_one.path("predictions_test.csv").read_text()
    ours, theirs = (json.loads(w.path("test_metrics.json").read_text()) for w in (work, one_by_one))
    assert [one.pop("seed") for one in ours["per_seed"]] == ours["seeds"] == [4, 2] and ours == theirs


def test_lists_of_numbers_take_one_line_and_text_stays(tmp_path):
    values = dict.fromkeys(load_contract().week(4).slot("ssl_config.json").keys, "a [b,  c] \n [d]")
    values |= {"list": list(range(500)), "nested": [[1, 2], [], [{"a": [0.5]}]], "text": ["x", "[1,\n 2]"]}
    path = Submission(4, "breastmnist", "ada", tmp_path).config("ssl_config.json", values)
    assert json.loads(path.read_text()) == values and len(path.read_text().splitlines()) < 40


def test_run_and_env_say_where_the_numbers_come_from(tmp_path):
    class Data:  # what load() gives, as far as a hand-in needs it
        key, license, size, splits = "breastphantom", "none needed", 28, {}

        def split_hash(self):
            return "abc123"

    work = filled(tmp_path, dataset="breastphantom", data=Data(), backbone="imagenet")
    with pytest.raises(MedsslError, match="hands in no file"):
        work.weights("ssl_encoder.pt", {})
    text = work.finish(
        params={"EPOCHS": 5, "AUG": object(), "LR": np.float32(0.5)}, label_indices={"all": torch.arange(3)}
    )
    run = json.loads(work.path("run.json").read_text())
    assert run["split_hash"] == "abc123" and run["phantom"] is True and run["backbone"] == "imagenet"
    assert run["seeds"] == [0, 1, 2] and run["label_indices"] == {"all": [0, 1, 2]} and run["parameters"]["LR"] == 0.5
    assert (
        run["versions"]["torch"] == torch.__version__.split("+")[0] or run["versions"]["torch"] == torch.__version__
    )
    env = json.loads(work.path("env.json").read_text())
    for file, content in (("run.json", run), ("env.json", env)):
        assert set(work.week.slot(file).keys) <= set(content)
    assert env["python"] == ".".join(map(str, sys.version_info[:3])) and env["colab"] is False
    assert platform.node() not in env.values()
    assert (
        "MISSING  reliability.png" in text and "ok       run.json" in text and work.missing() == ["reliability.png"]
    )
    assert "PHANTOM data" in work.path("README_week1.md").read_text()
    with pytest.raises(MedsslError, match="one data set for both"):
        Submission(1, "breastmnist", "ada", tmp_path, data=Data())


def test_weights_load_safely_and_their_hash_is_kept(tmp_path):
    import hashlib

    work = Submission(4, "breastmnist", "ada", tmp_path, backbone="random")
    path = work.weights("ssl_encoder.pt", torch.nn.Linear(2, 2).state_dict())
    assert set(torch.load(path, weights_only=True)) == {"weight", "bias"}
    work.finish(params={}, seeds=[0])
    run = json.loads(work.path("run.json").read_text())
    assert run["weights"]["ssl_encoder.pt"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(MedsslError, match="lacks proj_dim"):
        work.config("ssl_config.json", dict.fromkeys(["method", "backbone"], "x"))


@pytest.mark.parametrize(
    "dataset, backbone, mark",
    [
        ("breastphantom", "random", "PHANTOM data · random backbone"),
        ("breastmnist", "random", "random backbone"),
        ("breastmnist", "imagenet", ""),
    ],
)
def test_figures_admit_phantoms_and_random_backbones(tmp_path, dataset, backbone, mark):
    from matplotlib.figure import Figure

    work, figure = (
        Submission(1, dataset, "ada", tmp_path, backbone=backbone),
        Figure(figsize=(2, 2), layout="constrained"),
    )
    figure.subplots().plot([0, 1])
    assert work.figure("reliability.png", figure) is figure
    assert work.path("reliability.png").read_bytes()[:4] == b"\x89PNG"
    work.figure("curves.png", figure)  # marked once, however often it is saved
    assert [text.get_text() for text in figure.texts] == [mark] * bool(mark)
