"""Figures of weeks 4-7: nothing covers anything; those of pretraining and of label shares draw the numbers given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from figure_inputs import FRACTIONS, HOSTILE, KEYS, at, drift_rows, efficiency, legend_of, run, shift_rows, words
from matplotlib.colors import to_hex
from test_figures import CLASSES, LONG, TITLE, assert_tidy, data

from medssl import figures
from medssl.errors import MedsslError


def every_figure(classes=CLASSES, model="SSL fine-tuned, 10 % of labels"):
    x, y, p = data()
    points = [{"name": f"{rule} on val", **at(y, p, t)} for rule, t in (("TPR ≥ 0.95", 0.2), ("Youden", 0.5))]
    rng, pictures = np.random.default_rng(0), x.float() / 255
    maps = {f"{model}, t-SNE": rng.normal(size=(60, 2)), "supervised, t-SNE": rng.normal(size=(60, 2))}
    statistics = {name: rng.random(60) for name in ("brightness", "contrast", "edge density")}
    splits, rung = {"val": (y[:30], p[:30]), "test": (y, p)}, {"mean": 0.8, "lo": 0.7, "hi": 0.9}
    return {
        "one run": lambda: figures.ssl_curves(run(0), 256),
        "seeds": lambda: figures.ssl_curves({model: [run(0), run(1, 9)], "MoCo": run(2)}, chance=6.9, title=TITLE),
        "LeJEPA": lambda: figures.ssl_curves({model: run(0, keys=(*KEYS, "prediction", "sigreg"))}, chance=0.8,
                                             levels={"sigreg": 1.05}, title=TITLE),
        "shadows": lambda: figures.shadows({model: rng.normal(size=(60, 2)), "a point": np.zeros((9, 2))}, title=TITLE),
        "pairs": lambda: figures.view_pairs(pictures, pictures.flip(-1), title=TITLE),
        "one pair": lambda: figures.view_pairs(pictures[:1], pictures[:1]),
        "efficiency": lambda: figures.label_efficiency(
            {model: efficiency(), "pixel logistic regression": efficiency(10)}, "auroc", FRACTIONS,
            {"week-3 reference, all labels": (0.82, 0.88, 0.93)}, 0.73, title=TITLE),
        "ladder": lambda: figures.ladder({"majority": rung, "supervised, same labels": rung, model: rung}),
        "roc": lambda: figures.roc_curves({model: (y, p), "supervised": (y, p**2)}, points, classes[1], title=TITLE),
        "pr": lambda: figures.pr_curves({model: (y, p), "supervised": (y, p**2)}, points, classes[1], title=TITLE),
        "roc of two splits": lambda: figures.roc_curves(splits, (), classes[1]),
        "drift": lambda: figures.threshold_drift(drift_rows(), classes[1], title=TITLE),
        "drift, one row": lambda: figures.threshold_drift([{**drift_rows()[0], "name": model}], classes[1]),
        "scores": lambda: figures.score_histograms(splits, 0.3, classes, title=TITLE),
        "trade-off": lambda: figures.trade_off(y, p, classes, points=points, title=TITLE),
        "embeddings": lambda: figures.embeddings(maps, y, classes, TITLE),
        "one embedding": lambda: figures.embeddings({model: maps["supervised, t-SNE"]}, y, classes),
        "errors": lambda: figures.error_statistics(statistics, (p >= 0.5) != y, {"contrast": "p = 0.3"}, title=TITLE),
        "shifts": lambda: figures.shift_curves(shift_rows(), title=TITLE),
        "one shift": lambda: figures.shift_curves(shift_rows(("noise",))[1:], ("auroc",)),
        "shifted": lambda: figures.shifted_examples(pictures, {"noise 0.1": pictures, "blur 2": pictures}),
    }


@pytest.mark.parametrize("classes", [CLASSES, LONG], ids=["breast", "long names"])
@pytest.mark.parametrize("name", every_figure())
def test_no_text_lies_on_another_and_the_legend_covers_no_axes(name, classes):
    figure = every_figure(classes)[name]()
    assert_tidy(figure)
    for legend in figure.legends:
        top = legend.get_window_extent().y1
        assert all(ax.get_tightbbox().y0 > top - 1 for ax in figure.axes if ax.axison)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", every_figure())
def test_names_are_drawn_as_they_are_written(name):
    figure = every_figure((HOSTILE, HOSTILE + "!"), HOSTILE)[name]()
    drawn = words(figure)  # a formula that is none would raise here
    if name not in ("one run", "drift", "pairs", "one pair", "errors", "shifts", "one shift", "shifted"):
        assert HOSTILE.strip("_")[:7] in drawn


@pytest.mark.parametrize("name", ["roc", "pr", "drift", "scores", "trade-off", "roc of two splits"])
def test_the_positive_class_stands_on_the_axes(name):
    labels = " ".join(ax.get_xlabel() + ax.get_ylabel() for ax in every_figure()[name]().axes)
    assert CLASSES[1] in " ".join(labels.split())


def test_loss_and_chance_of_one_run():
    figure = figures.ssl_curves(run(0), 256)
    loss, cosine, spread, rank = figure.axes
    line, chance = loss.lines
    assert list(line.get_ydata()) == [row["loss"] for row in run(0)] and list(line.get_xdata()) == [*range(1, 13)]
    assert chance.get_ydata()[0] == pytest.approx(np.log(511)) and "6.236" in loss.get_title() and not figure.legends
    assert [list(line.get_ydata()) for line in cosine.lines + spread.lines + rank.lines] == \
        [[row[key] for row in run(0)] for key in KEYS[1:]]
    assert spread.get_ylim()[0] == 0 and [line.get_linestyle() for line in cosine.lines] == ["-", "--"]
    assert "6.900" in figures.ssl_curves(run(0), chance=6.9).axes[0].get_title()


def test_seeds_are_thin_and_their_mean_is_thick():
    runs = [run(0), run(1, 9)]
    figure = figures.ssl_curves(runs)
    loss = figure.axes[0]
    *thin, thick = loss.lines
    assert [len(line.get_xdata()) for line in thin] == [12, 9] and legend_of(figure) == ["mean of 2 seeds"]
    assert thick.get_ydata() == pytest.approx([np.mean([rows[e]["loss"] for rows in runs]) for e in range(9)])


def test_what_was_not_recorded_leaves_its_panel_out_and_nan_is_a_gap():
    assert len(figures.ssl_curves([{"step": k, "loss": 1.0} for k in (1, 2)]).axes) == 1
    rows = [{**row, "val_rank": None} for row in run(0, keys=("loss", "positive_cosine"))]
    loss, cosine = figures.ssl_curves(rows).axes
    assert cosine.get_title() == "solid: views of one image" and len(cosine.lines) == 1
    rows[3]["loss"] = float("nan")
    assert np.isnan(figures.ssl_curves(rows).axes[0].lines[0].get_ydata()[3])
    for empty in ([], {}, {"a": []}, [[], []], [{"epoch": 1}]):
        with pytest.raises(MedsslError, match="no loss"):
            figures.ssl_curves(empty)


def test_losses_of_different_sizes_are_all_to_be_read():
    """A reconstruction of 0.1 beside an InfoNCE of 4: on one straight axis the first is a line at 0."""
    small, large = ([{"epoch": k, "loss": size / k} for k in (1, 2, 3)] for size in (0.1, 4.0))
    for runs, scale in (({"a": small, "b": large}, "log"), ({"a": large, "b": large}, "linear"), (small, "linear")):
        assert figures.ssl_curves(runs).axes[0].get_yscale() == scale


def test_the_parts_of_lejepas_loss_have_panels_and_sigreg_its_level():
    figure = figures.ssl_curves(run(0, keys=(*KEYS, "sigreg")), chance=0.8, levels={"sigreg": 1.05})
    (panel,) = (ax for ax in figure.axes if "SIGReg" in ax.get_ylabel())
    line, level = panel.lines
    assert list(line.get_ydata()) == [row["sigreg"] for row in run(0, keys=(*KEYS, "sigreg"))]
    assert set(level.get_ydata()) == {1.05} and level.get_linestyle() == "--" and "1.05" in panel.get_title()
    assert [ax.get_visible() and ax.axison for ax in figure.axes] == [True] * 5 + [False]


def test_a_shadow_lies_on_the_direction_that_is_drawn():
    z = np.random.default_rng(0).normal(size=(50, 2)) + [1, 0]
    _, density, waves = figures.shadows({"z": z}, (0, 2)).axes
    grid = waves.lines[0].get_xdata()
    assert waves.lines[0].get_ydata() == pytest.approx(np.exp(-grid**2 / 2))
    phi = np.exp(1j * grid[:, None] * z[:, 1]).mean(1)
    for line, part in zip(waves.lines[1:], (phi.real, phi.imag), strict=True):
        assert line.get_ydata() == pytest.approx(part)
    for wrong in ({}, {"z": z[:, :1]}, {"z": z * np.nan}):
        with pytest.raises(MedsslError, match="No shadow"):
            figures.shadows(wrong)


def test_a_frame_holds_the_two_views_of_one_image():
    first, second = torch.rand(20, 1, 8, 8), torch.rand(20, 1, 8, 8)
    axes = [ax for ax in figures.view_pairs(first, second).axes if ax.axison]
    assert len(axes) == 16 and axes[0].get_subplotspec().get_gridspec().ncols == 4
    for k, ax in enumerate(axes):
        assert [image.get_array().tolist() for image in ax.images] == [first[k, 0].tolist(), second[k, 0].tolist()]
        assert ax.images[0].get_extent()[1] < ax.images[1].get_extent()[0]
        assert all(spine.get_visible() for spine in ax.spines.values())
    assert sum(ax.axison for ax in figures.view_pairs(first, second, 5).axes) == 5
    for wrong in ((first, second[:3]), (first[:0], second[:0]), (first, second, 0)):
        with pytest.raises(MedsslError, match="view1"):
            figures.view_pairs(*wrong)


def test_label_efficiency_draws_mean_and_spread_of_the_runs():
    curve = efficiency(7)
    reference = {"locked": (0.8, 0.85, 0.9), "b": 0.7}
    figure = figures.label_efficiency({"probe": curve}, "auroc", FRACTIONS, reference, 0.73)
    (ax,) = figure.axes
    mean, locked, second, majority = ax.lines
    assert list(mean.get_xdata()) == [*FRACTIONS.values()] and ax.get_xscale() == "log"
    assert mean.get_ydata() == pytest.approx([runs.mean() for runs in curve.values()])
    band = ax.collections[0].get_paths()[0].vertices
    for fraction, n in FRACTIONS.items():
        values = band[band[:, 0] == n, 1]
        spread = curve[fraction].std(ddof=1)
        assert [values.min(), values.max()] == pytest.approx(curve[fraction].mean() + np.array([-spread, spread]))
    assert [line.get_ydata()[0] for line in (locked, second, majority)] == [0.85, 0.7, 0.73]
    assert "5 % (27)" in words(figure) and "mean of 7 runs" in words(figure) and "standard deviation" in words(figure)
    assert "locked: 0.850 [0.800, 0.900]" in legend_of(figure)
    assert "open marker" not in words(figure) and len(ax.collections[2].get_offsets()) == 0
    one = figures.label_efficiency({"a": {1.0: [0.5]}, "b": {0.1: [0.4]}})  # one run, one point, fractions that differ
    assert "one run a point" in words(one) and list(one.axes[0].lines[1].get_xdata()) == [10]
    assert "mean of 1–7 runs" in words(figures.label_efficiency({"a": curve, "b": {0.1: [0.4]}}))


def test_a_single_run_is_drawn_open_and_without_a_band():
    """A band that narrows to nothing at 100 % of the labels would say that there nothing is uncertain."""
    curve = {**efficiency(7), 1.0: [0.8]}
    figure = figures.label_efficiency({"probe": curve, "two": {0.1: [0.5, 0.6], 1.0: [0.7]}}, "auroc", FRACTIONS)
    band, bar, dots, _, other_bar, other_dots = figure.axes[0].collections
    assert band.get_paths()[0].vertices[:, 0].max() == FRACTIONS[0.2] and not bar.get_segments()
    assert dots.get_offsets().tolist() == [[FRACTIONS[1.0], 0.8]] and other_dots.get_offsets().tolist() == [[546, 0.7]]
    assert dots.get_facecolor()[0].tolist() == [1, 1, 1, 1]
    spread = np.std([0.5, 0.6], ddof=1)  # at a point between single runs a band would have no width
    assert other_bar.get_segments()[0] == pytest.approx(np.array([[55, 0.55 - spread], [55, 0.55 + spread]]))
    assert "open marker: a single run, which has no band" in words(figure)
    assert_tidy(figure)


@pytest.mark.parametrize("curves", [{}, {"a": {}}, {"a": {0.1: []}}, {"a": {0.1: [0.8, np.nan]}}, {"a": {5: [0.8]}},
                                    {"a": {0: [0.8]}}, {"a": {0.3: [0.8]}}])
def test_label_efficiency_refuses_gaps_and_percentages(curves):
    with pytest.raises(MedsslError, match="no line can be drawn"):
        figures.label_efficiency(curves, n_labels=FRACTIONS | {5: 30, 0: 0})


def test_the_rungs_with_ssl_stand_out():
    rungs = ("majority", "pixels", "SSL probe")
    rows = {name: {"mean": k / 10, "lo": 0.1, "hi": 0.9} for k, name in enumerate(rungs, 5)}
    (ax,) = figures.ladder(rows, note="mean of 30 runs").axes
    dots = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert [line.get_xdata()[0] for line in dots] == [0.5, 0.6, 0.7]
    colours = [to_hex(line.get_color()) for line in dots]
    assert colours[0] == colours[1] != colours[2]
    dots = [line for line in figures.ladder(rows, highlight=["pixels"]).axes[0].lines if len(line.get_xdata()) == 1]
    assert [to_hex(line.get_color()) for line in dots] == [colours[0], colours[2], colours[0]]
