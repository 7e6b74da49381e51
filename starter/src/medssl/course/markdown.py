"""Markdown that is made from data: tables between markers, so that nobody types a number and nobody loses a word."""

import re

from medssl.course.contract import Contract, Week, load_contract

COLUMNS = {"Accuracy": "accuracy", "Balanced acc.": "balanced_accuracy", "AUROC": "auroc", "AUPRC": "auprc",
           "ECE": "ece", "Brier": "brier"}


def render_between_markers(text: str, name: str, body: str) -> str:
    """`text` with what stands between the markers called `name` replaced by `body`; all else stays byte for byte.

    A pair must be whole: beside a marker whose partner was deleted nothing is taken away. Without a whole pair a new
    block goes to the end.
    """
    begin, end = rf"<!-- medssl:{name}\b[^>]*-->", rf"<!-- /medssl:{name} -->"
    block = f"<!-- medssl:{name} (rendered: write outside of it) -->\n{body.strip()}\n<!-- /medssl:{name} -->"
    new, found = re.subn(rf"(?s){begin}(?:(?!{begin}).)*?{end}", lambda _: block, text)
    return new if found else (text.rstrip("\n") + "\n\n" if text.strip() else "") + block + "\n"


def cell(value) -> str:
    """Text that cannot break out of a table cell or of the markers."""
    return re.sub(r"\s+", " ", str(value)).replace("|", "\\|").replace("<", "&lt;")


def table(header: list, rows: list[list]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)


def mean_std(mean: float, std: float | None, seeds: int) -> str:
    """0.863 ± 0.012, or the bare number where one seed has no spread."""
    return f"{mean:.3f} ± {std:.3f}" if seeds > 1 and std is not None else f"{mean:.3f}"


def metrics_table(metrics: list[dict]) -> str:
    """One row for each metrics JSON, mean ± standard deviation over seeds, with what the reader must know under it."""
    rows = []
    for m in metrics:
        spread, seeds = m["std"], len(m["seeds"])
        shown = [mean_std(m[key], spread.get(key), seeds) if key in m else "" for key in COLUMNS.values()]
        rows.append([m["model"], seeds, *shown, f"{m['majority_accuracy']:.3f}" if "majority_accuracy" in m else ""])
    if not rows:
        return "_No metrics yet._"
    first = metrics[0]
    note = (f"{first['split']} split, n = {first['n']}; positive class: {cell(first['positive'])}; mean ± standard "
            "deviation over seeds; ECE: top-label, equal-width bins; Majority: always saying the commoner class.")
    return table(["Model", "Seeds", *COLUMNS, "Majority"], rows) + "\n\n" + note


def run_table(run: dict) -> str:
    """What was run, as a table of two columns, from run.json."""
    rows = [["seeds", ", ".join(map(str, run["seeds"]))]]
    rows += [[key.replace("_", " "), run[key]] for key in ("split_hash", "backbone")]
    rows += [[key, value] for key, value in run["parameters"].items()]
    rows += [["time", f"{run['seconds']:.0f} s on {run['hardware']['device']}"]]
    rows += [["versions", ", ".join(f"{name} {version}" for name, version in run["versions"].items())]]
    return table(["", ""], rows)


def new_readme(week: Week, dataset: str, name: str) -> str:
    """The first README of a week: the contract's sections, empty, for the student to write."""
    parts = [f"# Week {week.number}: {week.title} ({dataset}, {name})"]
    blocks = ["banner"] + ["results"] * any(slot.kind == "metrics" for slot in week.files)
    parts += [render_between_markers("", block, "").strip() for block in blocks]
    parts += [f"## {section.title}\n\n> {section.ask}" for section in week.sections]
    parts += ["## How it was run", render_between_markers("", "run", "").strip()]
    return "\n\n".join(parts) + "\n"


def unfilled_sections(text: str, week: Week) -> list[str]:
    """Titles of the week's sections that are absent from a README or hold no words of the student's own."""
    text = re.sub(r"(?s)<!--.*?-->", "", text)
    parts = re.split(r"(?m)^#+[ \t]*(.*?)[ \t#]*$", text)
    bodies = {title.casefold(): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}
    own = {title: re.sub(r"(?m)^[ \t]*>.*$", "", body) for title, body in bodies.items()}
    return [s.title for s in week.sections if not re.search(r"\w", own.get(s.title.casefold(), ""))]


def files_table(week: Week) -> str:
    """What one week hands in, for its course page."""
    rows = [[f"`{slot.path}`", "yes" if slot.required else "if you like", slot.about] for slot in week.files]
    return f"Folder: `{week.folder}/`\n\n" + table(["File", "Required", "Why"], rows)


def syllabus_table(contract: Contract | None = None) -> str:
    """One row a week: notebook, what must be handed in, and what it needs from earlier weeks."""
    contract = contract or load_contract()
    rows = []
    for week in contract.weeks:
        files = ", ".join(f"`{slot.path}`" for slot in week.files if slot.required)
        needs = ", ".join(f"week {need.week} `{need.file}`" for need in week.needs)
        rows.append([week.number, week.title, f"`{week.notebook}`", f"`{week.folder}/`", files, needs])
    return table(["Week", "Title", "Notebook", "Folder", "Hand in", "Starts from"], rows)


def tasks_table(contract: Contract | None = None) -> str:
    """The extra tasks of weeks 5-7, as they stand on the task board."""
    tasks = (contract or load_contract()).tasks
    return table(["Task", "Dataset", "Description", "Owner 1", "Owner 2"],
                 [[task.id, task.dataset, task.description, "", ""] for task in tasks])
