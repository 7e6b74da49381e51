"""What the checker found: a page to read, a table for the gradebook, JSON for programs, lines for the terminal."""

import csv
import io
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from medssl.about import VERSION
from medssl.course.checker.handed_in import clean
from medssl.files import write_atomic

TEMPLATE = Path(__file__).parents[1] / "templates" / "grade.html.j2"
SHOWN_METRICS = ("n", "accuracy", "balanced_accuracy", "auroc", "auprc", "f1", "nll", "brier", "ece", "ece_positive")
TINT = {"error": "bad", "warning": "warn", "note": "note"}
FORMULA = ("Files % (`score` in grade.json) = 100 × required files that are there and readable / required files. It "
           "counts files; whether the numbers in them hold is said by the findings.")
NOTHING = ("Nothing has been handed in here yet. A submission is a folder results/weekN/<dataset>/<name>/; "
           "`medssl run week01` makes the first one.")


@dataclass
class Report:
    """Everything one grading found. `submissions` and `findings` are plain dicts, as they stand in grade.json."""

    folder: str
    base: Path  # what every path in the report is relative to
    contract_version: str
    weeks: list[int]
    submissions: list[dict]
    findings: list[dict]
    graded_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    medssl: str = VERSION

    def totals(self) -> Counter:
        """Findings by severity, those about the folder itself included."""
        return Counter(f["severity"] for s in [self.__dict__, *self.submissions] for f in s["findings"])

    def people(self) -> dict[str, list[dict]]:
        """{name: submissions}, sorted by name."""
        names = sorted({s["name"] for s in self.submissions})
        return {name: [s for s in self.submissions if s["name"] == name] for name in names}

    def as_dict(self) -> dict:
        """grade.json. Only `graded_at` differs between two gradings of the same folder."""
        return {"contract_version": self.contract_version, "medssl": self.medssl, "graded_at": self.graded_at,
                "folder": clean(self.folder), "score_formula": FORMULA, "findings": self.findings,
                "submissions": self.submissions}

    def write_json(self, path: str | Path) -> Path:
        return write_atomic(path, json.dumps(self.as_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def write_csv(self, path: str | Path) -> Path:
        """One row a person: of each week the % of files (the best, where somebody did two data sets) and the errors."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\r\n")
        rows.writerow(["name", "datasets", *(f"week{n}_{what}" for n in self.weeks for what in ("files", "errors")),
                       "mean_files", "errors", "warnings"])
        for name, mine in self.people().items():
            best = {n: max((s["score"] for s in mine if s["week"] == n), default=None) for n in self.weeks}
            scores = [score for score in best.values() if score is not None]
            count = Counter(f["severity"] for s in mine for f in s["findings"])
            errors = {s["week"]: 0 for s in mine}
            for s in mine:
                errors[s["week"]] += sum(f["severity"] == "error" for f in s["findings"])
            weeks = [cell for n in self.weeks for cell in (best[n], errors.get(n))]
            datasets = " ".join(sorted({s["dataset"] for s in mine} - {""}))
            mean = round(sum(scores) / len(scores), 1)  # over the weeks handed in
            row = [name, datasets, *weeks, mean, count["error"], count["warning"]]
            rows.writerow([_no_formula(cell) for cell in row])
        return write_atomic(path, "\ufeff" + text.getvalue())  # the mark makes Excel read UTF-8

    def write_html(self, path: str | Path) -> Path:
        """One self-contained page. Figures are linked from where the page lies, not copied into it."""
        import jinja2

        path = Path(path)
        page = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(
            TEMPLATE.read_text(encoding="utf-8"))
        when = datetime.fromisoformat(self.graded_at)
        in_order = sorted(self.submissions, key=lambda s: (s["name"], s["week"], s["dataset"]))
        shown = [s | {"id": f"s{k}", "errors": sum(f["severity"] == "error" for f in s["findings"])}
                 for k, s in enumerate(in_order)]
        sets = {name: sorted({s["dataset"] for s in mine} - {""}) for name, mine in self.people().items()}
        html = page.render(
            report=self, submissions=shown, people=list(self.people()), sets=sets, totals=self.totals(), tint=TINT,
            tint_of=_tint_of, link=partial(_link, self.base, path.parent), formula=FORMULA, nothing=NOTHING,
            shown_metrics=SHOWN_METRICS, when=f"{when.day} {when:%b %Y, %H:%M} UTC")
        return write_atomic(path, html)

    def summary(self) -> str:
        """A screenful for the terminal: one line a submission, then the first error of each."""
        if not self.submissions:
            return "\n".join([NOTHING, *(_line(f) for f in self.findings)])
        count, people = self.totals(), len(self.people())
        lines = [f"Submissions: {len(self.submissions)}, people: {people}, errors: {count['error']}, "
                 f"warnings: {count['warning']}, notes: {count['note']}."]
        for s in self.submissions:
            mine = Counter(f["severity"] for f in s["findings"])
            marks = [f"{mine[k]} {k}{'s' if mine[k] > 1 else ''}" for k in TINT if mine[k]]
            lines.append(f"  {s['score']:5.1f}  {s['folder']}  {', '.join(marks) or 'nothing to mend'}")
        first = [s["findings"][0] for s in [self.__dict__, *self.submissions] if s["findings"]]  # sorted, errors first
        shown = [f for f in first if f["severity"] == "error"][:12]
        lines += ["", *(_line(f) for f in shown)] if shown else []
        if count["error"] > len(shown):
            lines.append(f"... and {count['error'] - len(shown)} more errors: see the HTML report.")
        return "\n".join(clean(line, 700) for line in "\n".join(lines).split("\n"))


def _line(found: dict) -> str:
    return f"{found['severity']}: {found['where']}\n    {found['message']}\n    To mend it: {found['fix']}"


def _no_formula(cell: object) -> object:
    """A cell that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r\n|%") else "" if cell is None else cell


def _tint_of(submission: dict) -> str:
    """Colour of a score: red for an error in what is there or less than half of it, amber for anything else to mend."""
    severities = {f["severity"] for f in submission["findings"] if f["code"] != "missing"}
    if submission["score"] < 50 or "error" in severities:
        return "bad"
    return "warn" if submission["score"] < 100 or "warning" in severities else "good"


def _link(base: Path, page: Path, slot: dict) -> str:
    """Address of a figure as seen from the page; "" for what a browser should not open."""
    if slot["kind"] != "figure" or slot["status"] not in ("present", "renamed", "merged") or "�" in slot["found"]:
        return ""
    try:
        return quote(os.path.relpath(base / slot["found"], page.resolve()).replace(os.sep, "/"))
    except ValueError:  # another drive on Windows
        return ""
