"""The GPU's bench, on a CPU with tiny numbers: every row comes, agrees before it is timed, and trains to the end."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "bench"))
import gpu
import steps

from medssl.data import Split


def test_all_rows_on_a_device(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled.append((type(self).__name__, how)))
    monkeypatch.setattr(gpu, "PHANTOM", "breastphantom")  # the smaller one
    monkeypatch.setattr(gpu, "HALF", "fp32")
    rows = gpu.measure(torch.device("cpu", 0), tmp_path, model="smallcnn", size=28, batch=32, epochs=1, rounds=1,
                       compilers={"compiled": {"mode": "reduce-overhead"}})
    assert compiled == [("SmallCNN", {"mode": "reduce-overhead"})]
    kinds = [(row.get("kind", "peer"), row["row"]) for row in rows]
    assert kinds.count(("peer", "views")) == 2  # both that work on batches
    assert [name for kind, name in kinds if kind == "setting"] == ["bf16", "compiled"]
    assert next(row["ratio"] for row in rows if row.get("kind") == "bound") > 0
    last = rows[-1]
    assert "breastphantom" in last["size"] and "1 epochs" in last["size"] and last["ours"] > 0
    assert json.dumps(rows)


def test_a_setting_that_changes_the_loss_is_not_timed(monkeypatch):
    real = steps.bare

    def wrong(method, batch, precision="fp32", device=steps.CPU):
        step = real(method, batch, "fp32", device)
        return (lambda: step() * 1.2) if precision == gpu.HALF else step

    monkeypatch.setattr(steps, "bare", wrong)
    with pytest.raises(AssertionError, match="other losses"):
        few = Split(torch.randint(256, (8, 1, 28, 28), dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
        gpu.settings(torch.device("cpu"), few, "smallcnn", 8, 1, {})
