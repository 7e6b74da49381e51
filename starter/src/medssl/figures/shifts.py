"""Figures of shifted images: what the shifts look like, and what they cost."""

from collections.abc import Mapping, Sequence
from textwrap import fill

from medssl.errors import MedsslError
from medssl.figures.images import augmented_views
from medssl.figures.style import COLOURS, MARKERS, headed, legend_below, named, new_figure
from medssl.figures.training import readable


def shift_curves(rows: Sequence[Mapping], metrics: Sequence[str] = ("auroc", "accuracy", "ece"), *, title: str = ""):
    """One panel a metric, one line a kind of shift: rows = [{"shift", "strength", metric: value[, "n"][, "ci95"]}, …].

    Strengths of two kinds have no common unit, so the axis counts grades, in the order of the rows, and the legend
    names the strengths. The row whose shift is "none" is the test set as it is: a dashed line. Bars are "ci95"
    {metric: [lo, hi]}; the lines are set a little apart so that the bars can be told from each other.
    """
    kinds = {row["shift"]: [other for other in rows if other["shift"] == row["shift"]] for row in rows}
    clean = kinds.pop("none", [])
    missing = sorted({metric for row in rows for metric in metrics if row.get(metric) is None})
    if missing or not kinds or not metrics:
        raise MedsslError(f"{len(rows)} rows, {len(clean)} of them clean, lack {', '.join(missing) or 'a shift'}.",
                          "one shift at least, and every metric in every row",
                          'evaluate each shifted copy of the test set, and add "shift" and "strength"')
    figure, (axes,) = new_figure(max(4.5, 3.3 * len(metrics)), 4.2, 1, len(metrics))
    for ax, metric in zip(axes, metrics, strict=True):
        for k, (kind, grades) in enumerate(kinds.items()):
            x = [grade + 0.08 * (k - (len(kinds) - 1) / 2) for grade in range(1, len(grades) + 1)]
            for at, row in zip(x, grades, strict=True):
                ax.plot([at, at], row.get("ci95", {}).get(metric, [row[metric]] * 2), color=COLOURS[k % 7], linewidth=1)
            strengths = ", ".join(f"{row['strength']:g}" for row in grades)
            ax.plot(x, [row[metric] for row in grades], color=COLOURS[k % 7], marker=MARKERS[k % 7], markersize=5,
                    label=named(f"{kind}: {strengths}"))
        for row in clean[:1]:
            ax.axhline(row[metric], color="black", linestyle="--", linewidth=1, label="clean test set")
        name, lower = readable(metric)
        ax.set(xlabel="grade of the shift, see below", ylabel=fill(name, 28) + "\n(lower is better)" * lower)
        ax.set_xticks(range(1, 1 + max(map(len, kinds.values()))))
        ax.grid(alpha=0.3)
    sizes = " / ".join(f"n = {n}" for n in dict.fromkeys(row["n"] for row in rows if "n" in row))
    bars = "bars: 95 % intervals" * any("ci95" in row for row in rows)
    figure.suptitle(headed(title, " · ".join(filter(None, (sizes, bars))), max(48, 34 * len(metrics))), fontsize=10)
    legend_below(figure, axes[0], 1 if len(metrics) == 1 else min(3, len(metrics)))
    return figure


def shifted_examples(images, shifted: Mapping[str, Sequence], n: int = 8):
    """The first n images as they are, and below them the same under each shift: {name: batch [B,C,H,W]}."""
    figure = augmented_views(images, list(shifted.values()), list(shifted), n)
    figure.suptitle("one image a column: as it is, and under each shift", fontsize=10)
    return figure


def loss_parts(parts: Mapping[str, Mapping], *, title: str = ""):
    """What each shift takes from the balanced accuracy: {"noise 0.16": evaluate.ranking_or_threshold(…), …}.

    Two dots a shift with their 95 % intervals: what a new threshold would bring back, and what stays lost. They add up
    to the loss. Left of 0 lies a gain.
    """
    if not parts:
        raise MedsslError("No shift to draw.", "one result of ranking_or_threshold() at least")
    figure, ((ax,),) = new_figure(7.0, 1.8 + 0.5 * len(parts))
    for k, (part, label) in enumerate({"threshold": "a threshold chosen anew on shifted val brings this back",
                                       "ranking": "no threshold does: the order is worse"}.items()):
        y = [row + (0.14 if k else -0.14) for row in range(len(parts))]
        for at, one in zip(y, parts.values(), strict=True):
            ax.plot([one[part]["lo"], one[part]["hi"]], [at, at], color=COLOURS[k], linewidth=1.5)
        ax.plot([one[part]["mean"] for one in parts.values()], y, linestyle="none", color=COLOURS[k], marker=MARKERS[k],
                markersize=7, label=label)
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(range(len(parts)), [named(name) for name in parts])
    ax.invert_yaxis()
    ax.set(xlabel="loss of balanced accuracy on test (bars: 95 % over images)")
    ax.grid(alpha=0.3, axis="x")
    figure.suptitle(headed(title, "which of the two moves?", 70), fontsize=10)
    legend_below(figure, ax, 1)
    return figure
