"""Training Prism: the clock, the counters, how a run ends, and how it goes on."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import warnings
from importlib.metadata import distributions
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from prism_batches import Batches, batch
from typer.testing import CliRunner

import medssl
from medssl import cli_prism
from medssl.data.stream import LOADER_STATS, BrokenScan, TooManyBroken
from medssl.errors import MedsslError
from medssl.recipes import prism
from medssl.recipes.prism_config import read_config
from medssl.recipes.prism_metrics import METRICS, PATIENCE, Diagnostics, line
from medssl.recipes.prism_proxies import proxies
from medssl.recipes.prism_source import COUNTERS, Windows
from medssl.train import load_newest
from medssl.train.checkpoint import checkpoints
from medssl.train.disk import WANDB_FOLDERS, QuotaGuard, bytes_below
from medssl.train.meter import Meter

TESTS = Path(__file__).parent


class Artifact:
    def __init__(self, name, type, metadata):
        self.name, self.metadata, self.files = name, metadata, {}

    def add_file(self, path):
        assert not path.endswith(".tmp") and path.startswith(os.environ["TMPDIR"])
        self.files[Path(path).name] = Path(path).read_bytes()

    def download(self, root):
        for name, content in self.files.items():
            Path(root, name).write_bytes(content)
        return root


class FakeWandb(types.ModuleType):
    """As much of wandb as is used. `fails` names what raises; it is also its own run."""

    def __init__(self, fails=()):
        super().__init__("wandb")
        self.fails, self.started, self.rows, self.store, self.summary = set(fails), [], [], {}, {}
        self.Artifact, self.preempted, self.ended = Artifact, False, None

    def _maybe(self, what):
        if what in self.fails:
            raise ConnectionError(f"no {what}")

    def init(self, config, **settings):
        self.started.append(settings)
        self._maybe(settings["mode"])
        self.config, self.dir = config, os.path.join(os.environ["WANDB_DIR"], "run", "files")
        os.makedirs(self.dir, exist_ok=True)
        return self

    def log(self, row, step):
        self._maybe("log")
        self.rows.append((step, row))

    def log_artifact(self, artifact, aliases):
        self._maybe("artifact")
        self.store.setdefault(artifact.name, []).append(artifact)
        return types.SimpleNamespace(wait=lambda: time.sleep(0.01))

    def use_artifact(self, name):
        return self.store[name.removesuffix(":latest")][-1]

    def mark_preempting(self):
        self.preempted = True

    def finish(self, exit_code):
        self.ended = exit_code


@pytest.fixture(autouse=True)
def wandb(monkeypatch, tmp_path):
    """A fake client, and an environment that is put back afterwards."""
    for name in (*WANDB_FOLDERS, "TMPDIR", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", None)
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def config(tmp_path, *changes):
    quick = ["data.catalog_path=none.csv", "train.max_steps=8", "train.batch_size=6", "train.log_every=3",
             "data.distinct_series_per_batch=3",
             "train.lr=0.001", "loss.supcon_warmup_steps=2", "loss.supcon_ramp_steps=4", "data.n_patches=5",
             "train.precision=fp32", "runtime.device=cpu", "wandb.mode=online", "wandb.artifact_every=0",
             f"checkpoint.folder={tmp_path}/runs", f"runtime.scratch={tmp_path}/scratch", f"quota.folder={tmp_path}"]
    return read_config(None, [*quick, *changes])


def train(tmp_path, *changes, source=None, **kw):
    return prism.train_prism(config(tmp_path, *changes), Batches() if source is None else source, **kw)


def weights(folder):
    return load_newest(Path(folder))["method"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    place = tmp_path_factory.mktemp("uncut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", FakeWandb())
        before = dict(os.environ)
        result = train(place)
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = None
    return weights(result.folder)


def test_a_run_ends_ok_with_every_name_on_the_list(tmp_path, wandb, capsys):
    result = train(tmp_path, held_out=lambda: [batch(100 + i) for i in range(4)])
    said = json.loads((Path(result.folder) / "result.json").read_text())
    assert (result.status, result.exit_code, said["status"], said["exit_code"]) == ("ok", 0, "ok", 0)
    assert said["config"]["train"]["max_steps"] == 8 and said["config_hash"] == wandb.config["config_hash"]
    assert [step for step, _ in wandb.rows] == [3, 6, 8] and wandb.summary["status"] == "ok" and wandb.ended == 0
    names = {*result.metrics, *wandb.rows[-1][1]}
    assert names <= set(METRICS)
    aside = {name for name in METRICS if name.startswith(("vram", "proxy_direction", "proxy_scans"))}
    aside |= {"step", "valid_fraction"}
    assert {name for name in METRICS if "direction" not in name} - aside == names
    out = capsys.readouterr().out
    assert out.startswith("config {") and f"status ok; written to {result.folder}\n" in out
    assert f"loss {wandb.rows[0][1]['loss']:.3e}" in out  # 0.0000 would hide which zero it is
    assert len(list(Path(result.folder).glob("checkpoint-*.pt"))) == 1 and not list(tmp_path.rglob("*.tmp"))
    learnt = {f"encoder.{name}": value for name, value in medssl.load_encoder(result.folder).state_dict().items()}
    assert learnt.items() and same(learnt, {name: weights(result.folder)[name] for name in learnt})
    assert "| pairs of views in a step | 6 |" in (Path(result.folder) / "MODEL_CARD.md").read_text()


def test_a_run_that_ended_ok_is_not_run_again(tmp_path, capsys):
    first = train(tmp_path)
    capsys.readouterr()
    again = train(tmp_path, source=Batches(fail=(0, AssertionError("run again"))))
    assert again == first and capsys.readouterr().out == f"already ended well: {first.folder}\n"


def test_a_run_cut_between_its_last_checkpoint_and_its_result_has_its_numbers(tmp_path):
    whole = train(tmp_path)
    Path(whole.folder, "result.json").unlink()
    again = train(tmp_path)
    assert (again.status, again.steps, again.steps_timed) == ("ok", 8, 0)
    assert again.metrics.keys() == whole.metrics.keys() and again.metrics["loss"] == whole.metrics["loss"] > 0


def test_measuring_is_no_time_of_training(tmp_path):
    def slow():
        time.sleep(0.5)
        return [batch(100)]

    begun = time.perf_counter()
    m = train(tmp_path, held_out=slow).metrics
    assert m["proxy_seconds"] >= 0.5 and m["wall_seconds"] <= time.perf_counter() - begun - 0.5


def test_nobody_to_measure_on_is_an_error_that_says_so():
    with pytest.raises(MedsslError, match="data.holdout"):
        proxies(prism.build_prism(config(Path("x"))), [])


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


@pytest.mark.parametrize("strict, status", [("true", "failed_replacement"), ("false", "ok")])
def test_strict_is_never_ok_with_a_failed_replacement(tmp_path, strict, status):
    """Even where the loader did not raise."""
    result = train(tmp_path, f"data.strict={strict}", source=Batches(counters={1: [0.0, 1.0, 0.0, 0.0]}))
    assert result.status == status and result.metrics["replacement_failed_count"] == 1


def in_a_child(work, err):
    """work() in a process of its own, with what it writes to stderr in a file: its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        with open(2, "w", closefd=False) as sys.stderr:  # not pytest's
            code = work()
    finally:
        os._exit(code)


@pytest.mark.parametrize("error, status, code", [(BrokenScan("scan 7 is cut short"), "failed_replacement", 3),
                                                 (TooManyBroken("30 of 200 failed"), "aborted_broken_ratio", 4)])
def test_a_broken_scan_ends_the_process_with_its_own_code_and_a_clean_stderr(tmp_path, error, status, code):
    def work():
        return train(tmp_path, source=Batches(fail=(4, error))).exit_code

    _, ended = os.waitpid(in_a_child(work, tmp_path / "err"), 0)
    said = json.loads(next(tmp_path.rglob("result.json")).read_text())
    assert os.waitstatus_to_exitcode(ended) == code != 0 and (tmp_path / "err").read_text() == ""
    assert (said["status"], said["message"], said["steps"]) == (status, str(error), 4)


def test_killed_and_started_again_it_ends_with_the_weights_of_the_uncut_run(tmp_path, uncut):
    """SIGKILL in the middle of a window, and once more at the end of one."""
    for least in (2, 6):
        slow = Batches(pause=dict.fromkeys(range(9), 0.05))
        pid = in_a_child(lambda slow=slow: train(tmp_path, "checkpoint.every=1", source=slow).exit_code, os.devnull)
        folder, deadline = config(tmp_path).folder, time.time() + 60
        while time.time() < deadline:
            found = checkpoints(folder)
            if found and int(found[0].name.split("-")[1]) >= least:
                break
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    result = train(tmp_path)
    assert result.resumed_from == "local" and result.steps == 8 > result.steps_timed
    assert same(weights(result.folder), uncut)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_is_a_checkpoint_at_the_end_of_the_step_and_code_75(tmp_path, wandb, uncut, number):
    class Told(Batches):
        def batches(self, epoch):
            for made in super().batches(epoch):
                if self.given == 5:
                    os.kill(os.getpid(), number)
                    os.kill(os.getpid(), signal.SIGTERM)  # Slurm's second: the checkpoint is finished all the same
                yield made

    result = train(tmp_path, source=Told())
    assert (result.status, result.exit_code, result.steps) == ("preempted", 75, 5) and wandb.preempted
    assert load_newest(Path(result.folder))["step"] == 5
    assert same(weights(train(tmp_path).folder), uncut)


def test_a_loader_that_dies_of_the_same_signal_does_not_make_it_a_failure(tmp_path, uncut):
    """Slurm tells all processes of a job. What was learnt since the last checkpoint is learnt again."""
    class Told(Batches):
        def batches(self, epoch):
            yield from zip_until(super().batches(epoch), 5)
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    def zip_until(stream, n):
        return (made for _, made in zip(range(n), stream, strict=False))

    result = train(tmp_path, "checkpoint.every=2", source=Told())
    assert (result.status, result.exit_code) == ("preempted", 75) and "DataLoader worker" in result.message
    assert load_newest(Path(result.folder))["step"] == 4
    assert same(weights(train(tmp_path).folder), uncut)


def test_resuming_looks_here_then_at_the_artifact_then_starts_over(tmp_path, wandb, uncut):
    """A damaged file here is no reason to start over while there is an artifact, and that may be damaged too."""
    every = "wandb.artifact_every=3"
    with pytest.raises(RuntimeError, match="cut"):
        train(tmp_path, every, source=Batches(fail=(7, RuntimeError("cut"))))
    folder = config(tmp_path).folder
    (sent,) = wandb.store.values()
    deadline = time.time() + 5
    while len(sent) < 1 and time.time() < deadline:
        time.sleep(0.01)
    assert json.loads((folder / "result.json").read_text())["status"] == "failed"
    assert list(sent[0].files) and sent[0].metadata["config_hash"] == config(tmp_path).config_hash
    assert not list(Path(os.environ["TMPDIR"]).glob("artifact-*"))  # deleted after the upload
    here = checkpoints(folder)[0]
    here.write_bytes(here.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged"):
        result = train(tmp_path, every)
    assert result.resumed_from == "artifact" and same(weights(folder), uncut)

    shutil.rmtree(folder)
    for artifact in sent:
        artifact.files = {name: content[:-100] for name, content in artifact.files.items()}
    with pytest.warns(UserWarning, match="damaged"):
        result = train(tmp_path, "wandb.artifact_every=0")
    assert result.resumed_from == "start" and same(weights(folder), uncut)


def test_the_artifact_of_another_run_is_refused(tmp_path, wandb):
    train(tmp_path, "wandb.artifact_every=8", "runtime.run_id=mine")
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(MedsslError, match="mine-ckpt is of a run with config"):
        train(tmp_path, "runtime.run_id=mine", "train.lr=0.002")


def test_losing_wandb_never_stops_a_run(tmp_path, wandb, uncut):
    wandb.fails = {"online"}
    with pytest.warns(UserWarning, match="did not start .online.*Training goes on"):
        assert train(tmp_path / "a").status == "ok"
    assert [of["mode"] for of in wandb.started] == ["online", "offline"] and len(wandb.rows) == 3
    wandb.fails = {"online", "offline"}
    with pytest.warns(UserWarning, match="Training goes on"):
        assert train(tmp_path / "b").status == "ok"
    wandb.fails = {"log", "artifact"}
    with pytest.warns(UserWarning) as told:
        result = train(tmp_path / "c", "wandb.artifact_every=2")
    assert result.status == "ok" and len(told) == 1 and same(weights(result.folder), uncut)


def test_online_is_for_jobs_of_the_cluster(tmp_path, wandb, monkeypatch):
    train(tmp_path / "a", "wandb.mode=auto")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    train(tmp_path / "b", "wandb.mode=auto")
    assert [of["mode"] for of in wandb.started] == ["offline", "online"]
    assert wandb.started[0]["resume"] == "allow" and wandb.started[0]["id"] == config(tmp_path).run_id


def test_out_of_memory_has_its_status_and_advice(tmp_path):
    class Hungry(Batches):
        def batches(self, epoch):
            yield next(super().batches(epoch))
            raise self.error

    for error in (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
                  RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")):
        source = Hungry()
        source.error = error
        result = train(tmp_path / type(error).__name__, source=source)
        assert (result.status, result.exit_code) == ("oom", 5) and "batch_size (now 6)" in result.message


def test_checkpoints_never_lie_where_the_job_cleans_up(tmp_path):
    with pytest.raises(MedsslError, match="would go with the job"):
        train(tmp_path, f"checkpoint.folder={tmp_path}/scratch/runs")


def test_what_the_quota_guard_counts_and_prunes(tmp_path):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    files = [tmp_path / "a", tmp_path / "deep" / "b", tmp_path / "deep" / "deeper" / "c"]
    for file in files:
        file.write_bytes(b"x" * 100_000)
    os.link(files[0], tmp_path / "again")
    (tmp_path / "loop").symlink_to(tmp_path)
    used = bytes_below(tmp_path)
    assert 300_000 <= used < 330_000
    guard = QuotaGuard(tmp_path, used - 150_000, used - 1, lambda: [files[1], tmp_path / "gone", files[2], files[0]])
    assert guard.look() == "ok" and guard.pruned == files[1:] and files[0].exists()  # in order, and no more than needed
    files[1].write_bytes(b"x" * 400_000)
    assert guard.look() == "ok"  # the look is kept
    guard.every, guard.expendable = 0.0, tuple
    assert guard.look() == "hard"
    guard.hard = 10**9
    assert guard.look() == "soft"
    with pytest.raises(MedsslError):
        QuotaGuard(tmp_path, 2, 1)


def test_a_full_home_is_a_checkpoint_and_a_stop(tmp_path, uncut):
    class Filling(Batches):
        def batches(self, epoch):
            for made in super().batches(epoch):
                if self.given == 4:
                    (tmp_path / "big").write_bytes(b"x" * 60_000_000)
                    time.sleep(0.3)
                yield made

    quota = ("quota.soft_gb=0.04", "quota.hard_gb=0.05", "quota.every_seconds=0.02")
    result = train(tmp_path, *quota, source=Filling())
    assert (result.status, result.exit_code) == ("stopped_quota", 6) and "checkpoint" in result.message
    assert load_newest(Path(result.folder))["step"] == result.steps == 4
    assert train(tmp_path, *quota).status == "stopped_quota"  # and does not begin while it is full
    (tmp_path / "big").unlink()
    assert same(weights(train(tmp_path, *quota).folder), uncut)


def test_home_is_counted_in_a_job_only_and_nothing_outside_of_the_run_is_deleted(tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    others = [home / ".cache/wandb/artifacts/blob", home / "runs/another/checkpoint-00000001-aa.pt"]
    mine = [home / "run/checkpoint-00000001-aa.pt", home / "run/checkpoint-00000002-bb.pt"]
    for file in (*others, *mine):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 100_000)
    monkeypatch.setenv("HOME", str(home))
    small = ("quota.soft_gb=1e-6", "quota.hard_gb=1e-6")
    assert prism.open_guard(config(tmp_path, *small, "quota.folder=''"), home / "run") is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    guard = prism.open_guard(config(tmp_path, *small, "quota.folder=''"), home / "run")
    guard.stop()
    assert guard.folder == home and guard.level == "hard" and guard.pruned == mine[:1]
    assert all(file.exists() for file in (*others, mine[1])) and not mine[0].exists()
    assert f"quota: deleted {mine[0]}\n" in capsys.readouterr().out


def test_what_may_be_pruned_and_in_which_order(tmp_path):
    names = ["checkpoint-00000009.1.tmp", f"checkpoint-00000009.{os.getpid()}.tmp", "checkpoint-00000005-aa.damaged",
             "checkpoint-00000007-bb.pt", "checkpoint-00000008-cc.pt", "history.jsonl", "result.json"]
    for name in names:
        (tmp_path / name).write_text("x")
    assert prism.expendable(tmp_path) == [tmp_path / names[0], tmp_path / names[2], tmp_path / names[3]]


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


@pytest.mark.parametrize("wrong", ["train.rl=1", "trian.lr=1", "lr=1", "train.lr=fast", "train.batch_size=0",
                                   "model.size=huge", "data.storage_mode=striped", "loss.supcon_temperature=0",
                                   "quota.soft_gb=50", "wandb.mode=on", "train.batch_size=7", "train.lr=0",
                                   "train.lr=nan", "train.precision=fp8", "runtime.device=gpu", "data.max_degrees=46",
                                   "data.prism_mm=0", "data.pool_gb=0", "data.n_scans=-1", "data.visits_per_scan=0",
                                   "data.modality_filter=[]", "data.distinct_series_per_batch=0", "checkpoint.every=0"])
def test_a_typo_is_an_error(tmp_path, wrong):
    with pytest.raises(MedsslError):
        config(tmp_path, wrong)


def test_home_is_written_out_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    read = config(tmp_path, "data.catalog_path=~/c.csv", "data.cache_path=~/cache", "data.report_path=~/p.json",
                  "checkpoint.folder=~/runs", "data.max_degrees=0", "runtime.device=cuda:1")
    assert (read.data.catalog_path, read.data.cache_path, read.data.report_path, read.checkpoint.folder) == (
        "/home/ada/c.csv", "/home/ada/cache", "/home/ada/p.json", "/home/ada/runs")


def test_the_hash_is_of_what_is_learnt(tmp_path):
    base = config(tmp_path)
    assert base.config_hash == config(tmp_path / "elsewhere", "wandb.project=x", "train.log_every=9").config_hash
    changes = ("train.lr=0.5", "loss.w_window=2", "data.n_patches=6", "model.size=small", "train.seed=1")
    assert len({config(tmp_path, change).config_hash for change in changes} | {base.config_hash}) == 6


HOME = """
import sys
sys.path.insert(0, {tests!r})
from medssl.cli_prism import prism
from prism_batches import Batches
import medssl.recipes.prism_scans as scans
scans.scans_of = lambda config: ([], [])
scans.open_source = lambda config, records: Batches()
prism(["train", *(word for key in {settings!r} for word in ("--set", key))])
"""


def test_home_stays_empty(tmp_path):
    """A real W&B, offline, with a HOME that is empty and may not be written to (root may all the same)."""
    if not any(part.metadata["Name"] == "wandb" for part in distributions()):
        pytest.skip("wandb is not installed")
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o555)
    settings = ["data.catalog_path=none.csv", "train.max_steps=2", "data.n_patches=5", "runtime.device=cpu",
                f"checkpoint.folder={tmp_path}/runs", f"runtime.scratch={tmp_path}/scratch", "train.precision=fp32"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "XDG", "SLURM"))}
    env |= {"HOME": str(home), "MPLCONFIGDIR": matplotlib.get_cachedir()}  # with the list of fonts: it takes seconds
    code = HOME.format(tests=str(TESTS), settings=settings)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "status ok" in done.stdout, done.stderr
    assert [path.name for path in home.rglob("*") if path.name != ".medmnist"] == []  # that package's import makes it
    (kept,) = tmp_path.glob("runs/*/wandb/offline-run-*/*.wandb")  # a copy that outlives the job
    assert list((tmp_path / "scratch" / "wandb").rglob("*.wandb")) and kept.stat().st_size > 1000


def test_the_command_ends_with_the_code_of_the_run(monkeypatch):
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    runner, asked = CliRunner(), []
    ended = types.SimpleNamespace(exit_code=75)
    monkeypatch.setattr(prism, "train_prism", lambda config: asked.append(config) or ended)
    told = runner.invoke(cli_prism.prism, ["train", "--set", "data.catalog_path=a.csv", "--set", "train.lr=0.5"])
    assert told.exit_code == 75 and asked[0].train.lr == 0.5
    assert not os.environ["MPLCONFIGDIR"].startswith(str(Path.home()))
    told = runner.invoke(cli_prism.prism, ["train", "--set", "data.catalog_path=a.csv", "--set", "train.rl=0.5"])
    assert isinstance(told.exception, MedsslError) and "unknown key 'rl'" in str(told.exception)
