"""Prism's settings: one tree, in which a typo is an error."""

import pytest
from prism_runs import config, fake_wandb  # noqa: F401 - fixtures

from medssl.errors import MedsslError


@pytest.mark.parametrize("wrong", ["train.rl=1", "trian.lr=1", "lr=1", "train.lr=fast", "train.batch_size=0",
                                   "model.size=huge", "data.storage_mode=striped", "loss.supcon_temperature=0",
                                   "quota.soft_gb=50", "wandb.mode=on", "train.batch_size=7", "train.lr=0",
                                   "train.lr=nan", "train.precision=fp8", "runtime.device=gpu", "data.max_degrees=46",
                                   "data.prism_mm=0", "data.pool_gb=0", "data.n_scans=-1", "data.visits_per_scan=0",
                                   "data.modality_filter=[]", "data.distinct_series_per_batch=0", "checkpoint.every=0",
                                   "runtime.run_id=a/b", "runtime.run_id=..", "runtime.run_id=.a", "runtime.run_id=a b",
                                   "runtime.run_id=" + "a" * 129])
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
