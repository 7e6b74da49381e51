"""Figures of operating points and errors: curves, bands, thresholds, histograms, embeddings and shifts."""

import numpy as np
import pytest
import torch
from figure_inputs import at, drift_rows, legend_of, shift_rows, words
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from test_figures import CLASSES, LONG, TITLE, assert_tidy, data

from medssl import figures
from medssl.errors import MedsslError
from medssl.figures.operating import found_and_alarmed, pointwise_band


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
