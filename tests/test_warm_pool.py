"""The warm pool and the fresh scans: which samples, in which order, what happens meanwhile, and what is left behind."""

import hashlib
import multiprocessing
import os
import signal
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.data.catalog import ScanRecord, read_catalog
from medssl.data.fresh_scans import FreshScans
from medssl.data.pair_batches import LoadedScan, mixed, with_contrast
from medssl.data.phantom_catalog import phantom_catalog
from medssl.data.scan_stats import ScanStats
from medssl.data.stream import FEWEST_ATTEMPTS, BrokenScan, TooManyBroken
from medssl.data.warm_pool import Pool, WarmPool, shard_worker
from medssl.errors import MedsslError
from medssl.train import Trainer

RECORDS = [ScanRecord(hashlib.sha256(b"%d" % k).hexdigest(), f"series{k}", "CT", f"/nowhere/{k}.nii.gz", "") for k in
           range(24)]
STATS = ScanStats({}, 40.0, 100.0, -1000.0, -500.0, 1.0, -1000.0, 1000.0, 2000)
HOW = {"n_patches": 3, "patch_mm": 8.0, "prism_mm": 16.0}


def load(record, _cache=None):
    """A scan of noise that is its own."""
    codes = np.random.default_rng(mixed(record.scan_id)).integers(-400, 500, (24, 24, 24)).astype(np.int16)
    return LoadedScan(codes, np.eye(4), STATS)


def broken(record, _cache=None):
    if int(record.series_id.removeprefix("series")) % 3 == 0:
        raise OSError("the disk is on fire")
    return load(record)


pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has


def pool(records=RECORDS, **changed):
    return WarmPool(records, **{"batch_size": 4, "distinct_series_per_batch": 2, "warm_pool_size": 4, "load": load,
                                "visits_per_scan": 6, "batches_per_epoch": 16, **HOW, **changed})


@pytest.fixture
def nothing_left(capfd):
    """No process, no thread and no word on stderr survive the test."""
    others = set(threading.enumerate())  # of other tests: progress bars, W&B
    yield
    deadline = time.monotonic() + 3
    while (multiprocessing.active_children() or set(threading.enumerate()) - others) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children() and not set(threading.enumerate()) - others
    assert capfd.readouterr().err == ""


def samples(source, n=16):
    """{(scan, its how-manieth visit): the sample}, of the first n batches; n of them as digests in order."""
    seen, visits = {}, {}
    for _, batch in zip(range(n), source.batches(0), strict=False):
        for k, scan in enumerate(batch["scan_id"]):
            visits[scan] = visits.get(scan, -1) + 1
            seen[scan, visits[scan]] = b"".join(batch[name][k].numpy().tobytes() for name in sorted(batch)
                                                if torch.is_tensor(batch[name]) and name != "loader_stats")
    return seen


def digests(source, epoch=0, n=1000):
    out = []
    for _, batch in zip(range(n), source.batches(epoch), strict=False):
        parts = [batch[name].numpy().tobytes() for name in sorted(batch) if torch.is_tensor(batch[name])
                 and name != "loader_stats"]
        out.append(hashlib.sha256(b"".join(parts) + "".join(batch["scan_id"]).encode()).hexdigest())
    return out


def test_a_scan_belongs_to_one_worker_whatever_the_process():
    assert shard_worker("abc", 7) == 0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad % 7
    assert shard_worker("scan", 1) == 0 and {shard_worker(r.scan_id, 3) for r in RECORDS} == {0, 1, 2}


def test_batches_are_as_agreed(nothing_left):
    with pool() as source:
        batch = next(source.batches(0))
    shapes = {name: tuple(value.shape) for name, value in batch.items() if torch.is_tensor(value)}
    assert shapes == {"patches_a": (4, 3, 16, 16, 1), "patches_b": (4, 3, 16, 16, 1), "positions_a": (4, 3, 3),
                      "positions_b": (4, 3, 3), "valid_fraction": (4, 2, 3), "center_distance_mm": (4,),
                      "center_delta_mm": (4, 3), "rotation_delta_deg": (4, 3), "window_delta": (4, 2),
                      "window_target": (4, 2), "series_label": (4,), "loader_stats": (4,)}
    assert {value.dtype for name, value in batch.items() if name in shapes} == {torch.float32, torch.int64}
    by_id = {record.scan_id: record for record in RECORDS}
    assert batch["series_id"] == [by_id[scan].series_id for scan in batch["scan_id"]]
    names = sorted({record.series_id for record in RECORDS})
    assert batch["series_label"].tolist() == [names.index(name) for name in batch["series_id"]]


@pytest.mark.parametrize("size, slots", [(8, 4), (8, 12), (4, 4)])
def test_a_batch_has_so_many_series_whatever_the_pool(size, slots):
    with pool(batch_size=size, distinct_series_per_batch=4, warm_pool_size=slots) as source:
        for batch in source.batches(0):
            assert sorted(np.unique(batch["series_id"], return_counts=True)[1]) == [size // 4] * 4


@pytest.mark.parametrize("wrong", [{"distinct_series_per_batch": 3}, {"distinct_series_per_batch": 4, "workers": 9},
                                   {"warm_pool_size": 1}, {"records": RECORDS[:1]}])
def test_batches_that_cannot_be_filled_are_refused_at_the_start(wrong):
    with pytest.raises(MedsslError, match="series"):
        pool(**wrong)


def test_a_sample_depends_on_seed_scan_and_visit_alone(nothing_left):
    found = []
    for workers in (0, 1, 3):
        with pool(workers=workers) as source:
            found.append(samples(source))
    for other in found[1:]:
        shared = set(found[0]) & set(other)
        assert len(shared) > 12 and all(found[0][key] == other[key] for key in shared)
    with pool(seed=1) as source:
        other = samples(source)
    assert not any(found[0][key] == other[key] for key in set(found[0]) & set(other))


def gate(record, _cache=None):
    if OPEN.is_set() or len(LOADED) < 4:
        LOADED.append(record.scan_id)
    elif not OPEN.wait(20):
        raise TimeoutError
    return load(record)


OPEN, LOADED = threading.Event(), []


def test_sampling_goes_on_while_a_scan_is_being_loaded(nothing_left):
    """READY -> REPLACING (the old scan is shown) -> READY with the new one; nobody waits."""
    OPEN.clear()
    LOADED.clear()
    with pool(load=gate, batches_per_epoch=None, max_prefetch_replacements=1) as source:
        batches = source.batches(0)
        while source.totals["replacement_completed"] < 4:
            next(batches)
        first, start = set(LOADED), time.monotonic()
        for _ in range(40):
            assert set(next(batches)["scan_id"]) <= first
        assert time.monotonic() - start < 5 and source.totals["replacement_completed"] == 4
        assert source.totals["replacement_wait_ms"] < 2000
        OPEN.set()
        while source.totals["replacement_completed"] < 6:
            seen = next(batches)["scan_id"]
        while set(seen) <= first:
            seen = next(batches)["scan_id"]
        assert source.totals["replacement_load_ms"] > 10  # of the thread; the sampler did not wait for it
        assert source.totals["replacement_failed"] == 0


@pytest.mark.parametrize("workers, deterministic", [(0, False), (0, True), (2, False)])
def test_a_scan_that_fails_ends_a_strict_run(workers, deterministic, nothing_left):
    with pool(load=broken, workers=workers, deterministic=deterministic) as source, pytest.raises(BrokenScan) as caught:
        list(source.batches(0))
    scan, = [r for r in RECORDS if r.scan_id in str(caught.value)]
    assert type(caught.value) is BrokenScan
    assert str(caught.value) == (f"Scan {scan.scan_id} ({scan.nifti_path}) could not be loaded: OSError: the disk is "
                                 "on fire")


@pytest.mark.parametrize("workers", [0, 2])
def test_lenient_counts_are_the_truth(workers, nothing_left):
    good = [r for k, r in enumerate(RECORDS) if k % 3]
    with pool(load=broken, workers=workers, strict=False, deterministic=True, visits_per_scan=4) as source:
        seen = {scan for batch in source.batches(0) for scan in batch["scan_id"]}
    assert seen <= {r.scan_id for r in good}
    tried = {r.scan_id for r in RECORDS} - {r.scan_id for r in good}
    assert 3 <= source.totals["replacement_failed"] <= len(tried)  # each only once
    assert source.totals["replacement_completed"] >= len(seen)


def test_too_many_broken_scans_end_a_lenient_run(nothing_left):
    many = [ScanRecord(hashlib.sha256(b"x%d" % k).hexdigest(), f"series{k}", "CT", "", "") for k in range(400)]
    attempts = 0
    with pool(many, load=broken, strict=False, visits_per_scan=2, batches_per_epoch=None) as source, pytest.raises(
            TooManyBroken, match="attempts"):
        for _ in source.batches(0):
            attempts = source.totals["replacement_failed"] + source.totals["replacement_completed"]
            assert attempts < FEWEST_ATTEMPTS
    assert attempts > FEWEST_ATTEMPTS - 10


def test_a_pool_holds_no_more_bytes_than_allowed(tmp_path):
    """Slots are counted so that the largest scans fit, those being loaded included."""
    records, _ = read_catalog(phantom_catalog(tmp_path, n=3))
    largest = max(2 * np.prod(_shape(r)) for r in records)
    for room, slots in ((3, 1), (4, 2), (100, 3)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            made = Pool(records, 0, items=1, series=1, slots=9, pool_bytes=int(room * largest), visits_per_scan=2,
                        prefetch=2, strict=True, deterministic=False, cache=None, scratch=None, seed=0, load=load,
                        labels={r.series_id: 0 for r in records}, how=HOW)
        assert len(made.slots) == slots and ["data.pool_gb" in str(w.message) for w in told] == [True] * (slots < 3)
        made.close()
    least = pytest.raises(MedsslError, match=r"(?s)pool_bytes.*data\.pool_gb=")
    with least, pool(records, pool_bytes=int(3.5 * largest)) as source:
        next(source.batches(0))


def _shape(record):
    import nibabel

    return nibabel.load(record.nifti_path).shape


@pytest.mark.parametrize("kind, workers", [("pool", 0), ("pool", 2), ("lenient pool", 0), ("fresh", 2)])
def test_a_resumed_source_goes_on_with_the_very_next_batch(kind, workers, tmp_path, real_cache, nothing_left):
    def source():
        if kind == "fresh":
            return FreshScans(real_cache[0], batch_size=4, distinct_series_per_batch=2, cache=real_cache[1],
                              workers=workers, batches_per_epoch=9, **HOW)
        return pool(workers=workers, deterministic=True, batches_per_epoch=9, strict="len" not in kind,
                    load=broken if "len" in kind else load, visits_per_scan=4)

    with source() as whole:
        want = digests(whole) + digests(whole, 1)
    assert len(want) == len(set(want)) == 18
    with source() as cut:
        got = digests(cut) + digests(cut, 1, 3)
        torch.save(cut.state_dict(), tmp_path / "state.pt")
        totals = cut.totals
    with source() as resumed:
        resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert {**resumed.totals, **_times(totals)} == totals
        assert digests(resumed, 1) == want[12:] and got == want[:12]


@pytest.mark.parametrize("kind", ["pool", "fresh"])
def test_the_state_of_other_scans_is_refused(kind, real_cache):
    """As many as before, one of them another: places in the list of scans would mean other scans in silence."""
    def source(records, cache=None):
        if kind == "fresh":
            return FreshScans(records, batch_size=4, distinct_series_per_batch=2, cache=cache, batches_per_epoch=9,
                              **HOW)
        return pool(records, deterministic=True)

    records, cache = (real_cache if kind == "fresh" else (RECORDS, None))
    with source(records, cache) as whole:
        want = digests(whole)
    with source(records, cache) as cut:
        got = digests(cut, 0, 3)
        state = cut.state_dict()
    other = replace(records[1], scan_id="f" * 64, series_id="another")
    with source([records[0], other, *records[2:]], cache) as changed:
        with pytest.raises(MedsslError, match="(?s)cut with other scans.*Put the old catalog and report back"):
            changed.load_state_dict(state)
        assert changed.position == 0
    with source(records[::-1], cache) as turned:  # the order of the catalog's rows is nobody's business
        turned.load_state_dict(state)
        assert got + digests(turned) == want


def test_filling_the_pool_again_is_no_replacement_and_a_scan_lost_meanwhile_is_a_failure():
    lenient = {"deterministic": True, "strict": False}
    with pool(**lenient) as whole:
        digests(whole, 0, 4)
    with pool(**lenient) as cut:
        digests(cut, 0, 3)
        state = cut.state_dict()
    lost = sorted(RECORDS, key=lambda record: record.scan_id)[state["states"]["0"]["slots"][0][0]]

    def gone(record, _cache=None):
        if record is lost:
            raise OSError("deleted")
        return load(record)

    for reads, failed in ((load, 0), (gone, 1)):
        with pool(**lenient, load=reads) as resumed:
            resumed.load_state_dict(state)
            digests(resumed, 0, 1)
        assert resumed.totals["replacement_failed"] == failed
        assert resumed.totals["replacement_completed"] >= whole.totals["replacement_completed"]
        if not failed:
            assert {**resumed.totals, **_times(whole.totals)} == whole.totals


def _times(totals):
    return {name: value for name, value in totals.items() if name.endswith("_ms")}


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    records, _ = read_catalog(phantom_catalog(folder, n=4))
    return records, folder / "cache"


def test_fresh_batches_are_the_same_with_any_number_of_workers(real_cache, nothing_left):
    found = []
    for workers in (0, 2):
        with FreshScans(real_cache[0], batch_size=4, distinct_series_per_batch=2, cache=real_cache[1], workers=workers,
                        batches_per_epoch=7, **HOW) as source:
            found.append(digests(source))
            with pytest.raises(TypeError):
                len(FreshScans(real_cache[0], batch_size=4, distinct_series_per_batch=2, cache=real_cache[1], **HOW))
    assert found[0] == found[1] and len(set(found[0])) == len(source) == 7


@pytest.mark.parametrize("workers", [0, 1])
def test_fresh_scans_that_cannot_be_read(workers, real_cache, nothing_left):
    lost = ScanRecord("f" * 64, "lost", "CT", "/nowhere/lost.nii.gz", "")
    how = {"batch_size": 2, "distinct_series_per_batch": 2, "cache": real_cache[1], "batches_per_epoch": 6,
           "workers": workers, **HOW}
    with FreshScans([*real_cache[0], lost], **how) as source, pytest.raises(BrokenScan, match="lost.nii.gz"):
        list(source.batches(0))
    with FreshScans([*real_cache[0], lost], strict=False, **how) as source:
        for batch in source.batches(0):
            assert len(set(batch["series_id"])) == 2 and "lost" not in batch["series_id"]
    assert source.totals["replacement_failed"] >= 2 and source.totals["replacement_completed"] == 12


def test_a_scan_without_contrast_is_no_scan():
    with pytest.raises(MedsslError, match="no spread"):
        with_contrast(LoadedScan(np.zeros((9, 9, 9), np.int16), np.eye(4), replace(STATS, spread=0.0)))


def scratch_load(record, cache):
    (Path(cache) / record.scan_id).parent.mkdir(parents=True, exist_ok=True)
    (Path(cache) / record.scan_id).write_bytes(b"a cache")
    return load(record)


@pytest.mark.parametrize("kill", [False, True])
def test_scratch_is_gone_when_the_workers_are(kill, tmp_path):
    """It outlives every scan, and not the run; also where a worker was killed."""
    with pool(workers=2, scratch=tmp_path, load=scratch_load, batches_per_epoch=None) as source:
        batches = source.batches(0)
        for _ in range(20):
            next(batches)
        files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) > 8 and len({path.parent for path in tmp_path.rglob("*") if path.is_file()}) == 2
        if kill:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
            with pytest.raises(MedsslError, match="ended from outside"):
                list(batches)
    assert not list(tmp_path.iterdir()) and not multiprocessing.active_children()


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(256, 2)

    def forward(self, batch):
        found = self.layer(batch["patches_a"].flatten(2)[..., :256]).mean(1)
        return {"loss": (found - batch["window_target"]).square().mean()}


def test_the_trainer_takes_it_and_a_cut_run_ends_with_the_same_weights(tmp_path, nothing_left):
    def run(folder, steps_before_the_cut=None):
        torch.manual_seed(0)
        method = Tiny()
        with pool(deterministic=True, batches_per_epoch=5) as source:
            trainer = Trainer(method, source, steps=12, out=tmp_path / folder, quiet=True, device="cpu")
            if steps_before_the_cut:
                trainer.every(steps_before_the_cut, "step", _cut)
            try:
                trainer.fit()
            except KeyboardInterrupt:
                return None
        return {name: value.tolist() for name, value in method.state_dict().items()}

    assert run("cut", 7) is None
    assert run("cut") == run("whole")


def _cut(trainer, _generator):
    trainer.save()
    raise KeyboardInterrupt
