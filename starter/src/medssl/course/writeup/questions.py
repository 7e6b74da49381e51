"""The three questions of the course, answered from whatever results are in the folder.

    answers = answer(collect())            # for paper and slides: number, question, verdict, sentence, leads, settle
    write_questions()                      # reports/three_questions.md

The interval chooses the verdict, nobody else: "yes" where a lead clears 0 after Holm's correction for all leads of that
question, "no" where every interval ends below the least lead that would matter, else "not enough evidence".
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medssl.course.contract import load_contract
from medssl.course.markdown import table
from medssl.course.writeup.collect import Collected, collect
from medssl.course.writeup.evidence import Lead, against_reference, drifts, holm, ladders, runs_of
from medssl.course.writeup.sections import choose_examples
from medssl.files import write_atomic

YES, NO, OPEN = "yes", "no", "not enough evidence"
MATTERS = {"auroc": 0.02, "nll": 0.02, "brier": 0.01}  # a smaller lead would change nobody's choice; else 0.05
QUESTIONS = ("When does self-supervision improve label efficiency?",
             "What does self-supervision do to calibration and thresholds?",
             "How do these effects differ between Breast and Pneumonia?")
TRADE = {"auroc": "AUROC", "nll": "NLL", "brier": "Brier"}


@dataclass
class Answer:
    number: int
    question: str
    verdict: str = OPEN
    sentence: str = ""
    leads: list[Lead] = field(default_factory=list)
    corrected: list[float | None] = field(default_factory=list)  # Holm's p-value of each lead that was computed
    notes: list[str] = field(default_factory=list)
    settle: str = ""
    extra: str = ""  # a Markdown table beside the leads

    @property
    def sources(self) -> list[str]:
        return sorted({source for lead in self.leads for source in lead.sources})


def answer(found: Collected) -> list[Answer]:
    """All three, from what `found` holds. Phantoms answer nothing."""
    answers = [Answer(k + 1, question) for k, question in enumerate(QUESTIONS)]
    if found.phantom:
        for one in answers:
            one.sentence = "These are phantom results: they show that the course runs, and answer nothing."
            one.settle = "`medssl run all --dataset breastmnist --name YOUR_NAME`"
        return answers
    people = choose_examples(found)  # one person a data set, the most complete: nothing is averaged over people
    label_efficiency(answers[0], found, people)
    calibration(answers[1], found, people)
    both(answers[2], found, answers[0].leads + answers[1].leads)
    return answers


def judge(leads: list[Lead], corrected: list[float | None]) -> tuple[str, list[Lead]]:
    """(verdict, the leads that clear 0 whatever was asked beside them), by the p-values that the table shows.

    A lead is sure where its interval leaves out 0 and its corrected p is below 0.05. What only a file says is
    not asked.
    """
    sure = [lead for lead, p in zip(leads, corrected, strict=True)
            if p is not None and p < 0.05 and (lead.lo > 0 or (lead.hi < 0 and not lead.handicap))]
    if sure:
        return YES, sure
    fair = [lead for lead in leads if not lead.handicap and not lead.said]
    small = bool(fair) and all(-limit(lead) < lead.lo and lead.hi < limit(lead) for lead in fair)
    return (NO if small else OPEN), []


def limit(lead: Lead) -> float:
    return MATTERS.get(lead.metric, 0.05)


def label_efficiency(out: Answer, found: Collected, people: list[tuple[str, str]]) -> None:
    """SSL against the same labels without it, at every share of the labels."""
    frozen = {}
    for dataset, name in people:
        for lead, rung, fraction, cleared, file in ladders(found, dataset, name):
            below = [row for row in cleared if "same labels" not in row and "SSL" not in row]
            frozen.setdefault((dataset, rung), {})[fraction] = (below, file)
            if lead is not None and " over SSL" not in lead.what:
                out.leads.append(lead)
        out.leads += against_reference(found, dataset, name, "auroc", "labels")
    out.corrected = holm(out.leads)
    same = [lead for lead in out.leads if not lead.handicap and lead.fraction < 1]
    # The question is about the same labels; a lead over a model that had more of them answers it all the more.
    few = [k for k, lead in enumerate(out.leads) if lead.fraction < 1]
    out.verdict, sure = judge([out.leads[k] for k in few], [out.corrected[k] for k in few])
    if sure:
        gains = [f"{100 * lead.fraction:g} % ({words(lead)}: {signed(lead)})" for lead in sure if lead.lo > 0]
        losses = [f"{100 * lead.fraction:g} % ({words(lead)}: {signed(lead)})" for lead in sure if lead.hi < 0]
        out.verdict = YES if gains else NO
        out.sentence = " ".join([*[f"SSL improves label efficiency with {'; '.join(gains)}."] * bool(gains),
                                 *[f"It costs with {'; '.join(losses)}."] * bool(losses)])
    elif not same:
        out.sentence = "No supervised model trained on the same labels is in these results, so nobody can tell."
    elif out.verdict == NO:
        out.sentence = f"SSL does not help by more than {MATTERS['auroc']:g} AUROC with the same labels."
    else:
        best = max(same, key=lambda lead: lead.mean)
        out.sentence = (f"Whether SSL beats supervised training on the same labels is open: its largest lead is "
                        f"{signed(best)} AUROC, with {100 * best.fraction:g} % of the labels"
                        f"{', as the file says' * best.said}.")
    for (dataset, rung), by_fraction in frozen.items():
        over = sorted({row for rows, _ in by_fraction.values() for row in rows})
        shares = [f"{100 * f:g} %" for f, (rows, _) in sorted(by_fraction.items()) if rows]
        if shares:
            out.notes.append(f"{dataset}, as the file says: {rung} clears 0 over {' and '.join(over)} with "
                             f"{', '.join(shares)} of the labels "
                             f"({', '.join(sorted({file for _, file in by_fraction.values()}))}). Those need no "
                             "training of a network, so this is less than the question asks.")
    out.settle = settle(found, same or out.leads)


def calibration(out: Answer, found: Collected, people: list[tuple[str, str]]) -> None:
    """NLL and Brier against the reference, ECE against its noise floor, and the drift of the operating point."""
    floors, moved = [], []
    for dataset, name in people:
        for metric in ("nll", "brier"):
            out.leads += against_reference(found, dataset, name, metric, "calibration")
        leads, rows = drifts(found, dataset, name)
        out.leads += leads
        moved += rows
        for result in found.of(dataset, name):
            if result.week == 6 and result.floor:
                ece, floor = result.values["ece"], result.floor
                floors.append([dataset, name, result.model, runs_of(result), f"{ece:.3f}",
                               f"{floor['mean']:.3f}, {floor['p95']:.3f}", "above" if ece > floor["p95"] else "within"])
    out.corrected = holm(out.leads)
    out.verdict, sure = judge(out.leads, out.corrected)
    if sure:
        better, worse = ([f"{words(lead)}: {TRADE.get(lead.metric, lead.metric)} {signed(lead)}" for lead in sure
                          if (lead.mean > 0) == good] for good in (True, False))
        out.sentence = " ".join([*[f"SSL makes it better ({'; '.join(better)})."] * bool(better),
                                 *[f"SSL makes it worse ({'; '.join(worse)})."] * bool(worse)])
    elif not out.leads:
        out.sentence = "There is no SSL model beside a supervised one with predictions, so nothing can be compared."
    elif out.verdict == NO:
        out.sentence = "NLL, Brier and the drift of the threshold differ by less than would matter."
    else:
        fewer = ", or from the labels: SSL had fewer than the reference" if any(
            lead.handicap for lead in out.leads) else ""  # fmt: skip
        out.sentence = f"No difference in NLL, Brier score or drift of the threshold can be told from noise{fewer}."
    if any(lead.handicap and lead.hi < 0 for lead in out.leads):
        out.notes.append("Where SSL is behind, it had fewer labels than the reference. That is the price of the "
                         "labels; it says nothing against SSL.")
    if floors:
        within = sum(row[-1] == "within" for row in floors)
        out.notes.append(f"{within} of {len(floors)} models have an ECE within what a perfectly calibrated model with "
                         "these scores would show in 95 of 100 test sets (mean over runs); their order by ECE is luck.")
        out.extra = table(["Data set", "Name", "Model", "Runs", "ECE", "Noise floor: mean, 95 %", "ECE is"], floors)
    if moved:
        lines = [[row["dataset"], row["name"], row["model"], row["rate"], row["runs"],
                  f"{row['mean']:+.3f} [{row['lo']:+.3f}, {row['hi']:+.3f}]"] for row in moved]
        still = sum(row["lo"] <= 0 <= row["hi"] for row in moved)
        out.notes.append(f"{still} of {len(moved)} drifts of an operating point from val to test have an interval that "
                         "holds 0.")
        out.extra += "\n\n" * bool(out.extra) + table(["Data set", "Name", "Model", "Rate", "Runs",
                                                       "Test less val [95 %]"], lines)
    out.settle = settle(found, [lead for lead in out.leads if lead.topic == "calibration"])


def both(out: Answer, found: Collected, leads: list[Lead]) -> None:
    """Differences of differences, for each comparison that both data sets have."""
    datasets = [key for key, about in load_contract().datasets.items() if not (about.phantom_of or about.weeks)]
    absent = [key for key in datasets if key not in {lead.dataset for lead in leads}]
    if absent:
        titles = " and ".join(load_contract().datasets[key].title.split(" (")[0] for key in absent)
        out.sentence = f"There is no {titles} result here, so there is nothing to compare."
        weeks = " ".join(load_contract().week(number).key for number in range(1, 8))
        out.settle = "; ".join(f"`medssl run {weeks} --dataset {key} --name YOUR_NAME`" for key in absent)
        return
    chosen = {key: {lead.key: lead for lead in leads if lead.dataset == key} for key in datasets}
    a, b = (chosen[key] for key in datasets)
    for key in [key for key in a if key in b]:
        one, two = a[key], b[key]
        half = float(np.hypot(one.hi - one.lo, two.hi - two.lo) / 2)  # other images, other patients: independent
        mean = one.mean - two.mean
        out.leads.append(Lead(one.topic, f"{datasets[0]} - {datasets[1]}", f"{one.name}, {two.name}", one.what,
                              one.metric, one.fraction, mean, mean - half, mean + half, False,
                              f"{one.runs}; {two.runs}", one.sources + two.sources, one.said or two.said))
    out.corrected = holm(out.leads)
    out.verdict, sure = judge(out.leads, out.corrected)
    if sure:
        out.sentence = "The effect differs: " + "; ".join(
            f"{words(lead)}, {100 * lead.fraction:g} % of the labels, {TRADE.get(lead.metric, lead.metric)} "
            f"{signed(lead)} ({'larger on Breast' if lead.mean > 0 else 'larger on Pneumonia'})" for lead in sure) + "."
    elif not out.leads:
        out.sentence = "Both data sets are here, but no comparison was made in both."
    elif out.verdict == NO:
        out.sentence = "The effects differ by less than would matter."
    else:
        out.sentence = "No effect of SSL can be told to differ between the two data sets."
    out.notes.append("The same share is not the same number of labels: 10 % are 55 images of BreastMNIST and 471 of "
                     "PneumoniaMNIST.")
    out.settle = settle(found, out.leads)


def settle(found: Collected, leads: list[Lead]) -> str:
    """How much more the most promising open lead would need: an interval shrinks with the root of what is counted."""
    fair = [lead for lead in leads if not lead.handicap]
    open_ = [lead for lead in fair if lead.lo <= 0 <= lead.hi and lead.mean]
    if not fair:
        return ("A supervised model trained on the same labels, with its predictions: only it can tell what SSL does "
                "from what the labels do (extra tasks B1 and P1 train one, `medssl run extra_tasks`).")
    if not open_:
        return "Nothing is open among these leads; other people's runs and other hospitals' images are the next test."
    best = max(open_, key=lambda lead: abs(lead.mean) / (lead.hi - lead.lo))
    factor = ((best.hi - best.lo) / 2 / abs(best.mean)) ** 2
    n = sum(load_contract().datasets[best.dataset].counts["test"]) if best.dataset in load_contract().datasets else 0
    images = f" ({n} test images would have to be about {n * factor:,.0f})" if n else ""
    if factor > 20:
        return (f"The lead nearest to clear ({words(best)}, {signed(best)}) would need about {factor:,.0f} times the "
                f"test images and runs{images}: too small a difference for data sets of this size.")
    return (f"If {words(best)} ({TRADE.get(best.metric, best.metric)}, {100 * best.fraction:g} % of the labels) stays "
            f"at {best.mean:+.3f}, its interval clears 0 with about {factor:.1f} times as many test images, draws of "
            f"labels and pretrainings{images}. More runs on the same images shrink only their share of it.")


def whose(found: Collected) -> str:
    """Whose results answer: of each data set the most complete ones, whatever they say."""
    chosen, others = choose_examples(found), len(found.people) - len({name for _, name in choose_examples(found)})
    said = ", ".join(f"{name} ({dataset})" for dataset, name in chosen) or "none"
    return said + (f"; those of {others} others are less complete or come later by name" if others else "")


def words(lead: Lead) -> str:
    return f"{lead.what}, {lead.dataset}"


def signed(lead: Lead) -> str:
    return f"{lead.mean:+.3f} [{lead.lo:+.3f}, {lead.hi:+.3f}]"


def page(answers: list[Answer], found: Collected) -> str:
    """reports/three_questions.md."""
    asked = sum(len(one.leads) for one in answers)
    parts = ["# Three questions",
             "Written by `medssl questions` from the results in this folder; no number is typed. "
             f"Data: {', '.join(found.datasets) or 'none'}. Hand-ins: {whose(found)}.",
             "A lead above 0 is in favour of SSL, with a 95 % interval over test images, label draws and pretrainings. "
             f"{asked} leads were looked at: without any effect about {0.05 * asked:.1f} of their intervals would miss "
             "0. So p is corrected within each question (Holm), and only a corrected p below 0.05 is called an answer. "
             "A lead without p is as its file says: its predictions are not here, so it decides nothing."]
    for one in answers:
        parts += [f"## {one.number}. {one.question}", f"**{one.verdict.capitalize()}.** {one.sentence}"]
        rows = [[lead.dataset, lead.name, lead.what, f"{100 * lead.fraction:g} %", TRADE.get(lead.metric, lead.metric),
                 signed(lead), "–" if p is None else f"{p:.3f}" if p >= 0.001 else "below 0.001", lead.runs]
                for lead, p in zip(one.leads, one.corrected, strict=True)]
        if rows:
            header = ["Data set", "Name", "Lead", "Labels", "Metric", "Lead [95 %]", "p (Holm)", "Runs"]
            parts.append(table(header, rows))
        parts += [one.extra] * bool(one.extra) + ["\n".join(f"- {note}" for note in one.notes)] * bool(one.notes)
        parts.append(f"**What would settle it.** {one.settle}")
        if one.sources:
            parts.append("**Evidence.** " + ", ".join(f"`{source}`" for source in one.sources) + ".")
    return "\n\n".join(parts) + "\n"


def write_questions(root: str | Path | None = None, dataset: str | None = None, name: str | None = None,
                    out: str | Path | None = None) -> list[str]:
    """Write reports/three_questions.md beside results/ (or into `out`); lines for the terminal."""
    found = collect(root, dataset, name)
    answers = answer(found)
    folder = Path(out) if out else found.root / "reports"
    path = write_atomic(folder / "three_questions.md", page(answers, found))
    return [*(f"{one.number}. {one.question} {one.verdict.capitalize()}. {one.sentence}\n   What would settle it: "
              f"{one.settle}" for one in answers), f"written: {path}"]
