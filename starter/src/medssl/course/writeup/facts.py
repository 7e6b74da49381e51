"""What may be said: sentences made from computed differences, each with its interval, or "not enough evidence"."""

from math import hypot

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.writeup.collect import LOCKED, Collected
from medssl.course.writeup.evidence import Lead, ladders
from medssl.course.writeup.records import Result
from medssl.course.writeup.tables import calibrated, model_name, rule_words, share, signed, title_of
from medssl.errors import MedsslError

WORSE, BETTER = "lower", "higher"


def verdict(gap: dict, more: str, less: str) -> str:
    """One of the two words where the interval leaves 0 out; else that there is not enough evidence."""
    if gap["lo"] > 0 or gap["hi"] < 0:
        return more if gap["mean"] > 0 else less
    return "not enough evidence for a difference"


def compared(found: Collected, a: Result, b: Result, metric: str = "auroc") -> str:
    """ "A against B: AUROC +0.008 [−0.027, +0.048]: not enough evidence for a difference." """
    gap = found.difference(a, b, metric)
    up, down = ("higher", "lower") if metric == "auroc" else ("higher, so worse", "lower, so better")
    few = " and of ".join(clean(r.model, 40) for r in (a, b) if r.runs == 1)
    note = f" (a single run of {few}: of another training nothing is known)" if few else ""
    return f"{named(a, first=True)} against {named(b)}: {metric.upper()} {signed(gap)}, {verdict(gap, up, down)}{note}."


def named(result: Result, first: bool = False) -> str:
    """The model and its share of the labels, once."""
    if result.file == LOCKED:
        return f"{'The' if first else 'the'} supervised reference ({clean(result.model, 50)}, all labels)"
    model = model_name(result)
    model = f"S{model[1:]}" if first and model.startswith("supervised") else model
    labels = "all labels" if result.label_fraction == 1 else f"{share(result.label_fraction)} of the labels"
    return f"{model} (week {result.week})" if "label" in model else f"{model} (week {result.week}, {labels})"


def label_claims(found: Collected, dataset: str, name: str) -> list[str]:
    """What self-supervision buys: against the same labels without it, against the reference with all, and probe
    against fine-tuned encoder."""
    probes, tuned = (found.few_labels(dataset, name, method) for method in ("probe", "finetune"))
    reference, out = found.reference(dataset, name), [lead_words(lead) for lead in same_labels(found, dataset, name)]
    if probes and reference:
        out.append(compared(found, [r for r in probes if r.week == probes[-1].week][-1], reference))
    for one in tuned[-1:]:
        out += [compared(found, one, reference)] if reference else []
        same = [r for r in probes if r.label_fraction == one.label_fraction and r.week == one.week]
        out += [compared(found, one, r) for r in same[:1]]
    week5 = [r for r in probes if r.week == 5]
    if len(week5) > 1:
        out.append(compared(found, week5[-1], week5[0]))
    return out


def same_labels(found: Collected, dataset: str, name: str) -> list[Lead]:
    """The leads of SSL over a network trained on the same labels: what label efficiency means. As the ladders say."""
    leads = [lead for lead, *_ in ladders(found, dataset, name) if lead and "same labels" in lead.what]
    return sorted((lead for lead in leads if lead.fraction < 1), key=lambda lead: (lead.fraction, lead.sources))


def lead_words(lead: Lead) -> str:
    """ "With 5 % of the labels SSL, linear probe over smallcnn, trained on the same labels: AUROC +0.087 […]: …" """
    gap = {key: getattr(lead, key) for key in ("mean", "lo", "hi")}
    return (f"With {share(lead.fraction)} of the labels {clean(lead.what, 120)}: AUROC {signed(gap)}, "
            f"{verdict(gap, BETTER, WORSE)}.")


def looks(found: Collected, examples: list[tuple[str, str]], points: dict, shifts: dict) -> dict[str, list[dict]]:
    """Every interval of a difference that the paper asked for, by kind: whoever looks often finds something."""
    drift = [{"lo": low, "hi": high} for rows in points.values() for row in rows
             for low, high in row["drift"]["ci95"].values()]
    return {"between two models": found.differences(),
            "on the same labels (from the ladders)": [{"lo": lead.lo, "hi": lead.hi} for who in examples
                                                      for lead in same_labels(found, *who)],
            "between shifted and unshifted images": [row["change"] for rows in shifts.values() for row in rows
                                                     if row["change"]],
            "of a rate between val and test": drift}


def baseline_claims(found: Collected, dataset: str, name: str) -> list[str]:
    """Which supervised differences are more than noise: all layers against the head, augmentation against none."""
    third = {r.file: r for r in found.of(dataset, name, 3)}
    basic = next((r for file, r in third.items() if "basic" in file), None)
    return [compared(found, basic, r) if r.method == "head" else compared(found, r, basic)
            for file, r in third.items() if basic and r is not basic and (r.method == "head" or "aug" in file)]


def calibration_claims(found: Collected, dataset: str, name: str) -> list[str]:
    """Is each ECE above what a calibrated model would show, and does any NLL differ from the first model's?"""
    chosen, out = calibrated(found, dataset, name), []
    for r in chosen:
        ece, floor = r.values["ece"], r.floor
        where = "above" if ece > floor["p95"] else "within"
        meaning = "miscalibrated" if where == "above" else "not shown to be miscalibrated"
        out.append(f"{named(r, first=True)}: ECE {ece:.3f}, {where} what a calibrated model would show on these images "
                   f"(mean {floor['mean']:.3f}, 95th percentile {floor['p95']:.3f}): {meaning}.")
    return out + [compared(found, r, chosen[0], "nll") for r in chosen[1:]]


def point_claims(rows: list[dict]) -> list[str]:
    """Which thresholds drifted from val to test by more than the noise of both splits."""
    out = []
    for row in rows:
        for rate in ("tpr", "fpr"):
            low, high = row["drift"]["ci95"][rate]
            gap = {"mean": row["drift"][rate], "lo": low, "hi": high}
            if low > 0 or high < 0:
                out.append(f"The threshold of “{rule_words(row)}” drifted from val to test: {rate.upper()} "
                           f"{signed(gap)}.")
    if rows and not out:
        out.append(f"Of {len(rows)} thresholds not one drifted from val to test by more than the noise of the two "
                   "splits.")
    return out


def points_of(found: Collected, dataset: str, name: str) -> list[dict]:
    """Week 7's rules, chosen on val and carried to test again, from its predictions."""
    from medssl.evaluate import operating_points
    from medssl.evaluate.thresholds import RULES

    entry = next((one for one in found.operating if (one["dataset"], one["name"]) == (dataset, name)), {})
    if "val" not in entry or "test" not in entry:
        return []
    rules = ((entry["run"] or {}).get("parameters") or {}).get("rules", RULES)
    try:
        val, test = (next(iter(found.read_predictions(entry[split], dataset).values())) for split in ("val", "test"))
        return operating_points(*val[1:], *test[1:], rules)
    except (Problem, MedsslError, TypeError, AttributeError):  # rules that are none
        return []


UNSHIFTED = "none"  # week 8's scores of the images as they are, of the same networks


def shift_rows(found: Collected, dataset: str, name: str) -> list[dict]:
    """Week 8, from its predictions: one row a shift, the unshifted images first.

    The change is that of the same networks (the runs of both files) on the same images: week 3's reference is another
    model, and against it a shift would look better or worse than it is. Without unshifted scores there is no change.
    """
    import numpy as np

    from medssl.evaluate import difference, evaluate

    scores, entries = {}, {}
    for entry in found.robustness:
        if (entry["dataset"], entry["name"]) != (dataset, name):
            continue
        try:
            scores[entry["shift"]] = found.read_predictions(entry["predictions"], dataset)
        except Problem:
            continue
        entries[entry["shift"]] = entry
    clean_scores, rows = scores.get(UNSHIFTED, {}), []
    for shift in sorted(scores, key=lambda one: one != UNSHIFTED):
        moved = scores[shift]
        y, p = next(iter(moved.values()))[1], np.stack([row[2] for row in moved.values()])
        each = [evaluate(y, one, ("0", "1"), n_boot=0) for one in p]
        means = {key: float(np.mean([one[key] for one in each])) for key in ("accuracy", "auroc", "ece")}
        both = [run for run in moved if run in clean_scores and np.array_equal(clean_scores[run][1], y)]
        change = None
        if both and shift != UNSHIFTED:
            change = difference(y, *(np.stack([one[run][2] for run in both]) for one in (moved, clean_scores)))
        strength = "–" if shift == UNSHIFTED else strongest(entries[shift])
        rows.append({"shift": shift, "strength": strength, **means, "change": change})
    return rows


def strongest(entry: dict) -> str:
    """The strength at which these scores were taken: week 8 keeps those of the strongest grade."""
    grades = ((entry["run"] or {}).get("parameters") or {}).get("shifts")
    values = grades.get(entry["shift"]) if isinstance(grades, dict) else None
    numbers = [v for v in values if isinstance(v, (int, float))] if isinstance(values, list) else []
    return f"{max(numbers):g}" if numbers else "–"


def shift_claims(rows: list[dict]) -> list[str]:
    hit = [row for row in rows if row["change"] and row["change"]["hi"] < 0]
    known = [row for row in rows if row["change"]]
    if not known:
        return []
    words = ", ".join(f"{row['shift']} {signed(row['change'])}" for row in hit)
    return [f"The ranking suffers under {words}: AUROC falls by more than chance." if hit else
            "Under none of the shifts does the AUROC fall by more than chance."]


def gap_of_gaps(a: tuple, b: tuple) -> tuple[float, float, float]:
    """(mean, lo, hi) of a less b, two independent differences given as (mean, lo, hi): square and add (Newcombe 1998).

        lo = mean - sqrt((a - lo_a)^2 + (hi_b - b)^2),   hi = mean + sqrt((hi_a - a)^2 + (b - lo_b)^2)
    """
    mean = a[0] - b[0]
    return mean, mean - hypot(a[0] - a[1], b[2] - b[0]), mean + hypot(a[2] - a[0], b[0] - b[1])


def between_datasets(found: Collected, examples: list[tuple[str, str]]) -> list[str]:
    """Does self-supervision help more on one data set? The difference of two independent differences, its interval from
    both (Newcombe's square-and-add)."""
    gaps = {}
    for dataset, name in examples if len(examples) == 2 else []:
        probes, reference = found.few_labels(dataset, name, "probe"), found.reference(dataset, name)
        if reference:
            gaps |= {(r.label_fraction, dataset): (r, found.difference(r, reference)) for r in reversed(probes)}
    out = []
    if len(examples) == 2:
        first, second = (dataset for dataset, _ in examples)
        for fraction in sorted({f for f, _ in gaps}):
            if (fraction, first) in gaps and (fraction, second) in gaps:
                a, b = gaps[fraction, first][1], gaps[fraction, second][1]
                ends = gap_of_gaps(*([one[key] for key in ("mean", "lo", "hi")] for one in (a, b)))
                gap = dict(zip(("mean", "lo", "hi"), ends, strict=True))
                out.append(f"With {share(fraction)} of the labels the probe stands at {signed(a)} AUROC to the "
                           f"reference on {title_of(first)}, at {signed(b)} on {title_of(second)}; the gap between the "
                           f"two is {signed(gap)}, {verdict(gap, 'larger on the first', 'larger on the second')}.")
    return out
