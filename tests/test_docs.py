"""What the pages say is true of this repository: links, addresses, tables, templates and every command they quote."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from medssl.about import REPOSITORY, VERSION, colab_url
from medssl.cli import app
from medssl.course.contract import load_contract, load_profiles
from medssl.data import list_datasets

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted([REPO / "README.md", REPO / "starter/README.md", REPO / "results/README.md", *REPO.glob("course/*.md"),
                *REPO.glob("reports/*.md"), *REPO.glob(".github/*.md")])  # fmt: skip
TEMPLATES = sorted(REPO.glob(".github/ISSUE_TEMPLATE/*.yml"))
FORMS = [path for path in TEMPLATES if path.name != "config.yml"]
WEEKS_THERE = [week for week in load_contract().weeks if (REPO / "notebooks" / week.notebook).exists()]
name = lambda path: str(path.relative_to(REPO))  # noqa: E731
each_page = pytest.mark.parametrize("page", PAGES, ids=name)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return re.sub(r"(?sm)^```.*?^```$", "", read(page))


def anchors(page: Path) -> set[str]:
    """The addresses that GitHub gives to a page's headings."""
    heads = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", head.lower())) for head in heads}


@each_page
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)} links to {target}"
        assert not anchor or anchor in anchors(there), f"{name(page)} links to {target}: no such heading"


@pytest.mark.parametrize("path", [*PAGES, *TEMPLATES, REPO / "CITATION.cff", *sorted(REPO.glob("notebooks/*.ipynb"))],
                         ids=name)  # fmt: skip
def test_there_is_one_repository(path):
    ours = REPOSITORY.removeprefix("https://github.com/")
    own = f"YOUR-ACCOUNT/{ours.split('/')[1]}"
    found = re.findall(r"github\.com/([\w.-]+/[\w.-]+)", read(path))
    found += re.findall(r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)", read(path))
    assert {f.removesuffix(".git") for f in found} <= {ours, own}
    opened = re.findall(r"https://colab\.research\.google\.com/github/[^\s)\"'\\]+", read(path))
    assert set(opened) <= {colab_url(notebook.name) for notebook in REPO.glob("notebooks/*.ipynb")}
    for file in re.findall(rf"{REPOSITORY}/blob/main/([^\s)\"']+)", read(path)):
        assert (REPO / file).exists(), file


def test_the_citation_names_this_version():
    citation = yaml.safe_load(read(REPO / "CITATION.cff"))
    assert (citation["version"], citation["repository-code"]) == (VERSION, REPOSITORY)
    assert citation["cff-version"] == "1.2.0" and citation["authors"] == [{"name": "The medmnist-ssl authors"}]
    assert citation["license"] == "MIT" and read(REPO / "LICENSE").startswith("MIT License")


def render():
    spec = importlib.util.spec_from_file_location("render", REPO / "course/render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", render().tables())
def test_tables_are_what_the_contract_says_today(page):
    text = read(REPO / page)
    markers = re.findall(r"<!-- medssl:(\w+)", text)
    assert sorted(markers) == sorted(render().tables()[page]), "a table that nothing renders, or twice, or none"
    assert render().rendered(page) == text, "run: python course/render.py"


def test_the_pages_say_which_weeks_exist_and_how_long_they_take():
    first, last = WEEKS_THERE[0].number, WEEKS_THERE[-1].number
    assert f"Weeks {first}-{last} exist today" in read(REPO / "README.md")
    assert f"Today the notebooks of weeks {first}-{last} exist" in read(REPO / "course/syllabus.md")
    longest = max(week.budget_seconds for week in WEEKS_THERE)
    assert f"at most {longest} seconds on two cores" in re.sub(r"\s+", " ", read(REPO / "README.md"))
    for week in load_contract().weeks:
        head = f"## Week {week.number}: "
        assert (week in WEEKS_THERE) == (head not in read(REPO / "course/syllabus.md")), f"week {week.number}: {head}"
        assert (week in WEEKS_THERE) == (REPO / f"course/{week.key}.md").exists()


@pytest.mark.parametrize("path", FORMS, ids=name)
def test_issue_forms_are_such_as_github_accepts(path):
    form = yaml.safe_load(read(path))
    assert {"name", "description", "title", "body"} <= form.keys()
    for field in form["body"]:
        assert field["type"] in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"].get("label") or field["type"] == "markdown"
        options = field["attributes"].get("options", [])
        assert all(isinstance(option, str) for option in options) and len(set(options)) == len(options)
        assert bool(options) == (field["type"] == "dropdown")
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(set(ids)) == len(ids)


def test_issue_forms_carry_the_course_titles_and_the_contract_choices():
    forms = {path.stem: yaml.safe_load(read(path)) for path in FORMS}
    assert {stem: form["title"] for stem, form in forms.items()} == {
        "signup": "Signup: <your_name> — primary=<dataset_key>",
        "week_question": "WeekX: <name> <dataset>",
        "week5_extra": "Week5 extra: <task_id> – <dataset> – <your_name>",
    }
    choices = {(stem, field.get("id")): field["attributes"].get("options")
               for stem, form in forms.items() for field in form["body"]}  # fmt: skip
    contract = load_contract()
    assert choices["week5_extra", "task"] == [task.id for task in contract.tasks]
    assert choices["week_question", "week"][:-1] == [str(week.number) for week in contract.weeks]
    assert choices["week_question", "dataset"][:-1] == list(contract.datasets)
    real = [key for key, facts in contract.datasets.items() if not facts.phantom_of and not facts.weeks]
    for option, key in zip(choices["signup", "dataset"], real, strict=True):
        zero, one = (words.split(",")[-1].strip() for words in contract.datasets[key].classes)
        assert option.startswith(f"{key} (") and f"0 = {zero}" in option and one in option.partition("1 = ")[2]


def test_the_task_board_has_the_contract_tasks_and_room_for_two_owners():
    lines = [line for line in read(REPO / "reports/task_board_week5_7.md").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["Task", "Dataset", "Description", "Owner 1", "Owner 2"]
    assert [row[:3] for row in rows[2:]] == [[t.id, t.dataset, t.description] for t in load_contract().tasks]
    assert all(len(row) == 5 for row in rows)


def quoted(page: Path) -> list[str]:
    """Every command on a page: lines of code blocks, and what stands between backticks; not what is only planned."""
    blocks = re.findall(r"(?sm)^```(?:bash|powershell)\n(.*?)^```$", read(page))
    lines = [part for block in blocks for line in block.splitlines() for part in line.split("  #")[0].split(" && ")]
    told = "\n".join(part for part in re.split(r"(?<=\.)\s|\n\n", prose(page)) if "planned" not in part)
    spans = [re.sub(r"\s+", " ", span) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", told)]
    return [command.strip() for command in [*lines, *spans] if "…" not in command]


def options(command=None) -> set[str]:
    """Every option of every verb."""
    command = command or typer.main.get_command(app)
    deeper = [options(one) for one in getattr(command, "commands", {}).values()]
    return {opt for param in command.params for opt in param.opts}.union(*deeper)


def check_medssl(words: list[str], command=None) -> None:
    """Parse the words as the command line would, without running anything."""
    command = command or typer.main.get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no verb {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):
        assert not words or words[0] in ("--help", "--version")
        return
    given = command.make_context(command.name, list(words)).params
    contract, profiles = load_contract(), load_profiles()
    if command.name == "run":
        assert given["profile"] in profiles
        there = {week.key for week in WEEKS_THERE} | {extra.key for extra in contract.notebooks}
        assert {w for w in given["weeks"] if w != "all"} <= there
        known = {key for tables in profiles.values() for values in tables.values() for key in values}
        assert {text.partition("=")[0] for text in given["parameter"] or []} <= known
    if given.get("dataset") and command.name == "run":
        assert given["dataset"] in contract.datasets
    elif given.get("dataset") or given.get("key"):
        assert (given.get("dataset") or given["key"]) in {row["key"] for row in list_datasets("nowhere")}


@each_page
def test_every_command_on_a_page_can_be_typed(page):
    targets = set(re.search(r"(?m)^\.PHONY: (.*)$", read(REPO / "Makefile"))[1].split())
    for command in quoted(page):
        command = re.sub(r"^((?:\w+=\S* )*)", "", command)  # CUDA_VISIBLE_DEVICES= medssl run ...
        try:
            if re.match(r"(python -m )?medssl\b(?! (package|is))(?!\.)", command):
                check_medssl(shlex.split(command.removeprefix("python -m ")[len("medssl"):]))
            elif command.startswith("python -m src."):
                verb = {"src.train_medmnist": "train", "src.train_ssl": "pretrain"}[shlex.split(command)[2]]
                check_medssl(shlex.split(command)[3:], typer.main.get_command(app).commands[verb])
            elif command.startswith("-"):  # an option told by itself
                assert re.split("[ =]", command)[0] in options(), "no verb has this option"
            elif command.startswith("make "):
                assert {word for word in command.split()[1:] if "=" not in word} <= targets
            elif file := re.match(r"(?:python -m )?(?:pip install -r|python) ([\w./-]+\.(?:txt|lock|py))", command):
                assert (REPO / file[1]).exists() or (REPO / "starter" / file[1]).exists()
        except Exception as error:
            raise AssertionError(f"{name(page)}: `{command}`: {type(error).__name__}: {error}") from error


@each_page
def test_every_import_on_a_page_works(page):
    for module, names in re.findall(r"from (medssl[\w.]*) import ([\w, ]+)", read(page)):
        there = importlib.import_module(module)
        assert all(hasattr(there, one.strip()) for one in names.split(",")), f"from {module} import {names}"


@each_page
def test_no_page_names_a_machine(page):
    assert not re.search(r"/(home|Users|root|work)/\w", read(page))
