"""Runs of Prism that take a second: made batches, a W&B that is none, and an environment that is put back."""

import os
import sys
import tempfile
import time
import types
from pathlib import Path

import pytest
import torch
from prism_batches import Batches

from medssl.recipes import prism
from medssl.recipes.prism_config import read_config
from medssl.train import load_newest
from medssl.train.disk import FOLDERS


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
        self.Artifact, self.preempted, self.ended, self.run = Artifact, False, None, None

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
        Path(self.dir).with_name("run.wandb").write_bytes(b":W&B...")  # its helper may write on for a while

    def teardown(self, exit_code):
        Path(self.dir).with_name("run.wandb").write_bytes(b"all of it")


@pytest.fixture(autouse=True, name="wandb")
def fake_wandb(monkeypatch, tmp_path):
    """A fake client, and an environment that is put back afterwards."""
    for name in (*FOLDERS, "SLURM_JOB_ID", "MEDSSL_JOB_SCRATCH"):
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


@pytest.fixture(scope="module", name="uncut")
def uncut_run(tmp_path_factory):
    place = tmp_path_factory.mktemp("uncut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", FakeWandb())
        before = dict(os.environ)
        result = train(place)
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = None
    return weights(result.folder)


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
