"""Prism's scans: a catalog, split by patients, as a stream to train on and as fixed pairs to measure with."""

import hashlib
from collections.abc import Iterator, Sequence

from medssl.data.catalog import ScanRecord, read_catalog
from medssl.data.fresh_scans import FreshScans
from medssl.data.pair_batches import collate, load_scan, sample, series_labels
from medssl.data.preflight_report import kept_scans
from medssl.data.stream import BrokenScan
from medssl.data.warm_pool import WarmPool
from medssl.errors import MedsslError
from medssl.recipes.prism_config import PrismConfig
from medssl.train.disk import check_sockets

HELD_ITEMS, HELD_BATCH, VISITS = 256, 16, 4  # pairs to measure with, at a time, and of one scan


def scans_of(config: PrismConfig) -> tuple[list[ScanRecord], list[ScanRecord]]:
    """(scans to train on, scans of the held-out patients), of the first n_scans of the catalog's lottery that preflight
    kept. A patient is held out by the hash of the name: the same ones in every run, whatever else is in the catalog."""
    data = config.data
    records, _ = read_catalog(data.catalog_path, data.modality_filter)
    if data.report_path:
        kept = kept_scans(data.report_path)
        records = [record for record in records if record.scan_id in kept]
    records = records[:data.n_scans or None]
    held = [record for record in records if _lot(record.patient or record.series_id) < data.holdout]
    train = [record for record in records if _lot(record.patient or record.series_id) >= data.holdout]
    if not train:
        raise MedsslError(f"{data.catalog_path}: no scan is left to train on, {len(held)} are held out.",
                          "some patients below and some above the share", "Set data.holdout.")
    return train, held


def open_source(config: PrismConfig, records: Sequence[ScanRecord]) -> WarmPool | FreshScans:
    """The stream that the config describes: "sharded" keeps scans in memory and replaces them, "cached" reads each view
    from the scan cache."""
    data, scratch = config.data, config.scratch / "scans"
    if data.workers:
        check_sockets()
    shared = {"batch_size": config.train.batch_size, "distinct_series_per_batch": data.distinct_series_per_batch,
              "workers": data.workers, "strict": data.strict, "seed": config.train.seed, **how(config)}
    if data.storage_mode == "cached":
        return FreshScans(records, cache=data.cache_path or scratch, **shared)
    place = {"cache": data.cache_path} if data.cache_path else {"scratch": scratch} if data.use_local_scratch else {}
    return WarmPool(records, warm_pool_size=data.warm_pool_size, pool_bytes=int(data.pool_gb * 2**30),
                    visits_per_scan=data.visits_per_scan, max_prefetch_replacements=data.max_prefetch_replacements,
                    deterministic=data.deterministic, **shared, **place)


def readable(config: PrismConfig, records: Sequence[ScanRecord]) -> tuple[list[ScanRecord], int]:
    """(the held-out scans to measure with, how many others could not be read): opened before the first step, for the
    training of days is not to be lost by one of them. strict: the first that cannot be read is a BrokenScan."""
    good, failed = [], 0
    for record in records:
        if len(good) == HELD_ITEMS // VISITS:
            break
        try:
            load_scan(record, config.data.cache_path or None)
            good.append(record)
        except Exception as error:
            failed += 1
            if config.data.strict:
                raise BrokenScan(f"Held-out scan {record.scan_id} ({record.nifti_path}) could not be loaded: "
                                 f"{type(error).__name__}: {error}") from error
    return good, failed


def held_out_batches(config: PrismConfig, records: Sequence[ScanRecord], visits: int = VISITS) -> Iterator[dict]:
    """HELD_ITEMS pairs at most of the held-out scans, `visits` of each, the same for every run on this catalog: neither
    batch size nor seed of the training is in them."""
    records = records[:HELD_ITEMS // visits]
    labels, items, of = series_labels(records), [], []
    for record in records:
        scan = load_scan(record, config.data.cache_path or None)
        for visit in range(visits):
            items.append(sample(scan, record.scan_id, visit, 0, **how(config)))
            of.append(record)
        while len(items) >= HELD_BATCH or (items and record is records[-1]):
            yield collate(items[:HELD_BATCH], of[:HELD_BATCH], labels)
            items, of = items[HELD_BATCH:], of[HELD_BATCH:]


def how(config: PrismConfig) -> dict:
    """How views are drawn."""
    data = config.data
    return {"n_patches": data.n_patches, "patch_mm": data.patch_mm, "prism_mm": data.prism_mm,
            "max_degrees": data.max_degrees}


def _lot(name: str) -> float:
    return int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) / 2**64
