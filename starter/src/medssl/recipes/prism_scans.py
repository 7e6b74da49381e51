"""Prism's scans: a catalog, split by patients, as a stream to train on and as fixed pairs to measure with."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from medssl.data.catalog import ScanRecord, read_catalog
from medssl.data.fresh_scans import FreshScans
from medssl.data.pair_batches import collate, load_scan, sample, series_labels, with_contrast
from medssl.data.preflight_report import kept_scans
from medssl.data.scan_cache import cached_scan
from medssl.data.stream import BrokenScan
from medssl.data.warm_pool import WarmPool
from medssl.errors import MedsslError
from medssl.files import write_atomic
from medssl.recipes.prism_config import PrismConfig
from medssl.train.disk import check_sockets

HELD_ITEMS, HELD_BATCH, VISITS = 256, 16, 4  # pairs to measure with, at a time, and of one scan


def scans_of(config: PrismConfig) -> tuple[list[ScanRecord], list[ScanRecord]]:
    """(scans to train on, scans of the held-out patients), of the first n_scans of the catalog's lottery that preflight
    kept. A patient is held out by the hash of the name: the same ones in every run, whatever else is in the catalog."""
    data = config.data
    kept, root = kept_scans(data.report_path) if data.report_path else (None, "")
    records, left_out = read_catalog(data.catalog_path, data.modality_filter, data.root or root or None)
    if not records:
        reasons = Counter(one.reason for one in left_out).most_common(3)
        raise MedsslError(f"No row of the catalog {data.catalog_path} names a scan that is there: "
                          f"{', '.join(f'{n} {reason}' for reason, n in reasons) or 'it has no rows'}.",
                          f"files of {' or '.join(data.modality_filter)}",
                          "Set data.root to the folder that its paths are relative to, or data.modality_filter; "
                          "`medssl prism preflight` says why of each row.")
    good = [record for record in records if kept is None or record.scan_id in kept]
    if not good:
        raise MedsslError(f"Preflight has rejected all scans: {data.report_path} keeps {len(kept)}, and none of the "
                          f"{len(records)} of {data.catalog_path}.", "a report that keeps some of this catalog's",
                          "Make a report of this catalog anew, with the same root and modalities." if kept else
                          "Read its reasons; mend these scans, or name others.")
    records = good[:data.n_scans or None]
    held = [record for record in records if _lot(record.patient or record.series_id) < data.holdout]
    train = [record for record in records if _lot(record.patient or record.series_id) >= data.holdout]
    if not train:
        raise MedsslError(f"All {len(held)} scans are of held-out patients: none is left to train on.",
                          "some patients below and some above the share", f"Set data.holdout (now {data.holdout:g}) "
                          "lower; it is compared with a hash of the patient's name. Or take more patients.")
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
    training of days is not to be lost by one of them. strict: the first that cannot be read is a BrokenScan.

    A scan is read once: <folder>/held_out.json keeps size and date of the files that were good, for when the run goes
    on. Of a cached scan the checksum is enough."""
    cache, journal = config.data.cache_path, config.folder / "held_out.json"
    known, seen, good, failed = _seen_before(journal), {}, [], 0
    for record in records:
        if len(good) == HELD_ITEMS // VISITS:
            break
        try:
            file = Path(cache) / f"{record.scan_id}.b2nd" if cache else Path(record.nifti_path)
            if not file.exists() or known.get(record.scan_id) != _size_and_date(file):
                with_contrast(cached_scan(record, cache)) if cache else load_scan(record)
            seen[record.scan_id] = _size_and_date(file)
            good.append(record)
        except Exception as error:
            failed += 1
            if config.data.strict:
                raise BrokenScan(f"Held-out scan {record.scan_id} ({record.nifti_path}) could not be loaded: "
                                 f"{type(error).__name__}: {error}") from error
    write_atomic(journal, json.dumps(seen))
    return good, failed


def _seen_before(journal: Path) -> dict:
    try:
        seen = json.loads(journal.read_text())
    except (OSError, ValueError):  # none yet, or cut short
        return {}
    return seen if isinstance(seen, dict) else {}


def _size_and_date(file: Path) -> list[int]:
    about = file.stat()
    return [about.st_size, about.st_mtime_ns]


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
