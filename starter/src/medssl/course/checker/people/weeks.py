"""One person's weeks: is the supervised reference the same in all of them, and are the scores that are passed on?

A comparison with a weak rerun of the baseline is the commonest way in which self-supervision "wins": week 3 locks one
reference, and weeks 5 to 7 take its scores as they are.
"""

import re
from collections.abc import Iterator

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.people.compared import Numbers, Scores, told
from medssl.course.checker.people.copies import by_person
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[dict, str, Problem]]
# Less changes no conclusion: on the larger test set the 95 % interval of a good AUROC is +- 0.012.
NEAR = 0.01
FAR = 0.03  # one training against one training of a probe that is deterministic: no rounding explains this
MOST_LINES, MOST_ROWS = 2000, 20


def rows_of(reading: Reading) -> list[Numbers]:
    """What the tables of a README of weeks 5 and 6 give for the supervised model on all labels."""
    found: list[Numbers] = []
    for item in reading.files() if reading.context.week.number in (5, 6) else ():
        header, rendered = [], False
        for line in (reading.text_of(item) or "").splitlines()[:MOST_LINES]:
            if marker := re.match(r"<!-- (/?)medssl:", line):
                rendered = not marker[1]
            if "|" not in line:
                header = []
                continue
            cells = [cell.strip().casefold() for cell in line[:400].strip().strip("|").split("|")]
            if len(cells) < 2 or rendered:  # what the package rendered comes from the JSON
                header = []
            elif not header:
                header = [_metric(cell) for cell in cells]
            elif _is_supervised(cells[0]) and len(found) < MOST_ROWS:
                values = {m: v for m, cell in zip(header, cells, strict=False) if m and (v := _value(cell)) is not None}
                if len(values) > 1:
                    found.append(Numbers(item.shown, cells[0][:60], {"how": "supervised"}, values, 0, {}))
    return found


def _metric(cell: str) -> str:
    bare = re.sub(r"[^a-z]", "", cell.replace("test", ""))
    names = {"acc": "accuracy", "accuracy": "accuracy", "auroc": "auroc", "auc": "auroc", "rocauc": "auroc"}
    return names.get(bare, "")


def _is_supervised(cell: str) -> bool:
    """All labels, not the supervised model on a tenth of them."""
    share = re.search(r"(\d{1,3}(?:\.\d+)?) ?(?:%|pct)", cell)
    named = re.search(r"supervised", re.sub(r"self-?supervised|ssl", "", cell))
    return bool(named) and (not share or float(share[1]) == 100)


def _value(cell: str) -> float | None:
    number = re.match(r"\W{0,3}(\d{1,3}(?:\.\d{1,17})?) ?(%?)", cell)
    value = float(number[1]) / (100 if number[2] else 1) if number else 2
    return value if 0 < value <= 1 else None


def another_reference(graded: list[dict]) -> Said:
    """Weeks 5 and 6 against the reference of week 3: its predictions row by row, else the numbers."""
    for mine in by_person(graded).values():
        locked, known = _locked(mine), [n for s in mine if s["week"] <= 3 for n in s["_evidence"].get("numbers", ())]
        own = [n for n in known if "reference" in n.shown.rpartition("/")[2]]
        if not own:  # nothing was locked: any model may have been meant, if one was trained on the whole at all
            own = [n for s in mine if s["week"] == 3 for n in s["_evidence"].get("numbers", ())]
            own = own if any(n.subject.get("regime") == "all" for n in own) else []
        for s in (s for s in mine if s["week"] in (5, 6)):
            again = next((x for x in s["_evidence"].get("scores", ()) if "supervised" in x.file), None)
            if locked and again:
                shared = locked.seeds.keys() & again.seeds.keys()
                if any(locked.seeds[seed] == again.seeds[seed] for seed in shared) or not (locked.mean and again.mean):
                    continue
                yield s, again.shown, _another(again.mean, locked.mean, locked.shown, _far(again.mean, locked.mean))
                continue
            numbers = [n for n in (*s["_evidence"].get("numbers", ()), *s["_evidence"].get("rows", ()))
                       if n.subject.get("how") == "supervised" and n.subject.get("fraction", 1) == 1]
            strange = [n for n in numbers if own and all(_far(n.values, one.values) for one in own)]
            if strange:
                best = max(own, key=lambda n: (n.subject.get("regime") != "head", n.values.get("auroc", 0)))
                yield s, strange[0].shown, _another(strange[0].values, best.values, best.shown, True)


def _locked(mine: list[dict]) -> Scores | None:
    return next((x for s in mine if s["week"] == 3 for x in s["_evidence"].get("scores", ())
                 if "reference" in x.file and x.split == "test"), None)


def _far(a: dict, b: dict) -> bool:
    return any(abs(a[m] - b[m]) > NEAR for m in ("accuracy", "auroc") if m in a and m in b)


def _another(values: dict, locked: dict, shown: str, far: bool) -> Problem:
    here, there = (", ".join(f"{m} {v[m]:.4f}" for m in ("accuracy", "auroc") if m in v) for v in (values, locked))
    why = ("what beats it has beaten a rerun, not the reference" if far else
           "the difference is small, but no row is the same: it was trained again")
    return Problem("another-reference", f"has a supervised baseline of {here}; week 3's {clean(shown, 120)} has "
                   f"{there}: {why}", "take week 3's reference as it is: copy its predictions, and metrics from them",
                   "warning" if far else "note")


def scores_of_no_week(graded: list[dict]) -> Said:
    """Week 7 looks at a model of week 3 or 6; a calibrated copy keeps the order of p, and passes."""
    for mine in by_person(graded).values():
        earlier = [x for s in mine if s["week"] in (3, 6) for x in s["_evidence"].get("scores", ())]
        named = " ".join(x.file for x in earlier)
        ranks = {digest for x in earlier for digest in x.ranks.values()}
        for s in (s for s in mine if s["week"] == 7 and "reference" in named and "finetune" in named):
            scores = s["_evidence"].get("scores", ())
            here = next((x for x in scores if x.file == "predictions_test.csv"), None)
            if here and here.ranks and not set(here.ranks.values()) & ranks and not stand_ins(s):
                yield s, here.shown, Problem(
                    "scores-of-no-week", "holds scores of a model that neither week 3 nor week 6 handed in: its "
                    "operating point is not that of the models you compared", "take predictions of week 3's reference "
                    f"or week 6's fine-tuned model, then {s['_evidence'].get('rerun', '')}", "warning")


def probes_apart(graded: list[dict]) -> Said:
    """The probe of one encoder on one fraction of labels, in week 5 and again in week 6."""
    for mine in by_person(graded).values():
        five, six = ([(s, n) for s in mine if s["week"] == week and not stand_ins(s) for n in s["_evidence"].get(
            "numbers", ()) if n.subject.get("how") == "probe"] for week in (5, 6))
        for s, b in six:
            same = [a for _, a in five if a.subject.get("fraction", b.subject.get("fraction")) == b.subject.get(
                "fraction", a.subject.get("fraction"))]
            gaps = [_gap(a, b) for a in same]
            if gaps and min(gaps) > 1:
                a = same[gaps.index(min(gaps))]
                yield s, b.shown, Problem(
                    "probes-apart", f"gives {_two(b)} for {told(b.subject)}; week 5's {a.shown.rpartition('/')[2]} "
                    f"gives {_two(a)}: one encoder, one fraction, two results. Are encoder and labels the same?",
                    "take week 5's probe as it is, or say what was changed", "warning")


def _gap(a: Numbers, b: Numbers) -> float:
    """By how many times what chance allows two probes differ: 3 standard errors where the spread is known."""
    ratios = []
    for metric in ("accuracy", "auroc"):
        if metric in a.values and metric in b.values:
            error = sum(x.spread.get(metric, 0) ** 2 / max(x.runs, 1) for x in (a, b)) ** 0.5
            ratios.append(abs(a.values[metric] - b.values[metric]) / max(FAR, 3 * error))
    return max(ratios, default=0)


def _two(n: Numbers) -> str:
    return ", ".join(f"{m} {n.values[m]:.4f}" for m in ("accuracy", "auroc") if m in n.values)


STAND_INS = re.compile(r"\bweek (\d{1,2}) not found for [^:]{1,80}: (?:the course's own|a short run)", re.I)


def stand_ins(s: dict) -> list[str]:
    """The weeks whose work another's stood in for, by the words that medssl.earlier leaves in run.json."""
    return sorted(set(STAND_INS.findall(s["_evidence"].get("notes", ""))))


def not_their_own(graded: list[dict]) -> Said:
    for s in graded:
        if weeks := stand_ins(s):
            short = "a short run's" if "short run" in s["_evidence"]["notes"] else "the course's own"
            yield s, s["folder"], Problem(
                "stand-in", f"rests on {short} work for week {' and '.join(weeks)} (run.json says so): these numbers "
                "are not about a model of their own",
                f"hand in week {weeks[0]}, then {s['_evidence'].get('rerun', '')}", "note")


def another_dataset(graded: list[dict]) -> Said:
    """From one week to the next the other data set: earlier weeks' models are then of no use."""
    for name in sorted({s["name"] for s in graded}):
        before: set[str] = set()
        mine = [s for s in graded if s["name"] == name and s["dataset"] and s["week"] <= 7 and not s["tasks"]]
        for week in sorted({s["week"] for s in mine}):
            here = [s for s in mine if s["week"] == week]
            sets = {s["dataset"].replace("phantom", "mnist") for s in here}  # a trial on phantoms changes nothing
            if before and not sets & before:
                yield here[0], here[0]["folder"], Problem(
                    "dataset-changed", f"is about {clean(here[0]['dataset'], 40)}, the weeks before about "
                    f"{clean(', '.join(sorted(before)), 80)}: what those weeks left is of no use here",
                    "nothing, if it is meant; else keep one data set through weeks 1 to 7", "note")
                break
            before |= sets


def random_and_pretrained(graded: list[dict]) -> Said:
    """One person's ResNets of weeks 2 and 3, one from random weights and one from pretrained ones: no comparison."""
    for mine in by_person(graded).values():
        before: dict[bool, dict] = {}  # from random weights or not -> the first week of the kind
        for s in (s for s in mine if s["week"] in (2, 3) and s["backbone"]):
            before.setdefault(s["backbone"] == "random", s)
        if len(before) == 2:
            s, other = before[True], before[False]
            yield s, s["folder"], Problem(
                "random-backbone", f"trained its ResNet from random weights, week {other['week']} from "
                f"{clean(other['backbone'], 40)}'s: the difference between the two is that of the weights",
                f"{s['_evidence'].get('rerun', 'run it again')} -p WEIGHTS=imagenet", "note")


CHECKS = (random_and_pretrained, another_reference, scores_of_no_week, probes_apart, not_their_own, another_dataset)
