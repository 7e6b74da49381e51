"""From a stream of batches without an end to what the Trainer takes: windows of a few steps, tensors only."""

from collections.abc import Iterator
from itertools import islice

import torch

from medssl.errors import MedsslError
from medssl.train.meter import Meter

COUNTERS = ("replacement_completed_count", "replacement_failed_count", "replacement_wait_time_ms_total",
            "replacement_load_ms_total")  # of LOADER_STATS, in that order


class Windows:
    """Cuts a source's batches into "epochs" of `every`, so that the Trainer writes a row of its history that often.

    It never looks ahead: after batch n the source's own place is n, in whatever window. Strings stay here, and the
    loader's counters (data.stream.LOADER_STATS, a tensor "loader_stats" in each batch) go to the meter. They go on
    where a run does; the meter's times are of one part.
    """

    def __init__(self, source, every: int, meter: Meter):
        self.source, self.every, self.meter = source, every, meter
        self.inside = self.epoch = self.taken = 0
        self.stream: Iterator | None = None

    def __repr__(self) -> str:
        return repr(self.source)

    def batches(self, _window: int) -> Iterator[dict]:
        """What is left of the window."""
        if self.stream is None:
            self.stream = self.meter.watch(self._endless())
        while self.inside < self.every:
            batch = next(self.stream)
            self.inside += 1
            views, pairs, patches = 2, *batch["patches_a"].shape[:2]
            grown = dict(zip(COUNTERS, batch["loader_stats"].tolist(), strict=True))
            self.meter.count(views * pairs * patches, grown)
            yield {name: value for name, value in batch.items() if torch.is_tensor(value) and name != "loader_stats"}
        self.inside = 0

    def state_dict(self) -> dict:
        return {"inside": self.inside, "epoch": self.epoch, "taken": self.taken, "source": self.source.state_dict(),
                "counters": dict(self.meter.counters)}

    def load_state_dict(self, state: dict) -> None:
        self.inside, self.epoch, self.taken = state["inside"], state["epoch"], state["taken"]
        self.source.load_state_dict(state["source"])
        self.meter.counters.update(state["counters"])  # of the parts before: failures are counted over the whole run

    def _endless(self) -> Iterator[dict]:
        skip = 0 if self.source.state_dict() else self.taken  # a source that keeps its own place is there already
        while True:
            before = self.taken
            for batch in islice(self.source.batches(self.epoch), skip, None):
                self.taken += 1
                yield batch
            if self.taken == before and not skip:
                raise MedsslError(f"The source gave no batch in epoch {self.epoch}.", "at least one batch an epoch")
            self.epoch, self.taken, skip = self.epoch + 1, 0, 0
