"""How well a file fits a slot: 0 where the two may not meet, else a sum of what speaks for and against it."""

import re
from typing import NamedTuple

from medssl.course.checker.files.pieces import IMAGES, Piece
from medssl.course.checker.parse.filenames import ENDINGS, TOGETHER, Facts, Vocabulary
from medssl.course.checker.parse.spelling import apart
from medssl.course.contract import FileSlot

OTHER_IMAGES = (".pdf", ".svg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# Endings in which a kind may come; the second group is the wrong container, and is said to be one.
ENDINGS_OF = {
    "metrics": ((".json",), (".txt", ".md", ".log", ".jsonl", "")),
    "config": ((".json",), (".txt", ".yaml", ".yml", ".md")),
    "run": ((".json",), (".txt",)),
    "env": ((".json",), (".txt", *IMAGES)),
    "figure": (IMAGES, OTHER_IMAGES),
    "readme": ((".md",), (".txt", ".rst", ".markdown", ".pdf", ".docx", ".html", "")),
    "table": ((".md", ".csv"), (".tsv", ".txt", ".json", ".xlsx", *IMAGES)),
    "predictions": ((".csv",), (".tsv", ".txt")),
    "weights": ((".pt", ".pth", ".ckpt"), (".bin", ".safetensors", ".h5", ".npz", ".zip", ".pkl", ".txt", ".md")),
    "document": ((".md", ".pdf"), (".txt", ".docx", ".pptx", ".html", "")),
}
# What is not said means this one: no augmentation is basic, scores are of the test split.
UNSAID = {"augmentation": "basic", "split": "test"}
NEEDED = ("augmentation", "fraction", "split")  # an open one of these never fits by being silent
CONFIG_WORDS = {
    "temperature": "tau", "temp": "tau", "optim": "optimizer", "learningrate": "lr", "wd": "weightdecay",
    "bs": "batchsize", "batch": "batchsize", "encoder": "backbone", "arch": "backbone", "model": "backbone",
    "transforms": "augmentations", "augs": "augmentations", "augmentation": "augmentations", "nepochs": "epochs",
    "numepochs": "epochs", "projectiondim": "projdim", "projectordim": "projdim", "sslmethod": "method",
}
FREE_TEXT = {"report", "notes", "note", "summary", "writeup", "write", "up", "analysis", "discussion", "answers"}
TASK = re.compile(r"(?i)(?:^|[^a-z0-9])([pb][1-5])(?![a-z0-9])")


class Fit(NamedTuple):
    score: float
    why: str = ""

    def __bool__(self) -> bool:
        return self.score > 0


NOT = Fit(0)


def told_by(slot: FileSlot, vocabulary: Vocabulary) -> Facts:
    """What a slot's own name tells. A metrics slot that names no kind is one of metrics."""
    facts = vocabulary.read(slot.path.replace("{name}", " ").rpartition("/")[2] if "{" in slot.path else slot.path)
    says = dict(facts.says)
    if slot.kind in ("metrics", "predictions", "readme", "env"):
        says["kind"] = says.get("kind", frozenset()) & {"reference"} or frozenset({slot.kind})
        if slot.kind == "predictions":
            says["kind"] |= {"predictions"}
    return facts._replace(says=says)


def stem_of(name: str) -> str:
    """A file's name without its endings (README.md.txt too), without blanks and signs, in small letters."""
    while ending := ENDINGS.search(name):
        name = name[:ending.start()]
    return re.sub(r"[\W_]", "", name[-120:].casefold())


def _letters(typed: str, right: str) -> int:
    """How many letters differ, if they are few for so long a name and no number is another one; else 9."""
    most = 2 if len(right) > 8 else 1 if len(right) > 4 else 0
    letters = apart(typed, right, most)
    return letters if letters <= most and re.findall(r"\d", typed) == re.findall(r"\d", right) else 9


def task_in(name: str) -> str:
    """The extra task that a file's name mentions (P1 … B5), or ""."""
    found = TASK.search(name.rpartition("/")[2][:120].replace("_", " "))
    return found[1].upper() if found else ""


def fit(slot: FileSlot, told: dict[str, Facts], piece: Piece, context) -> Fit:
    """The fit of one piece for one slot. told: what the slots of the week tell, by path."""
    name, right = piece.item.path.name, slot.path.rpartition("/")[2]
    ending = piece.item.path.suffix.casefold()
    good, poor = ENDINGS_OF.get(slot.kind, ((), ()))
    if slot.kind == "document":  # a paper is a PDF, a note is a text
        good = (f".{right.rpartition('.')[2]}",)
    if right.endswith(".csv"):  # numbers for a program: a page of text about them is none
        good, poor = (".csv",), (".tsv", ".txt")
    if ending not in good + poor or "*" in right and slot.kind != "document":
        return NOT
    wanted, container = told[slot.path], 0 if ending in good else -1.0
    here = 0.01 * piece.item.shown.count("/")  # of two equal ones the one that lies higher
    conflict, known = _conflict(slot, wanted, piece, told), name.casefold() in map(str.casefold, slot.aliases)
    if piece.at == "" and not container and "{" not in right:
        if name.casefold() == right.casefold():
            same = name == right
            return Fit((95 if same else 90) - here, "it lies in another folder" if same else "capitals differ")
        if known and not (conflict and slot.kind == "metrics" and piece.metrics):
            return Fit(80 - here, "a name that is known for it")
        letters = 9 if conflict or task_in(name) else _letters(stem_of(name), stem_of(right))
        if letters < 9:
            return Fit(75 - here - letters, "a letter or two differ" if letters else "only signs differ")
    if known and not conflict:
        return Fit(78 - here, "a name that is known for it")
    if conflict:
        return NOT
    return _by_words(slot, wanted, piece, told, context, container - here)


def _conflict(slot: FileSlot, wanted: Facts, piece: Piece, told: dict[str, Facts]) -> bool:
    """Whether the words of a file say that it is another result than the slot's."""
    for key, values in wanted.says.items():
        said = piece.facts.says.get(key)
        if key in ("kind", "metric") and slot.kind not in ("figure", "metrics", "predictions", "table", "document"):
            continue
        if not said:
            if key in NEEDED and UNSAID.get(key) not in values and not (
                    slot.kind == "figure" and slot.required and "combined" in piece.facts.words):
                return True
        elif not said & values:
            # ResNet with all layers trained where the week only asks for its head: the same slot, another choice.
            if key == "layers" and not any(said & other.says.get(key, frozenset()) for other in told.values()):
                continue
            return True
    own, kinds = wanted.says.get("kind", frozenset()), piece.facts.says.get("kind", frozenset())
    return ("reference" in own) != ("reference" in kinds) or slot.kind == "metrics" and piece.metrics is False


def _by_words(slot: FileSlot, wanted: Facts, piece: Piece, told: dict, context, score: float) -> Fit:
    """By what the words tell; then by what the content tells."""
    says, why = piece.facts.says, []
    kinds, own = says.get("kind", frozenset()), wanted.says.get("kind", frozenset())
    named = task_in(piece.item.path.name)
    if named and context.contract.task_for(context.week.number, f"x_{named}.md") and not (
            slot.kind == "table" and kinds & own and set(piece.facts.rest) <= {named.casefold()}):
        return NOT  # an extra task's file is no core file, unless its name says just that
    if slot.kind == "config" and (hits := _config_keys(slot, piece)):
        return Fit(20 + score + hits + 2 * bool(kinds & own), "by its hyper-parameters")
    if slot.kind in ("config", "metrics") and piece.item.path.suffix.casefold() != ".json" and not piece.metrics:
        return NOT  # a text without numbers is none, whatever it is called
    if slot.kind in ("run", "env"):
        hits = len(set(map(_bare, slot.keys)) & piece.keys)
        if hits >= 4 and not piece.metrics:  # metrics name data set, seeds and backbone, too
            return Fit(20 + score + hits, "by its content")
        return Fit(10 + score, "a screenshot") if kinds & own and slot.kind == "env" else NOT
    if slot.kind == "readme":
        return _readme(wanted, piece, context, score)
    if piece.item.path.suffix.casefold() in ENDINGS_OF["weights"][0] and not kinds:  # what else is it
        kinds = frozenset({"encoder"})
    if kinds & own:
        score += 3 - 0.5 * len(kinds - own)
    elif kinds or not own:
        return NOT
    agreed, absent = 0, False
    for key, values in wanted.says.items():
        if key == "kind":
            continue
        said = says.get(key)
        if said is None:
            silent = UNSAID.get(key) in values
            absent |= not silent
            score -= 0.05 * silent
        elif said & values:
            agreed += 1
            score += 2 - 0.5 * len(said - values)
        else:
            score -= 1
            why.append(f"it is about {', '.join(map(str, sorted(said)))}, not {', '.join(map(str, sorted(values)))}")
    if not kinds & own and not agreed:
        return NOT
    if piece.facts.week not in (0, context.week.number):
        score -= 1
        why.append(f"its name says week {piece.facts.week}")
    extra = [key for key in says if key not in wanted.says and key not in ("kind", "split")
             and says[key] != {UNSAID.get(key)}]
    score -= 0.5 * absent + 0.1 * len(extra) + 0.05 * min(len(piece.facts.rest), 6)
    score -= 0.5 * bool("split" not in wanted.says and says.get("split", frozenset()) & {"val", "train"})
    return Fit(10 + score, "; ".join(why) or ("by its words" if kinds & own else "by its words and its kind"))


def _config_keys(slot: FileSlot, piece: Piece) -> int:
    """How many of a configuration's keys a JSON has, if they are enough to know it by (three, or all)."""
    wanted = set(map(_bare, slot.keys)) - {"dataset", "seed"}
    hits = len(wanted & ({CONFIG_WORDS.get(key, key) for key in piece.keys} | piece.keys))
    return hits if hits >= min(3, len(wanted)) and not (piece.metrics and hits < 5) else 0


def _readme(wanted: Facts, piece: Piece, context, score: float) -> Fit:
    kinds, rest = piece.facts.says.get("kind", frozenset()), set(piece.facts.rest)
    number = context.week.number
    if "readme" in kinds:
        other = piece.facts.week not in (0, number)
        return Fit(20 + score - 5 * other - 0.1 * len(piece.facts.rest),
                   f"it says week {piece.facts.week}" if other else "by its words")
    if kinds - {"metrics", "draft"} or piece.metrics or len(piece.facts.words) > 8:  # results_week7.md is a report
        return NOT
    known = bool(rest & FREE_TEXT or piece.facts.words & {"report", "summary"}) or piece.facts.week == number
    return Fit(5 + score + known, "the only text that can be it") if known or len(rest) < 4 else NOT


def twins(slots: list[FileSlot], told: dict[str, Facts], piece: Piece) -> bool:
    """Whether one figure is all of these slots: it names all of them, or is silent on the metric, or says `both`."""
    if any(slot.kind != "figure" for slot in slots):
        return False
    together = bool(piece.facts.words & TOGETHER) or "comparison" in piece.facts.says.get("kind", ())
    keys = {key for slot in slots for key in told[slot.path].says}
    for key in keys:
        asked = [told[slot.path].says.get(key, frozenset()) for slot in slots]
        if all(one == asked[0] for one in asked):
            continue
        said = piece.facts.says.get(key, frozenset())
        if not (all(one <= said for one in asked) or not said and (key == "metric" or together)):
            return False
    return True


def _bare(key: str) -> str:
    return re.sub(r"[\W_]", "", key.casefold())
