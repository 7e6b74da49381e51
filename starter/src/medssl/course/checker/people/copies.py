"""Equal numbers where different models were trained, without false alarms: who shares a starter shares its digits.

Between people nothing but predictions is compared (all of p, to 9 digits, seed by seed), and equal ones are excused
where the settings are equal too. Within one person's weeks equal metrics count as well, where they are said to be of
different models: all that both files give, at least two with four digits or more.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations, product

from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.people.compared import Numbers, Scores, differ, told
from medssl.course.checker.reading import Reading
from medssl.course.names import in_any_order

Said = Iterator[tuple[dict, str, Problem]]
REFERENCE = "reference"  # the name under which the course's own hand-ins lie
# Week 6 repeats week 3's model under this name, and week 7 one of both: these are compared where they were made.
REPEATED = "supervised_baseline"
WRONG = {"metric-mismatch", "same-predictions"}  # said of a file: its numbers or predictions are another run's


def seeds_without_effect(reading: Reading) -> Iterator[tuple[str, Problem]]:
    """Different seeds, the very same p: the seed was never set, or one block was copied."""
    for file, by_seed in reading.held_as("predictions").items():
        block = next((reading.held.get(s.path) for s in reading.slots if s.predictions == file), None)
        if not isinstance(by_seed, dict) or isinstance(block, dict) and block.get("label_fraction") == 1:
            continue  # a probe on all labels is the same in every draw of labels
        first: dict[bytes, int] = {}
        for seed, (_, p) in by_seed.items():
            rounded = p.round(9)
            twin = first.setdefault(rounded.tobytes(), seed)
            if twin != seed and len(set(rounded.tolist())) >= 10:  # a collapsed model says the same under every seed
                yield reading.found(file), Problem(
                    "seed-without-effect", f"holds the same {len(p)} probabilities for seeds {twin} and {seed}, to "
                    "nine digits: two trainings never end alike, so the spread over seeds is that of one run",
                    f"set the seed before each training, then {reading.context.rerun}")
                break


def between_models(graded: list[dict]) -> Said:
    """One person, one set of predictions, two different models."""
    for s, t, a, b, seed in _own_twins(graded):
        yield t, b.shown, Problem(
            "same-predictions", f"holds the very predictions of {_place(s, t, a.shown)} (seed {seed}, to nine "
            f"digits), but one is {told(a.subject)} and the other {told(b.subject)}: two models never agree in "
            "every digit, so one of the two files was copied or made with the other's weights", _rerun(t))


def _own_twins(graded: list[dict]) -> Iterator[tuple[dict, dict, Scores, Scores, int]]:
    """(submission, submission, scores, scores, seed) of two different models of one person with equal predictions."""
    for mine in by_person(graded).values():
        entries = [(s, one) for s in mine for one in s["_evidence"].get("scores", ())]
        told_of = set()
        for (s, a), (t, b), seed in _twins(entries):
            if differ(a.subject, b.subject) and (a.shown, b.shown) not in told_of:
                told_of.add((a.shown, b.shown))
                yield s, t, a, b, seed


def _twins(entries: list[tuple[dict, Scores]]) -> Iterator[tuple]:
    """Pairs of entries that share the predictions of a seed."""
    by_digest = defaultdict(list)
    for s, one in entries:
        for seed, digest in one.seeds.items():
            by_digest[digest].append((s, one, seed))
    for group in by_digest.values():
        for (s, a, _), (t, b, seed) in combinations(group[:20], 2):
            if a.shown != b.shown:
                yield (s, a), (t, b), seed


def copied_numbers(graded: list[dict]) -> Said:
    """One person, one set of metrics, two different models (where predictions or their absence has not said it)."""
    for mine in by_person(graded).values():
        by_value, pairs = defaultdict(list), {}
        for s in mine:
            for one in s["_evidence"].get("numbers", ()):
                for metric, value in one.values.items():
                    by_value[metric, round(value, 4)].append((s, one))
        for group in by_value.values():
            for (s, a), (t, b) in combinations(group[:20], 2):
                pairs[a.shown, a.at, b.shown, b.at] = (s, a, t, b)
        told_of = set()
        for s, a, t, b in pairs.values():
            equal, certain = _equal(a, b)
            if not equal or not differ(a.subject, b.subject) or _is_said(s, a) or _is_said(t, b):
                continue
            if (a.shown, b.shown) in told_of:
                continue
            told_of.add((a.shown, b.shown))
            values = ", ".join(f"{metric} {value:.4f}" for metric, value in a.values.items() if metric in b.values)
            yield t, b.shown, Problem(
                "copied-numbers", f"gives {values} for {told(b.subject)}: digit by digit the same that "
                f"{_place(s, t, a.shown)} gives for {told(a.subject)}. Different models do not agree in every digit: "
                "one of the two was copied from the other", _rerun(t), "error" if certain else "warning")


def _equal(a: Numbers, b: Numbers) -> tuple[bool, bool]:
    """(whether all that both give agrees to the digits written, and two of them with four or more; all three do)."""
    shared = [m for m in a.values if m in b.values]
    digits = {m: min(_digits(a.values[m]), _digits(b.values[m]), 12) for m in shared}
    same = all(round(a.values[m], d) == round(b.values[m], d) for m, d in digits.items())
    return same and sum(d >= 4 for d in digits.values()) >= 2, len(shared) > 2


def _digits(value: float) -> int:
    return len(repr(float(value)).partition(".")[2])


def _is_said(s: dict, one: Numbers) -> bool:
    """The file has an error that explains it: its numbers or its predictions are known to be another run's."""
    files = {one.shown, *(x.shown for x in s["_evidence"].get("scores", ()) if x.subject == one.subject)}
    return any(f["code"] in WRONG and f["where"] in files for f in s["findings"])


def between_people(graded: list[dict]) -> Said:
    """Identical predictions, different settings, two people: a question to both, and no name is called guilty."""
    groups = defaultdict(lambda: defaultdict(list))  # digest -> how it was made -> who has it
    doubtful = _explained(graded)
    for s in graded:
        for one in s["_evidence"].get("scores", ()):
            if s["week"] > 6 or s["name"] == REFERENCE or REPEATED in one.file or one.shown in doubtful:
                continue
            made = {f"{what} by its name": str(value) for what, value in one.subject.items()}
            # Settings are compared within a week: a run.json is about its own week's models, and repeats others.
            made |= {f"week {s['week']}'s {what}": value for what, value in one.settings.items() if what != "model"}
            for seed, digest in one.seeds.items():
                known = made if s["week"] > 4 else made | {"seed": str(seed)}  # a probe's seed numbers its draws
                groups[digest][tuple(sorted(known.items()))].append((s, one, seed))
    asked = set()
    for group in groups.values():
        for made, others in combinations(list(group)[:40], 2):
            what = next(iter(differ(dict(made), dict(others))), "")
            for (s, a, seed), (t, b, _) in product(group[made], group[others][:3]) if what else ():
                for me, my, you, mine, yours in ((s, a, b, made, others), (t, b, a, others, made)):
                    if in_any_order(s["name"]) != in_any_order(t["name"]) and my.shown not in asked:
                        asked.add(my.shown)
                        yield me, my.shown, _question(you, seed, what, dict(mine), dict(yours))


def _explained(graded: list[dict]) -> set[str]:
    """Files whose predictions are known to be another model's of the same person, or not those of their metrics.

    What else they are equal to says nothing about others: one copy in one's own folder would accuse the whole class.
    """
    files = set()
    for s in graded:
        wrong = {f["where"] for f in s["findings"] if f["code"] in WRONG}
        for one in s["_evidence"].get("scores", ()):
            if {one.shown, one.metrics} & wrong:
                files.add(one.shown)
    for _, _, a, b, _ in _own_twins(graded):
        files |= {a.shown, b.shown}
    return files


def _question(other: Scores, seed: int, what: str, mine: dict, yours: dict) -> Problem:
    return Problem("same-as-another", f"holds the predictions that {clean(other.shown, 120)} holds too (seed {seed}, "
                   f"to nine digits), though the settings are not the same ({what}: {clean(mine[what], 40)} here, "
                   f"{clean(yours[what], 40)} there). Was one of the two handed in twice, or is one of the run.json "
                   "from another run?", "ask both, and compare the executed notebooks", "warning")


def from_the_reference(graded: list[dict]) -> Said:
    """The course's own predictions under another name: allowed as a stand-in, and said."""
    known = {digest: one.shown for s in graded if s["name"] == REFERENCE for one in s["_evidence"].get("scores", ())
             for digest in one.seeds.values()}
    for s in graded:
        if s["name"] == REFERENCE or s["week"] == 7:  # week 7 rests on what weeks 3 and 6 left
            continue
        files = {one.shown: known[digest] for one in s["_evidence"].get("scores", ()) for digest in one.seeds.values()
                 if digest in known and REPEATED not in one.file}
        if files:
            mine, theirs = next(iter(files.items()))
            more = f" and {len(files) - 1} more of its files" if len(files) > 1 else ""
            yield s, mine, Problem("reference-predictions", f"holds the very predictions of the course's own {theirs}"
                                   f"{more}: fine where the same notebook ran with the same seeds, but no new result",
                                   "nothing, if it was run; else run it", "note")


def by_person(graded: list[dict]) -> dict[tuple, list[dict]]:
    """{(name, data set): submissions by week}. Ada Lovelace's and Lovelace Ada's are one person's."""
    people = defaultdict(list)
    for s in sorted(graded, key=lambda s: (s["week"], s["folder"])):
        people[in_any_order(s["name"]), s["dataset"]].append(s)
    return people


def _place(s: dict, t: dict, shown: str) -> str:
    file = clean(shown.rpartition("/")[2], 80)
    return file if s is t else f"week {s['week']}'s {file}"


def _rerun(s: dict) -> str:
    return s["_evidence"].get("rerun", "run the notebook again")


CHECKS = (between_models, copied_numbers, between_people, from_the_reference)
