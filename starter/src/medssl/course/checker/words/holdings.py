"""What the files of one submission say in numbers: the metrics of its JSON files, each with the words that tell it from
the others, every further number that has a metric's name, settings, and confusion counts. Sentences are held against
this; nothing here is recomputed.
"""

import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

from medssl.course.checker.files.walk import Item
from medssl.course.checker.parse.prose import Prose, Table, read_prose
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.parse.values import Block, blocks, json_in_text, words_of
from medssl.course.checker.reading import Reading
from medssl.course.checker.words.stated import SHARES, number_of, tokens

MOST_LEAVES, MOST_DEPTH, LONG_LIST = 8_000, 12, 60
NOTES = (".md", ".txt", ".rst")
NOT_THEIRS = {"feedback.md", "feedbank.md", "requirements.txt"}
BULK = {"edges", "count", "confidence", "frequency", "label_indices", "versions", "weights", "bins", "history", "index",
        "confusion", "confusion_matrix", "hardware", "fpr_curve", "tpr_curve"}
SAME = {"restnet18": "resnet18", "resnet": "resnet18", "augmentation": "aug", "finetuned": "finetune",
        "tuned": "finetune", "finetuning": "finetune", "tuning": "finetune", "full": "all", "linear": "probe",
        "self": "ssl", "supervision": "supervised", "none": "basic", "simple": "basic"}
EMPTY_WORDS = {"metrics", "test", "json", "result", "results", "model", "core", "summary", "all_metrics", "week", "of",
               "the", "labels", "comparison", "pct", "with", "and", "on", "fine", "small", "cnn", "net", "final"}
MODELS = {"smallcnn", "resnet18", "head", "all", "auga", "augb", "augc", "probe", "finetune", "supervised", "ssl",
          "basic", "reference", "baseline", "simclr", "moco", "1%", "2%", "5%", "10%", "12%", "20%", "50%", "100%",
          "before", "after", "uncalibrated", "raw", "aug", "pretrained", "imagenet", "scratch"}  # tell runs apart
# Words that say that a number is about something whose JSON need not be here.
ELSEWHERE = re.compile(
    r"\b(?:val|validation|dev|train|training|folds?|cross|cv|pixels?|logistic|chance|majority|always|trivial|dummy|"
    r"constant|guess\w*|coin|knn|papers?|published|literature|benchmarks?|leaderboard|reported by|et al|weeks? ?\d+|"
    r"last week|previous\w*|earlier|initial\w*|at first|first (?:run|attempt|try)|second (?:run|attempt|try)|another|"
    r"other|old|seeds?|epochs? \d+|after \d+|\d+ epochs?|subset|per[- ]class|bins?|confiden\w+|noise|blur\w*|contrast|"
    r"brightness|shift\w*|corrupt\w*|robust\w*|crop\w*|perturb\w*|rotat\w*|224|128 ?px|64 ?px|tta|ensemble\w*|"
    r"temperature|platt|isotonic|calibrat(?:or|ors|ion set)|scaling|scaled|thresholds?|operating|youden|would|could|"
    r"should|might|may|expect\w*|aim\w*|targets?|goals?|hop(?:e|ed|ing)|if|suppos\w*|assum\w*|floor|perfect\w*|"
    r"ideal\w*|classmates?|colleagues?|partner|team|group|sota|state[- ]of[- ]the[- ]art|torchmetrics|adaptive|"
    r"equal[- ](?:mass|frequency|freq|width)|debiased|positive[- ]class|e\.g|for example|example|reports|reported|"
    r"medmnist(?! (?:test|split|data|images?))|interval|ci|half-width|malignan\w+|benign|normal|pneumonia|class \d|"
    r"not|instead of|rather than|corrected|wrong\w*|mistake\w*|bug\w*|typo|starter|notebook|random\w*|baseline of|"
    r"human\w*|radiologist\w*|clinician\w*|specialist\w*|doctor\w*|physician\w*|experts?|kaggle|google|auto\w*ml|"
    r"autokeras|auto-?sklearn|vit|densenet\w*|efficientnet\w*|resnet-?(?:34|50|101)|tables? \d+ (?:of|in)|phantoms?|"
    r"first epoch|pneumoniamnist|breastmnist|before|at 0[.,]\d+)\b|\[\d+\]", re.I)
# Sentences are read in English only: in another language the words above would not be recognised. A short line of
# names and numbers ("SmallCNN accuracy 84 %") is read as it is.
ENGLISH = re.compile(r"\b(?:the|is|was|are|were|of|with|and|on|for|to|has|have|than|from|by|at|it|its|we|i|my|our|this|"
                     r"that|reach\w*|gives?|gave|got|better|worse|only|both|but|after|when|which)\b", re.I)
LINE_OF_NAMES, MOST_SENTENCES, MOST_TEXT = 5, 400, 300_000  # of a note; letters of all notes together
HEDGED = re.compile(r"~|≈|∼|\b(?:about|around|approx\w*|roughly|circa|ca|nearly|almost|close to|some)\b", re.I)


class Source(NamedTuple):
    """One block of metrics in a JSON file, and the words by which a row of a table can mean it."""

    shown: str
    block: Block
    words: frozenset[str]


class Leaf(NamedTuple):
    shown: str
    path: str
    metric: str  # "" where the keys name none
    value: float
    slack: float  # half of its own last digit, where it was rounded before it was written


class Note(NamedTuple):
    """A text of the submission, read."""

    item: Item
    text: str
    prose: Prose
    kind: str  # of the slot that it fills, or ""


class Holdings:
    """Everything is read when it is first asked for."""

    def __init__(self, reading: Reading):
        self.reading = reading
        self.false = {row["file"] for row in reading.result["metrics"] if not row["agrees"]}  # said already
        self._of: dict[tuple[str, str], list[Source]] = {}

    @cached_property
    def jsons(self) -> list[tuple[str, object]]:
        found, reading = [], self.reading
        opened = {match.items[0].shown: reading.held.get(path) for path, match in reading.matches.items()
                  if match.items and not match.at}  # read once already
        for item in reading.files():
            ending = item.path.suffix.casefold()
            value = opened.get(item.shown) if ending == ".json" else None
            if not isinstance(value, (dict, list)):
                value = reading.json_of(item) if ending in (".json", ".txt") else None
            if value is None and ending == ".txt" and (text := self.reading.text_of(item)):
                value = json_in_text(text)
            if isinstance(value, (dict, list)):
                found.append((item.shown, value))
        return found

    @cached_property
    def sources(self) -> list[Source]:
        """Blocks that a sentence can be about: no single seed, no training split."""
        found = []
        for shown, value in self.jsons:
            stem = shown.rpartition("/")[2].rpartition(".")[0]
            if isinstance(value, dict):  # one block a seed: long, and no sentence is about one
                value = {key: one for key, one in value.items() if key != "per_seed"}
            for block in blocks(value, self.reading.context.contract):
                if block.split != "train" and "per_seed" not in block.at:
                    named = {str(block.facts.get(key, ""))[:80] for key in ("model", "regime", "name")}
                    words = identity(" ".join([stem, *block.words, *named]))
                    fraction = block.facts.get("label_fraction")
                    words |= {f"{100 * fraction:g}%"} if is_number(fraction) and 0 < fraction <= 1 else set()
                    found.append(Source(shown, block, frozenset(words)))
        return found

    def of(self, metric: str, split: str = "test") -> list[Source]:
        """The blocks of one split that give a metric."""
        if (metric, split) not in self._of:
            self._of[metric, split] = [s for s in self.sources if metric in s.block.values and s.block.split == split]
        return self._of[metric, split]

    def chosen(self, label: str, heading: str, metric: str) -> Source | None:
        """The one block that the words of a row mean: all its telling words are the block's; the heading may help."""
        sources, own = self.of(metric), identity(label)
        known = frozenset().union(*(s.words for s in sources))
        words = own & known
        if not words or self.strange(label, metric):
            return None
        fits = [s for s in sources if words <= s.words]
        if len(fits) > 1 and (more := identity(heading) & known):
            fits = [s for s in fits if more <= s.words] or fits
        exact = [s for s in fits if s.words == words]
        fits = exact if len(exact) == 1 else fits
        return fits[0] if len(fits) == 1 else None

    def strange(self, label: str, metric: str) -> bool:
        """Whether a label has a telling word that no block has: it is about something else."""
        own = identity(label)
        own -= {"finetune"} if own & {"all", "head"} else set()  # head or all layers says it already
        return bool(own & MODELS - frozenset().union(*(s.words for s in self.of(metric))))

    def about_others(self, text: str, heading: str, metric: str) -> bool:
        """Whether a sentence speaks of something whose numbers need not lie in this folder."""
        if len(re.findall(r"[^\W\d_]{2,}", text)) > LINE_OF_NAMES and not ENGLISH.search(text) \
                or re.search(r"[^\x00-\u024f\u2000-\u22ff]", text):
            return True
        fine = {"val", "validation"} if self.of(metric, "val") else set()
        fine.add(self.reading.context.dataset)
        own = self.reading.hand_in.week.number
        fine |= {f"week {own}", f"week{own}"}  # the title "# Week 3" says where we are, and is about no other week
        return any(found[0].casefold() not in fine for found in ELSEWHERE.finditer(f"{text} / {heading}"))

    @cached_property
    def leaves(self) -> list[Leaf]:
        found: list[Leaf] = []
        for shown, value in self.jsons:
            found += _leaves(shown, value)
        return found

    @cached_property
    def central(self) -> list[Leaf]:
        """Without ends of intervals, spreads and yardsticks: what a sentence can give as the metric itself."""
        other = re.compile(r"(?:^|\.)(?:ci\d*|std|sd|interval|majority\w*)(?:\.|$)|p95$|_if_calibrated")
        return [leaf for leaf in self.leaves if not other.search(leaf.path)]

    def near(self, metric: str, value: float, unit: float, leaves: list[Leaf] | None = None) -> bool:
        """Whether any number that can be this metric has the value at the precision in which it was written.

        One unit below too: 0.8397 is cut to 0.83 by some. Numbers without a metric's name count as any metric.
        """
        return any(leaf.metric in (metric, "") and -unit - leaf.slack - 1e-9 <= leaf.value - value <= 2 * unit + 1e-9
                   for leaf in (self.central if leaves is None else leaves))

    @cached_property
    def elsewhere(self) -> list[float]:
        """Numbers in CSV files, in tables that are hand-ins of their own, and in what the package rendered."""
        found: list[float] = []
        for note, table in self.tables:
            if table.block or note.kind == "table":
                found += [float(t.value) for row in table.rows for c in row for t in tokens(c[:200])
                          if t.kind == "number"]
        for item in self.reading.files():
            if item.path.suffix.casefold() == ".csv" and not item.path.name.startswith("predictions"):
                text = self.reading.text_of(item) or ""
                found += [number_of(m)[0] for m in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", text[:60_000])]
        return [abs(value) for value in found[:20_000]]

    @cached_property
    def notes(self) -> list[Note]:
        found, left = [], MOST_TEXT
        kinds = {item.shown: slot.kind for slot in self.reading.slots if slot.path in self.reading.matches
                 for item in self.reading.matches[slot.path].items}
        for item in self.reading.files():
            if item.path.suffix.casefold() in NOTES and item.path.name.casefold() not in NOT_THEIRS and len(found) < 30:
                text = self.reading.text_of(item)
                left -= len(text or "")
                if left > 0 and text and text.lstrip()[:1] not in "{[":
                    prose, kind = read_prose(text), kinds.get(item.shown, "")
                    del prose.sentences[MOST_SENTENCES:]
                    found.append(Note(item, text, prose, "" if kind == "table" and not prose.tables else kind))
        return found

    @property
    def tables(self) -> Iterator[tuple[Note, Table]]:
        return ((note, table) for note in self.notes for table in note.prose.tables)

    @cached_property
    def settings(self) -> list[tuple[str, str, object]]:
        """(file, key, value) of everything that can be a setting, keys in small letters, outermost first."""
        found: list[tuple[str, str, object]] = []
        for shown, value in self.jsons:
            todo = [(value, 0)]
            while todo and len(found) < MOST_LEAVES:
                one, depth = todo.pop(0)
                if isinstance(one, list) and depth < 5:
                    todo += [(inner, depth + 1) for inner in one[:20] if isinstance(inner, dict)]
                for key, inner in list(one.items())[:200] if isinstance(one, dict) else ():
                    if str(key) not in BULK | {"per_seed", "std", "ci95"}:
                        found.append((shown, str(key)[:60].casefold(), inner))
                        todo += [(inner, depth + 1)] if depth < 5 and isinstance(inner, dict) else []
        return found

    @cached_property
    def counts(self) -> list[dict[str, int]]:
        """{"tp": .., "fp": .., "fn": .., "tn": ..} of every confusion matrix in the JSON files."""
        found: list[dict[str, int]] = []
        for _, value in self.jsons:
            todo = [value]
            while todo and len(found) < 200:
                one = todo.pop()
                if isinstance(one, dict):
                    low = {str(key).casefold(): inner for key, inner in one.items()}
                    if all(isinstance(low.get(k), int) for k in ("tp", "fp", "fn", "tn")):
                        found.append({k: low[k] for k in ("tp", "fp", "fn", "tn")})
                    for key, inner in low.items():
                        if "confusion" in key and (matrix := _matrix(inner)):
                            (tn, fp), (fn, tp) = matrix
                            found.append({"tp": tp, "fp": fp, "fn": fn, "tn": tn})
                    todo += [inner for inner in one.values() if isinstance(inner, (dict, list))]
                else:
                    todo += [inner for inner in one[:50] if isinstance(inner, (dict, list))]
        return found


def _matrix(value: object) -> list[list[int]] | None:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(row, list) and len(row) == 2 for row in value):
        return value if all(isinstance(v, int) for row in value for v in row) else None
    return None


def _leaves(shown: str, value: object) -> list[Leaf]:
    """Every number below `value` with its keys; long lists (curves, scores) left out."""
    found, todo = [], [(value, "", "", 0)]
    while todo and len(found) < MOST_LEAVES:
        one, path, metric, depth = todo.pop()
        if isinstance(one, dict) and depth < MOST_DEPTH:
            todo += [(inner, f"{path}.{str(key)[:60]}", metric_in(str(key)[:60]) or metric, depth + 1)
                     for key, inner in list(one.items())[:500] if str(key) not in BULK]
        elif isinstance(one, list) and len(one) <= LONG_LIST and depth < MOST_DEPTH:
            todo += [(inner, path, metric, depth + 1) for inner in one]
        elif is_number(one):
            number = float(one)
            if metric in SHARES and 1.5 < number <= 100:
                number /= 100
            digits = len(repr(one).partition(".")[2])
            slack = 0.5 * 10.0 ** -digits if 0 < digits <= 4 else 0.0
            found.append(Leaf(shown, path.lstrip("."), metric, number, slack))
    return found


@lru_cache(maxsize=4_096)
def metric_in(key: str) -> str:
    """The metric that a key names: ece_top_label -> ece, "acc (train/test)" -> accuracy."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).replace("_", " ")
    return next((str(token.value) for token in tokens(text) if token.kind == "metric"), "")


@lru_cache(maxsize=4_096)
def identity(text: str) -> frozenset[str]:
    """The words that tell models and runs apart, one spelling each: "ResNet-18 (head), 10 % of labels" -> resnet18,
    head, 10%."""
    low = text[:400].casefold()
    low = re.sub(r"rest?[ _-]?net[ _-]?18", "resnet18", low)
    low = re.sub(r"small[ _-]?cnn", "smallcnn", low)
    low = re.sub(r"fine[ _-]?tun(?:ed?|ing)", "finetune", low)
    low = re.sub(r"aug(?:mentation)?s?[ _-]?([abc])(?![a-z])", r"aug\1", low)
    low = re.sub(r"(\d+(?:\.\d+)?)[ _]?(?:%|pct|percent)", r" \1% ", low)
    low = re.sub(r"\b(probe|finetune|labels?|fraction)[ _](\d{1,3})\b(?![%.\d])", r"\1 \2%", low)
    words = {SAME.get(word, word) for word in words_of(low.replace("%", "pct"))}
    words = {word.replace("pct", "%") for word in words if not metric_in(word)}
    return frozenset(words - EMPTY_WORDS - {w for w in words if re.fullmatch(r"week\d*|\d+(?:\.\d+)?", w)})
