"""What of the advice for DINO on CT holds: the tables of reports/dino3d.md.

    python tests/experiments/dino3d_study.py cost                  # seconds a run on this machine
    python tests/experiments/dino3d_study.py run --real FOLDER     # all that is missing; without --real: phantoms alone
    python tests/experiments/dino3d_study.py report                # from what was kept, whatever is there

One JSON file a (source, setting, seed) in runs/dino3d; what was cut goes on with the next missing one. --half 0 and
--half 1 share the work between two processes. FOLDER: CT scans as NIfTI, one a patient; --only "a*.nii.gz,b/*.nii.gz"
names those that count. --size 24: crops of 24³ and 16³ instead of 48³ and 24³, and more settings, a fifth of the time.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from medssl.data import read_volume, resample
from medssl.data.phantom_volumes import ct_phantom
from medssl.evaluate.by_scan import class_rates, place_errors
from medssl.files import write_atomic
from medssl.methods import DINO3D
from medssl.models import ViT
from medssl.recipes import crop_probes, pretrain_dino3d
from medssl.recipes.dino3d import CropWatch

REPO = Path(__file__).resolve().parents[2]
KEPT, PAGE = REPO / "runs/dino3d", REPO / "reports/dino3d.md"
SEEDS, CROPS = 3, 40  # crops a scan for the probes
STILL = dict.fromkeys(("contrast", "brightness", "gamma", "noise", "blur", "flip_left_right"), 0.0)
BASE = {"n_local": 2, "steps": 80, "batch_size": 8, "lr": 1e-3,
        "prototypes": 64, "centring": "sinkhorn", "queue": 128, "teacher_temp": (0.02, 0.02), "momentum": 0.9,
        "crops": 96, "quiet": "silent", **STILL}
OFF, HALF = {"foreground_crop_prob": 0.0}, {"foreground_crop_prob": 1.0, "min_foreground_ratio": 0.5}
INSIDE = {"localcrops_subset_of_globalcrops": True}
SIXTH = INSIDE | {"foreground_crop_prob": 1.0, "global_min_foreground_ratio": 0.7, "local_min_foreground_ratio": 0.6}
FEW_ROWS = {"queue": 0, "prototypes": 1024}  # 16 rows: 8 scans, 2 large crops each
PLACE = {"region_mm": None}  # an edge of its own for each source, see REGION
SETTINGS = {
    "none": OFF,
    "1 ratio 0.5": HALF,
    "2 locals in globals": OFF | INSIDE,
    "1+2": HALF | INSIDE,
    "3 weights": OFF | {"foreground_loss_weighting": "linear"},
    "4 hierarchical": OFF | {"hierarchical_matching": True},
    "5 foreground only": OFF | {"foreground_only_matching": True},
    "6 ratios 0.7, 0.6": SIXTH,
    "none, 16 rows, K = 1024": OFF | FEW_ROWS,
    "6, 16 rows, K = 1024": SIXTH | FEW_ROWS,
    "none, 16 rows, K = 64": OFF | {"queue": 0},
    "none, centred by the mean": OFF | {"queue": 0, "centring": "softmax"},
    "none, no KoLeo": OFF | {"koleo": 0.0},
    "region": OFF | PLACE,
    "1 + region": HALF | PLACE,
    "1 + region, views changed": HALF | PLACE | {"contrast": 0.2, "brightness": 0.1, "gamma": 0.2, "noise": 0.05,
                                                 "blur": 0.7, "flip_left_right": 0.5},
    "1 + region, 16 rows, K = 1024": HALF | PLACE | FEW_ROWS,
    "1 + region, 16 rows, K = 64": HALF | PLACE | {"queue": 0},
    "1 + region, centred by the mean": HALF | PLACE | {"queue": 0, "centring": "softmax"},
    "1 + region, no KoLeo": HALF | PLACE | {"koleo": 0.0},
}
CHEAP = ("none, 16 rows, K = 64", "none, centred by the mean", "none, no KoLeo", "1 + region, views changed",
         "1 + region, 16 rows, K = 64", "1 + region, centred by the mean", "1 + region, no KoLeo")  # at 24³ only


@dataclass(frozen=True, eq=False)  # told apart as the two of SIZES
class Size:
    """Large crops of n³ voxels with what goes with them. Both sizes show nearly the same millimetres of a scan."""

    n: int
    local: int
    rows: int  # of the history
    finest: float  # mm: finer real scans are brought to this
    phantom: tuple[tuple[int, ...], float]  # voxels of a trunk, mm a voxel
    scales: dict  # {source: mm a voxel of large and small crops}
    probed: dict  # {source: mm a voxel of the crops that are asked}


SIZES = {
    48: Size(48, 24, 2, 0.9, ((104, 136, 148), 2.5),
             {"phantom": {"global_mm": (2.0, 2.5), "local_mm": (2.0, 3.0)},
              "real": {"global_mm": (1.0, 1.25), "local_mm": (1.0, 1.5)}}, {"phantom": 2.25, "real": 1.1}),
    24: Size(24, 16, 4, 1.5, ((52, 68, 74), 5.0),
             {"phantom": {"global_mm": (4.0, 5.0), "local_mm": (3.0, 4.5)},
              "real": {"global_mm": (1.8, 2.3), "local_mm": (1.5, 2.3)}}, {"phantom": 4.5, "real": 2.0}),
}
REGION = {"phantom": 130.0, "real": 65.0}  # mm


@dataclass(frozen=True)
class Where:
    """A source of scans at one size of crops; folder and only: where real ones lie."""

    source: str
    size: Size
    folder: str = ""
    only: str = ""

    def base(self) -> dict:
        return BASE | self.size.scales[self.source] | {"global_size": self.size.n, "local_size": self.size.local,
                                                       "rows": self.size.rows}


@cache
def scans(where: Where) -> list:
    """Phantoms: 20 trunks of 260 × 340 × 370 mm, two thirds of it air. Real scans whole and as they are, except that
    voxels much finer than those of the crops are brought to `finest`."""
    if where.source == "phantom":
        shape, mm = where.size.phantom
        return [ct_phantom(k, shape, (mm,) * 3) for k in range(20)]
    files = sorted(file for pattern in where.only.split(",") for file in Path(where.folder).glob(pattern))
    volumes = [read_volume(file, "CT") for file in files]
    finest = where.size.finest
    fine = [tuple(finest if mm < 0.8 * finest else mm for mm in volume.spacing) for volume in volumes]
    return [resample(replace(v, array=v.array.clamp(min=-1024)), mm) for v, mm in zip(volumes, fine, strict=True)]


def parts(where: Where, seed: int):
    """(scans to learn from, scans held out, a function that cuts labelled crops): of phantoms always the same, of real
    scans every third is held out, other ones for each seed, so that after three seeds each was once."""
    every = scans(where)
    if where.source == "phantom":
        return every[:12], every[12:], crop_probes.organ_crops
    return [s for k, s in enumerate(every) if k % 3 != seed], every[seed::3], crop_probes.third_crops


@cache
def crops(where: Where, seed: int):
    learn, test, cut = parts(where, seed)
    mm = where.size.probed[where.source]
    return [cut(some, CROPS, where.size.n, mm, which) for which, some in enumerate((learn, test))]


def encoder(seed: int) -> ViT:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ViT(patch=(8, 8, 8))


def volumes(scans: list) -> list:
    return [getattr(scan, "image", scan) for scan in scans]


def told(name: str, read, where: Where, seed: int) -> dict:
    """What the probes say of the held-out crops, and what is true."""
    learn, test = crops(where, seed)
    said = crop_probes.ask({name: read}, learn, test)[name]
    apart = len(test.x) * seed if where.source == "real" else 0  # each seed holds out other scans
    return {"label": said["label"].tolist(), "place": said["place"].round(2).tolist(), "true": test.label.tolist(),
            "at": test.place.round(2).tolist(), "guess": learn.place.mean(0).round(2).tolist(),
            "scan": [int(k) + apart for k in test.scan]}


def one(where: Where, name: str, seed: int) -> dict:
    """A pretraining and its probes; "random", "grey values" and "thumbnail" need none."""
    learn, test, _ = parts(where, seed)
    settings = where.base() | SETTINGS.get(name, {})
    if name == "random":
        network = encoder(seed)
        untrained = DINO3D(network, prototypes=BASE["prototypes"], teacher_temp=BASE["teacher_temp"])
        shapes = {key: settings[key] for key in ("global_size", "global_mm")}
        last = CropWatch(volumes(test), BASE["crops"], shapes).numbers(untrained.eval())
        return {"last": {f"val_{key}": value for key, value in last.items()},
                **told(name, lambda x: crop_probes.encode_crops(network, x), where, seed)}
    if name in FREE:
        return told(name, FREE[name], where, seed)
    began = time.process_time()
    settings |= {"region_mm": REGION[where.source]} if "region_mm" in settings else {}
    if settings["centring"] == "softmax":
        del settings["queue"]
    run = pretrain_dino3d(volumes(learn), watch=volumes(test), model=encoder(seed), seed=seed, **settings)
    cost = time.process_time() - began
    means = {key: float(np.mean([row[key] for row in run.history])) for key in
             ("global_ratio", "local_ratio", "relaxed", "pairs", "target_entropy")}
    return {"kind": run.kind, "cpu_seconds": cost, "last": run.history[-1], "mean": means,
            **told(name, lambda x: crop_probes.encode_crops(run.encoder, x), where, seed)}


FREE = {"grey values": crop_probes.grey_statistics, "thumbnail": crop_probes.thumbnail}
NAMES = ("random", *FREE, *SETTINGS)


def path(where: Where, name: str, seed: int) -> Path:
    return KEPT / str(where.size.n) / f"{where.source}_{''.join(c if c.isalnum() else '_' for c in name)}_{seed}.json"


def names(size: Size) -> list[str]:
    return [name for name in NAMES if size.n == 24 or name not in CHEAP]


def run_missing(places: list[Where], half: int | None) -> None:
    """Seeds first: after a third of the time there is one of everything."""
    todo = [(where, name, seed) for seed in range(SEEDS) for where in places for name in names(where.size)]
    for place, (where, name, seed) in enumerate(todo):
        file = path(where, name, seed)
        if (half is not None and place % 2 != half) or file.exists():
            continue
        found = one(where, name, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(found))
        print(where.source, name, seed, found.get("kind", ""), round(found.get("cpu_seconds", 0)), flush=True)


def cost(where: Where, steps: int = 10) -> None:
    """CPU seconds of the parts of a run: steps, and all that comes before and after them."""
    spent = []
    for n in (2, steps + 2):
        began, settings = time.process_time(), where.base() | {"steps": n, "rows": 1}
        pretrain_dino3d(volumes(scans(where)[:4]), model=encoder(0), **settings)
        spent.append(time.process_time() - began)
    step = (spent[1] - spent[0]) / steps
    print(f"{step:.2f} CPU seconds a step, {spent[0] - 2 * step:.0f} for four scans and the watched crops, "
          f"{torch.get_num_threads()} threads")


def loaded(where: Where) -> dict[str, list[dict]]:
    """{setting: what each seed found}, the seeds that all settings have."""
    there = {name: {seed: json.loads(path(where, name, seed).read_text()) for seed in range(SEEDS)
                    if path(where, name, seed).exists()} for name in names(where.size)}
    there = {name: by_seed for name, by_seed in there.items() if by_seed}
    common = set.intersection(*map(set, there.values())) if there else set()
    return {name: [by_seed[seed] for seed in sorted(common)] for name, by_seed in there.items()} if common else {}


def pooled(found: dict[str, list[dict]], against: str) -> tuple[dict, dict]:
    """(balanced accuracies, R² of places) of all seeds together, with intervals over scans and leads over one name."""
    first = found["random"]
    true, scan = (np.concatenate([one[key] for one in first]) for key in ("true", "scan"))
    at, guess = (np.concatenate([np.broadcast_to(one[key], (len(one["true"]), 3)) for one in first])
                 for key in ("at", "guess"))
    labels, places = ({name: np.concatenate([one[key] for one in each]) for name, each in found.items()}
                      for key in ("label", "place"))
    return class_rates(true, labels, scan, against), place_errors(at, places, guess, scan, against)


def interval(row: dict, key: str, sign: str = "") -> str:
    if key not in row:
        return ""
    low, high = row["ci95" if key == "value" else f"{key}_ci95"]
    return f"{row[key]:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def collapse_table(found: dict[str, list[dict]]) -> list[str]:
    """A line a setting: means over seeds, of the mutual information also the smallest and largest."""

    def numbers(each: list[dict], group: str, key: str, digits: int = 2, ends: bool = False) -> str:
        values = [one[group][key] for one in each if key in one.get(group, {})]
        if not values:
            return ""
        spread = f" ({min(values):.{digits}f}–{max(values):.{digits}f})" if ends else ""
        return f"{np.mean(values):.{digits}f}{spread}"

    heads = ("setting", "global ratio", "local ratio", "pairs used", "MI student", "MI teacher", "target entropy",
             "collapse", "rank", "std·√d", "cosine")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, each in found.items():
        if name in FREE:
            continue
        kinds = [one.get("kind", "not trained") for one in each]
        kinds = ", ".join(f"{kind} {kinds.count(kind)}×" for kind in sorted(set(kinds)))
        cells = [numbers(each, "mean", key) for key in ("global_ratio", "local_ratio", "pairs")]
        cells += [numbers(each, "last", f"val_{key}_mi", 3, key == "student") for key in ("student", "teacher")]
        cells += [numbers(each, "mean", "target_entropy"), kinds]
        cells += [numbers(each, "last", f"val_{key}") for key in ("rank_share", "std", "cosine")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def report(where: Where) -> str:
    found = loaded(where)
    if not found:
        return "Nothing measured yet.\n"
    (classes, places), (over_none, places_none) = (pooled(found, name) for name in ("random", "none"))
    guess = np.mean([np.linalg.norm(np.subtract(one["at"], one["guess"]), axis=1).mean() for one in found["random"]])
    lines = ["| crops read by | balanced accuracy | lead over random | lead over none | R² of the place | lead over "
             "random | lead over none | mm |", "|---|---|---|---|---|---|---|---|"]
    for name in found:
        cells = []
        for own, other in ((classes, over_none), (places, places_none)):
            cells += [interval(own[name], "value"), *(interval(x[name], "lead", "+") for x in (own, other))]
        lines.append(f"| {name} | {' | '.join(cells)} | {places[name]['mm']:.0f} |")
    seconds = [one["cpu_seconds"] for each in found.values() for one in each if "cpu_seconds" in one]
    relaxed = max(one["mean"]["relaxed"] for each in found.values() for one in each if "mean" in one)
    return "\n".join([f"{len(found['random'])} seeds, {len(seconds)} pretrainings, {np.mean(seconds):.0f} CPU seconds "
                      f"each. Relaxed crops: at most {relaxed:.1%} in a run. The mean place, said of every crop, is "
                      f"{guess:.0f} mm off.", "", *collapse_table(found), "", *lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "run", "report"])
    parser.add_argument("--real", default="")
    parser.add_argument("--only", default="*.nii.gz")
    parser.add_argument("--half", type=int, choices=[0, 1])
    parser.add_argument("--size", type=int, choices=list(SIZES), default=48)
    given = parser.parse_args()
    sources = [Where("phantom", SIZES[given.size])]
    sources += [Where("real", SIZES[given.size], given.real, given.only)] if given.real else []
    if given.what == "cost":
        cost(sources[0])
    elif given.what == "run":
        run_missing(sources, given.half)
    else:
        text = PAGE.read_text()
        for size in SIZES.values():
            for kind in ("phantom", "real"):
                mark = f"{kind} {size.n}"
                before, rest = text.split(f"<!-- {mark} -->\n")
                after = rest.split(f"<!-- /{mark} -->")[1]
                text = f"{before}<!-- {mark} -->\n{report(Where(kind, size))}<!-- /{mark} -->{after}"
        write_atomic(PAGE, text)
