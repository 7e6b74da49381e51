"""How cost grows: images, steps, label draws, volumes, patches, submissions, 1, 10 and 100 times as many.

The slope of log seconds over log number, by least squares, says how: 1 is proportional, below 1 a fixed cost still
weighs, above 1 a large one costs more than its share. CPU seconds of one process, the least of two calls (of one where
a call takes long): the rest is what the machine did besides.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from checker import cohort
from timing import clock, save

from medssl import data
from medssl.course.checker.grade import grade
from medssl.data.phantom_catalog import phantom_catalog
from medssl.data.preflight import preflight
from medssl.evaluate import fit_probes
from medssl.recipes import pretrain
from medssl.views import Augment
from medssl.views.patches import sample_patches

TIMES, LONG = (1, 10, 100), 1.0


def images(n: int):
    """Views of 256 n images of 28 px."""
    augment, g = Augment(crop=(0.7, 1.0), flip=0.5, rotate=10, brightness=0.1, contrast=0.1), torch.Generator()
    some = torch.randint(256, (256 * n, 1, 28, 28), dtype=torch.uint8, generator=g)
    return lambda: augment(some, g)


def steps(n: int):
    """n steps of SimCLR, SmallCNN, batches of 16."""
    breast = data.load("breastphantom")
    return lambda: pretrain(breast, steps=n, batch_size=16, device="cpu", quiet="silent")


def label_draws(n: int):
    """Probes on n draws of 10 % of the labels, 64 features."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(624, 64)), np.arange(624) % 2
    x[:, 0] += 2 * y
    subsets = [data.label_subset(torch.from_numpy(y[:546]), 0.1, draw).numpy() for draw in range(n)]
    return lambda: fit_probes(x[:546], y[:546], x[546:], y[546:], subsets)


def volumes(n: int):
    """Scans read, checked and cached before a long run: n small phantoms."""
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    catalog = phantom_catalog(folder, n)
    return lambda: preflight(catalog, "full", cache=tempfile.mkdtemp(dir=folder))


def patches(n: int):
    """256 n rotated patches of 16 mm out of one CT of 60 MB."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (120, 500, 500), np.int16)
    affine, centres = np.diag([0.8, 0.8, 2.0, 1.0]), np.random.default_rng(1).uniform(160, 240, (256 * n, 3))
    return lambda: sample_patches(voxels, affine, centres, np.eye(3), 16.0)


def submissions(n: int):
    """Grading n submissions with figures."""
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    cohort(folder, n)
    return lambda: grade(folder)


ITEMS = {"images": (images, 256), "steps": (steps, 1), "label draws": (label_draws, 1), "volumes": (volumes, 1),
         "patches": (patches, 256), "submissions": (submissions, 1)}


def measure(name: str, times=TIMES) -> dict:
    make, unit = ITEMS[name]
    seconds = []
    for k in times:
        call = make(k)
        if not seconds:
            call()  # what happens once in a process is no cost of one item
        first = clock(call, 0)
        seconds.append(first if first > LONG else min(first, clock(call, 0)))
    number = [unit * k for k in times]
    slope = float(np.polyfit(np.log(number), np.log(seconds), 1)[0])
    last = float(np.log(seconds[-1] / seconds[-2]) / np.log(number[-1] / number[-2]))
    print(f"{name}: {', '.join(f'{n} in {s:.3g} s' for n, s in zip(number, seconds, strict=True))}; slope {slope:.2f}, "
          f"of the last step {last:.2f}", flush=True)
    return {"kind": "growth", "row": name, "what": make.__doc__, "number": number, "seconds": seconds, "slope": slope,
            "last_slope": last}


if __name__ == "__main__":
    torch.set_num_threads(1)
    times = (1, 2, 4) if "few" in sys.argv[1:] else TIMES
    with tempfile.TemporaryDirectory() as SCRATCH:
        save("growth", [measure(name, times) for name in ITEMS])
