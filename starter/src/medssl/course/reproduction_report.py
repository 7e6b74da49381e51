"""What `medssl reproduce` leaves: reproduction.json for programs, reproduction.md to read, reproduction.png to see."""

import io
import json
from pathlib import Path

from medssl.course.markdown import table
from medssl.files import write_atomic

SIGNS = {"inside": "inside", "outside": "OUTSIDE", "not run": "not run"}


def write_report(result: dict, root: Path, plots: list[Path]) -> list[str]:
    """Write the three files below `root`; the lines for the terminal."""
    json_path = write_atomic(root / "reproduction.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    markdown = write_atomic(root / "reproduction.md", as_markdown(result))
    written = [json_path, markdown]
    if figure := draw(result["metrics"]):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
        written.append(write_atomic(root / "reproduction.png", buffer.getvalue()))
    lines = [line_of(row) for row in result["metrics"] if row["status"] != "not run"]
    left = {}
    for row in result["metrics"]:
        if row["status"] == "not run":
            left.setdefault((row["week"], row["reason"]), []).append(row)
    lines += [f"week {week}  not run  {len(rows)} metrics: {reason}" for (week, reason), rows in left.items()]
    lines.append(result["verdict"]["words"])
    return lines + [f"written: {', '.join(path.name for path in written)} in {root}"
                    + (f"; {len(plots)} key plots in {plots[0].parent}" if plots else "")]  # fmt: skip


def line_of(row: dict) -> str:
    return (f"week {row['week']}  {SIGNS[row['status']]:<8} {row['file'].removesuffix('.json')} {row['metric']}: "
            f"{row['rerun']:.3f} in [{row['low']:.3f}, {row['high']:.3f}]")  # fmt: skip


def as_markdown(result: dict) -> str:
    """The whole comparison as a page."""
    said, rows = result["verdict"], []
    for row in result["metrics"]:
        new = f"{row['rerun']:.3f} ({row['rerun_runs']})" if "rerun" in row else "–"
        rows.append([row["week"], row["file"], row["metric"], f"{row['recorded']:.3f} ({row['recorded_runs']})",
                     f"[{row['low']:.3f}, {row['high']:.3f}]", new, f"**{row['status']}**", row["band"],
                     row.get("reason", "")])  # fmt: skip
    weeks = [[week, one["status"], seconds(one["seconds"]), seconds(one["recorded_seconds"]), one["notes"] or "–"]
             for week, one in result["weeks"].items()]  # fmt: skip
    parts = [f"# Reproduction of {result['dataset']} ({result['against']})", said["words"]]
    if result["phantom"]:
        parts.append("**PHANTOM data**: made by the package, without patients. It shows that the course runs.")
    parts += ["## What was run", table(["Week", "State", "Time now", "Time recorded", "Notes"], weeks),
              f"Machine: {machine(result['hardware'])}; recorded on: {machine(result['recorded_hardware'])}. "
              f"Commit {result['git'] or 'unknown'}.",
              "## Metric by metric",
              table(["Week", "File", "Metric", "Recorded (runs)", "Band", "Rerun (runs)", "Status", "How the band was "
                     "made", "Why not"], rows) if rows else "Nothing was recorded for this data set.",
              "## How to read it",
              f"A rerun is inside if its mean lies within the recorded mean ± {result['k']:g} standard deviations of "
              "the recorded runs. A band reaches at least as far as one test image can move a rate (for a loss: 0.5 %, "
              "rounding of bf16), so that equal runs do not make rounding a failure. Where one run was recorded, its "
              "95 % interval is the band: of the test set, another quantity, so luck cannot be computed there.",
              f"{lucky(result['metrics'], said)} if the metrics were independent. They are not (metrics of one model "
              "move together), so what is called too far for luck has passed Holm's correction, which needs no "
              "independence. The rerun uses the recorded seeds, so it should come closer than luck would. It says "
              "nothing about other images."]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def lucky(rows: list[dict], said: dict) -> str:
    """What luck alone does, and to how many: only where more than one encoder or run was recorded is it known."""
    judged = [row for row in rows if row.get("p") is not None]
    outside = sum(row["status"] == "outside" for row in judged)
    return (f"With other seeds and nothing else changed, about {said['expected_outside']:.1f} of the {len(judged)} "
            "metrics with a spread between recorded runs would fall outside by luck (of probes on many draws the "
            f"encoders count). {outside} did; so many or more has the probability {said['p_at_least']:.2g}")


def seconds(value) -> str:
    return "–" if value is None else f"{value:.0f} s"


def machine(hardware: dict | None) -> str:
    return f"{hardware['device']}, {hardware['cpu_count']} cores" if hardware else "not recorded"


def draw(rows: list[dict]):
    """Bands as bars, reruns as points, each in units of its own band: 0 is the recorded mean, ±1 the edges."""
    from medssl.figures.style import COLOURS, new_figure

    rows = [row for row in rows if "rerun" in row]
    if not rows:
        return None
    figure, ((ax,),) = new_figure(7.2, 1.4 + 0.17 * len(rows))
    looks = {"inside": (COLOURS[0], "o"), "outside": (COLOURS[3], "X")}
    for place, row in enumerate(rows):
        low, high, old = row["low"], row["high"], row["recorded"]
        where = (row["rerun"] - old) / (high - old if row["rerun"] > old else old - low)
        shown, (colour, marker) = max(-3, min(3, where)), looks[row["status"]]
        ax.plot([-1, 1], [place, place], color="#BBBBBB", linewidth=5, solid_capstyle="butt", zorder=1)
        ax.plot(shown, place, marker=marker, color=colour, linestyle="", zorder=3)
        ax.annotate(f"{row['rerun']:.3f}", (3.1, place), fontsize=7, va="center")
    names = [f"{row['week']}: {row['file'].removesuffix('.json')}, {row['metric']}" for row in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=7)
    ax.set(xlim=(-3.2, 3.7), ylim=(len(rows) - 0.4, -0.6), xlabel="distance from the recorded mean, in half-bands")
    ax.axvline(0, color="black", linewidth=0.8)
    outside = sum(row["status"] == "outside" for row in rows)
    ax.set_title(f"{len(rows) - outside} of {len(rows)} reruns inside their bands (points beyond ±3 stand at the edge)",
                 fontsize=9)  # fmt: skip
    return figure
