"""What `anonymize` did, file by file: for people (report.txt) and for programs (report.json)."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

NOTICE = ("This is a tool and no certificate. For headers it follows DICOM PS3.15 Annex E (Basic Profile, 2026c); it "
          "checked that no identifier it knew is left. It looked at no pixel: names may be burned into an image, and a "
          "face can be rebuilt from a CT or MR of the head. A few short texts were kept (maker, model, kernel, coil, "
          "tracer, explanations of windows, meanings of public codes): what was typed there and stands in no other "
          "element is still there. Let a person look before you share.")
LETTERS = {"X": "removed", "Z": "emptied", "D": "replaced by a dummy", "U": "new UID", "S": "date shifted",
           "C": "kept kind of text, emptied because an identifier stood in it"}


@dataclass
class Report:
    """What was done, file by file. `files` names no input; `paths` does, and is never written."""

    dates: str
    files: list[dict] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    def refused(self) -> list[tuple[Path, str]]:
        """(path, why) of each file that was not copied."""
        return [(path, row["refused"]) for path, row in zip(self.paths, self.files, strict=True) if "refused" in row]

    def text(self) -> str:
        """For people; inputs only by their number in sorted order."""
        copied, counts = [row for row in self.files if "output" in row], Counter()
        for row in copied:
            for letter, keywords in row["done"].items():
                counts.update({(letter, keyword): n for keyword, n in keywords.items()})
        lines = [NOTICE, "", f"{len(copied)} of {len(self.files)} files copied. Dates: {self.dates}."]
        lines += [f"  file {row['number']} refused: {row['refused']}" for row in self.files if "refused" in row]
        lines += [f"  {n} × look at the pixels: {what}" for what, n in
                  Counter(row["warning"] for row in copied if row["warning"]).items()]
        for letter, meaning in LETTERS.items():
            rows = [f"{keyword} {n}" for (at, keyword), n in sorted(counts.items()) if at == letter]
            lines += [f"{letter} ({meaning}): {', '.join(rows)}"] if rows else []
        return "\n".join(lines) + "\n"
