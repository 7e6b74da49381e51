"""The job scripts on a real Slurm: signals, requeues, and what is left. Skipped where there is none.

What `medssl prism` itself does there: test_slurm_prism.py.
"""

import sys

import pytest
import slurm_one_machine as slurm
from slurm_jobs import needs_slurm, one_cluster, one_slurm, stand_in  # noqa: F401 (fixtures)

pytestmark = needs_slurm


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
