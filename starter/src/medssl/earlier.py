"""What earlier weeks left, for the notebooks that build on it.

Where it is missing, the course's own hand-in of that week ("reference") stands in, and where there is none of this data
either, a short run. Both are said aloud, and belong into run.json's notes.
"""

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
REFERENCE = {"batch_size": 64, "lr": 2e-3, "augment": "A", "weight_decay": 0.05, "label_smoothing": 0.05,
             "select": "last"}  # as week 3's reference hand-in was trained
OURS = "reference"  # the name under which the course's own runs are handed in


def encoders(data: ImageData, name: str, root=None, *, seeds: int = 3, steps: int = 300) -> tuple[list[nn.Module], str]:
    """(week 4's encoders, one a pretraining seed; "" or what stands in for them)."""
    (file, _), who, note = _find(4, ["ssl_config.json", "ssl_encoder.pt"], data, name, root)
    if file:
        config = json.loads(file.read_text(encoding="utf-8"))
        made = config.get("seeds", [0])[:seeds]  # files of an earlier, longer run may lie beside them: not those
        files = [f"ssl_encoder_seed{seed}.pt" if seed else "ssl_encoder.pt" for seed in made]
        found = [path for one in files if (path := find_artifact(4, one, data.key, who, root))]
        if config.get("split_hash", data.split_hash()) != data.split_hash():
            raise MedsslError(f"Week 4's encoder was pretrained on another {data.key}.", "one data set in all weeks",
                              "run week 4 again with this data, or load the data that it used")
        few = f" ({seeds} were asked for)" if len(found) < seeds else ""
        how = f"{config['method']}, {config['backbone']}, {config['steps']} steps"
        print(f"{len(found)} encoders of week 4{few}: {how}")
        return [recipes.load_encoder(config, path) for path in found], note
    note = STAND_IN.format(what="The encoder", week=4, name=name, steps=steps)
    print(note)
    return [run.encoder for run in recipes.pretrain_seeds(data, seeds, steps=steps)], note


def reference(data: ImageData, name: str, root=None, *, seeds: int = 3, steps: int = 100,
              tta: bool = True) -> tuple[dict, str]:
    """({"val": Scored, "test": Scored} of week 3's locked reference; "" or what stands in for it)."""
    found, note = _scores(3, "predictions_reference_{}.csv", data, name, root)
    if found:
        return found, note
    note = STAND_IN.format(what="The locked reference", week=3, name=name, steps=steps)
    print(note)
    runs = recipes.over_seeds(data, seeds, "smallcnn", steps=steps, **REFERENCE)
    return {split: recipes.score(runs, data, split, tta=tta) for split in ("val", "test")}, note


def classifiers(data: ImageData, name: str, root=None, *, seeds: int = 3,
                steps: int = 360) -> tuple[list[nn.Module], str]:
    """(week 3's locked reference as a model, to be shown new images; "" or how it was made anew).

    Its weights are large and seldom handed in. Where they are not at hand, the course's own reference is trained again.
    """
    (file, weights), _, note = _find(3, ["reference_supervised.json", "reference_supervised.pt"], data, name, root)
    if file:
        config = json.loads(file.read_text(encoding="utf-8"))["config"]
        print(f"the locked reference of week 3: {config['model']}, seed {config['seed']}")
        return [recipes.load_classifier(config, weights, data)], note
    note = (f"Week 3's reference_supervised.pt not found for {name}: {seeds} small networks, trained like the course's "
            f"own reference for {steps} steps, stand in.")
    print(note)
    return [run.model for run in recipes.over_seeds(data, seeds, "smallcnn", steps=steps, **REFERENCE)], note


def fine_tuned(data: ImageData, name: str, root=None, *, seeds: int = 3, steps: int = 100,
               bodies: list[nn.Module] | None = None) -> tuple[dict, str]:
    """({"val": Scored, "test": Scored} of week 6's fine-tuned encoder; "" or what stands in for it).

    bodies: what encoders() gave, where it was called already, for the stand-in to start from.
    """
    found, note = _scores(6, "predictions_ssl_finetune_{}.csv", data, name, root)
    if found:
        return found, note
    note = STAND_IN.format(what="The fine-tuned model", week=6, name=name, steps=steps)
    print(note)
    bodies, also = (bodies, "") if bodies else encoders(data, name, root, seeds=seeds, steps=steps)
    runs = [recipes.finetune(data, body, seed=seed, steps=steps, quiet="silent") for seed, body in enumerate(bodies)]
    return {split: recipes.score(runs, data, split) for split in ("val", "test")}, f"{note} {also}".strip()


def _find(week: int, files: list[str], data: ImageData, name: str, root) -> tuple[list, str, str]:
    """(all of `files`, from one person; whose they are; "" or a note that they are ours); (Nones, "", "")."""
    for who in dict.fromkeys((name, OURS)):
        paths = [find_artifact(week, file, data.key, who, root) for file in files]
        if all(paths):
            note = "" if who == name else f"Week {week} not found for {name}: the course's own stands in."
            print(note, end="\n" * bool(note))
            return paths, who, note
    return [None] * len(files), "", ""


def _scores(week: int, file: str, data: ImageData, name: str, root: str | Path | None) -> tuple[dict, str]:
    """({"val": Scored, "test": Scored} read from predictions of an earlier week, "" or whose); ({}, "") if nowhere."""
    splits = ("val", "test")
    found, _, note = _find(week, [file.format(split) for split in splits], data, name, root)
    if not all(found):
        return {}, ""
    paths, out = dict(zip(splits, found, strict=True)), {}
    for split, path in paths.items():
        y, rows = data.splits[split].labels.numpy(), read_predictions(path)
        p = {seed: scores[np.argsort(index)] for seed, (index, _, scores) in rows.items()}
        if any(not np.array_equal(truth[np.argsort(index)], y) for index, truth, _ in rows.values()):
            raise MedsslError(f"{path.name} of week {week} does not hold the labels of {data.key}'s {split} split.",
                              "scores of the very images that are loaded here", f"run week {week} again with this data")
        per_seed = [{"seed": seed, **evaluate(y, q, data.classes, seed=seed)} for seed, q in p.items()]
        out[split] = recipes.Scored(split, y, p, per_seed, summarise_seeds(per_seed))
    print(f"week {week}: {len(out['test'].p)} seeds of {paths['test'].name}")
    return out, note
