"""The report as one HTML page: nothing from the network, figures inside, filters without a server, under 5 MB.

Everything handed in passes jinja2's autoescape; the one script that may run is ours, named by its hash.
"""

import base64
import hashlib
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from medssl.course.checker.files.slots import FOUND
from medssl.course.checker.files.walk import GROUP
from medssl.course.checker.pages import classview
from medssl.course.checker.pages.pictures import figures_of, own_words, text_at, thumbnails
from medssl.course.checker.ranking import weight

TEMPLATES = Path(__file__).parents[2] / "templates"
MOST_BYTES = 4_700_000  # of the whole page: below the 5 MB that mail and browsers take easily
MOST_README, ALL_READMES = 8_000, 1_000_000  # characters of one, and of all together
MOST_ROWS = 40  # differences shown in one submission
TINT = {"error": "bad", "warning": "warn", "note": "note"}
SHOWN_METRICS = ("n", "accuracy", "balanced_accuracy", "auroc", "auprc", "f1", "nll", "brier", "ece", "ece_positive")


def page(report, path: Path, formula: str, nothing: str) -> str:
    """The page as text. `path`: where it will lie, for the links to the originals of the figures."""
    import jinja2

    folder = path.parent.resolve()
    length = min(MOST_README, ALL_READMES // max(1, len(report.submissions)))
    in_order = sorted(report.submissions, key=lambda s: (s["name"], s["week"], s["dataset"], s["folder"]))
    shown = [_shown(s | {"id": f"s{k}"}, report.base, folder, length) for k, s in enumerate(in_order)]
    script, style = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("grade.js", "grade.css"))
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    when = datetime.fromisoformat(report.graded_at)
    numbers = {s["id"]: classview.numbers_of(report.base, s) for s in shown}
    last = max([s["week"] for s in shown], default=0)
    facts = {
        "report": report, "weeks": [week for week in report.weeks if week <= last],
        "datasets": {s["dataset"] for s in shown}, "submissions": shown, "people": _people(shown),
        "totals": report.totals(), "tint": TINT,
        "folder_findings": _grouped(report.findings), "formula": formula, "nothing": nothing, "script": script,
        "style": style, "hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "shown_metrics": SHOWN_METRICS, "when": f"{when.day} {when:%b %Y, %H:%M} UTC", "choices": _choices(shown),
        "plots": classview.plots(shown, numbers), "missed": classview.missed(shown),
        "common": classview.common(shown), "handed_in": classview.handed_in(shown), "group": GROUP,
        "width": classview.WIDTH, "height": classview.HEIGHT, "floor": classview.FLOOR}
    template = environment.get_template("grade.html.j2")
    text = template.render(thumbs={}, **facts)
    figures = [figure for s in shown for figure in s["figures"]]
    made = thumbnails(report.base, figures, MOST_BYTES - len(text.encode()))
    return template.render(thumbs=made, **facts) if made else text


def _shown(s: dict, base: Path, folder: Path, length: int) -> dict:
    """A submission with what the template needs beside what grade.json says of it."""
    count = Counter(f["severity"] for f in s["findings"])
    figures = figures_of(base, s)
    readmes = [slot["found"] for slot in s["slots"] if slot["kind"] in ("readme", "document") and slot["found"]
               and slot["status"] in FOUND and slot["found"].casefold().endswith((".md", ".txt"))]
    text = own_words(text_at(base, readmes[0])) if readmes else ""
    wrong = [row for row in s["metrics"] if not row["agrees"]]
    return s | {
        "errors": count["error"], "warnings": count["warning"], "notes": count["note"], "tone": tone(s),
        "groups": _grouped(s["findings"]), "figures": figures, "readme": text[:length], "cut": len(text) > length,
        "readme_file": readmes[0].rpartition("/")[2] if readmes else "", "compared": len(s["metrics"]),
        "links": {shown: link(base, folder, shown) for shown, _ in figures}, "wrong": wrong[:MOST_ROWS],
        "more_wrong": max(0, len(wrong) - MOST_ROWS), "tables": _tables(s["metrics"]),
        "found": sum(slot["status"] in FOUND for slot in s["slots"] if slot["required"]),
        "asked": sum(slot["required"] for slot in s["slots"]),
        "statuses": sorted({slot["status"] for slot in s["slots"] if slot["required"] or slot["status"] in FOUND}),
        "codes": sorted({f["code"] for f in s["findings"]}), "look": bool(count["error"] or count["warning"] or wrong)}


def tone(submission: dict) -> str:
    """Colour of a score: red for an error in what is there or less than half of it, amber for anything else to mend."""
    severities = {f["severity"] for f in submission["findings"] if f["code"] != "missing"}
    if submission["score"] < 50 or "error" in severities:
        return "bad"
    return "warn" if submission["score"] < 100 or "warning" in severities else "good"


def _grouped(findings: list[dict]) -> list[tuple[str, list[tuple[str, str, list[dict]]]]]:
    """[(severity, [(code, the one fix that mends all of them or "", findings)])], the science first, then the many."""
    out = []
    for severity in TINT:
        codes: dict[str, list[dict]] = {}
        for f in findings:
            if f["severity"] == severity:
                codes.setdefault(f["code"], []).append(f)
        ranked = sorted(codes.items(), key=lambda item: (weight(item[0]), -len(item[1]), item[0]))
        if ranked:
            out.append((severity, [(code, some[0]["fix"] if len({f["fix"] for f in some}) == 1 else "", some)
                                   for code, some in ranked]))
    return out


def _tables(rows: list[dict]) -> list[dict]:
    """For each metrics file the reported means beside the recomputed ones, and over how many seeds."""
    out = []
    for file in dict.fromkeys(row["file"] for row in rows):
        mine = [row for row in rows if row["file"] == file]
        means = {row["metric"]: row for row in mine if row["seed"] == "mean"}
        seeds = {row["seed"] for row in mine} - {"mean", "std"}
        out.append({"file": file, "means": means, "seeds": len(seeds), "compared": len(mine),
                    "agree": sum(row["agrees"] for row in mine)})
    return out


def _people(shown: list[dict]) -> dict[str, dict]:
    """{name: {"sets": their data sets, "weeks": {week: submissions}}}"""
    out: dict[str, dict] = {}
    for s in shown:
        mine = out.setdefault(s["name"], {"sets": set(), "weeks": {}})
        mine["sets"] |= {s["dataset"]} - {""}
        mine["weeks"].setdefault(s["week"], []).append(s)
    return {name: mine | {"sets": sorted(mine["sets"])} for name, mine in out.items()}


def _choices(shown: list[dict]) -> list[tuple[str, str, list]]:
    """(key, label, values) of each filter that is a list to choose from."""
    return [("week", "Week", sorted({s["week"] for s in shown})),
            ("dataset", "Data set", sorted({s["dataset"] for s in shown} - {""})),
            ("student", "Student", sorted({s["name"] for s in shown})),
            ("severity", "Severity", [key for key in TINT if any(s[f"{key}s"] for s in shown)]),
            ("code", "Finding", sorted({code for s in shown for code in s["codes"]})),
            ("status", "File is", sorted({status for s in shown for status in s["statuses"]}))]


def link(base: Path, folder: Path, shown: str) -> str:
    """Address of a file as seen from the page; "" for what a browser should not open."""
    if "\ufffd" in shown:
        return ""
    try:
        return quote(os.path.relpath(base / shown, folder).replace(os.sep, "/"))
    except ValueError:  # another drive on Windows
        return ""
