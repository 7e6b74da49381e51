"""Numbers that nobody can recompute, held against arithmetic: can they be what they say, of the official test images?

Each rule looks at one file (a Sheet) and says one finding a cause. Rules about a submission as a whole: records.py.
"""

from collections.abc import Iterator
from math import sqrt

from medssl.course.checker.numbers import arithmetic, confusion, curves, protocol, records
from medssl.course.checker.numbers.arithmetic import NO_POWER, measured, possible, search
from medssl.course.checker.numbers.rates import contradiction
from medssl.course.checker.numbers.sheets import Sheet, joined, official, place, sheets
from medssl.course.checker.parse.handed_in import Problem
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.parse.values import Block, words_of
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[str, Problem]]
# Accuracy and AUROC of the earlier starter's default run (head, 5 epochs, seed 42): many people share them, honestly.
DEFAULT_RUNS = {(0.7628205128205128, 0.8252465483234714): "PneumoniaMNIST",
                (0.7051282051282052, 0.5440685045948204): "BreastMNIST"}


def numbers(reading: Reading) -> Said:
    """Every rule on every file of the submission, then the rules about all of them together."""
    found = sheets(reading)
    for sheet in found:
        blank = [block for block in sheet.blocks if _is_blank(block)]
        wrong = [block for block in sheet.blocks if block not in blank and _out_of_range(block)]
        if blank:
            yield sheet.where, Problem("placeholder", "gives " + joined([f"nothing but zeros{place(b)}" for b in blank])
                                       + ": the template's, not a model's", reading.context.rerun)
        if wrong:
            said = joined([f"{b.names[m]} = {b.values[m]:g}{place(b)}" for b in wrong for m in _out_of_range(b)])
            yield sheet.where, Problem("impossible-value", f"gives {said}: no such metric lies outside of 0 … 1",
                                       reading.context.rerun)
        sound = [b for b in sheet.tested() if b not in blank and b not in wrong and official(b, reading)
                 and not _says_other_images(b, sheet, reading)]
        for rule in RULES:
            for problem in rule(sound, sheet, reading):
                sheet.flaws.add(problem.code)  # what follows from it is not said again
                yield sheet.where, problem
    for rule in (confusion.matrices, records.records):
        yield from rule(found, reading)


def _is_blank(block: Block) -> bool:
    """All metrics exactly 0: no model has accuracy, AUROC and ECE of 0 at once."""
    return len(block.values) > 1 and "accuracy" in block.values and not any(block.values.values())


def _says_other_images(block: Block, sheet: Sheet, reading: Reading) -> bool:
    """It counts its images itself, not those of the test split, and does not call them the test split."""
    n = next((block.facts[key] for key in ("n", "n_images", "num_images", "n_samples", "num_samples")
              if is_number(block.facts.get(key))), 0)
    says = "test" in sheet.words | block.words | {str(block.facts.get("split", "")).casefold()} or any(
        "test" in words_of(name) for name in block.names.values())
    return n > 0 and n % sum(official(block, reading).counts["test"]) != 0 and not says


def _out_of_range(block: Block) -> list[str]:
    return [m for m, value in block.values.items() if value < 0 or value > 1 + 1e-6 and m != "nll"]


def whole_images(found: list[Block], sheet: Sheet, reading: Reading) -> Iterator[Problem]:
    """Accuracy · n and AUROC · 2 n0 n1 are whole on the official test split (or it is a mean over seeds)."""
    if sheet.flaws & {"wrong-n", "predictions-wrong-split"}:
        return
    failing, doubtful = [], []
    for block in found:
        if block.runs > 1:  # a mean says so: its parts are looked at one by one
            continue
        counts = official(block, reading).counts["test"]
        held = [measured(m, block.values[m], block.decimals[m], counts)
                for m in ("accuracy", "auroc", "balanced_accuracy") if m in block.values]
        held = [one for one in held if one.chance() <= NO_POWER]
        fits, chance = possible(held, block.runs)
        if held and not fits:
            (failing if chance <= NO_POWER else doubtful).append((block, held))
        elif held and chance > NO_POWER and not possible(held, 1)[0]:
            doubtful.append((block, held))
    if failing:
        yield _other_images(failing, reading)
    elif doubtful:
        block, held = doubtful[0]
        one = next((one for one in held if not possible([one], 1)[0]), held[0])
        n = f"{one.parts}" if one.name == "accuracy" else "that many pairs of the official images"
        yield Problem("not-whole", f"gives {one.name} {one.value!r}{place(block)}, which is no whole number out of "
                      f"{n}: it can be a mean over seeds, but does not say so",
                      'write "seeds": [0, 1, 2] beside it, or more digits',
                      "note")


def _other_images(failing: list[tuple], reading: Reading) -> Problem:
    """Which test set fits all of these numbers, if any."""
    block, held = failing[0]
    facts = official(block, reading)
    n, rerun = sum(facts.counts["test"]), "evaluate on the official test split, all of it: " + reading.context.rerun
    found = search([numbers for _, numbers in failing], facts.counts)
    if not found.n and len(failing) > 1:
        found = search([held], facts.counts)
    one = next((one for one in held if not possible([one], block.runs)[0]), held[0])
    value = f"{one.name} {one.value!r}"
    more = f", like {len(failing) - 1} more" if len(failing) > 1 else ""
    # Who does not say that it is one run may give a mean over more of them than are tried here.
    severity = "warning" if any(block.runs == 1 for block, _ in failing) else "note"
    if not found.n:
        what = (f"is whole for no test set of up to {arithmetic.LARGEST} images: was it typed by hand, or averaged "
                "over batches?")
        return Problem("not-whole", f"gives {value}{place(block)}{more}, which is no whole number of the official {n} "
                       f"test images and {what}", rerun, severity)
    size = found.n[0]
    if not found.only:
        some, counts = ", ".join(map(str, found.n[:3])), facts.counts["test"]
        # The AUROC alone may have been averaged (over batches, folds); an accuracy that fits other sizes was not.
        sure = one.name == "accuracy" and possible([one], block.runs)[1] < 1e-3
        return Problem("wrong-n" if sure else "not-whole", f"gives {value}{place(block)}{more}, which is no whole "
                       f"number of the official {n} test images ({counts[0]} + {counts[1]}). It fits {some} and "
                       "other sizes", rerun, "error" if sure else severity)
    splits = {sum(pair): f"the {split} split of {key}" for key, other in reading.context.contract.datasets.items()
              for split, pair in other.counts.items() if not other.phantom_of and (other == facts or split == "test")}
    if not found.counts:  # of a size and its multiples, one that is an official split is the likeliest
        size = next((k for k in found.n if k in splits), size)
    split = splits.get(size) or arithmetic.pool_of(size, facts.counts)
    also = f" ({found.counts[0]} + {found.counts[1]} by its AUROC)" if found.counts else " (or a multiple)"
    equals = f" = {arithmetic.fraction_of(one, size)}" if one.name == "accuracy" else ""
    return Problem("wrong-n", f"gives {value}{equals}{place(block)}{more}: measured on {size} images{also}, not on the "
                   f"official {n}"
                   + (f"; {split}" if split else "") + ". It compares with nobody's", rerun)


def rates(found: list[Block], sheet: Sheet, reading: Reading) -> Iterator[Problem]:
    """No confusion matrix on the official counts gives these rates together."""
    impossible, doubtful = [], []
    for block in found:
        counts = official(block, reading).counts["test"]
        said, always = contradiction(block.values, block.decimals, counts)
        if said and (always or block.runs == 1):
            impossible.append(said + place(block))
        elif said and block.runs == 0:
            doubtful.append(said + place(block))
    if impossible and not sheet.flaws & {"wrong-n", "not-whole"}:
        counts = official(found[0], reading).counts["test"]
        yield Problem("rates-contradict", f"gives {joined(impossible)}: no confusion matrix on {counts[0]} + "
                      f"{counts[1]} images has these rates together", reading.context.rerun)
    elif doubtful and not sheet.flaws & {"wrong-n", "not-whole"}:
        yield Problem("rates-contradict", f"gives {joined(doubtful)}: no single confusion matrix of the official test "
                      "split does; means over seeds can, and should say so",
                      'write "seeds": [0, 1, 2] beside them', "note")


def calibration(found: list[Block], sheet: Sheet, reading: Reading) -> Iterator[Problem]:
    """A top-label ECE cannot exceed 1 - accuracy unless bins are under-confident.

    Over-confident: ECE = confidence - accuracy <= 1 - accuracy; 0.01 for the few bins that may lie on the other side.
    Under-confident: ECE <= accuracy - 0.5, as no confidence lies below 0.5. So beyond 0.5 (and beyond 1 - accuracy)
    nothing honest is left. Not where a threshold was tuned: the accuracy there is not that of the likelier class.
    """
    large, beyond, zero = [], [], []
    for block in found:
        if "ece" not in block.values:
            continue
        ece, accuracy = block.values["ece"], block.values.get("accuracy")
        said = f"ECE {ece:.4f}" + (f" at accuracy {accuracy:.4f}" if accuracy is not None else "") + place(block)
        if ece > 0.5 and (accuracy is None or ece > 1 - accuracy + 0.01):
            beyond.append(said)
        elif accuracy is not None and not _tuned(block) and ece > 1 - accuracy + 0.01:
            large.append(said)
        elif ece == 0 and accuracy not in (None, 0, 1):
            zero.append(said)
    if beyond:
        yield Problem("ece-impossible", f"gives {joined(beyond)}: a top-label ECE lies below "
                      "0.5", reading.context.rerun)
    if large:
        yield Problem("ece-implausible", f"gives {joined(large)}: larger than 1 - accuracy, which only an "
                      "under-confident model can reach. Usual causes: labels of shape [N, 1] compared with predictions "
                      "[N], or P(class 1) on one axis and the accuracy of the predicted class on the other",
                      "y = y.squeeze(1) before any comparison, then: " + reading.context.rerun, "warning")
    if zero:
        yield Problem("ece-zero", f"gives {joined(zero)}: even a perfectly calibrated model shows some ECE on so few "
                      "images",
                      "compute it again with medssl.evaluate", "note")


def _means(found: list[Block]) -> list[Block]:
    """Where a file gives a mean, one seed below a line is spread and nothing to say: the means alone."""
    return [block for block in found if block.runs > 1] or found


def _tuned(block: Block) -> bool:
    threshold = block.facts.get("threshold")
    return is_number(threshold) and threshold != 0.5


def majority(found: list[Block], sheet: Sheet, reading: Reading) -> Iterator[Problem]:
    """Accuracy at or below that of always saying the commoner class."""
    collapsed, below = [], []
    for block in _means(found):
        if "accuracy" not in block.values or _tuned(block) or block.decimals["accuracy"] < 3:
            continue
        counts, accuracy = official(block, reading).counts["test"], block.values["accuracy"]
        rate = max(counts) / sum(counts)
        low, high = arithmetic.interval(accuracy, block.decimals["accuracy"])
        auroc = block.values.get("auroc")
        if low <= rate <= high:
            ranks = f", though it ranks (AUROC {auroc:.3f}): move the threshold" if auroc and auroc > 0.6 else ""
            collapsed.append(f"{accuracy:.4f}{place(block)}{ranks}")
        elif high < rate:
            below.append(f"{accuracy:.4f} < {rate:.4f}{place(block)}")
    if collapsed:
        yield Problem("one-class", f"gives the accuracy {joined(collapsed)}: exactly what always saying the commoner "
                      "class gives. It probably says one class only",
                      "look at the confusion matrix and the balanced accuracy", "note")
    if below:
        yield Problem("below-majority", f"gives the accuracy {joined(below)}: always saying the commoner class is "
                      "better", "say so in the README, with the balanced accuracy beside it", "note")


def ranking(found: list[Block], sheet: Sheet, reading: Reading) -> Iterator[Problem]:
    """AUROC below or at chance, and an AUROC computed from hard labels (it then equals the balanced accuracy)."""
    reversed_, chance, hard, copied = [], [], [], []
    for block in _means(found):
        if "auroc" not in block.values:
            continue
        auroc, (n0, n1) = block.values["auroc"], official(block, reading).counts["test"]
        half = 1.96 * sqrt((n0 + n1 + 1) / (12 * n0 * n1))  # of a score that knows nothing (Mann-Whitney)
        said = f"AUROC {auroc:.4f}{place(block)}"
        if 0 < auroc < 0.5 - half:
            reversed_.append(said)
        elif abs(auroc - 0.5) <= half:
            chance.append(said)
        for other, into in (("balanced_accuracy", hard), ("accuracy", copied)):
            # At three decimals and fewer, two metrics of one model are often equal.
            if block.values.get(other) == auroc and block.decimals[other] >= 4 and 0.5 < auroc < 1:
                into.append((said, block.decimals[other]))
    if reversed_:
        yield Problem("auroc-reversed", f"gives {joined(reversed_)}: worse than chance by more than noise. Scores or "
                      "classes are the wrong way round", "give roc_auc_score(y, p) the probability of class 1: "
                                                         "softmax(logits)[:, 1]",
                      "warning")
    if chance:
        yield Problem("auroc-chance", f"gives {joined(chance)}: within the noise of this test split that is no better "
                      "than chance",
                      "say so in the README; train longer, or look for swapped labels", "note")
    for pairs, what in ((hard, "the balanced accuracy to every digit: it was computed from hard labels, not from "
                         "scores"),
                        (copied, "the accuracy to every digit: one of the two was copied, or computed from hard "
                         "labels")):
        if pairs:  # at four and five decimals it still may be chance, about once in a thousand models
            yield Problem("auroc-hard", f"gives {joined([said for said, _ in pairs])}, which equals {what}",
                          "roc_auc_score(y, p) with p = softmax(logits)[:, 1], not argmax",
                          "error" if max(digits for _, digits in pairs) >= 6 else "warning")


def default_run(found: list[Block], sheet: Sheet, reading: Reading) -> Iterator[Problem]:
    """The digits of the earlier starter's default run: known, shared by many, no accusation."""
    for block in found:
        for pair, title in DEFAULT_RUNS.items():
            if all(abs(block.values.get(m, -1) - v) < 5e-5 for m, v in zip(("accuracy", "auroc"), pair, strict=True)):
                ece = block.values.get("ece", 0)
                artefact = ("; its ECE of 0.239 came from labels of shape [N, 1] (0.066 without)"
                            if abs(ece - 0.2389) < 1e-3 else "")
                yield Problem("default-run", f"gives the digits of the earlier starter's default run on {title} (head, "
                              f"5 epochs, seed 42){artefact}. Whoever runs it gets them",
                              "nothing, if that is what you ran", "note")
                return


RULES = (whole_images, rates, calibration, majority, ranking, default_run)
CHECKS = (numbers, curves.pretraining, protocol.threshold)
