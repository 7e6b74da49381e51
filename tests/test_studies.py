"""What the extra tasks measure with: dark spots, errors in their class, sources of spread, maps, shift changes."""

import numpy as np
import pytest
import torch

from medssl import evaluate, figures, recipes
from medssl.data import load
from medssl.errors import MedsslError
from medssl.evaluate.image_statistics import correct_for_many


def disc(radius, contrast=0.4, centre=(14, 14), side=28, slope=0.0, noise=0.0):
    row, column = np.mgrid[:side, :side]
    image = 0.7 - contrast * (np.hypot(row - centre[0], column - centre[1]) <= radius) - slope * (row / side - 0.5)
    image = image + noise * np.random.default_rng(0).standard_normal(image.shape)
    return np.clip(image, 0, 1)[None, None]


# ---- the dark spot
@pytest.mark.parametrize("radius", [3, 5, 8])
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_the_dark_spot_is_the_disc_that_was_drawn(radius, slope):
    found = evaluate.dark_spot(disc(radius, 0.3, (15, 12), slope=slope, noise=0.02))
    assert found["spot_radius"][0] * 28 == pytest.approx(radius, rel=0.25)
    assert found["spot_contrast"][0] == pytest.approx(0.3, rel=0.15)
    assert abs(found["row"][0] - 15) <= 1 and abs(found["column"][0] - 12) <= 1


def test_size_and_contrast_are_told_apart_and_do_not_depend_on_type_or_resolution():
    few = np.concatenate([disc(3, 0.2), disc(3, 0.4), disc(7, 0.2), disc(7, 0.4)])
    found = evaluate.dark_spot(few)
    radius, contrast = found["spot_radius"], found["spot_contrast"]
    assert radius[0] == radius[1] < radius[2] == radius[3]
    assert np.allclose(contrast[[1, 3]], 2 * contrast[[0, 2]], rtol=0.002)
    as_bytes = evaluate.dark_spot(torch.from_numpy(np.rint(few * 255).astype(np.uint8)))
    assert (as_bytes["spot_radius"] == radius).all() and np.allclose(as_bytes["spot_contrast"], contrast, atol=0.01)
    fine = evaluate.dark_spot(few.repeat(2, 2).repeat(2, 3))
    assert (fine["spot_radius"] == radius).all() and np.allclose(fine["spot_contrast"], contrast, atol=0.02)


def test_a_bright_disc_is_no_dark_spot_and_a_far_one_loses_against_one_in_the_middle():
    assert evaluate.dark_spot(disc(5, -0.25))["spot_contrast"][0] < 0.15
    two = disc(4, 0.3, (14, 14)) + disc(4, 0.4, (6, 22)) - 0.7
    found = evaluate.dark_spot(np.clip(two, 0, 1))
    assert (found["row"][0], found["column"][0]) == (14, 14)


def test_the_ring_is_drawn_around_the_spot():
    image = disc(5, 0.3, (15, 12))
    ringed = evaluate.outlined(image, evaluate.dark_spot(image))
    white = np.argwhere(ringed[0, 0] == 1)
    assert ringed.shape == image.shape and len(white) > 20 and abs(white.mean(0) - (15, 12)).max() < 1
    assert np.ptp(np.hypot(*(white - (15, 12)).T)) < 2.5
    with pytest.raises(MedsslError, match="shape"):
        evaluate.dark_spot(image[0])


# ---- errors beside the right answers of their own class
def test_errors_are_compared_within_their_class():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], (60, 90))
    predicted = np.where(np.arange(150) % 5 == 0, 1 - y, y)  # every fifth is wrong, in both classes
    values = {"class": y + 0.01 * rng.standard_normal(150), "hard": (predicted != y) + rng.standard_normal(150) / 2}
    found = evaluate.compare_errors(values, y, predicted, permutations=500)
    assert {kind: (one["hard"]["n_group"], one["hard"]["n_rest"]) for kind, one in found.items()} == {
        "FN": (18, 72), "FP": (12, 48)}
    for one in found.values():
        assert abs(one["class"]["difference"]) < 0.01  # beside all images the classes themselves would differ
        assert one["hard"]["difference"] == pytest.approx(1, abs=0.4)
    expected = evaluate.compare_groups({key: v[y == 1] for key, v in values.items()}, (predicted != y)[y == 1],
                                       permutations=500)
    assert {key: one["p"] for key, one in found["FN"].items()} == {key: one["p"] for key, one in expected.items()}
    p = [row["p"] for one in found.values() for row in one.values()]
    assert [row["p_holm"] for one in found.values() for row in one.values()] == correct_for_many(p).tolist()


def test_a_kind_of_error_that_never_or_always_happens_is_left_out():
    y, values = np.array([0, 0, 0, 1, 1, 1]), {"x": np.arange(6.0)}
    assert evaluate.compare_errors(values, y, y) == {}
    assert list(evaluate.compare_errors(values, y, np.array([0, 0, 1, 0, 0, 0]))) == ["FP"]
    for wrong in (np.full(6, 0.3), y[:5]):
        with pytest.raises(MedsslError):
            evaluate.compare_errors(values, y, wrong)


def test_holm_by_hand():
    assert correct_for_many([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert correct_for_many([]).tolist() == [] and correct_for_many([0.9, 0.8]).max() == 1


# ---- spread by source
def test_the_sources_of_spread_are_found_again():
    rng = np.random.default_rng(0)
    normal = rng.standard_normal
    values = 0.8 + 0.03 * normal((40, 1)) + 0.05 * normal((1, 60)) + 0.01 * normal((40, 60))
    found = evaluate.sources_of_spread(values)
    assert found == {"encoders": pytest.approx(0.03, rel=0.25), "draws": pytest.approx(0.05, rel=0.25),
                     "rest": pytest.approx(0.01, rel=0.05)}
    swapped = evaluate.sources_of_spread(values.T)
    assert (swapped["draws"], swapped["encoders"]) == pytest.approx((found["encoders"], found["draws"]))


def test_a_source_that_is_not_there_is_0_and_one_that_cannot_be_told_is_none():
    column = np.array([[0.7], [0.8], [0.9]])
    found = evaluate.sources_of_spread(np.repeat(column, 4, 1))
    assert found == pytest.approx({"encoders": 0.1, "draws": 0, "rest": 0}, abs=1e-9)
    only_rest = evaluate.sources_of_spread([[0.6, 0.8], [0.8, 0.6]])
    assert only_rest == {"encoders": 0, "draws": 0, "rest": pytest.approx(0.2)}
    assert evaluate.sources_of_spread(column) == {"encoders": pytest.approx(0.1), "draws": None, "rest": None}
    assert evaluate.sources_of_spread(column.T)["draws"] == pytest.approx(0.1)
    assert evaluate.sources_of_spread([[0.7]]) == {"encoders": None, "draws": None, "rest": None}
    with pytest.raises(MedsslError, match="encoders, draws"):
        evaluate.sources_of_spread([0.7, 0.8])


# ---- maps
def test_maps_keep_far_groups_apart_and_are_the_same_each_time():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 20)) + 8 * np.repeat([0, 1], 30)[:, None]
    for method in ("pca", "tsne"):
        places = evaluate.flat_map(x, method)
        assert places.shape == (60, 2) and np.array_equal(places, evaluate.flat_map(x, method))
        near = np.argsort(((places[:, None] - places) ** 2).sum(2), 1)[:, 1:6] // 30
        assert (near == np.repeat([0, 1], 30)[:, None]).all()
    assert evaluate.flat_map(x[:5], neighbours=30).shape == (5, 2)  # fewer images than neighbours
    with pytest.raises(MedsslError, match="no map"):
        evaluate.flat_map(x, "umapp")


# ---- shifts and label grids
def test_changes_of_a_shift_are_drawn_as_changes():
    images = load("breastphantom").test
    x, y = images.images, images.labels.numpy()

    def predict(batch):
        return batch.double().mean((1, 2, 3)).numpy() / (255 if batch.dtype == torch.uint8 else 1)

    rows = evaluate.robustness(predict, x, y, ("a", "b"), lambda batch, kind, s: batch.double() / 255 * (1 - s),
                               {"brightness": (0.0, 0.5)}, n_boot=20)
    changes = evaluate.shift_changes(rows, ("auroc", "nll"), "a model")
    assert [(row["shift"], row["strength"], row["n"]) for row in changes] == [
        ("none", 0, 156), ("brightness", 0, 156), ("brightness", 0.5, 156)]
    key = "a_model:_change_of_nll"
    assert changes[0][key] == 0 and changes[1][key] == pytest.approx(0)
    assert changes[2][key] == pytest.approx(rows[2]["nll"] - rows[0]["nll"])
    assert changes[2]["ci95"][key] == rows[2]["change"]["nll"]["ci95"]
    figures.shift_curves(changes, [key])


def test_every_run_of_a_ladder_is_a_row():
    data = load("breastphantom")
    y = data.test.labels.numpy()
    p = np.random.default_rng(0).random((2, 3, len(y)))
    rungs = recipes.Ladder(y).add("chance", {0.05: p}).add("once", {1.0: p[0, 0]})
    rows = recipes.every_run(rungs, data)
    assert [(row["model"], row["fraction"], row["n_labels"], row["encoder"], row["draw"]) for row in rows] == [
        *(("chance", 0.05, 27, e, d) for e in range(2) for d in range(3)), ("once", 1.0, 546, 0, 0)]
    assert rows[4]["auroc"] == pytest.approx(evaluate.evaluate(y, p[1, 1], data.classes, n_boot=0)["auroc"])
