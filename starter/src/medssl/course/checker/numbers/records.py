"""What metrics say of themselves: seed, split, data set, labels; how many digits; over how many trainings."""

import math
from collections.abc import Iterator

from medssl.course.checker.numbers.sheets import Sheet, official
from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.numerals import numeral
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.parse.values import Block, words_of
from medssl.course.checker.reading import Reading

KEYS = {"seed": {"seed", "seeds", "n_seeds", "random_state", "random_seed", "per_seed", "num_seeds"},
        "split": {"split",
        "test", "eval_split", "evaluated_on"}, "dataset": {"dataset", "data", "dataset_key", "data_flag"},
        "label_fraction": {"label_fraction", "fraction", "label_frac", "frac", "train_fraction", "label_percent"},
        "n_train": {"n_train",
        "train_size", "n_labels", "num_train", "n_labeled", "n_labelled", "num_labels"}}


def records(found: list[Sheet], reading: Reading) -> Iterator[tuple[str, Problem]]:
    for sheet in found:
        yield from ((sheet.where, problem) for problem in positive(sheet, reading))
    found = [sheet for sheet in found if sheet.tested() and "placeholder" not in sheet.flaws]
    for sheet in found:
        yield from ((sheet.where, problem) for problem in metadata(sheet, reading))
    yield from shares(found, reading)
    yield from ((found[0].where, problem) for problem in _together(found, reading)) if found else ()


def positive(sheet: Sheet, reading: Reading) -> Iterator[Problem]:
    """A key that names the positive class names class 1. (`positive` in a contract slot was looked at already.)"""
    facts = reading.context.official
    if not facts or "positive-class" in sheet.flaws:
        return
    zero, one = ({w for w in words_of(name) if len(w) > 4} for name in facts.classes)
    for key, value in _positives(sheet.value):
        words = set(words_of(str(value)))
        if value == 0 and not isinstance(value, bool) or words & (zero - one) and not words & (one - zero):
            yield Problem("positive-class", f"says {key} = {clean(value, 40)}; class 1, the positive one of this "
                          f"course, is '{facts.classes[1]}', and class 0 '{facts.classes[0]}': rates do not compare",
                          f"compute them for class 1 (pos_label=1), and write: positive = {facts.classes[1]}")
            return


def _positives(value: object, level: int = 0) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and level < 4:
        for key, one in list(value.items())[:200]:
            if str(key).casefold() in ("positive", "positive_class", "pos_label", "positive_label", "pos_class"):
                yield str(key), one if isinstance(one, (str, int)) else ""
            yield from _positives(one, level + 1)


def metadata(sheet: Sheet, reading: Reading) -> Iterator[Problem]:
    """Seed, split and data set; in weeks 5 and 6 also the share of labels. A contract slot has said so itself, and
    beside a run.json, which holds all of it, no other file needs to."""
    if {"key-missing", "json-not-object"} & sheet.flaws or isinstance(reading.held.get("run.json"), dict):
        return
    keys = _keys(sheet.value)
    few_labels = reading.context.week.number in (5, 6) and not sheet.words & {"supervised", "baseline"}
    wanted = list(KEYS)[:5 if few_labels else 3]
    absent = [name for name in wanted if not keys & KEYS[name]]
    if "split" in absent and any("test" in words_of(name) for b in sheet.blocks for name in b.names.values()):
        absent.remove("split")
    if "label_fraction" in absent and any(_share(block, sheet) for block in sheet.blocks):
        absent.remove("label_fraction")
    if absent:
        yield Problem("metadata-missing", f"does not say {', '.join(absent)}: nobody can place or repeat these numbers",
                      f"add the keys {', '.join(absent)}, or let Submission.metrics() write the file", "note")


def _keys(value: object, level: int = 0) -> set[str]:
    if level > 6 or not isinstance(value, (dict, list)):
        return set()
    here = {str(key).casefold() for key in list(value)[:300]} if isinstance(value, dict) else set()
    parts = list(value.values() if isinstance(value, dict) else value)[:100]
    return here.union(*(_keys(part, level + 1) for part in parts))


def _share(block: Block, sheet: Sheet) -> float | None:
    """The fraction of labels that a block is about: a key, or 5pct in its keys or in the file's name."""
    for key in KEYS["label_fraction"]:
        if (said := numeral(block.facts.get(key))) and said.value > 0:
            return said.value / 100 if said.percent or said.value > 1 else said.value
    for words in (block.words, sheet.words):
        for word in sorted(words):
            if word.endswith(("pct", "%")):
                return float(word.rstrip("pct%")) / 100
    return None


def shares(found: list[Sheet], reading: Reading) -> Iterator[tuple[str, Problem]]:
    """n_train against the fraction: rounded down, up or to the nearest, in all or class by class, nothing else; and the
    same number wherever the fraction is the same."""
    seen: dict[tuple, tuple[int, str]] = {}
    for sheet in found:
        said = set()
        for block in sheet.tested():
            n = next((block.facts[key] for key in sorted(KEYS["n_train"]) if is_number(block.facts.get(key))), None)
            share, facts = _share(block, sheet), official(block, reading)
            if n is None or not share or share > 1 or not facts or said:
                continue
            counts = facts.counts["train"]
            low = sum(math.floor(share * c + 1e-9) for c in counts)
            high = sum(math.ceil(share * c - 1e-9) for c in counts)
            first = seen.setdefault((facts.title, round(share, 6)), (n, sheet.where))
            if low <= n <= max(high, 2) and n == first[0]:
                continue
            said.add("n-train")
            if low <= n <= max(high, 2):
                why = f"{first[1].rpartition('/')[2]} says {first[0]:g}: two rules of rounding, two sets of labels"
            else:
                right = f"{low}" if low == high else f"{low} to {high}"
                why = f"of {sum(counts)} train images that is {right} ({n:g} are {n / sum(counts):.1%})"
            yield sheet.where, Problem("n-train", f"says n_train = {n:g} for {share:.4g} of the labels; {why}",
                                       "draw the labels once, use the same indices for every model, and count them",
                                       "warning")


def _together(found: list[Sheet], reading: Reading) -> Iterator[Problem]:
    """Once a submission: few digits, and no word about seeds."""
    tested = [block for sheet in found for block in sheet.tested()]
    digits = [d for block in tested for metric, d in block.decimals.items() if metric in ("accuracy", "auroc", "ece")]
    # One number may be short by chance (0.75 is 117/156); that all are is no chance.
    if len(digits) >= 2 and max(digits) <= 4 and max(digits) >= 2:
        yield Problem("rounded", f"gives at most {max(digits)} decimals: whether the numbers are of the official "
                      "images can hardly be checked",
                      "write the floats as they are; round in the table, not in the file", "note")
    seeds = {repr(block.facts.get("seed")) + block.at * ("[" in block.at) for block in tested if block.runs == 1}
    said = len(seeds) > 1 or any(f["code"] == "one-seed" for f in reading.result["findings"])
    if not said and not any(block.runs > 1 for block in tested) and reading.context.week.number in (1, 2, 3, 5, 6):
        first = "rests on a single seed" if seeds else "does not say on how many seeds its numbers rest; if on one"
        yield Problem("one-seed", f"{first}: one training says nothing about the spread",
                      "train with three seeds or more (SEEDS), if there is time", "note")
