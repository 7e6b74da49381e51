"""The core ablation of Prism: 24 runs from one table, and how they are ranked.

Batch size and pool size together decide how many partners an anchor of SupCon has, so those two factors change the
objective too: `positives_per_anchor` and `distinct_series_per_batch` stand beside the results. A longer ramp gives
SupCon less weight in all: `exposure` is its weight summed over the run. What the heads predict (numbers or signs) is a
study of its own, `heads`, of two runs at the baseline; as a fifth factor it would make 48.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from medssl.errors import MedsslError
from medssl.methods.prism import supcon_exposure
from medssl.recipes.prism_config import value_of
from medssl.recipes.prism_metrics import CONTROLLED

FACTORS = {
    "train.batch_size": (32, 64),
    "data.warm_pool_size": (16, 24),
    "loss.w_supcon_target": (0.1, 0.2, 0.4),
    "loss.supcon_ramp_steps": (2000, 5000),
}
SHORT = dict(zip(FACTORS, "bpwr", strict=True))  # b32-p16-w0.1-r2000
FIXED = {"data.n_patches": 1024, "data.workers": 8, "data.visits_per_scan": 100, "data.storage_mode": "sharded",
         "data.method": "optimized_fused", "data.use_local_scratch": True, "model.head_mode": "regression",
         "train.max_steps": 30000, "loss.supcon_warmup_steps": 2000}
BASELINE = {"train.batch_size": 32, "data.warm_pool_size": 16, "loss.w_supcon_target": 0.2,
            "loss.supcon_ramp_steps": 5000}
# what counts, and which way is better; each on held-out patients
PROXIES = {"proxy_distance_mae_ratio": -1, "proxy_rotation_error_ratio": -1, "proxy_window_r2": 1,
           "proxy_retrieval_r1": 1, "proxy_rankme_ratio": 1}
GREY = tuple(f"{name}_grey" for name in CONTROLLED)  # what places alone reach: shown beside, and not counted
SHOWN = tuple(of for name in PROXIES for of in (name, f"{name}_grey") if of in (*PROXIES, *GREY))


def runs(study: str = "core24") -> list[dict]:
    """[{"index", "name", "exposure", "overrides": {key: value}}], in the order of the job array."""
    if study == "core24":
        points = [dict(zip(FACTORS, values, strict=True)) for values in itertools.product(*FACTORS.values())]
        named = [("core24-" + "-".join(f"{SHORT[key]}{value:g}" for key, value in p.items()), p) for p in points]
    elif study == "heads":
        named = [(f"heads-{mode}", BASELINE | {"model.head_mode": mode}) for mode in ("regression", "sign")]
    else:
        raise MedsslError(f"There is no study {study!r}.", "core24 or heads")
    out = []
    for index, (name, point) in enumerate(named):
        of = FIXED | point
        exposure = supcon_exposure(of["train.max_steps"], of["loss.supcon_warmup_steps"], of["loss.supcon_ramp_steps"],
                                   of["loss.w_supcon_target"])
        out.append({"index": index, "name": name, "exposure": exposure, "overrides": of})
    return out


def one_run(index: int, study: str = "core24") -> dict:
    """The run of that number in the job array."""
    table = runs(study)
    if not 0 <= index < len(table):
        raise MedsslError(f"Run {index} of {study}.", f"0 to {len(table) - 1}")
    return table[index]


def settings(run: Mapping, given: Iterable[str] = ()) -> list[str]:
    """A run as "part.key=value", for read_config; its run id is its name. Then what was `given` for all runs: what the
    table decides is an error there, or runs would have the names of others."""
    given = list(given)
    for text in given:
        if (key := text.partition("=")[0].strip()) in (*FACTORS, "model.head_mode", "runtime.run_id"):
            raise MedsslError(f"--set {text}: {key} is what the table of the study decides.", "another setting",
                              "See `medssl prism ablate --list`, or make a single run: medssl prism train.")
    said = {**run["overrides"], "runtime.run_id": run["name"], "wandb.tags": [run["name"].partition("-")[0]]}
    return [*(f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in said.items()),
            *given]


def ranked(results: Iterable[Mapping]) -> list[dict]:
    """[{"name", "status", "composite", "throughput", …}], the best first, of results {"run_id", "status", "metrics"}.

        composite = mean over the five proxies of  z = ± (value - mean over runs) / std over runs

    over the runs that ended well. The others, and those that lack a proxy, have NaN: they are no average runs, and come
    last. Runs of equal composite are ordered by throughput · (1 - share of steps of 2 s or more).
    """
    rows = []
    for result in results:
        of = dict(result["metrics"]) if result["status"] == "ok" else {}
        speed, stalls = of.get("throughput_effective_patches_per_sec"), of.get("stall_steps_ge_2000ms", 0)
        rows.append({"name": result["run_id"], "status": result["status"],
                     **{name: _number(of.get(name)) for name in (*PROXIES, *GREY)},
                     "throughput": _number(speed) * (1 - stalls / max(1, result.get("steps_timed", 1))),
                     "total_step_time_ms_p99": _number(of.get("total_step_time_ms_p99")),
                     "positives_per_anchor": _number(of.get("positives_per_anchor"))})
    for name, better in PROXIES.items():
        known = [row[name] for row in rows if math.isfinite(row[name])]
        mean = sum(known) / len(known) if known else math.nan
        std = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known)) if known else math.nan
        for row in rows:
            finite = math.isfinite(row[name])
            row[f"z_{name}"] = (better * (row[name] - mean) / std if std > 0 else 0.0) if finite else math.nan
    for row in rows:
        row["composite"] = sum(row[f"z_{name}"] for name in PROXIES) / len(PROXIES)

    def place(row: dict) -> tuple:
        fails, slow = not math.isfinite(row["composite"]), not math.isfinite(row["throughput"])
        return fails, 0.0 if fails else -round(row["composite"], 9), 0.0 if slow else -row["throughput"], row["name"]

    return sorted(rows, key=place)


def read_results(folder: str | Path) -> list[dict]:
    """The result.json of every run below a folder."""
    files = sorted(Path(folder).glob("*/result.json"))
    if not files:
        raise MedsslError(f"No result.json in the folders of {folder}.", "the checkpoint.folder of an ablation")
    return [json.loads(file.read_text()) for file in files]


def of_study(results: Iterable[Mapping], study: str = "core24",
             given: Iterable[str] = ()) -> tuple[list[Mapping], list[str]]:
    """(results of runs of the study, why each of the others is none). A smoke run beside them, or one with other
    settings than its name in the table says, is neither ranked nor recommended by. A study that was made smaller, with
    "train.max_steps=1000" given for all of its runs, is asked for by giving the same again."""
    changed = {key.strip(): value_of(text.strip()) for key, _, text in (one.partition("=") for one in given)}
    changed = {key: value for key, value in changed.items() if key in FIXED}
    named, kept, others = {run["name"]: run["overrides"] | changed for run in runs(study)}, [], []
    for result in results:
        wanted = named.get(result["run_id"])
        wrong = ["not in its table"] if wanted is None else _other_than(wanted, result)
        others += [f"{result['run_id']} ({', '.join(wrong)})"] if wrong else []
        kept += [] if wrong else [result]
    return kept, others


def study_of(result: Mapping) -> str:
    """The study that a run can be ranked in: "core24", "heads", or "none" for a run of no table. Settings other than
    the table's stand behind the name, so a study that was made smaller is a study by itself."""
    for study in ("core24", "heads"):
        for run in runs(study):
            if run["name"] == result["run_id"]:
                return " ".join([study, *_other_than(run["overrides"], result)])
    return "none"


def table(results: Iterable[Mapping]) -> str:
    """The ranking of results, to print; nothing of no results."""
    if not (rows := ranked(results)):
        return ""
    shown = {name: name.removeprefix("proxy_").removeprefix("total_") for name in (
        "composite", *SHOWN, "throughput", "total_step_time_ms_p99", "positives_per_anchor")}
    head = f"{'run':<26} {'status':<20} " + " ".join(f"{said:>12}" for said in shown.values())
    return "\n".join([head, *(f"{row['name']:<26} {row['status']:<20} " + " ".join(
        f"{row[name]:>{max(12, len(said))}.4g}" for name, said in shown.items()) for row in rows)])


def _other_than(wanted: Mapping, result: Mapping) -> list[str]:
    config = result.get("config", {})
    found = {key: config.get(key.partition(".")[0], {}).get(key.partition(".")[2]) for key in wanted}
    return [f"{key}={value}" for key, value in found.items() if value != wanted[key]]


def _number(value) -> float:
    return math.nan if value is None else float(value)
