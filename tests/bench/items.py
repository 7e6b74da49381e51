"""Pairs of views end to end: eight .nii.gz, batches of 4 items of 2×256 patches, against MONAI and TorchIO.

Everybody begins with nothing in memory, in a process of its own, without and with two workers; in each round all take
turns, in an order drawn anew. The first batch, with which the scans are loaded, counts for itself. What a row compares:
items a second on the wall clock, CPU time an item (of workers too), and the most memory, the sum of PSS of the process
and its workers. The tails are percentiles of all batches of all rounds, on the wall clock.

Ours reads the cache that preflight writes before a run; what it costs to read the .nii.gz is a row of its own.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import item_sources as sources
import numpy as np
import torch
from item_sources import BATCH, CACHED, NIFTI, OURS, QUEUE, SMART, N
from timing import orders, paired, save, tell, versions

from medssl.data.catalog import ScanRecord

WHO = {OURS: "medssl", NIFTI: "medssl", CACHED: "monai", SMART: "monai", QUEUE: "torchio"}
LIMIT = 120  # seconds for a contestant in a round
QUANTITIES = (("pairs of views, wall clock", "wall_s", "items/s"), ("pairs of views, CPU", "cpu_s", "ms"),
              ("pairs of views, peak memory", "peak_MiB", "MiB"))


def family():
    """This process and its children."""
    me = os.getpid()
    return me, *map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split())


def cpu_seconds():
    """Of this process and its workers, since they began."""
    ticks = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in family())
    return sum(int(tick) for pair in ticks for tick in pair) / os.sysconf("SC_CLK_TCK")


def memory(stop, peak):
    """The largest sum of PSS, MiB, of this process and its children."""
    while not stop.wait(0.1):
        total = 0
        for pid in family():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except (OSError, StopIteration):
                pass
        peak.append(total / 1024)


def one(name, workers, items, folder):
    """One contestant in its own process, from nothing in memory: what it took, on the last line that it prints."""
    torch.set_num_threads(1)
    records = [ScanRecord(**record) for record in json.loads((folder / "records.json").read_text())]
    about = sources.headers(records, folder) if WHO[name] == "monai" else {}
    importlib.import_module({"monai": "monai.data", "medssl": "medssl.data.warm_pool"}.get(WHO[name], WHO[name]))
    stop, peak, times, begun = threading.Event(), [], [], time.perf_counter()  # imports are no part of the first batch
    watch = threading.Thread(target=memory, args=(stop, peak))
    watch.start()
    if WHO[name] == "monai":
        batches = sources.by_monai_datasets(name, workers, records, about, items)
    elif WHO[name] == "torchio":
        batches = sources.by_torchio(workers, records)
    else:
        batches = sources.ours(name, workers, records, folder).batches(0)
    for k in range(items // BATCH):
        next(batches)
        now = time.perf_counter()
        times.append(now - begun)
        begun = now
        if k == 0:
            used = cpu_seconds()
    used, after = cpu_seconds() - used, items - BATCH
    stop.set()
    watch.join()
    print(json.dumps({"first_s": times[0], "ms": [t * 1e3 for t in times[1:]], "wall_s": sum(times[1:]) / after,
                      "cpu_s": used / after, "peak_MiB": max(peak)}), flush=True)
    os._exit(0)  # what peers leave running would keep the process


def asked(name, workers, items, folder) -> dict:
    """What one() says of a contestant, or {"failed": why}."""
    command = [sys.executable, __file__, "--one", name, str(workers), str(items), str(folder)]
    try:
        done = subprocess.run(command, timeout=LIMIT, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return {"failed": f"no result within {LIMIT} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(found: dict, workers: int, equal: dict[str, str]) -> list[dict]:
    """Rows and tails out of {contestant: what it said in each round}; who failed once is named as failed."""
    rows, good, size = [], {}, f"2 × {N} patches, {workers} workers"
    for name, rounds in found.items():
        head = {"size": size, "peer": name, "version": versions(WHO[name])} | (
            {"kind": "own", "version": "ours"} if WHO[name] == "medssl" else {})
        if problems := [said["failed"] for said in rounds if "failed" in said]:
            rows.append(head | {"row": "pairs of views", "failed": problems[0]})
            continue
        good[name] = rounds
        if name != OURS and OURS in good:
            rows += [head | {"row": row, "equal": equal[WHO[name]]} | paired(
                *([said[key] for said in good[who]] for who in (OURS, name)), unit)
                for row, key, unit in QUANTITIES]
    for row in rows:
        tell(row)
    for name, rounds in good.items():
        ms = np.concatenate([said["ms"] for said in rounds])
        rows.append({"kind": "tail", "row": name, "size": f"{workers} workers", "batches": len(ms),
                     **{f"p{p}": float(np.percentile(ms, p)) for p in (50, 95, 99)}, "most": float(ms.max()),
                     "first_s": float(np.median([said["first_s"] for said in rounds])),
                     "peak_MiB": max(said["peak_MiB"] for said in rounds)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def measure(folder: Path, rounds: int, items: int, slow: int) -> list[dict]:
    """slow: items of TorchIO, which turns a whole scan for each view."""
    records = sources.write_scans(folder)
    (folder / "records.json").write_text(json.dumps([vars(record) for record in records]))
    who = [name for name, package in WHO.items() if package == "medssl" or importlib.util.find_spec(package)]
    rows = [{"row": "pairs of views", "size": "all", "peer": name, "version": None, "missing": f"{package} is not "
             "installed"} for name, package in WHO.items() if name not in who]
    same = sources.same_items(records, folder) if CACHED in who else {}
    equal = {"medssl": same.get("ours", "test_prism_pool.py"), "monai": same.get("MONAI")}
    if QUEUE in who:
        equal["torchio"] = sources.same_shapes(records)
    for workers in (0, 2):
        found = {name: [] for name in who}
        for order in orders(who, rounds):
            for name in order:
                found[name].append(asked(name, workers, slow if name == QUEUE else items, folder))
        rows += rows_of(found, workers, equal)
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
    torch.set_num_threads(1)
    few = "few" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        made = measure(Path(scratch), *((1, 12, 8) if few else (3, 160, 12)))
    save("items", made)
