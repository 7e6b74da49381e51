"""Runs that were trained elsewhere, as tables: from W&B's server, from its offline files, from run folders.

A run becomes a dict: run_id, name, state, tags, created, and a key for each setting ("config.train.lr") and each number
it ended with ("summary.proxy_window_r2"); its history a list of rows {"step": …, "loss": …}. The run_id says where it
can be read again: "entity/project/id" on the server, or "local/" and the path of a run's folder or .wandb file.
"""

import getpass
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from medssl.errors import MedsslError
from medssl.files import write_atomic

LOCAL = "local"
TTL = 600.0  # seconds that an answer of the server is taken from the disk


def list_runs(entity: str, project: str) -> list[dict]:
    """All runs of a project, the newest first; with the entity "local" those in and below the folder `project`."""
    if entity != LOCAL:
        return cached(f"runs of {entity}/{project}", lambda: [_of_server(run) for run in _api_runs(entity, project)])
    folder = Path(project).expanduser()
    if not folder.is_dir():
        raise MedsslError(f"{project} is no folder.", "the folder that holds the runs", "with entity local")
    folders = sorted(file.parent for file in folder.rglob("result.json"))
    inside = set(folders)
    files = [file for file in sorted(folder.rglob("run-*.wandb")) if not inside & set(file.parents)]
    runs = [_of_folder(place) for place in folders] + [_of_file(file) for file in files]
    return sorted(runs, key=lambda run: run["created"], reverse=True)


def read_history(run_id: str) -> list[dict]:
    """Every row a run has logged, whatever it holds: rows of losses and rows of proxies need not share a name."""
    place = run_id.partition("/")[2]
    if not run_id.startswith(f"{LOCAL}/"):
        return cached(f"history of {run_id}", lambda: [_named(row) for row in _scan(run_id)])
    path = Path(place)
    if path.is_dir():
        file = path / "history.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines() if line] if file.is_file() else []
    return [_named(record["history"]["item"] | {"_step": record["history"]["step"]["num"]})
            for record in inspect(path) if record["type"] == "history"]


def cached(what: str, fetch: Callable[[], list], ttl: float = TTL) -> list:
    """fetch(), or what it gave less than `ttl` seconds ago, kept as JSON in a folder of this user below the temporary
    one. Everything is kept, and chosen from afterwards: an answer never depends on who asked first for what. Where the
    server cannot be reached an older answer serves, and is said to be old."""
    folder = home()
    server = os.environ.get("WANDB_BASE_URL", "")
    file = folder / f"{hashlib.sha256(f'{server} {what}'.encode()).hexdigest()[:24]}.json"
    age = time.time() - file.stat().st_mtime if file.is_file() else float("inf")
    if age < ttl:
        return json.loads(file.read_text())
    try:
        found = fetch()
    except MedsslError:
        raise
    except Exception as error:  # what the client raises has many names
        if age < float("inf"):
            print(f"W&B cannot be asked now ({type(error).__name__}); the {what} are {age / 3600:.1f} h old.")
            return json.loads(file.read_text())
        raise MedsslError(f"The {what} cannot be read: {type(error).__name__}: {str(error).splitlines()[0]}",
                          "a network, and `wandb login`",
                          'With no network: entity "local", and the folder of the runs as project.') from error
    write_atomic(file, json.dumps(found))
    return found


def home() -> Path:
    """The folder of this user alone, below the temporary one, in which answers of the server are kept."""
    folder = Path(tempfile.gettempdir()) / f"medssl-runs-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise MedsslError(f"{folder} belongs to somebody else.", "a folder of your own", "set TMPDIR to another place")
    return folder


def inspect(file: Path) -> list[dict]:
    """The records of an offline .wandb file, by wandb's own reader; of one that was cut short those before the cut."""
    if not file.is_file():
        raise MedsslError(f"{file} is not there.", "an offline run of W&B: run-….wandb")
    said = subprocess.run([sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
    records = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    if not records:
        raise MedsslError(f"{file} cannot be read: {(said.stderr.strip() or 'it holds nothing').splitlines()[-1]}",
                          "an offline run, and wandb 0.31 or newer")
    return records


def flat(tree: dict, before: str) -> Iterator[tuple[str, object]]:
    """("config.train.lr", 1e-3) and so on; a list becomes a text, as tables have no lists in a column of numbers."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}.{key}")
        elif not key.startswith("_"):
            yield f"{before}.{key}", ", ".join(map(str, value)) if isinstance(value, list) else value


def _run(run_id: str, name: str, state: str, tags: Iterable[str], created: str, config: dict, summary: dict) -> dict:
    return {"run_id": run_id, "name": name, "state": state, "tags": list(tags), "created": created,
            **dict(flat(config, "config")), **dict(flat(summary, "summary"))}


def _of_folder(folder: Path) -> dict:
    file = folder / "result.json"
    try:
        result = json.loads(file.read_text())
        config, metrics = result["config"], result["metrics"]
        return _run(f"{LOCAL}/{folder.resolve()}", result["run_id"], result["status"],
                    config.get("wandb", {}).get("tags", ()), _ended(file), config,
                    {**metrics, "steps": result.get("steps"), "steps_timed": result.get("steps_timed")})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise MedsslError(f"{file} is no result of a run ({type(error).__name__}: {error}).",
                          "what `medssl prism train` wrote", "Move it away, or run again.") from error


def _ended(file: Path) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(file.stat().st_mtime))


def _of_file(file: Path) -> dict:
    config, summary, about, state = {}, {}, {}, "unfinished"
    for record in inspect(file):
        if record["type"] == "run":
            about, config = record["run"], record["run"].get("config", {}).get("update", {})
        elif record["type"] == "summary":
            summary |= record["summary"].get("update", {})
        elif record["type"] == "exit":
            state = "failed" if record["exit"].get("exit_code") else "finished"
    return _run(f"{LOCAL}/{file.resolve()}", about.get("display_name") or about.get("run_id", file.stem),
                summary.get("status", state), about.get("tags", ()), about.get("start_time", "")[:19], config, summary)


def _api_runs(entity: str, project: str):
    return client().Api(timeout=30).runs(f"{entity}/{project}", order="-created_at")


def _of_server(run) -> dict:
    summary = {key: value for key, value in dict(run.summary).items() if isinstance(value, int | float | str)}
    return _run("/".join(run.path), run.name, summary.get("status", run.state), run.tags, str(run.created_at)[:19],
                dict(run.config), summary)


def _scan(run_id: str) -> list[dict]:
    """Without keys=: with them the server leaves out each row that lacks one of them."""
    return list(client().Api(timeout=30).run(run_id).scan_history(page_size=1000))


def _named(row: dict) -> dict:
    numbers = {key: value for key, value in row.items() if not key.startswith("_")}
    return {"step": row["_step"], **numbers}


def client():
    """wandb, which is optional."""
    try:
        import wandb
    except ImportError as error:
        raise MedsslError("wandb is not installed here.", "pip install wandb", "or read local run folders") from error
    return wandb
