"""Figures of learning without labels: how the pretraining went, and the pairs of views it learned from."""

from collections.abc import Mapping
from textwrap import fill

import numpy as np
from matplotlib.ticker import NullFormatter

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, MARKERS, headed, legend_below, named, new_figure, show_image
from medssl.figures.training import mean_line

# {axis: {key of the history: what its line is}}
PANELS = {"loss": {"loss": ""},
          "prediction (part of the loss)": {"prediction": ""},
          "SIGReg (part of the loss)": {"sigreg": ""},
          "masked L1 (part of the loss)": {"reconstruction": "train", "val_reconstruction": "val"},
          "InfoNCE (part of the loss)": {"contrast": "train", "val_contrast": "val"},
          "cosine similarity": {"positive_cosine": "views of one image", "negative_cosine": "of different ones"},
          "embedding std (1: evenly spread)": {"val_std_mean": "mean", "val_std_min": "smallest dimension"},
          "effective rank (RankMe)": {"val_rank": ""},
          "mutual information / most": {"val_student_mi": "student", "val_teacher_mi": "teacher"},
          "entropy of an answer (nats)": {"student_entropy": "student", "target_entropy": "target"},
          "std of features (1: even)": {"val_std": ""},
          "effective rank / most": {"val_rank_share": ""}}
STYLES = {"solid": "-", "dashed": "--"}


def ssl_curves(histories, batch_size: int | None = None, *, chance: float | None = None,
               levels: Mapping[str, float] | None = None, title: str = ""):
    """Loss, cosines, spread and rank of the embedding by epoch; what the rows do not hold leaves its panel out.

    histories: the rows of one run, a list of such (one a seed: thin lines, and a thick one for their mean), or
    {label: either of these}. The dotted line is the loss of chance: ln(2B - 1) for a SimCLR of batch size B, where a
    view's partner is one of 2B - 1 candidates that all look alike; MoCo with K keys in its queue has chance=ln(1 + K).
    levels {key: value} draws a dashed line, such as {"sigreg": 1.05}: a Gaussian sample scores no less.
    Collapse shows in the other panels, not always in the loss: std towards 0, rank towards 1.
    """
    runs = {label: [rows] if len(rows) and isinstance(rows[0], Mapping) else rows
            for label, rows in (histories if isinstance(histories, Mapping) else {"": histories}).items()}
    rows = [row for seeds in runs.values() for run in seeds for row in run]
    keys = {key for row in rows for key, value in row.items() if value is not None}
    panels = {name: {key: words for key, words in lines.items() if key in keys} for name, lines in PANELS.items()}
    panels = {name: lines for name, lines in panels.items() if lines}
    if "loss" not in keys:
        raise MedsslError(f"the {len(rows)} history rows hold no loss.", '[{"epoch": 1, "loss": 5.4, …}, …]',
                          "pass pretrained.history, or {label: history}")
    rows_of_panels, columns = (1, len(panels)) if len(panels) < 4 else (2, -(-len(panels) // 2))
    figure, axes = new_figure(3.9 * columns, 0.5 + 2.7 * rows_of_panels, rows_of_panels, columns)
    x = "epoch" if all("epoch" in row for row in rows) else "step"
    for ax in axes.flat[len(panels):]:
        ax.set_axis_off()
    for ax, (name, lines) in zip(axes.flat, panels.items(), strict=False):
        for k, (label, seeds) in enumerate(runs.items()):
            for key, style in zip(lines, STYLES.values(), strict=False):
                mean_line(ax, seeds, x, key, {"color": COLOURS[k % 7], "linestyle": style}, MARKERS[k % 7],
                          named(label) if key == "loss" else None)
        legend = " · ".join(f"{style}: {words}" for style, words in zip(STYLES, lines.values(), strict=False) if words)
        if "loss" in lines and (batch_size or chance is not None):
            level = float(np.log(2 * batch_size - 1)) if chance is None else chance
            ax.axhline(level, color="#555555", linestyle=":", linewidth=1.5)
            legend = f"dotted: chance, {f'ln(2 · {batch_size} − 1) = ' if chance is None else ''}{level:.3f}"
        for key in lines.keys() & (levels or {}).keys():
            ax.axhline(levels[key], color="#555555", linestyle="--", linewidth=1.5)
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter(NullFormatter())
            legend = f"dashed: {levels[key]:.3g}"
        if "std" in name:
            ax.set_ylim(bottom=0)
        if "loss" in lines and len(runs) > 1:  # losses of different methods: the smallest would be a line at 0
            last = [run[-1]["loss"] for seeds in runs.values() for run in seeds if run]
            if min(last) > 0 and max(last) > 10 * min(last):
                ax.set_yscale("log")
        ax.set(xlabel="epoch" if x == "epoch" else "optimiser steps")
        ax.set_ylabel(name, fontsize=8)  # in the usual size the longest would be higher than its panel
        ax.set_title(fill(legend, 56), fontsize=8)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
    if title:
        figure.suptitle(fill(title, 40 * columns), fontsize=10)
    legend_below(figure, axes[0, 0])
    return figure


def view_pairs(first, second, n: int = 16, *, title: str = ""):
    """The first n pairs of views [B,C,H,W], four a row, each pair in a frame of its own: what the loss calls alike."""
    if len(first) != len(second) or not len(first) or n < 1:
        raise MedsslError(f"there are {len(first)} first views, {len(second)} second ones, and n={n}.",
                          "as many of each, n of at least 1", 'pass batch["view1"] and batch["view2"] of one batch')
    count = min(n, len(first))
    rows, columns = -(-count // 4), min(4, count)
    figure, axes = new_figure(max(4.0, 0.3 + 2.1 * columns), 0.6 + 1.1 * rows, rows, columns)
    for k, ax in enumerate(axes.flat):
        if k >= count:
            ax.set_axis_off()
            continue
        for left, image in ((0, first[k]), (1.06, second[k])):
            show_image(ax, image, extent=(left, left + 1, 0, 1))
        ax.set(xlim=(-0.08, 2.14), ylim=(-0.08, 1.08))
        ax.spines[:].set(visible=True, color=COLOURS[0], linewidth=1.5)
    figure.suptitle(headed(title, f"{count} pairs: two views of one image in each frame", 48), fontsize=10)
    return figure
