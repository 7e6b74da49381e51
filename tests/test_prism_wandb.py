"""Weights & Biases is a guest: losing it stops nothing."""

import pytest
from prism_runs import config, fake_wandb, same, train, uncut_run, weights  # noqa: F401 - fixtures


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
