"""Up or down: "improved from 0.8606 to 0.8429", "AUROC decreases 0.895 → 0.906", "+2 %" where the files say −0.2 %,
and a temperature below 1 that is said to have made a model less sure.

Of ECE, NLL, Brier score, FPR and loss less is better. Negated, hedged and conditional sentences are left alone.
"""

import re
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.words.holdings import Holdings, identity
from medssl.course.checker.words.stated import FILLER, LOWER_IS_BETTER, Token, is_value, statements, tokens

Said = Iterator[tuple[str, Problem]]
VERBS = (  # (the verb, +1 up / -1 down, whether it speaks of quality and not of the number)
    (re.compile(r"improv\w*|enhanc\w*|boost\w*"), 1, True),
    (re.compile(r"worsen\w*|degrad\w*|deteriorat\w*"), -1, True),
    (re.compile(r"increas\w*|ris(?:e|es|en|ing)|rose|grows?|grown|grew|climb\w*|rais(?:e|es|ed|ing)"), 1, False),
    (re.compile(r"decreas\w*|drop\w*|falls?|fallen|falling|fell|reduc\w*|lowers?|lowered|declin\w*|shr[aiu]nks?|sinks?|"
                r"sank"), -1, False),
)
NEUTRAL = {"went", "goes", "go", "moved", "moves", "changed", "changes", "ranges", "range", "ranging", "varies",
           "spans",
           "between", "is", "are", "was", "were", "shifts", "shifted", "kept", "stays", "then", "but", "and", "while"}
NOT = {"not", "no", "never", "neither", "nor", "without", "hardly", "little", "rather", "instead", "failed", "fails",
       "fail",
       "cannot", "would", "could", "should", "might", "may", "expected", "hoped", "if", "whether", "less", "didn't",
       "doesn't", "don't", "didn’t", "doesn’t", "none", "unlike", "expect", "hope", "wanted", "limited", "nothing",
       "only"}
ABOVE = {"better", "higher", "outperforms", "outperformed", "outperform", "beats", "beat", "exceeds", "exceeded",
         "above",
         "surpasses", "surpassed"}
BELOW = {"worse", "lower", "below", "underperforms", "underperformed"}
EASY = FILLER | {"in", "clearly", "slightly", "strongly", "a", "bit", "then", "even", "significantly", "further",
                 "little",
                 "much", "substantially", "markedly", "consistently", "steadily", "my", "our", "model", "model's"}


def directions(held: Holdings) -> Said:
    """A verb whose sign contradicts the two numbers beside it; one finding a file."""
    for note in held.notes:
        wrong = []
        for sentence in note.prose.sentences if note.kind != "table" else ():
            found = [*_against_verbs(sentence.text, held), *_against_comparison(sentence.text, held),
                     *_against_change(sentence.text, held)]
            wrong += [(f"{one} (line {sentence.line})", sentence.line) for one in found[:1]]
        if wrong:
            lines = ", ".join(str(line) for _, line in wrong[:4])
            yield note.item.shown, Problem(
                "readme-direction", f"says {'; '.join(one for one, _ in wrong[:3])}. The reader believes the word and "
                "not the digits", f"line {lines}: correct the word, or the two numbers, by the metrics JSON", "warning")


def _verb(word: str) -> tuple[int, bool] | None:
    return next(((sign, quality) for pattern, sign, quality in VERBS if pattern.fullmatch(word)), None)


def _pairs(toks: list[Token]) -> Iterator[tuple[int, int, int]]:
    """(place, before, after) of "from a to b", "a → b" and "to b from a": places of the numbers, and of the first."""
    for k in range(len(toks) - 2):
        if toks[k].kind != "number" or toks[k].text[0] in "+":
            continue
        before = {t.text.casefold() for t in toks[max(0, k - 3):k]}
        j = k + 1
        if toks[j].text in "([":  # "0.80 (head) to 0.84"
            j = next((e + 1 for e in range(j, min(j + 8, len(toks))) if toks[e].text in ")]"), j)
        if j + 1 < len(toks) and toks[j + 1].kind == "number" and _same_form(toks[k], toks[j + 1]):
            joint = toks[j].text.casefold()
            if toks[j].kind == "arrow" or joint == "to" and "from" in before:
                yield k, k, j + 1
            elif joint == "from" and "to" in before:
                yield k, j + 1, k


def _same_form(one: Token, other: Token) -> bool:
    """Both with a fraction or a percent sign: 2 → 1 epochs is no metric."""
    return all("%" in t.text or re.search(r"[.,]\d", t.text) for t in (one, other))


def _against_verbs(text: str, held: Holdings) -> Iterator[str]:
    toks = tokens(text)
    for at, first, second in _pairs(toks):
        a, b = float(toks[first].value), float(toks[second].value)
        found = _verb_before(toks, at)
        if found is None or a == b or "?" in text:
            continue
        word, (sign, quality) = found
        metric = next((str(t.value) for t in reversed(toks[:at]) if t.kind == "metric"), "")
        if quality and not metric:
            metric = next((m for m in ("accuracy", "auroc", "balanced_accuracy", "auprc") if held.near(
                m, a, toks[first].unit, _typed(held, m)) or held.near(m, b, toks[second].unit, _typed(held, m))
            ), "")
            if not metric or re.search(r"\b(?:loss|error|gap|std|time|threshold|temperature)\b", text, re.I):
                continue
        wanted = -sign if quality and metric in LOWER_IS_BETTER else sign
        if (b - a) * wanted < 0:
            yield f"'{clean(word, 20)}' of {toks[first].text} → {toks[second].text}" + (
                f", and of {metric.replace('_', ' ')} less is better" if quality and wanted != sign else
                f", which is {'less' if b < a else 'more'}")


def _typed(held: Holdings, metric: str) -> list:
    return [leaf for leaf in held.leaves if leaf.metric == metric]


def _verb_before(toks: list[Token], at: int) -> tuple[str, tuple[int, bool]] | None:
    """The verb that governs the numbers at a place: the nearest one, with few words between, not negated."""
    loose, metric = 0, False
    for k in range(at - 1, max(-1, at - 14), -1):
        word = toks[k].text.casefold()
        if toks[k].kind == "word" and (found := _verb(word)):
            near = {t.text.casefold() for t in toks[max(0, k - 6):at]}
            return None if near & NOT else (word, found)
        if word in NEUTRAL or word in ",;" and at - k > 1:
            return None
        metric |= toks[k].kind == "metric"
        if toks[k].kind == "word" and word not in EASY:
            # behind the metric ("reduced labels: AUROC a → b") the verb is about something else
            loose += 3 if metric else 1
        if toks[k].kind == "number" or word in "()" and metric or loose > 2:
            return None
    return None


def _against_comparison(text: str, held: Holdings) -> Iterator[str]:
    """"A (0.8654) is better than B (0.8670)": two numbers, one metric, and a word between them that orders them."""
    toks = tokens(text)
    values = [k for k in range(len(toks)) if is_value(toks, k) and toks[k].text[0] not in "+−-"]
    metrics = {str(t.value) for t in toks if t.kind == "metric"}
    words = [t.text.casefold() for t in toks]
    if len(values) != 2 or len(metrics) > 1 or set(words) & (NOT - {"only", "less"}) or "by" in words or "±" in text:
        return
    between = words[values[0] + 1:values[1]]
    orders = [(w, 1 if w in ABOVE else -1) for w in between if w in ABOVE | BELOW]
    if len(orders) != 1 or {"but", "while", "whereas", "although", "though", ";"} & set(between):
        return
    word, sign = orders[0]
    if word in ("better", "worse", "higher", "lower") and "than" not in between:
        return
    a, b = (float(toks[k].value) for k in values)
    metric = next(iter(metrics), "")
    quality = word not in ("higher", "lower", "above", "below", "exceeds", "exceeded")
    known = [leaf.value for leaf in held.leaves if leaf.metric in ("accuracy", "auroc")]
    if quality and not metric and not all(any(abs(one - v) <= 1e-3 for one in known) for v in (a, b)):
        return
    wanted = -sign if quality and metric in LOWER_IS_BETTER else sign
    if (a - b) * wanted < 0:
        yield f"{toks[values[0]].text} is '{clean(word, 20)}' than {toks[values[1]].text}"


def _against_change(text: str, held: Holdings) -> Iterator[str]:
    """"AugA: accuracy +2 %" where no other model's accuracy in the folder is that much lower (or higher)."""
    for one in statements(text):
        if one.kind != "change" or one.text[0] not in "+−-" or held.about_others(text, "", one.metric):
            continue
        subject = re.split(r"\b(?:than|over|vs|versus|against|compared|from)\b", text.replace(one.text, " "))[0]
        own = held.chosen(subject, "", one.metric)
        others = [s.block.values[one.metric] for s in held.of(one.metric) if s is not own]
        if own is None or not others:
            continue
        value = own.block.values[one.metric]
        steps = [value - other for other in others] + [(value - other) / other for other in others if other]
        if all(abs(step - one.value) > 3 * one.unit + 1e-9 for step in steps):
            nearest = min(others, key=lambda other: abs(value - other - one.value))
            name = one.metric.replace("_", " ")
            yield (f"{name} {one.text} of {', '.join(sorted(own.words & identity(subject)))}, where "
                   f"{own.shown.rpartition('/')[2]} has {value:.4f} and the others {nearest:.4f}")


def temperatures(held: Holdings) -> Said:
    """Logits divided by T < 1 grow: a temperature below 1 makes a model surer, not less sure."""
    stored = [float(value) for _, key, value in held.settings if key in ("t", "temperature", "optimal_temperature")
              and is_number(value) and not _of_ssl(held)]
    for note in held.notes:
        sentences = note.prose.sentences if note.kind != "table" else []
        for k, sentence in enumerate(sentences):
            claim = LESS_SURE.search(sentence.text)
            if not claim or re.search(r"\b(?:not|no|rather|would|if|called)\b|[\"“”]", sentence.text):
                continue
            about = f"{sentences[k - 1].text} {sentence.text}" if k else sentence.text
            if not re.search(r"temperature|\bT\s?=", about, re.I):
                continue
            written = [m[1].replace(",", ".") for m in TEMPERATURE.finditer(about)]
            found = [float(one) for one in written] or stored
            sharper = claim["less"] is not None
            if found and all(0 < t < 1 for t in found) and sharper or found and min(found) > 1 and not sharper:
                way = "below 1 divides the logits by less than 1, so the model becomes surer" if sharper else \
                    "above 1 flattens the probabilities, so the model becomes less sure"
                yield note.item.shown, Problem(
                    "readme-direction", f"says '{clean(claim[0], 50)}' (line {sentence.line}) of a temperature of "
                    f"{found[0]:g}: a temperature {way}", f"line {sentence.line}: say that the model was "
                    f"{'under' if sharper else 'over'}-confident on val, and show NLL before and after", "warning")
                break


def _of_ssl(held: Holdings) -> bool:
    return held.reading.hand_in.week.number == 4  # there the temperature is the contrastive loss's


LESS_SURE = re.compile(r"(?P<less>(?:reduc|lower|decreas|mitigat|correct|fix|lessen|remov|"
                       r"soften)\w*(?: \w+){0,3} over-? ?confiden\w+|(?:less|no longer) (?:over-?)?confident|"
                       r"soften\w* the (?:probabilities|predictions|outputs))|(?P<more>(?:reduc|correct|fix|"
                       r"remov)\w*(?: \w+){0,3} under-?confiden\w+)", re.I)
TEMPERATURE = re.compile(r"(?:temperature|\bT)(?: (?:was|is|of|value|found|fitted|optimal|scaling|parameter)){0,4}"
                         r"\s{0,2}[(=:≈~]{0,2}\s{0,2}(?:T\s?=\s?)?(\d[.,]\d{1,6})", re.I)
