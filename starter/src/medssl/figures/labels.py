"""Figures of what a label is worth: a metric against the number of labels, and the ladder of baselines."""

from collections.abc import Mapping, Sequence

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, GREY, LINES, MARKERS, headed, legend_below, named, new_figure
from medssl.figures.training import model_comparison, readable


def label_efficiency(curves: Mapping[str, Mapping[float, Sequence]], metric: str = "auroc",
                     n_labels: Mapping[float, int] | None = None, reference: Mapping | None = None,
                     majority: float | None = None, *, baseline: str | None = None, title: str = ""):
    """Metric against the labels used, on a log axis: curves = {model: {fraction: values of all runs}}.

    A line is the mean over runs (label draws x pretraining seeds), the band one standard deviation (n - 1) of the runs
    either side: how far one run may lie from another, not how sure the mean is. A single run has no such band, which
    is no certainty: its marker is open. n_labels {fraction: labels} gives the axis its numbers; reference {name: value,
    or (lo, mean, hi)} draws models that saw all labels, as level lines. baseline: the model that all others are held
    against (supervised training from scratch, say), drawn in black.
    """
    values = {name: {fraction: np.asarray(runs, float).ravel() for fraction, runs in sorted(curve.items())}
              for name, curve in curves.items()}
    cells = {(name, fraction): runs for name, curve in values.items() for fraction, runs in curve.items()}
    bad = [f"{name} at {fraction:.3g}" for (name, fraction), runs in cells.items() if not 0 < fraction <= 1
           or not len(runs) or not np.isfinite(runs).all() or (n_labels and fraction not in n_labels)]
    if bad or not cells or not all(values.values()) or baseline not in (None, *values):
        raise MedsslError(f"no line can be drawn: {', '.join(bad) or 'there is a model or baseline without values'}.",
                          "{model: {fraction in (0, 1]: finite values, one a run}}, each fraction in n_labels",
                          "leave a fraction out for all models rather than a run for one")
    fractions = sorted({fraction for _, fraction in cells})
    at = {fraction: n_labels[fraction] if n_labels else 100 * fraction for fraction in fractions}
    figure, ((ax,),) = new_figure(6.4, 3.9 + 0.17 * len([*values, *(reference or {})]))
    for j, (name, curve) in enumerate(sorted(values.items(), key=lambda item: item[0] == baseline)):
        k = 6 if name == baseline else j % (6 if baseline else 7)  # 6 is black
        x, mean, spread = np.array([(at[f], runs.mean(), runs.std(ddof=1) if len(runs) > 1 else np.nan)
                                    for f, runs in curve.items()]).T
        look, alone = {"color": COLOURS[k]}, np.isnan(spread)
        apart = ~alone & np.r_[True, alone[:-1]] & np.r_[alone[1:], True]  # no neighbour to draw a band to: a bar
        ax.fill_between(x, mean - spread, mean + spread, alpha=0.15, linewidth=0, **look)
        ax.vlines(x[apart], (mean - spread)[apart], (mean + spread)[apart], alpha=0.5, linewidth=3, **look)
        ax.plot(x, mean, marker=MARKERS[k], linestyle=LINES[j % 4], linewidth=2, label=named(name), **look)
        ax.scatter(x[alone], mean[alone], 36, marker=MARKERS[k], facecolor="white", edgecolor=COLOURS[k],
                   linewidth=1.5, zorder=3)
    for k, (name, level) in enumerate((reference or {}).items()):
        low, mean, high = level if np.ndim(level) else (level, level, level)
        interval = f" [{low:.3f}, {high:.3f}]" if high > low else ""
        ax.axhspan(low, high, color=GREY, alpha=0.3, linewidth=0)
        ax.axhline(mean, color=("black", "#666666")[k % 2], linestyle=LINES[1 + k % 3], linewidth=1.2,
                   label=named(f"{name}: {mean:.3f}{interval}"))
    if majority is not None:
        ax.axhline(majority, color="black", linestyle=":", label=f"always the larger class: {majority:.3f}")
    ax.set_xscale("log")
    ax.set_xticks([*at.values()], [f"{100 * f:g} %" + (f"\n({n})" if n_labels else "") for f, n in at.items()])
    ax.minorticks_off()
    name, lower = readable(metric)
    ax.set(xlabel="labelled training images" + (": share (number)" if n_labels else ", share"),
           ylabel=name + " (lower is better)" * lower)
    ax.grid(alpha=0.3)
    sizes = sorted({len(runs) for runs in cells.values()})
    runs = "–".join(map(str, {sizes[0]: 0, sizes[-1]: 0})) + " run" + "s" * (sizes[-1] > 1)
    note = f"line: mean of {runs} · band: ± 1 standard deviation of the runs" if sizes[-1] > 1 else "one run a point"
    note += "\nopen marker: a single run, which has no band" * (sizes[0] == 1)
    figure.suptitle(headed(title, note, 76), fontsize=10)
    legend_below(figure, ax)
    return figure


def ladder(rows: Mapping[str, Mapping[str, float]], metric: str = "auroc",
           note: str = "dot: mean · bar: 95 % interval", *, highlight: Sequence[str] | None = None):
    """The baseline ladder, one row a rung, in the order given: rows = {rung: {"mean", "lo", "hi"}}.

    The rungs in `highlight` (when left out: those with "SSL" in their name) are drawn in colour, all others in grey.
    """
    chosen = [name for name in rows if "ssl" in name.lower()] if highlight is None else highlight
    return model_comparison({name: {metric: value} for name, value in rows.items()}, note=note, highlight=chosen)
