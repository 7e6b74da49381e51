"""gradebook.csv: one file that Canvas and Moodle both import, and the roster that says who is who there.

What either does, read in its own importer:
- Canvas wants the columns Student, ID, SIS User ID, SIS Login ID, Section first; every later one is an assignment,
  found by its title, and a new one where there is none. "Current Score" and "Final Score" it passes over.
- Moodle gives up the whole file at the first line whose person it does not know. So there is no "Points Possible" line
  (Canvas can do without), and with a roster nobody stands in the file whom the roster does not name.
"""

import csv
import io
import unicodedata
from pathlib import Path

from medssl.course.checker.files.walk import GROUP, person
from medssl.course.checker.parse.handed_in import Problem, clean, read_bytes, read_text
from medssl.errors import MedsslError

WHO = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
# What the columns of a roster may be called, in any case: ours, then those of Canvas's and of Moodle's own exports.
COLUMNS = {"folder": ("folder", "name", "handle", "github"), "Student": ("student", "full name", "fullname"),
           "ID": ("id", "canvas id"), "SIS User ID": ("sis user id", "id number", "idnumber", "sis_user_id"),
           "SIS Login ID": ("sis login id", "username", "login", "user name"), "Section": ("section", "group"),
           "email": ("email", "email address", "e-mail", "mail"), "first": ("first name", "firstname", "given name"),
           "last": ("last name", "lastname", "surname", "family name")}


def gradebook(report, roster: str | Path | None = None) -> str:
    """The text of gradebook.csv: of each week the files %, the best where somebody did two data sets.

    Current Score is the mean over the weeks handed in, Final Score that over all weeks that anybody handed in.
    """
    scores = weekly(report)
    weeks = sorted({week for mine in scores.values() for week in mine})
    people = {name: {"Student": name} for name in scores} if roster is None else read_roster(roster, set(scores))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow([*WHO, *(f"Week {week} files" for week in weeks), "Current Score", "Final Score"])
    for name, who in people.items():
        mine: dict[int, float] = {}
        for folder in who.get("folders", "").split("/") if roster else [name]:  # under two spellings: the best of both
            mine = {week: max(x.get(week, 0.0) for x in (mine, scores.get(folder, {})))
                    for week in {*mine, *scores.get(folder, {})}}
        total = sum(mine.values())
        means = [round(total / len(mine), 1), round(total / len(weeks), 1)] if mine else [None, None]
        row = [who.get(column, "") for column in WHO] + [mine.get(week) for week in weeks] + means
        rows.writerow([no_formula(cell) for cell in row])
    return "\ufeff" + text.getvalue()  # the mark makes Excel read UTF-8; both importers take it


def weekly(report) -> dict[str, dict[int, float]]:
    """{name: {week: files %}}. What the group hands in together (weeks 9 and 10) counts for everybody."""
    best: dict[str, dict[int, float]] = {}
    for s in report.submissions:
        mine = best.setdefault(s["name"], {})
        mine[s["week"]] = max(s["score"], mine.get(s["week"], 0.0))
    shared = best.pop(GROUP, {}) if len(best) > 1 else {}
    return {name: shared | best[name] for name in sorted(best)}


def unmatched(report, roster: str | Path) -> tuple[list[str], list[str]]:
    """(folders that the roster does not name, people of the roster who have handed in nothing)"""
    names = set(weekly(report))
    known = read_roster(roster, names)
    theirs = {name: {*who["folders"].split("/")} & names for name, who in known.items()}
    return sorted(names.difference(*theirs.values())), [who["Student"] or name for name, who in known.items()
                                                        if not theirs[name]]


def read_roster(path: str | Path, names: set[str]) -> dict[str, dict[str, str]]:
    """{folder name: who that is in the LMS}, in the order of the roster: Canvas's or Moodle's own export, or your own.

    Which folder is whose says the column `folder` (or `name`); without it the person's name, login or e-mail does, as
    far as it is the folder's name: "Lovelace, Ada" and "Ada Lovelace" are adalovelace, and lovelaceada too. `folders`:
    all that are theirs, joined by "/", for somebody may have handed in under both.
    """
    at, lines = read_lines(path)
    people: dict[str, dict[str, str]] = {}
    for line in lines:
        who = {key: line[k].strip() for key, k in at.items() if k < len(line)}
        if not any(who.values()) or who.get("Student", "").startswith("Points Possible"):
            continue
        folders, student = _folders(who, names)
        folder = folders[0]
        if {folder} & {one for known in people.values() for one in known["folders"].split("/")}:
            raise MedsslError(f"The roster {path} has two lines for the folder {clean(folder, 64)}.",
                              "one line a person", "take one of them out, or give each its own `folder`")
        login = who.get("SIS Login ID") or who.get("email", "")  # Canvas logins often are the e-mail address
        people[folder] = {column: who.get(column, "") for column in WHO} | {
            "Student": student, "SIS Login ID": login, "folders": "/".join(folders)}
    return people


def read_lines(path: str | Path) -> tuple[dict[str, int], list[list[str]]]:
    """({what is known of a person: its column}, the lines below the first) of a roster, or why it cannot be one."""
    try:
        lines = list(csv.reader(io.StringIO(read_text(read_bytes(Path(path))))))
    except (Problem, csv.Error) as problem:
        raise MedsslError(f"The roster {path} cannot be read: it {problem}.", "a CSV file in UTF-8",
                          "export it from Canvas (Grades, Export) or Moodle (Participants, Download)") from None
    head = [cell.strip().casefold() for cell in lines[0]] if lines else []
    at = {key: head.index(name) for key, known in COLUMNS.items() for name in reversed(known) if name in head}
    if not at.keys() & {"folder", "Student", "last", "SIS Login ID", "email"}:
        raise MedsslError(f"The roster {path} has no column that says who a line is about.",
                          "a first line such as name,student,id,sis user id,sis login id,email,section",
                          "course/grading.md shows one")
    return at, lines[1:]


def _folders(who: dict[str, str], names: set[str]) -> tuple[list[str], str]:
    """(the folders that are theirs, their name as shown): the given folder, or all forms of the name that are one."""
    first, last, student = who.get("first", ""), who.get("last", ""), who.get("Student", "")
    student = student or f"{first} {last}".strip() or who.get("folder", "")
    if who.get("folder"):
        return [person(who["folder"])], student
    turned = " ".join(reversed([part.strip() for part in student.split(",", 1)]))
    mail = who.get("email", "").partition("@")[0]
    forms = [student, turned, f"{first} {last}", who.get("SIS Login ID", "").partition("@")[0], mail]
    slugs = [person(form) for form in forms if form.strip()]
    return [form for form in dict.fromkeys(slugs) if form in names] or slugs[:1] or [""], student


def no_formula(cell: object) -> object:
    """A cell that a spreadsheet would run as a formula gets an apostrophe in front; full-width signs count too."""
    if cell is None:
        return ""
    if isinstance(cell, str) and unicodedata.normalize("NFKC", cell)[:1] in tuple("=+-@\t\r\n|%"):
        return f"'{cell}"
    return cell
