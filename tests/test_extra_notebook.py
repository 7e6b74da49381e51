"""notebooks/extra_tasks.ipynb: each task computes alone, and hands in the files that its table promises."""

import ast
import json
import re
from pathlib import Path

import pytest

from medssl.course import load_contract, notebook
from medssl.errors import MedsslError

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks/extra_tasks.ipynb"
CELLS = [("".join(c["source"]), c["cell_type"], c["metadata"].get("tags", []))
         for c in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]]
TASKS = [task.id for task in load_contract().tasks]
# name of the file -> week and file, as the table at the top has them
TABLE = {row[0]: (int(row[3]), re.findall(r"`([^`]+)`", row[4])) for row in
         ([cell.strip() for cell in line.strip("|").split("|")] for line in CELLS[0][0].splitlines()
          if re.match(r"\| [PB]\d ", line))}


def sections():
    """{task: the parsed code cells of its section}; "" is what stands before the first."""
    found, here = {}, ""
    for source, kind, tags in CELLS:
        if kind == "markdown" and (heading := re.search(r"^## (.*)$", source, re.M)):
            task = re.match(r"([PB]\d) · ", heading[1])
            here = task[1] if task else "" if here == "" else "after"
        elif kind == "code" and "setup" not in tags:
            found.setdefault(here, []).append(ast.parse(source))
    return found


def test_every_task_of_the_contract_has_a_section_and_a_line_in_the_table():
    assert [one for one in sections() if one not in ("", "after")] == TASKS == list(TABLE)


@pytest.mark.parametrize("task", TASKS)
def test_a_section_computes_only_where_its_task_was_chosen(task):
    """Outside of `if "P1" in todo:` a section may only define functions: with another TASK it costs nothing."""
    for cell in sections()[task]:
        for statement in cell.body:
            if not isinstance(statement, ast.FunctionDef):
                assert ast.unparse(statement).startswith(f"if '{task}' in todo:"), ast.unparse(statement)[:100]
                assert not statement.orelse


def names_used(nodes):
    """Names that these lines read and do not set themselves before."""
    import builtins

    class Names(ast.NodeVisitor):
        def __init__(self):
            self.have, self.want = {*dir(builtins), "display"}, set()

        def visit_Name(self, node):
            if isinstance(node.ctx, ast.Load):
                self.want |= {node.id} - self.have
            else:
                self.have.add(node.id)

        def visit_arg(self, node):
            self.have.add(node.arg)

        def visit_alias(self, node):
            self.have.add((node.asname or node.name).split(".")[0])

        def visit_FunctionDef(self, node):
            self.have.add(node.name)
            self.generic_visit(node)

        def visit_Assign(self, node):
            self.visit(node.value)
            for target in node.targets:
                self.visit(target)

        def visit_comprehension(self, node):
            self.visit(node.iter)
            self.visit(node.target)
            for test in node.ifs:
                self.visit(test)

        def visit_GeneratorExp(self, node):
            for part in node.generators:
                self.visit(part)
            for part in ast.iter_child_nodes(node):
                if not isinstance(part, ast.comprehension):
                    self.visit(part)

        visit_ListComp = visit_DictComp = visit_SetComp = visit_GeneratorExp

    names = Names()
    for node in nodes:
        names.visit(node)
    return names


@pytest.mark.parametrize("task", TASKS)
def test_a_section_needs_nothing_of_another_section(task):
    before = names_used(sections()[""])
    own = names_used(sections()[task])
    assert own.want <= before.have, f"{sorted(own.want - before.have)} come from another section"


@pytest.mark.parametrize("task", TASKS)
def test_a_section_hands_in_what_the_table_says_in_that_week(task):
    code = "\n".join(ast.unparse(cell) for cell in sections()[task])
    week, files = TABLE[task]
    assert f"begin('{task}', {week})" in code and f"finish('{task}', hand_in" in code
    wanted = [name if not name.startswith(".") else files[0].rpartition(".")[0] + name for name in files]
    assert [name for name in wanted if f"'{name}'" not in code] == []
    for name in re.findall(r"hand_in\.\w+\('([^']+)'", code):
        assert load_contract().task_for(week, name).id == task, name


def test_choosing_tasks(capsys):
    both = {"P1": "pneumoniamnist", "B3": "breastmnist"}
    for task, key in both.items():
        assert notebook.choose_tasks(task) == notebook.choose_tasks(task.lower()) == {task: key}
        assert notebook.choose_tasks(task, phantom=True) == {task: key.replace("mnist", "phantom")}
    everything = notebook.choose_tasks("all")
    assert list(everything) == TASKS and set(everything.values()) == {"pneumoniamnist", "breastmnist"}
    assert capsys.readouterr().out == ""
    assert notebook.choose_tasks("all", "BreastMNIST") == {f"B{k}": "breastmnist" for k in range(1, 6)}
    assert "do not belong to breastmnist: P1, P2" in capsys.readouterr().out
    assert notebook.choose_tasks("B1", "breastphantom") == {"B1": "breastphantom"}
    assert notebook.choose_tasks("P1", "breastmnist") == {}  # `medssl run all --dataset breastmnist` goes on
    for wrong in ("P6", "", "B"):
        with pytest.raises(MedsslError, match="There is no task"):
            notebook.choose_tasks(wrong)


def test_rows_as_csv_and_as_a_table():
    rows = [{"model": "a, b", "auroc": 1 / 3, "n": 5}, {"model": "c|d", "auroc": None, "n": 6}]
    assert notebook.csv_text(rows) == 'model,auroc,n\n"a, b",0.333333,5\nc|d,,6\n'
    assert notebook.table(rows).splitlines()[2:] == ["| a, b | 0.333 | 5 |", "| c\\|d | – | 6 |"]
    assert notebook.interval({"mean": 0.021, "lo": -0.01, "hi": 0.052}) == "+0.021 [-0.010, +0.052]"
