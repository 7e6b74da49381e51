"""Out of an ablation: what is recommended where it is known, and that nothing is where it is not."""

import json
import math
import re

import numpy as np
import pytest
import torch
from prism_batches import CONSTANTS, batch
from scipy import stats

from medssl import figures
from medssl.data.phantom_catalog import phantom_catalog
from medssl.data.preflight import preflight
from medssl.errors import MedsslError
from medssl.methods import Prism
from medssl.models.patch_encoder import PatchEncoder
from medssl.recipes.prism_ablation import BASELINE, FACTORS, PROXIES, runs
from medssl.recipes.prism_config import read_config
from medssl.recipes.prism_proxies import proxies
from medssl.recipes.prism_recommendation import effects, recommendation
from medssl.recipes.prism_scans import scans_of


def results(effect, noise=0.05, seed=0, status="ok"):
    """The 24, each proxy the better by effect(settings), with noise."""
    random, out = np.random.default_rng(seed), []
    for run in runs():
        of = run["overrides"]
        values = {name: 0.5 + better * (effect(of) + noise * random.standard_normal())
                  for name, better in PROXIES.items()}
        tree = {}
        for key in of:
            part, _, name = key.partition(".")
            tree.setdefault(part, {})[name] = of[key]
        out.append({"run_id": run["name"], "status": status, "steps_timed": 100, "config": tree, "metrics": values | {
            "throughput_effective_patches_per_sec": 100.0, "ratio_distance": 0.5}})
    return out


def recommended(text):
    return {key: float(value) for key, value in re.findall(r"^([\w.]+)=(\S+)$", text, re.M)}


def test_a_level_that_is_better_is_recommended_and_nothing_else():
    said = recommendation(results(lambda of: 0.3 * (of["loss.w_supcon_target"] == 0.4)))
    assert recommended(said) == BASELINE | {"loss.w_supcon_target": 0.4}
    assert "| loss.w_supcon_target | 0.4 | 0.2 | +" in said and said.count("| ahead |") == 1
    assert "Runs at hand: 24." in said and "proxies: 24." in said and "18 degrees of freedom" in said


def test_a_baseline_that_is_better_stays():
    said = recommendation(results(lambda of: -0.3 * (of["train.batch_size"] == 64)))
    assert recommended(said) == BASELINE and "batch_size | 64 | 32 | -" in said and "| behind |" in said


def test_noise_is_hardly_ever_taken_for_an_effect():
    wrong = sum(recommended(recommendation(results(lambda of: 0.0, seed=seed))) != BASELINE for seed in range(60))
    assert wrong <= 5  # 2.5 % of 60 are expected: of two sides one is a lead


def test_the_leads_are_those_of_an_additive_model_by_other_means():
    points = [{key: run["overrides"][key] for key in FACTORS} for run in runs()]
    values = [p["train.batch_size"] / 50 + p["loss.w_supcon_target"] ** 2 + math.sin(7 * k)
              for k, p in enumerate(points)]
    leads, free = effects(points, values)
    by_level = {level: np.mean([v for p, v in zip(points, values, strict=True) if p["loss.w_supcon_target"] == level])
                for level in FACTORS["loss.w_supcon_target"]}
    lead, low, high = leads["loss.w_supcon_target"][0.4]  # balanced: differences of means
    assert free == 18 and lead == pytest.approx(by_level[0.4] - by_level[0.2])
    means = {key: {level: np.mean([v for p, v in zip(points, values, strict=True) if p[key] == level])
                   for level in levels} for key, levels in FACTORS.items()}
    whole = np.mean(values)
    rest = [v - whole - sum(means[key][p[key]] - whole for key in FACTORS) for p, v in zip(points, values, strict=True)]
    error = math.sqrt(sum(r * r for r in rest) / 18 * (1 / 8 + 1 / 8))
    assert high - low == pytest.approx(2 * stats.t.ppf(1 - 0.05 / 10, 18) * error)


def test_too_few_runs_are_said_to_be_too_few():
    few = results(lambda of: 0.3 * (of["loss.w_supcon_target"] == 0.4))
    for some in (few[:1], few[:11], few[:12], [r | {"status": "oom"} for r in few]):  # the first 12 are of one batch
        said = recommendation(some)
        assert "Too few to recommend anything" in said and recommended(said) == BASELINE
    assert "Too few" in recommendation([])
    assert "Too few" not in recommendation(few[::2] + few[1:14:2])


def test_runs_of_other_settings_are_no_evidence():
    others = results(lambda of: 0.0)
    others[0]["config"]["train"]["batch_size"] = 8
    said = recommendation(others)
    assert "Runs at hand: 24." in said and "table of 24: 23." in said and "proxies: 23." in said
    assert "17 degrees of freedom" in said
    assert "Too few" in recommendation([run | {"config": {}} for run in others])


def test_a_smoke_run_with_the_baselines_levels_changes_no_finding():
    """It lies in the same folder, is far worse than all, and has every level of the table."""
    ours = results(lambda of: 0.3 * (of["loss.w_supcon_target"] == 0.4))
    base = next(run for run in ours if run["run_id"] == "core24-b32-p16-w0.2-r5000")
    config = base["config"] | {"train": base["config"]["train"] | {"max_steps": 1000}}
    bad = {name: -9.0 * better for name, better in PROXIES.items()}
    smoke = base | {"run_id": "prism-smoke", "config": config, "metrics": base["metrics"] | bad}
    short = smoke | {"run_id": "core24-b32-p16-w0.1-r2000"}
    said = recommendation([*ours, smoke, base | {"run_id": "heads-regression"}, short])
    assert recommended(said) == recommended(recommendation(ours)) == BASELINE | {"loss.w_supcon_target": 0.4}
    assert "Runs at hand: 27." in said and "table of 24: 24." in said
    assert "prism-smoke (not in its table), heads-" in said
    assert "core24-b32-p16-w0.1-r2000 (" in said and "train.max_steps=1000" in said


def test_what_speaks_against_it_is_said():
    runs = results(lambda of: 0.3 * (of["loss.w_supcon_target"] == 0.4))
    assert "Doubts" in recommendation(runs) and "outside of" not in recommendation(runs)
    for run in runs:
        run["metrics"] |= {"ratio_rotation": 0.01, "total_step_time_ms_p50": 100.0, "total_step_time_ms_p99": 900.0,
                           "proxy_distance_mae_ratio_grey": -99.0, "proxy_window_r2_grey": -99.0}
    said = recommendation(runs)
    assert "ratio_rotation is 0.01" in said and "9.0 times p50" in said
    assert "proxy_distance_mae_ratio is" in said and "-99 with grey patches" in said
    assert "proxy_window_r2 is" not in said


def test_only_what_preflight_kept_is_trained_on(tmp_path):
    catalog = phantom_catalog(tmp_path / "scans", 6, ["cut short", "nan"])
    report = tmp_path / "preflight.json"
    kept = preflight(catalog, "full", cache=tmp_path / "cache", report=report).kept
    with_it, without = (read_config(None, [f"data.catalog_path={catalog}", "data.holdout=0", *more])
                        for more in ([f"data.report_path={report}"], []))
    assert [r.scan_id for r in scans_of(with_it)[0]] == [r.scan_id for r in kept] and len(scans_of(without)[0]) == 8
    assert with_it.config_hash != without.config_hash
    for content in ("{}", json.dumps({"scans": [1]}), "no json"):
        report.write_text(content)
        with pytest.raises(MedsslError, match="is no report of preflight"):
            scans_of(with_it)


def test_a_target_that_is_constant_has_no_ratio_and_ends_no_run():
    still = [batch(i) | {"rotation_delta_deg": torch.zeros(6, 3)} for i in range(2)]
    found = proxies(Prism(PatchEncoder(), constants=CONSTANTS), still)
    assert math.isnan(found["proxy_rotation_error_ratio"]) and math.isfinite(found["proxy_distance_mae_ratio"])


def test_places_are_drawn_where_they_lie():
    volume, spacing = np.zeros((8, 10, 12)), (5.0, 2.0, 2.0)
    places = np.array([[2.0, 3, 4], [7, 3, 4]])
    figure = figures.pair_places(volume, spacing, {"a": (places[0], places), "b": (places[1], places)}, near_mm=6)
    axial = figure.axes[0]
    near, far = (axial.collections[k].get_offsets() for k in (0, 1))
    assert near.tolist() == [[12 - 1 - 4, 10 - 1 - 3]] == far.tolist()  # z = 2 in the plane, z = 7 25 mm away
    with pytest.raises(MedsslError, match="No places"):
        figures.pair_places(volume, spacing, {"a": (places, places)})


def test_a_mosaic_puts_each_patch_at_its_place():
    patches = np.stack([np.full((4, 4, 1), grey) for grey in (0.2, 0.8, 1.0)])
    positions = np.array([[0.0, 0, 5], [0, 0, 1], [10, -6, 20]])
    figure = figures.view_mosaics({"a view": (patches, positions)}, patch_mm=8.0, near_mm=8.0)
    (picture,) = figure.axes[0].images
    paper = picture.get_array().filled(np.nan)
    assert set(np.unique(paper[~np.isnan(paper)])) == {0.8}  # the nearer hides the farther; one is too far away
    rows, columns = np.nonzero(~np.isnan(paper))
    assert (rows.mean(), columns.mean()) == (len(paper) / 2 - 0.5,) * 2 and len(rows) == 16


def test_panels_draw_a_zero_and_leave_out_what_is_no_number():
    rows = [{"step": 1, "x": 1.0}, {"step": 2, "x": 0.0}, {"step": 3, "x": math.nan}, {"step": 4, "x": None}]
    ax = figures.run_panels({"a": rows}, {"x": "the x"}).axes[0]
    assert ax.get_yscale() == "log" and ax.lines[0].get_ydata().tolist() == [1.0, 1e-9]
