"""The tables of the paper: (header, rows, caption), or None where there is nothing to show. Every cell is computed."""

import re

from medssl.course import markdown
from medssl.course.checker.parse.handed_in import Problem, clean, read_bytes, read_text
from medssl.course.contract import load_contract
from medssl.course.writeup.collect import Collected
from medssl.course.writeup.records import Result

Table = tuple[list, list[list], str]
NO_VALUE = "–"


def as_markdown(made: Table | None) -> str:
    """A table as a notebook shows it, its caption above it."""
    if made is None:
        return "(nothing to show yet)"
    header, rows, caption = made
    return re.sub(r" ?\[@\w+\]", "", caption) + "\n\n" + markdown.table(header, rows)


def title_of(dataset: str) -> str:
    """ "BreastMNIST" of "BreastMNIST (breast ultrasound)"."""
    return load_contract().datasets[dataset].title.split(" (")[0]


def model_name(result: Result) -> str:
    """The model as people write it: no underscores, and no share of the labels, which has a column of its own."""
    name = re.sub(r"[, ]{0,2}\b\d{1,3} ?(?:%|pct)(?: of the labels)?$", "", clean(result.model, 50).replace("_", " "))
    return name or clean(result.model, 50)


def spread(result: Result, metric: str) -> str:
    """ "0.834 ± 0.029" over runs; one run has no spread."""
    if metric not in result.values:
        return NO_VALUE
    return f"{result.values[metric]:.3f}" + (f" ± {result.std[metric]:.3f}" if metric in result.std else "")


def between(ends) -> str:
    low, high = (ends["lo"], ends["hi"]) if isinstance(ends, dict) else ends
    return f"[{low:.3f}, {high:.3f}]"


def signed(gap: dict) -> str:
    """ "+0.021 [−0.010, +0.052]" of a difference."""
    return f"{gap['mean']:+.3f} [{gap['lo']:+.3f}, {gap['hi']:+.3f}]".replace("-", "−")


def share(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def runs_of(result: Result) -> str:
    return f"{result.encoders} × {result.draws}" if result.encoders > 1 else str(result.runs)


def grouped(found: Collected, examples: list[tuple[str, str]], rows) -> list[list]:
    """rows(dataset, name) of each example; with two data sets a first line names each."""
    out = []
    for dataset, name in examples:
        block = rows(dataset, name)
        for row in block:
            row[0] = f"{title_of(dataset)}: {row[0]}" if len(examples) > 1 else row[0]
        out += block
    return out


def data_table(found: Collected) -> Table:
    rows = []
    for dataset in found.datasets:
        about = found.about(dataset)
        splits = [" / ".join(map(str, about.counts[split])) for split in ("train", "val", "test")]
        majority = max(about.counts["test"]) / sum(about.counts["test"])
        rows.append([title_of(dataset), *about.classes, *splits, f"{majority:.3f}"])
    return (["Data set", "Class 0", "Class 1 (positive)", "Train", "Val", "Test", "Majority"], rows,
            "Official splits: images of class 0 / of class 1. Majority: the accuracy on test of always saying the "
            "commoner class.")


def work_table(found: Collected) -> Table | None:
    """What was run, week by week, over everybody whose results are used."""
    rows = []
    for week in load_contract().weeks:
        runs = [run for run in found.runs if run.week == week.number]
        machines = sorted({clean(run.run["hardware"]["device"], 30) for run in runs if hardware_said(run.run)})
        seconds = [run.run["seconds"] for run in runs if run.run and isinstance(run.run.get("seconds"), (int, float))]
        trained = [r.runs for r in found.of(week=week.number)]
        if runs:
            rows.append([f"{week.number}. {week.title}", len({run.name for run in runs}), sum(trained) or NO_VALUE,
                         minutes(seconds), ", ".join(machines) or NO_VALUE])
    return (["Week", "People", "Models tested", "Minutes", "Machine"], rows,
            "What was run: people whose results are used, models tested (a run is one training with its own seed, "
            "encoder or draw of labels), computing time summed over people.") if rows else None


def minutes(seconds: list[float]) -> str:
    return NO_VALUE if not seconds else f"{sum(seconds) / 60:.0f}" if sum(seconds) >= 60 else "< 1"


def hardware_said(run: dict | None) -> bool:
    return isinstance((run or {}).get("hardware"), dict) and bool(run["hardware"].get("device"))


def settings_table(found: Collected, examples) -> Table | None:
    """How each network was trained, from the `config` of its metrics file."""
    def rows(dataset, name):
        numbers = ("steps", "batch_size", "lr", "weight_decay")
        return [[model_name(r), r.week, layers(r.config), *(shown(r.config.get(key)) for key in numbers),
                 augmentation(r.config.get("views")), shown(r.config.get("select"))]
                for r in found.of(dataset, name) if r.config and r.week in (1, 2, 3)]

    made = grouped(found, examples, rows)
    return (["Model", "Week", "Trained", "Steps", "Batch", "Rate", "Decay", "Augmentation", "Kept"], made,
            "Training of the supervised networks. Trained: parameters that moved; rate: peak learning rate; decay: "
            "weight decay; kept: the weights of the last step, or of the step that was best on val.") if made else None


def layers(config: dict) -> str:
    parts = config.get("parameters")
    trainable = parts.get("trainable") if isinstance(parts, dict) else None
    return f"{trainable:,}" if isinstance(trainable, int) else shown(config.get("finetune"))


def shown(value: object) -> str:
    return NO_VALUE if value is None else f"{value:g}" if isinstance(value, float) else clean(value, 30)


def augmentation(text: object) -> str:
    """ "flip 0.5, rotate 10" of Augment(crop=None, …, flip=0.5, …, rotate=10, …): what is not at rest."""
    parts = re.findall(r"(\w+)=(\([^()]*\)|[\d.]+)(?=[,)])", str(text)[:2000])
    moving = [f"{key} {value}" for key, value in parts
              if value not in ("0", "0.0") and key not in ("ratio", "blur_sigma", "padding")]
    return ", ".join(moving) or "none"


def baseline_table(found: Collected, examples) -> Table | None:
    def rows(dataset, name):
        return [[model_name(r), r.week, r.runs, spread(r, "accuracy"), spread(r, "balanced_accuracy"),
                 spread(r, "auroc"), between(found.interval(r)), spread(r, "ece")]
                for r in found.of(dataset, name) if r.week in (1, 2, 3)]

    made = grouped(found, examples, rows)
    return (["Model", "Week", "Runs", "Accuracy", "Balanced acc.", "AUROC", "95 % interval", "ECE"], made,
            "Supervised networks with all labels, on test: mean ± standard deviation over runs. The interval of the "
            "AUROC covers test images and seeds.") if made else None


def label_table(found: Collected, examples) -> Table | None:
    def rows(dataset, name):
        few = [r for r in found.of(dataset, name) if r.week in (5, 6) and r.label_fraction < 1]
        full = [r for r in [found.reference(dataset, name)] if r] if few else []
        return [[model_name(r), r.week, f"{share(r.label_fraction)} ({r.n_train})", runs_of(r), spread(r, "accuracy"),
                 spread(r, "balanced_accuracy"), spread(r, "auroc"), between(found.interval(r))]
                for r in sorted(few, key=lambda r: (r.method == "finetune", r.label_fraction, r.week)) + full]

    made = grouped(found, examples, rows)
    return (["Model", "Week", "Labels", "Runs", "Accuracy", "Balanced acc.", "AUROC", "95 % interval"], made,
            "Label efficiency, on test. Labels: share (number) of labelled training images; runs: pretraining seeds × "
            "draws of labels; the interval covers test images, draws and pretraining seeds.") if made else None


def calibration_table(found: Collected, examples) -> Table | None:
    def rows(dataset, name):
        return [[clean(r.model, 44), spread(r, "ece"), f"{r.floor['mean']:.3f}", f"{r.floor['p95']:.3f}",
                 "yes" if r.values["ece"] > r.floor["p95"] else "no", spread(r, "nll"), spread(r, "brier")]
                for r in calibrated(found, dataset, name)]

    made = grouped(found, examples, rows)
    return (["Model", "ECE", "Floor", "Floor, 95 %", "Above?", "NLL", "Brier"], made,
            "Calibration on test, mean ± standard deviation over runs. Floor: the mean ECE, and the 95th percentile, "
            "that a perfectly calibrated model with the same scores would show on as many images. Above: whether the "
            "ECE exceeds that percentile.") if made else None


def calibrated(found: Collected, dataset: str, name: str) -> list[Result]:
    """The models whose calibration is compared: those of week 6, else the reference, else whatever there is."""
    for week in (6, 3, 2, 1):
        if chosen := [r for r in found.of(dataset, name, week) if len(r.floor) == 2]:
            return chosen
    return []


def shift_table(found: Collected, examples, shifts: dict) -> Table | None:
    """shifts: {(dataset, name): rows of facts.shift_rows()}."""
    made = grouped(found, examples, lambda *who: [
        [row["shift"], row["strength"], f"{row['accuracy']:.3f}", f"{row['auroc']:.3f}", f"{row['ece']:.3f}",
         signed(row["change"]) if row["change"] else NO_VALUE] for row in shifts.get(who, [])])
    return (["Shift", "Strength", "Accuracy", "AUROC", "ECE", "Change of AUROC"], made,
            "Week 8's supervised networks on shifted test images (mean over runs), and the change of the AUROC against "
            "the same networks on the same images unshifted, with its 95 % interval.") if made else None


def rule_words(row: dict) -> str:
    from medssl.evaluate import rule_name

    return rule_name(row).replace(">=", "≥").replace("<=", "≤")


def point_table(found: Collected, examples, points: dict) -> Table | None:
    """points: {(dataset, name): rows of evaluate.operating_points()}."""
    def rates(row, name):
        return [f"{row['val'][name]:.3f}", f"{row['test'][name]:.3f} {between(row['test']['ci95'][name])}",
                f"{row['drift'][name]:+.3f}".replace("-", "−")]

    made = grouped(found, examples, lambda *who: [[rule_words(row), f"{row['threshold']:.3f}", *rates(row, "tpr"),
                                                   *rates(row, "fpr")] for row in points.get(who, [])])
    return (["Rule", "Threshold", "TPR val", "TPR test", "drift", "FPR val", "FPR test", "drift"], made,
            "Operating points: each threshold was chosen on val by its rule and carried to test unchanged; 95 % Wilson "
            "intervals [@wilson1927]; drift: test less val.") if made else None


def people_table(found: Collected) -> Table | None:
    """One row a person and data set: everybody's own numbers, never averaged."""
    pairs = list(dict.fromkeys((r.dataset, r.name) for r in found.metrics))  # collect() went by data set, then by name
    header = ["Person", "Reference", "Probe 5 %", "Probe 10 %", "Fine-tuned", "ECE ref.", "ECE f.-t."]
    rows = []
    for dataset, name in pairs:
        probes = {r.label_fraction: r for r in reversed(found.few_labels(dataset, name, "probe"))}  # week 5's, not 6's
        tuned = [*found.few_labels(dataset, name, "finetune"), None][0]
        reference = found.reference(dataset, name)
        cells = [spread(r, metric) if r else NO_VALUE for r, metric in (
            (reference, "auroc"), (probes.get(0.05), "auroc"), (probes.get(0.1), "auroc"), (tuned, "auroc"),
            (reference, "ece"), (tuned, "ece"))]
        rows.append([f"{clean(name, 40)}" + (f" ({title_of(dataset)})" if len(found.datasets) > 1 else ""), *cells])
    filled = [k for k in range(len(header)) if k == 0 or any(row[k] != NO_VALUE for row in rows)]
    if len(pairs) < 2 or len(filled) < 2:
        return None
    return ([header[k] for k in filled], [[row[k] for k in filled] for row in rows],
            "Everybody's own numbers on test, mean ± standard deviation over their own runs: AUROC of the supervised "
            "reference (all labels), of the probes and of the fine-tuned encoder, and ECE. Nothing is averaged over "
            "people, who share code and often seeds.")


def ladder_table(found: Collected, dataset: str, name: str) -> Table | None:
    """Week 5's ladder.md, as it was handed in: its lower rungs (pixels, random network) have no files of their own."""
    path = found.ladders.get((dataset, name))
    try:
        lines = read_text(read_bytes(path, 50_000)).splitlines() if path else []
    except Problem:
        lines = []
    rows = [[clean(cell.strip(), 60) for cell in line.strip().strip("|").split("|")] for line in lines
            if line.startswith("|") and not set(line) <= set("|-: ")]
    if len(rows) < 2 or not 2 <= len(rows[0]) <= 8 or len(rows) > 12 or {len(row) for row in rows} != {len(rows[0])}:
        return None
    short = [[row[0], *(re.sub(r" *\[.*", "", cell) for cell in row[1:])] for row in rows]
    who = title_of(dataset) + (f", {clean(name, 40)}" if len(found.people) > 1 else "")
    return (["Model", *short[0][1:]], short[1:], f"{who}: "
            "AUROC on test by share of the labels, mean ± standard deviation over runs; the ladder of week 5 as handed "
            "in.")
