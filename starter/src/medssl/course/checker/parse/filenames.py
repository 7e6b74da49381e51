"""What the words of a file's name tell: kind of file, model, layers, augmentation, label fraction, split, ...

`metrics_pneumoniamnist_resnet18_all_augA (1).json`, `AugA-all_metrics.json` and `metrics_restnet18_all_augA.json` say
{kind: metrics, layers: all, augmentation: augA}. Words are known from [words] in contract.toml, written together or
apart, with a letter or two wrong; the data set, the week and the person's own name tell nothing.
"""

import re
from functools import cache
from typing import NamedTuple

from medssl.course.checker.parse.spelling import apart
from medssl.course.contract import Contract

LONGEST_NAME, MOST_TOKENS = 120, 24
ENDINGS = re.compile(r"(?i)\.(json|txt|png|jpe?g|md|csv|tsv|pdf|pth?|ckpt|svg|webp|gif|bmp|tiff?|ipynb|rst|markdown"
                     r"|docx?|html?|log|yaml|yml|npz|zip|h5|pkl|safetensors|bin|xlsx?|pptx?)$")
NOISE = {
    "copy", "final", "new", "v", "ver", "version", "run", "runs", "my", "the", "of", "and", "for", "on", "at",
    "with", "combined", "core", "mnist", "medmnist", "week", "wk", "plot", "plots", "figure", "fig", "figures",
    "diagram", "diagrams", "frac", "fraction", "image", "img", "table", "seed", "seeds", "epoch", "epochs", "best",
    "last", "updated", "data", "dataset", "test", "set", "file", "output", "summary", "report", "json", "png",
    "csv", "md", "txt", "homework", "hw", "task", "extra", "model", "models", "graph", "chart", "px", "pct",
    "percent", "labels", "label",
}
COUNTED = {  # the number after one of these is no label fraction
    "seed", "epoch", "epochs", "ep", "week", "wk", "w", "v", "run", "version", "copy", "bs", "batch", "px", "bins",
    "fold", "task", "part", "gallery", "fig", "figure", "k", "top",
}
# "all" is a training regime, but all_metrics (at the beginning) and curves_all_models are about all of them.
ALL_OF_THEM = re.compile(r"(?:(?<=/)|(?<!.))all[\W_]?(?=metrics|results)"
                         r"|(?<![a-z])all[\W_]?(?:three|four|models|regimes|runs)")
WEEK = re.compile(r"(?<![a-z])w[ek]{0,4}[\W_]{0,2}0?(\d{1,2})(?!\d)")
FRACTIONS = {5, 10, 12, 20, 25, 50, 100}  # that a bare number may mean: metrics_ssl_finetune_10.json
TOGETHER = {"diagrams", "plots", "all", "both", "models", "comparison", "combined", "matrices", "cms", "galleries"}


class Facts(NamedTuple):
    """What a name tells. `says`: {dimension: values}; `rest`: words that mean nothing to us; `words`: all of them."""

    says: dict[str, frozenset]
    week: int = 0
    rest: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()


class Vocabulary:
    """The contract's words, and how to read a name with them."""

    def __init__(self, contract: Contract, noise: tuple[str, ...] = ()):
        """noise: words that tell nothing here, such as the person's name."""
        self.known: dict[str, list[tuple[str, str]]] = {}
        for dimension, values in contract.words.items():
            for value, synonyms in values.items():
                for word in (value, *synonyms):
                    self.known.setdefault(re.sub(r"\W", "", word.casefold()), []).append((dimension, value))
        names = [name for key, facts in contract.datasets.items() for name in (key, *facts.aliases)]
        self.noise = NOISE | {re.sub(r"[\W_]", "", w.casefold()) for w in (*names, *noise) if len(w) > 2}
        parts = {part for values in contract.words.values() for synonyms in values.values() for word in synonyms
                 for part in word.casefold().split() if len(part) > 4}  # recal: recall, of precision recall
        self.long = [word for word in {*self.known, *self.noise, *parts} if len(word) > 3]
        self.nearest = cache(self._nearest)

    def read(self, name: str, image: bool = False) -> Facts:
        """What a file name, a path or a JSON key tells. image: a picture of a configuration is one of the set-up."""
        tokens, week = self._tokens(name)
        said: dict[str, set] = {}
        rest, k = [], 0
        while k < len(tokens):
            size = next((n for n in (3, 2, 1) if "".join(tokens[k:k + n]) in self.known and k + n <= len(tokens)), 0)
            if size:
                for dimension, value in self.known["".join(tokens[k:k + size])]:
                    said.setdefault(dimension, set()).add(value)
            elif fraction := _fraction(tokens, k):
                said.setdefault("fraction", set()).add(fraction)
            elif tokens[k] not in self.noise and not tokens[k].isdigit():
                rest.append(tokens[k])
            k += size or 1
        kinds = said.get("kind", set())
        if kinds - {"curves", "metrics", "comparison", "samples"}:  # curves of what: that is the kind
            said["kind"] = kinds - {"curves", "metrics", "samples"}
        if image and kinds == {"config"}:
            said["kind"] = {"config", "env"}
        return Facts({key: frozenset(values) for key, values in said.items()}, week, tuple(rest), frozenset(tokens))

    def _tokens(self, name: str) -> tuple[list[str], int]:
        """The words of a name, lower case, misspelt ones mended, run-together ones parted; and the week it names."""
        text = name[-LONGEST_NAME:]
        while ending := ENDINGS.search(text):
            text = text[:ending.start()]
        text = re.sub(r"\(\d{1,3}\)", " ", text.casefold()).replace("%", "pct")
        text = ALL_OF_THEM.sub("combined", text)
        text = re.sub(r"(?<!\d)0[.p](\d\d?)(?!\d)", lambda m: f"{int(m[1].ljust(2, '0'))}pct", text)
        week = WEEK.search(text)
        if week:
            text = f"{text[:week.start()]} {text[week.end():]}"
        out = []
        for token in re.findall(r"[^\W_]+", text)[:MOST_TOKENS]:
            out += self._parts(token)
        return out[:2 * MOST_TOKENS], int(week[1]) if week else 0

    def _parts(self, token: str) -> list[str]:
        if token in self.known or token in self.noise or len(token) > 40:
            return [token]
        return self._segment(token, {}) or [self.nearest(token)]

    def _segment(self, token: str, memo: dict) -> list[str] | None:
        """smallcnnmetrics -> smallcnn, metrics; 5pct -> 5, pct: a token as known words of three letters or more."""
        if not token:
            return []
        if token not in memo:
            memo[token] = None
            for size in range(len(token), 0, -1):
                head = token[:size]
                fine = head.isdigit() and not token[size:size + 1].isdigit() or size > 2 and (
                    head in self.known or head in self.noise)
                if fine and (tail := self._segment(token[size:], memo)) is not None:
                    memo[token] = [head, *tail]
                    break
        return memo[token]

    def _nearest(self, token: str) -> str:
        """The known word that a misspelt one means: one letter off five, two off eight, and no other as near."""
        most = 2 if len(token) > 7 else 1 if len(token) > 4 else 0
        near = sorted((apart(token, word, most), word) for word in self.long if abs(len(word) - len(token)) <= most)
        near = [one for one in near if one[0] <= most]
        means = [self.known.get(word, word) for distance, word in near if distance == near[0][0]]
        return near[0][1] if near and all(meaning == means[0] for meaning in means) else token


def week_in(name: str) -> int:
    """The week that a file's name mentions (README_week3.md -> 3), or 0."""
    found = WEEK.search(name[-LONGEST_NAME:].casefold())
    return int(found[1]) if found else 0


def _fraction(tokens: list[str], k: int) -> int:
    """The label fraction in percent at token k (10 pct; a bare 10 or 20 that counts nothing else), or 0."""
    if not tokens[k].isdecimal() or len(tokens[k]) > 3:
        return 0
    value, after = int(tokens[k]), tokens[k + 1] if k + 1 < len(tokens) else ""
    if after in ("pct", "percent", "p", "perc", "prozent"):
        return value if 0 < value <= 100 else 0
    counts = (k and tokens[k - 1] in COUNTED) or after in COUNTED
    return value if value in FRACTIONS and not counts else 0
