"""The benches' rows as a page, two figures and one JSON: what was compared, how it was checked, where we are behind."""

import json
from pathlib import Path

import numpy as np

from medssl.figures.style import COLOURS, MARKERS, legend_below, new_figure

RATIOS, GROWTH = "benchmarks_ratios.png", "benchmarks_growth.png"
# Where a peer is ahead, or the reason of a bound: (row, peer) -> why, and what would change it.
WHY = {
    ("SIGReg with gradient", ""): "the same sines and cosines, which are nearly all of it; ours keeps the frequencies "
    "in the middle axis. Powers of one sine and cosine by a recurrence were 1.1 to 1.5 times as fast on this CPU, but "
    "are a hundred small kernels on a GPU, so they were left out",
    ("Sinkhorn, 3 rounds", ""): "the first of the three rounds is done on logarithms: with logits within ±10 lightly's "
    "answer is no number, ours is right to 4e-7",
    ("KoLeo with gradient", ""): "a call of 1 ms, in which our check of the shape and autocast's switch can be seen",
    ("SimCLR epoch, peak memory", ""): "both views go through the network in one pass, for BatchNorm to see the same "
    "statistics in both, so the gradient of the largest layer is twice the size",
    ("pairs of views, peak memory", ""): "the scans in the pool stay in memory, decoded",
    ("SimCLR step, end to end", "the bare forward and backward pass"): "the bound: the network itself, some "
    "percent of noise aside; what is left over is views, optimiser, clipping, one look at the losses",
    ("arithmetic of the pass", "a matrix product"): "the bound: BatchNorm, ReLU and pooling move memory and hardly "
    "compute; convolutions with few channels do not fill the vector units",
}


def why(row: dict) -> str:
    return next((text for (name, peer), text in WHY.items()
                 if row["row"] == name and row.get("peer", "").startswith(peer)), "")


def measured(rows: list[dict], kind: str = "peer") -> list[dict]:
    return [row for row in rows if row.get("kind", "peer") == kind and "ratio" in row]


def page(result: dict) -> str:
    """Markdown of {"rows", "gpu_rows", "gpu", "machine", "peers", "asked"}."""
    rows, machine = result["rows"], result["machine"]
    peers = measured(rows)
    behind = [row for row in peers if row["ratio"] < 1]
    level = [row for row in peers if row["least"] < 1 <= row["most"]]
    beyond = [row for row in peers if row["most"] < 1]
    lines = ["# Benchmarks", "",
             "`make bench` writes this page, [benchmarks.json](benchmarks.json) and the figures anew.",
             f"{len(peers)} comparisons with peers were measured: in {len(peers) - len(level) - len(beyond)} of them",
             f"ours is ahead in every round, in {len(beyond)} the peer, in {len(level)} the rounds disagree.",
             "", "## How it was measured", "",
             "Each bench is a process of its own, with one thread. In every round all contestants take turns (each",
             "round begins with another; crops and patches keep one order). A ratio is the median over the rounds of",
             "two times taken in one round, with the least and the most in brackets; without brackets it is that of",
             "two medians, or a single reading. Times are CPU seconds of the process and its workers unless a row says",
             "wall clock, so that other programs on the machine weigh little. Before a clock runs, it is asserted that",
             "both do the same; the last column says how. Views are drawn at random: there only the mean grey and its",
             "spread are compared, which a wrong recipe can pass; what each step does is tested in test_views.py.",
             "Memory is what a first epoch, or three crops, need beyond what was there.", "",
             f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB; Python "
             f"{machine['python']}, torch {machine['torch']}, numpy {machine['numpy']}. {machine['note']}", "",
             "| peer | here |", "|---|---|"]
    lines += [f"| {name} | {state} |" for name, state in sorted(result["peers"].items())]
    lines += ["", "## Against peers", "", f"![ratios]({RATIOS})", "",
              "| what | size | peer | ours | theirs | ratio | checked |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if row.get("kind", "peer") not in ("peer", "own"):  # own: another way of ours, no peer
            continue
        head = f"| {row['row']} | {row['size']} | {row['peer']} {row.get('version') or ''} "
        lines.append(head + (f"| {numbers(row)} | {row.get('equal', '')} |" if "ratio" in row else
                             f"| – | – | – | {row.get('missing') or 'failed: ' + row['failed']} |"))
    lines += ["", "### Where a peer is ahead", ""]
    for reason in dict.fromkeys(map(why, behind)):
        lines += [f"- {row['row']}, {row['size']}, {row['peer']}: ratio {row['ratio']:.2f} ({row['least']:.2f} to "
                  f"{row['most']:.2f})." for row in behind if why(row) == reason]
        lines += [f"  Likely why: {reason or 'not known'}.", ""]
    lines += [] if behind else ["Nowhere."]
    lines += ["", "## Bounds", "",
              "| what | size | bound | ours | bound's | share |  |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {row['row']} | {row['size']} | {row['peer']} | {numbers(row)} | {why(row)} |"
              for row in measured(rows, "bound")]
    lines += ["", "## What a setting buys", "",
              "| setting | size | with | without | ratio | taken by default |", "|---|---|---|---|---|---|"]
    lines += [f"| {row['row']} | {row['size']} | {numbers(row)} | {row['taken']} |"
              for row in measured(rows, "setting")]
    lines += ["", "## Alone", "", "| what | size | ours | checked |", "|---|---|---|---|"]
    lines += [f"| {row['row']} | {row['size']} | {row['ours']:.3g} {row['unit']} wall clock"
              + (f", {row['cpu_seconds']:.3g} s of CPU" if "cpu_seconds" in row else "") + f" | {row['equal']} |"
              for row in rows if row.get("kind") == "alone"]
    growing = [row for row in rows if row.get("kind") == "growth"]
    lines += ["", "## How cost grows", "", f"![growth]({GROWTH})", "",
              "| what | number: CPU seconds | slope | slope of the last step |", "|---|---|---|---|"]
    for row in growing:
        counts = ", ".join(f"{n:,}: {s:.3g}" for n, s in zip(row["number"], row["seconds"], strict=True))
        lines.append(f"| {row['row']}: {row['what']} | {counts} | {row['slope']:.2f} | {row['last_slope']:.2f} |")
    lines += ["", "A slope of 1 is proportional; below it a fixed cost still weighs.", "", "## On a GPU", "",
              f"{result['gpu'][0].upper()}{result['gpu'][1:]}.", ""]
    for row in result["gpu_rows"]:
        lines.append(f"- {row['row']}, {row['size']}: " + (
            f"{row['ours']:.4g} {row['unit']}; {row['peer']} {row['theirs']:.4g}; ratio {row['ratio']:.2f}"
            if "ratio" in row else f"{row['ours']:.1f} {row['unit']}" if "ours" in row else
            f"{row['peer']} {row.get('missing') or row['failed']}"))
    return "\n".join(lines).rstrip() + "\n"


def numbers(row: dict) -> str:
    spread = f" ({row['least']:.2f}–{row['most']:.2f})" if row["most"] > row["least"] else ""
    return f"{short(row['ours'])} {row['unit']} | {short(row['theirs'])} {row['unit']} | {row['ratio']:.2f}{spread}"


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def ratios_figure(rows: list[dict]):
    """A dot and its spread for each comparison; right of the line at 1 ours is ahead."""
    rows = measured(rows)
    figure, ((ax,),) = new_figure(8.5, 1 + 0.21 * len(rows))
    kinds = list(dict.fromkeys(row["row"] for row in rows))
    for k, row in enumerate(rows):
        colour = COLOURS[kinds.index(row["row"]) % len(COLOURS)]
        ax.plot([row["least"], row["most"]], [k, k], color=colour, linewidth=1.5)
        ax.plot(row["ratio"], k, MARKERS[kinds.index(row["row"]) % len(MARKERS)], color=colour, markersize=5)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_yticks(range(len(rows)), [f"{row['row']}, {row['size']} | {row['peer']}" for row in rows], fontsize=7)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("times as fast as the peer, of memory times as small (line: all rounds)")
    ax.grid(axis="x", alpha=0.3)
    return figure


def growth_figure(rows: list[dict]):
    """Seconds over number, both on log axes, with the slope in the legend."""
    figure, ((ax,),) = new_figure(6.5, 4.6)
    for k, row in enumerate(row for row in rows if row.get("kind") == "growth"):
        times = np.array(row["number"]) / row["number"][0]
        ax.loglog(times, row["seconds"], MARKERS[k % len(MARKERS)] + "-", color=COLOURS[k % len(COLOURS)],
                  label=f"{row['row']}, from {row['number'][0]}: slope {row['slope']:.2f}")
    ax.set(xlabel="times as many", ylabel="CPU seconds")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.3)
    legend_below(figure, ax)
    return figure


def write(result: dict, folder: Path) -> Path:
    """benchmarks.md, benchmarks.json and the figures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(result, indent=1) + "\n")
    for draw, name in ((ratios_figure, RATIOS), (growth_figure, GROWTH)):
        draw(result["rows"]).savefig(folder / name)
    (folder / "benchmarks.md").write_text(page(result))
    return folder / "benchmarks.md"
