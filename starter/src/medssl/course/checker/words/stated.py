"""Which number a sentence gives for which metric: "AUROC of the probe is 0.84 ± 0.02", "84 % accuracy", "Acc/AUROC:
0.84/0.91", "ECE fell from 0.13 to 0.09".

A reader that would rather miss a claim than make one up: between a metric's name and its number only few words may
stand, and none that says what else the number could be (a threshold, a learning rate, a bound).
"""

import re
from functools import lru_cache
from typing import NamedTuple

NAMES = {  # the order matters: of two that fit at one place the first is taken
    "balanced_accuracy": r"bal(?:anced)?\.?[ _-]?acc(?:uracy|uracies)?",
    "auprc": r"auprc|pr[ _-]?auc|auc[ _-]?pr|aupr|average precision",
    "auroc": r"au[ -]?roc|roc[ _-]?auc|auc[ _-]?roc|auc|area under the roc(?: curve)?",
    "ece": r"ece|expected calibration error",
    "brier": r"brier(?: score)?",
    "nll": r"nll|log[ -]loss|negative log[ -]likelihood",
    "f1": r"f1(?:[ _-]score)?",
    "recall": r"sensitivity|recall|tpr|true[ -]positive rate",
    "specificity": r"specificity|tnr|true[ -]negative rate",
    "fpr": r"fpr|false[ -]positive rate",
    "precision": r"precision|ppv",
    "accuracy": r"acc(?:uracy|uracies)?|genauigkeit",
    "loss": r"loss",
}
LOWER_IS_BETTER = {"ece", "brier", "nll", "fpr", "loss"}
SHARES = set(NAMES) - {"nll", "loss", "brier"}  # lie in [0, 1], so that 84 means 84 %
_METRIC = "|".join(f"(?P<{name}>{words})" for name, words in NAMES.items())
_NUMBER = (r"(?<![\w.])(?<!\d,)(?P<sign>[+−-])?(?P<digits>\d{1,7}(?:[.,]\d{1,17})?|\.\d{1,17})(?!\w)(?![.,]\d)"
           r"(?P<percent>\s?(?:%|percent\b|per cent\b|pp\b))?")
_TOKEN = re.compile(rf"(?<![^\W_])(?:{_METRIC})s?(?![^\W_])|{_NUMBER}|(?P<arrow>→|-+>|=>|⟶)|(?P<word>[^\W\d_][\w'’-]*)"
                    r"|(?P<other>[^\s\w])", re.I)
def _words(text: str) -> set[str]:
    return set(text.split())


FILLER = _words("""
is are was were of at be being been reach reaches reached give gives gave has had have got gets achieve
achieves achieved score scores scored value values equal equals around about approximately approx roughly circa ca only
just nearly almost a an the test set split on mean average avg final overall here for stand stands stays stay stayed
remain remains remained shows showed obtained obtains result results total top-label now also still still its from goes
went rises rose falls fell drops dropped drop increases increased decreases decreased improves improved improve declines
declined grew grows climbs climbed shrinks shrank worsens worsened degrades degraded to macro""")
STOPS = _words("""
threshold thresholds lr rate rates dropout decay jitter temperature tau noise sigma p alpha beta momentum
weight smoothing fraction std sd deviation interval ci spread margin floor seed seeds epoch epochs confidence prevalence
probability version size hue contrast brightness strength target aim goal bin bins share when while whereas if because
but although per where which that and or not no never without than gap chance random majority by difference drop gain
lead change improvement delta within between interval half-width points correlation correlates""")
UNITS = _words("""
label labels labelled labeled image images sample samples seed seeds epoch epochs step steps px pixels of
train training data bins patients cases ci interval confidence s sec seconds min minutes mb gb fraction split
annotations chance quantile percentile""")
BOUNDS = _words("above below over under least most than beyond exceed exceeds exceeding more less until < > ≥ ≤")
CHANGES = _words("""gain gains gained by difference differences gap gaps lead leads change changes changed delta Δ
improvement improvements loses lost loss drop drops increase increases decrease decreases reduction better worse higher
lower advantage benefit""")
AFTER = _words("points point pp higher lower better worse more less above below std standard")
JOINTS = {"/", "and", "&", ",", "to", "vs", "versus", "against", "or", "–", "-", "—"}


class Token(NamedTuple):
    kind: str  # metric, number, arrow, word, other
    text: str
    value: float | str  # a number, or the metric's name
    unit: float  # of a number: half of its last written digit


class Stated(NamedTuple):
    metric: str
    value: float  # as a fraction where the metric is one
    unit: float
    kind: str  # value, change, bound or range
    text: str  # as written
    joint: str  # "from" of two numbers the first, "to" the second; else ""


@lru_cache(maxsize=4_096)
def tokens(sentence: str) -> list[Token]:
    """Words, metrics and numbers of a sentence, in order."""
    found = []
    for m in _TOKEN.finditer(sentence):
        if m["digits"]:
            value, unit = number_of(m["digits"], bool(m["percent"]))
            sign = m["sign"] or ""
            found.append(Token("number", m[0].strip(), -value if sign in ("-", "−") else value, unit))
        elif m.lastgroup in NAMES:
            found.append(Token("metric", m[0], m.lastgroup, 0.0))
        else:
            found.append(Token(m.lastgroup or "other", m[0], m[0].casefold(), 0.0))
    return found


def number_of(digits: str, percent: bool = False) -> tuple[float, float]:
    """(value, half a unit of its last digit). 0,84 is 0.84 as many write it, and 1,000 a thousand."""
    whole, comma, rest = digits.partition(",")
    if comma and len(rest) == 3 and whole.strip("0"):
        digits = whole + rest
    digits = digits.replace(",", ".")
    places = len(digits.partition(".")[2])
    scale = 100 if percent else 1
    return float(digits) / scale, 0.5 * 10.0 ** -places / scale


def is_value(toks: list[Token], k: int) -> bool:
    """Whether a number can be a metric: it has a fraction or a percent sign, and counts nothing."""
    token = toks[k]
    if token.kind != "number" or not ("%" in token.text or "per" in token.text or re.search(r"[.,]\d", token.text)):
        return False
    if k + 1 < len(toks) and toks[k + 1].text.casefold() in UNITS | {"^", "×"}:
        return False
    return not (k and toks[k - 1].text in "±×^")


@lru_cache(maxsize=4_096)
def statements(sentence: str) -> list[Stated]:
    """Every (metric, number) that the sentence states, in order."""
    toks, found, used, k = tokens(sentence), [], set(), 0
    while k < len(toks):
        if toks[k].kind != "metric":
            k += 1
            continue
        first, metrics = k, [k]
        while k + 2 < len(toks) and toks[k + 1].text in ("/", ",", "and", "&", "+", "|") and \
                toks[k + 2].kind == "metric":
            k += 2
            metrics.append(k)
        numbers, joints = _numbers_after(toks, k + 1)
        k += 1
        if not numbers or len(metrics) not in (1, len(numbers)):
            continue
        used.update(numbers)
        kinds = [_kind(toks, first, n) for n in numbers]
        pair = _joint(toks, numbers, joints)
        for at, n in enumerate(numbers):
            name = toks[metrics[at if len(metrics) > 1 else 0]].value
            kind = "range" if kinds[at] == "value" and pair == "range" else kinds[at]
            joint = ("from", "to")[at] if pair == "pair" and len(metrics) == 1 else ""
            kind = "value" if joint else kind
            found.append(_stated(toks[n], str(name), kind, joint))
        k = max(k, numbers[-1] + 1)
    return found + _before(toks, used)


def _numbers_after(toks: list[Token], k: int) -> tuple[list[int], list[str]]:
    """Where the numbers that belong to a metric before place k stand, and what joins them."""
    loose = 0
    while k < len(toks) and toks[k].kind != "number":
        token, word = toks[k], toks[k].text.casefold()
        if token.kind == "metric" or word in STOPS and not _by_number(toks, k):
            return [], []
        if token.kind == "word" and word not in FILLER | BOUNDS | CHANGES:
            loose += 1
        if loose > 4 or token.kind == "other" and word not in ":=≈~(\"'|<>≥≤–-[":
            return [], []
        k += 1
    if k >= len(toks) or not is_value(toks, k):
        return [], []
    found, joints = [k], []
    while len(found) < 6:
        k = _after_spread(toks, k + 1)
        joint = toks[k].text.casefold() if k < len(toks) else ""
        if k < len(toks) and (joint in JOINTS or toks[k].kind == "arrow"):
            nxt = k + 1 + (k + 1 < len(toks) and toks[k + 1].text.casefold() in ("only", "about", "~", "≈"))
            if nxt < len(toks) and is_value(toks, nxt) and not _owned(toks, nxt):
                found.append(nxt)
                joints.append("→" if toks[k].kind == "arrow" else joint)
                k = nxt
                continue
        break
    return found, joints


def _by_number(toks: list[Token], k: int) -> bool:
    """"by" or "than" right before a number is part of a change or a bound, which are told apart later."""
    return toks[k].text.casefold() in CHANGES | BOUNDS and k + 1 < len(toks) and toks[k + 1].kind == "number"


def _after_spread(toks: list[Token], k: int) -> int:
    """The place behind "± 0.01" and behind an interval in brackets."""
    if k + 1 < len(toks) and toks[k].text == "±":
        k += 2
    elif k + 2 < len(toks) and toks[k].text == "+" and toks[k + 1].text in "/" and toks[k + 2].text.startswith("-"):
        k += 3 if toks[k + 2].kind == "number" else 4
    if k < len(toks) and toks[k].text in "([":
        end = next((e for e in range(k, min(k + 14, len(toks))) if toks[e].text in ")]"), None)
        inside = toks[k:end] if end else []
        if end and not any(t.kind == "metric" for t in inside) and sum(t.kind == "number" for t in inside) != 1:
            k = end + 1
    return k


def _owned(toks: list[Token], k: int) -> bool:
    """Whether the metric of a number stands behind it ("0.84 and 0.90 AUROC")."""
    behind = toks[k + 1:k + 3]
    owner = next((at for at, t in enumerate(behind) if t.kind == "metric"), None)
    if owner is None or any(t.kind != "word" for t in behind[:owner]):
        return False
    return not _numbers_after(toks, k + 2 + owner)[0]


def _kind(toks: list[Token], first: int, n: int) -> str:
    """value, or change or bound where the words around the number say so."""
    token, before = toks[n], [t.text.casefold() for t in toks[first + 1:n]]
    lead = [t.text.casefold() for t in toks[max(0, first - 4):first]]
    behind = toks[n + 1].text.casefold() if n + 1 < len(toks) else ""
    if token.text[0] in "+−-" or "pp" in token.text or behind in AFTER or "by" in before:
        return "change"
    if set(before) & BOUNDS or (first > n and set(lead) & BOUNDS):
        return "bound"
    if not {"from", "to", "is", "=", "→"} & set(before) and (set(before) | set(lead)) & CHANGES:
        return "change"
    return "value"


def _joint(toks: list[Token], numbers: list[int], joints: list[str]) -> str:
    """"pair" of "from a to b" and "a → b", "range" of "a - b" and of "a to b" without from, else ""."""
    if len(numbers) != 2:
        return ""
    leading = {t.text.casefold() for t in toks[max(0, numbers[0] - 3):numbers[0]]}
    if joints[0] == "→" or joints[0] == "to" and "from" in leading:
        return "pair"
    return "range" if joints[0] in ("to", "–", "-", "—") else ""


def _before(toks: list[Token], used: set[int]) -> list[Stated]:
    """Numbers whose metric stands behind them: "84 % accuracy", "0.91 test AUROC"."""
    found = []
    for n in range(len(toks)):
        if n in used or not is_value(toks, n) or (n and toks[n - 1].text.casefold() in
                                                     (STOPS - {"and", "or", "but"}) | BOUNDS | {"/", "±"}):
            continue
        at = n + 1
        while at < len(toks) and toks[at].text.casefold() in ("test", "mean", "top-label", "overall", "in", "final"):
            at += 1
        if at < len(toks) and toks[at].kind == "metric" and not _numbers_after(toks, at + 1)[0]:
            change = {t.text.casefold() for t in toks[max(0, n - 4):n]} & (CHANGES | {"improves", "improved", "by"})
            change = change or toks[n].text[0] in "+−-" or toks[n + 1].text == "in"
            kind = "change" if change else "value"
            found.append(_stated(toks[n], str(toks[at].value), kind, ""))
    return found


def _stated(token: Token, metric: str, kind: str, joint: str) -> Stated:
    value, unit = float(token.value), token.unit
    if metric in SHARES and "%" not in token.text and 1.5 < abs(value) <= 100:
        value, unit = value / 100, unit / 100
    return Stated(metric, value, unit, kind, token.text, joint)
