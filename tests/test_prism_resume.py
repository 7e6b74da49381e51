"""A run of Prism that was cut goes on: after a kill, a signal, from its folder, from its artifact."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from prism_batches import Batches
from prism_runs import config, fake_wandb, in_a_child, same, train, uncut_run, weights  # noqa: F401 - fixtures

from medssl.errors import MedsslError
from medssl.recipes.prism_source import COUNTERS
from medssl.train import load_newest
from medssl.train.checkpoint import checkpoints


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


def test_another_run_of_that_name_is_refused_here_and_at_wandb_with_a_way_out_that_exists(tmp_path, wandb):
    train(tmp_path, "wandb.artifact_every=8", "runtime.run_id=mine")
    for where in ("holds a run with other settings", "mine-ckpt is of a run with config"):
        with pytest.raises(MedsslError, match=where) as told:
            train(tmp_path, "runtime.run_id=mine", "train.lr=0.002")
        assert "another runtime.run_id; for an ablation" in told.value.fix and "--fresh" not in told.value.fix
        shutil.rmtree(tmp_path / "runs")


def test_counts_of_replacements_go_on_where_the_run_does(tmp_path):
    """Failures of the first part are failures of the run; times are of the part."""
    counted = {0: [4.0, 1.0, 5.0, 30.0], 6: [2.0, 2.0, 0.5, 10.0]}
    lenient = ("data.strict=false", "checkpoint.every=1")
    with pytest.raises(RuntimeError, match="cut"):
        train(tmp_path, *lenient, source=Batches(counters=counted, fail=(5, RuntimeError("cut"))))
    result = train(tmp_path, *lenient, source=Batches(counters=counted))
    assert (result.resumed_from, result.steps_timed) == ("local", 3)
    assert [result.metrics[name] for name in COUNTERS] == [6.0, 3.0, 5.5, 40.0]
