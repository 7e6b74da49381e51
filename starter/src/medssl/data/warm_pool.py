"""The warm pool: each worker keeps some scans in memory, looks at each many times, and loads others meanwhile.

Loading a scan takes as long as hundreds of views of it. So a worker has a fixed number of slots. A slot is READY with a
scan; after `visits_per_scan` visits a thread begins to load another one (REPLACING) and the slot goes on with the old
scan until the new one is there (READY). Nothing waits. When exactly a scan arrives depends on the disk, and so do the
batches after it; `deterministic=True` swaps at a fixed visit and waits for the thread where it has to: the same batches
in every run, and a resumed run goes on with the very next one.
"""

import hashlib
import math
import shutil
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from medssl.data.catalog import ScanRecord
from medssl.data.nifti_header import open_nifti, read_header
from medssl.data.pair_batches import collate, items_per_series, load_scan, mixed, sample, series_labels
from medssl.data.stream import UNREADABLE, BrokenScan, Stream, stats_tensor
from medssl.errors import MedsslError


def shard_worker(scan_id: str, n_workers: int) -> int:
    """The worker that a scan belongs to: the same in every process and every run."""
    k = int(hashlib.sha256(scan_id.encode()).hexdigest(), 16)
    return k % n_workers


class WarmPool(Stream):
    """A source for the Trainer: batches of `distinct_series_per_batch` series × V items of two views each.

    records: of read_catalog. workers: processes, 0 is none; each has the scans of its shard. warm_pool_size: slots of a
    worker, fewer where `pool_bytes` of memory (its own) do not hold as many of its largest scan, those being loaded
    included. cache: folder of the scan cache to load from; scratch: a folder below which each worker makes a cache of
    its own, which is gone when it ends. strict: a scan that cannot be loaded ends the run (BrokenScan); else it is left
    out and counted, until a tenth of 200 or more attempts failed (TooManyBroken). n_patches, patch_mm, pixels,
    prism_mm, max_degrees (`how`): see views.pair_views. `load(record, cache)` is for tests.
    """

    def __init__(self, records: Sequence[ScanRecord], *, batch_size: int, distinct_series_per_batch: int,
                 workers: int = 0, warm_pool_size: int = 16, pool_bytes: int = 4 << 30, visits_per_scan: int = 100,
                 max_prefetch_replacements: int = 2, strict: bool = True, deterministic: bool = False,
                 cache: str | Path | None = None, scratch: str | Path | None = None, seed: int = 0,
                 batches_per_epoch: int | None = None, load: Callable = load_scan, **how):
        if min(warm_pool_size, visits_per_scan, max_prefetch_replacements) < 1 or (cache and scratch):
            raise MedsslError(f"{warm_pool_size=}, {visits_per_scan=}, {max_prefetch_replacements=}, {cache=}, "
                              f"{scratch=}.", "1 or more of each; a cache to keep or scratch to throw away, not both")
        shards = [[] for _ in range(max(1, workers))]
        for record in sorted(records, key=lambda record: record.scan_id):
            shards[shard_worker(record.scan_id, len(shards))].append(record)
        series = min(len({record.series_id for record in shard}) for shard in shards)
        if distinct_series_per_batch > min(series, warm_pool_size):
            raise MedsslError(f"{distinct_series_per_batch} series a batch, but a worker has {series} in its shard and "
                              f"{warm_pool_size} slots.", "as many series and slots as a batch needs",
                              "Take fewer workers, a larger warm_pool_size, or fewer series a batch.")
        self.folder = None
        if scratch is not None:
            Path(scratch).mkdir(parents=True, exist_ok=True)
            self.folder = tempfile.mkdtemp(prefix="pool-", dir=scratch)
        settings = dict(items=items_per_series(batch_size, distinct_series_per_batch), slots=warm_pool_size,
                        series=distinct_series_per_batch, pool_bytes=pool_bytes, visits_per_scan=visits_per_scan,
                        prefetch=max_prefetch_replacements, strict=strict, deterministic=deterministic, cache=cache,
                        scratch=self.folder, seed=seed, load=load, labels=series_labels(records), how=how)
        super().__init__(partial(_pool_batches, shards, settings), scans=[record.scan_id for record in records],
                         workers=workers, cleanup=self._remove_scratch, batches_per_epoch=batches_per_epoch)
        self.about = {"batch_size": batch_size} | {  # of which scans is in the state: it says so in plainer words
            k: v for k, v in settings.items() if k not in ("labels", "load", "scratch", "cache", "how")} | how

    def __repr__(self) -> str:
        return f"WarmPool({', '.join(f'{k}={v}' for k, v in self.about.items())})"

    def _remove_scratch(self) -> None:
        """What a worker that was killed left behind."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def _pool_batches(shards, settings, worker: int, workers: int, first: int, state: dict | None) -> Iterator[dict]:
    pool = Pool(shards[worker], worker, **settings)
    try:
        pool.start(state or {})
        while True:
            yield pool.batch()
    finally:
        pool.close()


@dataclass
class Slot:
    """READY without `future`, REPLACING with one. `index` and `coming` are places in the shard; -1 is none."""

    index: int = -1
    scan: object = None
    visits: int = 0  # since this scan came into the slot
    coming: int = -1
    future: Future | None = None


class Pool:
    """The slots of one worker. No two of them ever hold scans of the same series."""

    def __init__(self, records, worker, *, items, series, slots, pool_bytes, visits_per_scan, prefetch, strict,
                 deterministic, cache, scratch, seed, load, labels, how):
        self.records, self.worker, self.items, self.series, self.prefetch = records, worker, items, series, prefetch
        self.visits_per_scan, self.strict, self.deterministic = visits_per_scan, strict, deterministic
        self.seed, self.load, self.labels, self.how = seed, load, labels, how
        self.scratch = Path(scratch) / f"worker{worker}" if scratch else None
        self.cache = self.scratch or cache
        largest = max(map(scan_bytes, records))
        fit = pool_bytes // largest - prefetch
        if fit < series:
            least = (series + prefetch) * largest
            raise MedsslError(f"pool_bytes={pool_bytes:,}: a scan takes up to {largest:,}, {prefetch} are loaded at a "
                              f"time, and a batch needs {series}.", f"{least:,} at least",
                              f"Set data.pool_gb={math.ceil(least / 2**30 * 10) / 10:g} or more, if all workers "
                              "together have that memory; or fewer series a batch (data.distinct_series_per_batch).")
        if fit < min(slots, len({record.series_id for record in records})):
            warnings.warn(f"Worker {worker} keeps {fit} scans of up to {largest / 1e6:.0f} MB instead of {slots}: more "
                          "do not fit into data.pool_gb.", stacklevel=2)
        self.slots = [Slot() for _ in range(min(slots, fit, len({record.series_id for record in records})))]
        # a deterministic swap happens at exactly visits_per_scan; its loading begins a quarter of that before
        self.due = visits_per_scan - visits_per_scan // 4 if deterministic else visits_per_scan
        self.drawn, self.made, self.visits, self.broken, self.counts = 0, 0, {}, set(), Counter()
        self.threads = ThreadPoolExecutor(prefetch, thread_name_prefix=f"pool{worker}")

    def start(self, state: dict) -> None:
        """Begin to fill the slots, or put back what was in them when the state was taken."""
        self.drawn, self.made = state.get("drawn", 0), state.get("made", 0)
        self.visits = {int(index): n for index, n in state.get("visits", {}).items()}
        self.broken = set(state.get("broken", ()))
        if not state:
            for k, slot in enumerate(self.slots):
                slot.visits = k * self.visits_per_scan // len(self.slots)  # else all would be replaced at once
                self._submit(slot, self._next(slot))
            return
        for slot, (index, visits, _) in zip(self.slots, state["slots"], strict=True):
            slot.visits = visits
            self._submit(slot, index)
        for slot, (_, _, coming) in zip(self.slots, state["slots"], strict=True):
            if slot.future:
                self._swap(slot)
            if slot.future is None and coming >= 0:
                self._submit(slot, coming)
        del self.counts["replacement_completed"]  # they were counted when they came first; one that is lost now is new

    def batch(self) -> dict:
        """One batch: S of the slots that are ready, drawn anew each time, V visits to each."""
        self._settle()
        while len(ready := [slot for slot in self.slots if slot.scan is not None]) < self.series:
            running = [slot.future for slot in self.slots if slot.future]
            if not running:
                raise MedsslError(f"Worker {self.worker} has {len(ready)} series left and needs {self.series}; "
                                  f"of its {len(self.records)} scans {len(self.broken)} could not be read.",
                                  *UNREADABLE)
            begun = time.perf_counter()
            wait(running, return_when=FIRST_COMPLETED)
            self.counts["replacement_wait_ms"] += (time.perf_counter() - begun) * 1e3
            self._settle()
        rng = np.random.default_rng(mixed(self.seed, "batch", self.worker, self.made))
        items, records, visits = [], [], {}
        for k in rng.permutation(len(ready))[:self.series]:
            slot = ready[k]
            record, visit = self.records[slot.index], self.visits.get(slot.index, 0)
            items += [sample(slot.scan, record.scan_id, visit + v, self.seed, **self.how) for v in range(self.items)]
            records += [record] * self.items
            visits[str(slot.index)] = self.visits[slot.index] = visit + self.items
            slot.visits += self.items
        self.made += 1
        stats = stats_tensor(**self.counts)
        self.counts.clear()
        slots = [[slot.index, slot.visits, slot.coming] for slot in self.slots]
        return collate(items, records, self.labels) | {
            "loader_stats": stats, "state": {"slots": slots, "visits": visits, "made": self.made, "drawn": self.drawn,
                                             "broken": sorted(self.broken)}}

    def close(self) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _settle(self) -> None:
        """Take in what has been loaded, and begin to load what is due. Waits for nothing, unless deterministic."""
        for slot in self.slots:
            late = slot.scan is None or slot.visits >= self.visits_per_scan
            if slot.future and (late if self.deterministic else slot.future.done()):
                self._swap(slot)
            loading = sum(slot.future is not None for slot in self.slots)
            if slot.future is None and (slot.scan is None or slot.visits >= self.due) and loading < self.prefetch:
                self._submit(slot, self._next(slot))

    def _submit(self, slot: Slot, index: int) -> None:
        if index >= 0:
            slot.coming, slot.future = index, self.threads.submit(_timed, self.load, self.records[index], self.cache)
        elif slot.scan is not None:
            slot.visits = 0  # nothing else to show: ask again later

    def _swap(self, slot: Slot) -> None:
        index, future, begun = slot.coming, slot.future, time.perf_counter()
        error = future.exception()  # waits
        self.counts["replacement_wait_ms"] += (time.perf_counter() - begun) * 1e3
        slot.coming, slot.future = -1, None
        if error is None:
            slot.visits = 0 if slot.scan is not None else slot.visits
            slot.index, (slot.scan, load_ms) = index, future.result()
            self.counts.update(replacement_completed=1, replacement_load_ms=load_ms)
            return
        self.counts["replacement_failed"] += 1
        self.broken.add(index)
        if self.strict:
            raise BrokenScan(f"Scan {self.records[index].scan_id} ({self.records[index].nifti_path}) could not be "
                             f"loaded: {type(error).__name__}: {error}") from error

    def _next(self, slot: Slot) -> int:
        """The next scan of an endless shuffled list that is not broken and of whose series no other slot has one."""
        n, others = len(self.records), [other for other in self.slots if other is not slot]
        taken = {self.records[k].series_id for other in others for k in (other.index, other.coming) if k >= 0}
        for ahead in range(2 * n):
            cycle, place = divmod(self.drawn + ahead, n)
            index = _order(self.seed, self.worker, cycle, n)[place]
            if index != slot.index and index not in self.broken and self.records[index].series_id not in taken:
                self.drawn += ahead + 1
                return index
        return -1


@lru_cache(8)
def _order(seed: int, worker: int, cycle: int, n: int) -> list[int]:
    return np.random.default_rng(mixed(seed, "order", worker, cycle)).permutation(n).tolist()


def _timed(load: Callable, record: ScanRecord, cache) -> tuple[object, float]:
    begun = time.perf_counter()
    return load(record, cache), (time.perf_counter() - begun) * 1e3


def scan_bytes(record: ScanRecord) -> int:
    """Bytes of its voxels as int16, from its header; 1 where that cannot be read: loading will say why."""
    path = Path(record.nifti_path)
    try:
        with open_nifti(path) as file:
            return 2 * math.prod(read_header(path, file).get_data_shape()[:3])
    except (MedsslError, OSError, EOFError, zlib.error):
        return 1
