"""The rows of views and steps on a GPU, and SimCLR on PneumoniaMNIST at 64 px, 30 epochs. Without a GPU: not measured.

Everything lies on the device: images, views, network. Times are wall clock between two waits for the device. What a
setting buys is measured one by one: bf16, compiled, compiled with CUDA graphs ("reduce-overhead"); and the share of the
roofline is the arithmetic of a pass a second, over that of a large matrix product on the same device in bf16. The same
code runs on a CPU with small numbers, as the tests do.
"""

import os
import time
from pathlib import Path

import steps
import torch
import views
from timing import paired, save, tell, turns

from medssl import data
from medssl.recipes import pretrain

REAL, PHANTOM = "pneumoniamnist", "pneumoniaphantom"
HALF = "bf16"  # a CPU without it takes ten times as long as for fp32


def waiting_clock(device: torch.device):
    """Seconds on the clock once the device has done all it was given."""
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def settings(device, split, model: str, batch: int, rounds: int, compilers: dict[str, dict]) -> list[dict]:
    """What bf16 and each way of compiling buy over the pass as the Trainer runs it without."""
    seen = {k: v.to(device) for k, v in steps.pair(split, batch).items()}
    method, now = steps.learner(model).to(device), waiting_clock(device)
    ways = {"fp32": steps.bare(method, seen, "fp32", device), "bf16": steps.bare(method, seen, HALF, device)}
    for name, how in compilers.items():
        twin = steps.learner(model).to(device)
        twin.encoder.compile(**how)
        ways[name] = steps.bare(twin, seen, HALF, device)
    losses = {name: float(step()) for name, step in ways.items()}
    assert max(losses.values()) - min(losses.values()) < 0.05 * losses["fp32"], f"other losses: {losses}"
    seconds, rows = turns(ways, rounds, 0.1, now), []
    for name in list(ways)[1:]:
        against = "fp32" if name == "bf16" else "bf16"
        rows.append({"kind": "setting", "row": name, "size": f"{model}, 2 × {batch} views", "peer": against,
                     "taken": "yes: precision=\"auto\"" if name == "bf16" else "no",
                     **paired(seconds[name], seconds[against], "ms")})
        tell(rows[-1])
    return rows


def training(device, root: Path, model: str, size: int, epochs: int, batch: int) -> dict:
    """Seconds of a whole SimCLR pretraining, of real images where they are at hand."""
    key = REAL if list(root.glob(f"{REAL}*.npz")) else PHANTOM
    images, now = data.load(key, root=root, size=size), waiting_clock(device)
    begun = now()
    run = pretrain(images, "simclr", model, epochs=epochs, batch_size=batch, device=str(device), quiet="silent")
    row = {"kind": "alone", "row": "SimCLR pretraining", "unit": "s", "ours": now() - begun, "equal": str(run),
           "size": f"{key}, {len(images.train)} images of {size} px, {epochs} epochs, {model}, "
                   f"{run.config['precision']} on {device.type}"}
    print(f"{row['row']}, {row['size']}: {row['ours']:.1f} s", flush=True)
    return row


def measure(device, root: Path, *, model: str = "resnet18", size: int = 64, batch: int = 512, epochs: int = 30,
            rounds: int = 7, compilers: dict | None = None) -> list[dict]:
    compilers = compilers if compilers is not None else {
        "torch.compile": {}, "torch.compile with CUDA graphs": {"mode": "reduce-overhead"}}
    split = data.load("breastphantom", size=size).train
    rows = views.measure(split.images[:batch], None, rounds, False, str(device), waiting_clock(device))
    rows += settings(device, split, model, batch, rounds, compilers)
    rows += steps.share_of_matmul(model, split, 2 * batch, device, HALF, waiting_clock(device))
    return [*rows, training(device, root, model, size, epochs, batch)]


if __name__ == "__main__":
    if not torch.cuda.is_available():
        save("gpu", [], gpu="not measured: no GPU at hand")
    folder = Path(os.environ.get("MEDSSL_TEST_DATA") or ".") / "medmnist"
    save("gpu", measure(torch.device("cuda"), folder), gpu=torch.cuda.get_device_name())
