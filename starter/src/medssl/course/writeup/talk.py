"""What the talk says, slide by slide: one sentence and one figure each, from the numbers of the paper."""

import tempfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from textwrap import fill

from medssl.course.checker.parse.handed_in import clean
from medssl.course.writeup import facts, figures
from medssl.course.writeup.collect import Collected
from medssl.course.writeup.questions import TRADE, Answer, answer
from medssl.course.writeup.sections import choose_examples
from medssl.course.writeup.tables import calibrated, share, title_of
from medssl.figures.style import COLOURS, GREY, new_figure

LIMITS = ("28 pixels: a lesion is a few dozen grey values, and nothing here is about a clinic.",
          "Small test sets: most intervals are wider than the differences that people argue about.",
          "Near-twins between train and test are in the official splits: every test score is flattered.",
          "One hospital for each data set, no age or sex in the files: who is treated worse, nobody can measure.")


@dataclass
class Slide:
    topic: str
    sentence: str
    figure: bytes | None = None
    lines: list[str] = field(default_factory=list)  # instead of a figure
    source: str = ""
    notes: list[str] = field(default_factory=list)


def make_slides(found: Collected, title: str, authors: str) -> list[Slide]:
    """All slides, in the order of the talk: of the first data set's most complete results, the questions of all."""
    dataset, name = choose_examples(found)[0]
    answers = answer(found)
    points = facts.points_of(found, dataset, name)
    with tempfile.TemporaryDirectory(prefix="medssl-") as scratch:
        made = figures.draw(found, [(dataset, name)], {(dataset, name): points}, Path(scratch))
        files = {topic.removesuffix(f"_{dataset}"): Path(scratch, file) for topic, (file, *_) in made.items()}
        drawn = {topic: path.read_bytes() for topic, path in files.items()}
    return [Slide("", title, lines=[authors, title_of(dataset), *["PHANTOM data: no patients"] * found.phantom],
                  notes=["Say in one breath what was asked: do labels or luck explain the numbers?"]),
            data_slide(found, dataset), baseline_slide(found, dataset, name),
            pretraining_slide(found, dataset, name, drawn), labels_slide(found, dataset, name, drawn),
            question_slide("Label efficiency: the answer", answers[0], found),
            calibration_slide(found, dataset, name), threshold_slide(points, found, dataset, drawn),
            dataset_slide(answers[2], found, drawn), robustness_slide(found, dataset, name),
            Slide("Limits", "What these results cannot say.", lines=list(LIMITS), source="course/week08.md",
                  notes=["Take the question about clinical use from here: there is none."]),
            take_home(answers)]  # fmt: skip


def missing(topic: str, what: str, command: str) -> Slide:
    return Slide(topic, f"Not measured yet: {what}.", lines=[f"Run `{command}`, then `medssl slides` again."],
                 notes=["Leave this slide out, or fill it."])


def data_slide(found: Collected, dataset: str) -> Slide:
    about = found.about(dataset)
    train, test = sum(about.counts["train"]), about.counts["test"]
    larger = max((0, 1), key=lambda k: test[k])
    figure, ((ax,),) = new_figure(8, 3.6)
    left = [0, 0, 0]
    splits = ("train", "val", "test")
    for k, label in enumerate(about.classes):
        counts = [about.counts[split][k] for split in splits]
        ax.barh(range(3), counts, left=left, color=COLOURS[k], label=label, hatch=("", "//")[k], edgecolor="white")
        left = [a + b for a, b in zip(left, counts, strict=True)]
    for row, total in enumerate(left):
        ax.annotate(f" {total}", (total, row), va="center", fontsize=12)
    ax.set_yticks(range(3), splits, fontsize=12)
    ax.invert_yaxis()
    ax.set_xlabel("images", fontsize=12)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=12)
    return Slide("Problem and data",
                 f"{train} labelled images; who always says “{about.classes[larger]}” is right "
                 f"{100 * test[larger] / sum(test):.0f} % of the time.",
                 marked(figure, found, dataset), source=f"{about.title}, official splits, 28 px.",
                 notes=[f"Train {train}, val {sum(about.counts['val'])}, test {sum(test)} images.",
                        f"Class 1, “{about.classes[1]}”, is called positive. Say what each mistake means."])


def baseline_slide(found: Collected, dataset: str, name: str) -> Slide:
    reference = found.reference(dataset, name)
    if reference is None:
        command = f"medssl run week01 week02 week03 --dataset {dataset}"
        return missing("Supervised baselines", "a locked supervised reference", command)
    ends = found.interval(reference)
    rows = [(f"week {r.week}: {clean(r.model, 40)}", *ends_of(found.interval(r)), r is not reference)
            for r in found.of(dataset, name) if r.week in (1, 2, 3)]  # fmt: skip
    figure = forest(rows, "AUROC on test, 95 % interval (line: chance)", 0.5)
    return Slide("Supervised baselines",
                 f"With all {reference.n_train} labels a supervised network reaches AUROC {ends['mean']:.2f} "
                 f"[{ends['lo']:.2f}, {ends['hi']:.2f}].", marked(figure, found, dataset),
                 source=f"Weeks 1-3; filled: the reference locked on val, {reference.runs} seeds.",
                 notes=["The locked reference was chosen on val, and looked at test once.",
                        *facts.baseline_claims(found, dataset, name)])


def pretraining_slide(found: Collected, dataset: str, name: str, drawn: dict) -> Slide:
    one = next((p for p in found.pretraining if (p["dataset"], p["name"]) == (dataset, name) and p["losses"]), None)
    if one is None or "pretraining_loss" not in drawn:
        return missing("Self-supervised pretraining", "a pretraining", f"medssl run week04 --dataset {dataset}")
    first, last = (sum(rows[k][1] for rows in one["losses"].values()) / len(one["losses"]) for k in (0, -1))
    steps, seeds = one["config"].get("steps"), len(one["losses"])
    return Slide("Self-supervised pretraining",
                 f"Without a label the contrastive loss falls from {first:.1f} to {last:.1f}: views of one image find "
                 "each other.", drawn["pretraining_loss"],
                 source=f"Week 4: {clean(one['config'].get('method', ''), 20)}, {steps} steps, {seeds} seeds.",
                 notes=["A low loss is no proof of good features: the next slide is."])


def labels_slide(found: Collected, dataset: str, name: str, drawn: dict) -> Slide:
    probes = found.few_labels(dataset, name, "probe")
    if not probes or "label_efficiency" not in drawn:
        return missing("Label efficiency", "a probe on few labels", f"medssl run week05 --dataset {dataset}")
    best = next((r for r in probes if r.label_fraction == 0.1), probes[-1])
    ends = found.interval(best)
    return Slide("Label efficiency",
                 f"A linear probe with {best.n_train} labels ({share(best.label_fraction)}) reaches AUROC "
                 f"{ends['mean']:.2f} [{ends['lo']:.2f}, {ends['hi']:.2f}].", drawn["label_efficiency"],
                 source=f"Week 5: {best.encoders} pretrainings × {best.draws} draws of the labels; band: one standard "
                        "deviation of the runs.", notes=facts.label_claims(found, dataset, name))  # fmt: skip


def question_slide(topic: str, one: Answer, found: Collected) -> Slide:
    if not one.leads:
        return Slide(topic, one.sentence, lines=[f"What would settle it: {one.settle}"], notes=one.notes)
    return Slide(topic, f"{one.verdict.capitalize()}. {one.sentence}", leads_figure(one, found),
                 source="Bars: 95 % interval over test images, label draws and pretrainings; right of 0 is in favour "
                        "of SSL. Open: SSL had fewer labels.",
                 notes=[*one.notes, f"What would settle it: {one.settle}"])


def leads_figure(one: Answer, found: Collected) -> bytes:
    """Each lead with its interval; an open marker where SSL had fewer labels."""
    leads = [lead for lead in one.leads if lead.metric == one.leads[0].metric][:9]
    several = len({lead.dataset for lead in leads}) > 1
    rows = [(f"{share(lead.fraction)}: {lead.what.removeprefix('SSL, ')}" + f", {lead.dataset}" * several, lead.mean,
             lead.lo, lead.hi, lead.handicap) for lead in leads]  # fmt: skip
    figure = forest(rows, f"lead of SSL in {TRADE.get(leads[0].metric, leads[0].metric)}", 0)
    return marked(figure, found, leads[0].dataset if leads[0].dataset in found.datasets else found.datasets[0])


def ends_of(gap: dict) -> tuple[float, float, float]:
    return gap["mean"], gap["lo"], gap["hi"]


def forest(rows: list[tuple], label: str, level: float):
    """(name, mean, lo, hi, open marker?) a row, and a line at `level`: what every slide of intervals looks like."""
    figure, ((ax,),) = new_figure(9.5, 1.2 + 0.42 * len(rows))
    for place, (_, mean, low, high, is_open) in enumerate(rows):
        colour = "#777777" if is_open else COLOURS[0]
        ax.plot([low, high], [place, place], color=colour, linewidth=2.5)
        ax.plot(mean, place, "o", color=colour, markersize=8, markerfacecolor="white" if is_open else colour)
    ax.axvline(level, color="black", linewidth=1)
    ax.set_yticks(range(len(rows)), [fill(row[0], 60) for row in rows], fontsize=11)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(label, fontsize=12)
    ax.grid(axis="x", alpha=0.3)
    return figure


def calibration_slide(found: Collected, dataset: str, name: str) -> Slide:
    chosen = [r for r in calibrated(found, dataset, name)[:3] if r.floor]
    if not chosen:
        return missing("Calibration", "models with predictions", f"medssl run week06 --dataset {dataset}")
    above = [r for r in chosen if r.values["ece"] > r.floor["p95"]]
    figure, ((ax,),) = new_figure(9.5, 1.6 + 0.7 * len(chosen))
    for place, r in enumerate(chosen):
        ax.barh(place, r.floor["p95"], color=GREY, height=0.55, label="up to here: calibrated, by luck (95 of 100)")
        ax.plot([r.floor["mean"]] * 2, [place - 0.27, place + 0.27], color="black", label="calibrated, on average")
        ax.plot(r.values["ece"], place, "D", color=COLOURS[3], markersize=9, label="measured")
    ax.set_yticks(range(len(chosen)), [fill(clean(r.model, 60), 34) for r in chosen], fontsize=11)
    ax.set_xlabel("expected calibration error (ECE) on test, mean over runs", fontsize=12)
    ax.invert_yaxis()
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside upper center", ncols=3, frameon=False, fontsize=11)
    return Slide("Calibration",
                 f"{len(above)} of {len(chosen)} models have an ECE above what a perfectly calibrated one would show.",
                 marked(figure, found, dataset), source=f"Week {chosen[0].week}; top-label ECE, ten bins.",
                 notes=facts.calibration_claims(found, dataset, name))


def threshold_slide(points: list[dict], found: Collected, dataset: str, drawn: dict) -> Slide:
    if not points or "threshold_drift" not in drawn:
        return missing("Thresholds", "an operating point", f"medssl run week07 --dataset {dataset}")
    claims = facts.point_claims(points)
    return Slide("Thresholds", claims[0], drawn["threshold_drift"],
                 source="Week 7: thresholds chosen on val, carried to test unchanged; 95 % intervals.",
                 notes=[*claims[1:],
                        f"Positive is “{found.about(dataset).classes[1]}”. Say who pays for a false positive."])


def dataset_slide(one: Answer, found: Collected, drawn: dict) -> Slide:
    if one.leads:
        return question_slide("Breast against Pneumonia", one, found)
    if "errors" not in drawn:
        return Slide("Dataset insights", one.sentence, lines=[f"What would settle it: {one.settle}"])
    here = " and ".join(title_of(dataset) for dataset in found.datasets)
    return Slide("Dataset insights", f"Only {here} is here. These are the errors that the model was surest of.",
                 drawn["errors"], source="As handed in (week 7, else week 2).",
                 notes=[one.sentence, f"What would settle it: {one.settle}",
                        "A pattern in ten pictures is a hypothesis: week 7 tests it on all."])


def robustness_slide(found: Collected, dataset: str, name: str) -> Slide:
    rows = [row for row in facts.shift_rows(found, dataset, name) if row["change"]]
    if not rows:
        return missing("Robustness", "scores on shifted images, and of the same networks on unshifted ones",
                       f"medssl run week08 --dataset {dataset}")
    gaps = [(f"{row['shift']} {row['strength']}", *ends_of(row["change"]), False) for row in rows]
    figure = forest(gaps, "change of AUROC under the strongest shift, 95 % interval", 0)
    claims = facts.shift_claims(rows)
    return Slide("Robustness", claims[0], marked(figure, found, dataset), notes=claims[1:],
                 source="Week 8: the same networks on the same test images, shifted less unshifted.")


def take_home(answers: list[Answer]) -> Slide:
    return Slide("Take home", "Three questions, and what the intervals allow.",
                 lines=[f"{one.verdict}|{one.question} {one.sentence}" for one in answers],
                 source="reports/three_questions.md has every lead, interval and file.",
                 notes=[f"{one.number}. {one.settle}" for one in answers])


def marked(figure, found: Collected, dataset: str) -> bytes:
    if marks := figures.mark_of(found, dataset):
        from medssl.figures import stamp

        stamp(figure, marks)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=180, metadata={"Software": None})
    return buffer.getvalue()
