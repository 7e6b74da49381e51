"""The runner on many notebooks: their order, parameters and budgets, and what is told before anything starts."""

import time

import pytest
from tiny_notebooks import notebook

from medssl.course import run
from medssl.course.contract import load_contract
from medssl.course.parameters import choose_parameters, parameters_of
from medssl.errors import MedsslError


def test_weeks_run_after_what_they_need_whatever_order_is_asked_for(tmp_path):
    contract = load_contract()
    for week in contract.weeks:
        notebook(tmp_path / week.notebook)
    notebook(tmp_path / "a_bug_museum.ipynb")
    steps = run.find_steps(["all"], tmp_path)
    order = [step.week for step in steps]
    assert order[-1] is None and len(order) == len(contract.weeks) + 1
    for week in contract.weeks:
        assert all(order.index(need.week) < order.index(week.number) for need in week.needs)
    again = run.find_steps(["week05", "4", str(tmp_path / contract.week(1).notebook), "Week4"], tmp_path)
    assert [step.week for step in again] == [1, 4, 5]
    for wrong in ("week99", "nonsense", str(tmp_path / "none.ipynb")):
        with pytest.raises(MedsslError):
            run.find_steps([wrong], tmp_path)
    with pytest.raises(MedsslError, match="no notebook"):
        run.find_steps(["all"], tmp_path / "empty")


def test_parameters_come_from_profile_then_from_what_was_asked(tmp_path):
    one = notebook(tmp_path / "one.ipynb")
    two = notebook(tmp_path / "two.ipynb", parameters="SEEDS: int = 3  # how many\nEXTRA = None\nDERIVED = SEEDS + 1")
    assert parameters_of(two) == {"SEEDS": 3, "EXTRA": None, "DERIVED": None}
    profile = {"DATASET": "breastphantom", "SEEDS": 2, "NOT_IN_ANY": 1}
    given = {"NAME": "007", "LR": "1", "FLIP": "false", "FRACTIONS": "0.1,0.2", "EXTRA": "[1, 2]"}
    chosen = choose_parameters({one: profile, two: profile}, given)
    flags = {"LR": 1, "FLIP": False, "FRACTIONS": (0.1, 0.2)}
    assert chosen[one] == {"DATASET": "breastphantom", "SEEDS": 2, "NAME": "007"} | flags
    assert chosen[two] == {"SEEDS": 2, "EXTRA": [1, 2]}


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("SEDES", "1", "SEEDS"),
        ("lr", "0.1", "LR"),
        ("SEEDS", "many", "a whole number"),
        ("SEEDS", "2.5", "a whole number"),
        ("SEEDS", "true", "a whole number"),
        ("LR", "fast", "a number"),
        ("FLIP", "1", "True or False"),
        ("FRACTIONS", "half", "a list"),
    ],
)
def test_a_mistyped_parameter_is_an_error(tmp_path, key, text, says):
    path = notebook(tmp_path / "one.ipynb")
    with pytest.raises(MedsslError, match=says) as caught:
        choose_parameters({path: {}}, {key: text})
    assert key in str(caught.value)


def test_a_mistyped_parameter_stops_everything_before_it_starts(tmp_path):
    notebook(tmp_path / "week01_baseline.ipynb", 'open("started", "w")')
    out = tmp_path / "out"
    with pytest.raises(MedsslError, match="SEEDS"):
        run.run_weeks(["all"], given={"SEDES": "1"}, out=out, notebooks=tmp_path)
    with pytest.raises(MedsslError, match="colab"):
        run.run_weeks(["all"], profile="collab", out=out, notebooks=tmp_path)
    assert not out.exists()


def test_a_notebook_of_no_week_runs_by_its_path_and_among_all(tmp_path, capsys, monkeypatch):
    """Only papermill is left out: which notebook gets which of the profile's values is decided before it."""
    got = {}
    monkeypatch.setattr(run, "run_notebook", lambda path, values, *_: got.update({path.name: values}))
    own, week = notebook(tmp_path / "own.ipynb"), notebook(tmp_path / load_contract().week(1).notebook)
    for words in ([str(own)], ["all"]):
        assert run.run_weeks(words, profile="quick", out=tmp_path / "out", notebooks=tmp_path) == 0
    common = {"DATASET": "breastphantom", "NAME": "quick", "SEEDS": 2}
    assert got == {own.name: common, week.name: common}
    monkeypatch.chdir(tmp_path)
    assert [step.path for step in run.find_steps(["own.ipynb", str(own)], tmp_path)] == [own]  # once, however spelt
    (tmp_path / "notes.md").write_text("# Notes")
    with pytest.raises(MedsslError, match="the path of a notebook"):
        run.find_steps(["notes.md"], tmp_path)


def test_the_notebooks_of_no_week_run_by_their_names_after_the_weeks(tmp_path, capsys, monkeypatch):
    got, contract = {}, load_contract()
    monkeypatch.setattr(run, "run_notebook", lambda path, values, *_: got.update({path.stem: values}))
    for name in ("own", "bug_museum", contract.week(2).notebook.removesuffix(".ipynb")):
        notebook(tmp_path / f"{name}.ipynb", parameters='DATASET = "breastmnist"')
    notebook(tmp_path / "extra_tasks.ipynb", parameters='TASK = "P1"\nPHANTOM = False\nNAME = "your_name"')
    steps = run.find_steps(["all"], tmp_path)
    assert [step.path.stem[:6] for step in steps] == ["week02", "extra_", "bug_mu", "own"]
    assert [step.week for step in steps] == [2, None, None, None]
    assert [step.budget for step in steps[1:]] == [*(extra.budget_seconds for extra in contract.notebooks), 0]
    assert [step.path.stem for step in run.find_steps(["Bug_Museum", "2", "extra_tasks"], tmp_path)] == [
        contract.week(2).notebook.removesuffix(".ipynb"), "extra_tasks", "bug_museum"]  # fmt: skip
    for profile, task in (("quick", {"TASK": "B2", "PHANTOM": True}), ("betty", {"TASK": "B2", "PHANTOM": False})):
        words = ["extra_tasks", str(tmp_path / "bug_museum.ipynb")]
        given = {"TASK": "B2"}
        assert run.run_weeks(words, profile=profile, given=given, out=tmp_path / "out", notebooks=tmp_path) == 0
        assert got.pop("extra_tasks") == {"NAME": profile} | task
        assert set(got.pop("bug_museum")) == {"DATASET"} and not got
    lines = capsys.readouterr().out.splitlines()
    assert "(budget 90 s), at most 90 s to go" in lines[0] and "budget" not in lines[4]
    (tmp_path / "bug_museum.ipynb").unlink()
    with pytest.raises(MedsslError, match="no notebook .*bug_museum.ipynb"):
        run.find_steps(["bug_museum"], tmp_path)
    with pytest.raises(MedsslError, match="extra_tasks, bug_museum, `all`"):
        run.find_steps(["bug_musuem"], tmp_path)


def test_a_week_without_a_notebook_is_told_inside_the_course_folder_only(tmp_path):
    contract, notebooks = load_contract(), tmp_path / "notebooks"
    for number in (1, 2, 3):
        notebook(notebooks / contract.week(number).notebook)
    with pytest.raises(MedsslError, match=r"there is no notebook (.|\n)*inside your clone") as caught:
        run.find_steps(["week04"], notebooks)
    assert "yet" not in str(caught.value)
    (tmp_path / "starter/src/medssl").mkdir(parents=True)
    with pytest.raises(MedsslError, match="^Week 4 has no notebook yet: weeks 1, 2 and 3 have one."):
        run.find_steps(["week04"], notebooks)
    assert [step.week for step in run.find_steps(["week02"], notebooks)] == [2]


@pytest.mark.parametrize(
    ("profile", "seconds", "says", "not_said"),
    [("quick", 66, "s, over its budget of", "(budget"), ("quick", 5, "(budget", "over"), ("colab", 66, "ok", "budget")],
)
def test_a_run_over_its_budget_says_so_and_is_good(tmp_path, capsys, monkeypatch, profile, seconds, says, not_said):
    path, clock = notebook(tmp_path / load_contract().week(1).notebook), [0.0]
    seconds += load_contract().week(1).budget_seconds if seconds > 5 else 0
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(run, "run_notebook", lambda *_: clock.__setitem__(0, float(seconds)))
    assert run.run_weeks([str(path)], profile=profile, out=tmp_path / "out", notebooks=tmp_path) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert says in line and not_said not in line and f"{seconds} s" in line


def test_notebooks_run_side_by_side_each_after_what_it_needs(tmp_path, capsys, monkeypatch):
    """Week 5 starts from weeks 3 and 4, week 6 from week 5 too; a notebook of no week comes after all of them."""
    contract, began, ended, together = load_contract(), {}, {}, []

    def pretend(path, *_):
        began[path.stem[:6]] = time.monotonic()
        together.append(len(began) - len(ended))
        time.sleep(0.05)
        ended[path.stem[:6]] = time.monotonic()
        if path.stem.startswith("week03"):
            raise MedsslError("week 3 broke")

    monkeypatch.setattr(run, "run_notebook", pretend)
    for number in (1, 3, 4, 5, 6):
        notebook(tmp_path / contract.week(number).notebook)
    notebook(tmp_path / "own.ipynb")
    options = {"profile": "quick", "out": tmp_path / "out", "notebooks": tmp_path, "jobs": 2}
    assert run.run_weeks(["all"], keep_going=True, **options) == 1
    for later, earlier in (("week05", "week03"), ("week05", "week04"), ("week06", "week05"), ("own", "week06")):
        assert began[later] > ended[earlier]
    lines = capsys.readouterr().out.splitlines()
    assert max(together) == 2 and len(began) == 6 and "5 of 6 notebooks" in lines[-1]
    assert sorted(line[:5] for line in lines if line[0] == "[") == [f"[{k}/6]" for k in range(1, 7)]
    began.clear(), ended.clear()
    assert run.run_weeks(["all"], **options) == 1 and "week05" not in began and "own" not in began


def test_results_of_a_trial_run_stay_out_of_what_is_handed_in(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(repo / "tests")
    monkeypatch.delenv("MEDSSL_ROOT", raising=False)
    for inside in ("results", "results/../results/week1", "reports/x", "notebooks"):
        with pytest.raises(MedsslError, match="--out"):
            run.choose_folders(repo / inside, None)
    assert run.choose_folders(None, None) == (repo, repo / "runs/notebooks", repo / "notebooks")
    assert run.choose_folders(repo, None)[1] == repo / "runs/notebooks"  # never beside the originals
    assert run.choose_folders(tmp_path, None)[:2] == (tmp_path, tmp_path / "notebooks")


def test_a_data_set_that_no_week_knows_is_told_before_anything_starts(tmp_path):
    with pytest.raises(MedsslError, match="perhaps breastmnist"):
        run.run_weeks(["week01"], profile="quick", given={"DATASET": "breastmnits"}, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_data_set_goes_only_to_the_weeks_that_take_it(tmp_path, capsys, monkeypatch):
    """Week 12 needs volumes, all other weeks pictures: what does not fit leaves the profile's own data set."""
    got, contract = {}, load_contract()
    monkeypatch.setattr(run, "run_notebook", lambda path, values, *_: got.update({path.stem[:6]: values["DATASET"]}))
    for number in (2, 12):
        notebook(tmp_path / contract.week(number).notebook)
    for profile, asked, expected in (("quick", "breastmnist", ("breastmnist", "adrenalphantom")),
                                     ("colab", "adrenalphantom", ("breastmnist", "adrenalphantom"))):
        words, given = ["week02", "week12"], {"DATASET": asked}
        assert run.run_weeks(words, profile=profile, given=given, out=tmp_path / "out", notebooks=tmp_path) == 0
        assert got == {"week02": expected[0], "week12": expected[1]}
        assert f"is not for {asked}: it runs on" in capsys.readouterr().out
    for week, asked in (("week02", "adrenalmnist3d"), ("week12", "breastmnist")):
        with pytest.raises(MedsslError, match=f"{week[4:].lstrip('0')} does not run on {asked}"):
            run.run_weeks([week], given={"DATASET": asked}, out=tmp_path / "out", notebooks=tmp_path)
