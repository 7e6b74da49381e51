"""Weights & Biases is a guest: losing it stops nothing."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from prism_runs import config, fake_wandb, same, train, uncut_run, weights  # noqa: F401 - fixtures

from medssl.train import wandb_run


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


def test_the_copy_of_an_offline_run_is_made_when_all_of_it_is_written(tmp_path, wandb):
    """Found in a busy machine's test: the copy held W&B's seven first bytes."""
    result = train(tmp_path / "a", "wandb.mode=offline")
    assert Path(result.folder, "wandb/run/run.wandb").read_bytes() == b"all of it"
    wandb.run = object()  # somebody else's, in the same process
    result = train(tmp_path / "b", "wandb.mode=offline")
    assert Path(result.folder, "wandb/run/run.wandb").exists() and wandb.ended == 0


HANGS = """
import atexit, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from prism_batches import Batches
from prism_runs import FakeWandb, train
from medssl.data.stream import BrokenScan
from medssl.train import wandb_run

class Hanging(FakeWandb):
    def finish(self, exit_code):
        time.sleep(600)

sys.modules["wandb"] = Hanging()
atexit.register(time.sleep, 600)  # as W&B's own hook: it waits for what finish() waited for
wandb_run.LEAVE, close = 0.5, wandb_run.WandbRun.close
wandb_run.WandbRun.close = lambda run, wait, *rest: close(run, 1.0, *rest)
sys.exit(train(Path({folder!r}), source=Batches(fail=(4, BrokenScan("scan 7")))).exit_code)
"""


def test_a_finish_that_hangs_keeps_no_job_alive(tmp_path):
    """The process ends with the code of its run; what was not sent is copied to where it outlives the job."""
    code = HANGS.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 3 and "status failed_replacement: scan 7; written to" in done.stdout, done.stderr
    left, = tmp_path.glob("runs/*/wandb/run")
    assert "did not end the run within 1 s" in done.stderr and f"`wandb sync {left}`" in done.stderr


def test_a_checkpoint_that_never_comes_from_wandb_is_none(tmp_path, wandb, monkeypatch):
    monkeypatch.setattr(wandb_run, "DOWNLOAD", 0.1)
    wandb.use_artifact = lambda name: time.sleep(600)
    with pytest.warns(UserWarning, match="did not bring .*-ckpt within 0 s"):
        assert train(tmp_path).resumed_from == "start"
