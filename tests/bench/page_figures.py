"""The two figures of the benches' page: how many times as fast, and how cost grows."""

import numpy as np

from medssl.figures.style import COLOURS, MARKERS, legend_below, new_figure

AHEAD, LEVEL, BEHIND = COLOURS[0], "0.45", COLOURS[3]


def ratios_figure(rows: list[dict]):
    """A dot and its spread for each comparison with a peer; its colour says who is ahead."""
    rows = [row for row in rows if "ratio" in row]
    figure, ((ax,),) = new_figure(10, 1.6 + 0.2 * len(rows))
    for colour, label, chosen in (
            (AHEAD, "ours ahead in every round", lambda row: row["least"] >= 1),
            (LEVEL, "the rounds disagree", lambda row: row["least"] < 1 <= row["most"]),
            (BEHIND, "the peer ahead in every round", lambda row: row["most"] < 1)):
        at = [k for k, row in enumerate(rows) if chosen(row)]
        if at:
            ax.hlines(at, [rows[k]["least"] for k in at], [rows[k]["most"] for k in at], color=colour, linewidth=1.5)
            ax.plot([rows[k]["ratio"] for k in at], at, "o", color=colour, markersize=5, label=f"{label}: {len(at)}")
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_yticks(range(len(rows)), [f"{row['row']}, {row['size']} | {row['peer']}" for row in rows], fontsize=7)
    for k in range(1, len(rows)):
        if rows[k]["row"] != rows[k - 1]["row"]:
            ax.axhline(k - 0.5, color="0.85", linewidth=0.6, zorder=0)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_title("Further right is better: times as fast as the peer, of memory times as small", fontsize=10)
    ax.set_xlabel("ratio (line: all rounds)")
    ax.grid(axis="x", alpha=0.3)
    legend_below(figure, ax)
    return figure


def growth_figure(rows: list[dict]):
    """Seconds over number, both on log axes, with the slope in the legend, and a line of slope 1 to compare with."""
    figure, ((ax,),) = new_figure(7, 5)
    for k, row in enumerate(rows):
        times = np.array(row["number"]) / row["number"][0]
        ax.loglog(times, row["seconds"], MARKERS[k % len(MARKERS)] + "-", color=COLOURS[k % len(COLOURS)],
                  label=f"{row['row']}, from {row['number'][0]}: slope {row['slope']:.2f}")
        if k == 0:
            ax.loglog(times, 3 * times * row["seconds"][0], "--", color="0.5", label="proportional: slope 1")
    ax.set_title("Lower and flatter is better; as steep as the dashed line is proportional", fontsize=10)
    ax.set(xlabel="times as many", ylabel="CPU seconds")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.3)
    legend_below(figure, ax)
    return figure
