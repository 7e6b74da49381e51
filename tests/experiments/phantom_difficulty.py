"""How hard are the phantoms, and for whom? Trains everything that reports/phantoms.md tables and writes that page.

    python tests/experiments/phantom_difficulty.py breastphantom pneumoniaphantom [--seeds 5]

Every finished run is kept in runs/phantom_difficulty.json, so a second start goes on where the first stopped; move
it away after a change of the phantoms, the pretraining or the probe. On one slow core it takes the better part of an
hour: it is no test.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from medssl import recipes
from medssl.data import label_subset, load
from medssl.evaluate import encode, fit_probes
from medssl.views import Augment, preset

REPO = Path(__file__).resolve().parents[2]
STEPS = {"breastphantom": 400, "pneumoniaphantom": 200}
SSL_STEPS = {"breastphantom": 200, "pneumoniaphantom": 200}
DRAWS = 5  # label draws for the probes
# Rotation by 10 degrees is more than the chests were drawn with, and costs them more steps than we give.
AUGMENT = {"breastphantom": preset("ultrasound", "A"), "pneumoniaphantom": Augment(flip=0.5)}
# name -> (model, augmented, share of the labels, share of the steps)
SUPERVISED = {
    "smallcnn": ("smallcnn", False, 1.0, 1.0),
    "resnet18": ("resnet18", False, 1.0, 1.0),
    "resnet18 + augmentation": ("resnet18", True, 1.0, 1.0),
    "resnet18, 10 % labels": ("resnet18", False, 0.1, 0.33),
}
PROBES = ["pixels, logistic, 100 %", "pixels, logistic, 10 %", "SimCLR smallcnn, probe, 10 %"]
GAPS = [("resnet18", "smallcnn"), ("resnet18 + augmentation", "resnet18"), ("resnet18 + augmentation", "smallcnn"),
        ("resnet18", "resnet18, 10 % labels"), (PROBES[2], PROBES[1])]


def supervised(data, name: str, seed: int) -> dict:
    model, augmented, fraction, share = SUPERVISED[name]
    augment = AUGMENT[data.key] if augmented else "none"
    run = recipes.train_supervised(data, model, augment=augment, fraction=fraction, seed=seed, label_smoothing=0.05,
                                   steps=int(share * STEPS[data.key]), quiet="silent")
    (row,) = recipes.score([run], data, "test", n_boot=0).per_seed
    return {"auroc": row["auroc"], "accuracy": row["accuracy"]}


def probe(features: dict[str, np.ndarray], data, fraction: float, seed: int) -> dict:
    """A linear probe whose C is chosen on val; the test split is looked at once."""
    chosen = label_subset(data.train.labels, fraction, seed).numpy()
    y = {name: split.labels.numpy() for name, split in data.splits.items()}
    found = fit_probes(features["train"], y["train"], features["val"], y["val"], [chosen], balanced=True)
    (p,) = found.predict_proba(features["test"])
    return {"auroc": roc_auc_score(y["test"], p), "accuracy": float(np.mean((p >= 0.5) == y["test"]))}


def once(rows: dict, name: str, seed: int, run, kept: Path, key: str) -> None:
    """Run it unless the file has it already."""
    done = rows.setdefault(key, {}).setdefault(name, {})
    if str(seed) not in done:
        start = time.perf_counter()
        done[str(seed)] = {**run(), "seconds": time.perf_counter() - start}
        print(key, name, seed, {k: round(v, 3) for k, v in done[str(seed)].items()}, flush=True)
        kept.write_text(json.dumps(rows, indent=1))


def measure(keys: list[str], seeds: int, rows: dict, kept: Path) -> None:
    """Seed by seed, so that a run that is cut short has the same seeds of every condition."""
    for key in keys:
        now = load(key).split_hash()
        if rows.setdefault(key, {}).setdefault("hash", now) != now:
            raise SystemExit(f"{kept} holds runs on another {key}: move it away first.")
    for seed in range(seeds):
        for key in keys:
            for name in SUPERVISED:
                once(rows, name, seed, partial(supervised, load(key), name, seed), kept, key)
    for key in keys:
        data = load(key)
        pixels = {name: split.images.flatten(1).numpy() / 255 for name, split in data.splits.items()}
        once(rows, PROBES[0], 0, partial(probe, pixels, data, 1.0, 0), kept, key)
        for seed in range(DRAWS):
            once(rows, PROBES[1], seed, partial(probe, pixels, data, 0.1, seed), kept, key)
        if PROBES[2] not in rows[key] or len(rows[key][PROBES[2]]) < DRAWS:
            encoder = recipes.pretrain(data, "simclr", steps=SSL_STEPS[key], quiet="silent").encoder
            features = {name: encode(encoder, split.images) for name, split in data.splits.items()}
            for seed in range(DRAWS):
                once(rows, PROBES[2], seed, partial(probe, features, data, 0.1, seed), kept, key)


def stats(runs: dict, metric: str) -> tuple[float, float]:
    """Mean and its standard error (nan for one seed)."""
    values = np.array([run[metric] for run in runs.values()])
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan


def in_errors(a: tuple[float, float], b: tuple[float, float]) -> str:
    gap = (a[0] - b[0]) / np.hypot(a[1], b[1])
    return "–" if np.isnan(gap) else f"{gap:+.1f}"


def report(rows: dict) -> str:
    lines = []
    for key, runs in rows.items():
        settings = {k: v for k, v in AUGMENT[key].settings.items() if v and k in ("flip", "rotate")}
        lines += [f"## {key}", "",
                  f"Split hash `{runs['hash']}`; {STEPS[key]} steps of 128; augmentation {settings}.", "",
                  "| condition | seeds | test AUROC | test accuracy |", "|---|---|---|---|"]
        for name in [name for name in [*SUPERVISED, *PROBES] if name in runs]:
            pairs = [stats(runs[name], metric) for metric in ("auroc", "accuracy")]
            cells = " | ".join(f"{mean:.3f} ± {error:.3f}".replace(" ± nan", "") for mean, error in pairs)
            lines.append(f"| {name} | {len(runs[name])} | {cells} |")
        lines += ["", "| gap that should be positive | AUROC | in SE | accuracy | in SE |", "|---|---|---|---|---|"]
        for better, worse in [gap for gap in GAPS if all(name in runs for name in gap)]:
            pairs = [(stats(runs[better], metric), stats(runs[worse], metric)) for metric in ("auroc", "accuracy")]
            cells = " | ".join(f"{a[0] - b[0]:+.3f} | {in_errors(a, b)}" for a, b in pairs)
            lines.append(f"| {better} − {worse} | {cells} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--report", type=Path, default=REPO / "reports/phantoms.md")
    options = parser.parse_args()
    kept = REPO / "runs/phantom_difficulty.json"
    kept.parent.mkdir(exist_ok=True)
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    measure(options.keys, options.seeds, rows, kept)
    page = options.report.read_text() if options.report.exists() else "<!-- measured -->\n<!-- /measured -->\n"
    before, rest = page.split("<!-- measured -->")
    after = rest.split("<!-- /measured -->")[1]
    options.report.write_text(f"{before}<!-- measured -->\n{report(rows)}<!-- /measured -->{after}")
