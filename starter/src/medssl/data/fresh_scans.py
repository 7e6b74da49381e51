"""Another scan for every item: what a warm pool avoids, made cheap by a cache that gives any block in a millisecond.

Nothing is kept in memory and nothing is replaced, so which scans stand in batch k is a function of (seed, k) alone:
the same batches with any number of workers, and a resumed run goes on with the very next one.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import count
from pathlib import Path

import numpy as np

from medssl.data.catalog import ScanRecord
from medssl.data.pair_batches import collate, items_per_series, mixed, sample, series_labels, with_contrast
from medssl.data.scan_cache import cached_scan
from medssl.data.stream import UNREADABLE, BrokenScan, Stream, stats_tensor
from medssl.errors import MedsslError

OPEN = 256  # scans a worker keeps open: a file each, and systems allow about a thousand


class FreshScans(Stream):
    """A source for the Trainer, with the batches of WarmPool; every scan is read from `cache`, written there first
    where it is absent.

    Series come in a shuffled order, all of them once before any comes again (a rest that fills no batch waits for the
    next shuffle); of a series with several scans they take turns. strict=False: a series whose scan cannot be read is
    counted, and another one of the same order takes its place.
    """

    def __init__(self, records: Sequence[ScanRecord], *, batch_size: int, distinct_series_per_batch: int,
                 cache: str | Path, workers: int = 0, strict: bool = True, seed: int = 0,
                 batches_per_epoch: int | None = None, **how):
        labels = series_labels(records)
        if distinct_series_per_batch > len(labels):
            raise MedsslError(f"{distinct_series_per_batch} series a batch, of {len(labels)} in all.", "no more")
        scans = {name: [] for name in labels}
        for record in sorted(records, key=lambda record: record.scan_id):
            scans[record.series_id].append(record)
        settings = dict(items=items_per_series(batch_size, distinct_series_per_batch), strict=strict, seed=seed,
                        series=distinct_series_per_batch, cache=str(cache), labels=labels, how=how)
        super().__init__(partial(_fresh_batches, list(scans.values()), settings), workers=workers,
                         scans=[record.scan_id for record in records], batches_per_epoch=batches_per_epoch)
        self.about = {"batch_size": batch_size, "series": distinct_series_per_batch, "seed": seed,
                      "strict": strict} | how

    def __repr__(self) -> str:
        return f"FreshScans({', '.join(f'{k}={v}' for k, v in self.about.items())})"


def _fresh_batches(scans, settings, worker: int, workers: int, first: int, _state) -> Iterator[dict]:
    opened = lru_cache(OPEN)(cached_scan)
    for k in count(first, workers):
        yield fresh_batch(k, scans, opened=opened, **settings)


def fresh_batch(k: int, scans: list[list[ScanRecord]], *, items, series, strict, seed, cache, labels, how,
                opened=cached_scan) -> dict:
    """Batch number k: S series, V items of each."""
    cycle, place = divmod(k, len(scans) // series)
    order = np.random.default_rng(mixed(seed, "cycle", cycle)).permutation(len(scans)).tolist()
    order = order[place * series:] + order[:place * series]
    made, records, counts = [], [], {"replacement_completed": 0, "replacement_failed": 0}
    for candidate in order:
        turns = scans[candidate]
        visits = [cycle * items + v for v in range(items)]
        chosen = [turns[visit % len(turns)] for visit in visits]
        try:
            made += [sample(with_contrast(opened(record, cache)), record.scan_id, visit, seed, **how)
                     for record, visit in zip(chosen, visits, strict=True)]
        except Exception as error:
            counts["replacement_failed"] += 1
            if strict:
                raise BrokenScan(f"A scan of series {chosen[0].series_id} ({chosen[0].nifti_path}) could not be read: "
                                 f"{type(error).__name__}: {error}") from error
            continue
        counts["replacement_completed"] += 1
        records += chosen
        if len(records) == series * items:
            return collate(made, records, labels) | {"loader_stats": stats_tensor(**counts)}
    raise MedsslError(f"{len(records) // items} of {len(scans)} series can be read, and a batch needs {series}.",
                      *UNREADABLE)
