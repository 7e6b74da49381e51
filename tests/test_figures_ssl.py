"""Figures of weeks 4-7: what is drawn are the numbers given, nothing covers anything, and nonsense is refused."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from test_figures import CLASSES, LONG, TITLE, assert_tidy, data, texts

from medssl import figures
from medssl.errors import MedsslError
from medssl.figures.operating import found_and_alarmed, pointwise_band

HOSTILE = "_private $\\nosuch{ a$ {x} ünïcode"  # even dollars: a formula to matplotlib, and none that it knows
FRACTIONS = {0.01: 5, 0.02: 11, 0.05: 27, 0.1: 55, 0.2: 109, 1.0: 546}
KEYS = ("loss", "positive_cosine", "negative_cosine", "val_std_mean", "val_std_min", "val_rank")


def run(seed: int, epochs: int = 12, keys=KEYS) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [{"epoch": e, "step": 2 * e, **{key: float(rng.random()) for key in keys}} for e in range(1, epochs + 1)]


def efficiency(runs: int = 30, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {fraction: rng.uniform(0.6, 0.9, runs) for fraction in FRACTIONS}


def at(y, p, threshold: float) -> dict:
    tp, fp = ((p >= threshold) & (y == 1)).sum(), ((p >= threshold) & (y == 0)).sum()
    rates = {"tpr": tp / y.sum(), "fpr": fp / (1 - y).sum(), "recall": tp / y.sum(), "precision": tp / (tp + fp)}
    return {"n": len(y), "threshold": threshold, **rates, "ci95": {k: [0.9 * v, 1.0 * v] for k, v in rates.items()}}


def drift_rows() -> list[dict]:
    _, y, p = data()
    rules = (("tpr", 0.95, 0.2), ("fpr", 0.1, 0.8), ("youden", None, 0.5), ("cost", None, 0.3))
    return [{"rule": rule, "target": target, "threshold": t, "val": at(y[:30], p[:30], t), "test": at(y, p, t)}
            for rule, target, t in rules]


def shift_rows(kinds=("brightness", "contrast", "noise", "blur", "crop")) -> list[dict]:
    values = {"auroc": 0.85, "accuracy": 0.8, "ece": 0.06}
    spread = {"ci95": {key: [value - 0.03, value + 0.04] for key, value in values.items()}}
    return [{"shift": "none", "strength": 0, "n": 624, **values, **spread},
            *({"shift": kind, "strength": 0.1 * g, "n": 624, **{k: v - 0.01 * g for k, v in values.items()}, **spread}
              for kind in kinds for g in range(1, 6))]


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


def words(figure) -> str:
    return " ".join(" ".join(t.get_text() for t in texts(figure)).split())


def legend_of(figure) -> list[str]:
    return [" ".join(t.get_text().split()) for t in figure.legends[0].get_texts()]


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


# ---- pretraining

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


# ---- labels

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


# ---- operating points

def test_curves_agree_with_sklearn_even_with_ties():
    _, y, p = data()
    p = p.round(1).clip(0.05, 1)  # many equal values
    assert roc_curve(y, p)[2][0] == np.inf
    thresholds, tp, fp = found_and_alarmed(y, p)
    fpr, tpr, sk = roc_curve(y, p, drop_intermediate=False)
    np.testing.assert_allclose([thresholds, fp / fp[-1], tp / tp[-1]], [sk, fpr, tpr])
    roc, pr = figures.roc_curves({"a": (y, p)}, n_boot=0), figures.pr_curves({"a": (y, p)}, n_boot=0)
    assert np.array(roc.axes[0].lines[0].get_data()) == pytest.approx(np.array([fpr, tpr]))
    precision, recall, _ = precision_recall_curve(y, p)
    drawn = np.array(pr.axes[0].lines[0].get_data())
    assert pr.axes[0].lines[0].get_drawstyle() == "steps-pre"  # the area of which is the average precision
    assert drawn[:, 1:] == pytest.approx(np.array([recall, precision])[:, -2::-1])
    assert legend_of(roc)[0] == f"a: AUROC {roc_auc_score(y, p):.3f}"
    assert legend_of(pr) == [f"a: AUPRC {average_precision_score(y, p):.3f}", f"no skill: prevalence {y.mean():.3f}"]
    assert f"n = 60, of them {y.sum()} class 1" in words(roc)


def test_the_band_holds_95_percent_of_fresh_test_sets_at_each_x():
    rng, inside, grid = np.random.default_rng(1), [], np.array([0.2, 0.5])
    truth = np.interp(grid, *_normal_roc())
    for _ in range(150):
        y = np.repeat([0, 1], 100)
        p = 1 / (1 + np.exp(-rng.normal(y * 1.5, 1)))
        low, high = pointwise_band("AUROC", y, p, grid, 200)
        inside.append((low <= truth) & (truth <= high))
    assert 0.90 < np.mean(inside) < 0.98


def _normal_roc():
    from scipy.stats import norm

    t = np.linspace(6, -6, 2001)
    return norm.sf(t), norm.sf(t - 1.5)


def test_operating_points_and_their_bars_lie_where_they_are():
    _, y, p = data()
    point = {"name": "Youden", **at(y, p, 0.5)}
    for draw, keys in ((figures.roc_curves, ("fpr", "tpr")), (figures.pr_curves, ("recall", "precision"))):
        figure = draw({"a": (y, p)}, [point, {**point, "name": "no bars", "ci95": {}}], n_boot=0)
        across, up, mark = figure.axes[0].lines[2:5]
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (point[keys[0]], point[keys[1]])
        assert list(across.get_xdata()) == point["ci95"][keys[0]] and list(up.get_ydata()) == point["ci95"][keys[1]]
        here = f"({point[keys[0]]:.3f}, {point[keys[1]]:.3f})"
        assert f"Youden = no bars: {here}" in legend_of(figure)  # one marker would hide the other
        elsewhere = draw({"a": (y, p)}, [point, {**point, keys[0]: 0.05}, {"name": "third", **point}], n_boot=0)
        marks = [line for line in elsewhere.axes[0].lines if len(line.get_xdata()) == 1]
        assert [mark.get_xdata()[0] for mark in marks] == [point[keys[0]], 0.05] and len(legend_of(elsewhere)) == 4
        assert marks[0].get_markeredgecolor() == "black" and marks[0].get_markerfacecolor()[3] < 1
    with pytest.raises(MedsslError, match="precision"):
        figures.pr_curves({"a": (y, p)}, [{"name": "of a ROC", "fpr": 0.1, "tpr": 0.9}])
    for models in ({}, {"a": (np.ones(60, int), p)}, {"a": (y, p[:-1])}, {"a": (y, (p > 0.5).astype(int))}):
        with pytest.raises(MedsslError):
            figures.roc_curves(models)


def test_drift_goes_from_val_to_test():
    rows = drift_rows()
    for ax, key in zip(figures.threshold_drift(rows, "b").axes, ("tpr", "fpr"), strict=True):
        dots = [line for line in ax.lines if len(line.get_xdata()) == 1]
        assert [dot.get_xdata()[0] for dot in dots] == [row[split][key] for row in rows for split in ("val", "test")]
        assert [dot.get_marker() for dot in dots] == ["o", "s"] * 4
        arrows = [(text.xyann[0], text.xy[0]) for text in ax.texts]
        assert arrows == [(row["val"][key], row["test"][key]) for row in rows]
        (target,) = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert target.get_xdata()[0] == {"tpr": 0.95, "fpr": 0.1}[key]
    drawn = words(figures.threshold_drift(rows))
    assert "TPR ≥ 0.95 p ≥ 0.200" in drawn and "cost FN 1 : FP 1" in drawn and "val (n = 30)" in drawn
    with pytest.raises(MedsslError, match="no row"):
        figures.threshold_drift([])


def test_drift_reads_the_rows_of_evaluate():
    from medssl.evaluate import operating_points

    _, y, p = data()
    rows = operating_points(y[:30], p[:30], y, p)
    assert_tidy(figures.threshold_drift(rows, CLASSES[1], title=TITLE))
    assert "cost FN 1 : FP 5 p ≥" in words(figures.threshold_drift(rows))


def test_histograms_are_shares_of_each_class():
    _, y, p = data()
    figure = figures.score_histograms({"val": (y[:30], p[:30]), "test": (y, p)}, 0.3, CLASSES)
    for ax, n in zip(figure.axes, (30, 60), strict=True):
        for k, patch in enumerate(ax.patches):
            values, edges, _ = patch.get_data()
            assert values.sum() == pytest.approx(1) and values * (y[:n] == k).sum() == pytest.approx(
                np.histogram(p[:n][y[:n] == k], edges)[0])
        assert f"TPR {np.mean(p[:n][y[:n] == 1] >= 0.3):.3f}, FPR {np.mean(p[:n][y[:n] == 0] >= 0.3):.3f}" in \
            " ".join(ax.get_title("left").split())
    assert "TPR –" in words(figures.score_histograms({"a": (np.zeros(60, int), p)}, 0.3))
    with pytest.raises(MedsslError, match="no split"):
        figures.score_histograms({})


def test_missed_and_false_alarms_at_every_threshold():
    _, y, p = data()
    p[:4] = 0.0, 1.0, 0.5, 0.5
    figure = figures.trade_off(y, p, CLASSES, points=[{"name": "a", "threshold": 0.5}])
    missed, alarms = figure.axes[0].lines[:2]
    assert missed.get_drawstyle() == alarms.get_drawstyle() == "steps-pre"
    for t in (0.0, 1e-9, 0.25, 0.5, 0.77, 1.0):
        for line, wrong in ((missed, (p < t) & (y == 1)), (alarms, (p >= t) & (y == 0))):
            x, height = line.get_data()
            assert height[np.searchsorted(x, t)] == pytest.approx(100 * wrong.mean())
    fn, fp = 100 * np.mean((p < 0.5) & (y == 1)), 100 * np.mean((p >= 0.5) & (y == 0))
    assert f"a: p ≥ 0.500, FN {fn:.1f}, FP {fp:.1f}" in legend_of(figure)
    assert legend_of(figure)[0] == f"FN: {CLASSES[1]} called {CLASSES[0]}"


# ---- embeddings, statistics, shifts

def test_embeddings_show_every_image_once_under_its_class():
    _, y, _ = data()
    xy = np.arange(120.0).reshape(60, 2)
    figure = figures.embeddings({"t-SNE": xy, "UMAP": xy[::-1].copy()}, torch.tensor(y), CLASSES)
    for k, dots in enumerate(figure.axes[0].collections):
        assert sorted(dots.get_offsets().tolist()) == xy[y == k].tolist()
    assert legend_of(figure) == [f"{name} ({(y == k).sum()})" for k, name in enumerate(CLASSES)]
    assert "distances" in words(figure) and "n = 60" in words(figure)
    assert sum(ax.axison for ax in figures.embeddings({str(k): xy for k in range(5)}, y, CLASSES).axes) == 5
    broken = xy.copy()
    broken[3] = np.nan
    for maps, labels in (({}, y), ({"a": xy[1:]}, y), ({"a": broken}, y), ({"a": xy.T}, y), ({"a": xy}, y + 1),
                         ({"a": xy[:0]}, y[:0]), ({"a": xy}, y[:, None])):
        with pytest.raises(MedsslError):
            figures.embeddings(maps, labels, CLASSES)


def test_error_statistics_hold_every_image_in_its_group():
    values, wrong = np.arange(60.0), np.arange(60) % 3 == 0
    figure = figures.error_statistics({"contrast": torch.tensor(values)}, wrong, {"contrast": "difference 0.1"})
    (ax,) = figure.axes
    dots = [line for line in ax.lines if line.get_alpha() == 0.5]
    assert [list(line.get_ydata()) for line in dots] == [values[wrong].tolist(), values[~wrong].tolist()]
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_linewidth() == 2]
    assert medians == [np.median(values[wrong]), np.median(values[~wrong])]
    assert "errors n = 20" in words(figure) and ax.get_title() == "difference 0.1"
    names = np.where(wrong, "FP", "right")
    assert "FP n = 20" in words(figures.error_statistics({"a": values, "b": values}, names))
    for names in (("FN: needless alarm", "FP: missed cancer", "TN: found cancer", "TP: called benign"),
                  ("FN", "FP", "TN", "TP"), LONG):
        four = figures.error_statistics({key: np.tile(values, 100) for key in "abcd"}, np.resize(names, 6000))
        assert_tidy(four)
        drawn = words(four)
        assert all(f"{name} n = {6000 // len(names)}" in drawn for name in names)
    for statistics, n in (({}, 60), ({"a": values[1:]}, 60), ({"a": values * np.nan}, 60), ({"a": []}, 0)):
        with pytest.raises(MedsslError):
            figures.error_statistics(statistics, wrong[:n])


def test_the_axis_labels_of_four_shift_panels_stay_beside_their_panels():
    names = [f"{model}:_change_of_{metric}" for metric in ("auroc", "ece") for model in ("supervised", "SSL_probe")]
    rows = [{"shift": row["shift"], "strength": 1.25 * row["strength"], **dict.fromkeys(names, row["auroc"])}
            for row in shift_rows()]
    figure = figures.shift_curves(rows, names, title=TITLE)
    assert_tidy(figure)
    for ax in figure.axes:
        label, panel = ax.yaxis.label.get_window_extent(), ax.get_window_extent()
        assert panel.y0 <= label.y0 and label.y1 <= panel.y1, ax.get_ylabel()
    assert figure.axes[3].get_ylabel() == "SSL probe: change of ECE\n(lower is better)"


def test_shift_curves_have_a_line_a_kind_and_the_clean_value():
    figure = figures.shift_curves(shift_rows(("noise", "blur")), ("auroc", "ece"))
    auroc, ece = figure.axes
    lines = [line for line in auroc.lines if len(line.get_xdata()) == 5]
    assert [line.get_ydata() for line in lines] == [pytest.approx([0.84, 0.83, 0.82, 0.81, 0.80])] * 2
    (clean,) = [line for line in auroc.lines if line.get_linestyle() == "--"]
    bars = [line.get_ydata() for line in auroc.lines if len(line.get_xdata()) == 2 and line is not clean]
    assert bars == [pytest.approx([0.82, 0.89])] * 10
    assert clean.get_ydata()[0] == 0.85 and "noise: 0.1, 0.2, 0.3, 0.4, 0.5" in legend_of(figure)
    assert ece.get_ylabel() == "ECE\n(lower is better)" and "n = 624" in words(figure)
    for rows, metrics in (([], ["auroc"]), (shift_rows()[:1], ["auroc"]), (shift_rows(), ["nll"]), (shift_rows(), [])):
        with pytest.raises(MedsslError):
            figures.shift_curves(rows, metrics)
