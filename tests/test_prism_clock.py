"""Prism's clock, counters and rows: what they are the sums of."""

import math
import time
import warnings

import numpy as np
import pytest
import torch
from prism_batches import Batches, batch
from prism_runs import fake_wandb, train  # noqa: F401 - fixtures

from medssl.data.stream import LOADER_STATS
from medssl.recipes.prism_metrics import PATIENCE, Diagnostics, line
from medssl.recipes.prism_source import COUNTERS, Windows
from medssl.train.meter import Meter


def test_measuring_is_no_time_of_training(tmp_path):
    def slow():
        time.sleep(0.5)
        return [batch(100)]

    begun = time.perf_counter()
    m = train(tmp_path, held_out=slow).metrics
    assert m["proxy_seconds"] >= 0.5 and m["wall_seconds"] <= time.perf_counter() - begun - 0.5


def test_throughput_is_all_patches_over_all_time(tmp_path, wandb, monkeypatch):
    """Sleeps in the loader, in the log and in the saving of a checkpoint are all in it."""
    from medssl.train import trainer

    real, slept, clock = trainer.save_checkpoint, [], time.perf_counter
    began = {}

    def nap(seconds, then=lambda *_, **__: None):
        def sleeping(*args, **kw):
            slept.append(seconds)
            time.sleep(seconds)
            return then(*args, **kw)
        return sleeping

    monkeypatch.setattr(trainer, "save_checkpoint", nap(0.11, real))
    monkeypatch.setattr(wandb, "log", nap(0.07))
    source = Batches(pause={0: 0.15, 4: 0.09})
    stream = source.batches
    source.batches = lambda epoch: (began.setdefault("at", clock()), stream(epoch))[1]
    result = train(tmp_path, "checkpoint.every=3", source=source)
    honest = clock() - began["at"]
    m = result.metrics
    assert m["throughput_effective_patches_per_sec"] * m["wall_seconds"] == pytest.approx(2 * 6 * 5 * 8)
    assert sum(slept) + 0.24 <= m["wall_seconds"] <= honest + 0.01 and m["wall_seconds"] >= honest - 0.1
    assert m["loader_wait_ms_total"] >= 240 and m["time_to_first_batch_ms"] >= 150 and m["first_step_time_ms"] >= 150
    assert m["total_step_time_ms_max"] >= 180  # a log line and a checkpoint belong to the step after them


def test_the_meter_by_a_clock_that_we_move():
    now = [100.0]
    meter = Meter(clock=lambda: now[0])

    def slow():
        for wait in (0.5, 0.0, 0.25, 0.0):
            now[0] += wait
            yield wait

    lengths = [1.0, 2.0, 10.5, 0.1]
    for length, _ in zip(lengths, meter.watch(slow()), strict=False):
        now[0] += length
        meter.count(200, {"replacement_failed_count": 1.0})
        meter.step()
    now[0] += 3.0  # the last checkpoint
    m, ms = meter.numbers(), 1000 * np.array([1.5, 2.0, 10.75, 0.1])
    assert m["throughput_effective_patches_per_sec"] == pytest.approx(800 / (13.6 + 0.75 + 3))
    assert m["patches_per_sec_step"] == pytest.approx(200 / 0.1)
    assert (m["stall_steps_ge_2000ms"], m["stall_steps_ge_10000ms"]) == (2, 1)
    assert (m["loader_wait_ms"], m["loader_wait_ms_total"]) == (pytest.approx(187.5), pytest.approx(750))
    assert (m["time_to_first_batch_ms"], m["first_step_time_ms"]) == (pytest.approx(500), pytest.approx(1500))
    for name, q in (("p50", 50), ("p95", 95), ("p99", 99)):
        assert m[f"total_step_time_ms_{name}"] == pytest.approx(np.percentile(ms, q))
    assert m["total_step_time_ms_max"] == pytest.approx(10750) and m["replacement_failed_count"] == 4


def test_counters_are_the_sums_of_what_the_loader_says(tmp_path):
    assert [name.split("_")[1] for name in LOADER_STATS] == [name.split("_")[1] for name in COUNTERS]
    source = Batches(counters={0: [2.0, 0.0, 5.0, 30.0], 5: [1.0, 0.0, 7.5, 12.0]})
    m = train(tmp_path, source=source).metrics
    assert [m[name] for name in COUNTERS] == [3.0, 0.0, 12.5, 42.0]


def test_a_constant_target_is_warned_of_once_it_lasts():
    axes = {1: (1.0, 0.0, 1.0), 2: (1.0, 0.5, 2.0)}  # first and second moments: variances 0, 0.5, 1
    row = {"step": 1, **{f"moment{power}/{who}/rotation/{axis}": axes[power][axis]
                         for power in (1, 2) for who in ("target", "pred") for axis in range(3)}}
    diagnostics = Diagnostics()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(PATIENCE - 1):
            out = diagnostics(row)
    with pytest.warns(UserWarning, match="rotation has been constant"):
        diagnostics(row)
    assert out["target_rotation_std_min"] == 0 and out["ratio_rotation"] == 1
    assert out["target_rotation_std"] == pytest.approx(math.sqrt((0 + 0.5 + 1) / 3))


def test_spread_is_that_of_all_batches_of_a_row(tmp_path, wandb):
    """Of batches of one pair each has no spread at all; the row has."""
    train(tmp_path, "train.log_every=8", source=Batches(size=1))
    (_, row), = wandb.rows
    targets = torch.cat([batch(i, size=1)["window_target"][:, 0] for i in range(8)]) / (2 / math.sqrt(6))
    assert row["target_window_center_std"] == pytest.approx(targets.std(correction=0).item(), rel=1e-4)
    assert row["target_window_center_mean"] == pytest.approx(targets.mean().item(), rel=1e-4)
    assert "loss_distance_raw" in row and "loss_distance" in line({"step": 8, **row})


def test_windows_of_a_source_that_ends_and_keeps_no_place():
    class Short(Batches):
        def batches(self, epoch):
            yield from (batch(10 * epoch + i) | {"loader_stats": torch.zeros(4)} for i in range(3))

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    windows = Windows(Short(), 2, Meter())
    seen = [[b["center_distance_mm"] for b in windows.batches(w)] for w in range(4)]
    wanted = [batch(n)["center_distance_mm"] for n in (0, 1, 2, 10, 11, 12, 20, 21)]
    assert [len(w) for w in seen] == [2] * 4
    assert all(torch.equal(a, b) for a, b in zip(sum(seen, []), wanted, strict=True))
    again = Windows(Short(), 2, Meter())
    again.load_state_dict(windows.state_dict())
    assert torch.equal(next(again.batches(4))["center_distance_mm"], batch(22)["center_distance_mm"])
