"""Do confusion matrices hold the official images, and give the accuracy beside them?

[[tn, fp], [fn, tp]] with true classes as rows; tn + fp images of class 0, fn + tp of class 1 (the positive one).
"""

import re
from collections.abc import Iterator

from medssl.course.checker.numbers.arithmetic import interval
from medssl.course.checker.numbers.matrices import MOST, Matrix, in_json, in_text
from medssl.course.checker.numbers.sheets import Sheet, few
from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.numerals import decimals_of
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.parse.values import SPLITS, metric_of, spellings
from medssl.course.checker.reading import Reading
from medssl.course.contract import Dataset

MOST_TEXT = 60_000
ACCURACY = re.compile(r"(?i)(?<!balanced )(?<!bal\. )\b(?:test )?acc(?:uracy)?\b(?:\s(?:is|of|was))?\W{0,4}"
                      r"(0\.\d{2,17}|\d{2}\.?\d{0,4})\s?(%?)(?![\d.]\d)")


def matrices(found: list[Sheet], reading: Reading) -> Iterator[tuple[str, Problem]]:
    facts = reading.context.official
    if not facts:
        return
    accuracies = [(sheet, block) for sheet in found for block in sheet.tested() if "accuracy" in block.values]
    known = spellings(reading.context.contract)
    for sheet in found:
        here = [m for _, m in zip(range(MOST), in_json(sheet.value, "", frozenset(), {}), strict=False)]
        said = {}
        for matrix in here:
            images = None if "wrong-n" in sheet.flaws else judge(matrix, facts, reading.context.rerun)
            # Of other images, and of another accuracy: two faults. A matrix that is only turned has its accuracy still.
            for problem in (images, _against_accuracy(matrix, sheet, accuracies, known, len(here) == 1)):
                if problem:
                    said.setdefault(problem.code, problem)
        yield from ((sheet.where, problem) for problem in said.values())
    texts = [(item, (reading.text_of(item) or "")[:MOST_TEXT]) for item in few(reading)]
    texts = [(item, text, in_text(text)) for item, text in texts if text]
    for item, text, here in texts:
        here = [m for m in here if 2 * sum(m.cells) >= sum(facts.counts["val"])]  # fewer are an example, or no images
        # A text may speak of anything: what it shows is looked at, and nobody is called wrong for it.
        said = {p.code: Problem(p.code, p.message, p.fix, "warning") for matrix in here[::-1]
                if (p := judge(matrix, facts, reading.context.rerun))}
        if other := _against_words(here, text):
            said[other.code] = other
        yield from ((item.shown, problem) for problem in said.values())


def judge(matrix: Matrix, facts: Dataset, rerun: str) -> Problem | None:
    """Whether these are the official images of the matrix's split, in the official classes."""
    split = next((SPLITS[w] for w in sorted(matrix.words) if w in SPLITS), "")
    tn, fp, fn, tp = matrix.cells
    rows, columns, total = (tn + fp, fn + tp), (tn + fn, fp + tp), sum(matrix.cells)
    if not total or not split and rows in (tuple(facts.counts["val"]), tuple(facts.counts["train"])):
        return None
    n0, n1 = facts.counts[split or "test"]
    n, shown = n0 + n1, f"[[{tn}, {fp}], [{fn}, {tp}]]{matrix.place}"
    times = total // n
    if total == times * n and rows == (times * n0, times * n1):  # one run, or several added up
        return None
    if total != n:
        return Problem("confusion-total", f"has a confusion matrix {shown} of {total} images; the official "
                       f"{split or 'test'} split has {n} ({n0} + {n1}): it is of other images, or its numbers were "
                       "typed", rerun)
    if rows == (n1, n0):
        what = f"TP + FN = {fn + tp}" if matrix.named else f"a second row of {fn + tp}"
        return Problem("positive-class", f"has a confusion matrix {shown} with {what}: that is the count of "
                       f"'{facts.classes[0]}', class 0. The positive class is class 1, '{facts.classes[1]}' ({n1}): "
                       "the two look exchanged",
                       "confusion_matrix(y, predicted, labels=[0, 1]) with the official labels, and call class 1 "
                       "positive",
                       "error" if matrix.named else "warning")
    if columns in ((n0, n1), (n1, n0)):
        return Problem("confusion-transposed", f"has a confusion matrix {shown} whose columns hold the official "
                       f"{columns[0]} + {columns[1]}: it is transposed (FP and FN are exchanged)",
                       "confusion_matrix(y_true, y_predicted): the true labels come first", "warning")
    return Problem("confusion-counts", f"has a confusion matrix {shown} with {rows[0]} + {rows[1]} images of the two "
                   f"classes; the official {split or 'test'} split has {n0} + {n1}: labels are wrong, or numbers were "
                   "typed", rerun)


def _against_accuracy(matrix: Matrix, sheet: Sheet, accuracies: list, known: dict, alone: bool) -> Problem | None:
    """Whether the matrix gives the accuracy beside it (or the file's, where each is the only one)."""
    tn, fp, fn, tp = matrix.cells
    own = next(((key, value) for key, value in matrix.beside.items()
                if metric_of(str(key), known) == ("accuracy", "") and is_number(value) and 0 <= value <= 1), None)
    tested = [block for s, block in accuracies if s is sheet]
    if own is None and alone and len(tested) == 1 and tested[0].runs < 2:
        own = tested[0].names["accuracy"], tested[0].values["accuracy"]
    thresholds = [b.facts.get("threshold", 0.5) for b in tested] + [matrix.beside.get("threshold", 0.5)]
    if own is None or not sum(matrix.cells) or matrix.runs > 1:
        return None
    if own[0] not in matrix.beside and any(one != 0.5 for one in thresholds):
        return None
    low, high = interval(own[1], decimals_of(repr(own[1])))
    gives = (tn + tp) / sum(matrix.cells)
    if low <= gives <= high or {"seeds", "std"} & set(matrix.beside):
        return None
    twin = next((s.where.rpartition("/")[2] for s, b in accuracies
                 if s is not sheet and abs(b.values["accuracy"] - gives) < 1e-4), "")
    also = f". That is the accuracy of {twin}: were two matrices exchanged?" if twin else ""
    return Problem("confusion-accuracy", f"has a confusion matrix [[{tn}, {fp}], [{fn}, {tp}]]{matrix.place}, which "
                   f"gives the accuracy {gives:.4f}, and says {clean(own[0], 40)} = "
                   f"{own[1]:.4f}{_rates(matrix)}{also or ': one of the two is of another run'}",
                   "make both from the same predictions in one cell")


def _rates(matrix: Matrix) -> str:
    """ " (tpr 0.9 beside 0.833, fpr 0.16 beside 0.436)": the other numbers of the object that the matrix does not give.

    Said only behind a wrong accuracy: a rate alone may be the one on val, or the target of the rule."""
    tn, fp, fn, tp = matrix.cells
    gives = {"tpr": (tp, tp + fn), "sensitivity": (tp, tp + fn), "recall": (tp, tp + fn), "fpr": (fp, fp + tn),
             "specificity": (tn, tn + fp)}
    wrong = []
    for key, value in matrix.beside.items():
        part, whole = gives.get(str(key).casefold(), (0, 0))
        if whole and is_number(value) and 0 <= value <= 1:
            low, high = interval(value, decimals_of(repr(value)))
            wrong += [f"{clean(key, 20)} {value:g} beside {part / whole:.3f}"] * (not low <= part / whole <= high)
    return f" ({', '.join(wrong[:3])})" if wrong and matrix.named else ""


def _against_words(here: list[Matrix], text: str) -> Problem | None:
    """The only matrix of a text against the accuracies that it states (with thresholds, each has its own)."""
    told = {(m[1], m[2]) for m in ACCURACY.finditer(text)} if len(here) == 1 else ()
    if not told or len(told) > 3 or re.search(r"(?i)threshold|operating|cut-?off", text):
        return None
    tn, fp, fn, tp = here[0].cells
    gives = (tn + tp) / max(sum(here[0].cells), 1)
    for number, percent in told:
        low, high = interval(float(number) / (100 if percent else 1), decimals_of(number) + 2 * bool(percent))
        if low <= gives <= high:
            return None
    number, percent = sorted(told)[0]
    return Problem("confusion-accuracy", f"has a confusion matrix [[{tn}, {fp}], [{fn}, {tp}]], which gives the "
                   f"accuracy {gives:.4f}, and says {number}{percent and ' %'}: one of the two is of another run",
                   "make both from the same predictions in one cell", "warning")
