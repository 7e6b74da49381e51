"""Which class is class 1? Of BreastMNIST it is "normal, benign": 114 of the 156 test images, and not the cancers.

A sentence that turns this round makes every rate in it read the wrong way: "88 of 114 malignancies missed".
"""

import re
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.words.holdings import Holdings
from medssl.course.checker.words.stated import tokens

Said = Iterator[tuple[str, Problem]]
WORDS = {"malignant": r"malignan\w*|cancer(?:s|ous)?|tumou?rs?", "normal, benign": r"benign|normal|healthy",
         "normal": r"normal|healthy", "pneumonia": r"pneumonia"}  # how students name the contract's classes
# Who says that the classes were exchanged on purpose knows which one is which.
AWARE = re.compile(r"1 ?[-−–] ?p\b|\b(?:flip\w*|invert\w*|swap\w*|exchang\w*|revers\w*|treat\w*|redefin\w*|"
                   r"re-?defin\w*|relabel\w*|if|not|rather|instead|unlike|wrong\w*|mistake\w*|first i|would|class 0|"
                   r"label 0|0 ?[=:]|y ?= ?0|as the positive|confus\w*|mixed up|clinic\w*|papers?|literature|reports?|"
                   r"finding|in medicine|medically)\b", re.I)


def positive_class(held: Holdings) -> Said:
    """One finding a file, with the official classes and counts."""
    context = held.reading.context
    if not context.official or not all(name in WORDS for name in context.classes):
        return
    yield from _in_json(held)
    said = {f["where"] for f in held.reading.result["findings"] if f["code"] == "positive-class"}
    for note in held.notes:
        if note.item.shown in said:
            continue
        for line, text in _texts(note):
            if claim := turned_round(text, context.classes, context.official.counts):
                zero, one = context.official.counts["test"]
                severity = "warning" if "positive" in claim.casefold() else "error"
                yield note.item.shown, Problem(
                    "positive-class", f"says '{clean(claim, 80)}' (line {line}). Class 1 of {context.dataset} is "
                    f"'{context.classes[1]}' ({one} test images), class 0 '{context.classes[0]}' ({zero}): rates that "
                    "are read for the other class say the opposite of what was measured",
                    f"line {line}: name class 1 '{context.classes[1]}', or compute the rates of '{context.classes[0]}' "
                    "from 1 - p and say so", severity)
                break


def _in_json(held: Holdings) -> Said:
    """A key such as positive_class or pos_label that names class 0. (`positive` is checked with the metrics.)"""
    context = held.reading.context
    zero, one = (WORDS[name] for name in context.classes)
    done = set()
    for shown, key, value in held.settings:
        if key in ("positive_class", "pos_label", "positive_label", "pos_class") and isinstance(value, str) \
                and shown not in done and re.search(rf"\b(?:{zero})\b", value[:80], re.I) \
                and not re.search(rf"\b(?:{one})\b", value[:80], re.I):
            done.add(shown)
            yield shown, Problem("positive-class", f"says {clean(key, 30)} = '{clean(value, 40)}'; class 1 of "
                                 f"{context.dataset} is '{context.classes[1]}': every rate reads the wrong way round",
                                 f"set {clean(key, 30)} to '{context.classes[1]}', or compute the rates from 1 - p",
                                 "warning")


def _texts(note) -> Iterator[tuple[int, str]]:
    yield from ((s.line, s.text) for s in note.prose.sentences)
    for table in note.prose.tables:
        if not table.block:
            yield from ((table.line, " | ".join(row)[:300]) for row in [table.header, *table.rows[:50]])


def turned_round(text: str, classes: list[str], counts: dict[str, list[int]]) -> str:
    """The words in which a text takes class 0 for class 1, or the counts of one for the other's; "" if it does not."""
    zero, one = (f"(?:{WORDS[name]})" for name in classes)
    text = re.sub(r"[\"“](?:[^\s\"“”]+ ){2,40}[^\s\"“”]*[\"”]", " ", text)  # somebody's words, held up
    flat = text.replace("*", "").replace("`", "").replace('"', "").replace("'", "")
    if not AWARE.search(flat):
        link = r"\s?(?:\(|=|:|is|means|stands for|are|→|-|–)\s?(?:the |= ?)?"
        for pattern in (rf"\b(?:class|label|y) ?=? ?1{link}{zero}\b", rf"(?<![\d.])1 ?[=:] ?{zero}\b",
                        rf"\b{zero} ?(?:\(|=|is|:) ?(?:the )?(?:class |label |y ?= ?|= ?)?1\b"
                        r"(?![.,]\d|\d| of | ?/| in )",
                        rf"\bpositive(?: class)?{link}{zero}\b", rf"\b{zero} ?(?:\(|is |as |= ?)(?:the )?positive\b",
                        rf"\bp ?\(?{zero} ?\) ?= ?p\b"):
            if (found := re.search(pattern, flat, re.I)) and not re.search(one, found[0], re.I):
                return found[0]
    for split in ("test", "val", "train"):
        n0, n1 = counts[split]
        for n, other, own in ((n1, zero, one), (n0, one, zero)):
            # "88 of 114 malignant": the whole class, counted. A bare "42 benign" can be a part of the 114.
            whole = rf"(?:\bof|/) ?(?:all |the )?{n} (?:test |true |actual |images of )?{other}\b"
            if found := re.search(whole, flat, re.I):
                return found[0]
            rest = counts[split][0 if n == n1 else 1]
            if re.search(rf"\b{n} {other}\b", flat, re.I) and re.search(rf"\b{rest} {own}\b", flat, re.I):
                return f"{n} {re.search(rf'{n} ({other})', flat, re.I)[1]}"
            if n > rest and split == "test" and (found := re.search(
                    rf"\b(?:all |the )?{n} (?:test )?{other}\b(?! (?:in|of) the train)", flat, re.I)):
                return found[0]
    share = counts["test"][1] / sum(counts["test"])
    rate = "(?:base ?rate|prevalence|proportion|share)"
    if re.search(rf"{rate}[^.]{{0,25}}{zero}|{zero}[^.]{{0,25}}{rate}", flat, re.I) \
            and not re.search(rf"{one}|positive|class 1", flat, re.I):
        for token in tokens(flat[:300]):
            if token.kind == "number" and abs(float(token.value) - share) <= token.unit + 1e-4 and token.unit <= 0.005:
                return flat[:80]
    return ""
