"""A draft of feedback for each submission, in the tone of a kind instructor: what is good, fixes, a question.

It says only what was looked at, names nobody else, and is a draft: the instructor reads the work and edits it.
"""

import re
import unicodedata

from medssl.course.checker.files.slots import FOUND
from medssl.course.checker.pages.pictures import bytes_at, own_words, text_at
from medssl.course.checker.pages.questions import question
from medssl.course.checker.parse.handed_in import Problem, clean, read_json
from medssl.course.contract import load_contract
from medssl.errors import MedsslError

MOST_FIXES, MOST_MESSAGES, MOST_PRAISE = 5, 3, 6
# What later work stands on comes first: scores, then numbers, then where they come from, then words and pictures.
ORDER = ("predictions", "metrics", "run", "config", "weights", "readme", "document", "table", "figure", "env")
MANY_WORDS = 80  # of a student's own in a README: about five sentences
# What sounds like a reproach, whoever wrote the check: asked, not said. Most such findings have an innocent cause.
DELICATE = re.compile(r"(?i)\b(cop(y|ied|ies)|made up|invented|typed|edited|by hand|the same (person|predictions))\b")
COMMAND = re.compile(r"(git|mkdir|mv|medssl|python|pip) ")


def drafts(report) -> dict[str, str]:
    """{weekN/<dataset>/<name>.md: the draft}, sorted. Names that would be one file get a number."""
    out: dict[str, str] = {}
    people = {s["name"] for s in report.submissions}
    for s in sorted(report.submissions, key=lambda s: (s["week"], s["dataset"], s["name"], s["folder"])):
        stem = "/".join([f"week{s['week']}", *(_file_name(part) for part in (s["dataset"], s["name"]) if part)])
        k = 1 + sum(place.removesuffix(".md").rpartition("~")[0] == stem or place == f"{stem}.md" for place in out)
        out[f"{stem}.md" if k == 1 else f"{stem}~{k}.md"] = draft(report, s, people - {s["name"]})
    return out


def draft(report, s: dict, others: set[str]) -> str:
    """The draft for one submission. `others`: names that must not be in it."""
    fixes, left_out = _fixes(s, others)
    lines = [f"# Week {s['week']}{_title(s['week'])}: feedback for {escape(s['name'])}", "",
             "> **Draft for the instructor: read, edit, delete this box.** Made by `medssl grade` "
             f"{report.medssl} from {_code(s['folder'])}; it saw files and numbers, no arguments. Nothing is sent."]
    if left_out:
        lines.append(f"> Left out here, because somebody else is named: {left_out} "
                     f"finding{'' if left_out == 1 else 's'}. See the report.")
    lines += ["", "## What is good", "", *(f"- {line}" for line in _good(report, s)), ""]
    lines += ["## What to mend first", ""]
    lines += ["A program found this. Where it misread you, say so in a line, and that is that.", ""] if fixes else []
    for k, (messages, fix) in enumerate(fixes[:MOST_FIXES], 1):
        lines.append(f"{k}. {messages[0]}")
        lines += [f"   - {message}" for message in messages[1:MOST_MESSAGES]]
        if len(messages) > MOST_MESSAGES:
            lines.append(f"   - … and {len(messages) - MOST_MESSAGES} more of the same cause.")
        lines += [f"   To mend {'it' if len(messages) == 1 else 'all of it'}: {_fix(fix)}"] if fix else []
    if not fixes:
        lines.append("Nothing that a program can see. Well done.")
    elif len(fixes) > MOST_FIXES:
        more = len(fixes) - MOST_FIXES
        more = f"There are {more} smaller things" if more > 1 else "There is one smaller thing"
        lines += ["", f"{more}; `medssl grade results` lists {'them' if len(fixes) > MOST_FIXES + 1 else 'it'}. These "
                  f"{MOST_FIXES} first."]
    return "\n".join([*lines, "", "## A question to think about", "", question(s), ""])


def _good(report, s: dict) -> list[str]:
    """What is good, concretely: complete, recomputed, repeated, with intervals, explained."""
    asked = [slot for slot in s["slots"] if slot["required"]]
    there = [slot for slot in asked if slot["status"] in FOUND]
    exact = sum(slot["status"] == "present" for slot in there)
    said = []
    if asked and len(there) == len(asked):
        said.append(f"All {len(asked)} required files are there and readable"
                    + (", each under its right name." if exact == len(asked) else "."))
    elif there:
        said.append(f"{len(there)} of {len(asked)} required files are there and readable, among them "
                    f"{', '.join(_file(slot, s) for slot in sorted(there, key=_weight)[:3])}.")
    files = {row["file"] for row in s["metrics"]} - {row["file"] for row in s["metrics"] if not row["agrees"]}
    agree = [row for row in s["metrics"] if row["file"] in files]
    if files:
        named = [_code(file) for file in sorted(files)]
        named = [f"each of your {len(named)} metrics files"] if len(named) > 3 else named
        said.append(f"Every number in {' and '.join(named)} follows from your predictions: {len(agree)} were computed "
                    "again, and agree. That is what makes a result worth discussing.")
    seeds = {row["seed"] for row in s["metrics"]} - {"mean", "std"}
    if len(seeds) >= 3:
        said.append(f"You ran {len(seeds)} seeds, so the spread between trainings can be seen.")
    if _with_intervals(report, s):
        said.append("The metrics carry confidence intervals.")
    if words := _own_words(report, s):
        said.append(f"Your README has about {round(words, -1)} words of your own.")
    if extra := [slot for slot in s["slots"] if not slot["required"] and slot["status"] in ("present", "renamed")
                 and not slot["file"].startswith("screenshot")]:
        said.append(f"You also handed in {', '.join(_file(slot, s) for slot in extra[:3])}"
                    f"{f' and {len(extra) - 3} more' if len(extra) > 3 else ''}, which nobody had to.")
    if s["tasks"]:
        said.append(f"You took on extra task {' and '.join(map(escape, s['tasks']))}.")
    return said[:MOST_PRAISE] or ["You have handed in something to start from: the rest can grow from it."]


def _file(slot: dict, s: dict) -> str:
    return _code(slot["file"].replace("{name}", s["name"]).replace("{dataset}", s["dataset"]))


def _with_intervals(report, s: dict) -> bool:
    """Whether each readable metrics file has an interval in its first block."""
    files = [slot["found"] for slot in s["slots"] if slot["kind"] == "metrics" and slot["status"] in FOUND]
    there = []
    for shown in files:
        try:
            value, _ = read_json(bytes_at(report.base, shown or "") or b"")
            there.append(bool(value["per_seed"][0]["ci95"]))
        except (Problem, KeyError, IndexError, TypeError):
            there.append(False)
    return bool(there) and all(there)


def _own_words(report, s: dict) -> int:
    """Words of the student's own in a README that has no finding; 0 where they are few."""
    for slot in s["slots"]:
        shown = slot["found"] or ""
        if slot["kind"] in ("readme", "document") and slot["status"] in FOUND and shown.endswith(".md"):
            lines = own_words(text_at(report.base, shown)).splitlines()
            words = sum(len(line.split()) for line in lines if not line.startswith(("#", ">", "|", "<!--")))
            told = any(f["where"] == shown and f["severity"] != "note" for f in s["findings"])
            return words if words >= MANY_WORDS and not told else 0
    return 0


def _fixes(s: dict, others: set[str]) -> tuple[list[tuple[list[str], str]], int]:
    """([(messages, the one thing that mends them)], most important first; how many findings name somebody else).

    Notes are left to the report. Findings with the same fix have one cause: they are one point.
    """
    kind = {slot["found"] or "": slot["kind"] for slot in s["slots"]}
    groups: dict[tuple, list[dict]] = {}
    left_out = 0
    for f in s["findings"]:
        if f["severity"] == "note":
            continue
        if _names(f"{f['message']} {f['fix']} {f['where']}", others):
            left_out += 1
            continue
        groups.setdefault((f["severity"], f["fix"] or f["message"]), []).append(f)

    def place(f: dict) -> int:
        return ORDER.index(kind[f["where"]]) if kind.get(f["where"]) in ORDER else len(ORDER) // 2

    def rank(item: tuple) -> tuple:
        (severity, fix), some = item
        return severity != "error", min(map(place, some)), -len(some), fix

    # Of one cause that first which says most: no number can be checked, before a file that is not there.
    ranked = [sorted(some, key=lambda f: (f["code"] != "not-recomputable", place(f)))
              for _, some in sorted(groups.items(), key=rank)]
    return [([_kindly(f["message"]) for f in some], some[0]["fix"]) for some in ranked], left_out


def _kindly(message: str) -> str:
    return ("Let us look at this one together: " if DELICATE.search(message) else "") + escape(message)


def _names(text: str, others: set[str]) -> bool:
    """Whether a text names one of the others, as a word of its own (a folder of a path is one)."""
    return bool(others & set(re.findall(r"[\w.-]+", text.casefold())))


def _weight(slot: dict) -> int:
    return ORDER.index(slot["kind"]) if slot["kind"] in ORDER else len(ORDER)


def _title(week: int) -> str:
    try:
        return f" ({load_contract().week(week).title})"
    except MedsslError:
        return ""


def escape(text: object) -> str:
    """Text that Markdown shows as it stands: no markup, no HTML, no link, and always one line."""
    text = re.sub(r"\s+", " ", clean(text, 700)).strip()
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~#!$])", r"\\\1", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # test_metrics.json stays readable: no markup inside words
    text = re.sub(r"(?i)(\bwww)\.", r"\1\\.", text)  # what GitHub would make a link of
    text = text.replace("://", "\\://").replace("@", "\\@")
    return re.sub(r"^(\d+)([.)])|^([-+=])", lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", text)


def _code(text: str) -> str:
    """A code span; one more backtick around it than the longest run of them inside."""
    text = re.sub(r"\s+", " ", clean(text))
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _fix(text: str) -> str:
    """A command as code; anything else as a sentence."""
    return _code(text) if COMMAND.match(text) else f"{escape(text)}."


def _file_name(text: str) -> str:
    """A name that is a file on every system, whatever the folder was called."""
    safe = "".join(c if unicodedata.category(c)[0] in "LN" or c in "-_" else "_" for c in text)[:64]
    return safe.strip("_") or "unnamed"

