"""What the checker found, as data: JSON for programs, lines for the terminal. page.py, gradebook.py and feedback.py
make the page, the gradebook and the drafts of it."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from medssl.about import VERSION
from medssl.course.checker.pages import feedback, gradebook, page
from medssl.course.checker.parse.handed_in import clean
from medssl.course.checker.ranking import SEVERITIES, rank
from medssl.files import write_atomic

FORMULA = ("Files % (score in grade.json) = 100 × required files that are there and readable / required files. It "
           "counts files; whether the numbers in them hold is said by the findings.")
HEADLINE = ("n", "accuracy", "auroc", "ece")  # told of each seed in grade.json, even where all is well
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
                "submissions": [s | {"metrics": [row for row in s["metrics"] if _is_told(row)]}
                                for s in self.submissions]}

    def write_json(self, path: str | Path) -> Path:
        return write_atomic(path, _as_lines(self.as_dict()) + "\n")

    def write_csv(self, path: str | Path, roster: str | Path | None = None) -> Path:
        """gradebook.csv for Canvas and Moodle: see gradebook.py."""
        return write_atomic(path, gradebook.gradebook(self, roster))

    def unmatched(self, roster: str | Path) -> str:
        """Who of the folders is not in the roster, and who of the roster has no folder, in words."""
        nobody, absent = gradebook.unmatched(self, roster)
        lines = [f"{len(nobody)} in {self.folder} but not in the roster, so not in the gradebook: {', '.join(nobody)}."
                 "\n    Name them in a column `folder` of the roster."] if nobody else []
        lines += [f"{len(absent)} in the roster without any submission: {', '.join(absent)}."] if absent else []
        lines = [clean(line, 2000) for text in lines for line in text.split("\n")]
        return "\n".join(lines) or "Everybody is in the roster, and everybody in it has handed in."

    def write_html(self, path: str | Path) -> Path:
        """One self-contained page: see page.py."""
        return write_atomic(path, page.page(self, Path(path), FORMULA, NOTHING))

    def write_feedback(self, folder: str | Path) -> list[Path]:
        """A draft for each submission: folder/weekN/<dataset>/<name>.md."""
        return [write_atomic(Path(folder) / place, text) for place, text in feedback.drafts(self).items()]

    def summary(self) -> str:
        """A screenful for the terminal: one line a submission, then the first error of each."""
        if not self.submissions:
            return "\n".join([NOTHING, *(_line(f) for f in self.findings)])
        count, people = self.totals(), len(self.people())
        lines = [f"Submissions: {len(self.submissions)}, people: {people}, errors: {count['error']}, "
                 f"warnings: {count['warning']}, notes: {count['note']}."]
        for s in self.submissions:
            mine = Counter(f["severity"] for f in s["findings"])
            marks = [f"{mine[k]} {k}{'s' if mine[k] > 1 else ''}" for k in SEVERITIES if mine[k]]
            lines.append(f"  {s['score']:5.1f}  {s['folder']}  {', '.join(marks) or 'nothing to mend'}")
        first = [s["findings"][0] for s in [self.__dict__, *self.submissions] if s["findings"]]  # sorted, errors first
        first.sort(key=rank)  # a wrong n of one before a missing file of another; else by folder
        shown = [f for f in first if f["severity"] == "error"][:12]
        lines += ["", *(_line(f) for f in shown)] if shown else []
        if count["error"] > len(shown):
            lines.append(f"... and {count['error'] - len(shown)} more errors: see the HTML report.")
        return "\n".join(clean(line, 700) for line in "\n".join(lines).split("\n"))


def _is_told(row: dict) -> bool:
    """Whether a compared number stands in grade.json: all that disagree, all means, of each seed the headline."""
    return not row["agrees"] or row["seed"] == "mean" or row["seed"] != "std" and row["metric"] in HEADLINE


def _as_lines(value: object, levels: int = 4, indent: str = "") -> str:
    """JSON with a line for each slot, finding and compared number: to be read by people, too, and written at once."""
    if not isinstance(value, (dict, list)) or not value or not levels:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = indent + " "
    if isinstance(value, list):
        return "[\n" + ",\n".join(deeper + _as_lines(one, levels - 1, deeper) for one in value) + f"\n{indent}]"
    items = (f"{deeper}{json.dumps(k, ensure_ascii=False)}: {_as_lines(one, levels - 1, deeper)}"
             for k, one in value.items())
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"


def _line(found: dict) -> str:
    return f"{found['severity']}: {found['where']}\n    {found['message']}\n    To mend it: {found['fix']}"
