"""Where a run may write: checkpoints outlive the job, home stays empty and below its quota."""

import os
import subprocess
import sys
import time
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import pytest
from prism_batches import Batches
from prism_runs import config, fake_wandb, same, train, uncut_run, weights  # noqa: F401 - fixtures

from medssl.errors import MedsslError
from medssl.recipes import prism
from medssl.train import load_newest
from medssl.train.disk import FOLDERS, QuotaGuard, bytes_below, redirect

TESTS = Path(__file__).parent
HOME = """
import sys
sys.path.insert(0, {tests!r})
from medssl.cli_prism import prism
from prism_batches import Batches
import numpy as np
import medssl.recipes.prism_scans as scans
from medssl.views import sample_patches

def open_source(config, records):  # what numba compiles is cached; a worker does so in its first batch
    sample_patches(np.zeros((9, 9, 9), np.int16), np.eye(4), np.full((1, 3), 4.0), np.eye(3), 4.0)
    return Batches()

scans.scans_of = lambda config: ([], [])
scans.open_source = open_source
prism(["train", *(word for key in {settings!r} for word in ("--set", key))])
"""


def test_home_stays_empty(tmp_path):
    """A real W&B, offline, and a numba that compiles, with a HOME that is empty and may not be written to (root may all
    the same)."""
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
    assert done.returncode == 0 and "status ok" in done.stdout and "Weights & Biases" not in done.stderr, done.stderr
    assert [path.name for path in home.rglob("*") if path.name != ".medmnist"] == []  # that package's import makes it
    (kept,) = tmp_path.glob("runs/*/wandb/offline-run-*/*.wandb")  # a copy that outlives the job
    assert list((tmp_path / "scratch" / "wandb").rglob("*.wandb")) and kept.stat().st_size > 1000
    if find_spec("numba"):
        assert list((tmp_path / "scratch" / "numba_cache").rglob("*.nbc")), done.stderr


def test_in_a_job_the_folders_of_the_job_are_those_of_the_run(tmp_path, monkeypatch, repo):
    """One scratch folder, not one within the other: the run's folders are the job's, and no other is made."""
    script = "source course/betty/around.sh; prepare; env; find $scratch -type d | sort"
    env = os.environ | {"SLURM_JOB_ID": "7", "MEDSSL_SCRATCH": str(tmp_path / "jobs")}
    told = subprocess.run(["bash", "-euc", script], cwd=repo, env=env, stdout=subprocess.PIPE, text=True).stdout
    job = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    monkeypatch.setenv("MEDSSL_JOB_SCRATCH", job["MEDSSL_JOB_SCRATCH"])
    monkeypatch.setenv("TMPDIR", job["TMPDIR"])
    scratch = redirect(config(tmp_path, "runtime.scratch=''").scratch)
    assert scratch == tmp_path / "jobs" / "7" and {name: os.environ[name] for name in FOLDERS} == {
        name: job[name] for name in FOLDERS}
    ours = {str(path) for path in scratch.rglob("*")}
    assert ours and ours <= {line for line in told.splitlines() if line.startswith(str(scratch))}


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
