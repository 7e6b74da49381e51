"""Figures: nothing left open, no text over other text, the right things drawn, and errors that are errors."""

import csv

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from medssl import figures
from medssl.errors import MedsslError
from medssl.evaluate import ece, ece_if_calibrated, reliability_table

CLASSES = ("malignant", "normal, benign")
TITLE = "smallcnn · test · seed 0, the median"
LONG = ("atelectasis with pleural effusion", "no finding of any kind, healthy")
N = 60


def data() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Images [N,1,28,28], labels, and p of a middling model."""
    rng = np.random.default_rng(0)
    y = (rng.random(N) < 0.7).astype(int)
    p = 1 / (1 + np.exp(-rng.normal(2 * y - 0.5, 2)))
    return torch.tensor(rng.integers(0, 256, (N, 1, 28, 28), dtype=np.uint8)), y, p


def history(seed: int, epochs: int = 12, keys=("loss", "val_loss", "val_auroc")) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [{"step": 5 * e, "epoch": e, **{key: float(rng.random()) for key in keys}} for e in range(1, epochs + 1)]


def comparison(models) -> dict:
    values = {"accuracy": (0.80, 0.74, 0.86), "auroc": (0.85, 0.79, 0.9), "ece_top_label": (0.06, 0.0, 0.1)}
    return {model: {m: dict(zip(("mean", "lo", "hi"), v, strict=True)) for m, v in values.items()} for model in models}


def every_figure(classes=CLASSES):
    """(name, function that draws) of each figure, with names as long as they come."""
    x, y, p = data()
    counts = {split: dict(zip(classes, (147, 3494), strict=True)) for split in ("train", "val", "test")}
    return {
        "class_counts": lambda: figures.class_counts(counts),
        "sample_grid": lambda: figures.sample_grid(x, y, classes),
        "augmented_views": lambda: figures.augmented_views(x, [x.flip(-1), x.float() / 255]),
        "confusion": lambda: figures.confusion([[30, 12], [10, 104]], classes),
        "reliability": lambda: figures.reliability(y, p, classes[1]),
        "misclassified": lambda: figures.misclassified(x, y, p, classes),
        "titled_confusion": lambda: figures.confusion([[30, 12], [10, 104]], classes, title=TITLE),
        "titled_reliability": lambda: figures.reliability(y, p, classes[1], title="resnet18, augmentation A, " + TITLE),
        "titled_misclassified": lambda: figures.misclassified(x, y, p, classes, title=TITLE),
        "titled_nothing": lambda: figures.misclassified(x, y, 0.1 + 0.8 * y, classes, title=TITLE),
        "nothing_misclassified": lambda: figures.misclassified(x, y, 0.1 + 0.8 * y, classes),
        "curves": lambda: figures.learning_curves({"head only": [history(0), history(1, 9)], "all": history(2)}),
        "calibrated": lambda: figures.reliability(y, {"before": p, "after": p * 0.8 + 0.1}, classes[1], title=TITLE),
        "comparison": lambda: figures.model_comparison(
            comparison(["smallcnn", *(f"resnet18, finetune all, augmentation {a}, smoothed labels" for a in "ABC")]),
            baseline={"accuracy": 0.73, "auroc": 0.5}),
    }


def texts(figure) -> list:
    """Every text that is drawn (tick labels beyond the ends of an axis exist, but are not)."""
    figure.draw_without_rendering()
    hidden = set()
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        hidden |= {label for tick in axis.get_major_ticks() for label in (tick.label1, tick.label2)
                   if not axis.axes.axison or not low - 1e-9 <= tick.get_loc() <= high + 1e-9}
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]


def assert_tidy(figure) -> None:
    """No text lies on another or leaves the page, not even with a stamp."""
    figure = figures.stamp(figure, "PHANTOM data · random backbone")
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    boxes = [(text, box) for text, box in boxes if box.width > 0]
    page = figure.bbox
    for k, (text, box) in enumerate(boxes):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1, f"{text!r} is cut"
        for other, its in boxes[:k]:
            apart = box.x1 <= its.x0 + 1 or its.x1 <= box.x0 + 1 or box.y1 <= its.y0 + 1 or its.y1 <= box.y0 + 1
            assert apart, f"{text!r} lies on {other!r}"


@pytest.mark.parametrize("classes", [CLASSES, LONG], ids=["breast", "long names"])
@pytest.mark.parametrize("name", every_figure())
def test_no_text_lies_on_another_or_leaves_the_page(name, classes):
    assert_tidy(every_figure(classes)[name]())


def test_a_hundred_figures_leave_nothing_open():
    draws = every_figure()
    for draw in [*draws.values(), *[draws["confusion"]] * 91]:
        assert isinstance(draw(), Figure)
    assert plt.get_fignums() == []
    assert figures.confusion([[1, 0], [0, 1]], CLASSES)._repr_png_().startswith(b"\x89PNG")  # how a notebook shows it


def test_class_counts_writes_numbers_and_shares():
    words = " ".join(t.get_text() for t in texts(figures.class_counts({"train": {"a": 147, "b": 399}})))
    assert "147 (27%)" in words and "399 (73%)" in words and "n = 546" in words
    for wrong in ({}, {"train": {}}, {"train": {"a": 1, "b": 2}, "val": {"a": 1}}):
        with pytest.raises(MedsslError, match=r"data\.counts\(\)"):
            figures.class_counts(wrong)


def test_sample_grid_shows_pixels_as_they_are_and_blanks_where_a_class_is_small():
    x, y, _ = data()
    y = np.r_[0, 0, np.ones(N - 2, int)]
    figure = figures.sample_grid(x, torch.tensor(y), CLASSES, n=5)
    drawn = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(drawn) == 7 and {image.get_interpolation() for image in drawn} == {"nearest"}
    np.testing.assert_allclose(drawn[2].get_array(), x[2, 0].numpy() / 255)
    assert all((image.norm.vmin, image.norm.vmax) == (0, 1) for image in drawn)  # no hidden contrast stretch
    with pytest.raises(MedsslError, match=r"squeeze\(1\)"):
        figures.sample_grid(x, y[:, None], CLASSES)
    for wrong in ((x, y[:-1]), (x[:0], y[:0]), (x, y, 0)):
        with pytest.raises(MedsslError, match="the same split"):
            figures.sample_grid(*wrong[:2], CLASSES, *wrong[2:])


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 8, 8), (1, 6, 8, 8)])
def test_grey_colour_and_volumes(shape):
    images = torch.rand(4, *shape)
    figure = figures.augmented_views(images, images)
    picture = figure.axes[0].images[0].get_array()
    expected = images[0].numpy() if len(shape) == 2 else images[0, :, 3].numpy() if len(shape) == 4 else \
        images[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(np.squeeze(picture), np.squeeze(expected))


def test_a_row_of_views_needs_a_name_and_an_image():
    x = torch.rand(2, 1, 8, 8)
    for images, views, names in ((x, [x, x], ["one"]), (x, [x], ["one", "two"]), (x[:0], [x[:0]], None)):
        with pytest.raises(MedsslError, match="a name for each row"):
            figures.augmented_views(images, views, names)


def test_normalised_images_are_refused():
    with pytest.raises(MedsslError, match="before it is normalised"):
        figures.augmented_views(torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8))


def test_confusion_names_the_positive_class():
    words = " ".join(t.get_text() for t in texts(figures.confusion([[30, 12], [10, 104]], CLASSES)))
    assert "positive class: normal, benign" in words and "n = 156" in words and "accuracy 0.859" in words
    assert "30\n71% of row" in words and "104\n91% of row" in words
    assert figures.confusion(np.eye(3, dtype=int), "abc").axes  # more classes: no positive one, but a matrix
    for wrong in (np.eye(3), [1, 2], [[1, 2]]):
        with pytest.raises(MedsslError, match="one row and one column a class"):
            figures.confusion(wrong, CLASSES)


def test_a_title_is_the_first_line_and_the_numbers_stay():
    x, y, p = data()
    wrong = ((p >= 0.5) != y).sum()
    for title, numbers in (
            (figures.confusion([[30, 12], [10, 104]], CLASSES, title=TITLE).get_suptitle(), "n = 156 · accuracy 0.859"),
            (figures.reliability(y, p, "b", title=TITLE).axes[0].get_title(), f"n = {N} · 10 equal-width bins"),
            (figures.misclassified(x, y, p, CLASSES, n=2, title=TITLE).get_suptitle(), f"2 of {wrong} errors among")):
        assert title.startswith(f"{TITLE}\n{numbers}")


def test_reliability_agrees_with_the_metrics():
    _, y, p = data()
    p[:3] = 0.0, 1.0, 0.3
    figure = figures.reliability(torch.tensor(y), torch.tensor(p), "normal, benign")
    top, bottom = figure.axes
    table = reliability_table(y, p)
    full = table["count"] > 0
    assert [int(bar.get_height()) for bar in bottom.patches] == table["count"][full].tolist()
    dots = np.concatenate([np.transpose(line.get_data()) for line in top.lines if line.get_linestyle() == "None"])
    dots = dots[np.argsort(dots[:, 0])]
    assert dots == pytest.approx(np.c_[table["confidence"][full], table["frequency"][full]])
    assert f"{ece(y, p, kind='positive'):.3f}" in top.get_title() and "normal, benign" in bottom.get_xlabel()
    assert "normal, benign" in top.get_ylabel() and f"n = {N}" in top.get_title()


def test_reliability_side_by_side_shares_axes_and_states_the_noise_floor():
    _, y, p = data()
    after = p * 0.8 + 0.1
    top, other, bottom, _ = figures.reliability(y, {"before": p, "after": after}, "b", title="smallcnn").axes
    for ax, name, values in ((top, "before", p), (other, "after", after)):
        floor = float(ax.get_title().split()[-1])
        assert ax.get_title().startswith(f"{name}\nn = {N}")
        assert f"{ece(y, values, kind='positive'):.3f}" in ax.get_title()
        assert floor == pytest.approx(ece_if_calibrated(values, kind="positive", draws=4000)["mean"], abs=0.004)
    assert top.get_shared_y_axes().joined(top, other) and bottom.get_ylabel() == "images"
    two = figures.reliability({"val": y[:20], "test": y}, {"val": p[:20], "test": p}, "b").axes
    assert "n = 20 " in two[0].get_title() and f"n = {N} " in two[1].get_title()
    with pytest.raises(MedsslError, match="20 values of p"):
        figures.reliability(y, {"before": p, "after": p[:20]}, "b")
    with pytest.raises(MedsslError, match="for 0 models"):
        figures.reliability(y, {}, "b")


def test_noise_band_holds_95_percent_of_what_a_calibrated_model_shows():
    rng, outside, bins = np.random.default_rng(0), 0, 0
    for _ in range(10):
        p = rng.random(1000)
        top = figures.reliability((rng.random(1000) < p).astype(int), p, "b", bins=25).axes[0]
        marks = {line.get_marker(): len(line.get_xdata()) for line in top.lines if line.get_linestyle() == "None"}
        outside, bins = outside + marks["D"], bins + marks["o"] + marks["D"]
    assert bins == 250 and outside / bins < 0.06  # binomial steps make the band hold a little more than 95 %
    sure = figures.reliability(np.r_[np.zeros(50, int), 1], np.r_[np.full(50, 0.9), 0.5], "b").axes[0]
    assert [len(line.get_xdata()) for line in sure.lines if line.get_marker() == "D"] == [1]


@pytest.mark.parametrize(("y", "p"), [
    ([[0], [1]], [0.1, 0.2]), ([0, 1], [0.1, 2.0]), ([0, 1], [0.1]), ([0, 1], [0.1, float("nan")]), ([], []),
    ([0, 1], [0.0, 1.0]), ([0, 1], [False, True]), ([0, 2], [0.1, 0.2]), (["a", "b"], [0.1, 0.2]),
    ([0, 1], ["0.1", "0.2"]), ([0, 1], [10.0, 90.0]), ([0, 1], [0.1, 0.2j])])
def test_figures_of_a_model_refuse_what_are_no_labels_and_probabilities(y, p):
    with pytest.raises(MedsslError):
        figures.reliability(y, p, "b")
    with pytest.raises(MedsslError):
        figures.misclassified(torch.zeros(len(y), 1, 8, 8), y, p, CLASSES)


@pytest.mark.parametrize("bins", [0, -1, 10.0, None])
def test_a_reliability_diagram_has_a_whole_number_of_bins(bins):
    with pytest.raises(MedsslError, match="bins="):
        figures.reliability([0, 1], [0.1, 0.8], "b", bins=bins)


# ---- the gallery of errors

def test_gallery_holds_distinct_errors_the_most_confident_first(tmp_path):
    x, y, p = data()
    table = tmp_path / "misclassified.csv"
    figure = figures.misclassified(x, y, p, CLASSES, csv=table, n=7)
    rows = list(csv.DictReader(table.open()))
    index = [int(row["index"]) for row in rows]
    assert len(set(index)) == len(rows) == 7 and list(tmp_path.iterdir()) == [table]
    for row, i in zip(rows, index, strict=True):
        assert int(row["y_true"]) == y[i] != int(row["predicted"]) == int(p[i] >= 0.5)
        assert float(row["p"]) == pytest.approx(p[i], rel=1e-8)
    wrong = np.flatnonzero((p >= 0.5) != y)
    assert set(index) == set(wrong[np.argsort(-np.abs(p[wrong] - 0.5))][:7])
    assert np.all(np.diff(np.abs(p[index] - 0.5)) <= 0)
    shown = [ax for ax in figure.axes if ax.images]
    for ax, i in zip(shown, index, strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), x[i, 0].numpy() / 255)
        assert f"#{i} true: {CLASSES[y[i]]}" in ax.get_title().replace("\n", " ") and f"= {p[i]:.2f}" in ax.get_title()
    assert f"7 of {len(wrong)} errors among n = {N}" in figure.get_suptitle()


def test_the_same_picture_is_shown_once():
    x, y, p = data()
    x[:] = x[0]
    x[5] = 0
    y[:], p[:] = 0, 0.9
    assert figures.misclassified(x, y, p, CLASSES).get_suptitle().startswith(f"2 of {N} errors")


def test_fewer_errors_than_asked_and_none_at_all(tmp_path):
    x, y, _ = data()
    p = 0.1 + 0.8 * y
    p[4] = 1 - p[4]
    assert figures.misclassified(x, y, p, CLASSES).get_suptitle().startswith("1 of 1 errors")
    p[4] = 1 - p[4]
    figure = figures.misclassified(x, torch.tensor(y), torch.tensor(p), CLASSES, csv=tmp_path / "none.csv")
    assert "no errors" in figure.get_suptitle()
    assert (tmp_path / "none.csv").read_text() == "index,y_true,p,predicted\n"


def test_given_indices_must_be_distinct_errors():
    x, y, p = data()
    wrong, right = np.flatnonzero((p >= 0.5) != y), np.flatnonzero((p >= 0.5) == y)
    figure = figures.misclassified(x, y, p, CLASSES, indices=wrong[:3])
    assert [ax.get_title().split()[0] for ax in figure.axes if ax.images] == [f"#{i}" for i in wrong[:3]]
    with pytest.raises(MedsslError, match="no error"):
        figures.misclassified(x, y, p, CLASSES, indices=[wrong[0], right[0]])
    with pytest.raises(MedsslError, match="shown already"):
        figures.misclassified(x, y, p, CLASSES, indices=[wrong[0], wrong[0]])
    x[wrong[1]] = x[wrong[0]]
    with pytest.raises(MedsslError, match="shown already"):
        figures.misclassified(x, y, p, CLASSES, indices=wrong[:2])
    with pytest.raises(MedsslError, match=r"y\.squeeze\(1\)"):  # the [N,N] mask whose np.where gave index 0 five times
        figures.misclassified(x, y[:, None], p, CLASSES)


@pytest.mark.parametrize("indices", [[-1], [N], [0.5], [[3]], np.ones(N, bool)])
def test_indices_must_be_places_in_the_split(indices):
    x, y, p = data()
    with pytest.raises(MedsslError, match="indices"):
        figures.misclassified(x, y, 1 - np.clip(y, 0.1, 0.9), CLASSES, indices=indices)
    none = figures.misclassified(x, y, 1 - np.clip(y, 0.1, 0.9), CLASSES, indices=np.zeros(0, int))
    assert none.get_suptitle().startswith(f"0 of {N} errors")


def test_a_gallery_needs_an_image_for_each_label_and_at_least_one_picture():
    x, y, p = data()
    for images in (x[:-1], torch.cat([x, x])):
        with pytest.raises(MedsslError, match=f"{len(images)} images"):
            figures.misclassified(images, y, p, CLASSES)
    for settings in ({"n": 0}, {"n": 2.5}, {"threshold": 50}):
        with pytest.raises(MedsslError, match="at least one picture"):
            figures.misclassified(x, y, p, CLASSES, **settings)


def test_the_table_of_the_gallery_makes_its_folder(tmp_path):
    figures.misclassified(*data(), CLASSES, csv=tmp_path / "results" / "week2" / "table.csv")
    assert [path.name for path in (tmp_path / "results" / "week2").iterdir()] == ["table.csv"]


# ---- curves and comparison

def test_curves_mean_over_shared_epochs_and_mark_the_best():
    runs = [history(0), history(1, 9)]
    left, right = figures.learning_curves({"a": runs}).axes
    thick = next(line for line in right.lines if line.get_linewidth() == 2)
    assert list(thick.get_xdata()) == list(range(5, 50, 5))  # steps; seed 1 stopped early: no jump in the mean
    mean = [np.mean([run[e]["val_auroc"] for run in runs]) for e in range(9)]
    assert list(thick.get_ydata()) == pytest.approx(mean)
    ring = next(line for line in right.lines if line.get_fillstyle() == "none")
    assert ring.get_xdata()[0] == 5 + 5 * int(np.argmax(mean)) and ring.get_ydata()[0] == pytest.approx(max(mean))
    assert {line.get_linestyle() for line in left.lines} == {"-", "--"} and "dashed: validation" in left.get_title()


def test_curves_without_validation_and_in_steps():
    rows = [{"step": k, "loss": 1 / k} for k in (1, 2, 3)]
    (only,) = figures.learning_curves({"a": rows}).axes
    assert only.get_xlabel() == "optimiser steps" and only.get_title() == "training" and len(only.lines) == 1
    gaps = [{"epoch": e, "loss": 1.0, **({"val_auroc": 0.5} if e % 2 else {})} for e in range(1, 7)]
    _, right = figures.learning_curves({"a": gaps}).axes
    assert list(right.lines[0].get_xdata()) == [1, 3, 5]  # eval_every=2
    assert right.get_xlabel() == "epoch" and list(right.lines[0].get_ydata()) == [0.5] * 3


def test_axes_carry_the_names_of_papers_and_the_ring_knows_which_way_is_better():
    assert figures.learning_curves({"a": history(0)}).axes[1].get_ylabel() == "validation AUROC"
    rows = [{"step": k, "loss": 1.0, "val_ece": value} for k, value in ((7, 0.3), (14, 0.1), (21, 0.2))]
    right = figures.learning_curves({"a": rows}, metric="val_ece").axes[1]
    ring = next(line for line in right.lines if line.get_fillstyle() == "none")
    assert (ring.get_xdata()[0], ring.get_ydata()[0], right.get_title()) == (14, 0.1, "ring: lowest mean")
    assert right.get_ylabel() == "validation ECE"
    keys = ("auroc", "balanced_accuracy", "ece", "nll", "brier")
    panels = figures.model_comparison({"a": {key: {"mean": 0.5} for key in keys}}).axes
    assert [ax.get_title() for ax in panels] == ["AUROC", "balanced accuracy", "ECE (lower is better)",
                                                 "NLL (lower is better)", "Brier (lower is better)"]


def test_a_metric_that_was_not_recorded_is_named_with_those_that_were():
    for metric, keys in (("val_aurox", ("loss", "val_auroc")), ("val_auroc", ("loss", "val_accuracy"))):
        with pytest.raises(MedsslError, match=rf"'{metric}' is in no history row.\n.*one of {keys[1]}"):
            figures.learning_curves({"a": history(0, keys=keys)}, metric=metric)
    for metric, histories in (("val_aurox", {"a": history(0, keys=("loss",))}), ("val_auroc", {"a": []})):
        with pytest.raises(MedsslError, match="none recorded"):
            figures.learning_curves(histories, metric=metric)


def test_comparison_draws_intervals_and_the_line_of_no_skill():
    rows = comparison(["a", "b"])
    figure = figures.model_comparison(rows, baseline={"accuracy": 0.73})
    accuracy = figure.axes[0]
    assert [list(line.get_xdata()) for line in accuracy.lines if len(line.get_xdata()) == 2] == \
        [[0.74, 0.86], [0.74, 0.86], [0.73, 0.73]]
    assert "no skill" in figure.get_suptitle() and "0.800" in " ".join(t.get_text() for t in texts(figure))
    del rows["b"]["ece_top_label"]
    with pytest.raises(MedsslError, match="ece_top_label of b"):
        figures.model_comparison(rows)


def test_stamp_is_replaced_and_works_on_any_figure():
    for figure in (figures.confusion([[1, 0], [0, 1]], CLASSES), Figure()):
        figures.stamp(figures.stamp(figure, "first"), "second")
        assert [t.get_text() for t in figure.texts if t.get_text() in ("first", "second")] == ["second"]
