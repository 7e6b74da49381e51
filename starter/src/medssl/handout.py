"""The handout's two commands: train a classifier, or pretrain an encoder; everything about it in one folder."""

import io
import json
import os
import tempfile
from pathlib import Path

import torch

from medssl.course.predictions import format_predictions
from medssl.course.provenance import environment
from medssl.data import ImageData, image_hashes, load
from medssl.data.medmnist import PHANTOM_FOR, file_path
from medssl.errors import MedsslError
from medssl.figures import masks, reliability, ssl_curves, stamp, view_pairs
from medssl.files import write_atomic
from medssl.models.export import encoder_files
from medssl.recipes import METHODS, Pretrained, pretrain, pretrain_unet_mim, score, train_supervised
from medssl.recipes.learners import MASKED
from medssl.train.processes import first
from medssl.views import Augment, TwoViews, preset

WEEK_5 = ("breastmnist", "breastphantom", "pneumoniamnist", "pneumoniaphantom")  # the sets that it takes encoders of


def train_and_test(dataset: str = "breastmnist", model: str = "smallcnn", *, weights: str = "imagenet",
                   size: int = 28, root: Path | None = None, out: Path | None = None, seed: int = 0,
                   finetune: str = "all", lr: float = 1e-3, **settings) -> Path:
    """Train, keep the weights that were best on val, write the folder and return it."""
    start, data, folder = _begin(dataset, model, weights, lr, size, root, out or
                                 f"runs/{dataset}_{model}_{finetune}_seed{seed}")
    run = train_supervised(data, model, finetune=finetune, weights=start, seed=seed, lr=lr, **settings)
    test = score([run], data, "test")
    p, result = test.p[seed], test.per_seed[0]
    metrics = {"model": model, "dataset": dataset, "split": "test", "seeds": [seed], **result, "per_seed": [result],
               "predictions": "predictions_test.csv", "backbone": start or "random",
               "data": {"split_hash": data.split_hash(), "phantom": data.is_phantom}}
    _write(folder, {
        "best.pt": _torch({"model": run.model.state_dict(), "dataset": dataset, "classes": list(data.classes)}),
        "val_log.jsonl": "".join(json.dumps(row) + "\n" for row in run.history),
        "predictions_test.csv": format_predictions({seed: (range(len(p)), test.y, p)}),
        "reliability.png": to_png(reliability(test.y, p, data.positive), data, f"{start or 'random'} backbone"),
        "config.json": _json(run.config), "env.json": _json(environment()), "test_metrics.json": _json(metrics)})
    print(f"test: accuracy {result['accuracy']:.3f} (majority class: {result['majority_accuracy']:.3f}), "
          f"AUROC {result['auroc']:.3f}, ECE {result['ece']:.3f}, positive class “{data.positive}”\nwritten: {folder}")
    return folder


def pretrain_and_keep(method: str = "simclr", dataset: str | ImageData = "breastmnist", model: str = "smallcnn", *,
                      weights: str = "none", size: int = 28, root: Path | None = None, out: Path | None = None,
                      seed: int = 0, batch_size: int = 256, lr: float = 2e-3, augment: str | Augment = "ssl",
                      fresh: bool = False, called: str | None = None, settings_from: dict[str, str] | None = None,
                      fewer: bool = False, **settings) -> Path:
    """Pretrain on the train images of a data set, or of images at hand, write week 4's files and the encoder for others
    into the folder and return it. settings_from: who said which setting, for ssl_config.json. called: what is given
    away with the encoder as the name of the images; those at hand have none there (a folder may be named after a
    patient), a data set its key. fewer: nobody asked for this batch_size, so where it is more than all train images, it
    is all of them; without it that is an error.

    Checkpoints lie in a folder of their own below it, so a run that was cut goes on, and until it ends the files of an
    earlier one stay as they are.
    """
    if method not in METHODS:
        known = ", ".join(name.replace("_", "-") for name in METHODS if name != "seedjepa")  # which is only to be shown
        raise MedsslError(f"There is no method {method!r}.", f"one of {known}")
    own = isinstance(dataset, ImageData)
    name = dataset.key if own else dataset
    start, data, folder = _begin(dataset, model, weights, lr, size, root, out or
                                 f"runs/{name}_{method}_{model}_seed{seed}")
    if len(data.val) < 2:
        raise MedsslError(f"{name} has {len(data.val)} images in val.", "2 or more, to watch how embeddings spread",
                          "More images, or another split.")
    if fewer and 2 <= len(data.train) < batch_size:
        batch_size = len(data.train)
        print(f"batch: all {batch_size} train images", flush=True)
    if batch_size > len(data.train):
        raise MedsslError(f"A batch of {batch_size} from {len(data.train)} train images.",
                          f"--batch-size {len(data.train)} or less: a batch shows no image twice")
    try:
        learn, place = (pretrain_unet_mim, folder) if method == "unet_mim" else (pretrain, folder / "checkpoints")
        run = learn(data, method, model, weights=start, seed=seed, batch_size=batch_size, lr=lr, augment=augment,
                    out=place, resume=not fresh, **settings)
    except (KeyboardInterrupt, SystemExit):
        print("stopped: the same command (without --fresh) goes on from here", flush=True)
        raise
    if not first():
        return folder
    columns = [name for name in run.history[-1] if name not in ("epoch", "step")]
    table = [["epoch", "step", *columns]] + [[row["epoch"], row["step"], *(f"{row[name]:.6g}" for name in columns)]
                                             for row in run.history]
    curves = ssl_curves(run.history, chance=run.config["chance_level"], title=f"{method}, {model}, {name}")
    run.method.cpu()  # so that a machine without a GPU opens the files
    config = run.config | {"settings_from": settings_from or {}}
    about = run.config | {"dataset": called or ("images of one's own" if own else name), "modality": data.modality,
                          "license": data.license, "images": len(data.train), "spacing": data.spacing,
                          "image_size": "×".join(map(str, data.train.images.shape[2:])),
                          "phantom": "yes" if data.is_phantom else ""}
    head = {"ssl_proj_head.pt": _torch(run.method.head.state_dict())} if hasattr(run.method, "head") else {}
    _write(folder, {
        "ssl_encoder.pt": _torch(run.encoder.state_dict()), **head,
        **encoder_files(run.encoder, about, image_hashes(data.train.images)), **_seen(data, run, augment, seed),
        "ssl_loss.csv": "".join(",".join(map(str, line)) + "\n" for line in table),
        "ssl_loss_curve.png": to_png(curves, data),
        "history.jsonl": (folder / "checkpoints/history.jsonl").read_bytes(),
        "env.json": _json(environment()), "ssl_config.json": _json(config)})
    print("\n".join(line for line in (str(run), run.warning, f"written: {folder}") if line))
    look = f"next: look at {'masks' if method in MASKED else 'view_pairs'}.png and ssl_loss_curve.png. "
    if own:
        then = f"`medssl evaluate {folder}` with labels"
        if method == "unet_mim" and data.modality.endswith(" slices"):  # of volumes, which evaluate reads whole
            then = f"{folder}/README.md says how to probe slices"
        print(f"{look}Then {then}. MODEL_CARD.md is to be completed before the encoder "
              "goes to anybody")
    elif name in WEEK_5:
        print(f"{look}With ssl_config.json and ssl_encoder.pt in results/week4/{name}/<you>, week 5 probes this "
              "encoder")
    else:
        print(f"{look}Then `medssl evaluate {folder} --dataset {name}`")
    return folder


def _seen(data: ImageData, run: Pretrained, augment: str | Augment, seed: int) -> dict[str, bytes]:
    """A picture of the pairs that a method compares, or of what it sees and what it predicts from that."""
    if run.config["method"] in MASKED:
        seen = run.views({"image": data.train.images[:4]}, torch.Generator().manual_seed(seed))
        return {"masks.png": to_png(masks(seen["image"], (seen["context"], seen["targets"]),
                                        run.encoder.grid(seen["image"]), spacing=data.spacing), data)}
    views, pair = run.views, ("left", "right")
    if run.config["method"] != "unet_mim":
        augment = preset(data.modality, augment) if isinstance(augment, str) else augment
        views, pair = TwoViews(augment), ("view1", "view2")
    seen = views({"image": data.train.images[:16]}, torch.Generator().manual_seed(seed))
    return {"view_pairs.png": to_png(view_pairs(*(seen[name] for name in pair)), data)}


def _begin(dataset: str | ImageData, model: str, weights: str, lr: float, size: int, root: Path | None,
           out: Path | str) -> tuple[str | None, ImageData, Path]:
    """(first weights, the data, the folder); what can be wrong with them is said before the training."""
    if weights not in ("imagenet", "none") or not 0 < lr < float("inf"):
        raise MedsslError(f"weights {weights}, learning rate {lr}.", "imagenet or none, and a number above 0")
    try:
        data = dataset if isinstance(dataset, ImageData) else load(dataset, root, size)
    except MedsslError as error:
        if dataset not in PHANTOM_FOR or file_path(dataset, root, size).exists():
            raise
        raise MedsslError(error.wrong, error.expected,
                          f"{error.fix} Here that is --dataset {PHANTOM_FOR[dataset]}.") from error
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    print(data, flush=True)
    return weights if model.startswith("resnet") and weights != "none" else None, data, folder


def _write(folder: Path, files: dict[str, str | bytes]) -> None:
    """All the files of one run, each replacing that of an earlier one; any other file in the folder stays.

    All are on the disk before the first is renamed: where it fills up, the earlier result is still whole.
    """
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as beside:
        written = [write_atomic(Path(beside, name), content) for name, content in files.items()]
        for path in written:
            os.replace(path, folder / path.name)


def _json(content: dict) -> str:
    return json.dumps(content, indent=2, default=str) + "\n"


def _torch(content: dict) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def to_png(figure, data: ImageData, about: str = "") -> bytes:
    """The figure as a file; a phantom says so on it."""
    stream, mark = io.BytesIO(), " · ".join(part for part in ("PHANTOM data" * data.is_phantom, about) if part)
    (stamp(figure, mark) if mark else figure).savefig(stream, dpi=150, format="png")
    return stream.getvalue()
