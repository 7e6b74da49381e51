"""The ablation: 24 runs from one table, held-out proxies against numbers worked out by hand, and their ranking."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from prism_batches import CONSTANTS, batch
from scipy.stats import zscore
from typer.testing import CliRunner

from medssl import cli_prism
from medssl.errors import MedsslError
from medssl.methods import Prism
from medssl.models.patch_encoder import PatchEncoder
from medssl.recipes import prism_ablation
from medssl.recipes.prism_ablation import FACTORS, FIXED, PROXIES, ranked, runs, settings
from medssl.recipes.prism_config import read_config
from medssl.recipes.prism_metrics import CONTROLLED, METRICS
from medssl.recipes.prism_proxies import geometry, greyed, measure, proxies, retrieval


def test_24_runs_and_every_one_another():
    table = runs()
    points = [tuple(run["overrides"][key] for key in FACTORS) for run in table]
    assert len(table) == len(set(points)) == len({run["name"] for run in table}) == 24
    for key, levels in FACTORS.items():  # balanced: each level as often as the others
        assert {level: [p[list(FACTORS).index(key)] for p in points].count(level) for level in levels} == \
            dict.fromkeys(levels, 24 // len(levels))
    assert FACTORS == {"train.batch_size": (32, 64), "data.warm_pool_size": (16, 24),
                       "loss.w_supcon_target": (0.1, 0.2, 0.4), "loss.supcon_ramp_steps": (2000, 5000)}
    seed = {"data.n_patches": 1024, "data.workers": 8, "data.visits_per_scan": 100, "data.storage_mode": "sharded",
            "data.method": "optimized_fused", "data.use_local_scratch": True, "model.head_mode": "regression"}
    assert seed.items() <= FIXED.items() and [run["index"] for run in table] == list(range(24))


def test_every_run_is_a_valid_config_of_its_own():
    configs = [read_config(None, ["data.catalog_path=a.csv", *settings(run)]) for run in runs() + runs("heads")]
    assert len({config.run_id for config in configs}) == 26
    assert len({config.config_hash for config in configs}) == 25  # one of the two heads is the baseline, in core24 too
    assert configs[0].wandb.tags == ("core24",) and configs[-1].model.head_mode == "sign"


def test_a_longer_ramp_gives_supcon_less():
    short, long = (run["exposure"] for run in runs()[:2])
    assert short == pytest.approx(0.1 * (28000 - 1000), rel=1e-3) and long == pytest.approx(0.1 * 25500, rel=1e-3)


def result(name, status="ok", speed=100.0, stalls=0, **values):
    base = {name: 0.5 for name in PROXIES} | {"throughput_effective_patches_per_sec": speed,
                                              "stall_steps_ge_2000ms": stalls}
    return {"run_id": name, "status": status, "steps_timed": 100, "metrics": base | values}


def test_the_composite_is_the_mean_z_score_with_its_sign():
    values = {"a": (0.4, 0.9, 0.3, 0.6, 0.2), "b": (0.7, 0.5, 0.6, 0.1, 0.9), "c": (0.6, 0.8, 0.1, 0.2, 0.4)}
    rows = ranked(result(name, **dict(zip(PROXIES, numbers, strict=True))) for name, numbers in values.items())
    z = zscore([[sign * v for sign, v in zip(PROXIES.values(), of, strict=True)] for of in values.values()]).mean(1)
    assert {row["name"]: row["composite"] for row in rows} == pytest.approx(dict(zip(values, z, strict=True)))
    assert [row["composite"] for row in rows] == sorted((row["composite"] for row in rows), reverse=True)


def test_a_failed_run_is_no_average_run():
    good = [result("good", proxy_window_r2=0.6), result("worse", proxy_window_r2=0.2)]
    failed = result("failed", status="failed_replacement", proxy_window_r2=0.99)
    lacking = result("lacking", proxy_window_r2=None)
    rows = ranked([failed, *good, lacking])
    assert [row["name"] for row in rows][:2] == ["good", "worse"] and {row["name"] for row in rows[2:]} == \
        {"failed", "lacking"}
    assert all(math.isnan(row["composite"]) for row in rows[2:])
    assert [row["composite"] for row in rows[:2]] == [row["composite"] for row in ranked(good)]


def test_throughput_decides_between_equals_and_stalls_cost():
    rows = ranked([result("slow", speed=90), result("stalls", speed=120, stalls=50), result("fast", speed=110)])
    assert [row["name"] for row in rows] == ["fast", "slow", "stalls"] and rows[2]["throughput"] == 60


def method(**kw):
    torch.manual_seed(0)
    return Prism(PatchEncoder(), constants=CONSTANTS, **kw)


class Oracle(Prism):
    """Says the truth, shifted by 3 mm, turned wrong by 4 degrees, and half of the window."""

    def predict(self, features):
        return self.truth

    def targets(self, batch):
        wanted = super().targets(batch)
        said = {"distance": wanted["distance"] + 3, "rotation": wanted["rotation"] + torch.tensor([0.0, 4.0, 0.0]),
                "window_center": wanted["window_center"] / 2, "window_width": wanted["window_width"] / 2}
        self.truth.update({head: (said[head] - CONSTANTS[head][0]) / CONSTANTS[head][1] for head in said})
        return wanted


def test_proxies_of_answers_that_we_know():
    oracle = Oracle(PatchEncoder(), constants=CONSTANTS)
    oracle.truth = {}
    batches = [batch(i) for i in range(5)]
    # predict() is asked before targets(): the oracle needs the targets first
    oracle.both = lambda b, both=oracle.both: oracle.targets(b) and both(b)
    m = proxies(oracle, batches)
    distance = torch.cat([b["center_distance_mm"] for b in batches]).double()
    turn = torch.cat([b["rotation_delta_deg"] for b in batches]).double()
    window = torch.cat([b["window_target"] for b in batches]).double()
    median = distance.sort().values[(len(distance) - 1) // 2]
    assert m["proxy_distance_mae_mm"] == pytest.approx(3, abs=1e-4)
    assert m["proxy_distance_mae_ratio"] == pytest.approx(3 / (distance - median).abs().mean().item(), rel=1e-4)
    assert m["proxy_rotation_error_deg"] == pytest.approx(4, abs=1e-4)
    unmoved = (turn - turn.mean(0)).norm(dim=1).mean().item()
    assert m["proxy_rotation_error_ratio"] == pytest.approx(4 / unmoved, rel=1e-4)
    r2 = 1 - (window / 2).square().sum(0) / (window - window.mean(0)).square().sum(0)
    assert m["proxy_window_r2"] == pytest.approx(r2.mean().item(), rel=1e-4) and m["proxy_window_sign_accuracy"] == 1
    assert m["proxy_items"] == 30 and set(m) <= set(METRICS)


def test_grey_patches_tell_what_places_alone_give_away():
    """A network that looks at places only: what it reaches, it reaches with grey patches too. Else it does not."""
    def places_only(net, patches, places, _valid=None):
        return places.mean((1, 2))[:, None].repeat(1, net.encoder.dim)

    net, batches = method(), [batch(i) for i in range(4)]
    net.encoder.forward = lambda patches, places, valid=None: places_only(net, patches, places)
    m = proxies(net, batches)
    assert all(m[f"{name}_grey"] == m[name] for name in CONTROLLED) and set(m) <= set(METRICS)
    net.encoder.forward = lambda patches, places, valid=None: patches.flatten(1)[:, :net.encoder.dim]
    m, of = proxies(net, batches), measure(net, map(greyed, batches))
    assert all(m[f"{name}_grey"] != m[name] for name in CONTROLLED)
    assert m["proxy_retrieval_r1_grey"] == retrieval(of["a"], of["b"], of["label"])[0]
    assert m["proxy_distance_mae_ratio_grey"] == geometry(of)["proxy_distance_mae_ratio"]
    assert "proxy_window_r2_grey" not in proxies(method(head_mode="sign"), batches)


def test_grey_stands_in_the_ranking_and_moves_nothing():
    plain = [result("a", proxy_window_r2=0.1), result("b", proxy_window_r2=0.4)]
    given = [result("a", proxy_window_r2=0.1, proxy_window_r2_grey=0.09), result("b", proxy_window_r2=0.4)]
    assert [row["composite"] for row in ranked(plain)] == [row["composite"] for row in ranked(given)]
    head, first, second = prism_ablation.table(given).splitlines()
    column = head.split().index("window_r2_grey")
    assert (first.split()[column], second.split()[column]) == ("nan", "0.09")
    assert head.split()[column - 1] == "window_r2" and len(head) == len(first)


@pytest.mark.parametrize("mode", ["regression", "sign"])
def test_measuring_changes_nothing_and_signs_are_known_in_both_modes(mode):
    net = method(head_mode=mode).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    m = proxies(net, [batch(i) for i in range(3)])
    assert net.training and all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert 0 < m["proxy_rankme_ratio"] <= 1 and 0 <= m["proxy_window_sign_accuracy"] <= 1
    assert ("proxy_distance_mae_ratio" in m) == (mode == "regression") != ("proxy_direction_sign_accuracy" in m)
    assert len(measure(net, [batch(7)])["a"]) == 6


def test_retrieval_never_counts_the_own_pair():
    """Views b that equal views a: with the own pair allowed every query would hit."""
    torch.manual_seed(1)
    a, label = torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 3])
    r1, chance = retrieval(a, a, label)
    centred = torch.nn.functional.normalize(a - a.mean(0), dim=1)
    hits = []
    for i in range(4):  # 2 and 3 have no other of their series
        others = [j for j in range(6) if j != i]
        nearest = max(others, key=lambda j: float(centred[i] @ centred[j]))
        hits.append(label[nearest] == label[i])
    assert r1 == pytest.approx(sum(map(float, hits)) / 4) and chance == pytest.approx(1 / 5)
    assert all(map(math.isnan, retrieval(a, a, torch.arange(6))))
    assert retrieval(torch.eye(4)[[0, 0, 1, 1]], torch.eye(4)[[0, 0, 1, 1]], torch.tensor([5, 5, 6, 6]))[0] == 1


def test_the_command_lists_ranks_and_refuses(tmp_path):
    ask = CliRunner().invoke
    told = ask(cli_prism.prism, ["ablate", "--list"])
    same, *each = told.stdout.splitlines()  # what all share once, and of each run what is its own
    assert same == "all runs: " + " ".join(f"{key}={value}" for key, value in FIXED.items())
    assert told.exit_code == 0 and [line.split() for line in each] == [
        [str(run["index"]), run["name"], *(f"{key}={run['overrides'][key]}" for key in FACTORS)] for run in runs()]
    same, *each = ask(cli_prism.prism, ["ablate", "--list", "--study", "heads"]).stdout.splitlines()
    assert "train.batch_size=32" in same.split() and "head_mode" not in same
    assert [line.split()[1:] for line in each] == [
        [f"heads-{mode}", f"model.head_mode={mode}"] for mode in ("regression", "sign")]
    for run, status, r2 in zip(runs(), ("ok", "ok", "oom", "ok"), (0.1, 0.3, 0.9, 0.9), strict=False):
        tree = asdict(read_config(None, ["data.catalog_path=a.csv", *settings(run)]))
        tree["data"]["n_patches"] = 64 if run["index"] == 3 else 1024
        (tmp_path / run["name"]).mkdir()
        (tmp_path / run["name"] / "result.json").write_text(json.dumps(
            result(run["name"], status=status, proxy_window_r2=r2) | {"config": tree}))
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "result.json").write_text(json.dumps(result("smoke") | {"config": tree}))
    told = ask(cli_prism.prism, ["ablate", "--rank", str(tmp_path)])
    names = [run["name"] for run in runs()]
    assert [line.split()[:2] for line in told.stdout.splitlines()[1:6]] == [
        [names[1], "ok"], [names[0], "ok"], [names[2], "oom"], ["not", "of"], ["not", "of"]]
    assert f"not of this study: {names[3]} (data.n_patches=64)" in told.stdout and "smoke (not in" in told.stdout
    assert "Runs at hand: 5." in told.stdout and "Too few to recommend" in told.stdout
    told = ask(cli_prism.prism, ["ablate", "--rank", str(tmp_path), "--set", "data.n_patches=64"])  # given to all of it
    assert told.stdout.splitlines()[1].split()[:2] == [names[3], "ok"] and "recommend" not in told.stdout
    assert f"not of this study: {names[0]} (data.n_patches=1024)" in told.stdout
    told = ask(cli_prism.prism, ["ablate", "--rank", str(tmp_path), "--study", "heads"])
    assert told.stdout.count("not of this study") == 5 and "recommend" not in told.stdout
    assert told.stdout.startswith("No run of heads, with its settings, is below")
    assert "composite" not in told.stdout  # no header over nothing
    for key in ("train.batch_size=8", "loss.w_supcon_target = 0.3", "runtime.run_id=mine", "model.head_mode=sign"):
        told = ask(cli_prism.prism, ["ablate", "--run", "1", "--set", "data.catalog_path=a.csv", "--set", key])
        assert "what the table of the study decides" in str(told.exception)
    for wrong in (["ablate"], ["ablate", "--list", "--run", "1"], ["ablate", "--run", "24"],
                  ["ablate", "--list", "--study", "core48"], ["ablate", "--rank", str(tmp_path / "x")]):
        assert isinstance(ask(cli_prism.prism, wrong).exception, MedsslError)


def test_the_command_trains_the_run_of_that_number(monkeypatch):
    from medssl.recipes import prism

    seen = []
    monkeypatch.setattr(prism, "train_prism", lambda config: seen.append(config) or
                        type("Result", (), {"exit_code": 3}))
    told = CliRunner().invoke(cli_prism.prism, ["ablate", "--run", "23", "--set", "data.catalog_path=a.csv"])
    assert told.exit_code == 3 and seen[0].run_id == prism_ablation.runs()[23]["name"] == "core24-b64-p24-w0.4-r5000"
    assert (seen[0].train.batch_size, seen[0].data.warm_pool_size, seen[0].loss.w_supcon_target) == (64, 24, 0.4)
