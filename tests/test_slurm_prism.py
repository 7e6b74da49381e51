"""`medssl prism` itself on a real Slurm: an array of the ablation, a run that is cut, and torchrun. All really train.

Each run costs ten seconds of processor time, nine of them to import torch and the rest: 24 are two minutes on two
cores. `make nightly` has all of them, `make test` three, beside 21 whose results are written as if they had ended well.
"""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import slurm_one_machine as slurm
import torch
from kills import KILLS
from slurm_jobs import ENDED, needs_slurm, one_cluster, one_slurm  # noqa: F401 (fixtures)
from typer.testing import CliRunner

from medssl import cli_prism
from medssl.course import cluster
from medssl.data.phantom_catalog import phantom_catalog
from medssl.recipes import prism_ablation
from medssl.recipes.prism_config import read_config
from medssl.recipes.prism_result import PrismResult, write_result
from medssl.train import load_newest

REPO = Path(__file__).resolve().parents[1]
REAL = range(24) if KILLS >= 50 else (0, 11, 23)  # of the array; all in `make nightly`
SMALL = ["data.workers=0", "data.n_patches=4", "train.max_steps=2"]  # what the table of the study sets otherwise
pytestmark = needs_slurm
PRISM = """
[data]
catalog_path = "{catalog}"
n_patches = 4
workers = 0
distinct_series_per_batch = 2
warm_pool_size = 2
visits_per_scan = 3
holdout = 0.7
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


def real_prism(here, monkeypatch, tmp_path):
    for needed in ("nibabel", "blosc2", "scipy", "polars"):
        pytest.importorskip(needed)
    here.config.write_text(PRISM.format(catalog=phantom_catalog(tmp_path / "scans", 5), folder=tmp_path))
    monkeypatch.setenv("MEDSSL", f"{sys.executable} -m medssl")


def test_the_ablation_keeps_to_its_throttle_runs_again_only_what_failed_and_is_ranked(here, monkeypatch, tmp_path):
    real_prism(here, monkeypatch, tmp_path)
    monkeypatch.setattr(cluster, "AT_ONCE", 2)
    table = prism_ablation.runs()
    for run in table:
        if run["index"] not in REAL:
            config = read_config(here.config, [*prism_ablation.settings(run, SMALL), f"checkpoint.folder={here.out}"])
            numbers = {name: 0.5 for name in prism_ablation.PROXIES}
            write_result(PrismResult("ok", config.run_id, config.config_hash, str(config.folder), metrics=numbers),
                         config, config.folder)
    here.out.mkdir(exist_ok=True)
    failing = here.out / table[23]["name"]
    failing.touch()  # a file where its folder belongs: it fails
    where = [*SMALL, f"checkpoint.folder={here.out}"]
    job, at_once = here.launch("prism-ablate", settings=where), []

    def over():
        states = slurm.said("squeue", "-h", "-t", "all", "-j", job, "-r", "-o", "%T").split()
        at_once.append(states.count("RUNNING"))
        return len(states) == len(REAL) and set(states) <= set(ENDED)

    here.wait(over, 60 + 60 * len(REAL))
    assert slurm.state(job) == "COMPLETED FAILED", here.said()
    assert max(at_once) == 2
    failing.unlink()
    again = here.launch("prism-ablate", settings=where)
    assert here.end(again) == "COMPLETED", here.said()
    assert [path.name for path in here.logs.glob(f"{again}_*")] == [f"{again}_23.out"]
    with pytest.raises(cluster.MedsslError, match="have ended well"):
        here.launch("prism-ablate", settings=where)
    words = ["ablate", "--rank", str(here.out), *(word for one in SMALL for word in ("--set", one))]
    told = CliRunner().invoke(cli_prism.prism, words).stdout
    ranked = [line.split() for line in told.splitlines()[1:]]
    assert sorted(row[0] for row in ranked) == sorted(run["name"] for run in table)
    assert all(row[1] == "ok" and row[2] != "nan" for row in ranked), told
    assert list(here.scratch.iterdir()) == []


def test_a_signal_becomes_a_checkpoint_a_requeue_and_the_result_of_an_uncut_run(here, monkeypatch, tmp_path):
    real_prism(here, monkeypatch, tmp_path)
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


def test_the_torchrun_line_of_the_page_trains_in_two_processes(here, tmp_path, monkeypatch):
    page = (REPO / "course/betty.md").read_text()
    line = re.search(r"(?s)\nsbatch .*?--wrap .*?(?=\n```)", page)[0].replace("\\\n", " ")
    small = line.replace("breastmnist --batch-size 512", "breastphantom --batch-size 16 --steps 2")
    assert small != line
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)  # its logs/ is that of the page
    job = slurm.said("sbatch", "--parsable", *shlex.split(small)[1:])
    assert here.end(job) == "COMPLETED", here.said()
    assert json.loads((tmp_path / "runs/two/ssl_config.json").read_text())["steps"] == 2
