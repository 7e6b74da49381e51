"""assess(): its numbers against scikit-learn, for two classes, K classes and K labels; and no label of test is used."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.multiclass import OneVsRestClassifier

from medssl.cli_evaluate import _as_pretrained
from medssl.data import ImageData, Split, image_hashes, load_own
from medssl.errors import MedsslError
from medssl.evaluate import difference, fit_many, leave_one_site_out
from medssl.evaluate.probes_many import log_loss
from medssl.recipes import assess, assessment_table, efficiency_curves, probe_grid
from medssl.recipes.beside import beside, untrained
from medssl.recipes.unseen import too_few, too_narrow, unlike


class Flat(torch.nn.Module):
    """The grey values of a small image are its features."""

    def forward(self, x):
        return x.float().flatten(1) / 255


def made(kind: str, n=(120, 60, 90), classes=3, seed=0) -> ImageData:
    """Images of 4x4 pixels; pixel k is brighter in class k, or where label k is set."""
    rng, parts = np.random.default_rng(seed), {}
    for name, size in zip(("train", "val", "test"), n, strict=True):
        if kind == "labels":
            y = (rng.random((size, classes)) < (0.5, 0.3, 0.15)).astype(np.int64)
            lit = y
        else:
            y = rng.permutation(np.arange(size) % classes)
            lit = np.eye(classes)[y]
        x = rng.normal(110, 40, (size, 16))
        x[:, :classes] += 60 * lit
        images = torch.from_numpy(x.clip(0, 255).astype(np.uint8)).reshape(size, 1, 4, 4)
        parts[name] = Split(images, torch.from_numpy(y))
    return ImageData("made", **parts, classes=("a", "b", "c")[:classes], modality="", license="", is_phantom=True,
                     size=4)


QUICK = {"shares": (0.1, 1.0), "draws": 2, "shots": (5,), "episodes": 5, "n_boot": 100}
ONCE = {"shares": (1.0,), "draws": 1}


def rows(result: dict) -> dict:
    return {(row["what"], row["metric"]): row for row in result["rows"]}


def test_two_classes_are_the_probes_of_the_grid():
    data = made("classes", classes=2)
    result = assess(Flat(), data, **QUICK)
    grid = probe_grid(data, [Flat()], fractions=(0.1, 1.0), draws=2, split="test")
    for share, n in ((0.1, 12), (1.0, 120)):
        row = rows(result)[f"linear probe, {100 * share:g} % of labels", "auroc"]
        assert row["mean"] == pytest.approx(grid.summary()[share]["mean"], abs=1e-12) and row["labels"] == n
        assert row["lo"] < row["mean"] < row["hi"] and row["runs"] == (2 if share < 1 else 1)
    assert result["linear_probe"]["auroc"] == pytest.approx(grid.summary()[1.0]["mean"], abs=1e-12)
    assert ("5-shot knn", "balanced_accuracy") in rows(result) and ("5-shot centroid", "auroc") in rows(result)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_k_classes_and_k_labels_are_sklearn(kind):
    data = made(kind)
    result = assess(Flat(), data, **QUICK)
    x = {name: s.images.flatten(1).double().numpy() / 255 for name, s in data.splits.items()}
    y = {name: s.labels.numpy() for name, s in data.splits.items()}
    mean, std = x["train"].mean(0), x["train"].std(0)
    x = {name: (values - mean) / std for name, values in x.items()}
    found = []
    for C in (1e-4, 1e-3, 0.01, 0.1, 1.0):
        model = LogisticRegression(C=C, max_iter=5000, tol=1e-8)
        model = (OneVsRestClassifier(model) if kind == "labels" else model).fit(x["train"], y["train"])
        p, true = model.predict_proba(x["val"]), y["val"] if kind == "labels" else np.eye(3)[y["val"]]
        loss = -(true * np.log(p) + (kind == "labels") * (1 - true) * np.log(1 - p)).mean()
        found.append((loss, roc_auc_score(y["test"], model.predict_proba(x["test"]), multi_class="ovr")))
    want = min(found)[1]
    row = rows(result)["linear probe, 100 % of labels", "auroc"]
    assert row["mean"] == pytest.approx(want, abs=2e-3) and want > 0.75
    assert result["linear_probe"]["macro_auroc"] == pytest.approx(row["mean"], abs=1e-12)
    assert result["linear_probe"]["ci95"]["macro_auroc"] == pytest.approx([row["lo"], row["hi"]], abs=0.04)
    assert any("several labels" in note for note in result["notes"]) == (kind == "labels")


@pytest.mark.parametrize(("kind", "classes"), [("classes", 2), ("classes", 3), ("labels", 3)])
def test_labels_of_test_only_score(kind, classes):
    """Other test labels change the numbers, but no prediction: with the complement, each AUROC turns into 1 - AUROC."""
    data = made(kind, classes=classes)
    other = 1 - data.test.labels if kind == "labels" or classes == 2 else (data.test.labels + 1) % classes
    changed = dataclasses.replace(data, test=Split(data.test.images, other))
    a, b = (rows(assess(Flat(), d, **QUICK)) for d in (data, changed))
    for key in a:
        if key[1] == "auroc" and (kind == "labels" or classes == 2):
            assert a[key]["mean"] + b[key]["mean"] == pytest.approx(1, abs=1e-9)
        elif key[1] == "auroc":
            assert b[key]["mean"] < a[key]["mean"] - 0.1


def test_random_weights_and_pixels_stand_beside_the_encoder():
    """A lead is paired: over its own probe an encoder has none, not even by the luck of the test images."""
    from medssl.models import ViT

    data = made("classes", n=(80, 40, 90), classes=2)
    torch.manual_seed(5)
    encoder = ViT(patch=2).eval()
    result = assess(encoder, data, **QUICK | {"n_boot": 2000})
    found, grid = rows(result), probe_grid(data, [encoder], fractions=(0.1, 1.0), draws=2, split="test")
    pixels = probe_grid(data, [Flat()], fractions=(0.1, 1.0), draws=2, split="test")
    for share in (0.1, 1.0):
        row = found[f"pixels, {100 * share:g} % of labels", "auroc"]
        want = difference(pixels.y, grid.p[share], pixels.p[share])
        assert row["mean"] == pytest.approx(pixels.summary()[share]["mean"], abs=1e-9)
        assert row["lead"]["mean"] == pytest.approx(want["mean"], abs=1e-9)
        assert [row["lead"][k] for k in ("lo", "hi")] == pytest.approx([want["lo"], want["hi"]], abs=0.03)
        assert found[f"random weights, {100 * share:g} % of labels", "auroc"]["lead"]["mean"] != 0
    nothing = assess(untrained(encoder, 0), data, **QUICK | ONCE)
    same = rows(nothing)["random weights, 100 % of labels", "auroc"]["lead"]
    assert same == {"mean": 0, "lo": 0, "hi": 0}
    assert "NO LEAD SHOWN (the interval does not clear 0) over: random weights, 100 %" in assessment_table(nothing)
    assert not any("lead" in row for row in assess(encoder, data, baselines=False, **QUICK | ONCE)["rows"])


def test_large_images_are_averaged_before_their_pixels_are_probed():
    data = made("classes", n=(4, 4, 4))
    for shape, classes, side in (((1, 64, 64), "ab", 28), ((3, 64, 64), "abc", 18), ((1, 32, 64, 64), "ab", 16)):
        parts = {name: Split(torch.zeros(2, *shape, dtype=torch.uint8), torch.tensor([0, 1])) for name in data.splits}
        found, notes = beside(Flat(), dataclasses.replace(data, classes=tuple(classes), **parts))
        (name, pixels), = found.items()
        assert name == ("voxels" if len(shape) == 4 else "pixels") and f"at most {side} a side" in notes[1]
        assert pixels(parts["train"].images).shape[1] == shape[0] * side ** (len(shape) - 1)
        assert "left out" in notes[0]


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_permuted_labels_give_chance(kind):
    data, rng = made(kind, n=(200, 100, 300)), np.random.default_rng(0)
    lost = {name: Split(s.images, s.labels[torch.from_numpy(rng.permutation(len(s)))]) for name, s in
            data.splits.items()}
    result = assess(Flat(), dataclasses.replace(data, **lost), **QUICK)
    assert all(abs(row["mean"] - 0.5) < 0.08 for row in result["rows"] if row["metric"] == "auroc")


def test_the_dict_is_json_and_the_table_says_what_stands_behind_it():
    data = made("classes", n=(40, 30, 30))
    result = assess(Flat(), data, shares=(0.5,), draws=2, shots=(5, 20), episodes=3, n_boot=50)
    assert json.loads(json.dumps(result)) == result
    table = assessment_table(result)
    for part in ("test n = 30", "PHANTOM", "| labels |", "[95 % interval]", "all 30 val labels", data.split_hash(),
                 "Note: 20-shot: left out", "Note: NOT KNOWN which images", "balanced accuracy 0.33",
                 "AUROC of each class"):
        assert part in table, part
    lengths = {len(line) for line in table.splitlines() if line.startswith("|")}
    assert len(lengths) == 1 and table.count("linear probe") == 2


@pytest.mark.parametrize("kind", ["two", "classes", "labels", "volumes"])
def test_fine_tuning_is_one_more_row_whatever_the_labels(kind):
    from medssl.models import ViT

    torch.manual_seed(0)
    data = made("labels" if kind == "labels" else "classes", n=(40, 30, 60), classes=3 - (kind == "two"))
    if kind == "volumes":
        data = dataclasses.replace(data, **{name: Split(s.images[:, :, None].expand(-1, -1, 2, -1, -1), s.labels)
                                            for name, s in data.splits.items()})
    encoder = ViT(patch=(2, 2, 2) if kind == "volumes" else 2)
    result = assess(encoder, data, finetune_steps=2, **QUICK | ONCE)
    row = rows(result)["fine-tuned, 2 steps", "auroc"]
    assert row["labels"] == 40 and 0 <= row["lo"] <= row["mean"] <= row["hi"] <= 1


def with_about(data: ImageData, **about) -> ImageData:
    """The data, with what each image of train, val and test is said to be of: name=function of (part, index)."""
    parts = {name: Split(s.images, s.labels, {key: tuple(value(name, k) for k in range(len(s)))
                                              for key, value in about.items()}) for name, s in data.splits.items()}
    return dataclasses.replace(data, **parts)


def test_test_images_that_the_encoder_has_seen_are_counted_said_and_left_out():
    data = with_about(made("classes", classes=2), patient=lambda part, k: f"{part}{k // 3}")
    seen = {*image_hashes(data.train.images), *image_hashes(data.test.images[[0, 1, 30]])}
    result = assess(Flat(), data, seen=seen, **QUICK | ONCE)
    assert result["seen"] == {"test": 3, "of": 90, "of_their_patients": 3, "all": 123, "excluded": False}
    assert result["notes"][0].startswith("SEEN: the encoder was pretrained on 3 of the 90 test images, and on other "
                                         "images of the patients of 3 more")
    table = assessment_table(result)
    assert "**SEEN IN PRETRAINING: 3 of the 90 test images and 3 more of the same patients.**" in table
    without = assess(Flat(), data, seen=seen, exclude_seen=True, **QUICK | ONCE)
    keep = [k for k in range(90) if k // 3 not in (0, 10)]
    few = dataclasses.replace(data, test=Split(data.test.images[keep], data.test.labels[keep]))
    want = assess(Flat(), few, seen=set(image_hashes(data.train.images)), **QUICK | ONCE)
    assert without["rows"] == want["rows"] and without["n"]["test"] == 84 and without["rows"] != result["rows"]
    assert without["notes"][0] == ("left out of the test: 3 of 90 images that the encoder was pretrained on, and 3 of "
                                   "the same patients")
    assert "SEEN IN" not in assessment_table(without) and want["seen"]["test"] == 0
    assert any("none of the 84 test images" in note for note in want["notes"])
    nobody = assess(Flat(), data, seen=set(), **QUICK | ONCE)
    assert nobody["seen"] is None and any("NOT KNOWN" in note for note in nobody["notes"])
    with pytest.raises(MedsslError, match="Nobody knows"):
        assess(Flat(), data, exclude_seen=True, **QUICK | ONCE)
    with pytest.raises(MedsslError, match="all 90 test images"):
        assess(Flat(), data, seen=set(image_hashes(data.test.images)), exclude_seen=True, **QUICK | ONCE)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_sites_are_rows_and_known_images_are_not_tested_on_there(kind):
    data = with_about(made(kind, n=(60, 36, 54)), site=lambda part, k: ("north", "south", "west")[k // 3 % 3])
    result = assess(Flat(), data, **QUICK | ONCE)
    x = np.concatenate([s.images.flatten(1).numpy() / 255 for s in data.splits.values()]).astype(np.float32)
    y = np.concatenate([s.labels.numpy() for s in data.splits.values()])
    sites = [site for s in data.splits.values() for site in s.about["site"]]
    want = leave_one_site_out(x, y, sites, data.classes, n_boot=100)
    for site in ("north", "south", "west"):
        row = rows(result)[f"probe of the other sites on {site} (n = {want[site]['n']})", "auroc"]
        assert row["mean"] == pytest.approx(want[site]["macro_auroc"], abs=1e-6)
        assert row["lo"] < row["mean"] < row["hi"] and row["labels"] == 150 - want[site]["n"]
    assert json.loads(json.dumps(result)) == result and result["sites"].keys() == want.keys()
    if kind == "labels":
        return  # the same lines decide who is tested
    new = assess(Flat(), data, seen=set(image_hashes(data.train.images)), exclude_seen=True, **QUICK | ONCE)
    assert sum(found["n"] for found in new["sites"].values()) == 90, "val and test, none of train"
    assert all(found["n_train"] == result["sites"][site]["n_train"] for site, found in new["sites"].items())


def test_a_class_that_a_part_lacks_is_named():
    data = made("classes")
    none = dataclasses.replace(data, train=Split(data.train.images, data.train.labels.clamp(max=1)))
    with pytest.raises(MedsslError, match="train has no image of c"):
        assess(Flat(), none, **QUICK)


def test_an_empty_part_is_refused():
    data = made("classes")
    with pytest.raises(MedsslError, match="0 val"):
        assess(Flat(), dataclasses.replace(data, val=Split(data.val.images[:0], data.val.labels[:0])))


def test_a_label_that_few_images_lack_or_have():
    """A share of the labels may show nothing of a rare finding; then the probe says no, and is not stopped."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), np.zeros((40, 2), int)
    y[:20, 0], y[39, 1] = 1, 1
    model, C = fit_many(x, y, np.arange(30), [(np.arange(30), np.arange(30, 40))], Cs=(0.1, 1.0))
    assert model.predict_proba(x).shape == (40, 2) and not model.predict_proba(x)[:, 1].any() and C in (0.1, 1.0)
    with pytest.raises(MedsslError, match="learn from"):
        fit_many(x, y[:, 0], np.arange(20), [(np.arange(20), np.arange(20, 40))])
    p = np.array([[0.25, 0.75], [0.5, 0.5]])
    assert log_loss(np.array([1, 0]), p) == pytest.approx(-np.log([0.75, 0.5]).mean())
    assert log_loss(np.array([[0, 1], [1, 1]]), p) == pytest.approx(-np.log([0.75, 0.75, 0.5, 0.5]).mean())


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_intervals_that_are_too_narrow_say_so(kind):
    alone = with_about(made(kind, n=(12, 12, 90)), patient=lambda part, k: f"{part}{k}")
    assert not too_narrow(alone)
    assert kind == "labels" or not too_few(alone), "30 images of each class"
    twice = with_about(alone, patient=lambda part, k: f"{part}{k // 2}")
    assert "the 90 test images are of 45 patients" in too_narrow(twice)[0]
    labels = torch.zeros_like(alone.test.labels)
    labels[:9] = 1
    few, = too_few(dataclasses.replace(alone, test=Split(alone.test.images, labels)))
    assert ("9 with and without a" if kind == "labels" else "9 of b, 0 of c") in few
    if kind == "classes":
        small = assess(Flat(), made(kind, n=(30, 30, 24)), baselines=False, **QUICK | ONCE)
        assert "Note: FEW test images (8 of a, 8 of b, 8 of c)" in assessment_table(small)


def test_images_that_were_cut_or_scaled_otherwise_are_named():
    volumes = {name: Split(torch.zeros(2, 1, 4, 6, 8, dtype=torch.uint8), torch.tensor([0, 1])) for name in
               ("train", "val", "test")}
    data = dataclasses.replace(made("classes", n=(4, 4, 4)), spacing=(3.0, 1.0, 1.0), **volumes)
    same = {"image_size": "4×6×8", "spacing": [3, 1, 1], "channels": 1}
    assert unlike(same, data) == unlike({}, data) == ""
    assert unlike(same | {"spacing": [2, 1, 1]}, data) == "spacing [3.0, 1.0, 1.0] mm here, [2, 1, 1] there"
    assert unlike(same | {"channels": 3}, data) == "1 channels here, 3 there"
    assert _as_pretrained(same | {"modality": "CT"}) == {"size": [4, 6, 8], "spacing": [3, 1, 1], "modality": "CT"}
    assert _as_pretrained({"image_size": "28×28"}) == {"size": [28], "spacing": None, "modality": None}
    assert not any(_as_pretrained({"image_size": "8×28×28", "modality": "images"}).values()), "clips"


def evaluate(capsys, *words) -> tuple[int, str, str]:
    from medssl.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, words)])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_the_command_line_is_assess(tmp_path, capsys):
    """A folder of PNG files and a table give the numbers of the same images in memory, and count what was pretrained
    on when the same folder had been given without labels."""
    import csv

    from PIL import Image

    from medssl.models import SmallCNN
    from medssl.models.export import save_encoder

    torch.manual_seed(0)
    encoder, rng = SmallCNN(width=4).eval(), np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    table, parts = [("file", "finding", "part", "site")], {}
    for name, n in (("train", 24), ("val", 12), ("test", 16)):
        x, y = rng.integers(0, 200, (n, 1, 20, 20)).astype(np.uint8), np.arange(n) % 2
        x[y == 1, :, :8] += 55
        parts[name] = Split(torch.from_numpy(x), torch.from_numpy(y))
        for k in range(n):
            Image.fromarray(x[k, 0]).save(tmp_path / f"images/{name}{k:02}.png")
            table.append((f"{name}{k:02}.png", ("healthy", "ill")[y[k]], name, f"site {k // 2 % 3}"))
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(table)
    without_labels = load_own(tmp_path / "images", size=[20], folders=False).train.images  # as pretrain reads it
    save_encoder(tmp_path / "encoder", encoder, {}, seen := image_hashes(without_labels))
    words = ("--data", tmp_path / "images", "--labels", tmp_path / "labels.csv", "--image-column", "file",
             "--label-column", "finding", "--split-column", "part", "--site-column", "site", "--size", 20,
             "--draws", 2, "--episodes", 3)
    code, out, _ = evaluate(capsys, tmp_path / "encoder", *words, "--out", tmp_path / "out")
    assert code == 0 and "linear probe, 100 % of labels" in out
    found = json.loads((tmp_path / "out/evaluation.json").read_text())
    data = ImageData("images", **parts, classes=("healthy", "ill"), modality="", license="", is_phantom=False, size=20)
    data = with_about(data, site=lambda part, k: f"site {k // 2 % 3}")
    want = assess(encoder, data, draws=2, episodes=3, seen=set(seen))
    known = len({*image_hashes(data.test.images)} & {*seen})
    assert found["seen"] == want["seen"] and found["seen"]["test"] == known > 8
    assert f"**SEEN IN PRETRAINING: {known} of the 16 test images.**" in out
    assert sum("of the other sites on site" in r["what"] for r in found["rows"]) == 3
    assert [r["what"] for r in found["rows"]] == [r["what"] for r in want["rows"]]
    assert [r["mean"] for r in found["rows"]] == pytest.approx([r["mean"] for r in want["rows"]], abs=1e-6)
    assert (tmp_path / "out/evaluation.md").read_text() in out
    assert (tmp_path / "out/label_efficiency.png").read_bytes().startswith(b"\x89PNG")
    curves, n_labels = efficiency_curves(want)
    assert list(curves) == ["linear probe", "random weights", "pixels"] and n_labels[0.5] == 12
    for name, curve in curves.items():
        assert [len(runs) for runs in curve.values()] == [2, 2, 2, 2, 2, 1]
        for share, runs in curve.items():
            told = next(r for r in want["rows"] if r["what"] == f"{name}, {100 * share:g} % of labels")
            assert np.mean(runs) == pytest.approx(told["mean"])
    words = [word for word in words if word not in ("--size", 20)]
    save_encoder(tmp_path / "encoder", encoder, {"image_size": "20×20", "channels": 1}, seen)
    quick = ("--draws", 1, "--episodes", 1, "--no-baselines")
    code, out, _ = evaluate(capsys, tmp_path / "encoder", *words, *quick)
    assert code == 0 and "size [20], as in the pretraining" in out and f"PRETRAINING: {known} of the 16" in out
    code, out, _ = evaluate(capsys, tmp_path / "encoder", *words, *quick, "--size", 24)
    assert code == 0 and "NOT KNOWN which images" in out and "size 24×24 here, 20×20 there" in out
    code, out, err = evaluate(capsys, tmp_path / "encoder", *words, *quick, "--size", 24, "--exclude-seen")
    assert code == 1 and "size 24×24 here" in err and "none of the 16" not in out
    for wrong, says in (((), "Which images?"), ((*words, "--dataset", "breastphantom"), "not both"),
                        (("--data", tmp_path), "--labels CSV"), (("--dataset", "breastmist"), "breastmnist")):
        code, _, err = evaluate(capsys, tmp_path / "encoder", *wrong)
        assert code == 1 and says in err, err
