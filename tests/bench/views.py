"""How many views a second, against torchvision on PIL images one by one: the same operations, one thread, in turn.

`make bench` prints medians over interleaved rounds and the ratio round by round; it asserts nothing about speed.
Before it times anything it checks that both produce views of the same mean grey.
"""

import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision import transforms as T

from medssl import data
from medssl.views import Augment

ROUNDS, BATCH = 7, 256


def ours(images, generator):
    return augment(images, generator)


def peers(images, _):
    return torch.stack([pipeline(image) for image in images])


def clock(function, images, generator, least=0.5):
    """Views a second: repeat until `least` seconds have gone."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < least:
        function(images, generator)
        done += len(images)
    return done / (time.perf_counter() - start)


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = []
    for size in (28, 64):
        augment = Augment(crop=(0.7, 1.0), flip=0.5, rotate=10, brightness=0.1, contrast=0.1)
        jitter = T.ColorJitter(brightness=0.1, contrast=0.1)
        pipeline = T.Compose([T.RandomResizedCrop(size, scale=(0.7, 1.0)), T.RandomHorizontalFlip(),
                              T.RandomRotation(10), jitter, T.ToTensor()])
        images = data.load("breastphantom", size=size).train.images[:BATCH]
        pictures = [T.functional.to_pil_image(image) for image in images]
        generator = torch.Generator().manual_seed(0)
        grey = [float(np.mean([function(x, generator).mean().item() for _ in range(5)]))
                for function, x in ((ours, images), (peers, pictures))]
        assert abs(grey[0] - grey[1]) < 0.03, f"the two make different views: mean grey {grey}"
        pairs = [(clock(ours, images, generator), clock(peers, pictures, None)) for _ in range(ROUNDS)]
        ratios = sorted(a / b for a, b in pairs)
        rows.append({"size": size, "ours": statistics.median(a for a, _ in pairs),
                     "torchvision_pil": statistics.median(b for _, b in pairs), "ratio": statistics.median(ratios),
                     "ratio_min": ratios[0], "ratio_max": ratios[-1]})
        print(f"{size} px: ours {rows[-1]['ours']:,.0f} views/s, torchvision on PIL "
              f"{rows[-1]['torchvision_pil']:,.0f};")
        print(f"       ratio {rows[-1]['ratio']:.1f} (from {ratios[0]:.1f} to {ratios[-1]:.1f} in {ROUNDS} rounds)")
    machine = {"machine": platform.processor() or platform.machine(), "python": sys.version.split()[0],
               "torch": torch.__version__, "torchvision": torchvision.__version__, "threads": 1, "batch": BATCH}
    out = Path("runs/bench/views.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"rows": rows, **machine}, indent=1) + "\n")
    print(f"written to {out}")
