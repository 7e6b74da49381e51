"""The one training loop.

A step is a pure function of the weights, the seed and the step's number: the generator of the views and torch's own
random numbers (dropout) are seeded anew before every step. So a run that was killed and started again ends with the
very weights of one that was not, and a hook that draws random numbers cannot change what is learnt.
"""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from medssl.errors import MedsslError
from medssl.train import processes
from medssl.train.arguments import length_of, mixed_seed, name_of, pick, whole
from medssl.train.batchnorm import synchronised
from medssl.train.checkpoint import KEEP, checkpoints, load_newest, save_checkpoint, tidy, unfit
from medssl.train.device import autocast, choose_precision, find_device
from medssl.train.interrupts import Interrupts
from medssl.train.schedules import SCHEDULES
from medssl.train.state import put_back, state_of
from medssl.train.tracking import Tracker
from medssl.train.wandb_run import WandbRun

OPTIMIZERS = {  # fused: one kernel for all parameters, 7 times faster than the plain loop for a ResNet-18 on a CPU core
    "adamw": lambda groups, lr, fused: torch.optim.AdamW(groups, lr, fused=fused),
    "sgd": lambda groups, lr, fused: torch.optim.SGD(groups, lr, momentum=0.9, fused=fused),
}
AFRESH = "take another folder, or start over without its checkpoints: fit(resume=False), --fresh"
FLUSH = 50  # steps between two looks at the losses on a GPU: each look waits for the device
LOWER_IS_BETTER = ("loss", "nll", "brier", "ece")


@dataclass
class TrainResult:
    """What a run leaves: rows of `history`, when it was best, what it cost, with which settings."""

    history: list[dict]
    best: dict | None
    steps: int
    seconds: float
    config: dict
    stopped_early: bool


class Trainer:
    """Minimises `method(batch)["loss"]` over a source of batches.

    Give a budget in `epochs` or in `steps`. `views(batch, generator)` makes what the method sees, on the device.
    `validate(method)` returns a dict of numbers; where `monitor` names one of them, the method ends with the weights
    that were best by it (mode: "max" or "min", by the name where it is not given). With a folder `out`, a run started
    again goes on where it was cut; its last `keep` checkpoints stay. `about` says what is trained on what: another
    run's folder is known by it. `rows(row)` makes of an epoch's row what is kept of it. wandb: settings of a WandbRun,
    or one that is open already. afresh: the advice to those who come with other settings. Started by torchrun, several
    processes share each batch: see processes.py.
    """

    def __init__(self, method: nn.Module, source, *, epochs: int | None = None, steps: int | None = None,
                 views: Callable | None = None, lr: float = 1e-3, weight_decay: float = 1e-4, optimizer: str = "adamw",
                 schedule: str = "cosine", warmup: float = 0.05, clip: float | None = 1.0, accumulate: int = 1,
                 precision: str = "auto", seed: int = 0, device: str | torch.device | None = None,
                 validate: Callable | None = None, monitor: str | None = None, mode: str | None = None,
                 patience: int | None = None, eval_every: int = 1, out: str | Path | None = None,
                 checkpoint_every: int | None = None, checkpoint_seconds: float = 60.0,
                 keep: int = KEEP, about: dict | None = None, rows: Callable[[dict], dict] | None = None,
                 quiet: bool | str | None = None, wandb: dict | WandbRun | None = None,
                 afresh: str = AFRESH):
        epochs, steps, accumulate, eval_every, patience, checkpoint_every = (whole(name, value) for name, value in {
            "epochs": epochs, "steps": steps, "accumulate": accumulate, "eval_every": eval_every, "patience": patience,
            "checkpoint_every": checkpoint_every}.items())
        seed, lr, weight_decay = int(seed), float(lr), float(weight_decay)
        if not (0 < lr < math.inf and 0 <= weight_decay < math.inf and 0 <= warmup <= 1 and (clip is None or clip > 0)):
            raise MedsslError(f"lr={lr}, weight_decay={weight_decay}, warmup={warmup}, clip={clip}",
                              "lr > 0, weight_decay >= 0, warmup a share from 0 to 1, clip > 0 or None")
        if (epochs is None) == (steps is None):
            raise MedsslError("the budget is not clear", "either epochs=… or steps=…, not both")
        if monitor and not validate:
            raise MedsslError(f"monitor={monitor!r} has nothing to look at", "validate=, a function that returns it")
        batches = length_of(source, steps)
        processes.join(method)
        self.device = find_device(device)
        self.method, self.source, self.views = method.to(self.device), source, views
        self.total = steps or epochs * math.ceil(batches / accumulate)
        self.schedule, self.warmup = pick(SCHEDULES, schedule, "schedule"), max(1, round(warmup * self.total))
        self.clip, self.accumulate, self.seed = clip, accumulate, seed
        self.precision = choose_precision(precision, self.device)
        self.validate, self.monitor, self.patience = validate, monitor, patience
        mode = mode or ("min" if (monitor or "").endswith(LOWER_IS_BETTER) else "max")
        self.sign = pick({"max": 1, "min": -1}, mode, "mode")
        self.eval_every, self.out = eval_every, Path(out) if out else None
        self.checkpoint_every, self.checkpoint_seconds, self.keep = checkpoint_every, checkpoint_seconds, keep
        self.quiet, self.wandb, self.rows, self.hooks, self.afresh = quiet, wandb, rows, [], afresh

        for p in method.parameters():  # convolutions are faster on the CPU and on tensor cores in this layout
            if p.dim() == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)
        if hasattr(method, "param_groups"):
            groups = method.param_groups(lr, weight_decay)
        else:
            groups = [{"params": [p for p in method.parameters() if p.requires_grad], "weight_decay": weight_decay}]
        self.optimizer = pick(OPTIMIZERS, optimizer, "optimizer")(groups, lr, self.device.type != "mps")
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

        self.step = self.epoch = self.batches_done = self.bad_evals = 0
        self.history, self.best, self.sums, self.summed, self.pending = [], None, {}, 0, []
        self.seconds, self.stopped_early = 0.0, False
        shapes = [(name, *value.shape) for name, value in method.state_dict().items()]
        self.config = {**(about or {}), "method": f"{type(method).__name__} {mixed_seed(0, repr(shapes), 0):x}",
                       "steps": self.total, "batches_per_epoch": batches, "source": name_of(source),
                       "views": name_of(views), "lr": lr, "weight_decay": weight_decay, "optimizer": optimizer,
                       "schedule": schedule, "warmup_steps": self.warmup, "clip": clip, "accumulate": accumulate,
                       "seed": seed, "precision": self.precision, "device": self.device.type, "monitor": monitor,
                       "mode": mode, "patience": patience, "eval_every": eval_every}

    def every(self, n: int, unit: str, fn: Callable) -> "Trainer":
        """Call `fn(trainer, generator)` every n "epoch"s or "step"s; the generator is the hook's own."""
        if unit not in ("epoch", "step"):
            raise MedsslError(f"every({n}, {unit!r}, …) is not known", 'the unit "epoch" or "step"')
        self.hooks.append((whole("n", n), unit, fn))
        return self

    def fit(self, resume: bool = True) -> TrainResult:
        """Train to the end of the budget, or on from the newest checkpoint in `out`."""
        if self.out:
            with processes.first_before_others():
                if processes.first():
                    tidy(self.out, everything=not resume)
                self._restore()
        processes.same_start(self.method, self.step)
        shown = {"folder": self.out, "quiet": self.quiet, "wandb": self.wandb}
        if not processes.first():
            shown = {"folder": None, "quiet": "silent", "wandb": None}
        self.tracker = Tracker(**shown, total=self.total, config=self.config)
        self.tracker.restore(self.history)
        self._clock = self._saved_at = time.monotonic()
        devices = [self.device] if self.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices), synchronised(self.method), Interrupts() as self.interrupts:
                # batches_done: cut between the last step and the end of its epoch, which is still to be judged
                while (self.step < self.total or self.batches_done) and not self.stopped_early:
                    self._run_epoch()
                    self._stop_if_asked()
        finally:
            self.tracker.close()
        if self.best:
            self.method.load_state_dict(self.best["weights"])
        best = {k: v for k, v in self.best.items() if k != "weights"} if self.best else None
        return TrainResult(self.history, best, self.step, self.seconds, self.config, self.stopped_early)

    def _run_epoch(self) -> None:
        batches = iter(self.source.batches(self.epoch))
        if not self.source.state_dict():  # a source that keeps its own place has been put back there already
            for _ in islice(batches, self.batches_done):
                pass
        while self.step < self.total and (group := list(islice(batches, self.accumulate))):
            self._learn(group)
            self.step += 1
            self.batches_done += len(group)
            self._run_hooks("step", self.step)
            self.tracker.step(self.step, self.sums.get("loss", 0) / max(1, self.summed))
            self._stop_if_asked()
            if self._due() or (self.checkpoint_every and self.step % self.checkpoint_every == 0):
                self.save()
        if self.batches_done == 0:
            raise MedsslError(f"the source gave no batch in epoch {self.epoch}", "at least one batch an epoch")
        self._end_epoch()

    def _learn(self, group: list[dict]) -> None:
        """One step of the optimiser, over `accumulate` batches (fewer at the end of an epoch)."""
        generator = self._seeded("views", self.step)
        torch.manual_seed(mixed_seed(self.seed, "torch", self.step))
        factor = self.schedule(self.step, self.total, self.warmup)
        for param_group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            param_group["lr"] = base * factor
        self.method.train()
        if hasattr(self.method, "before_step"):
            self.method.before_step(self.step, self.total)
        self.optimizer.zero_grad(set_to_none=True)
        parts = {}
        for batch in group:
            batch = {k: v.to(self.device, non_blocking=True) if isinstance(v, torch.Tensor) else v
                     for k, v in batch.items()}  # lists of names stay where they are
            seen = self.views(batch, generator) if self.views else batch  # in full precision on every machine
            with autocast(self.device, self.precision):
                out = self.method(processes.own_rows(seen, self.method))
            self.scaler.scale(out["loss"] / len(group)).backward()
            for k, v in out.items():
                parts[k] = parts.get(k, 0) + torch.as_tensor(v).detach().float() / len(group)
        weights = [p for g in self.optimizer.param_groups for p in g["params"]]
        processes.average_gradients(weights)
        parts = processes.average(parts, self.device)
        self.scaler.unscale_(self.optimizer)
        parts["grad_norm"] = nn.utils.clip_grad_norm_(weights, self.clip or math.inf)
        self.pending.append((self.step, parts))
        if self.device.type == "cpu" or len(self.pending) >= FLUSH:
            self._flush()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if hasattr(self.method, "after_step"):
            self.method.after_step()

    def _flush(self) -> None:
        """Bring the losses over from the device, add them up, and stop at the first that is no number."""
        for step, parts in self.pending:
            values = {k: v.item() for k, v in parts.items()}
            if self.precision == "fp16" and not math.isfinite(values["grad_norm"]):
                values["grad_norm"] = 0.0  # the scaler leaves such a step out and goes on with a smaller scale
            if not (math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])):
                good = checkpoints(self.out) if self.out else []
                named = ", ".join(f"{k}={v:.4g}" for k, v in values.items())
                raise MedsslError(
                    f"the loss or its gradient is no number any more at step {step + 1} of {self.total}: {named}",
                    "a finite loss and gradient",
                    f"try a smaller lr (now {max(self.base_lrs):g}), clip=1.0, precision='fp32'; "
                    f"last good checkpoint: {good[0] if good else 'none was written'}")
            for k, v in values.items():
                self.sums[k] = self.sums.get(k, 0.0) + v
            self.summed += 1
        self.pending.clear()

    def _end_epoch(self) -> None:
        self._flush()
        means = {k: v / self.summed for k, v in self.sums.items()}
        self.epoch, self.batches_done, self.sums, self.summed = self.epoch + 1, 0, {}, 0
        self._tick()
        row = {"step": self.step, "epoch": self.epoch, **means,
               "lr": self.optimizer.param_groups[-1]["lr"], "seconds": round(self.seconds, 3)}
        last = self.step >= self.total
        if self.validate and (last or self.epoch % self.eval_every == 0):
            self.method.eval()
            with torch.no_grad():
                metrics = processes.of_first(lambda: {k: float(v) for k, v in self.validate(self.method).items()})
            row |= {f"val_{k}": v for k, v in metrics.items()}
            if self.monitor:
                self._note_best(metrics)
        row = self.rows(row) if self.rows else row
        self.history.append(row)
        self.tracker.row(row)
        self._run_hooks("epoch", self.epoch)
        if last or self.stopped_early or self._due():
            self.save()

    def _note_best(self, metrics: dict) -> None:
        """Copy the weights where they are better than ever before (a copy: `state_dict()` alone goes on changing)."""
        if self.monitor not in metrics:
            raise MedsslError(f"validate() returned no {self.monitor!r}", f"one of {', '.join(metrics)}")
        value = metrics[self.monitor]
        better = self.best is None or self.sign * value > self.sign * self.best["value"]
        if math.isfinite(value) and better:
            weights = {k: v.detach().clone() for k, v in self.method.state_dict().items()}
            self.best = {"value": value, "monitor": self.monitor, "epoch": self.epoch, "step": self.step,
                         "weights": weights}
            self.bad_evals = 0
        else:
            self.bad_evals += 1
            self.stopped_early = bool(self.patience) and self.bad_evals >= self.patience

    def _run_hooks(self, unit: str, count: int) -> None:
        for number, (n, of, fn) in enumerate(self.hooks):
            if of == unit and count % n == 0 and processes.first():
                fn(self, self._seeded(f"hook {number}", count))

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now

    def _due(self) -> bool:
        return time.monotonic() - self._saved_at > self.checkpoint_seconds

    def _stop_if_asked(self) -> None:
        if received := processes.most(self.interrupts.received or 0):
            self.interrupts.received = received
            self.save()
            processes.most(0)  # nobody ends, and has the others ended, before the checkpoint is written
            self.interrupts.stop()

    def save(self) -> None:
        """Write a checkpoint now, between two steps (a hook may ask for it)."""
        if not self.out or not processes.first():
            return
        self._flush()
        self._tick()
        # before the end of the last epoch the optimizer is still asked for its learning rate
        done = self.step >= self.total and not self.batches_done or self.stopped_early
        try:
            save_checkpoint(self.out, self.step, state_of(self, done), self.keep)
        except MedsslError as error:
            if done:
                raise
            warnings.warn(f"{error}\nTraining goes on without it.", stacklevel=2)
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        if (state := load_newest(self.out)) is None:
            return
        try:
            put_back(self, state)
        except MedsslError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise unfit(checkpoints(self.out)[0], error) from error

    def _seeded(self, purpose: str, count: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(mixed_seed(self.seed, purpose, count))
