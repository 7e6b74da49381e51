"""Preflight: which scans of a catalog can be learnt from? Two levels, so that nobody waits for an answer they can have.

* header: the file is there, its header makes sense, and a .nii is as long as that says. Milliseconds a scan; voxels
  are never read, so a .nii.gz that is cut short is found by the full level only.
* full: the voxels too, in parallel processes. Writes the cache of the scans and their statistics (data/scan_cache.py).
  Each verdict goes into a journal at once: a run that was killed goes on where it was.

Every scan is kept or has one reason (data/preflight_report.py): kept + rejected = total, reasons sum to rejected.
"""

import json
import math
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from medssl.data.catalog import Rejected, ScanRecord, read_catalog
from medssl.data.nifti_header import DAMAGE, grid, open_nifti, place, read_header
from medssl.data.preflight_report import Report
from medssl.data.scan_cache import open_cached, source_of, write_cache
from medssl.errors import MedsslError
from medssl.files import write_atomic

PATCH_MM = 16.0  # edge of a patch
FEWEST = 8  # voxels along each axis: fewer than half a patch of 16 pixels, and there is nowhere to go


def preflight(scans: str | Path | Sequence[ScanRecord], level: str = "header", report: str | Path | None = None,
              cache: str | Path | None = None, workers: int = 0, patch_mm: float = PATCH_MM,
              modalities: Sequence[str] = ("CT", "MR"), root: str | Path | None = None) -> Report:
    """Judge each scan of a catalog (its path), or of a list of records.

    level="full" needs `cache`, a folder: also of the journal. workers: processes beside this one, 0 is none; a script
    that starts some must do so below `if __name__ == "__main__":`. report: write it there as JSON.
    """
    if level not in ("header", "full"):
        raise MedsslError(f"level={level!r}.", '"header" or "full"')
    if (level == "full") != (cache is not None):
        raise MedsslError(f"level={level!r} {'without' if cache is None else 'with'} a cache.",
                          "the full level writes one, the header level does not",
                          "Give a folder: cache=… (--cache DIR)." if cache is None else 'Say level="full" (--full).')
    start = time.perf_counter()
    source = str(scans) if isinstance(scans, str | Path) else ""
    records, rejected = read_catalog(source, modalities, root) if source else (list(scans), [])
    opened = time.perf_counter()
    judge = _all_headers(records, patch_mm) if level == "header" else _all_voxels(records, patch_mm, cache, workers)
    verdicts = {verdict["scan_id"]: verdict for verdict in tqdm(judge, level, len(records), disable=None)}
    kept = [record for record in records if not verdicts[record.scan_id]["reason"]]
    rejected += [Rejected(record.series_id, record.modality, record.nifti_path, verdict["reason"], verdict["why"],
                          record.scan_id, patient=record.patient)
                 for record in records if (verdict := verdicts[record.scan_id])["reason"]]
    seconds = {"catalog": opened - start, "scans": time.perf_counter() - opened}
    result = Report(level, kept, rejected, verdicts, seconds,
                    {"catalog": source, "root": os.path.abspath(root) if root else "", "patch_mm": patch_mm,
                     "cache": str(cache or ""), "workers": workers})
    if report:
        write_atomic(report, json.dumps(result.as_dict(), indent=1) + "\n")
    return result


def check_header(path: str, patch_mm: float = PATCH_MM) -> dict:
    """{"shape", "spacing" (x, y, z as stored), "type", "notes"} of a file, or an error with the code of its reason."""
    path = Path(path)
    try:
        with open_nifti(path) as file:
            header = read_header(path, file)
            size = None if path.name.lower().endswith(".gz") else os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise MedsslError(f"{path} is not there.", code="no_file") from error
    except DAMAGE as error:
        raise MedsslError(f"{path} cannot be opened ({error}).", code="nifti_load_failed") from error
    shape, kind = grid(path, header, None)
    claimed = max(0.0, float(header["vox_offset"])) + math.prod(shape) * kind.itemsize
    if size is not None and not claimed <= size:  # not: nor is it a number
        raise MedsslError(f"{path} is cut short: {size:,} of {claimed:,.0f} bytes.", code="nifti_load_failed")
    affine, notes = place(path, header, shape, strict=True)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    across = int(spacing.argmax())  # patches are cut in the plane of the two finer axes
    extent = [n * mm for axis, (n, mm) in enumerate(zip(shape[:3], spacing, strict=True)) if axis != across]
    if min(shape[:3]) < FEWEST or min(extent) < patch_mm:
        raise MedsslError(f"{path} has {'×'.join(map(str, shape[:3]))} voxels, {extent[0]:.4g}×{extent[1]:.4g} mm in "
                          "its plane.", f"{FEWEST} voxels along each axis, and a patch of {patch_mm:g} mm",
                          code="shape_too_small")
    return {"shape": shape[:3], "spacing": spacing.tolist(), "type": str(kind), "notes": notes}


def _judge(record: ScanRecord, patch_mm: float, cache: str | None) -> dict:
    """The verdict on one scan; reason and why are empty if it is kept. Errors of writing are nobody's fault but ours:
    they end the run."""
    start, verdict = time.perf_counter(), {"scan_id": record.scan_id, "reason": "", "why": ""}
    try:
        with warnings.catch_warnings(action="ignore"):  # the notes are in the verdict
            verdict |= check_header(record.nifti_path, patch_mm)
            if cache:
                write_cache(record, cache)
                verdict["stats"] = asdict(open_cached(cache, record.scan_id, check=False).stats)
    except MedsslError as error:
        verdict |= {"reason": error.code or "nifti_load_failed", "why": error.wrong}
    except OSError:
        raise
    except Exception as error:  # one strange file among 50,000, which nobody has thought of, does not end the run
        verdict |= {"reason": "nifti_load_failed", "why": f"{record.nifti_path}: {type(error).__name__}, {error}."}
    return verdict | {"seconds": time.perf_counter() - start}


def _all_headers(records: Iterable[ScanRecord], patch_mm: float) -> Iterator[dict]:
    return (_judge(record, patch_mm, None) for record in records)


def _all_voxels(records: Sequence[ScanRecord], patch_mm: float, cache: str | Path, workers: int) -> Iterator[dict]:
    """The verdicts of the journal that still hold, then those of the other scans in the order they are finished."""
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    journal = cache / "journal.jsonl"
    known = _read_journal(journal)
    todo = []
    for record in records:
        verdict, key = known.get(record.scan_id), _key(record, patch_mm)
        if verdict and verdict["key"] == key and (verdict["reason"] or _still_there(cache, record)):
            yield verdict
        else:
            todo.append((record, key))
    with open(journal, "ab", buffering=0) as file:
        if journal.stat().st_size:
            file.write(b"\n")  # ends a line that was cut short; empty lines are skipped
        for verdict in _in_parallel(todo, patch_mm, str(cache), workers):
            file.write(json.dumps(verdict).encode("ascii") + b"\n")  # one write a line
            yield verdict


def _in_parallel(todo: list, patch_mm: float, cache: str, workers: int) -> Iterator[dict]:
    if workers < 1:
        yield from (_judge(record, patch_mm, cache) | {"key": key} for record, key in todo)
        return
    method = "forkserver" if os.name == "posix" else "spawn"  # the first imports torch once for all of them
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(["medssl.data.preflight"])
    with ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
        running = {pool.submit(_judge, record, patch_mm, cache): key for record, key in todo}
        try:
            for future in as_completed(running):
                yield future.result() | {"key": running.pop(future)}
        except BrokenProcessPool as error:
            raise MedsslError("A process of preflight was ended from outside, as happens when memory is short.",
                              f"memory for {workers} scans at once", "Run it again with fewer --workers: it goes on "
                              "where it was.") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker: one thread of torch, and an end when the main process is gone, killed without a word."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _read_journal(path: Path) -> dict[str, dict]:
    """The last verdict on each scan. A line cut short by a kill is no JSON, and counts as not written."""
    known = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            verdict = json.loads(line)
            known[verdict["scan_id"]] = verdict
        except (ValueError, KeyError, TypeError):
            continue
    return known


def _key(record: ScanRecord, patch_mm: float) -> dict:
    """What a verdict depends on: another file, or another question, and it is asked anew."""
    try:
        source = source_of(record.nifti_path)
    except MedsslError:
        source = {}
    return source | {"modality": record.modality, "patch_mm": patch_mm}


def _still_there(cache: Path, record: ScanRecord) -> bool:
    try:
        open_cached(cache, record.scan_id, check=False)
    except MedsslError:
        return False
    return True
