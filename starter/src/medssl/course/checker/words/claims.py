"""What the README says against what the files say: numbers in sentences and tables.

Something is said only where it is certain: a value is stated for a metric, and no number in the submission that can be
this metric (any model, seed, interval, spread, floor) has it at the precision in which it was written. Sentences about
other things than this folder's models (val, folds, other weeks, papers, aims) are left alone.
"""

import re
from collections.abc import Iterator

from medssl.course.checker.files.fit import task_in
from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.parse.prose import Sentence, Table
from medssl.course.checker.parse.recompute import is_number
from medssl.course.checker.reading import Reading
from medssl.course.checker.words import counted, directions, positive, promises, setups
from medssl.course.checker.words.holdings import HEDGED, MODELS, Holdings, Note, Source, identity
from medssl.course.checker.words.stated import NAMES, Stated, statements, tokens
from medssl.course.markdown import COLUMNS

Said = Iterator[tuple[str, Problem]]
MOST = 4  # claims that one finding quotes
THRESHOLDED = {"recall", "precision", "specificity", "fpr", "f1"}  # any threshold gives others


def claims(reading: Reading) -> Said:
    """All checks of what is written, on one reading of the texts."""
    held = Holdings(reading)
    if not held.notes:
        return
    yield from rendered(held)
    yield from numbers(held)
    yield from conflicts(held)
    for part in (directions.directions, directions.temperatures, setups.setups, setups.losses, counted.counts,
                 promises.named_files, promises.unfinished, positive.positive_class):
        yield from part(held)


# ------------------------------------------------------------------------------------------- what the package rendered
def rendered(held: Holdings) -> Said:
    """A rendered table says what the JSON said when it was made; else it was edited, or the JSON is of a later run."""
    metrics = {}  # model -> the metrics JSON of that name
    for path, value in held.reading.held_as("metrics").items():
        if isinstance(value, dict) and isinstance(value.get("model"), str) and path not in held.false:
            metrics.setdefault(_cell(value["model"]), []).append((path, value))
    run = next(iter(held.reading.held_as("run").values()), None)
    # The note of an extra task lies in the same folder and tells of another run.
    asked_for = {item.shown for match in held.reading.matches.values() for item in match.items}
    for note in held.notes:
        wrong = []
        for table in note.prose.tables:
            if table.block == "results":
                wrong += _wrong_rows(table, metrics)
            elif table.block == "run" and isinstance(run, dict) and note.item.shown in asked_for:
                wrong += _wrong_run(table, run)
        if wrong:
            yield note.item.shown, Problem(
                "readme-number", f"has a rendered table that was edited, or is from another run: "
                                 f"{'; '.join(wrong[:MOST])}",
                f"let the notebook render it again ({held.reading.context.rerun}); write outside of the markers")


def _cell(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).strip()


def _wrong_rows(table: Table, metrics: dict[str, list]) -> list[str]:
    """What a row of the metrics table says against each JSON of that model; one that fits is enough."""
    columns = {k: COLUMNS[head] for k, head in enumerate(table.header) if head in COLUMNS}
    wrong = []
    for row in table.rows if table.header[:1] == ["Model"] and len(columns) > 2 else ():
        tries = []
        for path, block in metrics.get(_cell(row[0]), ()):
            spread = block["std"] if isinstance(block.get("std"), dict) else {}
            tries.append([f"{table.header[k]} of {clean(row[0], 40)} is {clean(row[k], 30)}, {path} has "
                          f"{block[key]:.3f}"
                          for k, key in columns.items() if k < len(row) and is_number(block.get(key))
                          and not _same(row[k], block[key], spread.get(key))])
        wrong += min(tries, key=len) if tries else []
    return wrong


def _same(cell: str, value: float, spread: object) -> bool:
    """Whether "0.836 ± 0.064" is the value, and its spread where both have one. Three digits are rendered."""
    found = [float(t.value) for t in tokens(cell[:80]) if t.kind == "number"]
    same = bool(found) and abs(found[0] - value) <= 6e-4
    return same and (len(found) < 2 or not is_number(spread) or abs(found[1] - spread) <= 6e-4)


def _wrong_run(table: Table, run: dict) -> list[str]:
    """Rows of the table of settings that run.json contradicts (numbers and words; longer values are left alone)."""
    parameters = run.get("parameters") if isinstance(run.get("parameters"), dict) else {}
    truth = {key: value for key, value in parameters.items() if isinstance(value, (int, float, str)) and value != ""}
    truth |= {"Split hash": run.get("split_hash"), "Backbone": run.get("backbone")}
    if isinstance(run.get("seeds"), list):
        truth["Seeds"] = ", ".join(map(str, run["seeds"][:200]))
    return [f"{clean(row[0], 30)} is {clean(row[1], 40)}, run.json has {clean(_cell(truth[row[0]]), 40)}"
            for row in table.rows if len(row) == 2 and truth.get(row[0]) is not None
            and _bare(row[1]) != _bare(_cell(truth[row[0]]))]


def _bare(text: str) -> str:
    return re.sub(r"[\s*_`|\\<]|&lt;", "", text[:300])


# ------------------------------------------------------------------------------------- what the student wrote, and JSON
def numbers(held: Holdings) -> Said:
    """Metrics in sentences and in the student's own tables; one finding a file."""
    for note in held.notes:
        if note.kind == "table" and not held.sources:
            continue
        wrong = []
        if note.kind != "table":
            for sentence in note.prose.sentences:
                wrong += [_say(one, sentence.line, held, _of_another(one, sentence, held)) for one in _stated(sentence)
                          if _contradicted(one, sentence, held)]
        for table in () if task_in(note.item.path.name) else note.prose.tables:  # a task has runs of its own
            if not table.block:
                wrong += list(_wrong_cells(note, table, held))
        if wrong:
            what, fix = wrong[0]
            more = f" (and {len(wrong) - MOST} more)" if len(wrong) > MOST else ""
            yield note.item.shown, Problem("readme-number", f"says {'; '.join(w for w, _ in wrong[:MOST])}{more}. "
                                           "A reader cannot tell which of the two is the result", fix, "warning")


def _stated(sentence: Sentence, metric: str = "") -> list[Stated]:
    """The values of one metric (or of any) that a sentence gives."""
    return [one for one in statements(sentence.text) if one.kind == "value" and one.metric != "loss"
            and metric in ("", one.metric)]


def _contradicted(one: Stated, sentence: Sentence, held: Holdings) -> bool:
    """Whether no number of this submission can be what is stated."""
    if not held.of(one.metric) or held.about_others(sentence.text, sentence.heading, one.metric):
        return False
    if one.metric in THRESHOLDED or one.metric == "accuracy" and held.reading.hand_in.week.number == 7:
        return False
    hedged, average = bool(HEDGED.search(sentence.text)), bool(_AVERAGE.search(sentence.text))
    if not _known(one, held, hedged, average):
        return True
    return not (hedged or average) and _of_another(one, sentence, held) is not None


def _of_another(one: Stated, sentence: Sentence, held: Holdings) -> Source | None:
    """The one model that the sentence names, if it gives this metric once and with a value that this model has not."""
    if COMPARED.search(SAME_MODEL.sub(" ", sentence.text)) or len(_stated(sentence, one.metric)) != 1:
        return None
    source = held.chosen(sentence.text, "", one.metric)
    if source is None or source.shown.rpartition("/")[2] in held.false:
        return None
    own = [leaf for leaf in held.central if leaf.shown == source.shown]
    twins = [s for s in held.of(one.metric) if s.shown == source.shown]
    return source if len(twins) == 1 and not held.near(one.metric, one.value, one.unit, own) else None


COMPARED = re.compile(r"\b(?:than|unlike|compared?|comparison|vs|versus|against|over|instead|while|whereas|but|both|"
                      r"and|or|from|to|between|like|as|same|equal\w*|of the two|it|its|this|that|which)\b|→|->|/", re.I)


# "accuracy 84 % and AUROC 0.605" tells two metrics of one model: this "and" compares nothing.
SAME_MODEL = re.compile(r"(?<=[\d%])[ ,]{1,2}and (?:an? |its |the )?(?=(?:test )?(?:auroc|auc|acc|accuracy|balanced|"
                        r"ece|nll|brier|f1)\b)", re.I)
_AVERAGE = re.compile(r"±|\+/-|\b(?:mean|average|avg|runs|median|best|std)\b", re.I)


def _known(one: Stated, held: Holdings, hedged: bool, average: bool) -> bool:
    unit = max(3 * one.unit, 0.015) if hedged else one.unit
    if held.near(one.metric, one.value, unit) or any(abs(v - one.value) <= unit + 1e-9 for v in held.elsewhere):
        return True
    values = [leaf.value for leaf in held.leaves if leaf.metric == one.metric]
    # A mean over files lies between them: the mean need not stand anywhere.
    return average and len(values) > 1 and min(values) - unit <= one.value <= max(values) + unit


def _say(one: Stated, line: int, held: Holdings, source: Source | None = None) -> tuple[str, str]:
    """(what is said against what stands in the nearest JSON block, the fix)"""
    there = [source] if source else held.of(one.metric)
    best = min(there, key=lambda s: abs(s.block.values[one.metric] - one.value))
    value, name = best.block.values[one.metric], one.metric.replace("_", " ")
    name = name.upper() if name in ("auroc", "ece", "nll", "auprc", "f1") else name
    file = best.shown.rpartition("/")[2] + (f" ({clean(best.block.at, 40)})" if best.block.at else "")
    shown = f"{value:.4f}".rstrip("0") + (f" ({100 * value:.1f} %)" if "%" in one.text else "")
    only = "gives" if source or len(there) == 1 else "comes nearest with"
    right = f"{100 * value:.1f} %" if "%" in one.text else f"{value:.3f}"
    return (f"{name} {clean(one.text, 20)} (line {line}), {clean(file, 80)} {only} {shown}",
            f"line {line}: write {right}, or hand in the run that gave {clean(one.text, 20)}")


def _wrong_cells(note: Note, table: Table, held: Holdings) -> Iterator[tuple[str, str]]:
    """Cells under (or beside) a metric's name that the block which the row's words choose does not have."""
    heading = f"{table.heading} {note.item.path.stem.replace('_', ' ')}"
    rows: dict[str, list[Source]] = {}  # metric -> the blocks that rows of this table mean
    for label, metric, _ in list(_metric_cells(table))[:400]:
        if (source := held.chosen(label, heading, metric)) is not None:
            rows.setdefault(metric, []).append(source)
    for k, (label, metric, cell) in enumerate(_metric_cells(table)):
        one = _cell_value(cell, metric)
        if k > 400 or one is None or not held.of(metric):
            continue
        words = f"{label} {' '.join(table.header) if len(table.rows) == 1 else ''}"
        if held.about_others(words, table.heading, metric) or metric in THRESHOLDED:
            continue
        if re.search(r"\b(?:threshold|rule|split|tpr|fpr|target)\b", " ".join(table.header), re.I):
            continue  # a row for each operating point, or for each split
        if held.strange(label, metric):
            continue
        source = held.chosen(label, heading, metric)
        if source is not None:
            leaves = [leaf for leaf in held.leaves if leaf.shown == source.shown]
            wrong = source.shown.rpartition("/")[2] not in held.false and not held.near(
                metric, one.value, one.unit, leaves)
            # The number of another block: only where a row of the table means that block, the two are exchanged.
            owners = [s for s in held.of(metric) if s is not source and abs(s.block.values[metric] - one.value)
                      <= one.unit + 1e-9]
            if wrong and (not owners or any(s in rows.get(metric, ()) for s in owners)):
                yield _say(one, table.line, held, source)
        elif _results_of(table) <= len(held.of(metric)) and not _known(one, held, "~" in cell, "±" in cell):
            yield _say(one, table.line, held)


def _metric_cells(table: Table) -> Iterator[tuple[str, str, str]]:
    """(the words of the row and what else labels the cell, metric, cell), also of a table with a metric in each row."""
    heads = [_metric_of(head) for head in table.header]
    for row in table.rows[:200]:
        labels = " ".join(c for c, head in zip(row, heads, strict=False) if not head)
        if any(heads):
            yield from ((labels, head, c) for c, head in zip(row, heads, strict=False) if head)
        elif row and (metric := _metric_of(row[0])):
            yield from ((f"{row[0]} {head}", metric, c) for c, head in zip(row[1:], table.header[1:], strict=False))


def _results_of(table: Table) -> int:
    """How many results a table lists: its rows, or its columns where each row is a metric."""
    return len(table.rows) if any(map(_metric_of, table.header)) else max(1, len(table.header) - 1)


def _metric_of(head: str) -> str:
    """The one metric that a header names; "" where it names none, several, or a spread or change of one."""
    named = {str(t.value) for t in tokens(head[:80]) if t.kind == "metric"}
    if len(named) != 1 or re.search(r"\b(?:std|sd|ci|change|delta|drift|floor|if|gap|interval|val|train\w*)\b|[Δ±+]|\[",
                                    head, re.I):
        return ""
    return next(iter(named & set(NAMES) - {"loss"}), "")


def _cell_value(cell: str, metric: str) -> Stated | None:
    """The number of a cell ("0.84 ± 0.01", "84 %", "0.84 (0.80-0.88)"), None where it is no single value."""
    found = [t for t in tokens(cell[:80]) if t.kind in ("number", "metric", "arrow")]
    if not found or found[0].kind != "number" or not re.match(r"\W{0,2}\d|\W{0,2}\.\d", cell) or cell[:1] in "+−-<>≥≤±":
        return None
    if any(t.kind == "arrow" for t in found) or "/" in cell:
        return None
    stated = statements(f"{metric.replace('_', ' ')} {found[0].text}")
    return stated[0] if len(stated) == 1 and stated[0].metric == metric and stated[0].kind == "value" else None


# ------------------------------------------------------------------------------------------------ text against text
def conflicts(held: Holdings) -> Said:
    """A metric that no JSON gives, stated differently for one and the same thing; an AUROC on both sides of chance."""
    seen: dict[tuple, list[tuple[Stated, Note, int]]] = {}
    for note in held.notes if len(held.notes) else ():
        for sentence in note.prose.sentences if note.kind != "table" else ():
            for one in _stated(sentence):
                if one.metric in THRESHOLDED or held.about_others(sentence.text, sentence.heading, one.metric):
                    continue
                if HEDGED.search(sentence.text) or _AVERAGE.search(sentence.text) or one.joint:
                    continue
                words = identity(sentence.text) & MODELS
                words |= identity(sentence.heading) & MODELS if not words else set()
                seen.setdefault((one.metric, words), []).append((one, note, sentence.line))
    for (metric, words), all_of in sorted(seen.items(), key=lambda kv: (kv[0][0], sorted(kv[0][1]))):
        if held.of(metric):
            continue  # held against the JSON already
        first = all_of[0]
        for other in all_of[1:]:
            apart = abs(first[0].value - other[0].value) > 2 * max(first[0].unit, other[0].unit) + 1e-9
            if apart and (words or first[1] is not other[1]):
                about = f" of one model ({', '.join(sorted(words))})" if words else ""
                yield other[1].item.shown, Problem(
                    "readme-number", f"gives {metric}{about} as {other[0].text} (line {other[2]}), and "
                    f"{first[1].item.path.name} (line {first[2]}) as {first[0].text}: one of them is from another run",
                    "keep the number that the metrics JSON has, and hand in that JSON", "warning")
                break
