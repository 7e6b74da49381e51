"""Figures of training, and of comparing what was trained."""

from collections.abc import Collection, Mapping, Sequence
from textwrap import fill

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, MARKERS, named, new_figure

SHORT = {"auroc": "AUROC", "auprc": "AUPRC", "ece": "ECE", "nll": "NLL", "brier": "Brier", "f1": "F1"}
LOWER_IS_BETTER = {"loss", "ece", "nll", "brier"}


def readable(metric: str) -> tuple[str, bool]:
    """(name as it stands in a paper, is lower better?): "val_auroc" -> ("validation AUROC", False)."""
    words = metric.replace("val_", "validation ").replace("_", " ").split()
    return " ".join(SHORT.get(word, word) for word in words), not LOWER_IS_BETTER.isdisjoint(words)


def mean_line(ax, seeds: Sequence, x: str, key: str, look: dict, marker: str, label: str | None = None):
    """A thin line a seed, and a thick one for their mean over the x that all reached; returns (x, mean) of that one."""
    curves = [{row[x]: row[key] for row in rows if row.get(key) is not None} for rows in seeds]
    curves = [curve for curve in curves if curve]
    for curve in curves if len(curves) > 1 else []:
        ax.plot(curve.keys(), curve.values(), linewidth=0.7, alpha=0.5, **look)
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    mean = [np.mean([curve[at] for curve in curves]) for at in shared]
    if label is not None and len(curves) > 1:
        label = f"{label} (mean of {len(curves)} seeds)" if label else f"mean of {len(curves)} seeds"
    if shared:
        ax.plot(shared, mean, linewidth=2, marker=marker, markevery=max(1, len(shared) // 8), markersize=4, label=label,
                **look)
    return shared, mean


def learning_curves(histories: Mapping[str, Sequence], metric: str = "val_auroc"):
    """Training loss (validation loss dashed, where recorded) on the left, a validation metric on the right, by step.

    histories = {label: trainer history rows}, or {label: [rows of seed 0, rows of seed 1, ...]}: then seeds are thin
    lines, and a thick one is their mean over the steps all seeds reached. A ring marks the best mean metric. The x axis
    counts optimiser steps, which cost the same on small sets and large ones; rows without them count epochs. Without
    any validation metric in the rows the loss stands alone.
    """
    runs = {label: [rows] if rows and isinstance(rows[0], Mapping) else rows for label, rows in histories.items()}
    keys = {key for seeds in runs.values() for rows in seeds for row in rows for key in row}
    recorded = sorted(key for key in keys if key.startswith("val_") and key != "val_loss")
    if not keys or (metric not in keys and (recorded or metric != "val_auroc")):
        raise MedsslError(f"{metric!r} is in no history row.", f"one of {', '.join(recorded) or 'none recorded'}",
                          "validate= of the Trainer says what is recorded")
    panels = [("loss", "val_loss"), (metric,)] if metric in keys else [("loss", "val_loss")]
    figure, (axes,) = new_figure(4.2 * len(panels), 3.3, 1, len(panels))
    x = "step" if all("step" in row for seeds in runs.values() for rows in seeds for row in rows) else "epoch"
    name, lower = readable(metric)
    for ax, panel in zip(axes, panels, strict=True):
        for (k, (label, seeds)), key in ((run, key) for run in enumerate(runs.items()) for key in panel):
            look = {"color": COLOURS[k % 7], "linestyle": "--" if key == "val_loss" else "-"}
            shared, mean = mean_line(ax, seeds, x, key, look, MARKERS[k % 7], named(label) if key == "loss" else None)
            if key == metric and shared:
                best = np.argmin(mean) if lower else np.argmax(mean)
                ax.plot(shared[best], mean[best], "o", markersize=12, fillstyle="none", **look)
        ax.set(xlabel="optimiser steps" if x == "step" else x, ylabel="loss" if panel[0] == "loss" else name)
        ax.set_title("solid: training · dashed: validation" if {*panel} <= keys and len(panel) > 1 else
                     "training" if panel[0] == "loss" else
                     f"ring: {'lowest' if lower else 'highest'} mean", fontsize=9)
        ax.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def model_comparison(rows: Mapping[str, Mapping[str, Mapping]], baseline: Mapping[str, float] | None = None,
                     note: str = "dot: mean · bar: 95 % interval", highlight: Collection[str] | None = None):
    """Dot and interval a model, one panel a metric: rows = {model: {metric: {"mean", "lo", "hi"}}}.

    baseline {metric: value} draws what no skill gives (majority accuracy, AUROC 0.5, AUPRC = prevalence). Every model
    must have every metric: an ECE of some models only compares nothing. Say in `note` what the bars are. Where some
    models are to be seen first (`highlight`), all others are grey.
    """
    metrics = list(dict.fromkeys(metric for values in rows.values() for metric in values))
    missing = [f"{metric} of {model}" for model in rows for metric in metrics if metric not in rows[model]]
    if missing or not metrics:
        raise MedsslError(f"not there: {', '.join(missing) or 'any model'}.", "every metric for every model",
                          "evaluate all models with the same function, or leave the metric out for all")
    names = [fill(model, 24) for model in rows]
    height = 0.3 + 0.17 * max(name.count("\n") + 1 for name in names)  # inches a model, so that long names never touch
    width = max(5.5, 1.8 + 2.5 * len(metrics))
    figure, (axes,) = new_figure(width, 1.1 + height * len(rows), 1, len(metrics), sharey=True)
    for ax, metric in zip(axes, metrics, strict=True):
        for k, (model, value) in enumerate((model, values[metric]) for model, values in rows.items()):
            mean, look = value["mean"], {"color": COLOURS[k % 7]}
            if highlight is not None:
                look = {"color": COLOURS[0] if model in highlight else "#888888"}
            ax.plot([value.get("lo", mean), value.get("hi", mean)], [k, k], linewidth=2, **look)
            ax.plot(mean, k, MARKERS[k % 7], markersize=7, **look)
            ax.annotate(f"{mean:.3f}", (mean, k), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        if baseline and metric in baseline:
            ax.axvline(baseline[metric], color="black", linestyle="--", linewidth=1, zorder=0)
        name, lower = readable(metric)
        ax.set_title(name + " (lower is better)" * lower, fontsize=9)
        ax.set_ylim(len(rows) - 0.5, -0.7)
        ax.set_yticks(range(len(rows)), names)
        ax.grid(axis="x", alpha=0.3)
        ax.margins(x=0.12)
    note += " · dashed: no skill (majority, chance)" if baseline else ""
    figure.suptitle(fill(note, max(80, 40 * len(metrics))), fontsize=9)
    return figure
