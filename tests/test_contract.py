"""The contract agrees with itself and with the plan; the settings loader lets no mistake through in silence."""

import dataclasses
import re

import numpy as np
import pytest

from medssl.course import contract
from medssl.course.contract import KINDS, Contract, load_contract, load_profiles, profile_parameters
from medssl.course.markdown import files_table, render_between_markers, syllabus_table, tasks_table, unfilled_sections
from medssl.errors import MedsslError
from medssl.settings import build, read_toml

# Required files of the plan (seed 001), typed here once more; screenshot_env.png has become env.json.
PLAN = {
    1: "test_metrics.json reliability.png README_week1.md",
    2: "metrics_smallcnn.json metrics_resnet18_head.json cm_smallcnn.png cm_resnet18_head.png "
    "misclassified_gallery.png reliability_resnet18_head.png README_week2.md",
    3: "metrics_resnet18_head.json metrics_resnet18_all_basic.json metrics_resnet18_all_augA.json "
    "curves_resnet18_head.png curves_resnet18_all_basic.png curves_resnet18_all_augA.png README_week3.md",
    4: "ssl_config.json ssl_loss_curve.png README_week4.md",
    5: "probe_metrics_5pct.json probe_metrics_10pct.json probe_vs_supervised_plot_acc.png "
    "probe_vs_supervised_plot_auroc.png README_week5_core.md",
    6: "metrics_supervised_baseline.json metrics_ssl_probe.json metrics_ssl_finetune.json reliability_supervised.png "
    "reliability_ssl_finetune.png README_week6_core.md",
    7: "roc_curve.png pr_curve.png operating_point_table.md README_week7_core.md",
    8: "{name}_ethics_limits.md",
    9: "draft_v1.pdf figures/*.png",
    10: "slides/*.pdf final_writeup.pdf reproducibility_checklist.md",
}
OPTIONAL = {
    2: "reliability_smallcnn.png",
    3: "metrics_resnet18_all_augB.json aug_ablation_table.md",
    4: "ssl_encoder.pt ssl_proj_head.pt",
    6: "reliability_ssl_probe.png",
    7: "high_conf_error_gallery.png",
}


def test_the_weeks_ask_for_what_the_plan_lists():
    contract = load_contract()
    assert [week.number for week in contract.weeks[:10]] == list(range(1, 11))
    for number, files in PLAN.items():
        required = {slot.short for slot in contract.week(number).files if slot.required}
        assert set(files.split()) <= required, number
        own = {"predictions", "run", "env"}  # recomputable and reproducible: ours, beyond the plan
        added = {s.short for s in contract.week(number).files if s.required and s.kind not in own} - set(
            files.split()
        )
        assert added == ({"reference_supervised.json"} if number == 3 else set())
    for number, files in OPTIONAL.items():
        assert set(files.split()) <= {slot.short for slot in contract.week(number).files if not slot.required}
    for number in range(1, 8):
        assert contract.week(number).folder == f"results/week{number}/{{dataset}}/{{name}}"
        assert {"run.json", "env.json"} <= {slot.short for slot in contract.week(number).files}
    places = {n: {contract.week(n).pattern(s) for s in contract.week(n).files} for n in (8, 9, 10)}
    assert "reports/week8/{name}_ethics_limits.md" in places[8]
    assert {"reports/final_writeup/draft_v1.pdf", "reports/final_writeup/figures/*.png"} <= places[9]
    assert {"results/week10/slides/*.pdf", "results/week10/final_writeup.pdf"} <= places[10]
    assert [task.id for task in contract.tasks] == [f"{letter}{i}" for letter in "PB" for i in range(1, 6)]


def test_the_contract_agrees_with_itself():
    contract = load_contract()
    for week in contract.weeks:
        names = [slot.short for slot in week.files]
        assert len(names) == len(set(names)), week.key
        assert re.fullmatch(rf"{week.key}_\w+\.ipynb", week.notebook) and 0 < week.budget_seconds <= 90
        for slot in week.files:
            assert slot.kind in KINDS and slot.about and week.slot(slot.short) is slot
            assert not set(slot.aliases) & set(names), "an alias is the right name of another file"
            if slot.kind == "metrics":  # every metrics file can be recomputed
                source = week.slot(slot.predictions)
                assert source and source.kind == "predictions" and source.required >= slot.required
        for need in week.needs:
            assert need.why and need.week < week.number
            assert contract.week(need.week).slot(need.file), f"{week.key} needs {need.file}, which nobody hands in"
    for extra in contract.notebooks:
        assert extra.title and 0 < extra.budget_seconds <= 90 and extra.key not in {w.key for w in contract.weeks}
    for task in contract.tasks:
        assert task.dataset in contract.datasets
        assert contract.task_for(task.weeks[0], f"label_grid_{task.id}.csv") is task
    for data in contract.datasets.values():
        assert len(data.classes) == 2 and set(data.counts) == {"train", "val", "test"}
        assert not data.phantom_of or contract.datasets[data.phantom_of].counts == data.counts


def test_metric_aliases_lead_to_one_key_only():
    contract = load_contract()
    spellings = [alias for aliases in contract.metric_aliases.values() for alias in aliases]
    assert len(spellings) == len(set(spellings)) and not set(spellings) & set(contract.metric_aliases)
    assert {"acc", "test_acc"} <= set(contract.metric_aliases["accuracy"])


def test_split_constants_are_those_of_the_official_file(real_data_root):
    with np.load(real_data_root / "breastmnist.npz") as file:
        counts = {split: np.bincount(file[f"{split}_labels"].ravel()).tolist() for split in ("train", "val", "test")}
    assert counts == load_contract().datasets["breastmnist"].counts


@pytest.mark.parametrize("key", ["breastmnist", "pneumoniamnist"])
def test_class_names_and_sizes_are_those_of_medmnist(key):
    from medmnist import INFO

    facts = load_contract().datasets[key]
    assert facts.classes == [INFO[key]["label"][str(label)] for label in (0, 1)]
    assert {split: sum(both) for split, both in facts.counts.items()} == INFO[key]["n_samples"]


def test_every_profile_has_the_same_tables_with_parameters_in_capitals():
    assert {"quick", "colab", "betty"} <= set(load_profiles())
    for profile in load_profiles().values():
        assert set(profile) == set(load_profiles()["colab"])
        assert all(name.isupper() for table in profile.values() for name in table)
    assert profile_parameters("quick", 1)["DATASET"] == "breastphantom"
    assert profile_parameters("colab", 3)["SEEDS"] >= 3
    everywhere = load_profiles()["quick"]["all"]
    assert profile_parameters("quick", "my_own") == everywhere
    assert profile_parameters("quick", None) == everywhere
    extra = profile_parameters("quick", "extra_tasks")
    assert everywhere.keys() < extra.keys() and {"TASK": "all", "PHANTOM": True, "DATASET": ""}.items() <= extra.items()
    assert profile_parameters("colab", "extra_tasks")["TASK"] in {task.id for task in load_contract().tasks}
    with pytest.raises(MedsslError, match="perhaps quick"):
        profile_parameters("quik", 1)


def test_a_table_for_no_notebook_is_an_error_that_names_the_nearest(monkeypatch, tmp_path):
    (tmp_path / "profiles.toml").write_text("[quick.week01]\nEPOCHS = 3\n\n[colab.extra_task]\nTASK = 'P1'\n")
    load_contract()
    monkeypatch.setattr(contract, "HERE", tmp_path)
    with pytest.raises(MedsslError, match=r"unknown table \[colab.extra_task\].\n.*perhaps extra_tasks"):
        load_profiles.__wrapped__()


# ---- the settings loader
@dataclasses.dataclass
class Inner:
    size: int
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Outer:
    rate: float
    inner: Inner
    many: list[Inner] = dataclasses.field(default_factory=list)
    table: dict[str, Inner] = dataclasses.field(default_factory=dict)
    maybe: float | None = None
    pair: tuple[int, ...] = ()


def test_nested_settings_are_built():
    built = build(
        Outer,
        {
            "rate": 1,
            "inner": {"size": 3, "names": ["a"]},
            "many": [{"size": 1}],
            "maybe": 2,
            "table": {"x": {"size": 2}},
            "pair": [1, 2],
        },
        "f.toml",
    )
    assert built == Outer(1.0, Inner(3, ["a"]), [Inner(1)], {"x": Inner(2)}, 2.0, (1, 2))
    assert type(built.rate) is float and type(built.maybe) is float


@pytest.mark.parametrize(
    "change, words",
    [
        ({"inner": {"sise": 3}}, ["f.toml: inner", "'sise'", "perhaps size"]),
        ({"many": [{"size": 1}, {"size": 2, "nmaes": []}]}, ["many[1]", "'nmaes'", "perhaps names"]),
        ({"inner": {}}, ["f.toml: inner", "'size' is missing", "a whole number"]),
        ({"inner": {"size": True}}, ["inner: size is True", "a whole number"]),
        ({"inner": {"size": 1.0}}, ["inner: size is 1.0"]),
        ({"rate": "0.1"}, ["rate is '0.1'", "a number"]),
        ({"inner": 3}, ["inner is 3", "Inner"]),
        ({"many": {"size": 1}}, ["f.toml: many"]),
        ({"inner": {"size": 1, "names": ["a", 2]}}, ["names[1] is 2"]),
        ({"table": {"x": {"sze": 1}}}, ["table.x", "perhaps size"]),
        ({"maybe": "x"}, ["maybe is 'x'"]),
    ],
)
def test_a_wrong_setting_names_file_key_and_nearest(change, words):
    with pytest.raises(MedsslError) as caught:
        build(Outer, {"rate": 0.1, "inner": {"size": 1}} | change, "f.toml")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_each_misspelt_key_of_the_contract_is_found():
    """Break the real file one key at a time: no key of it is read leniently."""

    def tables(value):  # every table in the file that a dataclass describes
        if isinstance(value, dict):
            yield value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from tables(item)

    raw = read_toml(load_contract.__wrapped__.__globals__["HERE"] / "contract.toml")
    open_tables = [
        raw["keys"],
        raw["metric_aliases"],
        raw["words"],
        *raw["words"].values(),
        raw["datasets"],
        *(d["counts"] for d in raw["datasets"].values()),
        *(d["labels"] for d in raw["datasets"].values() if "labels" in d),
    ]
    checked = 0
    for table in list(tables(raw)):
        if not any(table is free for free in open_tables):
            table["abuot"] = ""
            with pytest.raises(MedsslError, match="'abuot'"):
                build(Contract, raw, "contract.toml")
            del table["abuot"]
            checked += 1
    assert checked > 100


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "bad.toml").write_text("a = \n")
    with pytest.raises(MedsslError, match="bad.toml is not valid TOML.*line 1"):
        read_toml(tmp_path / "bad.toml")
    with pytest.raises(MedsslError, match="absent.toml cannot be read"):
        read_toml(tmp_path / "absent.toml")


# ---- rendered text
def test_text_outside_the_markers_survives_any_damage():
    mine = "# Mine\r\n\r\nWords | <b> \\1 $ before\n"
    first = render_between_markers(mine, "results", "table 1")
    assert first.startswith(mine)
    again = render_between_markers(first + "after\n", "results", "table \\g<0> 2")
    assert again == first.replace("table 1", "table \\g<0> 2") + "after\n"
    begin, end = "<!-- medssl:results (rendered: write outside of it) -->", "<!-- /medssl:results -->"
    for lost in (begin, end):  # the student deleted one marker: nothing of theirs may go, now or at the next run
        text = (mine + first + "between\n" + first + "after\n").replace(lost, "", 1)
        for _ in range(3):
            text = render_between_markers(text, "results", "new")
        for words in ("# Mine\r\n", "between\n", "after\n"):
            assert words in text
    assert render_between_markers("x", "run", "b").count("medssl:run") == 2
    other = render_between_markers(render_between_markers("", "results", "r"), "run", "b")
    assert render_between_markers(other, "run", "c") == other.replace("\nb\n", "\nc\n")


def test_sections_count_as_written_only_with_words_of_the_students_own():
    from medssl.course.markdown import new_readme

    week = load_contract().week(2)
    text = new_readme(week, "breastmnist", "ada")
    titles = [section.title for section in week.sections]
    assert unfilled_sections(text, week) == titles
    asked = f"> {week.sections[1].ask}"
    assert unfilled_sections(text.replace(asked, asked + "\n\nThe head is worse."), week) == [titles[0], *titles[2:]]
    assert unfilled_sections("", week) == titles
    assert unfilled_sections("\n".join(f"# {t.upper()} #\nwords" for t in titles), week) == []


def test_tables_are_rendered_from_the_contract():
    page = syllabus_table()
    assert len(page.splitlines()) == 2 + len(load_contract().weeks)
    assert "`README_week5_core.md`" in page and "ssl_encoder.pt" in page
    assert tasks_table().count("pneumoniamnist") == 5
    assert "| `reliability.png` | yes |" in files_table(load_contract().week(1))
