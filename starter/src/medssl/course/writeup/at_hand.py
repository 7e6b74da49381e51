"""Whose results paper and talk are made of: the group's, or, where there are none, the course's own."""

from pathlib import Path

from medssl.course.names import results_root
from medssl.course.writeup.collect import REFERENCE, collect

COURSE = Path(__file__).resolve().parents[5]  # the clone that this package lies in


def results_at_hand(root: str | Path | None = None) -> tuple[Path, str]:
    """(the folder that holds results/, "" or what stands in for them). It says aloud whose they are."""
    home = results_root(root)
    if collect(home).metrics or not collect(COURSE, name=REFERENCE).metrics:
        return home, ""
    note = f"No results below {home.name}/: the course's own ({REFERENCE}) stand in, to show what comes out."
    print(note)
    return COURSE, note
