"""Training Prism: how a run ends, and what it says then."""

import json
import os
import types
from pathlib import Path

import pytest
import torch
from prism_batches import Batches, batch
from prism_runs import config, fake_wandb, in_a_child, same, train, weights  # noqa: F401 - fixtures
from typer.testing import CliRunner

import medssl
from medssl import cli_prism
from medssl.data.stream import BrokenScan, TooManyBroken
from medssl.errors import MedsslError
from medssl.recipes import prism
from medssl.recipes.prism_metrics import METRICS
from medssl.recipes.prism_proxies import proxies


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


def test_nobody_to_measure_on_is_an_error_that_says_so():
    with pytest.raises(MedsslError, match="data.holdout"):
        proxies(prism.build_prism(config(Path("x"))), [])


@pytest.mark.parametrize("strict, status", [("true", "failed_replacement"), ("false", "ok")])
def test_strict_is_never_ok_with_a_failed_replacement(tmp_path, strict, status):
    """Even where the loader did not raise."""
    result = train(tmp_path, f"data.strict={strict}", source=Batches(counters={1: [0.0, 1.0, 0.0, 0.0]}))
    assert result.status == status and result.metrics["replacement_failed_count"] == 1


@pytest.mark.parametrize("error, status, code", [(BrokenScan("scan 7 is cut short"), "failed_replacement", 3),
                                                 (TooManyBroken("30 of 200 failed"), "aborted_broken_ratio", 4)])
def test_a_broken_scan_ends_the_process_with_its_own_code_and_a_clean_stderr(tmp_path, error, status, code):
    def work():
        return train(tmp_path, source=Batches(fail=(4, error))).exit_code

    _, ended = os.waitpid(in_a_child(work, tmp_path / "err"), 0)
    said = json.loads(next(tmp_path.rglob("result.json")).read_text())
    assert os.waitstatus_to_exitcode(ended) == code != 0 and (tmp_path / "err").read_text() == ""
    assert (said["status"], said["message"], said["steps"]) == (status, str(error), 4)


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
