"""The metrics in any JSON, whatever it calls them and however it nests them: blocks of numbers under our own names.

{"test": {"acc": 0.76}} · {"probe_5pct": {"roc_auc": "81.2 %"}} · {"auroc_10pct": 0.9} · {"auroc": {"mean": 0.9, …}} ·
{"acc (train/test)": [0.9, 0.76]} · [{"seed": 0, "test_acc": 0.7}, ...] all become Block(at, values={...}, ...).
How one value is read is in numerals.py. What a training history says of its epochs is no result.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from medssl.course.checker.parse.numerals import Numeral, as_fractions, json_in_text, numeral, several
from medssl.course.checker.parse.recompute import is_number
from medssl.course.contract import Contract

__all__ = ["Block", "blocks", "json_in_text", "metric_of", "spellings", "words_of"]

MOST_BLOCKS, MOST_LEVELS, MOST_KEYS = 500, 8, 2000
METRICS = {"accuracy", "auroc", "ece", "balanced_accuracy", "auprc", "f1", "nll", "brier", "precision", "recall",
           "specificity"}
OTHER_NAMES = {"sensitivity": "recall", "tpr": "recall", "tnr": "specificity", "logloss": "nll", "aucroc": "auroc",
               "rocaucscore": "auroc", "areaundercurve": "auroc", "expectedcalibrationerror": "ece",
               "bacc": "balanced_accuracy", "brierscore": "brier", "ppv": "precision", "testacc": "accuracy"}
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
          "test": "test", "testing": "test"}
NO_METRICS = {"ci95", "ci", "std", "sd", "stderr", "change", "drift", "config", "parameters", "hyperparameters",
              "history", "bins", "calibration", "per_class", "ece_if_calibrated", "log", "curve", "curves",
              "thresholds", "interval", "hparams", "optimizer"}
# Beside a metric's name these words make another number of it: a spread, an end of an interval, a difference, a goal,
# a yardstick.
OTHER_NUMBER = {"low", "high", "lower", "upper", "std", "sd", "sem", "se", "target", "goal", "delta", "diff", "drop",
                "gain", "improvement", "min", "max", "majority", "chance", "dummy", "loss", "threshold", "weight",
                "bins", "patience", "epoch", "step", "range", "var", "variance", "class", "per"}
# Results on other images than the test split, or on some of them.
ELSEWHERE = {"cv", "kfold", "fold", "folds", "oof", "external", "bootstrap", "bootstrapped", "subset", "transfer",
             "ood", "crossval", "crossvalidation"}
SPREAD = {"std", "sd", "stdev", "sem", "stderr"}
MEAN = {"mean", "avg", "average"}
SAYS_NOTHING = MEAN | {"test", "testing", "score", "value", "pct", "percent", "final", "overall", "metric", "metrics",
                       "at"}
RUN = re.compile(r"(seed|run|fold|repeat|trial)\d+")


class Block(NamedTuple):
    """Metrics that were given together. `at`: where in the file ("" = top, dotted keys, `#rest` of a key)."""

    at: str
    values: dict[str, float]  # our name -> value, as a fraction (76.3 % is 0.763)
    names: dict[str, str]  # our name -> the key as written
    facts: dict[str, object]  # what else stands here or above: model, seed, n, epochs, split, confusion, threshold
    words: frozenset[str]  # the words of the keys that lead here: {"probe", "5pct"}
    runs: int = 0  # 1: it is one training. 2 and more: a mean over that many (2: or more). 0: not said
    decimals: dict[str, int] = {}  # our name -> how many decimals of the fraction were written

    @property
    def split(self) -> str:
        """train, val or test, where the keys or a `split` say so; else test, which is what a hand-in is about."""
        return next((SPLITS[w] for w in sorted(self.words) if w in SPLITS), SPLITS.get(
            str(self.facts.get("split", "")).casefold(), "test"))

    @property
    def elsewhere(self) -> bool:
        """Whether it is of folds, other data or a part of the images. ("transfer learning" is a method.)"""
        said = self.words & ELSEWHERE - ({"transfer"} if self.words & {"learning", "tl"} else set())
        first = "first" in self.words and any(word.isdigit() for word in self.words)  # first_100
        return bool(said) or first or is_number(self.facts.get("fold"))


def words_of(name: str) -> list[str]:
    """The words of a key or a file name: probe_metrics-5pct, probeMetrics5pct -> probe metrics 5pct (lower case)."""
    return list(_words(str(name)[:200]))


@lru_cache(4096)  # the same keys stand in the file of every seed of everybody
def _words(name: str) -> tuple[str, ...]:
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").casefold()
    return tuple(re.findall(r"\d+(?:\.\d+)?(?:pct|%|px)?|[^\W\d_]+\d{0,2}(?![a-z])|[^\W\d_]+", text))


def blocks(value: object, contract: Contract) -> list[Block]:
    """Every block of metrics in a JSON value, outermost first; at most MOST_BLOCKS, at most MOST_LEVELS deep."""
    known, walk = spellings(contract), _walk
    return [block for _, block in zip(range(MOST_BLOCKS), walk(value, "", {}, frozenset(), 0, known), strict=False)]


def spellings(contract: Contract) -> dict[str, str]:
    """{a spelling without blanks and signs: our name}; {a word of a class's name: ""}, as of one class it is none."""
    known = {word: "" for dataset in contract.datasets.values() for name in dataset.classes for word in words_of(name)}
    known |= {_bare(name): name for name in METRICS} | {_bare(k): v for k, v in OTHER_NAMES.items()}
    return known | {_bare(alias.split("(")[0].removeprefix("test.")): name
                    for name, aliases in contract.metric_aliases.items() if name in METRICS for alias in aliases}


def _bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())


def _walk(value: object, at: str, above: dict, words: frozenset, runs: int, known: dict) -> Iterator[Block]:
    if at.count(".") >= MOST_LEVELS:
        return
    if isinstance(value, list):
        history = _is_history(value)
        for k, one in enumerate(value[:MOST_BLOCKS]):
            if isinstance(one, list) or isinstance(one, dict) and not (history and _epoch(one)):
                yield from _walk(one, f"{at}.{k}".lstrip("."), above, words, runs, known)
        return
    if not isinstance(value, dict) or isinstance(value.get("epoch"), list) and "test" not in str(list(value)[:50]):
        return
    if _is_history(list(value.values())[:MOST_BLOCKS]):  # {"1": {"epoch": 1, …}, "2": …}
        return
    items = [(str(key), one) for key, one in list(value.items())[:MOST_KEYS]]
    facts = above | {key: one for key, one in items if not isinstance(one, dict)}
    runs = _runs(dict(items), runs)
    yield from _here(items, at, facts, words, runs, known)
    for key, one in items:
        if isinstance(one, (dict, list)) and key.casefold() not in NO_METRICS and not metric_of(key, known)[0]:
            deeper, parts = words | frozenset(words_of(key)), _bare(key) in ("perseed", "seeds", "runs", "folds")
            single = 1 if parts or RUN.fullmatch(_bare(key)) else 2 if MEAN & set(words_of(key)) else runs
            yield from _walk(one, f"{at}.{key}".lstrip("."), facts, deeper, single, known)


def _here(items: list, at: str, facts: dict, words: frozenset, runs: int, known: dict) -> Iterator[Block]:
    """The metrics that stand at this level, by what else their keys say ("", "10pct", "train", …)."""
    groups: dict[str, dict[str, tuple[str, Numeral]]] = {}
    spread, seeds = set(), _lists_of_seeds(items)
    for key, one in items:
        metric, rest = metric_of(key, known)
        if not metric:
            spread |= _spread_of(key, known)
        elif isinstance(one, dict):  # {"auroc": {"mean": 0.9, "std": 0.01}} or {"accuracy": {"smallcnn": 0.7, …}}
            for sub, inner in list(one.items())[:50]:
                said = set(words_of(sub))
                if said & SPREAD:
                    spread.add(metric)
                of_class = any(known.get(word) == "" for word in said)
                if not said & OTHER_NUMBER and not of_class and (number := numeral(inner, sub)):
                    more = " ".join(sorted(said - SAYS_NOTHING - {"point", "estimate"} | set(rest.split())))
                    groups.setdefault(more, {}).setdefault(metric, (key, number._replace(
                        mean=number.mean or bool(said & MEAN))))
        elif key in seeds:
            for k, number in enumerate(several(one, key)):
                if number:
                    groups.setdefault(f"[{k}] {rest}".strip(), {})[metric] = (key, number)
        elif number := numeral(one, key):
            said = number._replace(mean=number.mean or bool(MEAN & set(words_of(key))))
            group = groups.setdefault(rest, {})
            if metric not in group or "test" in words_of(key):  # of "acc" and "test_acc" the second is the test's
                group[metric] = (key, said)
    for rest, found in sorted(groups.items()):
        numbers = as_fractions({metric: number for metric, (_, number) in found.items()})
        if not numbers:
            continue
        of_mean = any(number.mean for number in numbers.values()) or bool(spread & set(numbers))
        yield Block(f"{at}#{rest}" if rest else at, {m: number.value for m, number in numbers.items()},
                    {m: found[m][0] for m in numbers}, facts, words | frozenset(rest.split()),
                    1 if rest.startswith("[") else max(runs, 2) if of_mean else runs,
                    {m: number.decimals for m, number in numbers.items()})


def metric_of(key: str, known: dict[str, str]) -> tuple[str, str]:
    """(our name, the other words of the key) of a metric's key, or ("", ""): auroc_10pct -> auroc, "10pct"."""
    key = key.split("(")[0]
    if len(key) > 80:
        return "", ""
    if (bare := _bare(key)) in known:
        return known[bare], ""
    words = words_of(key)
    for size in (3, 2, 1):
        for k in range(len(words) - size + 1):
            metric = known.get("".join(words[k:k + size]))
            if metric:
                rest = set(words[:k] + words[k + size:])
                no = (rest & (NO_METRICS | OTHER_NUMBER) or "best" in rest and "test" not in words
                      or any(known.get(word) == "" for word in rest))
                return ("", "") if no else (metric, " ".join(w for w in words[:k] + words[k + size:]
                                                              if w not in SAYS_NOTHING))
    return "", ""


def _spread_of(key: str, known: dict[str, str]) -> set[str]:
    """The metric of which a key such as auroc_std gives the spread."""
    words = words_of(key)
    rest = "".join(w for w in words if w not in SPREAD and w not in SAYS_NOTHING)
    return {known[rest]} if SPREAD & set(words) and rest in known else set()


def _is_history(lines: list) -> bool:
    """Two and more that tell of an epoch or step are training history; one alone is of the best checkpoint."""
    return sum(map(_epoch, lines[:MOST_BLOCKS])) >= 2


def _epoch(line: object) -> bool:
    return isinstance(line, dict) and bool({"epoch", "step", "iteration", "iter"} & {
        str(key).casefold() for key in list(line)[:50]})


def _runs(here: dict, above: int) -> int:
    """How many trainings the numbers of this object rest on: 1, 2 or more, 0 = not said. The nearest word counts."""
    said = []
    for key in ("seeds", "n_seeds", "num_seeds", "n_runs", "num_runs", "repeats", "n_repeats", "n_folds", "runs",
                "folds", "per_seed", "per_run", "random_seeds", "draws", "n_draws", "encoders", "n_encoders", "trials",
                "n_trials", "n_splits", "k_folds"):
        one = here.get(key)
        said += [len(one)] if isinstance(one, (list, dict)) and one else (
            [int(min(one, 1000))] if is_number(one) and one >= 1 and key != "seeds" else [])
    if said:
        return max(said)
    if any(is_number(here.get(key)) for key in ("seed", "fold", "seeds", "random_state")):
        return 1
    return max(above, 2) if SPREAD & {key.casefold() for key in list(here)[:200]} else above


def _lists_of_seeds(items: list) -> set[str]:
    """Keys whose list holds one number a seed: as long as `seeds`; without it at most 10, beside no loss or epochs."""
    seeds = next((one for key, one in items if key == "seeds" and isinstance(one, list)), None)
    history = any({"loss", "losses", "epoch", "epochs"} & set(words_of(key)) and isinstance(one, list)
                  for key, one in items)
    return {key for key, one in items if isinstance(one, list) and not re.search(r"\([^)]*/", key[:100])
            and (len(one) == len(seeds) if seeds else 2 <= len(one) <= 10 and not history)}
