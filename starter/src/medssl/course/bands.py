"""Was a number found again? Bands around recorded results, and what falls outside of them by luck alone.

A band is mean ± k·std over the recorded runs. A rerun is *inside* if its mean lies in the band, *outside* if not, and
*not run* where nothing comparable was made. Two exceptions, both said in the row:

- one recorded run has no spread between runs; its 95 % interval (another test set of this size) is the band then,
  which is another quantity: how often luck alone leaves it cannot be computed;
- a spread near 0 would turn rounding into failure, so a band reaches at least as far as one test image moves a rate.
"""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import stats

from medssl.course.contract import load_contract
from medssl.course.names import fill
from medssl.evaluate.image_statistics import correct_for_many

METRICS = ("accuracy", "auroc", "nll", "brier", "ece")
RATES = ("accuracy", "tpr", "fpr")  # of week 7's operating point
SAME = 1e-5  # the same number, but for float32 rounded in another order
ONE_IMAGE = 1.0  # a band reaches at least what one image of n can move: 1/n (0.006 of BreastMNIST's 156)
RELATIVE = 0.005  # of a loss: bf16 keeps 8 bits, a relative step of 2**-8 = 0.4 %, and devices round differently


@dataclass(frozen=True)
class Number:
    """One metric of one file, all its runs."""

    week: int
    file: str
    model: str
    metric: str
    values: list[float]  # of runs with these `seeds`
    seeds: list[int]
    least: float  # the least half-width of a band around it
    ci95: list[float] = field(default_factory=list)  # of the test set, for a single run
    draws: int = 1  # of labels, for each encoder: run = encoder · draws + draw

    @property
    def encoders(self) -> int:
        """How many runs are independent: the draws of labels are the same for each encoder."""
        return len(self.values) // self.draws

    @property
    def key(self) -> tuple:
        return self.week, self.file, self.metric

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def std(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


def read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_numbers(root: Path, dataset: str, name: str) -> dict[tuple, Number]:
    """{(week, file, metric): Number} of weeks 1-7: every metrics JSON, the end of the pretraining, the operating point.

    A file that repeats an earlier one number by number (week 6 repeats week 3's reference) is not counted twice.
    """
    found, seen = {}, set()
    for week in load_contract().weeks[:7]:
        folder = root / fill(week.folder, dataset, name)
        numbers, run = [], read_json(folder / "run.json")
        for slot in week.files:
            if slot.kind == "metrics":
                numbers += of_metrics(week.number, slot.path, read_json(folder / slot.path), run)
        if week.number == 4:
            numbers += _of_pretraining(folder / "ssl_loss.csv")
        if week.number == 7:
            numbers += _of_operating_point(read_json(folder / "operating_point.json"))
        for number in numbers:
            if (number.metric, *number.values) not in seen:
                found[number.key] = number
        seen |= {(number.metric, *number.values) for number in numbers}
    return found


def of_metrics(week: int, file: str, content, run=None) -> list[Number]:
    runs = content.get("per_seed") if isinstance(content, dict) else None
    if not runs:
        return []
    seeds = content.get("seeds", list(range(len(runs))))
    return [Number(week, file, str(content.get("model", file)), metric, [float(run[metric]) for run in runs], seeds,
                   ONE_IMAGE / content["n"], runs[0].get("ci95", {}).get(metric, []) if len(runs) == 1 else [],
                   draws_of(content, run, len(runs)))
            for metric in METRICS if all(metric in run for run in runs)]  # fmt: skip


def draws_of(content: dict, run, runs: int) -> int:
    """Draws of labels for each encoder. Week 5 says it in the file, else run.json lists the labels of each draw."""
    labels = run.get("label_indices") if isinstance(run, dict) and "label_fraction" in content else None
    said = content.get("draws") or (len(labels) if isinstance(labels, dict) else 0)
    if not isinstance(said, int) or said < 1:
        return 1
    return said if runs % said == 0 else runs  # of unknown shape: perhaps one encoder


def _of_pretraining(path: Path) -> list[Number]:
    """The last loss of each pretraining."""
    last = {}
    if path.is_file():
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            last[row.get("seed", "0")] = float(row["loss"])
    values, seeds = list(last.values()), [int(seed) for seed in last]
    if not last:
        return []
    return [Number(4, path.name, "pretraining", "last loss", values, seeds, RELATIVE * abs(np.mean(values)))]


def _of_operating_point(content) -> list[Number]:
    test = content.get("test") if isinstance(content, dict) else None
    if not test:
        return []
    return [Number(7, "operating_point.json", str(content.get("model", "")), f"{metric} at the threshold",
                   [float(test[metric])], [content.get("seed", 0)], ONE_IMAGE / test["n"], test["ci95"][metric])
            for metric in RATES]  # fmt: skip


def compare_numbers(recorded: dict[tuple, Number], rerun: dict[tuple, Number], reasons: dict[int, str],
                    k: float = 2.0) -> list[dict]:  # fmt: skip
    """One row a recorded metric. `reasons` {week: why its rerun cannot be compared}."""
    rows = []
    for key, old in recorded.items():
        low, high, how = band(old, k)
        new, reason = rerun.get(key), reasons.get(old.week, "")
        if new is None and not reason:
            reason = f"the rerun made no {old.file}"
        row = {"week": old.week, "file": old.file, "model": old.model, "metric": old.metric, "recorded": old.mean,
               "low": low, "high": high, "band": how, "recorded_runs": len(old.values)}  # fmt: skip
        if reason:
            row |= {"status": "not run", "reason": reason}
        else:
            row |= {"rerun": new.mean, "rerun_runs": len(new.values),
                    "status": "inside" if low <= new.mean <= high else "outside",
                    "same_runs": same_runs(old, new),
                    "chance_outside": chance(old, (high - low) / 2, new.encoders, new.draws),
                    "p": chance(old, abs(new.mean - old.mean), new.encoders, new.draws)}  # fmt: skip
        rows.append(row)
    return rows


def same_runs(old: Number, new: Number) -> list[int]:
    """[runs of one seed that gave the same number, runs of one seed that both have]."""
    before = dict(zip(old.seeds, old.values, strict=True))
    pairs = [(before[seed], value) for seed, value in zip(new.seeds, new.values, strict=True) if seed in before]
    return [sum(abs(a - b) < SAME for a, b in pairs), len(pairs)]


def band(old: Number, k: float) -> tuple[float, float, str]:
    """(low, high, how it was made)."""
    if len(old.values) == 1 and old.ci95:
        low, high = min(old.ci95[0], old.mean - old.least), max(old.ci95[1], old.mean + old.least)
        return low, high, "95 % interval: one run was recorded"
    half, how = k * old.std, f"mean ± {k:g} std of {len(old.values)} runs"
    if half < old.least:
        half, how = old.least, f"{how}, widened to the floor {old.least:.2g}"
    return old.mean - half, old.mean + half, how


def chance(old: Number, distance: float, encoders: int, draws: int = 1) -> float | None:
    """How often a rerun with other seeds, and no other change, has a mean at least `distance` away.

        mean_new - mean_old ~ t(f) · sqrt(A + B)      A = var(encoder means) (1/E + 1/encoders), of E - 1 freedoms
        f = (A + B)² / (A²/(E - 1) + B²/(R - 1))      B = var(draw means) (1/R + 1/draws), of R - 1 (Satterthwaite)

    for E encoders x R draws of labels; runs that share no draws are E encoders, and B = 0. Thirty probes of three
    encoders know the luck of an encoder from three numbers. None where one encoder or run says nothing about it.
    """
    if old.encoders < 2:
        return None
    grid = np.array(old.values)[np.argsort(old.seeds)].reshape(old.encoders, old.draws)
    a, free = grid.mean(1).var(ddof=1) * (1 / old.encoders + 1 / encoders), old.encoders - 1
    b = grid.mean(0).var(ddof=1) * (1 / old.draws + 1 / draws) if old.draws > 1 else 0.0
    if np.sqrt(a + b) < 1e-12 * max(1.0, abs(old.mean)):  # runs alike, but for rounding: what differs has another cause
        return float(distance < old.least * (1 - 1e-9))  # the edge of the band is (high - low) / 2, which is rounded
    if b:
        free = (a + b) ** 2 / (a**2 / free + b**2 / (old.draws - 1))
    return float(2 * stats.t.sf(distance / np.sqrt(a + b), free))


def verdict(rows: list[dict]) -> dict:
    """Counts, how many would be outside by luck, how many are too far out for luck (Holm), and all of it in words."""
    count = {status: sum(row["status"] == status for row in rows) for status in ("inside", "outside", "not run")}
    judged = [row for row in rows if row.get("p") is not None]
    out = sum(row["status"] == "outside" for row in judged)
    expected = sum(row["chance_outside"] for row in judged)
    at_least = _at_least([row["chance_outside"] for row in judged], out)
    corrected = correct_for_many(np.array([row["p"] for row in judged]))  # Holm: right whatever the metrics share
    far = [row for row, p in zip(judged, corrected, strict=True) if p < 0.05 and row["status"] == "outside"]
    compared = count["inside"] + count["outside"]
    if not compared:
        words = "Nothing was compared, so nothing is known about reproduction."
    elif not count["outside"]:
        words = f"Found again: all {compared} compared metrics are inside their bands."
    else:
        many = f"{count['outside']} of {compared} compared metrics are outside"
        luck = f"other seeds alone would put about {expected:.1f} outside"
        if len(judged) < compared:
            luck = f"of the {len(judged)} with a spread between recorded runs {luck}"
        if far:
            words = f"Not found again: {many}, {len(far)} of them too far for luck (Holm, 5 %); {luck}."
        elif not out:
            words = f"{many}."
        elif at_least >= 0.05:
            words = f"{many}; {luck}, so this may be luck. Look at each."
        else:
            words = (f"{many}; {luck}, and so many are rare (P = {at_least:.2g}, if metrics were independent; those of "
                     "one model are not). Look at each.")  # fmt: skip
    if single := count["outside"] - out:
        words += (f" For {single} of those outside there is one recorded run (or encoder): luck cannot be computed. "
                  "The 95 % interval of one run is of the test set, another quantity than the spread between runs.")
    same, shared = (sum(row["same_runs"][k] for row in rows if "same_runs" in row) for k in (0, 1))
    if shared:
        words += f" Seed by seed, {same} of {shared} numbers are the same to five digits."
    if compared and count["not run"]:
        words += f" {count['not run']} recorded metrics were not run."
    return {**count, "compared": compared, "same_runs": [same, shared], "expected_outside": expected,
            "p_at_least": at_least,
            "too_far_for_luck": [[row["week"], row["file"], row["metric"]] for row in far], "words": words}  # fmt: skip


def _at_least(chances: list[float], seen: int) -> float:
    """P(at least `seen` happen) of independent events: the binomial, with a chance of its own for each."""
    distribution = np.ones(1)
    for chance_ in chances:
        distribution = np.convolve(distribution, [1 - chance_, chance_])
    return float(min(1.0, distribution[seen:].sum()))
