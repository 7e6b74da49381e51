"""Prism on scans: phantom CT and MR through catalog, warm pool and training, with processes of their own."""

import json
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch
from prism_runs import FakeWandb

from medssl.data.catalog import read_catalog
from medssl.data.phantom_catalog import phantom_catalog
from medssl.data.preflight import preflight
from medssl.data.stream import BrokenScan
from medssl.errors import MedsslError
from medssl.recipes import prism, prism_scans
from medssl.recipes.prism_config import read_config
from medssl.train import load_newest

SCRATCH = ""  # a folder for each test
pytestmark = pytest.mark.skipif(not all(map(find_spec, ("nibabel", "blosc2"))), reason="needs the extra prism")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return phantom_catalog(tmp_path_factory.mktemp("scans"), 6)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb())
    before, running = dict(os.environ), set(psutil.Process().children())  # those of other tests
    short = tempfile.mkdtemp(prefix="prism-")  # worker processes have sockets there, whose paths may not be long
    monkeypatch.setattr(sys.modules[__name__], "SCRATCH", short)
    yield
    shutil.rmtree(short)
    os.environ.clear()
    os.environ.update(before)
    tempfile.tempdir = None
    left = set(psutil.Process().children()) - running
    assert not [child for child in left if "resource_tracker" not in " ".join(child.cmdline())]


def config(catalog, tmp_path, *changes):
    return read_config(None, [
        f"data.catalog_path={catalog}", "data.n_patches=4", "data.workers=0", "data.distinct_series_per_batch=2",
        "data.warm_pool_size=2", "data.visits_per_scan=3", "data.holdout=0", "train.batch_size=4", "train.max_steps=6",
        "train.log_every=2", "train.precision=fp32", "runtime.device=cpu", "wandb.artifact_every=0",
        f"checkpoint.folder={tmp_path}/runs", f"runtime.scratch={SCRATCH}", f"quota.folder={tmp_path}",
        *changes])


def spoil(catalog, tmp_path):
    """A copy of the catalog in which one file is cut short, after the header: found when the voxels are read."""
    folder = shutil.copytree(catalog.parent, tmp_path / "spoilt")
    file = sorted(folder.rglob("*.nii.gz"))[2]
    file.write_bytes(file.read_bytes()[:-3000])
    return folder / "catalog.csv"


@pytest.mark.parametrize("changes", [("data.workers=2", "data.warm_pool_size=1", "data.distinct_series_per_batch=1"),
                                     ("data.storage_mode=cached",)], ids=["pool, 2 workers", "cached"])
def test_it_trains_and_cleans_up(catalog, tmp_path, changes):
    result = prism.train_prism(config(catalog, tmp_path, *changes))
    m = result.metrics
    assert result.status == "ok" and m["replacement_completed_count"] >= 2 and m["valid_fraction"] > 0.5
    assert 0.5 < m["target_rotation_std"] < 1.5 and m["distinct_series_per_batch"] == 2 - (len(changes) > 1)
    if len(changes) > 1:
        assert not list(Path(SCRATCH, "scans").iterdir())


def test_a_scratch_folder_whose_sockets_would_hang_is_refused(catalog, tmp_path):
    with pytest.raises(MedsslError, match="too long for the sockets"):
        prism.train_prism(config(catalog, tmp_path, "data.workers=1", f"runtime.scratch={tmp_path}/{'long' * 20}"))


def test_a_resumed_deterministic_run_ends_with_the_weights_of_the_uncut_one(catalog, tmp_path):
    whole = prism.train_prism(config(catalog, tmp_path / "a", "data.deterministic=true"))
    cut = config(catalog, tmp_path / "b", "data.deterministic=true", "checkpoint.every=1")
    save = prism.Trainer.save

    def die(trainer):
        save(trainer)
        if trainer.step == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prism.Trainer, "save", die)
        prism.train_prism(cut)
    resumed = prism.train_prism(cut)
    assert resumed.resumed_from == "local" and resumed.steps_timed == 3
    a, b = (load_newest(Path(result.folder))["method"] for result in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("workers, mode", [(0, "sharded"), (1, "sharded"), (0, "cached")])
def test_a_scan_that_is_cut_short_ends_a_strict_run(catalog, tmp_path, workers, mode):
    result = prism.train_prism(config(spoil(catalog, tmp_path), tmp_path, f"data.workers={workers}",
                                      f"data.storage_mode={mode}", "train.max_steps=40"))
    assert (result.status, result.exit_code) == ("failed_replacement", 3) and "series2.nii.gz" in result.message


def test_a_held_out_scan_that_cannot_be_read_is_found_before_the_first_step(catalog, tmp_path):
    """A cut one, of a patient who is held out (which one depends on the hash of names)."""
    folder, more = spoil(catalog, tmp_path).parent, ["data.distinct_series_per_batch=1", "train.batch_size=2"]
    given = config(folder / "catalog.csv", tmp_path, "data.holdout=0.7", *more)
    train, held = prism_scans.scans_of(given)
    for record in train:  # mend what is trained on, spoil one of the others
        source = catalog.parent / Path(record.nifti_path).relative_to(folder)
        shutil.copy(source, record.nifti_path)
    broken = Path(held[0].nifti_path)
    broken.write_bytes(broken.read_bytes()[:-3000])
    strict = prism.train_prism(given)
    assert (strict.status, strict.steps) == ("failed_replacement", 0) and "Held-out scan" in strict.message
    good, failed = prism_scans.readable(config(folder / "catalog.csv", tmp_path, "data.strict=false", *more), held)
    assert 1 <= failed <= 2 and held[0] not in good and len(good) + failed == len(held)
    more += ["data.holdout=0.7", "data.strict=false"]
    lenient = prism.train_prism(config(folder / "catalog.csv", tmp_path, *more))
    assert lenient.status == "ok" and lenient.metrics["proxy_scans_failed"] == failed
    assert lenient.metrics["proxy_items"] == len(good) * prism_scans.VISITS


def test_a_held_out_scan_is_read_once_and_again_where_it_has_changed(catalog, tmp_path, monkeypatch):
    read, load, given = [], prism_scans.load_scan, config(catalog, tmp_path)
    monkeypatch.setattr(prism_scans, "load_scan", lambda record: read.append(record) or load(record))
    records, _ = read_catalog(shutil.copytree(catalog.parent, tmp_path / "copy") / "catalog.csv")
    assert prism_scans.readable(given, records) == prism_scans.readable(given, records) == (records, 0)
    assert read == records
    Path(records[1].nifti_path).write_bytes(Path(records[1].nifti_path).read_bytes()[:-3000])
    with pytest.raises(BrokenScan, match="Held-out scan"):
        prism_scans.readable(given, records)
    (given.folder / "held_out.json").write_text("[half")
    assert prism_scans.readable(given, records[2:]) == (records[2:], 0)
    assert read == [*records, records[1], *records[2:]]


def test_where_the_files_lie_is_said_once(catalog, tmp_path):
    """A catalog that lies elsewhere: preflight's root stands in its report; without a report it is data.root."""
    elsewhere, want = tmp_path / "tables" / "catalog.csv", {record.scan_id for record in read_catalog(catalog)[0]}
    elsewhere.parent.mkdir()
    shutil.copy(catalog, elsewhere)
    preflight(elsewhere, report=tmp_path / "report.json", root=catalog.parent)
    for said in (f"data.report_path={tmp_path}/report.json", f"data.root={catalog.parent}"):
        given = config(elsewhere, tmp_path, said)
        assert {record.scan_id for record in prism_scans.scans_of(given)[0]} == want
    assert given.config_hash == config(elsewhere, tmp_path, "data.root=/moved").config_hash
    with pytest.raises(MedsslError, match="(?s)names a scan that is there: 6 no_folder.*Set data.root"):
        prism_scans.scans_of(config(elsewhere, tmp_path))


def test_each_way_to_have_no_scan_has_its_own_words(catalog, tmp_path):
    report = tmp_path / "report.json"
    for scans, remedy in (([], "Read its reasons"), ([{"scan_id": "other"}], "report of this catalog anew")):
        report.write_text(json.dumps({"scans": scans}))
        with pytest.raises(MedsslError, match=f"(?s)Preflight has rejected all scans.*{remedy}"):
            prism_scans.scans_of(config(catalog, tmp_path, f"data.report_path={report}"))
    with pytest.raises(MedsslError, match="(?s)All 6 scans are of held-out patients.*data.holdout"):
        prism_scans.scans_of(config(catalog, tmp_path, "data.holdout=0.999"))
    folder = shutil.copytree(catalog.parent, tmp_path / "torn")
    for file in folder.rglob("*.nii.gz"):
        file.write_bytes(file.read_bytes()[:-3000])
    for mode in ("sharded", "cached"):
        given = config(folder / "catalog.csv", tmp_path / mode, "data.strict=false", f"data.storage_mode={mode}")
        with pytest.raises(MedsslError, match="(?s)can(not)? be read|could not be read.*preflight --full"):
            prism.train_prism(given)


def test_nobody_held_out_is_said(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(prism_scans, "scans_of", lambda config: (read_catalog(config.data.catalog_path)[0], []))
    with pytest.warns(UserWarning, match="nobody is held out"):
        result = prism.train_prism(config(catalog, tmp_path, "data.holdout=0.01"))
    assert result.status == "ok" and "proxy_items" not in result.metrics


def test_patients_are_held_out_whole_and_measured(catalog, tmp_path):
    given = config(catalog, tmp_path, "data.holdout=0.7", "data.distinct_series_per_batch=1")  # one of the two
    train, held = prism_scans.scans_of(given)
    assert len(train) + len(held) == 6 and {r.patient for r in train}.isdisjoint({r.patient for r in held}) and held
    batches = list(prism_scans.held_out_batches(given, held))
    assert sum(len(batch["scan_id"]) for batch in batches) == len(held) * prism_scans.VISITS
    again = list(prism_scans.held_out_batches(config(catalog, tmp_path, "train.seed=5", "train.batch_size=8"), held))
    assert all(torch.equal(a["patches_a"], b["patches_a"]) for a, b in zip(batches, again, strict=True))
    result = prism.train_prism(given)
    assert result.metrics["proxy_items"] == len(held) * prism_scans.VISITS
    assert 0 < result.metrics["proxy_distance_mae_ratio"] < 10
