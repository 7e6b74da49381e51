"""The explorer of Prism's runs: the same four functions on W&B's server, on offline runs and on run folders."""

import json
import math
import os
import re
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

pl = pytest.importorskip("polars")
pytest.importorskip("marimo")
pytest.importorskip("altair")

from test_browser import BROWSER, FLAGS, wait_for  # noqa: E402
from test_explore_pairs import make_run  # noqa: E402
from tiny_wandb_server import serving  # noqa: E402

from medssl.data import run_records  # noqa: E402
from medssl.errors import MedsslError  # noqa: E402
from medssl.recipes.prism_ablation import PROXIES, ranked, settings  # noqa: E402
from medssl.recipes.prism_ablation import runs as table_of_runs  # noqa: E402
from medssl.recipes.prism_config import read_config  # noqa: E402

HOSTILE = "<img src=x onerror=window.hit=1> a|b [c](javascript:window.hit=1)"
REPO = Path(__file__).resolve().parents[1]
LOSSES = [{"step": step, "loss": 1 / step, "loss_supcon": 2.0, "ratio_distance": 0.5,
           "throughput_effective_patches_per_sec": 900.0, "total_step_time_ms_p99": 30.0,
           "replacement_completed_count": float(step)} for step in (50, 100)]


@pytest.fixture
def explorer(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(REPO))
    monkeypatch.setattr(run_records.tempfile, "gettempdir", lambda: str(tmp_path))
    from notebooks import explore_runs

    return explore_runs


def proxies(k: float) -> dict:
    return dict(zip(PROXIES, (0.9 - 0.1 * k, 0.8, 0.1 * k, 0.2 + 0.1 * k, 0.5), strict=True))


def run_folders(folder: Path) -> Path:
    """Three runs that ended well and one that did not, which has the best numbers of all."""
    for k, (batch, status) in enumerate([(32, "ok"), (32, "ok"), (64, "ok"), (64, "failed_replacement")]):
        place = folder / f"core24-{k}"
        place.mkdir(parents=True)
        config = {"train": {"batch_size": batch, "seed": 0}, "runtime": {"scratch": str(k)},
                  "wandb": {"tags": ["core24" if k else "heads"]}}
        (place / "result.json").write_text(json.dumps({
            "status": status, "run_id": place.name, "steps": 100, "steps_timed": 100, "config": config,
            "metrics": {**proxies(k), "throughput_effective_patches_per_sec": 900.0, "loss": 0.01}}))
        (place / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOSSES)
                                             + json.dumps({"step": 100, **proxies(k)}) + "\n")
    return folder


def test_runs_of_a_folder_are_found_filtered_and_ranked(explorer, tmp_path):
    folder = run_folders(tmp_path / "runs")
    runs = explorer.fetch_runs("local", str(folder), {})
    assert len(runs) == 4
    assert set(runs["config.train.batch_size"]) == {32, 64}
    assert explorer.fetch_runs("local", str(folder), {"tags": "heads"})["name"].to_list() == ["core24-0"]
    large = explorer.fetch_runs("local", str(folder), {"config.train.batch_size": {"$gte": 33}, "state": "ok"})
    assert large["name"].to_list() == ["core24-2"]
    with pytest.raises(ValueError, match="config.train.batch_sise"):
        explorer.fetch_runs("local", str(folder), {"config.train.batch_sise": 32})
    history = explorer.fetch_history(runs["run_id"].to_list(), ["loss", "proxy_window_r2"])
    assert history["step"].to_list() == [50, 100] * 4
    score = explorer.compute_proxy_score(runs, history)
    assert score["name"].to_list() == ["core24-2", "core24-1", "core24-0", "core24-3"]
    assert math.isnan(score["composite"][3])  # it failed: neither a number nor a place among the others
    expected = ranked({"run_id": f"core24-{k}", "status": "ok", "metrics": proxies(k)} for k in range(3))
    assert score["composite"].to_list()[:3] == pytest.approx([row["composite"] for row in expected])
    best = explorer.summarize_best_configs(score)
    assert best["setting"].to_list() == ["train.batch_size"] * 2  # one seed: no choice
    assert best.row(0, named=True)["value"] == "64"
    assert best["failed"].to_list() == [1, 0]


def test_a_good_run_of_no_study_moves_no_z_score_of_a_study(explorer, tmp_path):
    """The composites are those of `medssl prism ablate --rank`; a study that was made smaller has its own."""
    def add(run, k, *given, name=None):
        config = asdict(read_config(None, ["data.catalog_path=a.csv", *settings(run, given)]))
        place = tmp_path / "runs" / (name or run["name"] + "".join(given))
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps({
            "status": "ok" if k is not None else "oom", "run_id": name or run["name"], "steps_timed": 9,
            "config": config, "metrics": {} if k is None else {**proxies(k), "proxy_window_r2_grey": 0.25}}))

    def score():
        found = explorer.fetch_runs("local", str(tmp_path / "runs"), {})
        return explorer.compute_proxy_score(found, explorer.fetch_history(found["run_id"].to_list(), ["loss"]))

    first, second, third, fourth = table_of_runs()[:4]
    for k, run in enumerate((first, second, third)):
        add(run, k)
    add(fourth, None)
    alone = score()
    for k in range(2):
        add(first, 9 + k, name=f"smoke{k}")
    small = ["data.n_patches=64", "train.max_steps=100"]
    for k, run in enumerate((first, second)):
        add(run, 5 + 3 * k, *small)
    together = score()
    assert together.filter(study="core24").select(alone.columns).equals(alone, null_equal=True)
    wanted = [row["composite"] for row in ranked(
        {"run_id": str(k), "status": "ok", "metrics": proxies(k)} for k in range(3))]
    assert alone["composite"].to_list()[:3] == pytest.approx(wanted)
    smaller = f"core24 {small[0]} {small[1]}"
    assert together.select("study", "rank").rows() == [
        *(("core24", k) for k in (1, 2, 3, 4)), (smaller, 1), (smaller, 2), ("none", 1), ("none", 2)]
    assert together["proxy_window_r2_grey"].to_list()[:3] == [0.25] * 3
    assert explorer.who_counts(together).splitlines() == [
        f"core24: z-scores over 3 of 4 runs; not in them: {fourth['name']}", f"{smaller}: z-scores over 2 of 2 runs",
        "of no study: z-scores over 2 of 2 runs"]
    best = explorer.summarize_best_configs(together)
    assert best.filter(study="core24").equals(explorer.summarize_best_configs(alone))
    assert "data.n_patches" not in best["setting"].to_list()  # it differs between studies only


def test_words_of_others_are_shown_as_they_stand(explorer):
    shown = explorer.words(HOSTILE + "\n`two`").text
    assert "<img" not in shown and "href" not in shown and "`two`" in shown and "&lt;img src=x" in shown


def test_rows_with_other_names_are_not_lost(explorer, tmp_path):
    """A server that is asked for two keys leaves out each row that lacks one; losses and proxies never share a row."""
    folder = run_folders(tmp_path / "runs")
    ids = explorer.fetch_runs("local", str(folder), {"state": "ok"})["run_id"].to_list()[:1]
    (Path(ids[0].removeprefix("local/")) / "history.jsonl").write_text(
        '{"step": 50, "loss": 0.5}\n{"step": 60, "proxy_window_r2": 0.3}\n{"step": 50, "loss_supcon": 2.0}\n')
    rows = explorer.fetch_history(ids, ["loss", "loss_supcon", "proxy_window_r2"]).drop("run_id").rows()
    assert rows == [(50, 0.5, 2.0, None), (60, None, None, 0.3)]


def test_a_project_of_the_server_is_read_once_and_survives_without_it(explorer, tmp_path, monkeypatch, capsys):
    pytest.importorskip("wandb")
    history = [{"_step": 50, "loss": 0.5}, {"_step": 60, "proxy_window_r2": 0.3, "_runtime": 3.0}]
    served = [{"id": f"id{k}", "name": f"core24-{k}", "tags": ["core24"], "config": {"train": {"batch_size": 32 * k}},
               "summary": {"status": "ok" if k else "oom", "_step": 60, **proxies(k)}, "history": history}
              for k in range(3)]
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with serving(served) as (address, asked):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        runs = explorer.fetch_runs("lab", "prism", {"state": "ok"})
        assert runs["run_id"].to_list() == ["lab/prism/id1", "lab/prism/id2"]
        rows = explorer.fetch_history(["lab/prism/id1"], ["loss", "proxy_window_r2"])
        assert rows.drop("run_id").rows() == [(50, 0.5, None), (60, None, 0.3)]
        before = len([query for query in asked if "otel" not in query])
        other = explorer.fetch_history(["lab/prism/id1"], ["proxy_window_r2"])  # other keys, the same answer
        assert explorer.fetch_runs("lab", "prism", {"tags": "core24"})["state"].to_list() == ["oom", "ok", "ok"]
        assert len([query for query in asked if "otel" not in query]) == before
        assert other.drop("run_id").rows() == [(60, 0.3)]
        score = explorer.compute_proxy_score(explorer.fetch_runs("lab", "prism", {}), rows)
        assert score["name"].to_list() == ["core24-2", "core24-1", "core24-0"]

    def gone():
        raise ConnectionError("no network")

    name = "runs of lab/prism"
    assert len(run_records.cached(name, gone, ttl=0)) == 3
    assert "h old" in capsys.readouterr().out
    with pytest.raises(MedsslError, match="no network"):
        run_records.cached("runs of lab/other", gone)


def test_the_cache_ends_and_belongs_to_its_user(explorer, tmp_path):
    answers = iter([[1], [2], [3]])
    assert run_records.cached("x", lambda: next(answers)) == [1]
    assert run_records.cached("x", lambda: next(answers)) == [1]
    assert run_records.cached("x", lambda: next(answers), ttl=0) == [2]
    assert run_records.cached("y", lambda: next(answers)) == [3]
    folder = next(tmp_path.glob("medssl-runs-*"))
    assert folder.stat().st_mode & 0o077 == 0


def test_offline_runs_are_read_by_wandbs_own_reader(explorer, tmp_path):
    pytest.importorskip("wandb")
    script = ("import wandb\n"
              "run = wandb.init(project='p', config={'train': {'batch_size': 32}}, tags=['core24'], name='a')\n"
              "for k in range(200): run.log({'loss': 1.0 / (k + 1)}, step=k)\n"
              "run.summary['status'] = 'ok'\nrun.finish()\n")
    env = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path),
           "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=env, check=True, cwd=tmp_path)
    runs = explorer.fetch_runs("local", str(tmp_path / "wandb"), {"config.train.batch_size": 32})
    assert runs.select("name", "state").rows() == [("a", "ok")]
    ids = runs["run_id"].to_list()
    assert explorer.fetch_history(ids, ["loss"])["loss"].to_list() == pytest.approx([1 / k for k in range(1, 201)])
    file = Path(ids[0].removeprefix("local/"))
    file.write_bytes(file.read_bytes()[:12000])  # the machine was switched off
    cut = explorer.fetch_history(ids, ["loss"])
    assert 10 < len(cut) < 200
    file.write_bytes(b"no run at all")
    with pytest.raises(MedsslError, match="cannot be read"):
        explorer.fetch_history(ids, ["loss"])


def test_what_cannot_be_read_is_named(explorer, tmp_path):
    with pytest.raises(MedsslError, match="is no folder"):
        explorer.fetch_runs("local", str(tmp_path / "nowhere"), {})
    assert explorer.fetch_runs("local", str(tmp_path), {}).is_empty()
    (tmp_path / "result.json").write_text('{"status": "ok"')
    with pytest.raises(MedsslError, match="result.json"):
        explorer.fetch_runs("local", str(tmp_path), {})


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_the_page_shows_ranking_and_charts_in_a_browser(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("nibabel")
    folder = run_folders(tmp_path / "runs")
    make_run(tmp_path, "regression")  # one with a checkpoint, and scans
    hostile = json.loads((folder / "core24-3/result.json").read_text()) | {"run_id": HOSTILE}
    hostile["config"] = {**hostile["config"], "wandb": {"tags": [HOSTILE]}, "train": {"batch_size": 16, "seed": 0}}
    (folder / "hostile").mkdir()
    (folder / "hostile/result.json").write_text(json.dumps(hostile))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    server = subprocess.Popen(
        [sys.executable, "-m", "marimo", "-q", "run", str(REPO / "notebooks/explore_runs.py"), "--headless", "--host",
         "127.0.0.1", "--port", str(port), "--no-token", "--", "--entity", "local", "--project", str(folder)],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(server, f"http://127.0.0.1:{port}")
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=FLAGS)
            page = browser.new_page(viewport={"width": 1500, "height": 3200})
            errors = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector("text=Throughput and tail latency", timeout=120_000)
            page.wait_for_selector("text=Replacements and failures", timeout=60_000)
            page.wait_for_selector("text=core24-3", timeout=60_000)
            page.wait_for_selector("text=6 runs", timeout=60_000)
            setting, run = page.locator("marimo-dropdown select").all()
            setting.select_option("config.train.batch_size")
            run.select_option("regression")
            page.wait_for_selector("text=What the heads say of B", timeout=120_000)
            page.wait_for_selector(f"text=/not in them: .*{re.escape(HOSTILE)}/", timeout=60_000)
            page.get_by_role("row").filter(has_text=HOSTILE).first.get_by_role("checkbox").click()
            page.wait_for_selector(f"text=Drawn: {HOSTILE}", timeout=60_000)
            page.wait_for_timeout(1500)
            if shot := os.environ.get("MEDSSL_SHOT"):
                page.screenshot(path=shot, full_page=True)
            assert not page.query_selector("marimo-error-output, .marimo-error")
            assert not errors
            assert not page.query_selector("img[src=x], a[href^=javascript]") and not page.evaluate("window.hit")
            browser.close()
    finally:
        server.terminate()
        server.wait(20)
