"""Fill the tables of README and course pages from the contract: `python course/render.py`.

Run it after every change of contract.toml and after adding a notebook. tests/test_docs.py fails until you have. Only
what stands between markers is made anew. The task board is not touched: names are written into its rows.
"""

from pathlib import Path

from medssl.about import colab_url
from medssl.course.contract import load_contract
from medssl.course.markdown import files_table, render_between_markers, syllabus_table, table

REPO = Path(__file__).resolve().parents[1]
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def weeks_table() -> str:
    """The map of the weeks: a badge where the notebook is there, the word `planned` where it is not."""
    rows = []
    for week in load_contract().weeks:
        there = (REPO / "notebooks" / week.notebook).exists()
        page = (REPO / "course" / f"{week.key}.md").exists()
        badge = f"[![Open week {week.number} in Colab]({BADGE})]({colab_url(week.notebook)})"
        rows.append([week.number, f"[{week.title}](course/{week.key}.md)" if page else week.title, week.theme,
                     badge if there else "planned", f"{week.budget_seconds} s" if there else ""])
    return table(["Week", "What", "In one line", "Notebook", "Quick profile, at most"], rows)


def tables() -> dict[str, dict[str, str]]:
    """{page: {marker: what stands there}}"""
    pages = {"README.md": {"weeks": weeks_table()}, "course/syllabus.md": {"handin": syllabus_table()}}
    for week in load_contract().weeks:
        own = f"course/{week.key}.md"
        page = own if (REPO / own).exists() else "course/syllabus.md"
        pages.setdefault(page, {})[week.key] = files_table(week)
    return pages


def rendered(page: str) -> str:
    """The text of a page as it should be today."""
    text = (REPO / page).read_text(encoding="utf-8")
    for marker, body in tables()[page].items():
        text = render_between_markers(text, marker, body)
    return text


if __name__ == "__main__":
    for page in tables():
        if rendered(page) != (REPO / page).read_text(encoding="utf-8"):
            (REPO / page).write_text(rendered(page), encoding="utf-8")
            print("rendered", page)
