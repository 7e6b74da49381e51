"""`medssl launch`: fill in a job script of course/betty, look for what would only fail hours later, hand it to Slurm.

The scripts in course/betty work without us: `sbatch` takes each as it is. What is filled in goes beside them, as
options of sbatch (which win over the script's #SBATCH lines), as arguments, and as MEDSSL_OUT and MEDSSL_VENV.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from medssl.course.names import slug
from medssl.course.run import choose_folders, plan
from medssl.errors import MedsslError
from medssl.settings import nearest

PARTITION = "dgx-b200"
AT_ONCE = 8  # runs of the ablation
NOT_KEPT = ("/tmp", "/var/tmp", "/dev/shm")  # on one node only, and emptied there
TRAIN, ABLATE, NOTEBOOK = (f"job_{name}.sh" for name in ("train_prism_ssl", "ablate_core24", "notebook"))
PRISM = {  # {what: settings of one training, how runs of the ablation differ from its baseline ({}: all), or a study}
    "prism-train": [],
    "prism-smoke": ["train.max_steps=1000", "loss.supcon_warmup_steps=200", "loss.supcon_ramp_steps=400"],
    "prism-ablate": {},
    "prism-heads": "heads",
    "prism-low-batch": {"train.batch_size": 32},
    "prism-high-batch": {"train.batch_size": 64},
}


def launch(what: list[str], *, profile: str = "betty", given: dict[str, str] | None = None, config: Path | None = None,
           settings: list[str] | None = None, out: Path | None = None, partition: str = PARTITION,
           account: str | None = None, sbatch_args: list[str] | None = None, dry_run: bool = False) -> str:  # fmt: skip
    """Submit one job, or with `dry_run` only say which. What to print.

    Weeks take a profile and parameters (`given`), Prism takes a config and settings, as `medssl prism train` does.
    """
    results, _, notebooks = choose_folders(None, None)
    around = Path(__file__).resolve().parents[4]  # the clone that this file is in, where nobody stands in one
    root = next((folder for folder in (results, around) if (folder / "course/betty").is_dir()), results)
    if what[0].startswith("prism"):
        name, *too_much = what
        if name not in PRISM or too_much:
            raise MedsslError(f"There is no job {' '.join(what)}.", nearest(what[0], list(PRISM)))
        settings = [*(settings or []), *([f"checkpoint.folder={out.resolve()}"] if out else [])]
        script, options, arguments, out = _prism(PRISM[name], config and config.resolve(), settings, root)
    else:
        script, options, out = NOTEBOOK, [], (out or results).resolve()
        steps, values = plan(what, notebooks, profile, given)
        for step in steps:
            slug(values[step.path]["NAME"])
        arguments = [*what, "--profile", profile]
        arguments += [part for key, value in (given or {}).items() for part in ("-p", f"{key}={value}")]
        name = "-".join(step.path.stem for step in steps[:2])
    script = root / "course/betty" / script
    if not script.is_file():
        raise MedsslError(f"There is no {script}.", "a clone of the course", "run it inside your clone")
    _check_kept(out)
    line = ["sbatch", "--parsable", f"--job-name={name}", f"--partition={partition}", f"--chdir={root}"]
    line += [f"--account={account}"] if account else []
    line += [*options, *(sbatch_args or []), str(script), *arguments]
    env = {"MEDSSL_OUT": str(out), "MEDSSL_VENV": sys.prefix}
    shown = " ".join([*(f"{key}={shlex.quote(value)}" for key, value in env.items()), shlex.join(line)])
    if dry_run:
        return f"{script.read_text(encoding='utf-8')}\n# nothing was submitted; it would be:\n{shown}"
    _check_cluster(partition, account)
    out.mkdir(parents=True, exist_ok=True)
    (root / "logs").mkdir(exist_ok=True)  # Slurm fails a job whose log has no folder, and cannot write why
    done = subprocess.run(line, env=os.environ | env, capture_output=True, text=True)
    if done.returncode:
        raise MedsslError(f"sbatch refused the job: {done.stderr.strip()}", fix=f"the whole command was: {shown}")
    number = done.stdout.strip().partition(";")[0]
    return (f"job {number}: {name}, written to {out}\n"
            f"its output: {root / 'logs'}; where it stands: squeue -j {number}; to stop it: scancel {number}")


def _prism(job, config: Path | None, settings: list[str], root: Path) -> tuple[str, list[str], list[str], Path]:
    """(script, options of sbatch, arguments, folder of the runs); the config is read now, so a typo is found now."""
    from medssl.recipes import prism_ablation
    from medssl.recipes.prism_config import read_config
    from medssl.recipes.prism_result import finished

    options, words = [], []
    if isinstance(job, list):
        settings = [*job, *settings]
        script, tree = TRAIN, read_config(config, settings)
    else:
        study, job = (job, {}) if isinstance(job, str) else ("core24", job)
        wanted = (prism_ablation.BASELINE | job if job else {}).items()
        runs = [run for run in prism_ablation.runs(study) if wanted <= run["overrides"].items()]
        trees = [read_config(config, prism_ablation.settings(run, settings)) for run in runs]
        left = [run["index"] for run, of in zip(runs, trees, strict=True) if not finished(of, root / of.folder)]
        script, tree = ABLATE, trees[0]
        if not left:
            raise MedsslError(f"All {len(runs)} in {tree.folder.parent} have ended well.", fix="for new ones: --out")
        options, words = [f"--array={','.join(map(str, left))}%{AT_ONCE}"], ["--study", study]
    if not (root / Path(tree.data.catalog_path).expanduser()).is_file():
        raise MedsslError(f"There is no catalog {tree.data.catalog_path}.", "a table of scans",
                          "set data.catalog_path in --config, or with --set")
    arguments = [*([str(config)] if config else []), *words, *(part for one in settings for part in ("--set", one))]
    return script, options, arguments, (root / tree.folder).parent.resolve()


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
