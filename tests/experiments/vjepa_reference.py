"""What V-JEPA is worth on AdrenalMNIST3D: the table of reports/vjepa.md.

    python tests/experiments/vjepa_reference.py cost blocks       # seconds a step on this machine
    python tests/experiments/vjepa_reference.py choose blocks     # a row of SETTINGS, in a fold within train and val
    python tests/experiments/vjepa_reference.py tune coarse       # fine-tuned from it in the fold; none: from scratch
    python tests/experiments/vjepa_reference.py train --seed 0    # CHOSEN and the supervised network; for seeds 0, 1, 2
    python tests/experiments/vjepa_reference.py report            # the one look at the test split

All is kept in runs/vjepa; what was cut goes on. MEDSSL_DATA names the folder of adrenalmnist3d.npz.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lejepa_reference import fold
from sklearn.metrics import roc_auc_score

from medssl import recipes
from medssl.data import load
from medssl.evaluate import predict_proba
from medssl.methods import Supervised
from medssl.models import ViT
from medssl.views import Augment3D, blocks_3d, tubes

REPO = Path(__file__).resolve().parents[2]
KEPT, PAGE = REPO / "runs/vjepa", REPO / "reports/vjepa.md"
DRAWS, SEEDS, FRACTIONS, TARGET = 10, 3, (0.1, 1.0), 0.827  # published: ResNet-18 3D, all labels
SPACING = (64 / 28,) * 3  # cubes of 64 mm in 28 voxels


def blocks(patch: int):
    """3 or 4 of 7 tokens an edge, with patches of 7 voxels 2 of 4; glands are thin, so little need be foreground."""
    return partial(blocks_3d, spacing=tuple(patch * s for s in SPACING), size_mm=(24, 40), least_foreground=0.01)


SHORT = {"patch": 4, "mode": "ema", "masks": blocks(4), "foreground": 0.5, "steps": 1000}
COARSE = SHORT | {"patch": 7, "masks": blocks(7)}  # 64 tokens, not 343: a tenth of the time
SETTINGS = {
    "random": SHORT | {"steps": 0},
    "blocks": SHORT,
    "tubes": SHORT | {"masks": partial(tubes, least_foreground=0.01)},
    "slow": SHORT | {"lr": 5e-4},
    "fast_teacher": SHORT | {"momentum": 0.99},
    "lejepa": SHORT | {"mode": "lejepa"},
    "coarse_random": COARSE | {"steps": 0},
    "coarse": COARSE,
    "coarse_fast_teacher": COARSE | {"momentum": 0.99},
    "coarse_lejepa": COARSE | {"mode": "lejepa", "lam": 0.05},
    "short_lejepa": COARSE | {"mode": "lejepa", "lam": 0.5, "slices": 64, "steps": 90},
}
CHOSEN = COARSE
AUGMENT = Augment3D(rotate=15, scale=0.1, translate=0.09, spacing=SPACING)
SUPERVISED = {"steps": 600, "batch_size": 64, "lr": 1e-3, "weight_decay": 0.05, "augment": AUGMENT}
FINETUNE = SUPERVISED | {"head_lr_scale": 1.0}  # the same but for where it starts


def encoder(seed: int, patch: int) -> ViT:
    torch.manual_seed(seed)
    return ViT(patch=(patch,) * 3, spacing=SPACING)


def pretrain(data, settings: dict, seed: int, out: Path | None):
    settings = {"batch_size": 64, "lr": 1e-3, "weight_decay": 0.04} | settings
    model = encoder(seed, settings.pop("patch"))
    return recipes.pretrain(data, "vjepa", model=model, seed=seed, out=out, **settings)


def cost(data, name: str, steps: int = 2) -> None:
    """Seconds a step, of a run of twice as many steps less one of as many: what begins and ends a run falls out."""
    short, long = (pretrain(data, SETTINGS[name] | {"steps": k}, 0, None).seconds for k in (steps, 2 * steps))
    print(f"{name}: {(long - short) / steps:.2f} s a step of 64 volumes, {torch.get_num_threads()} threads")


def choose(data, name: str) -> None:
    """One pretraining and its probes in the fold, both halves: a line of the report's first table."""
    there, back = fold(data)
    run = pretrain(there, SETTINGS[name], 0, KEPT / f"choose_{name}") if SETTINGS[name]["steps"] else None
    network = run.encoder if run else encoder(0, SETTINGS[name]["patch"])
    grids = [recipes.probe_grid(part, [network], fractions=FRACTIONS, draws=DRAWS, split="test")
             for part in (there, back)]
    reached = {f: float(np.mean([np.mean(grid.values()[f]) for grid in grids])) for f in FRACTIONS}
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"choose_{name}.json").write_text(json.dumps({"settings": str(SETTINGS[name]), "auroc": reached}, indent=1))
    print(name, reached, run or "", run.warning if run else "", flush=True)


def tune(data, name: str) -> None:
    """A network trained on the labels of the fold, from a pretraining of choose() or from scratch; both halves."""
    there, _ = fold(data)
    if name == "none":
        run = recipes.train_supervised(there, encoder(0, CHOSEN["patch"]), seed=0, **SUPERVISED)
    else:
        network = pretrain(there, SETTINGS[name], 0, KEPT / f"choose_{name}").encoder
        run = recipes.finetune(there, network, fraction=1.0, seed=0, **FINETUNE)
    halves = [roc_auc_score(part.labels, predict_proba(run.model, part.images, 64)) for part in (there.val, there.test)]
    print(f"{name}: AUROC {halves[0]:.3f} where the epoch was chosen, {halves[1]:.3f} on the other half", flush=True)


def train(data, seed: int) -> None:
    """One pretraining, the network fine-tuned from it, and one from scratch on the same labels."""
    out = KEPT / f"seed{seed}"
    run = pretrain(data, CHOSEN, seed, out / "vjepa")
    print(seed, run, run.warning, flush=True)
    torch.save(run.encoder.state_dict(), out / "encoder.pt")
    tuned = recipes.finetune(data, run.encoder, fraction=1.0, seed=seed, out=out / "tuned", **FINETUNE)
    untrained = encoder(seed, CHOSEN["patch"])
    scratch = recipes.train_supervised(data, untrained, seed=seed, out=out / "scratch", **SUPERVISED)
    for name, one in (("tuned", tuned), ("scratch", scratch)):
        torch.save(one.model.state_dict(), out / f"{name}.pt")
        print(seed, name, one.best, flush=True)


def report(data) -> str:
    def kept(network, seed, name):
        network.load_state_dict(torch.load(KEPT / f"seed{seed}/{name}.pt", map_location="cpu", weights_only=True))
        return network

    def classified(name):
        models = [kept(Supervised(encoder(seed, patch), num_classes=2), seed, name) for seed in range(SEEDS)]
        return {1.0: np.stack([predict_proba(model, data.test.images, 64) for model in models])}

    patch, options = CHOSEN["patch"], {"fractions": FRACTIONS, "draws": DRAWS, "split": "test"}
    rungs = recipes.ladder(data, model=lambda: ViT(patch=(patch,) * 3, spacing=SPACING), seeds=SEEDS, **options)
    rungs.add("the same network, supervised from scratch", classified("scratch"))
    encoders = [kept(encoder(seed, patch), seed, "encoder") for seed in range(SEEDS)]
    names = "V-JEPA, linear probe", "V-JEPA, fine-tuned"
    rungs.add(names[0], recipes.probe_grid(data, encoders, **options)).add(names[1], classified("tuned"))
    reached = ", ".join(f"{name} {np.mean(rungs.values()[name][1.0]):.3f}" for name in names)
    return "\n".join([f"{SEEDS} pretrainings of {CHOSEN['steps']} steps; mean ± standard deviation over runs [95 % "
                      "interval over test volumes, draws and pretrainings].", "", rungs.table(), "",
                      f"- target with all labels: {TARGET}, reached: {reached}",
                      *(f"- {rungs.claim(name, 1.0)}" for name in names), f"- {rungs.claim(names[0], 0.1)}", ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "choose", "tune", "train", "report"])
    parser.add_argument("name", nargs="?", choices=["none", *SETTINGS], default="blocks")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    images = load("adrenalmnist3d")
    if given.what == "report":
        before, rest = PAGE.read_text().split("<!-- measured -->")
        after = rest.split("<!-- /measured -->")[1]
        PAGE.write_text(f"{before}<!-- measured -->\n{report(images)}<!-- /measured -->{after}")
        print(PAGE.read_text())
    else:
        {"cost": cost, "choose": choose, "tune": tune, "train": train}[given.what](
            images, given.seed if given.what == "train" else given.name)
