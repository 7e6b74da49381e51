"""The handout's trainer: one classifier trained, chosen on val, tested once, everything about it in one folder."""

import io
import json
from pathlib import Path

import torch

from medssl.course.predictions import format_predictions
from medssl.course.provenance import environment
from medssl.data import load
from medssl.data.medmnist import PHANTOM_FOR
from medssl.errors import MedsslError
from medssl.figures import reliability, stamp
from medssl.files import write_atomic
from medssl.recipes import score, train_supervised


def train_and_test(dataset: str = "breastmnist", model: str = "smallcnn", *, weights: str = "imagenet",
                   size: int = 28, root: Path | None = None, out: Path | None = None, seed: int = 0,
                   finetune: str = "all", **settings) -> Path:
    """Train, keep the weights that were best on val, write the folder and return it."""
    try:
        data = load(dataset, root, size)
    except MedsslError as error:
        phantom = PHANTOM_FOR.get(dataset)
        meanwhile = f" Here that is --dataset {phantom}." if phantom else ""
        raise MedsslError(error.wrong, error.expected, error.fix + meanwhile) from error
    folder = Path(out or f"runs/{dataset}_{model}_{finetune}_seed{seed}")
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("best.pt", "test_metrics.json"):  # a run that is cut short does not pass for a finished one
        (folder / old).unlink(missing_ok=True)
    print(data, flush=True)
    start = weights if model.startswith("resnet") and weights != "none" else None
    run = train_supervised(data, model, finetune=finetune, weights=start, seed=seed, **settings)
    test = score([run], data, "test")
    p, result = test.p[seed], test.per_seed[0]
    metrics = {"model": model, "dataset": dataset, "split": "test", "seeds": [seed], **result, "per_seed": [result],
               "predictions": "predictions_test.csv", "backbone": start or "random",
               "data": {"split_hash": data.split_hash(), "phantom": data.is_phantom}}
    best = io.BytesIO()
    torch.save({"model": run.model.state_dict(), "dataset": dataset, "classes": list(data.classes)}, best)
    write_atomic(folder / "best.pt", best.getvalue())
    write_atomic(folder / "val_log.jsonl", "".join(json.dumps(row) + "\n" for row in run.history))
    write_atomic(folder / "predictions_test.csv", format_predictions({seed: (range(len(p)), test.y, p)}))
    for name, content in {"config": run.config, "env": environment(), "test_metrics": metrics}.items():
        write_atomic(folder / f"{name}.json", json.dumps(content, indent=2, default=str) + "\n")
    figure = reliability(test.y, p, data.positive)
    stamp(figure, f"{'PHANTOM data · ' * data.is_phantom}{start or 'random'} backbone")
    figure.savefig(folder / "reliability.png", dpi=150)
    print(f"test: accuracy {result['accuracy']:.3f} (majority class: {result['majority_accuracy']:.3f}), "
          f"AUROC {result['auroc']:.3f}, ECE {result['ece']:.3f}, positive class “{data.positive}”\nwritten: {folder}")
    return folder
