"""The class as a whole: how its numbers are spread, who is far from the rest, what is missed and found most."""

from collections import Counter
from math import ceil, floor, sqrt
from pathlib import Path
from statistics import median

from medssl.course.checker.files.slots import FOUND
from medssl.course.checker.files.walk import GROUP
from medssl.course.checker.pages.pictures import bytes_at
from medssl.course.checker.parse.handed_in import Problem, read_json
from medssl.course.checker.parse.values import blocks, words_of
from medssl.course.contract import load_contract
from medssl.errors import MedsslError

METRICS = {"accuracy": "Accuracy", "auroc": "AUROC", "ece": "ECE"}
ENOUGH = 5  # values, before a median and a spread mean something
WIDTH, TOP, FLOOR, HEIGHT = 300, 30, 70, 88  # of a dot plot: labels above TOP, dots down to FLOOR, the axis under it


def numbers_of(base: Path, submission: dict) -> dict[str, dict[str, tuple[float, bool]]]:
    """{metrics file: {metric: (value, whether it was recomputed)}}: recomputed where there were predictions, else as
    the file says it, however it spells it."""
    found: dict[str, dict[str, tuple[float, bool]]] = {}
    for row in submission["metrics"]:
        if row["seed"] == "mean" and row["metric"] in METRICS and row["recomputed"] is not None:
            found.setdefault(row["file"], {})[row["metric"]] = (row["recomputed"], True)
    for slot in submission["slots"]:
        if slot["kind"] == "metrics" and slot["status"] in FOUND and slot["file"] not in found:
            try:
                value, _ = read_json(bytes_at(base, slot["found"] or "") or b"")
            except Problem:
                continue
            wanted = set(words_of(slot["file"]))
            there = [block for block in blocks(value, load_contract())
                     if block.split == "test" and METRICS.keys() & block.values.keys()]
            if there:
                best = max(there, key=lambda block: len(wanted & block.words))  # of equal ones the outermost
                found[slot["file"]] = {m: (best.values[m], False) for m in METRICS if 0 <= best.values.get(m, -1) <= 1}
    return found


def noise(metric: str, value: float, counts: tuple[int, int] | None) -> float:
    """Half of the 95 % interval that the test images alone give a number (n0 and n1 of them in each class).

    Accuracy is binomial; AUROC by Hanley and McNeil (1982); a perfectly calibrated model shows an ECE of about
    0.43 / sqrt(n) and hardly twice that (measured: 0.034 on 156 images, 0.017 on 624).
    """
    if not counts or min(counts) < 1:
        return 0.0
    n0, n1 = counts
    a = min(max(value, 0.01), 0.99)
    if metric == "accuracy":
        return 1.96 * sqrt(a * (1 - a) / (n0 + n1))
    if metric == "ece":
        return 0.43 / sqrt(n0 + n1)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return 1.96 * sqrt((a * (1 - a) + (n1 - 1) * (q1 - a * a) + (n0 - 1) * (q2 - a * a)) / (n0 * n1))


def far_off(values: list[float], metric: str, counts: tuple[int, int] | None) -> list[bool]:
    """Which values are far from the class: more than 3 spreads (1.4826 MAD) from the median, and further than the test
    images alone can explain. A class that shares one seed has no spread: there the second counts."""
    if len(values) < ENOUGH:
        return [False] * len(values)
    middle = median(values)
    spread = 1.4826 * median(abs(value - middle) for value in values)
    limit = max(3 * spread, noise(metric, middle, counts), 1e-9)
    return [abs(value - middle) > limit for value in values]


def plots(submissions: list[dict], numbers: dict[str, dict]) -> list[dict]:
    """For each week and data set: a row a metrics file, a dot plot a metric. `numbers`: {submission id: numbers_of}."""
    out = []
    for week, dataset in sorted({(s["week"], s["dataset"]) for s in submissions}):
        members = [s for s in submissions if (s["week"], s["dataset"]) == (week, dataset)]
        counts, majority = _official(dataset)
        rows, apart = [], []
        for file in _files(members, numbers):
            panels = []
            for metric, title in METRICS.items():
                values = [(numbers[s["id"]][file][metric], s) for s in members
                          if metric in numbers[s["id"]].get(file, {})]
                panel = _panel(metric, values, counts, majority)
                apart += [{"id": d["id"], "name": d["name"], "file": file, "metric": title, "value": d["value"],
                           "median": panel["median"]} for d in panel["dots"] if d["far"]]
                panels.append(panel | {"title": title})
            rows.append({"file": file, "panels": panels})
        if rows:
            out.append({"week": week, "dataset": dataset, "people": len(members), "rows": rows, "apart": apart,
                        "majority": majority})
    return out


def _files(members: list[dict], numbers: dict) -> list[str]:
    """The metrics files of a week in the contract's order."""
    asked = [slot["file"] for s in members for slot in s["slots"]]
    there = {file for s in members for file in numbers[s["id"]]}
    return sorted(there, key=lambda file: (asked.index(file) if file in asked else len(asked), file))


def _official(dataset: str) -> tuple[tuple[int, int] | None, float | None]:
    facts = load_contract().datasets.get(dataset)
    counts = tuple(facts.counts["test"]) if facts and sum(facts.counts["test"]) else None  # crops have no fixed number
    return counts, max(counts) / sum(counts) if counts else None


def _panel(metric: str, values: list, counts, majority: float | None) -> dict:
    """Where each dot, line and label of a dot plot lies."""
    line = {"accuracy": majority, "auroc": 0.5, "ece": 0.43 / sqrt(sum(counts)) if counts else None}[metric]
    shown = [value for (value, _), _ in values]
    low, high = 0.0, max([0.2, *shown])
    if metric != "ece":
        low, high = min([*shown, line or 1, 0.9]), 1.0
    low, high = floor(10 * low - 1e-9) / 10 if metric != "ece" else 0.0, ceil(10 * high - 1e-9) / 10
    low = max(0.0, low)
    scale = lambda value: round(12 + (WIDTH - 24) * (value - low) / (high - low), 1)  # noqa: E731
    far = far_off(shown, metric, counts)
    columns = Counter(round(scale(value) / 6) for value in shown)
    rise, level, dots = min(6.0, (FLOOR - TOP - 6) / max([*columns.values(), 1])), Counter(), []
    in_order = sorted(zip(values, far, strict=True), key=lambda pair: (pair[0][0][0], pair[0][1]["id"]))
    for ((value, recomputed), s), odd in in_order:
        column = round(scale(value) / 6)
        weak = metric == "accuracy" and line is not None and value <= line + 1e-9
        dots.append({"x": scale(value), "y": round(FLOOR - 5 - rise * level[column], 1), "id": s["id"],
                     "name": s["name"], "value": value, "recomputed": recomputed, "far": odd, "weak": weak})
        level[column] += 1
    step = 0.1 if high - low < 0.65 else 0.2
    ticks = [low + k * step for k in range(int((high - low) / step + 1e-6) + 1)]
    return {"dots": dots, "median": median(shown) if shown else None, "labels": _labels(dots),
            "line": scale(line) if line is not None and low <= line <= high else None, "line_value": line,
            "middle": scale(median(shown)) if shown else None, "ticks": [(scale(t), f"{t:.3g}") for t in ticks],
            "weak": sum(dot["weak"] for dot in dots)}


def _labels(dots: list[dict]) -> list[dict]:
    """Names over the dots that are far off, in two lines, where they do not run into one another."""
    taken, labels = {0: -99.0, 1: -99.0}, []
    for dot in (dot for dot in dots if dot["far"]):
        text = dot["name"] if len(dot["name"]) <= 14 else dot["name"][:13] + "…"
        half = 3.1 * len(text)
        x = min(max(dot["x"], half + 2), WIDTH - half - 2)
        line = next((k for k in taken if taken[k] < x - half), None)
        if line is not None:
            taken[line] = x + half + 6
            labels.append({"x": round(x, 1), "y": 22 - 12 * line, "text": text})
    return labels


def missed(submissions: list[dict], most: int = 16) -> list[dict]:
    """The files that are missed most: {week, file, required, without, of, names}, the largest share first."""
    of, without = Counter(), {}
    for s in submissions:
        for slot in s["slots"]:
            key = (s["week"], slot["file"], slot["required"])
            of[key] += 1
            if slot["status"] not in FOUND:
                without.setdefault(key, []).append(s["name"])
    required = [key for key in without if key[2]]
    ranked = sorted(required, key=lambda key: (-len(without[key]) / of[key], key))
    return [{"week": week, "file": file, "without": len(without[week, file, needed]), "of": of[week, file, needed],
             "share": round(100 * len(without[week, file, needed]) / of[week, file, needed]),
             "names": sorted(set(without[week, file, needed]))} for week, file, needed in ranked[:most]]


def common(submissions: list[dict], most: int = 12) -> list[dict]:
    """The findings that most submissions have: {code, severity, submissions, times, example}."""
    found: dict[tuple, list] = {}
    for k, s in enumerate(submissions):
        for f in s["findings"]:
            found.setdefault((f["code"], f["severity"]), []).append((k, f["message"]))
    ranked = sorted(found.items(), key=lambda item: (-len({k for k, _ in item[1]}), item[0]))
    return [{"code": code, "severity": severity, "submissions": len({k for k, _ in hits}), "times": len(hits),
             "example": hits[0][1]} for (code, severity), hits in ranked[:most]]


def handed_in(submissions: list[dict]) -> list[dict]:
    """Of each week that anybody handed in: how many have, and who has not."""
    people = sorted({s["name"] for s in submissions} - {GROUP})
    out = []
    for week in sorted({s["week"] for s in submissions}):
        there = {s["name"] for s in submissions if s["week"] == week}
        try:
            title, personal = load_contract().week(week).title, load_contract().week(week).personal
        except MedsslError:
            title, personal = "", True
        out.append({"week": week, "title": title, "group": not personal, "there": len(there), "of": len(people),
                    "missing": [name for name in people if name not in there] if personal else []})
    return out
