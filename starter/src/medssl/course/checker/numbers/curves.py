"""The pretraining of week 4: does the loss curve belong to the configuration, and can it be a contrastive loss?"""

import csv
import math
import re
from collections.abc import Iterator

import numpy as np

from medssl.course.checker.numbers.sheets import few
from medssl.course.checker.parse.handed_in import Problem
from medssl.course.checker.parse.numerals import decimals_of, numeral
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.parse.values import words_of
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[str, Problem]]
MOST_ROWS = 50_000
VALUE = r"(?<![\d.])(\d{1,2}\.\d{1,6})"
ENDS = re.compile(rf"(?i)\bloss\b.{{0,80}}?{VALUE}\)?\s{{0,3}}(?:→|->|=>|to|down to|–)\s{{0,3}}~?{VALUE}")
FIRST = re.compile(rf"(?i)\bloss\b.{{0,40}}?\b(?:start\w{{0,3}}|began|begin\w{{0,3}})\b.{{0,20}}?{VALUE}")
EPOCHS = ("epochs", "num_epochs", "n_epochs")
EARLY = r"patience|early_?-?stop|max_epochs"  # who stops early ends before the epochs that were allowed
LOSSES = ("loss", "losses", "ssl_loss", "train_loss", "loss_history", "epoch_losses", "loss_per_epoch", "loss_curve")
# The first loss, as a share of ln(2B - 1). The mean over a first epoch of 37 steps lay at 0.57 to 0.63 of it in an
# earlier cohort (B = 128), and a pretrained backbone may start lower: at ln(1 + 254 exp(-3.25)) = 0.43 of it with
# cosines of 0.95 between views and 0.3 between strangers, tau = 0.2. Made-up curves began at 0.19. Above: strangers'
# cosines with a variance of 1/D add 1 / (2 D tau^2) <= 1.6 to chance for D = 128 and tau >= 0.05.
LOWEST, ABOVE = 0.35, 1.6
# The mean over a long first epoch can lie anywhere below: there only curves that a formula drew are looked at.


class Curve:
    """One run's losses: `losses` in order, and the epoch of each where it was written down."""

    def __init__(self, where: str, losses: list[float], epochs: list[float] = ()):
        self.where, self.losses, self.epochs = where, losses, list(epochs)


def pretraining(reading: Reading) -> Said:
    """The loss curve (or what the README tells of it) against ssl_config.json and ln(2B - 1)."""
    if reading.context.week.number != 4:
        return
    config, curves = _config(reading), _curves(reading)
    for curve in curves[:1]:  # one finding a cause: the seeds of one file share it
        yield from ((curve.where, problem) for problem in _shape(curve, config, reading.context.rerun))
    starts = [(curve.where, problem) for curve in [*curves[:1], *_told(reading)]
              for problem in _start(curve, config, reading.context.rerun)]
    yield from starts[:1]


def _config(reading: Reading) -> dict:
    held = reading.held.get("ssl_config.json")
    return held if isinstance(held, dict) else {}


def _number(config: dict, *names: str) -> float | None:
    found = (numeral(one) for key, one in list(config.items())[:200] if str(key).casefold() in names)
    return next((n.value for n in found if n and n.value > 0), None)


def _curves(reading: Reading) -> list[Curve]:
    """Every loss curve in a CSV, or in a list of a JSON (also one line an epoch)."""
    out = []
    for item in few(reading):
        ending, about = item.path.suffix.casefold(), set(words_of(item.path.stem))
        if ending == ".csv" and about & {"loss", "ssl", "log", "history"}:
            out += _from_csv(item.shown, reading.text_of(item) or "")
        elif ending in (".json", ".txt") and item.size < 500_000:
            out += _from_json(item.shown, reading.json_of(item))
    return [curve for curve in out if curve.losses]


def _from_csv(where: str, text: str) -> list[Curve]:
    rows = csv.reader(text.splitlines()[:MOST_ROWS])
    try:
        header = [cell.strip().casefold() for cell in next(rows, [])]
        at = next((k for k, name in enumerate(header) if name in LOSSES), None)
        if at is None:
            return []
        epoch = header.index("epoch") if "epoch" in header else None
        seed = header.index("seed") if "seed" in header else None
        runs: dict[str, Curve] = {}
        for row in rows:
            if len(row) == len(header) and (loss := numeral(row[at])):
                curve = runs.setdefault(row[seed] if seed is not None else "", Curve(where, []))
                curve.losses.append(loss.value)
                if epoch is not None and (number := numeral(row[epoch])):
                    curve.epochs.append(number.value)
        return list(runs.values())
    except csv.Error:
        return []


def _from_json(where: str, value: object, level: int = 0) -> list[Curve]:
    if isinstance(value, list) and len(value) > 1 and all(isinstance(one, dict) for one in value[:50]):
        lines = [one for one in value[:MOST_ROWS] if isinstance(one, dict) and "epoch" in one]
        key = next((key for key in LOSSES if lines and is_number(lines[0].get(key))), None)
        good = [one for one in lines if key and is_number(one.get(key)) and is_number(one["epoch"])]
        return [Curve(where, [one[key] for one in good], [one["epoch"] for one in good])] if good else []
    if not isinstance(value, dict) or level > 4:
        return []
    out = []
    for key, one in list(value.items())[:200]:
        numbers = isinstance(one, list) and one and all(map(is_number, one[:MOST_ROWS]))
        if numbers and str(key).casefold() in LOSSES:
            out.append(Curve(where, [float(x) for x in one[:MOST_ROWS]]))
        elif isinstance(one, (dict, list)) and not numbers:
            out += _from_json(where, one, level + 1)
    return out


def _told(reading: Reading) -> list[Curve]:
    """The two ends of the loss that the README tells ("loss fell from 3.46 to 1.14", "4.0 -> 1.55")."""
    for item in few(reading):
        text = (reading.text_of(item) or "")[:50_000] if item.path.suffix.casefold() in (".md", ".txt") else ""
        for line in text.splitlines():
            ends = ENDS.search(line[:500])
            if ends:
                return [Curve(item.shown, [float(ends[1]), float(ends[2])])]
            first = FIRST.search(line[:500])
            if first:
                return [Curve(item.shown, [float(first[1])])]
    return []


def _shape(curve: Curve, config: dict, rerun: str) -> Iterator[Problem]:
    """Enough points, as many epochs as configured, and a loss that falls."""
    losses, epochs, steps = curve.losses, _number(config, *EPOCHS), _number(config, "steps")
    if len(losses) <= 3 and (epochs or 30) > 3:
        yield Problem("loss-curve-short", f"has {len(losses)} points ({', '.join(f'{x:g}' for x in losses)}); the "
                      f"configuration says {epochs or 30:g} epochs: it is of a trial, not of the encoder that is "
                      "handed in", rerun)
        return
    last = max(curve.epochs) + (min(curve.epochs) == 0) if curve.epochs else len(losses)
    # One epoch more or less is a matter of counting. Without a column `epoch`, points may stand for steps too.
    whole = epochs is None or abs(last - epochs) <= 1 or not curve.epochs and steps and (
        len(losses) == steps or steps % len(losses) == 0)
    if not whole and not curve.epochs and len(losses) > epochs:
        whole = len(losses) % epochs == 0 or len(losses) > 3 * epochs  # a point a step
    if last < (epochs or 0) and any(re.search(EARLY, str(key)[:50].casefold()) for key in list(config)[:200]):
        whole = True
    if not whole:
        yield Problem("loss-curve-length", f"ends after {last:g} epochs; ssl_config.json says {epochs:g}: the encoder, "
                      "its curve or its configuration is of another run", rerun, "warning")
    third = max(1, len(losses) // 3)
    start, end = sum(losses[:third]) / third, sum(losses[-third:]) / third
    if max(losses) == min(losses):
        yield Problem("loss-constant", f"has the same loss {losses[0]:g} at every point: nothing was learnt, or "
                      "nothing was logged",
                      "log the loss of each step, and look at the gradients", "warning")
    # 1 %: a plateau from the start is noise around one value.
    elif len(losses) >= 5 and end > start * 1.01 and not _is_moco(config):
        yield Problem("loss-rising", f"rises from {start:.3f} (first third) to {end:.3f} (last third): the training "
                      "diverged",
                      "lower the learning rate, or raise the temperature", "warning")


def _is_moco(config: dict) -> bool:
    """Its loss may rise honestly: the queue fills with negatives."""
    return "moco" in str(config.get("method", ""))[:200].casefold()


def _is_per_epoch(curve: Curve, config: dict) -> bool:
    return bool(curve.epochs) or len(curve.losses) == _number(config, *EPOCHS)


def _is_drawn(losses: list[float]) -> bool:
    """Three points and fewer, or a straight line or a geometric row to the digits that were written: a placeholder."""
    values = np.array(losses[:1000])
    if len(values) <= 3:
        return True
    digits = min(max(map(decimals_of, map(repr, losses[:1000]))), 6)
    k, unit = np.arange(len(values)), 10.0**-digits
    line = np.linspace(values[0], values[-1], len(values))
    row = values[0] * (max(values[-1], unit) / max(values[0], unit))**(k / k[-1])
    # Half a unit where it was written, and as much again from each of the two ends.
    return digits > 2 and any((np.abs(values - drawn) <= 1.5 * unit).all() for drawn in (line, row))


def _start(curve: Curve, config: dict, rerun: str) -> Iterator[Problem]:
    """The first loss near chance: ln(2B - 1) for SimCLR with B pairs; at most ln(K + 1) for MoCo with a queue of K.

    MoCo has no lower bound: its two encoders start equal, so positives agree before anything is learnt.
    """
    method = str(config.get("method", "")).casefold()
    batch, queue = _number(config, "batch_size", "batch", "bs"), _number(config, "queue_size", "queue", "k")
    first = curve.losses[0]
    if _is_moco(config) and queue:
        chance, name, low = math.log(queue + 1), f"ln(K + 1) = ln {queue + 1:.0f}", 0.0
    elif ("simclr" in method or "xent" in method) and batch and batch > 1:
        chance, name, low = math.log(2 * batch - 1), f"ln(2B - 1) = ln {2 * batch - 1:.0f}", LOWEST
    else:
        return
    if _is_per_epoch(curve, config) and not _is_drawn(curve.losses):
        low = 0.0
    if not low * chance <= first <= chance + ABOVE:
        side = "below" if first < chance else "above"
        yield Problem("loss-start", f"begins at {first:.3g}, far {side} {name} = {chance:.2f}, where an untrained "
                      "encoder stands: it is of another batch size or loss, begins later, or was made up",
                      f"log step 0, and compare: {rerun}", "warning")
