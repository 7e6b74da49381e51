"""The handout's trainer: one classifier trained, chosen on val, tested once, everything about it in one folder."""

import io
import json
from pathlib import Path

import torch

from medssl.course.predictions import format_predictions
from medssl.course.provenance import environment
from medssl.data import load
from medssl.data.medmnist import PHANTOM_FOR, file_path
from medssl.errors import MedsslError
from medssl.figures import reliability, stamp
from medssl.files import write_atomic
from medssl.recipes import score, train_supervised


def train_and_test(dataset: str = "breastmnist", model: str = "smallcnn", *, weights: str = "imagenet",
                   size: int = 28, root: Path | None = None, out: Path | None = None, seed: int = 0,
                   finetune: str = "all", lr: float = 1e-3, **settings) -> Path:
    """Train, keep the weights that were best on val, write the folder and return it."""
    if weights not in ("imagenet", "none") or not 0 < lr < float("inf"):
        raise MedsslError(f"weights {weights}, learning rate {lr}.", "imagenet or none, and a number above 0")
    try:
        data = load(dataset, root, size)
    except MedsslError as error:
        if dataset not in PHANTOM_FOR or file_path(dataset, root, size).exists():
            raise
        raise MedsslError(error.wrong, error.expected,
                          f"{error.fix} Here that is --dataset {PHANTOM_FOR[dataset]}.") from error
    folder = Path(out or f"runs/{dataset}_{model}_{finetune}_seed{seed}")
    folder.mkdir(parents=True, exist_ok=True)  # if it cannot be made, that is said before the training
    print(data, flush=True)
    start = weights if model.startswith("resnet") and weights != "none" else None
    run = train_supervised(data, model, finetune=finetune, weights=start, seed=seed, lr=lr, **settings)
    test = score([run], data, "test")
    p, result = test.p[seed], test.per_seed[0]
    metrics = {"model": model, "dataset": dataset, "split": "test", "seeds": [seed], **result, "per_seed": [result],
               "predictions": "predictions_test.csv", "backbone": start or "random",
               "data": {"split_hash": data.split_hash(), "phantom": data.is_phantom}}
    best, picture, figure = io.BytesIO(), io.BytesIO(), reliability(test.y, p, data.positive)
    torch.save({"model": run.model.state_dict(), "dataset": dataset, "classes": list(data.classes)}, best)
    stamp(figure, f"{'PHANTOM data · ' * data.is_phantom}{start or 'random'} backbone")
    figure.savefig(picture, dpi=150, format="png")
    files = {"best.pt": best.getvalue(), "val_log.jsonl": "".join(json.dumps(row) + "\n" for row in run.history),
             "predictions_test.csv": format_predictions({seed: (range(len(p)), test.y, p)}),
             "reliability.png": picture.getvalue()}
    for name, content in {"config": run.config, "env": environment(), "test_metrics": metrics}.items():
        files[f"{name}.json"] = json.dumps(content, indent=2, default=str) + "\n"
    for name in files:  # never a mixture of two runs; until now an earlier result was left as it was
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        write_atomic(folder / name, content)
    print(f"test: accuracy {result['accuracy']:.3f} (majority class: {result['majority_accuracy']:.3f}), "
          f"AUROC {result['auroc']:.3f}, ECE {result['ece']:.3f}, positive class “{data.positive}”\nwritten: {folder}")
    return folder
