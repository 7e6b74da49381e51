"""What a run says while it goes: one progress bar where somebody watches, one line an epoch where nobody does."""

import json
import math
import os
import sys
from pathlib import Path

from medssl.files import write_atomic
from medssl.train.wandb_run import WandbRun


def nobody_watches() -> bool:
    """True under papermill, Slurm, CI or a pipe, where a bar that redraws itself would fill the log."""
    if any(os.environ.get(name) for name in ("MEDSSL_QUIET", "CI", "SLURM_JOB_ID")):
        return True
    return "ipykernel" not in sys.modules and not sys.stderr.isatty()


def _line(row: dict) -> str:
    """JSON knows no NaN: a metric that was none is null."""
    return json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}) + "\n"


class Tracker:
    """Writes history rows to `history.jsonl`, the screen and, where asked, Weights & Biases.

    quiet: False shows the bar, True a line an epoch, "silent" nothing, None decides by who watches.
    """

    def __init__(self, folder: Path | None, *, total: int, quiet: bool | str | None, config: dict,
                 wandb: dict | WandbRun | None):
        self.path = folder / "history.jsonl" if folder else None
        self.quiet = nobody_watches() if quiet is None else quiet
        self.total, self.bar, self.opened = total, None, isinstance(wandb, dict)
        self.run = WandbRun(config, **wandb) if self.opened else wandb

    def restore(self, rows: list[dict]) -> None:
        """Cut the file back to the rows that the checkpoint knows: later ones belong to steps that were lost."""
        if self.path:
            write_atomic(self.path, "".join(map(_line, rows)))

    def step(self, done: int, loss: float | None = None) -> None:
        """Move the bar to `done` steps."""
        if self.quiet:
            return
        if self.bar is None:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.total, initial=done - 1, mininterval=0.5, leave=False, unit="step")
        self.bar.update(done - self.bar.n)
        if loss is not None:
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

    def row(self, row: dict) -> None:
        """Record one epoch."""
        if self.path:
            try:
                with open(self.path, "a") as file:
                    file.write(_line(row))
            except OSError as error:  # a full disk does not say which file it was
                error.filename = error.filename or str(self.path)
                raise
        if self.run:
            self.run.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])
        if self.quiet is True:
            shown = {k: v for k, v in row.items() if k == "loss" or k.startswith("val_")}
            print(f"epoch {row['epoch']:>3}  " + "  ".join(f"{k} {v:.4f}" for k, v in shown.items()), flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.opened:  # not one that was open before: its owner has more to say
            self.run.close()
