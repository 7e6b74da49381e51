"""Markdown that is made from data: tables between markers, so that nobody types a number and nobody loses a word."""

import re

from medssl.course.contract import Task, Week, load_contract

COLUMNS = {"Accuracy": "accuracy", "Balanced acc.": "balanced_accuracy", "AUROC": "auroc", "AUPRC": "auprc",
           "NLL": "nll", "Brier": "brier", "ECE": "ece"}


def render_between_markers(text: str, name: str, body: str) -> str:
    """`text` with what stands between the markers called `name` replaced by `body`; all else stays byte for byte.

    Beside a marker whose partner was deleted nothing is taken away. Without a whole pair a new block goes to the end.
    """
    begin, end = rf"<!-- medssl:{name}\b[^>]*-->", rf"<!-- /medssl:{name} -->"
    block = f"<!-- medssl:{name} (rendered: write outside of it) -->\n{body.strip()}\n<!-- /medssl:{name} -->"
    new, found = re.subn(rf"(?s){begin}(?:(?!{begin}).)*?{end}", lambda _: block, text)
    return new if found else f"{text}\n{block}\n".lstrip("\n")


def table(header: list, rows: list[list]) -> str:
    """A Markdown table; no cell can break out of it or of the markers."""
    def cell(value) -> str:
        return re.sub(r"\s+", " ", str(value)).replace("|", "\\|").replace("<", "&lt;")

    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in [header, ["---"] * len(header), *rows])


def metrics_table(metrics: list[dict]) -> str:
    """One row for each metrics JSON, mean ± standard deviation over runs, with what the reader must know under it."""
    rows = []
    for m in metrics:
        spread = m["std"] if len(m["seeds"]) > 1 else {}
        cells = [f"{m[key]:.3f}" + (f" ± {spread[key]:.3f}" if key in spread else "") for key in COLUMNS.values()]
        floors = [one["ece_if_calibrated"]["mean"] for one in m["per_seed"]]
        rows.append([m["model"], len(m["seeds"]), *cells, f"{sum(floors) / len(floors):.3f}",
                     f"{m['majority_accuracy']:.3f}"])
    note = (f"{m['split']} split, n = {m['n']}; positive class: {m['positive']}; mean ± standard deviation over runs "
            "(seeds, or encoders × label draws); ECE: top-label, equal-width bins; ECE floor: what a perfectly "
            "calibrated model would show here; Majority: always saying the commoner class.")
    return table(["Model", "Runs", *COLUMNS, "ECE floor", "Majority"], rows) + "\n\n" + note


def run_table(run: dict) -> str:
    """What was run, as a table of two columns, from run.json."""
    rows = [["Seeds", ", ".join(map(str, run["seeds"]))], ["Split hash", run["split_hash"]], *run["parameters"].items(),
            ["Backbone", run["backbone"]], ["Time", f"{run['seconds']:.0f} s on {run['hardware']['device']}"],
            ["Versions", ", ".join(f"{package} {version}" for package, version in run["versions"].items())]]
    return table(["What", "Value"], rows)


def new_readme(week: Week, dataset: str, name: str) -> str:
    """The first README of a week: the contract's sections, empty, for the student to write."""
    parts = [f"# Week {week.number}: {week.title} ({dataset}, {name})\n",
             *(render_between_markers("", block, "") for block in ("banner", "results")),
             *(f"## {section.title}\n\n> {section.ask}\n" for section in week.sections)]
    return "\n".join([*parts, "## How it was run\n", render_between_markers("", "run", "")])


def new_task_readme(task: Task, dataset: str, name: str) -> str:
    """The first README of an extra task, with room for what the student concludes."""
    banner, results, run = (render_between_markers("", block, "") for block in ("banner", "results", "run"))
    ask = "> Two to four sentences: what is clear, what lies within the spread, what you would try next.\n"
    return "\n".join([f"# Task {task.id}: {task.description} ({dataset}, {name})\n", banner, results,
                      "## What it shows\n", ask, "## How it was run\n", run])


def has_own_words(text: str) -> bool:
    """Whether anything, be it a heading, stands outside the rendered blocks."""
    return bool(re.search(r"\S", re.sub(r"(?s)<!-- medssl:(\w+)\b[^>]*-->.*?<!-- /medssl:\1 -->|\ufeff", "", text)))


def unfilled_sections(text: str, week: Week) -> list[str]:
    """Titles of the week's sections that are absent from a README or hold no words of the student's own."""
    heads = re.split(r"(?m)^#+[ \t]*(.*?)[ \t#]*$", re.sub(r"(?s)<!--.*?-->", "", text))
    bodies = zip(heads[1::2], heads[2::2], strict=True)
    own = {title.casefold(): re.sub(r"(?m)^[ \t]*>.*$", "", body) for title, body in bodies}
    return [s.title for s in week.sections if not re.search(r"\w", own.get(s.title.casefold(), ""))]


def files_table(week: Week) -> str:
    """What one week hands in, for its course page."""
    rows = [[f"`{slot.path}`", "yes" if slot.required else "if you like", slot.about] for slot in week.files]
    return f"Folder: `{week.folder}/`\n\n" + table(["File", "Required", "Why"], rows)


def syllabus_table() -> str:
    """One row a week: notebook, what must be handed in, and what it needs from earlier weeks."""
    rows = [[week.number, week.title, f"`{week.notebook}`", f"`{week.folder}/`",
             ", ".join(f"`{slot.path}`" for slot in week.files if slot.required),
             ", ".join(f"week {need.week} `{need.file}`" for need in week.needs)] for week in load_contract().weeks]
    return table(["Week", "Title", "Notebook", "Folder", "Hand in", "Starts from"], rows)


def tasks_table() -> str:
    """The extra tasks of weeks 5-7, as they stand on the task board."""
    rows = [[task.id, task.dataset, task.description, "", ""] for task in load_contract().tasks]
    return table(["Task", "Dataset", "Description", "Owner 1", "Owner 2"], rows)
