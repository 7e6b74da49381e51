"""Learning with labels: train, over seeds, and the one way to a split's metrics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch import nn

from medssl.data import ImageData, InMemory, label_subset
from medssl.errors import MedsslError
from medssl.evaluate import auroc_values, evaluate, predict_many, predict_proba, summarise_seeds
from medssl.evaluate.over_runs import strata
from medssl.evaluate.probes_many import log_loss as log_loss_many
from medssl.methods import Supervised
from medssl.models import build_encoder, count_parameters, encoder_to_fill
from medssl.train import Trainer, nobody_watches
from medssl.views import Augment, OneView, preset


class Findings(Supervised):
    """Several findings at once, labels [B,K] of 0 and 1: binary cross-entropy, the mean over all K and images.

    Label smoothing as in a softmax of two: q = y (1 - eps) + eps / 2. accuracy is that of all single answers.
    """

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits, labels = self.predict(batch["image"]), batch["label"]
        q = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        return {"loss": F.binary_cross_entropy_with_logits(logits, q.to(logits.dtype)),
                "accuracy": ((logits.detach() > 0) == labels.bool()).float().mean()}


@dataclass
class Trained:
    """A trained classifier and how it came to be; `best` is the validated epoch whose weights it holds."""

    model: nn.Module
    history: list[dict]
    best: dict | None
    seconds: float
    config: dict
    label_indices: list[int] = field(repr=False)


@dataclass
class Scored:
    """Several seeds of one configuration on one split: `p[seed]` is P(class 1) [N], `per_seed` its metrics."""

    split: str
    y: np.ndarray
    p: dict[int, np.ndarray]
    per_seed: list[dict]
    mean: dict

    @property
    def typical(self) -> int:
        """The seed with the median AUROC: where one training stands for all, chosen by rule and not by eye."""
        ranked = sorted(self.per_seed, key=lambda metrics: metrics["auroc"])
        return ranked[(len(ranked) - 1) // 2]["seed"]

    def of(self, seed: int) -> dict:
        """The metrics of one seed."""
        return next(metrics for metrics in self.per_seed if metrics["seed"] == seed)


def train_supervised(data: ImageData, model: str | nn.Module = "resnet18", *, finetune: str = "all",
                     augment: str | Augment | None = "none", fraction: float = 1.0, seed: int = 0,
                     epochs: int | None = None, steps: int | None = None, batch_size: int = 128, lr: float = 1e-3,
                     weight_decay: float = 1e-2, label_smoothing: float = 0.0, weights: str | None = None,
                     stem: str = "imagenet", select: str = "best", head_lr_scale: float = 1.0,
                     first_head: dict | None = None, draw: int | None = None, about: dict | None = None,
                     out: str | Path | None = None, **trainer_settings) -> Trained:
    """Train a classifier on the train split, watching val: of two classes, of K, or of K findings (labels [N,K]).

    finetune="head" trains the last layer on a frozen backbone, "all" trains everything. `fraction` is the share of
    the train labels that is used. select="best" keeps the epoch with the highest val AUROC, "last" the last one.
    The last layer takes steps of head_lr_scale * lr, from first_head (a state_dict) where that is given.
    The labels are those of label_subset(…, seed=draw), by default the draw of the same number as the seed.
    augment=None leaves the images as they are: for volumes, which have no preset.
    `about` says what else the run is known by, in its config and where it is resumed.
    """
    if finetune not in ("all", "head") or select not in ("best", "last"):
        raise MedsslError(f"finetune={finetune!r}, select={select!r}", "finetune all or head, select best or last")
    with torch.random.fork_rng(devices=[]):  # first weights from the seed; the caller's random numbers stay
        torch.manual_seed(seed)
        if isinstance(model, str):
            options = {"stem": stem, "weights": weights} if model.startswith("resnet") else {}
            model = build_encoder(model, in_channels=data.channels, **options)
        kind = Findings if data.multilabel else Supervised
        method = kind(model, num_classes=len(data.classes), label_smoothing=label_smoothing,
                      train_encoder=finetune == "all", head_lr_scale=head_lr_scale)
        if first_head:
            method.head.load_state_dict(first_head)
        draw = seed if draw is None else draw
        labelled = label_subset(strata(data.train.labels.numpy()), fraction, draw)
        source = InMemory(data.train, min(batch_size, len(labelled)), seed=seed, indices=labelled)
        augment = preset(data.modality, augment) if isinstance(augment, str) else augment
    about = {"dataset": data.key, "split_hash": data.split_hash(), "image_size": data.size, "model": model.describe(),
             "finetune": finetune, "fraction": fraction, "draw": draw, "n_labels": len(labelled),
             "batch_size": batch_size, "label_smoothing": label_smoothing, "select": select,
             "head_lr_scale": head_lr_scale, "parameters": count_parameters(method), **(about or {})}
    views = OneView(augment) if augment else None
    trainer = Trainer(method, source, epochs=epochs, steps=steps, views=views, lr=lr, seed=seed,
                      out=out, weight_decay=weight_decay, validate=watch(data), about=about,
                      monitor="auroc" if select == "best" else None, **trainer_settings)
    source.to(trainer.device)  # a MedMNIST set is small: on the device, no batch waits for a copy
    result = trainer.fit()
    return Trained(method, result.history, result.best, result.seconds, result.config, labelled.tolist())


def over_seeds(data: ImageData, seeds: int, model: str = "resnet18", *, out: str | Path | None = None,
               **settings) -> list[Trained]:
    """The same configuration from several first weights: one line a seed, for a single training is an anecdote.

    With `out`, each seed has a folder of its own there.
    """
    if seeds < 1:
        raise MedsslError(f"seeds={seeds}", "one seed or more; three say something about the spread")
    runs = []
    for seed in range(seeds):
        run = train_supervised(data, model, seed=seed, quiet="silent" if nobody_watches() else False,
                               out=out and Path(out) / f"seed{seed}", **settings)
        last = run.history[-1]
        best = f"best val AUROC {run.best['value']:.3f} at epoch {run.best['epoch']}, " if run.best else ""
        print(f"seed {seed}: {best}last {last['val_auroc']:.3f} after {run.config['steps']} steps, {run.seconds:.0f} s")
        runs.append(run)
    return runs


def load_classifier(config: dict, weights: str | Path, data: ImageData) -> nn.Module:
    """The classifier whose state_dict week 3 handed in, built as its `config` says: model, stem, image size, data."""
    try:
        name, about = config["model"].split(" (", 1)  # as describe() wrote it: resnet18 (small stem, …)
        stem = {"stem": about.split()[0]} if name.startswith("resnet") else {}
        if (config["split_hash"], config["image_size"]) != (data.split_hash(), data.size):
            raise KeyError(f"trained on another {config['dataset']}")
        encoder = encoder_to_fill(name, data.channels, "imagenet backbone" in about, **stem)
        method = Supervised(encoder, num_classes=len(data.classes))
        method.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, EOFError, OSError, UnpicklingError) as error:
        raise MedsslError(f"{Path(weights).name} does not fit its config ({str(error).splitlines()[0][:200]}).",
                          "reference_supervised.json and .pt of one training, on this data",
                          "copy both from week 3's folder, or run week 3 again") from error
    return method.eval()


def weights_from(parameter: str) -> str | None:
    """A notebook's WEIGHTS, "imagenet" or "none", as train_supervised takes it: told at once if it is neither."""
    choices = {"imagenet": "imagenet", "none": None}
    if str(parameter).lower() not in choices:
        raise MedsslError(f"WEIGHTS = {parameter!r}", '"imagenet" (downloaded once) or "none" (random weights)')
    return choices[str(parameter).lower()]


def watch(data: ImageData) -> Callable[[nn.Module], dict]:
    """What the trainer looks at after an epoch: AUROC, accuracy and log loss on val, never on test.

    Of K classes or findings AUROC is the mean over those that val has images with and without.
    """
    y = data.val.labels.numpy()
    if data.multilabel or len(data.classes) > 2:
        return _watch_many(data, y)
    if len(np.unique(y)) < 2:
        raise MedsslError(f"{data.key}: the {len(y)} images of val are all of one class.",
                          "both classes in val: AUROC compares them", "Another split, or more images.")

    def validate(method: nn.Module) -> dict:
        p = predict_proba(method, data.val.images)
        return {"auroc": roc_auc_score(y, p), "accuracy": accuracy_score(y, p >= 0.5), "loss": log_loss(y, p)}

    return validate


def _watch_many(data: ImageData, y: np.ndarray) -> Callable[[nn.Module], dict]:
    true = y if data.multilabel else np.eye(len(data.classes), dtype=np.int64)[y]
    ranked = [k for k in range(true.shape[1]) if 0 < true[:, k].sum() < len(true)]
    if not ranked:
        raise MedsslError(f"{data.key}: val has no class with and without which there are images.",
                          "two classes at least in val", "a larger val")

    def validate(method: nn.Module) -> dict:
        p = predict_many(method, data.val.images, several=data.multilabel)
        right = (p >= 0.5) == y if data.multilabel else p.argmax(1) == y
        return {"auroc": float(auroc_values(true[:, ranked], p[None][..., ranked]).mean()),
                "accuracy": float(right.mean()), "loss": log_loss_many(y, p)}

    return validate


def score(runs: list[Trained], data: ImageData, split: str = "val", tta: bool = False, **evaluate_settings) -> Scored:
    """The one way to a split's metrics, for all seeds of one configuration together.

    Choose configurations, epochs, thresholds and temperatures on "val". "test" is for the one that was chosen, once.
    tta averages over mirrored and shifted versions (see predict_proba). It is part of a model: choose it on val,
    and say it beside the number.
    """
    if split not in data.splits:
        raise MedsslError(f"There is no split {split!r}.", " or ".join(data.splits))
    images, y = data.splits[split].images, data.splits[split].labels.numpy()
    p = {run.config["seed"]: predict_proba(run.model, images, tta=tta) for run in runs}
    if len(p) < len(runs) or not runs:
        raise MedsslError(f"Of {len(runs)} runs, {len(p)} have a seed of their own.", "one run for each seed",
                          "score one configuration at a time")
    per_seed = [{"seed": s, **evaluate(y, q, data.classes, seed=s, **evaluate_settings)} for s, q in p.items()]
    return Scored(split, y, p, per_seed, summarise_seeds(per_seed))
