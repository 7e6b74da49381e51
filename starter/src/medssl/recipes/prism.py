"""Train Prism: a source of pair views, the one Trainer, and a result that says how the run ended.

A run ends with one of STATUSES, and its process with that exit code: 0 only where everything went well. Checkpoints,
history and result lie in a folder that outlives the job; whatever passes lies below one scratch folder that does not.
"""

import json
import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from medssl.errors import MedsslError
from medssl.files import write_atomic
from medssl.methods import Prism
from medssl.models.export import save_encoder
from medssl.models.patch_encoder import PatchEncoder
from medssl.recipes.prism_config import PrismConfig, read_config
from medssl.recipes.prism_metrics import Diagnostics, line
from medssl.recipes.prism_proxies import proxies
from medssl.recipes.prism_result import STATUSES, PrismResult, StoppedByQuota, finished, status_of, write_result
from medssl.recipes.prism_source import Windows
from medssl.train import Trainer, load_newest
from medssl.train.checkpoint import checkpoints
from medssl.train.disk import QuotaGuard, alone_in, outside, redirect
from medssl.train.interrupts import Interrupts
from medssl.train.meter import Meter
from medssl.train.processes import started
from medssl.train.wandb_run import WandbRun

__all__ = ["STATUSES", "PrismConfig", "PrismResult", "build_prism", "read_config", "train_prism"]

AFRESH = ("Begin a new run: another runtime.run_id; for an ablation, whose table gives the names, another "
          "checkpoint.folder and wandb.project.")


def train_prism(config: PrismConfig, source=None, held_out: Callable | None = None) -> PrismResult:
    """Train, or go on with the run of this config; returns its result, which also lies in <folder>/result.json. The
    encoder lies beside it when training has ended: medssl.load_encoder(folder).

    source: where batches come from; without, the warm pool of the config's catalog. held_out() gives the batches that
    the proxies are measured on when training has ended; without, those of the catalog's held-out patients. Errors that
    are no status of a run (a catalog that is not there, a loss that is no number) are written down and raised.
    """
    if started() > 1:  # each would draw batches of its own, and write this folder
        raise MedsslError("A run of Prism is one process.", fix="Start it without torchrun.")
    folder = outside(config.folder, config.scratch)
    if (done := finished(config, folder)) is None:
        with alone_in(folder):
            if (done := finished(config, folder)) is None:  # meanwhile, by another process
                return _run(config, folder, source, held_out)
    print(f"already ended well: {folder}", flush=True)
    return done


def _run(config: PrismConfig, folder: Path, source, held_out: Callable | None) -> PrismResult:
    config = replace(config, runtime=replace(config.runtime, scratch=str(redirect(config.scratch))))  # TMPDIR moved
    print("config " + json.dumps(asdict(config) | {"config_hash": config.config_hash}), flush=True)
    guard = open_guard(config, folder)
    run = open_wandb(config)
    state = {"meter": Meter(), "source": source, "trainer": None, "resumed_from": "start", "proxies": {}}
    status, message, error = "failed", "stopped by Ctrl-C", None
    try:
        with Interrupts() as noted:
            _train(config, folder, guard, run, state, noted, held_out)
        status, message = "ok", ""
    except (SystemExit, Exception) as caught:
        status, message = status_of(caught, config)
        if status == "failed" and told_to_stop(state["trainer"]):  # Slurm tells a loader's processes too, and they die
            status = "preempted"
        error = caught if status == "failed" else None
        if status == "preempted":
            run.preempting()
    finally:
        if guard:
            guard.stop()
        if close := getattr(state["source"], "close", None):
            close()
        trainer = state["trainer"]
        row = trainer.history[-1] if trainer and trainer.history else {}  # of the part before, until this one has some
        metrics = {name: value for name, value in row.items() if isinstance(value, float)}
        metrics |= state["meter"].numbers() | state["proxies"]
        if status == "ok" and config.data.strict and metrics.get("replacement_failed_count"):
            status, message = "failed_replacement", f"{metrics['replacement_failed_count']:.0f} scans could not be read"
        result = PrismResult(status, config.run_id, config.config_hash, str(folder), trainer.step if trainer else 0,
                             len(state["meter"].steps), state["resumed_from"], message, metrics)
        write_result(result, config, folder)
        run.summary({**{k: v for k, v in metrics.items() if math.isfinite(v)}, "status": status})
        run.close(20.0 if status == "preempted" else 600.0, result.exit_code, folder / "wandb")
    if error is not None:
        raise error
    print(f"status {status}" + (f": {message}" if message else "") + f"; written to {folder}", flush=True)
    return result


def _train(config, folder, guard, run, state, noted, held_out) -> None:
    if guard and guard.level == "hard":
        raise StoppedByQuota(f"{guard.used / 1e9:.1f} GB below {guard.folder} before the first step")
    state["resumed_from"] = find_checkpoint(folder, run, config)
    if state["source"] is None:
        from medssl.recipes.prism_scans import held_out_batches, open_source, readable, scans_of  # the extra `prism`

        train, held = scans_of(config)
        if held_out is None:
            held, failed = readable(config, held)
            state["proxies"] = {"proxy_scans_failed": float(failed)}
            held_out = (lambda: held_out_batches(config, held)) if held else None
            if not held:
                text = f"none of the {failed} held-out scans can be read" if failed else (
                    f"nobody is held out (data.holdout={config.data.holdout:g})")
                warnings.warn(f"{text}: no proxies", stacklevel=1) if config.data.holdout else print(text, flush=True)
        state["source"] = open_source(config, train)
    diagnostics, meter = Diagnostics(), state["meter"]

    def rows(row: dict) -> dict:
        row = diagnostics(row) | meter.numbers()
        print(line(row), flush=True)
        return row

    trainer = Trainer(build_prism(config), Windows(state["source"], config.train.log_every, meter), rows=rows, keep=1,
                      steps=config.train.max_steps, lr=config.train.lr, weight_decay=config.train.weight_decay,
                      precision=config.train.precision, seed=config.train.seed, out=folder, wandb=run, quiet="silent",
                      device=None if config.runtime.device == "auto" else config.runtime.device,
                      checkpoint_every=config.checkpoint.every, checkpoint_seconds=config.checkpoint.seconds,
                      about={"config_hash": config.config_hash}, afresh=AFRESH)
    state["trainer"] = trainer
    trainer.every(1, "step", meter.step)
    if guard:
        trainer.every(1, "step", lambda trainer, _: _heed(guard, trainer))
    if config.wandb.artifact_every:
        trainer.every(config.wandb.artifact_every, "step", lambda trainer, _: _send(trainer, run, config))
    if noted.received:
        noted.stop()
    trainer.fit()
    meter.stop()
    save_encoder(folder, trainer.method.encoder, about_encoder(config))
    if held_out:
        begun = time.perf_counter()
        state["proxies"] |= proxies(trainer.method, held_out())
        state["proxies"]["proxy_seconds"] = time.perf_counter() - begun


def build_prism(config: PrismConfig) -> Prism:
    """The method, with weights drawn from the config's seed and fixed constants of how views are drawn."""
    loss, model = config.loss, config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return Prism(PatchEncoder(model.size), constants=target_constants(config), head_mode=model.head_mode,
                     proj_dim=model.proj_dim, w_distance=loss.w_distance, w_rotation=loss.w_rotation,
                     w_window=loss.w_window, w_supcon=loss.w_supcon_target, temperature=loss.supcon_temperature,
                     warmup=loss.supcon_warmup_steps, ramp=loss.supcon_ramp_steps,
                     normalize_targets=loss.normalize_targets)


def about_encoder(config: PrismConfig) -> dict:
    """What its card tells. The catalog is not named: its name may say whose scans they are."""
    data, train = config.data, config.train
    return {"method": "prism", "dataset": "scans of a catalog", "modality": " and ".join(data.modality_filter),
            "steps": train.max_steps, "pairs": train.batch_size, "n_patches": data.n_patches, "patch_mm": data.patch_mm,
            "lr": train.lr, "seed": train.seed, "config_hash": config.config_hash}


def target_constants(config: PrismConfig) -> dict[str, tuple[float, float]]:
    """{head: (mean, std)} of the targets, from how views are drawn: the difference of two numbers that are uniform over
    a range r has the std r / √6. The distance depends on how large the scans are, and is set by hand."""
    from medssl.views.pair_views import WINDOW_CENTRE, WINDOW_WIDTH

    low, high = WINDOW_WIDTH
    ranges = {"rotation": 2 * config.data.max_degrees, "window_center": 2 * WINDOW_CENTRE,
              "window_width": math.log(high / low)}
    return {"distance": (config.loss.distance_mean_mm, config.loss.distance_std_mm),
            **{head: (0.0, max(size, 1e-6) / math.sqrt(6)) for head, size in ranges.items()}}


def find_checkpoint(folder: Path, run: WandbRun, config: PrismConfig) -> str:
    """Put the newest good checkpoint into `folder`, and say where it is from: "local" if one is there, else "artifact"
    (one of this run at W&B), else "start". A damaged one counts as none; one of another config is an error."""
    if load_newest(folder) is not None:
        return "local"
    with TemporaryDirectory() as passing:
        place = run.download(f"{config.run_id}-ckpt", Path(passing))
        state = load_newest(place) if place else None
        if state is None:
            return "start"
        if (was := state["config"].get("config_hash")) != config.config_hash:
            raise MedsslError(f"The artifact {config.run_id}-ckpt is of a run with config {was}.", config.config_hash,
                              AFRESH)
        folder.mkdir(parents=True, exist_ok=True)
        file = checkpoints(place)[0]
        write_atomic(folder / file.name, file.read_bytes())
    return "artifact"


def told_to_stop(trainer: Trainer | None) -> bool:
    """Has a signal come since the training began?"""
    return getattr(getattr(trainer, "interrupts", None), "received", None) is not None


def open_guard(config: PrismConfig, folder: Path) -> QuotaGuard | None:
    """Watches the folder that the config names; where it names none, home within a job of the cluster, else nothing:
    a home without a quota may be of any size."""
    quota = config.quota
    place = quota.folder or ("~" if os.environ.get("SLURM_JOB_ID") else "")
    return QuotaGuard(Path(place).expanduser(), quota.soft_gb * 1e9, quota.hard_gb * 1e9, lambda: expendable(folder),
                      quota.every_seconds).start() if place else None


def expendable(folder: Path) -> list[Path]:
    """What of the run itself may go where home is full, first what nobody misses: halves of checkpoints that others
    left, damaged ones, all but the newest. Files outside of the run's folder are not ours to delete."""
    ours = f".{os.getpid()}."
    halves = [file for file in folder.glob("checkpoint-*.tmp") if ours not in file.name]
    return [*halves, *folder.glob("*.damaged"), *checkpoints(folder)[1:]]


def open_wandb(config: PrismConfig) -> WandbRun:
    """Online within a job of the cluster, offline elsewhere, unless the config says it."""
    wanted = config.wandb
    os.environ.setdefault("WANDB_SILENT", "true")  # stderr is for what went wrong
    os.environ.setdefault("WANDB__SERVICE_WAIT", "120")  # its helper may take more than 30 s to start on a busy node
    mode = ("online" if os.environ.get("SLURM_JOB_ID") else "offline") if wanted.mode == "auto" else wanted.mode
    return WandbRun(asdict(config) | {"config_hash": config.config_hash}, mode=mode, project=wanted.project,
                    entity=wanted.entity or None, id=config.run_id, resume="allow", tags=list(wanted.tags))


def _heed(guard: QuotaGuard, trainer: Trainer) -> None:
    if guard.level == "hard":
        trainer.save()
        raise StoppedByQuota(f"{guard.used / 1e9:.1f} GB below {guard.folder}: a checkpoint is written")


def _send(trainer: Trainer, run: WandbRun, config: PrismConfig) -> None:
    if run.run is not None and run.mode == "online":
        trainer.save()
        run.upload(checkpoints(trainer.out)[0], f"{config.run_id}-ckpt",
                   {"config_hash": config.config_hash, "step": trainer.step})
