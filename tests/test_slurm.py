"""The job scripts on a real Slurm: arrays, signals, requeues, and what is left. Skipped where there is none."""

import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
import slurm_one_machine as slurm
import torch

from medssl.course import cluster
from medssl.data.phantom_catalog import phantom_catalog
from medssl.recipes import prism_ablation
from medssl.recipes.prism_config import read_config
from medssl.recipes.prism_result import PrismResult, write_result
from medssl.train import load_newest

REPO = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not() or "-")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


@pytest.fixture(scope="module")
def running():
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # sockets lie in it, and their paths must be short
    try:
        with slurm.one_machine(folder):
            yield folder
    finally:
        shutil.rmtree(folder)


class Cluster:
    """Submits with `medssl launch`, in a folder of its own, and reads what the job left."""

    def __init__(self, folder: Path):
        self.out, self.scratch, self.logs = folder / "out", folder / "scratch", folder / "logs"
        self.config = folder / "prism.toml"
        self.logs.mkdir()
        (folder / "catalog.csv").touch()
        self.config.write_text(f'[data]\ncatalog_path = "{folder}/catalog.csv"\n')

    def launch(self, *words: str, **options) -> str:
        log = f"--output={self.logs}/%j_%a.out"
        if words[0].startswith("prism"):
            options |= {"config": self.config}
        out = None if "settings" in options else self.out
        told = cluster.launch(list(words), out=out, sbatch_args=[log], **options)
        return re.match(r"job (\d+): ", told)[1]

    def wait(self, true, seconds: float = 180) -> None:
        give_up = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < give_up, self.said()
            time.sleep(0.2)

    def end(self, job: str, seconds: float = 300) -> str:
        """Wait for the end of a job (or of each task), and its state.

        After a requeue Slurm lets a job wait for two minutes; here one second is enough, but it is needed: the node
        refuses a start that its clock, in whole seconds, cannot tell from the one it has just ended, and the job fails.
        """

        def over():
            if slurm.state(job) == "PENDING" and "Restarts=0" not in slurm.said("scontrol", "show", "job", job):
                time.sleep(1.1)
                slurm.said("scontrol", "update", f"jobid={job}", "StartTime=now")
            return set(slurm.state(job).split()) <= set(ENDED)

        self.wait(over, seconds)
        return slurm.state(job)

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.logs.iterdir()))


@pytest.fixture
def here(running, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "NOT_KEPT", ())  # the tests' own folder lies in /tmp
    monkeypatch.setenv("MEDSSL_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    return Cluster(tmp_path)


def stand_in(monkeypatch, path: Path, shell: str) -> None:
    """A shell script in place of `medssl`: `prism train …`, or `prism ablate --run N …`."""
    path.write_text(f"#!/bin/bash\n{shell}\n")
    path.chmod(0o755)
    monkeypatch.setenv("MEDSSL", str(path))


def test_an_array_of_24_keeps_to_its_throttle_and_runs_again_only_what_did_not_end_well(here, monkeypatch, tmp_path):
    for run in prism_ablation.runs():  # what each writes at its end, well or not
        config = read_config(here.config, [*prism_ablation.settings(run), f"checkpoint.folder={here.out}"])
        for status in ("ok", "oom"):
            result = PrismResult(status, config.run_id, config.config_hash, str(config.folder))
            write_result(result, config, tmp_path / status / str(run["index"]) / run["name"])
    stand_in(monkeypatch, tmp_path / "medssl", f"""
        n=$4 notes={tmp_path}/notes
        echo "$(date +%s.%N) 1 $n" >> $notes; sleep 0.6; echo "$(date +%s.%N) -1 $n" >> $notes
        status=ok; [ $n = 7 ] && [ ! -f {tmp_path}/again ] && status=oom && touch {tmp_path}/again
        mkdir -p {here.out}; cp -r {tmp_path}/$status/$n/* {here.out}/; [ $status = ok ]""")
    job = here.launch("prism-ablate")
    assert here.end(job) == "COMPLETED FAILED"
    notes = sorted(line.split() for line in (tmp_path / "notes").read_text().splitlines())
    assert sorted(int(n) for _, change, n in notes if change == "1") == list(range(24))
    at_once = peak = 0
    for _, change, _ in notes:
        at_once += int(change)
        peak = max(peak, at_once)
    assert 2 <= peak <= 8
    assert len(list(here.out.iterdir())) == 24
    (tmp_path / "notes").unlink()
    assert here.end(here.launch("prism-ablate")) == "COMPLETED"
    assert [line.split()[2] for line in (tmp_path / "notes").read_text().splitlines()] == ["7", "7"]
    with pytest.raises(cluster.MedsslError, match="have ended well"):
        here.launch("prism-ablate")
    assert list(here.scratch.iterdir()) == []


PRISM = """
[data]
catalog_path = "{catalog}"
n_patches = 4
workers = 0
distinct_series_per_batch = 2
warm_pool_size = 2
visits_per_scan = 3
holdout = 0
deterministic = true
[train]
batch_size = 4
max_steps = 200
log_every = 10
[runtime]
run_id = "run"
device = "cpu"
[wandb]
mode = "disabled"
[checkpoint]
every = 10
[quota]
folder = "{folder}"
"""


def test_a_signal_becomes_a_checkpoint_a_requeue_and_the_result_of_an_uncut_run(here, monkeypatch, tmp_path):
    for needed in ("nibabel", "blosc2", "scipy", "polars"):
        pytest.importorskip(needed)
    here.config.write_text(PRISM.format(catalog=phantom_catalog(tmp_path / "scans", 4), folder=tmp_path))
    monkeypatch.setenv("MEDSSL", f"{sys.executable} -m medssl")
    job = here.launch("prism-train")
    here.wait(lambda: list(here.out.glob("run/checkpoint-*.pt")))
    slurm.said("scancel", "--batch", "--signal=USR2", job)
    here.wait(lambda: slurm.state(job) == "PENDING")
    steps = json.loads((here.out / "run/result.json").read_text())
    assert steps["status"] == "preempted" and 0 < steps["steps"] < 200 and list(here.scratch.iterdir()) == []
    whole = here.launch("prism-train", settings=[f"checkpoint.folder={tmp_path}/uncut"])
    assert here.end(job) == here.end(whole) == "COMPLETED", here.said()
    assert "Restarts=1 " in slurm.said("scontrol", "show", "job", job)
    assert here.said().count("back into the queue") == 1 and "start 2," in here.said()
    assert json.loads((here.out / "run/result.json").read_text())["resumed_from"] == "local"
    cut, uncut = (load_newest(folder)["method"] for folder in (here.out / "run", tmp_path / "uncut/run"))
    assert cut.keys() == uncut.keys() and all(torch.equal(cut[name], uncut[name]) for name in cut)
    assert list(here.scratch.iterdir()) == []


# A run that has not ended by itself: it writes a checkpoint when it is asked to stop, as `medssl prism train` does.
ENDLESS = """
    mkdir -p $OUT; trap 'echo saved > $OUT/last.ckpt; touch "$TMPDIR/left"; exit 75' TERM
    [ -f $OUT/last.ckpt ] && exit 0
    touch $OUT/started; while :; do sleep 0.1; done"""


def test_a_cancelled_job_stays_cancelled_its_scratch_goes_its_checkpoint_stays(here, monkeypatch, tmp_path):
    stand_in(monkeypatch, tmp_path / "medssl", ENDLESS)
    job = here.launch("prism-smoke")
    here.wait((here.out / "started").exists)
    slurm.said("scancel", job)
    assert here.end(job) == "CANCELLED"
    here.wait(lambda: "(COMPLETING)" not in slurm.said("scontrol", "show", "job", job))
    assert (here.out / "last.ckpt").read_text() == "saved\n" and list(here.scratch.iterdir()) == []
    assert "back into the queue" not in here.said() and "Restarts=0 " in slurm.said("scontrol", "show", "job", job)


@pytest.mark.parametrize("partition", ["dgx-b200", "graced"])
def test_a_preempted_job_is_in_the_queue_once_and_goes_on(here, monkeypatch, tmp_path, partition):
    stand_in(monkeypatch, tmp_path / "medssl", ENDLESS)
    job = here.launch("prism-train", partition=partition)
    here.wait((here.out / "started").exists)
    urgent = slurm.said("sbatch", "--parsable", "-p", "urgent", f"--gpus={slurm.GPUS}", "-o", "/dev/null",
                        "--wrap=true")
    assert here.end(urgent) == "COMPLETED", here.said()
    assert here.end(job) == "COMPLETED", here.said()
    assert "Restarts=1 " in slurm.said("scontrol", "show", "job", job)
    assert "start 2," in here.said() and list(here.scratch.iterdir()) == []


def test_the_notebook_job_runs_week_1_and_its_notebook_arrives(here, monkeypatch):
    monkeypatch.setenv("MEDSSL", f"{sys.executable} -m medssl")
    job = here.launch("week01", profile="quick", given={"SEEDS": "1", "EPOCHS": "1"})
    assert here.end(job) == "COMPLETED", here.said()
    assert (here.out / "notebooks/week01_baseline.ipynb").is_file()
    assert list((here.out / "results/week1").rglob("run.json")), here.said()
    assert list(here.scratch.iterdir()) == []
