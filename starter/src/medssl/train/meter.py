"""How fast a run is by the clock on the wall, and how long its slowest steps are."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

STALLS = (2000, 10000)  # ms


class Meter:
    """Counts patches and times steps. A step lasts from the end of the one before to its own end, so what a loader, a
    log line or a checkpoint takes is in one of them; throughput is all patches over all that time:

        throughput = patches seen / (now - first fetch)

    `watch(batches)` times each fetch; `step()` is called at the end of each step, `stop()` when training has ended:
    what comes after it, such as proxies, takes no time of training. Percentiles are numpy's (linear).
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self.clock, self.began, self.ended, self.steps, self.waits, self.patches = clock, None, None, [], [], 0
        self.counters: Counter = Counter()

    def watch(self, batches: Iterable) -> Iterator:
        """The same batches; how long each fetch made the trainer wait is kept."""
        batches = iter(batches)
        while True:
            now = self.clock()
            if self.began is None:
                self.began = self._last = now
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.waits.append(self.clock() - now)
            yield batch

    def count(self, patches: int, counters: dict[str, float]) -> None:
        """What a batch brings: its patches, and what the loader's counters have grown by."""
        self.patches += patches
        self.counters.update(counters)

    def step(self, trainer=None, _generator=None) -> None:
        """The end of a step (a hook of the Trainer). A GPU is waited for: it works behind the caller's back, and the
        times of single steps would be those of asking, not of computing."""
        if trainer is not None and trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        now = self.clock()
        self.steps.append(now - self._last)
        self._last = now

    def stop(self) -> None:
        self.ended = self.clock()

    def numbers(self) -> dict[str, float]:
        """Everything until now, or until stop(); times in ms. Before the first step what the parts before counted."""
        if not self.steps:
            return {name: float(value) for name, value in self.counters.items()}
        ms, now = 1000 * np.array(self.steps), self.clock() if self.ended is None else self.ended
        p50, p95, p99 = np.percentile(ms, (50, 95, 99))
        out = {"throughput_effective_patches_per_sec": self.patches / (now - self.began),
               "patches_per_sec_step": self.patches / len(self.waits) / self.steps[-1],
               "total_step_time_ms_mean": ms.mean(), "total_step_time_ms_p50": p50, "total_step_time_ms_p95": p95,
               "total_step_time_ms_p99": p99, "total_step_time_ms_max": ms.max(), "first_step_time_ms": ms[0],
               **{f"stall_steps_ge_{stall}ms": int((ms >= stall).sum()) for stall in STALLS},
               "loader_wait_ms": 1000 * float(np.mean(self.waits)), "loader_wait_ms_total": 1000 * sum(self.waits),
               "time_to_first_batch_ms": 1000 * self.waits[0], "wall_seconds": now - self.began, **self.counters}
        if torch.cuda.is_available():
            out |= {"vram_allocated_gb_max": torch.cuda.max_memory_allocated() / 2**30,
                    "vram_reserved_gb_max": torch.cuda.max_memory_reserved() / 2**30}
        return {name: float(value) for name, value in out.items()}
