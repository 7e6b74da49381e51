"""The explorer's pair of views: answers of a run's own heads, from its folder and from the server; plain words else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

for needed in ("polars", "marimo", "altair", "nibabel", "scipy"):
    pytest.importorskip(needed)

from tiny_wandb_server import serving  # noqa: E402

from medssl.data import run_records  # noqa: E402
from medssl.data.pair_batches import collate, load_scan, sample  # noqa: E402
from medssl.data.phantom_catalog import phantom_catalog  # noqa: E402
from medssl.data.run_weights import run_weights  # noqa: E402
from medssl.errors import MedsslError  # noqa: E402
from medssl.recipes import prism_pairs  # noqa: E402
from medssl.recipes.prism import build_prism  # noqa: E402
from medssl.recipes.prism_config import read_config  # noqa: E402
from medssl.recipes.prism_result import PrismResult, write_result  # noqa: E402
from medssl.recipes.prism_scans import how  # noqa: E402
from medssl.train.checkpoint import save_checkpoint  # noqa: E402

REPO = Path(__file__).resolve().parents[1]


def make_run(folder: Path, mode: str) -> Path:
    """What a run leaves, without a training: random weights are as good to look at."""
    catalog = folder / "scans/catalog.csv"
    if not catalog.is_file():
        phantom_catalog(folder / "scans", 4)
    config = read_config(None, [f"data.catalog_path={catalog}", "data.n_patches=6", "data.holdout=0.7",
                                f"model.head_mode={mode}", f"runtime.run_id={mode}", "train.seed=3",
                                f"checkpoint.folder={folder}/runs", "data.report_path=/elsewhere/report.json"])
    save_checkpoint(config.folder, 7, {"method": build_prism(config).state_dict(), "step": 7})
    write_result(PrismResult("ok", config.run_id, config.config_hash, str(config.folder)), config, config.folder)
    return config.folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return {mode: make_run(folder, mode) for mode in ("regression", "sign")}


@pytest.fixture
def explorer(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(REPO))
    monkeypatch.setattr(run_records.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(run_records.tempfile, "tempdir", str(tmp_path))
    from notebooks import explore_runs

    return explore_runs


@pytest.mark.parametrize("mode", ["regression", "sign"])
def test_the_answers_are_those_of_the_heads_and_the_truth_is_that_of_the_batch(explorer, trained, mode):
    method, config, scans, told = explorer.open_run(f"local/{trained[mode]}")
    assert "step 7" in told and "3 scans of patients that it never saw" in told
    pair = prism_pairs.see_pair(method, config, scans[0], visit=2)
    item = sample(load_scan(scans[0]), scans[0].scan_id, 2, 0, **how(config))
    batch = collate([item], scans[:1], {scans[0].series_id: 0})
    with torch.no_grad():
        said = method.predict(method.both(batch))
    table = prism_pairs.SIGNS if mode == "sign" else prism_pairs.ROWS
    expected = [(float(one.sigmoid() if mode == "sign" else one), float(true)) for head in table for one, true in
                zip(method.raw(head, said[head])[0], method.targets(batch)[head][0], strict=True)]
    np.testing.assert_allclose([(row["predicted"], row["true"]) for row in pair.answers], expected, atol=1e-4)
    if mode == "regression":
        assert pair.answers[0]["true"] == pytest.approx(float(item["center_distance_mm"]))
        (a, _), (b, _) = pair.places.values()  # the picture shows the same distance
        assert np.linalg.norm((a - b) * pair.spacing) == pytest.approx(float(item["center_distance_mm"]), rel=1e-3)
    for name, letter in (("view A", "a"), ("view B", "b")):
        np.testing.assert_array_equal(pair.shown[name][0], item[f"patches_{letter}"])
    explorer.show_pair(pair, config.data.patch_mm)


def test_what_is_missing_is_said_plainly(explorer, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained["regression"], run)
    with pytest.raises(MedsslError, match="catalog nowhere.csv is not on this machine"):
        explorer.open_run(f"local/{run}", "nowhere.csv")
    next(run.glob("checkpoint-*.pt")).unlink()
    with pytest.raises(MedsslError, match="no checkpoint in"):
        explorer.open_run(f"local/{run}")
    shutil.copy(next(trained["sign"].glob("checkpoint-*.pt")), run)
    with pytest.raises(MedsslError, match="not of a run with this config"):
        explorer.open_run(f"local/{run}")
    (tmp_path / "run-1.wandb").touch()
    with pytest.raises(MedsslError, match="holds numbers, and no weights"):
        explorer.open_run(f"local/{tmp_path}/run-1.wandb")


def test_a_run_of_the_server_is_seen_through_its_artifact(explorer, trained, monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    file = next(trained["regression"].glob("checkpoint-*.pt"))
    config = json.loads((file.parent / "result.json").read_text())["config"] | {"config_hash": "1"}
    served = [{"id": f"id{k}", "name": f"id{k}", "tags": [], "config": config, "summary": {}, "history": [{"_step": 1}]}
              for k in range(2)]
    served[0]["artifact"] = file
    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with serving(served) as (address, asked):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        method, _, _, told = explorer.open_run("lab/prism/id0")
        assert "step 7" in told
        there = {name: value for name, value in method.state_dict().items()}
        here = explorer.open_run(f"local/{file.parent}")[0].state_dict()
        assert all(torch.equal(there[name], here[name]) for name in here)
        fetched = asked.count("file")
        folder, _ = run_weights("lab/prism/id0")
        assert asked.count("file") == fetched == 1, "kept for some minutes"
        shutil.rmtree(folder)
        assert run_weights("lab/prism/id0")[0].is_dir() and asked.count("file") == 2
        with pytest.raises(MedsslError, match="has sent no checkpoint"):
            explorer.open_run("lab/prism/id1")
    assert not list((tmp_path / "home").rglob("*.pt")), "a second copy in the home"
