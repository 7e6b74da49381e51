"""The lint of every notebook: what a student opens is whole, readable and free of yesterday's outputs."""

import ast
import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from medssl.about import REPOSITORY, colab_url
from medssl.course import contract

REPO = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))
SETUP = (REPO / "starter/src/medssl/course/templates/setup_cell.py").read_text().strip()

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def week_of(path):
    """The number of its week, or None for a notebook that belongs to none."""
    match = re.match(r"week(\d+)_", path.stem)
    return int(match[1]) if match else None


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


def code_cells(path):
    return [c for c in read(path)["cells"] if c["cell_type"] == "code"]


def prose(path):
    return "\n".join(source(c) for c in read(path)["cells"] if c["cell_type"] == "markdown")


def tagged(path, tag):
    return [c for c in code_cells(path) if tag in c["metadata"].get("tags", [])]


def lines(cell):
    """Lines of code: no blank ones, no comments."""
    return [line for line in source(cell).splitlines() if line.strip() and not line.strip().startswith("#")]


def assignments(cell):
    body = ast.parse(source(cell)).body
    return {n.targets[0].id: ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign)}


def test_is_a_valid_notebook_without_outputs(path):
    nbformat.validate(nbformat.reads(path.read_text(encoding="utf-8"), as_version=4))
    for cell in code_cells(path):
        assert cell["outputs"] == [] and cell["execution_count"] is None, source(cell)[:80]


def test_has_exactly_one_parameters_cell_with_the_values_of_the_colab_profile(path):
    (cell,) = tagged(path, "parameters")
    week, found = week_of(path), assignments(cell)
    profile = contract.profile_parameters("colab", week or path.stem)
    own = contract.load_profiles()["colab"].get(path.stem, {})
    names = profile if week else {"DATASET", *own, *found}  # a notebook of no week takes what it needs of the rest
    assert found == {name: profile[name] for name in names}


def test_begins_with_a_badge_that_opens_this_very_notebook(path):
    badges = re.findall(r"https://colab\.research\.google\.com/github/[^\s)\"']+", prose(path))
    assert badges == [colab_url(path.name)]
    assert source(read(path)["cells"][0]).startswith("# Week " if week_of(path) else "# ")


def test_has_the_one_set_up_cell(path):
    (cell,) = tagged(path, "setup")
    assert source(cell).strip() == SETUP
    assert REPOSITORY in SETUP


def test_cells_are_short_and_explained(path):
    cells = [c for c in code_cells(path) if "setup" not in c["metadata"].get("tags", [])]
    sizes = [len(lines(c)) for c in cells]
    words = len(re.findall(r"[A-Za-z][\w'’-]*", re.sub(r"\$[^$]*\$|https?://\S+", " ", prose(path))))
    assert max(sizes) <= 40, f"a cell of {max(sizes)} lines"
    assert 3 <= statistics.median(sizes) <= 12, sizes
    assert 4 <= words / sum(sizes) <= 10, f"{words} words for {sum(sizes)} lines of code"


def test_pictures_have_alt_text(path):
    assert not re.findall(r"!\[\s*\]\(", prose(path)), "a markdown picture without alt text"
    assert all(re.search(r"alt=[\"'][^\"']+", tag) for tag in re.findall(r"<img[^>]*>", prose(path)))


def test_tells_the_story_in_the_order_of_the_house(path):
    headings = [h.lower() for h in re.findall(r"^#+ (.*)$", prose(path), re.M)]
    wanted = ["what you will learn", "what to look for", "exercise", "hand in", "checklist"]
    missing = [w for w in wanted if not any(w in h for h in headings)]
    assert not missing, f"no heading with: {missing}"


def test_has_no_shell_lines_that_move_torch_or_numpy(path):
    for cell in code_cells(path):
        assert not re.search(r"^\s*[!%]\s*(pip|conda)", source(cell), re.M), "installs belong to the set-up cell"


def test_does_not_hide_failures_or_name_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert "raises-exception" not in text, "a cell is allowed to fail"
    assert not re.search(r"@[A-Z]+@", text), "a placeholder was not filled"
    assert not re.search(r"/(home|Users|root|work)/\w", text), "a path of one machine"
