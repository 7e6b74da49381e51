"""What LeJEPA is worth on BreastMNIST: the table of reports/lejepa.md.

    python tests/experiments/lejepa_reference.py choose four      # a row of SETTINGS, in a fold within train and val
    python tests/experiments/lejepa_reference.py train --seed 0   # CHOSEN; for seeds 0, 1, 2
    python tests/experiments/lejepa_reference.py report           # the one look at the test split

All is kept in runs/lejepa; what was cut goes on.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from medssl import recipes
from medssl.data import Split, load
from medssl.models import build_encoder

REPO = Path(__file__).resolve().parents[2]
KEPT, PAGE = REPO / "runs/lejepa", REPO / "reports/lejepa.md"
DRAWS, SEEDS, FRACTIONS = 10, 3, (0.05, 0.1, 0.2, 1.0)
TARGETS = {0.1: 0.80, 1.0: 0.88}
SHORT = {"method": "lejepa", "steps": 300, "batch_size": 128}
SETTINGS = {
    "random": None,
    "four": SHORT,
    "local": SHORT | {"global_views": 2, "local_views": 6},
    "lam02": SHORT | {"lam": 0.02},
    "simclr": {"method": "simclr", "steps": 300, "batch_size": 256},
}
CHOSEN = SETTINGS["local"] | {"steps": 600}


def fold(data):
    """Train and val as one, 468 images to pretrain on and 156 to probe: val chooses C, "test" scores; and the reverse.

    The test split of the data set is not among them.
    """
    images, labels = (torch.cat([getattr(data.splits[name], part) for name in ("train", "val")])
                      for part in ("images", "labels"))
    parts = [held for _, held in StratifiedKFold(8, shuffle=True, random_state=0).split(labels, labels)]
    first, second = parts[:2]
    rest = np.setdiff1d(np.arange(len(labels)), np.concatenate([first, second]))
    return [dataclasses.replace(data, train=Split(images[rest], labels[rest]), val=Split(images[a], labels[a]),
                                test=Split(images[b], labels[b])) for a, b in ((first, second), (second, first))]


def choose(data, name: str) -> None:
    """One pretraining and its probes in the fold, both halves: a line of the report's first table."""
    there, back = fold(data)
    settings = SETTINGS[name]
    if settings is None:
        torch.manual_seed(0)
        encoder, about = build_encoder("smallcnn"), ""
    else:
        run = recipes.pretrain(there, device="cpu", precision="fp32", out=KEPT / f"choose_{name}", **settings)
        encoder, about = run.encoder, f"{run} {run.warning}"
    shares = [27 / 468, 55 / 468, 109 / 468, 1.0]
    grids = [recipes.probe_grid(part, [encoder], fractions=shares, draws=DRAWS, split="test") for part in (there, back)]
    reached = {grids[0].n_labels[f]: float(np.mean([np.mean(grid.values()[f]) for grid in grids])) for f in shares}
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = {"name": name, "settings": str(settings), "auroc": reached, "about": about}
    (KEPT / f"choose_{name}.json").write_text(json.dumps(kept, indent=2))
    print(name, " | ".join(f"{n}: {v:.3f}" for n, v in reached.items()), about, flush=True)


def train(data, seed: int) -> None:
    out = KEPT / f"seed{seed}"
    run = recipes.pretrain(data, seed=seed, out=out, **CHOSEN)
    (out / "ssl_config.json").write_text(json.dumps(run.config | {"seconds": run.seconds}, default=str))
    torch.save(run.encoder.state_dict(), out / "ssl_encoder.pt")
    print(seed, run, run.warning, flush=True)


def report(data) -> str:
    configs = [json.loads((KEPT / f"seed{seed}/ssl_config.json").read_text()) for seed in range(SEEDS)]
    encoders = [recipes.load_encoder(config, KEPT / f"seed{seed}/ssl_encoder.pt")
                for seed, config in enumerate(configs)]
    options = {"fractions": FRACTIONS, "draws": DRAWS, "split": "test"}
    rungs = recipes.ladder(data, seeds=SEEDS, **options)
    rungs.add("SSL: lejepa, linear probe", recipes.probe_grid(data, encoders, **options))
    seconds = ", ".join(f"{config['seconds']:.0f}" for config in configs)
    reached = {f: float(np.mean(v)) for f, v in rungs.values()["SSL: lejepa, linear probe"].items()}
    lines = [f"## {data.key}, test AUROC", "",
             f"{SEEDS} pretrainings of {CHOSEN['steps']} steps ({seconds} s) x {DRAWS} label draws; mean ± standard "
             "deviation over runs [95 % interval over test images, draws and pretrainings].", "", rungs.table(), ""]
    lines += [f"- target with {100 * f:g} % of the labels: {target:.2f}, reached: {reached[f]:.3f}"
              for f, target in TARGETS.items()]
    return "\n".join([*lines, *(f"- {rungs.claim('SSL: lejepa, linear probe', f)}" for f in FRACTIONS), ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["choose", "train", "report"])
    parser.add_argument("name", nargs="?", choices=[*SETTINGS], default="four")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    images = load("breastmnist")
    if given.what == "choose":
        choose(images, given.name)
    elif given.what == "train":
        train(images, given.seed)
    else:
        before, rest = PAGE.read_text().split("<!-- measured -->")
        after = rest.split("<!-- /measured -->")[1]
        PAGE.write_text(f"{before}<!-- measured -->\n{report(images)}<!-- /measured -->{after}")
        print(PAGE.read_text())
