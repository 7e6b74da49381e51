"""The figures of the paper, drawn anew from the numbers; what cannot be drawn is the student's own picture, copied."""

import re
from io import BytesIO
from pathlib import Path

from medssl import figures
from medssl.course.checker.parse.handed_in import Problem, check_image, clean, read_bytes
from medssl.course.writeup.collect import Collected
from medssl.course.writeup.records import Result
from medssl.course.writeup.tables import calibrated, ladder_table, model_name, title_of
from medssl.figures.style import COLOURS, GREY, legend_below, new_figure
from medssl.files import write_atomic

COPIES = {  # file: (topic, what it is, share of the text's width)
    "high_conf_error_gallery": ("errors", "the most confident errors of week 7, as handed in", 1.0),
    "misclassified_gallery": ("errors", "misclassified test images of week 2, as handed in", 1.0),
    "robustness_curves": ("robustness", "one network under graded shifts in week 8, as handed in", 1.0),
}
RELIABILITY = ("The grey band is where a calibrated model would lie. The ECE above each panel is that of P(class 1) in "
               "this one run; tables and text have the top-label ECE, mean over runs: another number.")
DPI = 150
MANY = 3  # people on one data set from which on everybody is one thin line


def draw(found: Collected, examples: list[tuple[str, str]], points: dict,
         folder: Path) -> dict[str, tuple[str, str, float]]:
    """Write figNN_….png into `folder`; {topic: (file name, caption, share of the text's width)}, in order."""
    made = {}

    def keep(topic: str, figure, caption: str, width: float, dataset: str = "") -> None:
        name = f"fig{len(made) + 1:02d}_{topic}.png"
        if not isinstance(figure, bytes):
            if marks := mark_of(found, dataset):
                figures.stamp(figure, marks)
            figure = png(figure)
        write_atomic(folder / name, figure)
        made[topic] = (name, caption, width)

    for dataset, name in examples:
        who, about = f"{title_of(dataset)}{of_whom(found, name)}", found.about(dataset)
        some = f"_{dataset}"
        rows = {f"week {r.week}: {model_name(r)}": {key: found.interval(r, key) for key in ("auroc", "accuracy")}
                for r in found.of(dataset, name) if r.week in (1, 2, 3)}
        if rows:
            majority = max(about.counts["test"]) / sum(about.counts["test"])
            picture = figures.model_comparison(rows, {"auroc": 0.5, "accuracy": majority})
            keep(f"baselines{some}", picture, f"{who}: supervised networks with all labels, on test.", 0.82, dataset)
        curves = label_curves(found, dataset, name)
        if curves:
            keep(f"label_efficiency{some}", label_figure(found, dataset, name, curves),
                 f"{who}: AUROC on test against the labels used.", 0.72, dataset)
        losses = next((one for one in found.pretraining if (one["dataset"], one["name"]) == (dataset, name)), {})
        if losses.get("losses"):
            histories = [[{"epoch": e, "loss": v} for e, v in rows] for rows in losses["losses"].values()]
            keep(f"pretraining_loss{some}", figures.ssl_curves(histories, chance=chance_of(losses["config"])),
                 f"{who}: contrastive loss during pretraining.", 0.5, dataset)
        chosen = calibrated(found, dataset, name)[:3]
        if chosen:
            scored = {clean(r.model, 40): found.scores(r) for r in chosen}
            labels, first = {k: y for k, (y, _) in scored.items()}, {k: p[0] for k, (_, p) in scored.items()}
            picture = figures.reliability(labels, first, about.classes[1])
            caption = f"{who}: reliability on test, first run of each model. {RELIABILITY}"
            keep(f"reliability{some}", picture, caption, min(1.0, 0.38 * len(scored)), dataset)
        if points.get((dataset, name)):
            keep(f"threshold_drift{some}", figures.threshold_drift(points[dataset, name], about.classes[1]),
                 f"{who}: where each threshold was on val, and is on test.", 0.72, dataset)
    for dataset in found.datasets:
        people = sorted({r.name for r in found.of(dataset)})
        if len(people) >= MANY and (picture := everybody(found, dataset, people)):
            keep(f"everybody_{dataset}", picture, f"{title_of(dataset)}: everybody's own probes (a thin line a person) "
                 "and supervised reference (a square at 100 %).", 0.6, dataset)
    for stem, (topic, about_it, width) in COPIES.items():
        for dataset, name in examples:
            own = [path for title, path in found.figures.items() if title.endswith(f"{dataset}, {name}: {stem}")]
            if own and f"{topic}_{dataset}" not in made and (raw := readable(own[-1])):
                keep(f"{topic}_{dataset}", raw, f"{title_of(dataset)}{of_whom(found, name)}: {about_it}.", width)
    return made


def of_whom(found: Collected, name: str) -> str:
    return f", {clean(name, 40)}" if len(found.people) > 1 else ""


def mark_of(found: Collected, dataset: str) -> str:
    """What every figure must admit."""
    return "PHANTOM data" if any(r.phantom for r in found.of(dataset)) or found.about(dataset).phantom_of else ""


def png(figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def readable(path: Path) -> bytes | None:
    try:
        raw = read_bytes(path)
        check_image(raw)
        return raw
    except Problem:
        return None


def chance_of(config: dict) -> float | None:
    value = config.get("chance_level")
    return float(value) if isinstance(value, (int, float)) else None


def label_curves(found: Collected, dataset: str, name: str) -> dict[str, dict[float, Result]]:
    """{line: {fraction: result}} of what was measured with a share of the labels; week 5 before week 6."""
    lines = {}
    for line, method in (("SSL, linear probe", "probe"), ("SSL, fine-tuned", "finetune")):
        chosen = {r.label_fraction: r for r in reversed(found.few_labels(dataset, name, method))}
        if chosen:
            lines[line] = chosen
    return lines


def label_figure(found: Collected, dataset: str, name: str, curves):
    values = {line: {fraction: [one["auroc"] for one in r.per_seed] for fraction, r in points.items()}
              for line, points in curves.items()}
    n_labels = {f: r.n_train for points in curves.values() for f, r in points.items()}
    reference = found.reference(dataset, name)
    level = {}
    if reference:
        ends = found.interval(reference)
        level = {f"supervised reference, {reference.n_train} labels": (ends["lo"], ends["mean"], ends["hi"])}
    picture = figures.label_efficiency(values, "auroc", n_labels, level)
    rungs = rungs_below(found, dataset, name, n_labels)
    for k, (rung, points) in enumerate(rungs.items()):
        picture.axes[0].plot(*zip(*points, strict=True), "xv"[k % 2], linestyle=":", color="#666666", label=rung)
    if rungs:
        for old in picture.legends:
            old.remove()
        legend_below(picture, picture.axes[0])
    return picture


def rungs_below(found: Collected, dataset: str, name: str, n_labels: dict[float, int]) -> dict[str, list[tuple]]:
    """{rung: [(labels, AUROC)]} of what needs no pretraining, from week 5's ladder: pixels, and the same labels."""
    header, rows, _ = ladder_table(found, dataset, name) or ([], [], "")
    at = {k: n_labels[f] for k, cell in enumerate(header) for f in n_labels if cell == f"{100 * f:g} %"}
    out = {}
    for row in rows:
        if "pixels" in row[0] or "same labels" in row[0]:
            told = {n: re.match(r"0\.\d{1,6}|1\.0{1,6}", row[k]) for k, n in at.items()}
            if points := sorted((n, float(value[0])) for n, value in told.items() if value):
                out[row[0]] = points
    return out


def everybody(found: Collected, dataset: str, people: list[str]):
    """A thin line a person: nothing is averaged, and nobody is named in a legend of thirty."""
    lines = {name: {r.label_fraction: r.values["auroc"] for r in reversed(found.few_labels(dataset, name, "probe"))}
             for name in people}
    dots = [r.values["auroc"] for name in people if (r := found.reference(dataset, name))]
    if not any(lines.values()) and not dots:
        return None
    picture, ((ax,),) = new_figure(5.6, 3.4)
    for line in lines.values():
        at = sorted(line)
        look = {"color": COLOURS[0], "alpha": 0.5, "linewidth": 1, "markersize": 3}
        ax.plot([100 * f for f in at], [line[f] for f in at], "o-", **look)
    ax.plot([100] * len(dots), dots, "s", color=COLOURS[3], alpha=0.6, markersize=4)
    shares = sorted({f for line in lines.values() for f in line} | ({1.0} if dots else set()))
    ax.set_xscale("log")
    ax.set_xticks([100 * f for f in shares], [f"{100 * f:g} %" for f in shares])
    ax.minorticks_off()
    ax.axhline(0.5, color=GREY, linestyle="--", linewidth=1)
    ax.set(xlabel="labelled training images, share", ylabel="AUROC")
    ax.grid(alpha=0.3)
    note = f"{len(people)} people · line: linear probe on SSL features · square: supervised reference"
    picture.suptitle(note, fontsize=9)
    return picture


