"""Submissions beside each other: one person's folders, one person's weeks, people beside people.

`graded` are the objects of grade.json; what else a comparison needs, gather() put into "_evidence" (small, dropped
before the report). Every check yields (submission, where, Problem).
"""

from collections import Counter
from collections.abc import Iterator

from medssl.course.checker.files.slots import FOUND
from medssl.course.checker.parse.handed_in import Problem
from medssl.course.checker.people import copies, encoders, weeks
from medssl.course.checker.people.compared import evidence
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[dict, str, Problem]]
MOOT = ("missing", "core-missing", "renamed")  # said of a core that nobody needs in this folder


def gather(reading: Reading) -> dict:
    """What comparisons need to know of one submission."""
    return {"typed": reading.hand_in.name, **evidence(reading), "rows": weeks.rows_of(reading),
            "encoder": encoders.said_of_it(reading)}


def placeholder(graded: list[dict]) -> Said:
    """A folder of the notebook's placeholder name."""
    for s in graded:
        if s["name"] == "yourname":
            yield s, s["folder"], Problem("placeholder-name", "is the notebook's placeholder: whose work is it?",
                                          "set NAME to your own name and run the notebook again", "warning")


def two_folders(graded: list[dict]) -> Said:
    """Two folders of one person for one week and data set."""
    times = Counter((s["week"], s["dataset"], s["name"]) for s in graded)
    for s in graded:
        if times[s["week"], s["dataset"], s["name"]] > 1:
            yield s, s["folder"], Problem("two-folders", "is one of several folders of the same person for this week",
                                          "move all files into one of them", "warning")


def only_tasks(graded: list[dict]) -> Said:
    """An extra task may be about the other data set: its folder needs no core where that lies elsewhere."""
    def begun(s: dict) -> bool:
        """Some file of the core is here, and it is not one of the task's that would also do for it."""
        return not any(f["code"] == "core-missing" for f in s["findings"]) and any(
            slot["required"] and slot["status"] in FOUND for slot in s["slots"])

    for one in graded:
        core = next((s for s in graded if (s["week"], s["name"]) == (one["week"], one["name"]) and begun(s)), None)
        if one["tasks"] and core and not begun(one):
            one["score"] = core["score"]
            one["findings"] = [f for f in one["findings"] if f["code"] not in MOOT]
            yield one, one["folder"], Problem("only-tasks", f"holds the extra task {' and '.join(one['tasks'])} alone, "
                                              f"and shares the score of the core in {core['dataset']}", "nothing",
                                              "note")


CHECKS = (placeholder, two_folders, only_tasks, *copies.CHECKS, *weeks.CHECKS, *encoders.CHECKS)
