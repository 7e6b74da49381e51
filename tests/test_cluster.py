"""`medssl launch` and the job scripts with a Slurm made of paper: programs that note what they are given."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from medssl.cli import main
from medssl.course import cluster
from medssl.errors import MedsslError
from medssl.methods.prism import supcon_weight
from medssl.recipes import prism_ablation
from medssl.recipes.prism_config import read_config
from medssl.recipes.prism_result import PrismResult, write_result

REPO = Path(__file__).resolve().parents[1]
BETTY = REPO / "course/betty"
SCRIPTS = sorted(BETTY.glob("job_*.sh"))
each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def program(path: Path, shell: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{shell}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """sbatch and its like on the PATH: each call is a line in `calls`, and a job is what `state` says."""
    (tmp_path / "state").write_text("RUNNING")
    note = f'{{ printf "%s" "${{0##*/}}"; printf " %q" "$@"; echo; }} >> {tmp_path}/calls'
    says = {"sbatch": "echo 42", "sinfo": "echo dgx-b200; echo genoa", "squeue": f"cat {tmp_path}/state",
            "scontrol": f"[ ! -d {tmp_path}/scratch/7 ] || echo early >> {tmp_path}/calls", "sacctmgr": "echo lab"}
    for name, shell in says.items():
        program(tmp_path / "bin" / name, f"{note}; {shell}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MEDSSL_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(cluster, "NOT_KEPT", ())
    (tmp_path / "catalog.csv").touch()
    (tmp_path / "prism.toml").write_text(f'[data]\ncatalog_path = "{tmp_path}/catalog.csv"\n')
    return tmp_path


def calls(paper: Path, name: str) -> list[list[str]]:
    lines = (paper / "calls").read_text().splitlines() if (paper / "calls").exists() else []
    return [words[1:] for words in map(shlex.split, lines) if words[0] == name]


# ---- the scripts as files


@each
def test_the_lines_of_sbatch_are_those_of_the_plan(script):
    lines = dict(re.findall(r"(?m)^#SBATCH --([\w-]+)=?(\S*)$", script.read_text()))
    assert len(lines) == script.read_text().count("#SBATCH"), "a line that sbatch reads otherwise"
    log = lines.pop("output")
    assert lines.pop("job-name") and re.fullmatch(r"logs/%x_(%j|%A_%a)\.out", log)
    array = lines.pop("array", None)
    assert (array, "%A_%a" in log) == (("0-23%8", True) if "ablate" in script.name else (None, False))
    assert lines == {"partition": "dgx-b200", "gpus": "1", "cpus-per-task": "16", "mem": "256G", "time": "24:00:00",
                     "requeue": "", "open-mode": "append", "signal": "B:USR2@180"}  # fmt: skip
    first = next(line for line in script.read_text().splitlines() if line and not line.startswith("#"))
    assert first == "set -euo pipefail", "sbatch reads no #SBATCH line after a command, and a failure must be one"


@pytest.mark.parametrize("script", sorted(BETTY.glob("*.sh")), ids=lambda path: path.stem)
def test_bash_and_shellcheck_find_nothing(script):
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-x", script.relative_to(REPO)], cwd=REPO, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# ---- the scripts at work


def start(paper: Path, shell: str, script: str = cluster.TRAIN, *words: str, **env: str) -> subprocess.Popen:
    """Run a job script as Slurm would, with `shell` in place of `medssl`."""
    stand_in = program(paper / "medssl", shell)
    given = {"SLURM_JOB_ID": "7", "MEDSSL": str(stand_in), "MEDSSL_OUT": str(paper / "out"), **env}
    return subprocess.Popen(["bash", BETTY / script, *words], cwd=REPO, env=os.environ | given, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def until(path: Path) -> None:
    give_up = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < give_up
        time.sleep(0.02)


WAITS = """trap "touch {0}/asked; mkdir -p $MEDSSL_OUT; echo saved > $MEDSSL_OUT/last.ckpt; exit {1}" TERM
    touch {0}/up; while :; do sleep 0.05; done"""


@pytest.mark.parametrize(
    ("script", "number", "code", "state", "again"),
    [
        (cluster.TRAIN, signal.SIGUSR2, 75, "RUNNING", True),  # time is nearly over
        (cluster.TRAIN, signal.SIGTERM, 75, "RUNNING", True),  # preempted
        (cluster.TRAIN, signal.SIGTERM, 143, "RUNNING", True),  # before it could save
        (cluster.TRAIN, signal.SIGTERM, 75, "COMPLETING", False),  # cancelled, or Slurm itself requeues it
        (cluster.TRAIN, signal.SIGUSR2, 1, "RUNNING", False),  # failed while it saved
        (cluster.TRAIN, signal.SIGUSR2, 0, "RUNNING", False),  # had just finished
        (cluster.NOTEBOOK, signal.SIGUSR2, 143, "RUNNING", False),  # would run out of time again
        (cluster.NOTEBOOK, signal.SIGTERM, 143, "RUNNING", True),
    ],
)
def test_a_signal_is_passed_on_and_only_what_is_not_finished_goes_back(paper, script, number, code, state, again):
    job = start(paper, WAITS.format(paper, code), script, "week01")
    until(paper / "up")
    (paper / "state").write_text(state)
    job.send_signal(number)
    said, _ = job.communicate(timeout=20)
    assert job.returncode == code and (paper / "asked").exists(), said
    assert calls(paper, "scontrol") == ([["requeue", "7"]] if again else []), said
    assert calls(paper, "early") == [], "requeued before its scratch was gone"
    assert (paper / "out/last.ckpt").exists() and list((paper / "scratch").iterdir()) == []


def test_signals_that_come_one_after_the_other_requeue_once(paper):
    slow = f"trap 'sleep 0.5; exit 75' TERM; touch {paper}/up; while :; do sleep 0.05; done"
    job = start(paper, slow)
    until(paper / "up")
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
        job.send_signal(number)
        time.sleep(0.1)
    assert job.wait(20) == 75 and calls(paper, "scontrol") == [["requeue", "7"]]


def test_a_task_of_an_array_is_requeued_by_its_own_number_and_only_so_often(paper):
    task = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}
    job = start(paper, f"echo $* $TMPDIR > {paper}/given; exit 75", cluster.ABLATE, "x y", **task)
    assert job.wait(20) == 75 and calls(paper, "scontrol") == [["requeue", "5_3"]]
    assert (paper / "given").read_text() == f"prism ablate --run 3 x y {paper}/scratch/5_3/tmp\n"
    job = start(paper, "exit 75", cluster.ABLATE, SLURM_RESTART_COUNT="30", **task)
    assert job.wait(20) == 75 and len(calls(paper, "scontrol")) == 1


def test_whatever_happens_the_scratch_goes_and_nothing_else(paper):
    (paper / "scratch/8").mkdir(parents=True)
    (paper / "scratch/7/old").mkdir(parents=True)  # left by an attempt that was killed
    job = start(paper, """test ! -e "$TMPDIR/../old" || exit 9
        for name in WANDB_{,CACHE_,CONFIG_,DATA_,ARTIFACT_}DIR TMPDIR IPYTHONDIR JUPYTER_RUNTIME_DIR; do
          [ -w "${!name}" ] || exit 8; echo "$name ${!name}"
        done; exit 3""")
    said, _ = job.communicate(timeout=20)
    assert job.returncode == 3 and calls(paper, "scontrol") == [], said
    places = re.findall(r"(?m)^[A-Z_]+ (/.*)$", said)
    assert len(places) == 8 and all(place.startswith(f"{paper}/scratch/7/") for place in places)
    assert [path.name for path in (paper / "scratch").iterdir()] == ["8"]


@pytest.mark.parametrize("code", [0, 1])
def test_the_executed_notebooks_arrive_also_after_a_failure(paper, code):
    shell = f"mkdir -p $5; echo $* > $5/week01.ipynb; exit {code}"
    job = start(paper, shell, cluster.NOTEBOOK, "week01", "-p", "A=1 2")
    assert job.wait(20) == code
    given = (paper / "out/notebooks/week01.ipynb").read_text()
    assert given == f"run --out {paper}/out --executed {paper}/scratch/7/notebooks week01 -p A=1 2\n"


# ---- medssl launch


def test_launch_submits_what_dry_run_shows(paper, monkeypatch, capsys):
    monkeypatch.chdir(REPO / "course")
    words = ["launch", "week07", "week01", "--name", "Ada Lovelace", "-p", "SEEDS=1", "--account", "lab", "--out",
             str(paper / "out dir"), "--sbatch-arg=--time=01:00:00", "--sbatch-arg=--mem=8G"]  # fmt: skip
    with pytest.raises(SystemExit):
        main([*words, "--dry-run"])
    shown = capsys.readouterr().out
    assert (BETTY / cluster.NOTEBOOK).read_text() in shown and calls(paper, "sbatch") == []
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr().out
    assert not ended.value.code and told.startswith("job 42: ") and "scancel 42" in told
    given = calls(paper, "sbatch")[0]
    assert given == shlex.split(shown.splitlines()[-1])[3:], "the line that can be copied is the one that ran"
    place = given.index(str(BETTY / cluster.NOTEBOOK))
    assert given[place + 1:] == ["week07", "week01", "--profile", "betty", "-p", "NAME=Ada Lovelace", "-p", "SEEDS=1"]
    assert {"--time=01:00:00", "--mem=8G", "--account=lab", "--partition=dgx-b200", f"--chdir={REPO}"} <= set(given)


def test_the_ablation_sends_only_runs_that_have_not_ended_well(paper):
    send = partial(cluster.launch, config=paper / "prism.toml", out=paper / "out")
    send(["prism-ablate"])
    assert f"--array={','.join(map(str, range(24)))}%8" in calls(paper, "sbatch")[0]
    for run in prism_ablation.runs():
        config = read_config(paper / "prism.toml", [*prism_ablation.settings(run), f"checkpoint.folder={paper}/out"])
        status = {20: "oom", 21: "preempted"}.get(run["index"], "ok")
        write_result(PrismResult(status, config.run_id, config.config_hash, str(config.folder)), config, config.folder)
    (paper / "out" / prism_ablation.runs()[22]["name"] / "result.json").write_text("{")
    send(["prism-ablate"])
    assert "--array=20,21,22%8" in calls(paper, "sbatch")[1]
    send(["prism-ablate"], settings=["train.lr=1e-4"])
    assert f"--array={','.join(map(str, range(24)))}%8" in calls(paper, "sbatch")[2], "ended well, but another config"
    for what, size in (("prism-low-batch", 32), ("prism-high-batch", 64)):
        send([what], settings=["train.lr=1e-4"])
        array = next(word for word in calls(paper, "sbatch")[-1] if word.startswith("--array="))
        point = prism_ablation.one_run(int(array[8:-2]))["overrides"]
        assert point.items() >= (prism_ablation.BASELINE | {"train.batch_size": size}).items()


def test_what_prism_is_given_is_what_was_asked_for(paper):
    cluster.launch(["prism-smoke"], config=paper / "prism.toml", settings=["train.lr=1e-4"], out=paper / "out")
    given = calls(paper, "sbatch")[0]
    assert given[given.index(str(BETTY / cluster.TRAIN)) + 1:] == [
        f"{paper}/prism.toml", "--set", "train.max_steps=1000", "--set", "loss.supcon_warmup_steps=200", "--set",
        "loss.supcon_ramp_steps=400", "--set", "train.lr=1e-4", "--set", f"checkpoint.folder={paper}/out"]  # fmt: skip


def test_the_smoke_comes_to_all_of_supcon():
    config = read_config(None, ["data.catalog_path=c.csv", *cluster.PRISM["prism-smoke"]])
    loss, middle = config.loss, config.train.max_steps // 2
    weights = [supcon_weight(step, loss.supcon_warmup_steps, loss.supcon_ramp_steps, loss.w_supcon_target)
               for step in (0, middle, config.train.max_steps - 1)]
    assert 0 == weights[0] < weights[1] < weights[2] == loss.w_supcon_target


def test_the_study_of_heads_is_an_array_of_its_own_two_runs(paper, capsys):
    send = partial(cluster.launch, ["prism-heads"], config=paper / "prism.toml", out=paper / "out")
    send()
    given = calls(paper, "sbatch")[0]
    words = given[given.index(str(BETTY / cluster.ABLATE)) + 1:]
    assert "--array=0,1%8" in given
    assert words == [f"{paper}/prism.toml", "--study", "heads", "--set", f"checkpoint.folder={paper}/out"]
    with pytest.raises(SystemExit):
        main(["prism", "ablate", "--run", "2", *words])  # what the script says in a task; there are two, 0 and 1
    assert "Run 2 of heads" in capsys.readouterr().err
    run = prism_ablation.one_run(0, "heads")
    config = read_config(paper / "prism.toml", [*prism_ablation.settings(run), f"checkpoint.folder={paper}/out"])
    write_result(PrismResult("ok", config.run_id, config.config_hash, str(config.folder)), config, config.folder)
    send()
    assert "--array=1%8" in calls(paper, "sbatch")[1]


@pytest.mark.parametrize(
    ("words", "options", "says"),
    [
        (["week01"], {"partition": "dgx-b20"}, "dgx-b200"),
        (["week01"], {"account": "labs"}, "lab"),
        (["week99"], {}, "from 1 to"),
        (["week01"], {"given": {"NAME": "a/b"}}, "folder"),
        (["week01"], {"given": {"EPOCH": "1"}}, "EPOCHS"),
        (["week01"], {"profile": "bety"}, "betty"),
        (["prism-tran"], {}, "prism-train"),
        (["prism-train", "week01"], {}, "prism-train"),
        (["prism-train"], {"out": Path("/tmp/x")}, "shared disk"),
        (["prism-train"], {"settings": ["checkpoint.folder=/tmp/x"], "out": None}, "shared disk"),
        (["prism-train"], {"settings": ["train.batchsize=3"]}, "batch_size"),
        (["prism-ablate"], {"settings": ["train.batch_size=16"]}, "what the table of the study decides"),
        (["prism-train"], {"settings": ["data.catalog_path=nowhere.csv"]}, "no catalog nowhere.csv"),
        (["prism-ablate"], {"config": Path("nowhere.toml")}, "nowhere.toml"),
    ],
)
def test_what_would_fail_later_is_refused_now(paper, monkeypatch, words, options, says):
    monkeypatch.setattr(cluster, "NOT_KEPT", ("/tmp",) if "out" in options else ())
    config = {"config": paper / "prism.toml"} if words[0].startswith("prism") else {}
    with pytest.raises(MedsslError, match=says):
        cluster.launch(words, **{"out": paper / "out", **config, **options})
    assert calls(paper, "sbatch") == []


def test_a_job_can_be_shown_from_anywhere(paper, monkeypatch):
    """As by a notebook that runs in the folder of its results."""
    monkeypatch.chdir(paper)
    monkeypatch.setenv("MEDSSL_ROOT", str(paper))
    shown = cluster.launch(["prism-smoke"], config=paper / "prism.toml", dry_run=True)
    assert f"--chdir={BETTY.parents[1]} " in shown and str(BETTY / "job_train_prism_ssl.sh") in shown


def test_without_slurm_only_a_dry_run_works(paper, monkeypatch):
    monkeypatch.setenv("PATH", str(paper))
    with pytest.raises(MedsslError, match="login node"):
        cluster.launch(["week01"], out=paper / "out")
    assert not (paper / "out").exists() and "sbatch" in cluster.launch(["week01"], out=paper, dry_run=True)


def test_a_refusal_of_sbatch_is_told(paper):
    program(paper / "bin/sbatch", "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1")
    with pytest.raises(MedsslError, match="QOSMaxSubmitJobPerUserLimit"):
        cluster.launch(["week01"], out=paper / "out")


def test_the_interpreter_that_launches_is_the_one_of_the_job(paper):
    told = cluster.launch(["week01"], out=paper / "out", dry_run=True).splitlines()[-1]
    assert f"MEDSSL_VENV={shlex.quote(sys.prefix)} sbatch" in told
