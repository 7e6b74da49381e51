"""Hand-ins: known files only, whole or not at all; test scores once; the student's words untouched; found again."""

import csv
import errno
import json
import os
import platform
import sys
import unicodedata
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medssl.course import Submission, dataset_key, find_artifact, slug
from medssl.course.contract import load_contract
from medssl.course.names import results_root
from medssl.course.predictions import format_predictions, parse_predictions, read_predictions
from medssl.errors import MedsslError
from medssl.evaluate import evaluate
from medssl.files import write_atomic

CLASSES = ("malignant", "normal, benign")


def scores(seed, split="test"):
    """Honest scores on the official split of BreastMNIST: its 42 + 114 images of test, or 21 + 57 of val."""
    rng, counts = np.random.default_rng(seed), load_contract().datasets["breastmnist"].counts[split]
    n = sum(counts)
    y = np.random.default_rng(9).permutation(np.repeat([0, 1], counts))
    return np.arange(n), y, np.clip(0.5 + 0.3 * (y - 0.5) + 0.2 * rng.standard_normal(n), 0.001, 0.999)


def filled(root, name="Ada Lovelace", dataset="breastmnist", seeds=(0, 1, 2), **more):
    work, results = Submission(1, dataset, name, root, **more), []
    for seed in seeds:
        index, y, p = scores(seed)
        work.predictions("predictions_test.csv", seed=seed, index=index, y=y, p=p)
        results.append(evaluate(y, p, CLASSES, n_boot=0))
    work.metrics("test_metrics.json", results, model="smallcnn")
    return work


# ---- names
def test_one_person_is_one_folder():
    same = [
        "First Last",
        "first_last",
        "FirstLast",
        "FIRST-LAST",
        " first  last ",
        "first.last",
        "Fïrst Lást",
        "firstlast",
    ]
    assert {slug(name) for name in same} == {"firstlast"}
    assert slug("O'Brien") == slug("O’Brien") == "obrien" and slug("Weiß") == "weiss" and slug("ﬁona") == "fiona"
    assert slug("李雷") == "李雷" and slug("reference") == "reference"
    assert slug("group 1 1") == slug("group1_1") == "group1_1" != slug("group 11")
    assert len({slug(name) for name in ("ana", "anna", "anna 2", "bob")}) == 4


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc",
        "..",
        ".",
        "",
        " ",
        "...",
        "_-_",
        "CON",
        "con",
        "Com1",
        "nul",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "a:b",
        "<script>",
        "x" * 65,
        "ﷺ" * 10,
        "~",
        "$(rm)",
        "a\u202eb",
        "\u200b",
        "{name}",
        "*",
        "a?b",
        None,
        7.5,
    ],
)
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(MedsslError, match="cannot be a folder") as caught:
        slug(name)
    example = caught.value.fix.split()[-1]
    assert slug(example) == example


def test_a_slug_is_its_own_slug_and_has_no_character_that_leads_elsewhere():
    rng = np.random.default_rng(0)
    alphabet = [chr(c) for c in range(0x2500) if not 0xD800 <= c < 0xE000] + list(" _-../\\…ǅİıﬀ①½")
    accepted = 0
    singles = [chr(c) for c in range(0x1000)]
    words = ["".join(rng.choice(alphabet[32:127] if i % 2 else alphabet, rng.integers(1, 12))) for i in range(1500)]
    for word in singles + words:
        try:
            once = slug(word)
        except MedsslError:
            continue
        accepted += 1
        assert slug(once) == once, word
        assert not set(once) & set('/\\:*?"<>|. \0\n')
        assert once == unicodedata.normalize("NFC", once) == once.casefold()
    assert accepted > 1000


def test_dataset_keys_have_one_spelling():
    assert dataset_key("BreastMNIST") == dataset_key("breast_mnist") == "breastmnist"
    with pytest.raises(MedsslError, match="perhaps breastmnist"):
        dataset_key("breasmnist")
    for bad in ("../breastmnist", "", None, "/"):
        with pytest.raises(MedsslError):
            dataset_key(bad)


def test_the_root_is_the_argument_then_the_variable_then_the_repository(tmp_path, monkeypatch, repo):
    monkeypatch.delenv("MEDSSL_ROOT", raising=False)
    monkeypatch.chdir(repo / "tests")
    assert results_root() == results_root("") == repo
    monkeypatch.chdir(tmp_path)
    assert results_root() == tmp_path
    monkeypatch.setenv("MEDSSL_ROOT", str(tmp_path / "env"))
    assert results_root() == tmp_path / "env" and results_root(tmp_path / "arg") == tmp_path / "arg"


# ---- atomic writes
@pytest.mark.parametrize("fault", ["replace", "fsync", "open"])
def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, fault):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write_atomic(tmp_path / "deep" / "a.json", "old")
    if fault == "open":
        monkeypatch.setattr("builtins.open", full)
    else:
        monkeypatch.setattr(os, fault, full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new and longer")
    monkeypatch.undo()
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
    assert write_atomic(path, b"new").read_bytes() == b"new"


def test_ctrl_c_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "a.json", "old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# ---- predictions
def test_predictions_come_back_as_they_went(tmp_path):
    rows = {seed: scores(seed) for seed in (3, 1)}
    rows[1] = (rows[1][0], rows[1][1], rows[1][2].astype(np.float32).astype(np.float64))
    back = read_predictions(write_atomic(tmp_path / "p.csv", format_predictions(rows)))
    assert list(back) == [3, 1]
    for seed, columns in rows.items():
        assert [column.dtype for column in back[seed]] == [np.int64, np.int64, np.float64]
        assert all(np.array_equal(a, b) for a, b in zip(back[seed][:2], columns[:2], strict=True))
    assert np.array_equal(back[1][2], rows[1][2])  # every digit of the float64
    np.testing.assert_allclose(back[3][2], rows[3][2], rtol=1e-8)
    assert np.array_equal(parse_predictions("p,y_true, seed ,index\n0.25,1,0,7\n")[0][0], [7])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "seed,index,y_true\n1,2,0\n",
        "seed,index,y_true,p\n",
        "seed,index,y_true,p\n0,1,0\n",
        "seed,index,y_true,p\n0,1,0,high\n",
        "seed,index,y_true,p\n0,1.5,0,0.2\n",
        "seed,index,y_true,p\n0,1,0,0.2\n0,1,0,0.2\n",
        "seed,index,y_true,p\n0," + "9" * 30 + ",0,0.1\n",
        'seed,index,y_true,p\n0,1,0,"0.2\n',
        "\0",
    ],
)
def test_a_broken_predictions_file_is_an_error_in_words(text):
    with pytest.raises(MedsslError, match="predictions"):
        parse_predictions(text)


def test_the_test_split_is_touched_once_a_seed(tmp_path):
    work = Submission(3, "breastmnist", "ada", tmp_path)
    index, y, p = scores(0)
    work.predictions("predictions_reference_test.csv", seed=0, index=index, y=y, p=p)
    before = work.path("predictions_reference_test.csv").read_bytes()
    with pytest.raises(MedsslError, match="one look at the test split"):
        work.predictions("predictions_reference_test.csv", seed=0, index=index, y=y, p=p[::-1])
    assert work.path("predictions_reference_test.csv").read_bytes() == before
    for _ in range(2):  # val may be looked at as often as one likes
        val = dict(zip(("index", "y", "p"), scores(0, "val"), strict=True))
        work.predictions("predictions_reference_val.csv", seed=0, **val)
    work.predictions(
        "predictions_reference_test.csv",
        seed=1,
        index=torch.as_tensor(index),
        y=torch.as_tensor(y),
        p=torch.as_tensor(p),
    )
    assert list(read_predictions(work.path("predictions_reference_test.csv"))) == [0, 1]
    again = Submission(3, "breastmnist", "ada", tmp_path)  # the notebook is run anew: the file begins anew
    again.predictions("predictions_reference_test.csv", seed=5, index=index, y=y, p=p)
    assert list(read_predictions(again.path("predictions_reference_test.csv"))) == [5]


@pytest.mark.parametrize(
    "change",
    [
        {"y": "column"},
        {"p": "hard"},
        {"p": "short"},
        {"index": "twice"},
        {"index": "short"},
        {"index": "beyond"},
        {"index": "float"},
        {"y": "swapped"},
        {"seed": 1.7},
        {"seed": True},
        {"seed": "0"},
    ],
)
def test_predictions_that_cannot_be_right_are_not_written(tmp_path, change):
    index, y, p = scores(0)
    wrong = {"column": y[:, None], "hard": np.round(p), "short": p[:-1], "twice": np.zeros_like(index)}
    wrong |= {"beyond": index + 1, "float": index.astype(float), "swapped": 1 - y}
    given = {"seed": 0, "index": index, "y": y, "p": p} | {key: wrong.get(how, how) for key, how in change.items()}
    work = Submission(1, "breastmnist", "ada", tmp_path)
    with pytest.raises(MedsslError):
        work.predictions("predictions_test.csv", **given)
    assert not work.folder.exists()


@pytest.mark.parametrize("known", [True, False], ids=["data at hand", "only the contract"])
def test_scores_of_another_split_are_refused(tmp_path, known):
    """The mistake behind numbers that compare with nobody's: a split of one's own, or val under the name of test."""
    labels = {split: torch.as_tensor(scores(0, split)[1]) for split in ("val", "test")}
    splits = {split: SimpleNamespace(labels=y) for split, y in labels.items()}
    data = SimpleNamespace(key="breastmnist", license="", size=28, splits=splits, split_hash=lambda: "abc")
    work = Submission(3, "breastmnist", "ada", tmp_path, data=data if known else None)
    (index, y, p), val = scores(0), scores(0, "val")
    one_label_wrong = index, np.r_[1 - y[0], y[1:]], p
    for i, labels, q in [(index[:141], y[:141], p[:141]), val, one_label_wrong]:
        with pytest.raises(MedsslError, match="test split"):
            work.predictions("predictions_reference_test.csv", seed=0, index=i, y=labels, p=q)
    with pytest.raises(MedsslError, match="val split"):
        work.predictions("predictions_reference_val.csv", seed=0, index=index, y=y, p=p)
    assert not work.folder.exists()
    order = np.random.default_rng(0).permutation(156)  # any order will do, as long as label and index go together
    work.predictions("predictions_reference_test.csv", seed=0, index=order, y=y[order], p=p[order])
    work.predictions("predictions_reference_val.csv", seed=0, index=val[0], y=val[1], p=val[2])


def test_metrics_that_do_not_follow_from_the_predictions_are_not_written(tmp_path):
    work, results = Submission(1, "breastmnist", "ada", tmp_path), []
    for seed in (0, 1):
        index, y, p = scores(seed)
        work.predictions("predictions_test.csv", seed=seed, index=index, y=y, p=p)
        results.append({"seed": seed, **evaluate(y, p, CLASSES, n_boot=0)})
    first, second = results
    for per_seed, more, says in [
        ([first, second | {"auroc": 0.99}], {}, "auroc = 0.99"),
        ([first, second | {"seed": 7}], {}, r"seeds \[0, 7\]"),
        ([second, first], {}, r"seeds \[1, 0\]"),
        (results, {"split": "val"}, "of val"),
        (results, {"accuracy": 0.9}, "accuracy = 0.9"),
    ]:
        with pytest.raises(MedsslError, match=says):
            work.metrics("test_metrics.json", per_seed, model="smallcnn", **more)
    assert not work.path("test_metrics.json").exists()
    work.metrics("test_metrics.json", results, model="smallcnn")


# ---- what gets written
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


def test_extra_tasks_belong_to_their_data_set(tmp_path):
    work = Submission(5, "breastmnist", "ada", tmp_path)
    path = work.table("breast_label_grid_B1.csv", "fraction,auroc\n0.05,0.7")
    assert path == tmp_path / "results/week5/breastmnist/ada/breast_label_grid_B1.csv" and path.read_text().endswith(
        "0.7\n"
    )
    assert Submission(5, "breastphantom", "ada", tmp_path).path("x_B2.png").name == "x_B2.png"
    with pytest.raises(MedsslError, match="P1, which is for pneumoniamnist"):
        work.path("pneumo_label_grid_P1.csv")
    for file in ("../x_B1.csv", "a/x_B1.csv", "x_B6.csv", "x_B1.py", "x_b1.csv"):
        with pytest.raises(MedsslError):
            work.path(file)


def test_an_extra_task_hands_in_files_of_every_kind_and_a_readme_that_keeps_the_students_words(tmp_path):
    from matplotlib.figure import Figure

    for week in (5, 6, 7):
        for task, data in (("P3", "pneumoniaphantom"), ("B5", "breastmnist")):
            work = Submission(week, data, "ada", tmp_path)
            work.table(f"grid_{task}.csv", "a,b\n1,2")
            work.config(f"summary_{task}.json", {"auroc": 0.8})
            work.figure(f"roc_{task}.png", Figure(figsize=(1, 1)))
            path = work.task_readme(task, "| a |\n| --- |\n| 1 |", {"DRAWS": 10})
            assert path == work.folder / f"README_week{week}_{task}.md"
            new = path.read_text()
            assert f"# Task {task}: " in new and "| 1 |" in new and "| DRAWS | 10 |" in new and "What it shows" in new
            assert ("PHANTOM data" in new) == (data == "pneumoniaphantom")
            path.write_text(new.replace("> Two to four sentences", "It holds.\n\n> Two to four sentences"))
            assert "It holds." in work.task_readme(task, "| 2 |", {"DRAWS": 20}).read_text()
            assert "| 1 |" not in path.read_text() and "| DRAWS | 20 |" in path.read_text()
            there = {p.name for p in work.folder.iterdir()}
            assert there == {f"grid_{task}.csv", f"summary_{task}.json", f"roc_{task}.png", path.name}
            packed = work.pack()
            with zipfile.ZipFile(packed) as archive:
                assert {name.rpartition("/")[2] for name in archive.namelist()} == there
    with pytest.raises(MedsslError, match="P3, which is for pneumoniamnist"):
        work.task_readme("P3", "", {})
    with pytest.raises(MedsslError, match="hands in no file"):
        work.task_readme("B6", "", {})


def test_predictions_and_metrics_of_an_extra_task_are_recomputed_like_a_weeks(tmp_path):
    index, y, p = scores(0)
    work = Submission(6, "breastmnist", "ada", tmp_path)
    work.predictions("predictions_platt_B5.csv", seed=0, index=index, y=y, p=p)
    result, more = evaluate(y, p, CLASSES, n_boot=0), {"model": "platt", "predictions": "predictions_platt_B5.csv"}
    with pytest.raises(MedsslError, match="auroc = 0.99"):
        work.metrics("metrics_platt_B5.json", [result | {"auroc": 0.99}], **more)
    work.metrics("metrics_platt_B5.json", [result], **more)
    assert json.loads(work.path("metrics_platt_B5.json").read_text())["predictions"] == more["predictions"]


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


# ---- README
def test_what_the_student_wrote_is_never_overwritten(tmp_path):
    work = filled(tmp_path)
    work.finish(params={"EPOCHS": 5})
    readme = work.path("README_week1.md")
    text = readme.read_text()
    assert "| smallcnn | 3 |" in text and "## One bug I hit" in text and "| EPOCHS | 5 |" in text
    mine = (
        text.replace("> What broke", "I forgot `squeeze`.\r\nÄ\n\n> What broke").encode()
        + b"\xff not UTF-8, and my last line\n"
    )
    readme.write_bytes(b"Before it all.\n" + mine)
    filled(tmp_path, seeds=(0, 1)).finish(params={"EPOCHS": 7})
    after = readme.read_bytes()
    rendered = [b"| smallcnn | 2 |", b"| EPOCHS | 7 |"]
    assert all(part in after for part in rendered) and b"| EPOCHS | 5 |" not in after

    assert after.startswith(b"Before it all.\n") and "I forgot `squeeze`.\r\nÄ\n".encode() in after
    assert after.endswith(b"\xff not UTF-8, and my last line\n")
    third = filled(tmp_path, seeds=(0, 1))
    third.finish(params={"EPOCHS": 7}, seconds=1)
    third.finish(params={"EPOCHS": 7}, seconds=1)
    assert readme.read_bytes().count(b"medssl:results") == 2


def test_an_emptied_readme_gets_its_headings_again(tmp_path):
    work = filled(tmp_path)
    work.finish(params={}, seconds=1)
    readme = work.path("README_week1.md")
    whole = readme.read_text()
    blocks = "<!-- medssl:results (old) -->\n| a |\n<!-- /medssl:results -->\n"
    for emptied in ("", " \n\ufeff", blocks + "\n"):
        readme.write_text(emptied)
        work.finish(params={}, seconds=1)
        assert readme.read_text() == whole
    for mine in (blocks + "## My own heading\n", "one word", "<!-- a note to myself -->"):
        readme.write_text(mine)
        work.finish(params={}, seconds=1)
        assert mine.splitlines()[-1] in readme.read_text() and "## One bug I hit" not in readme.read_text()


def test_a_readme_under_an_alias_is_kept_and_filled(tmp_path):
    work = Submission(5, "breastmnist", "ada", tmp_path)
    alias = write_atomic(work.folder / "README_week5.md", "my words\n")
    work.finish(params={}, seeds=[0])
    assert alias.read_text().startswith("my words\n") and "medssl:run" in alias.read_text()
    assert not work.path("README_week5_core.md").exists()


# ---- taken along, found
def test_a_zip_holds_the_contract_files_and_gives_last_weeks_file_back(tmp_path):
    work = filled(tmp_path / "a")
    work.finish(params={})
    (work.folder / "junk.txt").write_text("x")
    (work.folder / "reliability.png").symlink_to(__file__)
    packed = work.pack()
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
    base = "results/week1/breastmnist/adalovelace/"
    assert sorted(names) == sorted(
        base + f for f in ("test_metrics.json", "predictions_test.csv", "README_week1.md", "run.json", "env.json")
    )
    assert work.pack().read_bytes() == packed.read_bytes()
    fresh = tmp_path / "b"  # Colab forgot everything; the zip was uploaded, and the browser renamed it
    fresh.mkdir()
    (fresh / "week01_breastmnist_adalovelace (1).zip").write_bytes(packed.read_bytes())
    found = find_artifact(1, "test_metrics.json", "BreastMNIST", "ada lovelace", fresh)
    assert found.read_bytes() == work.path("test_metrics.json").read_bytes()
    assert found.resolve().is_relative_to(fresh.resolve())
    assert find_artifact(1, "test_metrics.json", "breastmnist", "ada", fresh) is None


def test_find_prefers_results_then_zip_then_drive(tmp_path):
    root, drive = tmp_path / "root", tmp_path / "drive" / "medmnist-ssl"
    with pytest.raises(MedsslError, match="no Drive is mounted"):
        filled(root).pack("drive", drive)
    drive.parent.mkdir()
    work = filled(root)
    assert work.pack("drive", drive) == drive / "results/week1/breastmnist/adalovelace"
    work.pack()

    def find(**more):
        return find_artifact(1, "test_metrics.json", "breastmnist", "ada lovelace", root, drive=drive, **more)

    assert find() == work.path("test_metrics.json")
    work.path("test_metrics.json").unlink()
    assert "unpacked" in find().parts
    (root / "runs/packed/week01_breastmnist_adalovelace.zip").write_bytes(b"PK broken")
    assert find() == drive / "results/week1/breastmnist/adalovelace/test_metrics.json"
    find().unlink()
    assert find() is None
    with pytest.raises(MedsslError, match="is nowhere.*") as caught:
        find(required=True)
    assert "week01_baseline.ipynb" in str(caught.value)
    with pytest.raises(MedsslError, match="perhaps test_metrics.json"):
        find_artifact(1, "test_metric.json", "breastmnist", "ada", root)
    with pytest.raises(MedsslError):
        find_artifact(1, "../../../../etc/passwd", "breastmnist", "ada", root)


def test_a_hostile_zip_writes_nothing_elsewhere(tmp_path):
    evil = tmp_path / "root" / "week04_breastmnist_ada.zip"
    evil.parent.mkdir()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../../outside.txt", "x")
        archive.writestr("/tmp/medssl-outside.txt", "x")
        archive.writestr("results/week4/breastmnist/ada/../../../../ssl_encoder.pt", "x")
    assert find_artifact(4, "ssl_encoder.pt", "breastmnist", "ada", evil.parent) is None
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["root", evil.name]


def test_the_git_lines_name_each_file_and_no_weights(tmp_path):
    work = filled(tmp_path)
    lines = work.pack("git").splitlines()
    assert work.pack("git") == work.pull_request_lines()
    assert lines[0] == "git switch -c week01_breastmnist_adalovelace" and lines[-1].startswith("# then open https://")
    assert 'git add "results/week1/breastmnist/adalovelace/test_metrics.json"' in lines
    encoder = Submission(4, "breastmnist", "ada", tmp_path)
    encoder.weights("ssl_encoder.pt", {})
    assert "ssl_encoder.pt" not in encoder.pull_request_lines()


def test_the_csv_is_plain(tmp_path):
    with open(filled(tmp_path).path("predictions_test.csv"), newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["seed", "index", "y_true", "p"] and len(rows) == 1 + 3 * 156
