"""What earlier weeks left, for the notebooks that build on it. Where it is missing, a short stand-in, said aloud."""

import json
from pathlib import Path

import numpy as np
from torch import nn

from medssl import recipes
from medssl.course import find_artifact
from medssl.course.predictions import read_predictions
from medssl.data import ImageData
from medssl.errors import MedsslError
from medssl.evaluate import evaluate, summarise_seeds

STAND_IN = "{what} of week {week} not found for {name}: a short run of {steps} steps stands in. Its numbers say little."


def encoders(data: ImageData, name: str, root=None, *, seeds: int = 3, steps: int = 300) -> tuple[list[nn.Module], str]:
    """(week 4's encoders, one a pretraining seed; "" or what stands in for them)."""
    file = find_artifact(4, "ssl_config.json", data.key, name, root)
    weights = ["ssl_encoder.pt", *(f"ssl_encoder_seed{seed}.pt" for seed in range(1, seeds))]
    found = [path for path in (find_artifact(4, one, data.key, name, root) for one in weights) if path]
    if file and found:
        config = json.loads(file.read_text(encoding="utf-8"))
        if config.get("split_hash", data.split_hash()) != data.split_hash():
            raise MedsslError(f"Week 4's encoder was pretrained on another {data.key}.", "one data set in all weeks",
                              "run week 4 again with this data, or load the data that it used")
        print(f"{len(found)} encoders of week 4: {config['method']}, {config['backbone']}, {config['steps']} steps")
        return [recipes.load_encoder(config, path) for path in found], ""
    note = STAND_IN.format(what="The encoder", week=4, name=name, steps=steps)
    print(note)
    return [run.encoder for run in recipes.pretrain_seeds(data, seeds, steps=steps)], note


def reference(data: ImageData, name: str, root=None, *, seeds: int = 3, steps: int = 100) -> tuple[dict, str]:
    """({"val": Scored, "test": Scored} of week 3's locked reference; "" or what stands in for it)."""
    found = _scores(3, "predictions_reference_{}.csv", data, name, root)
    if found:
        return found, ""
    note = STAND_IN.format(what="The locked reference", week=3, name=name, steps=steps)
    print(note)
    runs = recipes.over_seeds(data, seeds, "smallcnn", steps=steps, batch_size=64, lr=2e-3, augment="A",
                              weight_decay=0.05, label_smoothing=0.05, select="last")
    return {split: recipes.score(runs, data, split, tta=True) for split in ("val", "test")}, note


def fine_tuned(data: ImageData, name: str, root=None, *, seeds: int = 3, steps: int = 100,
               bodies: list[nn.Module] | None = None) -> tuple[dict, str]:
    """({"val": Scored, "test": Scored} of week 6's fine-tuned encoder; "" or what stands in for it).

    bodies: what encoders() gave, where it was called already, for the stand-in to start from.
    """
    found = _scores(6, "predictions_ssl_finetune_{}.csv", data, name, root)
    if found:
        return found, ""
    note = STAND_IN.format(what="The fine-tuned model", week=6, name=name, steps=steps)
    print(note)
    bodies, also = (bodies, "") if bodies else encoders(data, name, root, seeds=seeds, steps=steps)
    runs = [recipes.finetune(data, body, seed=seed, steps=steps, quiet="silent") for seed, body in enumerate(bodies)]
    return {split: recipes.score(runs, data, split) for split in ("val", "test")}, f"{note} {also}".strip()


def _scores(week: int, file: str, data: ImageData, name: str, root: str | Path | None) -> dict:
    """{"val": Scored, "test": Scored} read from predictions of an earlier week; {} unless both are there."""
    paths = {split: find_artifact(week, file.format(split), data.key, name, root) for split in ("val", "test")}
    if not all(paths.values()):
        return {}
    out = {}
    for split, path in paths.items():
        y, rows = data.splits[split].labels.numpy(), read_predictions(path)
        p = {seed: scores[np.argsort(index)] for seed, (index, _, scores) in rows.items()}
        if any(not np.array_equal(truth[np.argsort(index)], y) for index, truth, _ in rows.values()):
            raise MedsslError(f"{path.name} of week {week} does not hold the labels of {data.key}'s {split} split.",
                              "scores of the very images that are loaded here", f"run week {week} again with this data")
        per_seed = [{"seed": seed, **evaluate(y, q, data.classes, seed=seed)} for seed, q in p.items()]
        out[split] = recipes.Scored(split, y, p, per_seed, summarise_seeds(per_seed))
    print(f"week {week}: {len(out['test'].p)} seeds of {paths['test'].name}")
    return out
