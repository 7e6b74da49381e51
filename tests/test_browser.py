"""JupyterLab opens week 1 in a real browser and runs it from top to bottom."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
PROMPTS = "[...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')].map(e => e.textContent.trim())"
STATUS = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status"
FAILED = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'
TOKEN = "medssl-test"


def wait_for(server: subprocess.Popen, address: str) -> None:
    """Until a server of our own answers, a minute at most."""
    for _ in range(120):
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except OSError:
            assert server.poll() is None, f"it ended before {address} answered"
            time.sleep(0.5)


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own, with week 1 on the quick profile's parameters, and one seed."""
    papermill = pytest.importorskip("papermill", reason="papermill is not installed")
    if not shutil.which("jupyter-lab", path=Path(sys.executable).parent):
        pytest.skip("JupyterLab is not installed beside this Python")
    from medssl.course import contract

    notebook = next((REPO / "notebooks").glob("week01*.ipynb"))
    quick = {**contract.profile_parameters("quick", 1), "SEEDS": 1, "OUT": str(tmp_path / "out")}
    papermill.execute_notebook(str(notebook), str(tmp_path / "week01.ipynb"), parameters=quick, prepare_only=True,
                               progress_bar=False)
    port = "18873"
    env = {**os.environ, "MEDSSL_QUIET": "", "CI": "", "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
         f"--ServerApp.root_dir={tmp_path}", f"--IdentityProvider.token={TOKEN}", "--ServerApp.port_retries=0"],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(server, f"{address}/api?token={TOKEN}")
        yield address, tmp_path
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_week_1_runs_from_top_to_bottom_in_jupyterlab(lab):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    address, folder = lab
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 1500})
        page.goto(f"{address}/lab/tree/week01.ipynb?token={TOKEN}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        idle = 0
        while idle < 20:  # idle for 2 s on end: the indicator says idle for a moment before a kernel is there
            idle = idle + 1 if page.evaluate(STATUS) == "idle" else 0
            page.wait_for_timeout(100)
        for _ in range(3):  # the first Run All can be lost without a word
            page.click("li.lm-MenuBar-item:has-text('Run')")
            page.click("li[data-command='runmenu:run-all']")
            page.wait_for_timeout(1000)
            if any(prompt != "[ ]:" for prompt in page.evaluate(PROMPTS)):
                break
        done = f"() => {{ const c = {PROMPTS}; return c.some(t => /\\d/.test(t)) && c.every(t => !t.includes('*')) " \
               f"&& {STATUS} === 'idle' }}"
        page.wait_for_function(done, timeout=300_000)
        errors = [e.inner_text()[-300:] for e in page.query_selector_all(FAILED)]
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1500)
        if shots := os.environ.get("MEDSSL_SHOTS"):
            page.screenshot(path=f"{shots}/week01.png")
        browser.close()
    assert not errors
    cells = [c for c in json.loads((folder / "week01.ipynb").read_text())["cells"] if c["cell_type"] == "code"]
    assert all(c["execution_count"] for c in cells), "some cells were not run"
    pictures = [o for c in cells for o in c["outputs"] if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
    assert list((folder / "out").rglob("test_metrics.json")), "nothing was handed in"
