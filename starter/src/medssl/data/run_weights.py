"""What a run has learnt, to look at it again: its checkpoint and its settings, from a run folder or from W&B."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from medssl.data import run_records
from medssl.errors import MedsslError


def run_weights(run_id: str) -> tuple[Path, dict]:
    """(a folder that holds the run's newest checkpoint, its config as a tree), of a run named as by `list_runs`.

    From the server it is the artifact <id>-ckpt, kept below the temporary folder for as long as other answers are.
    """
    path = Path(run_id.partition("/")[2])
    if not run_id.startswith(f"{run_records.LOCAL}/"):
        known = run_records.cached(f"checkpoint of {run_id}", lambda: _download(run_id))
        if not Path(known[0]).is_dir():  # somebody has tidied up the temporary folder
            known = run_records.cached(f"checkpoint of {run_id}", lambda: _download(run_id), ttl=0)
        return Path(known[0]), known[1]
    if not path.is_dir():
        raise MedsslError(f"{path.name} is an offline record of W&B: it holds numbers, and no weights.",
                          "the run's own folder, with its checkpoint", "As project, name the folder above it.")
    return path, json.loads((path / "result.json").read_text())["config"]


def _download(run_id: str) -> list:
    api = run_records.client().Api(timeout=30)
    name = f"{run_id}-ckpt:latest"
    if not api.artifact_exists(name):
        raise MedsslError(f"The run {run_id} has sent no checkpoint: there is no artifact {name}.",
                          "a run that was online, with wandb.artifact_every above 0",
                          'Or its own folder: entity "local".')
    mine = f"checkpoint-{hashlib.sha256(run_id.encode()).hexdigest()[:12]}-"
    before = list(run_records.home().glob(f"{mine}*"))
    folder = Path(tempfile.mkdtemp(prefix=mine, dir=run_records.home()))
    try:
        api.artifact(name).download(root=str(folder), skip_cache=True)  # no second copy in the home
        tree = {part: value for part, value in dict(api.run(run_id).config).items() if isinstance(value, dict)}
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for old in before:
        shutil.rmtree(old, ignore_errors=True)
    return [str(folder), tree]
