"""The metrics in any JSON, whatever it calls them and however it nests them: blocks of numbers under our own names.

{"test": {"acc": 0.76}} · {"probe_5pct": {"roc_auc": 0.81}} · {"auroc_10pct": 0.9} · {"acc (train/test)": [0.9, 0.76]} ·
[{"seed": 0, "test_acc": 0.7}, ...] all become Block(at, values={"accuracy": 0.76}, ...).
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from medssl.course.checker.recompute import is_number
from medssl.course.contract import Contract

MOST_BLOCKS, MOST_LEVELS = 500, 8
METRICS = {"accuracy", "auroc", "ece", "balanced_accuracy", "auprc", "f1", "nll", "brier", "precision", "recall",
           "specificity"}
OTHER_NAMES = {"sensitivity": "recall", "tpr": "recall", "tnr": "specificity", "logloss": "nll"}
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
NO_METRICS = {"ci95", "ci", "std", "sd", "stderr", "change", "config", "parameters", "hyperparameters", "history",
              "bins", "calibration", "per_class", "ece_if_calibrated", "log", "curve", "curves", "thresholds",
              "interval"}


class Block(NamedTuple):
    """Metrics that were given together. `at`: where in the file ("" = top, dotted keys, `#rest` of a key)."""

    at: str
    values: dict[str, float]  # our name -> value, as a fraction (76.3 % is 0.763)
    names: dict[str, str]  # our name -> the key as written
    facts: dict[str, object]  # what else stands here or above: model, seed, n, epochs, split, confusion, threshold
    words: frozenset[str]  # the words of the keys that lead here: {"probe", "5pct"}

    @property
    def split(self) -> str:
        """train, val or test, where the keys or a `split` say so; else test, which is what a hand-in is about."""
        return next((SPLITS[w] for w in sorted(self.words) if w in SPLITS), SPLITS.get(
            str(self.facts.get("split", "")).casefold(), "test"))


def words_of(name: str) -> list[str]:
    """The words of a key or a file name: probe_metrics-5pct, probeMetrics5pct -> probe metrics 5pct (lower case)."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name)[:200]).replace("_", " ").casefold()
    return re.findall(r"\d+(?:\.\d+)?(?:pct|%|px)?|[^\W\d_]+\d{0,2}(?![a-z])|[^\W\d_]+", text)


def blocks(value: object, contract: Contract) -> list[Block]:
    """Every block of metrics in a JSON value, outermost first; at most MOST_BLOCKS, at most MOST_LEVELS deep."""
    known = _spellings(contract)
    return [block for _, block in zip(range(MOST_BLOCKS), _walk(value, "", {}, frozenset(), known, 0), strict=False)]


def json_in_text(text: str) -> object | None:
    """The JSON that a text file holds: all of it, or a fenced block (several: a list of them)."""
    parts = re.findall(r"(?s)```(?:json)?\s*\n(.{2,20000}?)```", text) or [text]
    found = []
    for part in parts:
        if part.lstrip()[:1] in ("{", "["):
            try:
                found.append(json.loads(part))
            except (ValueError, RecursionError):
                continue
    return found[0] if len(found) == 1 else found or None


def _spellings(contract: Contract) -> dict[str, str]:
    """{a spelling without blanks and signs: our name}"""
    known = {_bare(name): name for name in METRICS} | {_bare(k): v for k, v in OTHER_NAMES.items()}
    return known | {_bare(alias.split("(")[0].removeprefix("test.")): name
                    for name, aliases in contract.metric_aliases.items() if name in METRICS for alias in aliases}


def _bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())


def _walk(value: object, at: str, above: dict, words: frozenset, known: dict, level: int) -> Iterator[Block]:
    if level > MOST_LEVELS:
        return
    if isinstance(value, list):
        for k, one in enumerate(value[:MOST_BLOCKS]):
            if isinstance(one, (dict, list)):
                yield from _walk(one, f"{at}.{k}".lstrip("."), above, words, known, level + 1)
        return
    if not isinstance(value, dict) or "epoch" in value:  # a line of a training history is no result
        return
    groups: dict[str, tuple[dict, dict]] = {}
    facts = above | {str(key): one for key, one in value.items() if not isinstance(one, dict)}
    for key, one in value.items():
        metric, rest = metric_of(str(key), known)
        if metric and (number := _number(one, str(key))) is not None:
            values, names = groups.setdefault(rest, ({}, {}))
            values.setdefault(metric, number)
            names.setdefault(metric, str(key))
    for rest, (values, names) in sorted(groups.items()):
        place = f"{at}#{rest}" if rest else at
        yield Block(place, values, names, facts, words | frozenset(rest.split()))
    for key, one in value.items():
        if isinstance(one, (dict, list)) and str(key).casefold() not in NO_METRICS:
            deeper = words | frozenset(words_of(str(key)))
            yield from _walk(one, f"{at}.{key}".lstrip("."), facts, deeper, known, level + 1)


def metric_of(key: str, known: dict[str, str]) -> tuple[str, str]:
    """(our name, the other words of the key) of a metric's key, or ("", ""): auroc_10pct -> auroc, "10pct"."""
    bare = _bare(key.split("(")[0])
    if bare in known:
        return known[bare], ""
    words = words_of(key.split("(")[0])
    for size in (3, 2, 1):
        for k in range(len(words) - size + 1):
            metric = known.get("".join(words[k:k + size]))
            if metric:
                rest = [w for w in words[:k] + words[k + size:] if w != "mean"]
                return ("", "") if set(rest) & (NO_METRICS | {"low", "high", "best", "std", "target"}) else (
                    metric, " ".join(rest))
    return "", ""


def _number(value: object, key: str) -> float | None:
    """A number, also one in a string, with a percent sign, or in the list of a key like "acc (train/test)"."""
    if isinstance(value, list) and (named := re.search(r"\(([^)]{1,80})\)", key)):
        places = [w.strip() for w in re.split(r"[/,|]", named[1].casefold())]
        value = value[places.index("test")] if "test" in places and len(places) == len(value) else None
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(%?)\s*", value[:40])):
        value = float(found[1]) / (100 if found[2] else 1)
    if not is_number(value):
        return None
    return value / 100 if 1 < value <= 100 and not re.search(r"nll|log", key, re.I) else float(value)
