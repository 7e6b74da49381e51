"""`medssl launch`: fill in a job script of course/betty, look for what would only fail hours later, hand it to Slurm.

The scripts in course/betty work without us: `sbatch` takes each as it is. What is filled in goes beside them, as
options of sbatch (which win over the script's #SBATCH lines), as arguments, and as MEDSSL_OUT and MEDSSL_VENV.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from medssl.course.names import slug
from medssl.course.run import choose_folders, plan
from medssl.errors import MedsslError
from medssl.settings import nearest

PARTITION = "dgx-b200"
RUNS, AT_ONCE = 24, 8
NOT_KEPT = ("/tmp", "/var/tmp", "/dev/shm")  # on one node only, and emptied there


@dataclass(frozen=True)
class Job:
    """A script of course/betty, options of sbatch, and arguments of the script."""

    script: str
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


TRAIN, ABLATE, NOTEBOOK = (f"job_{name}.sh" for name in ("train_prism_ssl", "ablate_core24", "notebook"))
PRISM = {
    "prism-train": Job(TRAIN),
    "prism-smoke": Job(TRAIN, ("--time=02:00:00",), ("--steps", "1000")),
    "prism-ablate": Job(ABLATE),
}


def launch(words: list[str], *, profile: str = "betty", given: dict[str, str] | None = None, out: Path | None = None,
           partition: str = PARTITION, account: str | None = None, sbatch_args: list[str] | None = None,
           dry_run: bool = False) -> str:  # fmt: skip
    """Submit one job, or with `dry_run` only say which. What to print."""
    root, _, notebooks = choose_folders(None, None)
    what = words[0]
    if what in PRISM:
        job, out = PRISM[what], (out or root / "runs" / what).resolve()
        options, arguments = list(job.options), [*job.arguments, *words[1:]]
        if job.script == ABLATE:
            options += _unfinished(out)
    elif what.startswith("prism"):
        raise MedsslError(f"There is no job {what}.", nearest(what, list(PRISM)))
    else:
        job, out = Job(NOTEBOOK), (out or root).resolve()
        steps, values = plan(words, notebooks, profile, given)
        for step in steps:
            slug(values[step.path]["NAME"])
        options, arguments = [], [*words, "--profile", profile]
        arguments += [part for key, value in (given or {}).items() for part in ("-p", f"{key}={value}")]
        what = "-".join(step.path.stem for step in steps) if len(steps) < 3 else f"{len(steps)}-notebooks"
    script = root / "course/betty" / job.script
    if not script.is_file():
        raise MedsslError(f"There is no {script}.", "a clone of the course", "run it inside your clone")
    _check_kept(out)
    line = ["sbatch", "--parsable", f"--job-name={what}", f"--partition={partition}", f"--chdir={root}"]
    line += [f"--account={account}"] if account else []
    line += [*options, *(sbatch_args or []), str(script), *arguments]
    settings = {"MEDSSL_OUT": str(out), "MEDSSL_VENV": sys.prefix}
    shown = " ".join([*(f"{key}={shlex.quote(value)}" for key, value in settings.items()), shlex.join(line)])
    if dry_run:
        return f"{script.read_text(encoding='utf-8')}\n# nothing was submitted; it would be:\n{shown}"
    _check_cluster(partition, account)
    out.mkdir(parents=True, exist_ok=True)
    (root / "logs").mkdir(exist_ok=True)  # Slurm fails a job whose log has no folder, and cannot write why
    done = subprocess.run(line, env=os.environ | settings, capture_output=True, text=True)
    if done.returncode:
        raise MedsslError(f"sbatch refused the job: {done.stderr.strip()}", fix=f"the whole command was: {shown}")
    number = done.stdout.strip().partition(";")[0]
    return (f"job {number}: {what}, written to {out}\n"
            f"its output: {root / 'logs'}; where it stands: squeue -j {number}; to stop it: scancel {number}")


def _unfinished(out: Path) -> list[str]:
    """--array of the runs that have not ended well, so many at once."""
    left = [n for n in range(RUNS) if _status(out / f"run_{n:02d}" / "result.json") != "ok"]
    if not left:
        raise MedsslError(f"All {RUNS} runs in {out} have ended well.", fix="for new ones name another --out")
    return [f"--array={','.join(map(str, left))}%{AT_ONCE}"] if len(left) < RUNS else []


def _status(result: Path) -> str:
    try:
        return json.loads(result.read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return "none"


def _check_kept(out: Path) -> None:
    for place in filter(None, [*NOT_KEPT, os.environ.get("TMPDIR")]):
        if out.is_relative_to(Path(place).resolve()):
            raise MedsslError(f"--out {out} lies in {place}, which a node does not share and does not keep.",
                              "a folder on a shared disk, for checkpoints outlive the job",
                              "name one with --out, such as one of your project")  # fmt: skip


def _check_cluster(partition: str, account: str | None) -> None:
    """Is Slurm here, has it the partition, may the account be used?"""
    if not shutil.which("sbatch"):
        raise MedsslError("sbatch is not installed here.", "a login node of the cluster",
                          "log in there, or see the job with --dry-run")  # fmt: skip
    partitions = _lines("sinfo", "-h", "-o", "%R")
    if partitions and partition not in partitions:
        raise MedsslError(f"This cluster has no partition {partition}.", nearest(partition, partitions),
                          "name one with --partition")  # fmt: skip
    accounts = account and _lines("sacctmgr", "-nP", "show", "associations", f"user={os.environ.get('USER', '')}",
                                  "format=account")  # fmt: skip
    if accounts and account not in accounts:
        raise MedsslError(f"You have no account {account} here.", nearest(account, accounts), "name one with --account")


def _lines(*command: str) -> list[str]:
    """What a command of Slurm prints, or nothing where it cannot be asked: then sbatch is the one to say no."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted(set(done.stdout.split())) if done.returncode == 0 else []
