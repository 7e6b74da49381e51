"""Counts of errors in words ("31 false negatives") against the confusion matrices of the submission."""

import re
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem
from medssl.course.checker.words.holdings import Holdings
from medssl.course.checker.words.setups import SMALL, Said


def counts(held: Holdings) -> Said:
    """"1 FN" where every confusion matrix, in JSON or in text, has others, whichever class is called positive."""
    matrices = held.counts + [cells for note in held.notes for sentence in note.prose.sentences
                              if len(cells := dict(_counted(sentence.text))) == 4]
    turned = {"fn": "fp", "fp": "fn", "tp": "tn", "tn": "tp"}
    for note in held.notes:
        for sentence in note.prose.sentences if matrices and note.kind != "table" else ():
            if PART.search(sentence.text) and not re.search(r"\b(?:only|just|single)\b", sentence.text, re.I):
                continue
            for kind, said in _counted(sentence.text):
                if not any(said in (one[kind], one[turned[kind]]) for one in matrices):
                    right = sorted({one[kind] for one in matrices})
                    yield note.item.shown, Problem(
                        "readme-number", f"counts {said} {kind.upper()} (line {sentence.line}); the confusion matrices "
                        f"handed in have {', '.join(map(str, right[:5]))}: the two are about different predictions",
                        f"line {sentence.line}: write {kind.upper()} = {right[0]}, or hand in the run that it is of",
                        "warning")
                    return


def _counted(text: str) -> Iterator[tuple[str, int]]:
    """("fn", 31) of "31 false negatives", "FN = 31" and "one FN". In "TP 500 FN 100 FP 185 TN 239", where names and
    numbers alternate and a name comes first, each number belongs to the name before it."""
    named = list(NAMED.finditer(text))
    first = len(named) > 1 and not re.search(r"\d[ =:]{0,3}$", text[max(0, named[0].start() - 10):named[0].start()])
    for found in named if first else COUNTED.finditer(text):
        words, digits = re.split(r"[ -]", (found[2] or found[3]).casefold()), (found[1] or found[4]).casefold()
        kind = words[0] if len(words) == 1 else words[0][0] + words[1][0]
        yield kind, SMALL.get(digits) or int(digits)


_CELL = r"(?:false|true)[ -](?:negative|positive)|FN|FP|TP|TN"
COUNTED = re.compile(rf"(?<![\w.,/-])(\d{{1,3}}|{'|'.join(SMALL)}) ({_CELL})s?\b|"
                     rf"\b({_CELL})s?\s{{0,2}}[=:|]\s{{0,2}}(\d{{1,3}})(?![\d.,%]*\d|%)", re.I)
NAMED = re.compile(rf"()()\b({_CELL})s?\s{{0,2}}[=:|]?\s{{0,2}}(\d{{1,6}})(?![\d.,%]*\d|%)", re.I)
# Some of the errors are shown or picked; other thresholds and splits have others.
PART = re.compile(r"\bval|threshold|show|galler|figure|example|top|confident|pick|select|first|of the|each|train|"
                  r"weeks? \d|\b(?:more|fewer|less|than|if|would|look\w*|see)\b|at (?:tpr|fpr|p)\b", re.I)
