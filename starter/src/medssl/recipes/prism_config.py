"""Everything that can be set about a run of Prism, as one tree: a TOML file, then train.lr=1e-3 of the command line.

A key that is not in the tree is an error. What a run learns from (data, model, loss, train) makes its `config_hash`: a
checkpoint with another one belongs to another run. Where things lie and what is logged may change between two parts of
a run.
"""

import getpass
import hashlib
import json
import math
import os
import re
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medssl.errors import MedsslError
from medssl.methods.prism import HEADS
from medssl.models.vit import SIZES
from medssl.settings import build, read_toml
from medssl.train.device import PRECISIONS


def _check(where: str, **rules: tuple[object, bool, str]) -> None:
    for name, (value, right, wanted) in rules.items():
        if not right:
            raise MedsslError(f"{where}.{name} is {value!r}.", wanted)


def _expand(table, *names: str) -> None:
    """~ at the beginning of a path, read once for all who open it."""
    for name in names:
        object.__setattr__(table, name, os.path.expanduser(getattr(table, name)))


@dataclass(frozen=True)
class DataConfig:
    """Which scans, and how views are drawn from them."""

    catalog_path: str
    n_scans: int = 0  # the first so many of the catalog's lottery; 0 is all
    modality_filter: tuple[str, ...] = ("CT", "MR")
    n_patches: int = 1024
    patch_mm: float = 16.0
    prism_mm: float = 80.0  # side of the box of a view's patches; places in scans shorter than two tell their size
    max_degrees: float = 20.0
    workers: int = 8
    distinct_series_per_batch: int = 16  # S: a batch is S series × V items, so SupCon has 2V - 1 positives
    warm_pool_size: int = 16  # scans that each worker keeps open
    pool_gb: float = 4.0  # memory that a worker's pool may take
    visits_per_scan: int = 100
    max_prefetch_replacements: int = 2
    use_local_scratch: bool = True
    storage_mode: str = "sharded"  # "cached": a fresh scan for every item, a third more time each, no memory of its own
    method: str = "optimized_fused"
    strict: bool = True  # a scan that cannot be opened ends the run; else it is counted and left out
    deterministic: bool = False  # swaps wait for the new scan: resumed runs are then the same bit for bit
    report_path: str = ""  # of `medssl prism preflight --report`: only scans that it kept; "": all of the catalog
    root: str = ""  # what the catalog's paths are relative to; "": the --root of the report, or the catalog's folder
    cache_path: str = ""  # of `medssl prism preflight --full --cache`; "": below the scratch folder
    holdout: float = 0.1  # share of the patients that are never trained on, for the proxies

    def __post_init__(self):
        _expand(self, "catalog_path", "report_path", "cache_path", "root")
        for name in ("n_patches", "distinct_series_per_batch", "warm_pool_size", "visits_per_scan",
                     "max_prefetch_replacements"):
            _check("data", **{name: (getattr(self, name), getattr(self, name) > 0, "1 or more")})
        _check("data", n_scans=(self.n_scans, self.n_scans >= 0, "a number of scans; 0 is all"),
               patch_mm=(self.patch_mm, self.patch_mm > 0, "mm, above 0"),
               prism_mm=(self.prism_mm, self.prism_mm > 0, "mm, above 0"),
               max_degrees=(self.max_degrees, 0 <= self.max_degrees <= 45, "0 to 45"),
               pool_gb=(self.pool_gb, self.pool_gb > 0, "above 0"),
               workers=(self.workers, self.workers >= 0, "0 (in this process) or more"),
               storage_mode=(self.storage_mode, self.storage_mode in ("sharded", "cached"), "sharded or cached"),
               method=(self.method, self.method == "optimized_fused", "optimized_fused: there is one way only"),
               modality_filter=(self.modality_filter, set() < set(self.modality_filter) <= {"CT", "MR"},
                                "CT, MR, or both"),
               holdout=(self.holdout, 0 <= self.holdout < 1, "a share from 0 to less than 1"))


@dataclass(frozen=True)
class ModelConfig:
    size: str = "tiny"
    head_mode: str = "regression"
    proj_dim: int = 128

    def __post_init__(self):
        _check("model", size=(self.size, self.size in SIZES, " or ".join(SIZES)),
               head_mode=(self.head_mode, self.head_mode in HEADS, " or ".join(HEADS)))


@dataclass(frozen=True)
class LossConfig:
    w_distance: float = 1.0
    w_rotation: float = 1.0
    w_window: float = 1.0  # of the sum of both, centre and width
    w_supcon_target: float = 0.2
    supcon_temperature: float = 0.1
    supcon_warmup_steps: int = 2000
    supcon_ramp_steps: int = 5000
    normalize_targets: bool = True
    distance_mean_mm: float = 150.0  # of two views in a trunk: fixed, whatever the batch is
    distance_std_mm: float = 65.0

    def __post_init__(self):
        for name in ("w_distance", "w_rotation", "w_window", "w_supcon_target", "supcon_warmup_steps",
                     "supcon_ramp_steps"):
            _check("loss", **{name: (getattr(self, name), getattr(self, name) >= 0, "0 or more")})
        for name in ("supcon_temperature", "distance_std_mm"):
            _check("loss", **{name: (getattr(self, name), getattr(self, name) > 0, "above 0")})


@dataclass(frozen=True)
class TrainConfig:
    batch_size: int = 32
    max_steps: int = 30000
    log_every: int = 50
    lr: float = 3e-4
    weight_decay: float = 0.05
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self):
        for name in ("batch_size", "max_steps", "log_every"):
            _check("train", **{name: (getattr(self, name), getattr(self, name) > 0, "1 or more")})
        _check("train", lr=(self.lr, 0 < self.lr < math.inf, "above 0"),
               weight_decay=(self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more"),
               precision=(self.precision, self.precision in ("auto", *PRECISIONS), " or ".join(("auto", *PRECISIONS))))


@dataclass(frozen=True)
class WandbConfig:
    mode: str = "auto"  # online within a Slurm job, offline elsewhere
    project: str = "prism-ssl"
    entity: str = ""
    tags: tuple[str, ...] = ()
    artifact_every: int = 1000  # steps; 0 sends none

    def __post_init__(self):
        modes = ("auto", "online", "offline", "disabled")
        _check("wandb", mode=(self.mode, self.mode in modes, " or ".join(modes)),
               artifact_every=(self.artifact_every, self.artifact_every >= 0, "steps; 0 sends none"))


@dataclass(frozen=True)
class CheckpointConfig:
    folder: str = "runs/prism"  # the run's own folder is <folder>/<run id>; it has to outlive the job
    every: int = 500  # steps
    seconds: float = 300.0

    def __post_init__(self):
        _expand(self, "folder")
        _check("checkpoint", every=(self.every, self.every > 0, "steps, 1 or more"))


@dataclass(frozen=True)
class QuotaConfig:
    folder: str = ""  # what the quota is about; "": home in a Slurm job, and nothing is counted elsewhere
    soft_gb: float = 40.0
    hard_gb: float = 47.0
    every_seconds: float = 600.0

    def __post_init__(self):
        _check("quota", soft_gb=(self.soft_gb, 0 < self.soft_gb <= self.hard_gb, "above 0, at most hard_gb"))


@dataclass(frozen=True)
class RuntimeConfig:
    scratch: str = ""  # "": that of the job, $MEDSSL_JOB_SCRATCH, or <temporary folder>/<user>/prism_ssl/<run id>
    run_id: str = ""  # "": made of the config's hash, so that the same config goes on with its run
    device: str = "auto"

    def __post_init__(self):
        right = re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device) is not None
        plain = re.fullmatch(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?", self.run_id) is not None
        _check("runtime", device=(self.device, right, "auto, cpu, mps, cuda or cuda:0"), run_id=(
            self.run_id, plain, "letters, digits, _ - and . inside, 128 at most: it names folders and artifacts"))


@dataclass(frozen=True)
class PrismConfig:
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    quota: QuotaConfig = field(default_factory=QuotaConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self):
        size, series = self.train.batch_size, self.data.distinct_series_per_batch
        _check("train", batch_size=(size, size % series == 0, f"a multiple of the {series} of "
                                    "data.distinct_series_per_batch: as many items of each series"))

    @property
    def config_hash(self) -> str:
        """12 hexadecimal digits of what is learnt from what."""
        learnt = {part: asdict(getattr(self, part)) for part in ("data", "model", "loss", "train")}
        for name in ("cache_path", "root", "use_local_scratch", *(() if self.data.report_path else ("report_path",))):
            del learnt["data"][name]
        del learnt["train"]["log_every"]
        return hashlib.sha256(json.dumps(learnt, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def run_id(self) -> str:
        return self.runtime.run_id or f"prism-{self.config_hash}"

    @property
    def folder(self) -> Path:
        """Where the run's checkpoint, history and result lie."""
        return Path(self.checkpoint.folder) / self.run_id

    @property
    def scratch(self) -> Path:
        """Where everything that passes lies; the job deletes it at its end."""
        given = self.runtime.scratch or os.environ.get("MEDSSL_JOB_SCRATCH")
        job = os.environ.get("SLURM_JOB_ID") or self.run_id
        return Path(given or Path(tempfile.gettempdir(), getpass.getuser(), "prism_ssl", job))


def read_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> PrismConfig:
    """The tree of a TOML file (tables [data], [model], …), changed by "train.lr=1e-3" and the like."""
    tree, where = (read_toml(path), str(path)) if path else ({}, "the settings")
    for text in overrides:
        key, equals, value = text.partition("=")
        part, dot, name = key.strip().partition(".")
        if not (equals and dot and name):
            raise MedsslError(f"--set {text}", "part.key=value, such as train.lr=1e-3")
        tree = tree | {part: {**tree.get(part, {}), name: value_of(value.strip())}}
    tree.setdefault("data", {})
    return build(PrismConfig, tree, where)


def value_of(text: str):
    """As TOML would read it; what it cannot read is a text without quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
