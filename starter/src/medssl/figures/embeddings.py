"""Figures of where images lie: maps of the embedding, and image statistics of the errors beside the rest."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, MARKERS, headed, legend_below, named, new_figure, vector

WARNING = "read neighbours only: distances, group sizes and axes mean nothing"


def embeddings(maps: Mapping[str, Sequence], y, classes: Sequence[str], title: str = "", *, note: str = WARNING):
    """Scatter of {name: xy [N,2]} (t-SNE, UMAP): the same images in every panel, colour and marker by class."""
    y = vector(y, "y")
    maps = {name: np.asarray(xy, float) for name, xy in maps.items()}
    wrong = [name for name, xy in maps.items() if xy.shape != (len(y), 2) or not np.isfinite(xy).all()]
    if wrong or not maps or not len(y) or not np.isin(y, range(len(classes))).all():
        raise MedsslError(f"{len(y)} labels of {len(classes)} classes do not fit {', '.join(wrong) or 'the maps'}.",
                          "finite coordinates [N, 2] and a label from 0 for each image", "take all from the same split")
    columns = len(maps) if len(maps) < 4 else -(-len(maps) // -(-len(maps) // 4))
    rows = -(-len(maps) // columns)
    figure, axes = new_figure(max(4.5, 3.1 * columns), 1.0 + 3.1 * rows, rows, columns)
    order = np.random.default_rng(0).permutation(len(y))  # so that no class lies on top of the other
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, xy) in zip(axes.flat, maps.items(), strict=False):
        ax.set_axis_on()
        for k, label in enumerate(classes):
            mine = order[y[order] == k]
            ax.scatter(*xy[mine].T, s=22, marker=MARKERS[k % 7], color=COLOURS[k % 7], alpha=0.75, linewidths=0.4,
                       edgecolors="white", zorder=2 + k / 10, label=named(f"{label} ({len(mine)})"))
        ax.spines[:].set_visible(True)
        ax.set(xticks=[], yticks=[], title=fill(name, 36))
        ax.title.set_fontsize(10)
    figure.suptitle(headed(title, f"n = {len(y)} · {note}", max(52, 38 * columns)), fontsize=9)
    legend_below(figure, axes.flat[0], 1 if columns == 1 else 2)
    return figure


def error_statistics(statistics: Mapping[str, Sequence], groups, note: Mapping[str, str] | None = None, *,
                     title: str = ""):
    """Every image a dot, quartiles a box: {statistic: values [N]} of the groups, one panel a statistic.

    groups [N]: True where the model was wrong, or names ("FP", "FN", "right"). note {statistic: text} stands above its
    panel: what a test of the difference said.
    """
    groups = vector(groups, "groups")
    groups = np.where(groups, "errors", "right") if groups.dtype.kind == "b" else groups.astype(str)
    data = {name: vector(values, name) for name, values in statistics.items()}
    wrong = [name for name, values in data.items() if len(values) != len(groups) or not np.isfinite(values).all()]
    if wrong or not data or not len(groups):
        raise MedsslError(f"these do not fit {len(groups)} groups: {', '.join(wrong) or 'no statistic at all'}.",
                          "one finite value of each statistic for each image", "take both from the same split")
    names, rng = sorted(set(groups)), np.random.default_rng(0)
    under = [f"{fill(name, 12)}\nn = {(groups == name).sum()}" for name in names]
    longest = max(len(line) for label in under for line in label.split("\n"))
    width = max(2.6, 0.9 + 0.075 * longest * len(names))  # inches: so that no label touches the next
    figure, (axes,) = new_figure(max(4.5, width * len(data)), 3.9, 1, len(data))
    for ax, (name, values) in zip(axes, data.items(), strict=True):
        parts = [values[groups == group] for group in names]
        ax.boxplot(parts, widths=0.6, showfliers=False, medianprops={"color": "black", "linewidth": 2}, zorder=3)
        for k, part in enumerate(parts):
            ax.plot(k + 1 + rng.uniform(-0.2, 0.2, len(part)), part, MARKERS[k % 7], color=COLOURS[k % 7], markersize=4,
                    alpha=0.5, markeredgewidth=0)
        ax.set_xticks(range(1, len(names) + 1), under, fontsize=8)
        ax.set_ylabel(fill(name.replace("_", " "), 36))
        ax.set_title(fill((note or {}).get(name, ""), 37), fontsize=8)
    note = f"n = {len(groups)} · box: quartiles, line: median"
    figure.suptitle(headed(title, note, max(48, 34 * len(data))), fontsize=10)
    return figure
