"""How a run of Prism ended: one status, one exit code, one file that says so."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from medssl.data.stream import BrokenScan, TooManyBroken
from medssl.files import write_atomic
from medssl.recipes.prism_config import PrismConfig

STATUSES = {"ok": 0, "failed": 1, "failed_replacement": 3, "aborted_broken_ratio": 4, "oom": 5, "stopped_quota": 6,
            "preempted": 75}
OOM = ("Out of memory: {error}. Try a smaller train.batch_size (now {batch}) or data.n_patches (now {patches}), "
       "train.precision=bf16 on a GPU, or a smaller model.size (now {size}).")


class StoppedByQuota(Exception):
    """The home directory is full: raised after a checkpoint."""


OF_ERRORS = {BrokenScan: "failed_replacement", TooManyBroken: "aborted_broken_ratio", StoppedByQuota: "stopped_quota"}


@dataclass(frozen=True)
class PrismResult:
    """What a run leaves. `steps` and the counts of replacements are those of all its parts; `steps_timed` are those of
    this part, which the times in `metrics` tell of; resumed_from is "local", "artifact" or "start"."""

    status: str
    run_id: str
    config_hash: str
    folder: str
    steps: int = 0
    steps_timed: int = 0
    resumed_from: str = "start"
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return STATUSES[self.status]


def status_of(error: BaseException, config: PrismConfig) -> tuple[str, str]:
    """(how a run with that error ended, what to tell)."""
    for kind, status in OF_ERRORS.items():
        if isinstance(error, kind):
            return status, str(error)
    if isinstance(error, SystemExit):  # Interrupts.stop()
        return "preempted", f"signal {int(error.code) - 128}: the run goes on when it is started again"
    out_of_memory = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError)
    if out_of_memory or (isinstance(error, RuntimeError) and "not enough memory" in str(error).lower()):
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        return "oom", OOM.format(error=told, batch=config.train.batch_size, patches=config.data.n_patches,
                                 size=config.model.size)
    return "failed", f"{type(error).__name__}: {error}"


def write_result(result: PrismResult, config: PrismConfig, folder: Path) -> None:
    """<folder>/result.json, with the whole config; a number that is none is null."""
    content = asdict(result) | {"exit_code": result.exit_code, "config": asdict(config)}
    content["metrics"] = {name: value if math.isfinite(value) else None for name, value in result.metrics.items()}
    write_atomic(folder / "result.json", json.dumps(content, indent=1) + "\n")


def finished(config: PrismConfig, folder: Path) -> PrismResult | None:
    """The result of a run that ended well and has the same config: it is not run again."""
    try:
        said = json.loads((folder / "result.json").read_text())
        if said["status"] != "ok" or said["config_hash"] != config.config_hash:
            return None
        metrics = {name: math.nan if value is None else float(value) for name, value in said["metrics"].items()}
        return PrismResult(**{name: said[name] for name in PrismResult.__dataclass_fields__} | {"metrics": metrics})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None  # cut short, or of another version: it is run again, from its checkpoint
