"""Batches from worker processes in an order that does not depend on chance, and errors that arrive as themselves.

torch's DataLoader starts and ends the processes. It turns an error of a worker into another text and sometimes another
type, so ours travel as batches: with 0 workers and with 2, the same exception with the same message.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from medssl.errors import MedsslError

LOADER_STATS = ("replacement_completed", "replacement_failed", "replacement_wait_ms", "replacement_load_ms")
UNREADABLE = ("files that can be read",
              "Look at the disk. Then `medssl prism preflight --full` into a new report: it leaves out what is broken.")
FEWEST_ATTEMPTS, MOST_BROKEN = 200, 0.1  # lenient: from so many attempts on, no more than this share may fail


class BrokenScan(MedsslError):
    """A scan could not be loaded, and nothing was to be left out in silence (strict)."""


class TooManyBroken(MedsslError):
    """So many scans could not be loaded that it is the data or the disk, and no longer a scan (lenient)."""


KINDS = {kind.__name__: kind for kind in (MedsslError, BrokenScan, TooManyBroken)}  # one argument makes each


class Stream:
    """A source for the Trainer. `make(worker, workers, first, state)` yields the batches first, first + workers, …

    A batch is a dict of tensors and lists. "loader_stats" [4] (LOADER_STATS) are this batch's own counts: `totals` is
    their sum over batches handed out, whatever workers have made ahead. "state" stays here: what its worker needs to go
    on after this batch. So state_dict() is that of the last batch handed out, and a resumed run goes on behind it.
    Places in a list of scans are in there, so the state of other `scans` (their ids, in any order) is refused.
    """

    def __init__(self, make: Callable[..., Iterator[dict]], *, scans: Iterable[str], workers: int = 0,
                 batches_per_epoch: int | None = None, cleanup: Callable[[], None] = lambda: None):
        self.make, self.workers, self.batches_per_epoch, self.cleanup = make, workers, batches_per_epoch, cleanup
        self.scans = hashlib.sha256(" ".join(sorted(scans)).encode()).hexdigest()
        self.position, self.states, self.totals, self._running = 0, {}, dict.fromkeys(LOADER_STATS, 0.0), None

    def __len__(self) -> int:
        if self.batches_per_epoch is None:
            raise TypeError("a stream without an end")
        return self.batches_per_epoch

    def batches(self, epoch: int) -> Iterator[dict]:
        """The rest of this epoch. Workers stay alive, and go on making batches, until close()."""
        while self.batches_per_epoch is None or self.position < (epoch + 1) * self.batches_per_epoch:
            if self._running is None:
                self._running = self._start()
            try:
                batch = next(self._running)
                if "error" in batch:
                    raise KINDS[batch["error"]](batch["text"])
                self._count(batch)
            except BaseException as error:
                workers = getattr(self._running, "_workers", ())
                if isinstance(error, OSError | EOFError):  # its end of the pipe may be gone before the process is
                    for process in workers:
                        with suppress(RuntimeError):  # torch's own word for it, from its signal handler, may come here
                            process.join(0.3)
                killed = any(not process.is_alive() for process in workers)
                self.close()
                if killed and not isinstance(error, MedsslError):
                    raise MedsslError("A worker process was ended from outside, as happens when memory is short.",
                                      "memory for the pools of all workers",
                                      "Take fewer workers, or fewer pool_bytes.") from error
                raise
            yield batch

    def _start(self) -> Iterator[dict]:
        ways = max(1, self.workers)
        data = _Shards([partial(self.make, (self.position + k) % ways, ways, self.position + k,
                                self.states.get(str((self.position + k) % ways))) for k in range(ways)])
        if self.workers == 0:
            return iter(data)
        return iter(DataLoader(data, batch_size=None, num_workers=self.workers, collate_fn=_same))

    def _count(self, batch: dict) -> None:
        state = batch.pop("state", None)
        if state is not None:
            merged = self.states.setdefault(str(self.position % max(1, self.workers)), {})
            visits = merged.get("visits", {}) | state["visits"]
            merged.update(state, visits=visits)
        self.position += 1
        for name, value in zip(LOADER_STATS, batch["loader_stats"].tolist(), strict=True):
            self.totals[name] += value
        failed = self.totals["replacement_failed"]
        attempts = failed + self.totals["replacement_completed"]
        if attempts >= FEWEST_ATTEMPTS and failed > MOST_BROKEN * attempts:
            raise TooManyBroken(f"{failed:.0f} of {attempts:.0f} attempts to load a scan failed.",
                                f"at most {MOST_BROKEN:.0%}", "Run preflight on the catalog; look at the disk.")

    def state_dict(self) -> dict:
        """Numbers and names only. Empty before the first batch."""
        return {} if not self.position else copy.deepcopy(
            {"scans": self.scans, "position": self.position, "workers": self.workers, "states": self.states,
             "totals": self.totals})

    def load_state_dict(self, state: dict) -> None:
        self.close()
        if not state:
            return
        if state["scans"] != self.scans:
            raise MedsslError("The run was cut with other scans: its catalog, the report of preflight, or how patients "
                              "are held out has changed since.", "the very scans that it began with",
                              "Put the old catalog and report back, or begin a new run: another runtime.run_id; for an "
                              "ablation another checkpoint.folder and wandb.project.")
        if state["states"] and max(1, state["workers"]) != max(1, self.workers):
            raise MedsslError(f"The run was cut with {state['workers']} workers; now there are {self.workers}.",
                              "as many as before: each worker has a pool of its own", "Set workers back.")
        state = copy.deepcopy(state)
        self.position, self.states, self.totals = state["position"], state["states"], state["totals"]

    def close(self) -> None:
        """End workers and threads, and remove what they wrote for themselves."""
        running, self._running = self._running, None
        if hasattr(running, "_shutdown_workers"):
            running._shutdown_workers()  # waits for them; without it they would end when garbage is collected
        elif running is not None:
            running.close()
        self.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_running", None) is not None:
            self.close()


class _Shards(IterableDataset):
    def __init__(self, makers: list):
        self.makers = makers

    def __iter__(self):
        info = get_worker_info()
        batches = self.makers[info.id if info else 0]()
        try:
            yield from batches
        except MedsslError as error:
            yield {"error": type(error).__name__ if type(error).__name__ in KINDS else "MedsslError",
                   "text": str(error)}


def _same(batch: dict) -> dict:
    return batch


def stats_tensor(**counts: float) -> torch.Tensor:
    """LOADER_STATS of one batch; what is not named is 0."""
    return torch.tensor([float(counts.get(name, 0)) for name in LOADER_STATS])
