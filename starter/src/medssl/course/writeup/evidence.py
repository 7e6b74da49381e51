"""What the results say for or against self-supervision, lead by lead, each with a 95 % interval and its files.

A lead is oriented: above 0 is better for SSL (a lower NLL counts as a lead). `handicap`: SSL had fewer labels than the
model that it is held against. Then a lead counts, and a deficit says nothing about SSL.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import stats

from medssl.course.checker.parse.handed_in import Problem, read_bytes, read_text
from medssl.course.writeup.collect import Collected
from medssl.course.writeup.records import Result
from medssl.errors import MedsslError
from medssl.evaluate.bootstrap import resample_weights
from medssl.evaluate.compare import resample_shares
from medssl.evaluate.image_statistics import correct_for_many
from medssl.evaluate.thresholds import choose_threshold

NUMBER = r"([+-]\d\.\d{1,4})"
LEAD = re.compile(rf"(.{{1,80}}?) \({NUMBER} \[{NUMBER}, {NUMBER}\]\)(?:, |$)")
LONGEST_LINE = 2000
SSL = ("probe", "finetune")
N_BOOT = 400


@dataclass(frozen=True)
class Lead:
    topic: str  # "labels", "calibration" or "thresholds"
    dataset: str
    name: str
    what: str  # "SSL, linear probe over smallcnn, trained on the same labels"
    metric: str
    fraction: float
    mean: float
    lo: float
    hi: float
    handicap: bool
    runs: str
    sources: list[str] = field(default_factory=list)
    said: bool = False  # a sentence of a file, not computed here from predictions: shown, but it decides nothing

    @property
    def key(self) -> tuple:
        """The same comparison in another data set."""
        return self.topic, self.what, self.metric, self.fraction

    @property
    def p(self) -> float | None:
        """Two-sided, as if the side of the interval that looks at 0 were a normal one's, so that p < 0.05 exactly where
        the interval leaves out 0, skewed ones too. For Holm, not by itself. None: an interval without a width, or one
        that does not hold its own mean, tells nothing.
        """
        width = self.mean - self.lo if self.mean > 0 else self.hi - self.mean
        if not self.lo <= self.mean <= self.hi or width <= 0:
            return None
        return float(2 * stats.norm.sf(stats.norm.ppf(0.975) * abs(self.mean) / width))


def holm(leads: list[Lead]) -> list[float | None]:
    """p-values corrected for asking at once all that are computed; None where there is none."""
    asked = [k for k, lead in enumerate(leads) if not lead.said and lead.p is not None]
    out: list[float | None] = [None] * len(leads)
    for k, p in zip(asked, correct_for_many(np.array([leads[k].p for k in asked])) if asked else [], strict=True):
        out[k] = float(p)
    return out


def shown(found: Collected, path: Path) -> str:
    return path.relative_to(found.root).as_posix()


def runs_of(result: Result) -> str:
    if result.encoders > 1 and result.draws > 1:
        return f"{result.encoders} pretrainings × {result.draws} draws"
    return f"{result.runs} run{'s' * (result.runs != 1)}"


def ladders(found: Collected, dataset: str, name: str) -> list[tuple[Lead | None, str, float, list[str], str]]:
    """(lead or None, SSL rung, fraction, rows that it clears, file) from ladder.md of weeks 5 and 6.

    The notebooks compare with models whose predictions are not handed in (pixels, a random encoder, a network trained
    on the same labels), so their own sentences are shown, "as the file says";
    no verdict comes from them. One that says "no claim" lists what is not cleared;
    all other rows above it in the table, with that share of the labels, are.
    """
    out = []
    for run in found.runs:
        path = run.folder / "ladder.md"
        if (run.dataset, run.name) != (dataset, name) or run.week not in (5, 6) or not path.is_file():
            continue
        try:
            lines = [line[:LONGEST_LINE] for line in read_text(read_bytes(path)).splitlines()[:100]]
        except Problem:
            continue
        cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line.startswith("|")]
        for line in lines:
            begun = re.match(r"With ([\d.]{1,6}) % of the labels (no claim that )?(.{1,60}?) helps: ", line)
            if not begun or not cells:
                continue
            fraction, rung = float(begun[1]) / 100, begun[3]
            tail = line[begun.end():].partition(" over ")[2].partition(" Not compared")[0].rstrip(".")
            tail = tail if begun[2] else tail.rpartition("least over ")[2]
            leads = [(m[1], *map(float, m.groups()[1:])) for m in LEAD.finditer(tail)]
            column = cells[0].index(f"{100 * fraction:g} %") if f"{100 * fraction:g} %" in cells[0] else 0
            names = [row[0] for row in cells[2:] if len(row) > column and row[column] != "–"]
            before = names[1:names.index(rung)] if rung in names else []  # without the majority
            uncleared = [lead[0] for lead in leads] if begun[2] else []
            cleared = [row for row in before if row not in uncleared]
            for other, mean, low, high in leads:
                lead = Lead("labels", dataset, name, f"{rung} over {other}", "auroc", fraction, mean, low, high, False,
                            f"as the file of week {run.week} says", [shown(found, path)], said=True)
                out.append((lead, rung, fraction, cleared, shown(found, path)))
            if not leads:
                out.append((None, rung, fraction, cleared, shown(found, path)))
    return out


def against_reference(found: Collected, dataset: str, name: str, metric: str, topic: str) -> list[Lead]:
    """Every probe and fine-tuned model less the supervised reference that saw all labels: on the same test images."""
    reference = found.result("reference_supervised.json", dataset, name)
    leads = []
    for result in found.of(dataset, name):
        if reference is None or result.method not in SSL or result.backbone != "ssl":
            continue
        d, lower = found.difference(result, reference, metric), metric in ("nll", "brier")
        low, high = (-d["hi"], -d["lo"]) if lower else (d["lo"], d["hi"])
        kind = "fine-tuned" if result.method == "finetune" else f"linear probe (week {result.week})"
        leads.append(Lead(topic, dataset, name, f"SSL, {kind} over the supervised reference with all labels", metric,
                          result.label_fraction, -d["mean"] if lower else d["mean"], low, high,
                          result.label_fraction < reference.label_fraction, f"{runs_of(result)}, {runs_of(reference)}",
                          [shown(found, result.path), shown(found, reference.path)]))
    return leads


def drifts(found: Collected, dataset: str, name: str) -> tuple[list[Lead], list[dict]]:
    """(is the fine-tuned model's threshold steadier?, each model's drift of TPR and FPR from val to test).

    Each run's threshold is chosen on val by the rule of operating_point.json and carried to test. Both splits' images
    are drawn anew (the same for both models), runs too. A lead is |drift of supervised| - |drift of SSL|.
    """
    chosen = next((o for o in found.operating if (o["dataset"], o["name"]) == (dataset, name)), None)
    content = chosen["content"] if chosen else {}
    rule = {"rule": content.get("rule"), "target": content.get("target")} if chosen else {"rule": "tpr", "target": 0.9}
    models = {"supervised reference": ("reference_supervised.json", "predictions_reference_val.csv"),
              "SSL, fine-tuned": ("metrics_ssl_finetune.json", "predictions_ssl_finetune_val.csv")}
    made, rows = {}, []
    for model, (file, val) in models.items():
        result = found.result(file, dataset, name)
        path = result.path.parent / val if result else None
        if not path or not path.is_file():
            continue
        try:
            drift = drift_of(found, result, path, rule)
        except (MedsslError, Problem):  # a rule that is not known, a val file that does not fit
            continue
        made[model] = (drift, [shown(found, path), shown(found, result.predictions)], runs_of(result))
        for k, rate in enumerate(("TPR", "FPR")):
            low, high = np.quantile(drift[1:, k], (0.025, 0.975))
            rows.append({"model": model, "rate": rate, "mean": float(drift[0, k]), "lo": float(low), "hi": float(high),
                         "runs": runs_of(result), "dataset": dataset, "name": name})
    leads = []
    if len(made) == 2:
        (sup, files_a, runs_a), (ssl, files_b, runs_b) = made.values()
        for k, rate in enumerate(("TPR", "FPR")):
            steadier = np.abs(sup[:, k]) - np.abs(ssl[:, k])
            low, high = np.quantile(steadier[1:], (0.025, 0.975))
            leads.append(Lead("thresholds", dataset, name, f"SSL, fine-tuned: steadier {rate} than the reference",
                              f"|drift of {rate}|", found.result(models["SSL, fine-tuned"][0], dataset, name
                              ).label_fraction, float(steadier[0]), float(low), float(high), True,
                              f"{runs_b}, {runs_a}", files_a + files_b))
    return leads, rows


def drift_of(found: Collected, result: Result, val: Path, rule: dict, seed: int = 0) -> np.ndarray:
    """[1 + N_BOOT, 2]: test - val of TPR and FPR, mean over runs; the first row as measured."""
    y, p = found.scores(result)
    on_val = found.read_predictions(val, result.dataset)
    if set(on_val) < set(result.seeds):
        raise MedsslError(f"{val.name} lacks runs of {result.file}.")
    y_val = on_val[result.seeds[0]][1]
    rng = np.random.default_rng(seed)  # the same images for every model
    draws = [resample_weights(labels, rng, N_BOOT).astype(int) for labels in (y_val, y)]
    weights = [np.concatenate([np.ones((1, w.shape[1]), int), w]) for w in draws]
    runs_rng = np.random.default_rng(seed + 1)
    shares = resample_shares(result.encoders, runs_rng, N_BOOT)[:, :, None]
    shares = (shares * resample_shares(result.draws, runs_rng, N_BOOT)[:, None]).reshape(N_BOOT + 1, -1)
    out = np.zeros((N_BOOT + 1, 2))
    for run, number in enumerate(result.seeds):
        q_val, q = on_val[number][2], p[run]
        for b, (w_val, w) in enumerate(zip(*weights, strict=True)):
            t = choose_threshold(np.repeat(y_val, w_val), np.repeat(q_val, w_val), **rule)
            for k, label in enumerate((1, 0)):
                test, before = (np.sum(v * ((s >= t) & (truth == label))) / np.sum(v * (truth == label))
                                for v, s, truth in ((w, q, y), (w_val, q_val, y_val)))
                out[b, k] += shares[b, run] * (test - before)
    return out
