"""What SimCLR and MoCo are worth on BreastMNIST, on the same budget: the table of reports/contrastive.md.

    python tests/experiments/contrastive_reference.py train moco --seeds 3      # repeat for each method; resumes
    python tests/experiments/contrastive_reference.py train simclr --seeds 3
    python tests/experiments/contrastive_reference.py report                    # the one look at the test split

Everything was fixed beforehand, in folds within train and val (see the report). Encoders lie in runs/contrastive; with
--from FOLDER those of a week-4 hand-in are used instead of training SimCLR again. About ten minutes a seed on one core.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from medssl import recipes
from medssl.data import load, near_twins
from medssl.evaluate import difference

REPO = Path(__file__).resolve().parents[2]
KEPT, PAGE = REPO / "runs/contrastive", REPO / "reports/contrastive.md"
STEPS, DRAWS, SEEDS = 2000, 10, 3
FRACTIONS = (0.05, 0.1, 0.2, 1.0)
TARGETS = {0.05: 0.81, 0.1: 0.83, 0.2: 0.85, 1.0: 0.91}


def train(data, method: str, seeds: range) -> None:
    for seed in seeds:
        out = KEPT / f"{data.key}_{method}_seed{seed}"
        if (out / "ssl_encoder.pt").exists():
            continue
        run = recipes.pretrain(data, method, steps=STEPS, seed=seed, out=out)
        (out / "ssl_config.json").write_text(json.dumps(run.config, default=str))
        torch.save(run.encoder.state_dict(), out / "ssl_encoder.pt")
        print(method, seed, f"loss {run.history[-1]['loss']:.3f}, {run.seconds:.0f} s", flush=True)


def encoders(data, method: str, handed_in: Path | None) -> list[torch.nn.Module]:
    if handed_in and method == "simclr":
        config = json.loads((handed_in / "ssl_config.json").read_text())
        files = [handed_in / (f"ssl_encoder_seed{seed}.pt" if seed else "ssl_encoder.pt") for seed in range(SEEDS)]
        return [recipes.load_encoder(config, file) for file in files]
    folders = [KEPT / f"{data.key}_{method}_seed{seed}" for seed in range(SEEDS)]
    return [recipes.load_encoder(json.loads((folder / "ssl_config.json").read_text()), folder / "ssl_encoder.pt")
            for folder in folders]


def report(data, handed_in: Path | None) -> str:
    options = {"fractions": FRACTIONS, "draws": DRAWS, "split": "test"}
    rungs = recipes.ladder(data, seeds=SEEDS, **options)
    for method in ("simclr", "moco"):
        grid = recipes.probe_grid(data, encoders(data, method, handed_in), **options)
        rungs.add(f"SSL: {method}, linear probe", grid)
    p = [rungs.rungs[f"SSL: {method}, linear probe"] for method in ("simclr", "moco")]
    gaps = {f: difference(rungs.y, p[1][f], p[0][f]) for f in FRACTIONS}
    reached = {f: float(np.mean(v)) for f, v in rungs.values()["SSL: simclr, linear probe"].items()}
    lines = [f"## {data.key}, test AUROC", "",
             f"{SEEDS} pretrainings of {STEPS} steps x {DRAWS} label draws; mean ± standard deviation over runs "
             "[95 % interval over test images, draws and pretrainings].", "", rungs.table(), "",
             "| labels | " + " | ".join(f"{100 * f:g} %" for f in FRACTIONS) + " |",
             "|---" * (len(FRACTIONS) + 1) + "|",
             "| target for the probe | " + " | ".join(f"{TARGETS[f]:.2f}" for f in FRACTIONS) + " |",
             "| SimCLR, mean | " + " | ".join(f"{reached[f]:.3f}" for f in FRACTIONS) + " |",
             "| MoCo - SimCLR, paired | " + " | ".join(
                 f"{g['mean']:+.3f} [{g['lo']:+.3f}, {g['hi']:+.3f}]" for g in gaps.values()) + " |", ""]
    lines += [f"- {rungs.claim('SSL: simclr, linear probe', f)}" for f in FRACTIONS]
    twin = near_twins(data, "test")[0].numpy()
    apart = recipes.Ladder(rungs.y[~twin])
    for name, p in rungs.rungs.items():
        apart.add(name, {f: runs[..., ~twin] for f, runs in p.items()})
    lines += ["", f"The same models on the {len(apart.y)} test images without a near-twin in train:", "", apart.table()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "report"])
    parser.add_argument("method", nargs="?", default="simclr", choices=[*recipes.METHODS])
    parser.add_argument("--dataset", default="breastmnist")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--from", dest="handed_in", type=Path)
    given = parser.parse_args()
    images = load(given.dataset)
    if given.what == "train":
        train(images, given.method, range(given.seeds))
    else:
        before, rest = PAGE.read_text().split("<!-- measured -->")
        after = rest.split("<!-- /measured -->")[1]
        PAGE.write_text(f"{before}<!-- measured -->\n{report(images, given.handed_in)}<!-- /measured -->{after}")
        print(PAGE.read_text())
