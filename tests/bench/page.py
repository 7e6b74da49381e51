"""The benches' rows as a page, two figures and one JSON: what was compared, how it was checked, where we are behind."""

import json
from pathlib import Path

import aims
import reasons
from page_figures import growth_figure, ratios_figure

RATIOS, GROWTH = "benchmarks_ratios.png", "benchmarks_growth.png"

def measured(rows: list[dict], kind: str = "peer") -> list[dict]:
    return [row for row in rows if row.get("kind", "peer") == kind and "ratio" in row]


def page(result: dict) -> str:
    """Markdown of {"rows", "gpu_rows", "gpu", "machine", "peers", "asked"}."""
    rows, machine = result["rows"], result["machine"]
    peers = measured(rows)
    level = [row for row in peers if row["least"] < 1 <= row["most"]]
    beyond = [row for row in peers if row["most"] < 1]
    lines = ["# Benchmarks", "",
             "`make bench` writes this page, [benchmarks.json](benchmarks.json) and the figures anew.",
             f"{len(peers)} comparisons with peers were measured: in {len(peers) - len(level) - len(beyond)} of them",
             f"ours is ahead in every round, in {len(beyond)} the peer, in {len(level)} the rounds disagree.",
             "", "## How it was measured", "",
             "Each bench is a process of its own, with one thread. In every round all contestants take turns, in an",
             "order drawn anew. A ratio is the median over the rounds of two times taken in one round, with the least",
             "and the most in brackets; without brackets it is a single reading. Times are CPU seconds of the process",
             "and its workers unless a row says wall clock, so that other programs on the machine weigh little. Before",
             "a clock runs, it is asserted that both do the same; the last column says how. Views are drawn at random:",
             "there the distributions of six traits that give each step away are compared (tests/bench/agreement.py);",
             "how sharp the views are is not, for we resample once and most peers twice. A peer that is not installed,",
             "does something else or crashes is named in its row. Memory of an epoch or of crops is what they need",
             "beyond what was there, that of pairs of views all of the process and its workers.", "",
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
    lines += ["", "### Where a peer is ahead", "", *reasons.behind(peers), "", "## Aims", "",
              "| what | aim | measured |  |", "|---|---|---|---|", *aims.lines(peers, rows)]
    lines += ["", "## Batches of pairs of views, one by one", "",
              "On the wall clock: ms from one batch of 4 items to the next, and seconds to the first, when the scans",
              "are loaded.", "",
              "| who | workers | batches | p50 | p95 | p99 | slowest | p99 / p50 | first | peak memory |",
              "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [f"| {row['row']} | {row['size'].split()[0]} | {row['batches']} | {row['p50']:.3g} | {row['p95']:.3g} | "
              f"{row['p99']:.3g} | {row['most']:.3g} | {row['p99'] / row['p50']:.1f} | {row['first_s']:.2g} s | "
              f"{row['peak_MiB']:,.0f} MiB |" for row in rows if row.get("kind") == "tail"]
    lines += ["", "## Sinkhorn's accuracy", "",
              "Largest error of an answer against a Sinkhorn in float64 on logarithms, at temperature 0.05.", "",
              "| logits within | ours | lightly |", "|---|---|---|"]
    lines += [f"| ±{row['logits_within']} | {row['ours_error']:.1e} | "
              + ("not a number |" if row["lightly_error"] is None else f"{row['lightly_error']:.1e} |")
              for row in result.get("accuracy", [])]
    lines += ["", "## Bounds", "",
              "| what | size | bound | ours | bound's | share |  |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {row['row']} | {row['size']} | {row['peer']} | {numbers(row)} | "
              f"{reasons.reason(row, reasons.BOUNDS) or 'no reason known'} |" for row in measured(rows, "bound")]
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


def write(result: dict, folder: Path) -> Path:
    """benchmarks.md, benchmarks.json and the figures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(result, indent=1) + "\n")
    for draw, name in ((ratios_figure, RATIOS), (growth_figure, GROWTH)):
        kind = "peer" if draw is ratios_figure else "growth"
        draw([row for row in result["rows"] if row.get("kind", "peer") == kind]).savefig(folder / name)
    (folder / "benchmarks.md").write_text(page(result))
    return folder / "benchmarks.md"
