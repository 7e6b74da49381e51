"""`medssl reproduce`: inside, outside or not run, each for the right reason, and honest about luck."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medssl.course import bands, reproduce
from medssl.course.bands import Number, band, chance, compare_numbers, verdict
from medssl.errors import MedsslError

REPO = Path(__file__).resolve().parents[1]
RECORD = str(REPO / "results/week1/breastmnist/reference")


@pytest.fixture
def rerun(tmp_path, monkeypatch):
    """reproduce() with a stand-in for the notebooks: a week leaves a copy of its record, which `change` may spoil."""
    ran = []

    def go(only=(1,), change=lambda week, folder: None, code=lambda week: 0, **more):
        def run_weeks(words, *, given, out, **_):
            week = int(words[0])
            ran.append((week, given))
            target = out / f"results/week{week}/{given['DATASET']}/reproduction"
            shutil.copytree(REPO / f"results/week{week}/breastmnist/reference", target, dirs_exist_ok=True)
            change(week, target)
            return code(week)

        monkeypatch.setattr(reproduce, "run_weeks", run_weeks)
        monkeypatch.setattr(reproduce, "data_is_here", lambda dataset: None)
        status = reproduce.reproduce(against=RECORD, out=tmp_path, only=list(only), notebooks=REPO / "notebooks",
                                     **more)
        return status, json.loads((tmp_path / "reproduction.json").read_text())

    go.ran = ran
    return go


def edit(folder, file, change):
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))


def test_an_equal_rerun_is_inside_and_what_was_not_asked_for_is_not_run(rerun, tmp_path, capsys):
    status, found = rerun()
    states = {(row["week"], row["metric"]): row["status"] for row in found["metrics"]}
    assert status == 0 and {states[1, metric] for metric in bands.METRICS} == {"inside"}
    assert states[3, "auroc"] == states[4, "last loss"] == "not run"
    told = capsys.readouterr().out
    assert "all 5 compared metrics are inside" in told and "not asked for" in told and "about" in told
    for file in ("reproduction.md", "reproduction.png", "key_plots/week1_reliability.png"):
        assert (tmp_path / file).stat().st_size > 100
    page = (tmp_path / "reproduction.md").read_text()
    assert "None" not in page and "nan" not in page.lower()
    assert rerun(strict=True)[0] == 1


def test_an_injected_wrong_metric_is_outside(rerun):
    def spoil(week, folder):
        edit(folder, "test_metrics.json", lambda m: [run.update(auroc=run["auroc"] - 0.05) for run in m["per_seed"]])

    status, found = rerun(change=spoil)
    outside = [row for row in found["metrics"] if row["status"] == "outside"]
    assert status == 1 and [(row["week"], row["metric"]) for row in outside] == [(1, "auroc")]
    assert outside[0]["rerun"] < outside[0]["low"] and found["verdict"]["too_far_for_luck"]
    assert "Not found again" in found["verdict"]["words"]


@pytest.mark.parametrize(("run", "reason"), [
    ({"phantom": True}, "phantom"), ({"split_hash": "0" * 16}, "other images"),
    ({"parameters": {"EPOCHS": 1, "SEEDS": 5}}, "EPOCHS = 1, recorded 5"), ({"backbone": "imagenet"}, "backbone")])
def test_what_a_band_does_not_hold_for_is_not_run_and_says_why(rerun, run, reason):
    status, found = rerun(change=lambda week, folder: edit(folder, "run.json", lambda r: r.update(run)))
    mine = [row for row in found["metrics"] if row["week"] == 1]
    assert {row["status"] for row in mine} == {"not run"} and all(reason in row["reason"] for row in mine)
    assert status == 0 and "Nothing was compared" in found["verdict"]["words"]


def test_other_seeds_are_no_other_parameters(rerun):
    _, found = rerun(change=lambda week, folder: edit(folder, "run.json", lambda r: r["parameters"].update(SEEDS=1)))
    assert found["verdict"]["inside"] == 5


def test_the_recorded_parameters_are_run_with_the_seeds_of_the_profile(rerun):
    rerun(only=(3,))
    (_, given), = rerun.ran
    assert {key: given[key] for key in ("WEIGHTS", "STEPS", "SEEDS", "NAME", "DATASET")} == {
        "WEIGHTS": "none", "STEPS": "360", "SEEDS": "3", "NAME": "reproduction", "DATASET": "breastmnist"}


def test_a_second_call_keeps_what_is_there_unless_parameters_files_or_needs_changed(rerun, tmp_path, capsys):
    rerun(only=(3, 6))
    rerun(only=(3, 6))
    assert [week for week, _ in rerun.ran] == [3, 6] and "kept from the last call" in capsys.readouterr().out
    (tmp_path / "results/week3/breastmnist/reproduction/curves_resnet18_head.png").unlink()
    rerun(only=(3, 6))
    assert [week for week, _ in rerun.ran][2:] == [3, 6]  # week 6 starts from week 3
    rerun(only=(6,), seeds=2)
    rerun(only=(6,), seeds=2, fresh=True)
    assert [week for week, _ in rerun.ran][4:] == [6, 6]


def test_after_a_failure_nothing_runs_on_a_stand_in(rerun):
    status, found = rerun(only=(3, 4, 5, 7), code=lambda week: int(week == 4), keep_going=True)
    assert status == 1 and [week for week, _ in rerun.ran] == [3, 4, 7]
    states = {week: one["status"] for week, one in found["weeks"].items()}
    assert states["4"].startswith("failed") and "week 4 has to run first" in states["5"]
    assert {row["status"] for row in found["metrics"] if row["week"] in (4, 5)} == {"not run"}
    status, found = rerun(only=(1, 2), code=lambda week: 1, fresh=True)
    assert status == 1 and "--keep-going" in found["weeks"]["2"]["status"]


def test_an_interrupted_run_stops_and_still_reports(rerun):
    status, found = rerun(only=(1, 2), code=lambda week: 130)
    assert status == 1 and len(rerun.ran) == 1 and "interrupted" in found["weeks"]["2"]["status"]


def test_weeks_that_are_not_rerun_are_lent_from_the_record(rerun, tmp_path):
    rerun(only=(5,))
    assert (tmp_path / "results/week4/breastmnist/reference/ssl_encoder.pt").is_file()
    assert not (tmp_path / "results/week5/breastmnist/reference").exists()


def test_the_estimate_scales_with_the_seeds_and_names_both_machines():
    record = reproduce.find_record(RECORD, "breastmnist")
    told = reproduce.estimate(record, {3: {"SEEDS": 5}, 4: {"SEEDS": 3}})
    assert "about 60 min" in told and "recorded on CPU, 2 cores" in told and "This machine: " in told
    half = reproduce.estimate(record, {3: {"SEEDS": 2}, 4: {"SEEDS": 2}})
    assert "about 35 min" in half and "--seeds" not in half
    assert "With --seeds 4 it took 56 min there." in told  # the most that an hour holds
    assert "no estimate" in reproduce.estimate(reproduce.find_record("nobody", "breastphantom"), {1: {"SEEDS": 3}})


def test_without_images_nothing_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("medssl.data.load", lambda key: (_ for _ in ()).throw(MedsslError("no file", "a file")))
    with pytest.raises(MedsslError, match="without the images of breastmnist"):
        reproduce.reproduce(against=RECORD, out=tmp_path, only=[1], notebooks=REPO / "notebooks")
    assert not (tmp_path / "results").exists()


def test_handed_in_results_are_never_the_place_of_a_rerun():
    with pytest.raises(MedsslError, match="where only finished work belongs"):
        reproduce.reproduce(against=RECORD, out=REPO / "results", only=[1])


def number(values, least=0.006, ci95=()):
    return Number(1, "f.json", "m", "auroc", list(values), list(range(len(values))), least, list(ci95))


def test_a_band_is_mean_and_k_std_with_a_floor_and_one_run_has_its_own_interval():
    low, high, how = band(number([0.8, 0.9]), 2)
    assert (low, high) == pytest.approx((0.85 - 2 * 0.05 * 2**0.5, 0.85 + 2 * 0.05 * 2**0.5)) and "2 runs" in how
    assert band(number([0.8, 0.8, 0.8]), 2)[:2] == pytest.approx((0.794, 0.806))
    low, high, how = band(number([0.8], ci95=[0.7, 0.9]), 2)
    assert (low, high) == (0.7, 0.9) and "one run" in how


def test_chance_is_what_simulated_reruns_show():
    rng, outside, said = np.random.default_rng(0), [], []
    for _ in range(4000):
        old, new = number(rng.normal(0.8, 0.02, 5), least=0), rng.normal(0.8, 0.02, 3)
        outside.append(abs(new.mean() - old.mean) > 2 * old.std)
        said.append(chance(old, 2 * old.std, 3))
    assert np.mean(said) == pytest.approx(np.mean(outside), abs=0.008)


def test_draws_of_labels_on_three_encoders_are_not_thirty_runs():
    rng, encoders, draws, alarms = np.random.default_rng(0), 3, 10, []

    def grid():  # the luck of an encoder is as large as that of a draw, which is the same for each encoder
        made = rng.normal(0, 0.02, (encoders, 1)) + rng.normal(0, 0.02, (1, draws)) + rng.normal(0, 0.01, (3, draws))
        return Number(5, "f", "m", "auroc", (0.8 + made).ravel().tolist(), list(range(30)), 0.0, draws=draws)

    for _ in range(2000):
        old, new = grid(), grid()
        alarms.append(chance(old, abs(new.mean - old.mean), new.encoders, new.draws) < 0.05)
    assert 0.01 < np.mean(alarms) <= 0.08
    assert chance(Number(5, "f", "m", "auroc", [0.8, 0.9], [0, 1], 0.0, draws=2), 0.1, 1, 2) is None


def test_the_files_say_how_many_draws_an_encoder_has():
    found = bands.read_numbers(REPO, "breastmnist", "reference")
    shapes = {key: (n.encoders, n.draws) for key, n in found.items() if n.metric == "auroc"}
    assert shapes[5, "probe_metrics_5pct.json", "auroc"] == (3, 10)
    assert shapes[6, "metrics_ssl_finetune.json", "auroc"] == (3, 3)
    assert shapes[3, "metrics_resnet18_head.json", "auroc"] == (5, 1)
    assert bands.draws_of({"draws": 10}, None, 27) == 27 and bands.draws_of({}, {"label_indices": {"a": []}}, 5) == 1


def compare_one(old, new):
    return verdict(compare_numbers({old.key: old}, {old.key: new}, {}, 2))


@pytest.mark.parametrize("least", [0.006, 1 / 156, 1 / 624, 0.1 / 3])
def test_equal_runs_leave_nothing_to_luck(least):
    found = compare_one(number([0.9] * 3, least), number([0.95], least))
    assert found["expected_outside"] == 0 and "1 of them too far for luck" in found["words"]
    assert "about 0.0 outside" in found["words"]


def test_one_recorded_run_says_nothing_about_luck():
    found = compare_one(number([0.8], ci95=[0.7, 0.85]), number([0.9]))
    assert "one recorded run" in found["words"] and "luck cannot be computed" in found["words"]
    assert "of the test set, another quantity" in found["words"] and "may be luck" not in found["words"]
    assert found["outside"] == 1 and not found["too_far_for_luck"]


def test_sixty_metrics_and_one_outside_may_be_luck_but_one_far_out_is_not():
    rng = np.random.default_rng(3)
    old = {(1, f"{i}", "auroc"): number(rng.normal(0.8, 0.02, 5)) for i in range(60)}
    old = {key: Number(1, key[1], "m", "auroc", n.values, n.seeds, n.least) for key, n in old.items()}
    new = {key: Number(1, n.file, "m", "auroc", [n.mean], [99], n.least) for key, n in old.items()}

    def with_first(distance):
        key, first = next(iter(old.items()))
        moved = Number(1, first.file, "m", "auroc", [first.mean + distance * first.std], [99], first.least)
        return verdict(compare_numbers(old, {**new, key: moved}, {}, 2))

    near, far = with_first(2.2), with_first(30)
    assert near["outside"] == far["outside"] == 1 and near["expected_outside"] > 3
    assert "may be luck" in near["words"] and near["too_far_for_luck"] == []
    assert "too far for luck" in far["words"] and len(far["too_far_for_luck"]) == 1


def test_a_file_that_repeats_another_counts_once_and_every_week_is_read():
    found = bands.read_numbers(REPO, "breastmnist", "reference")
    assert {week for week, *_ in found} == set(range(1, 8))
    assert not [key for key in found if key[1] == "metrics_supervised_baseline.json"]
