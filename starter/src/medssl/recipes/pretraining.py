"""Learning without labels: the train images, views of each, a method; and the encoder that is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from medssl.data import ImageData, InMemory
from medssl.errors import MedsslError
from medssl.evaluate import collapse_warning, embedding_health
from medssl.evaluate import encode as encode_images
from medssl.methods import MaskedJEPA
from medssl.models import build_encoder, count_parameters, digest
from medssl.models.export import SHAPE
from medssl.recipes.learners import (
    BELONGS,
    MASKED,
    SEEN,
    built_with,
    find_method,
    loss_by_chance,
    own_settings,
    patch_for,
    views_for,
)
from medssl.train import Trainer, nobody_watches
from medssl.views import Augment


@dataclass
class Pretrained:
    """An encoder that saw no label; `config` is what ssl_config.json says, `warning` is "" unless it collapsed, `views`
    is what the method was shown."""

    encoder: nn.Module
    method: nn.Module
    history: list[dict]
    seconds: float
    config: dict
    warning: str
    views: Callable

    def __str__(self) -> str:
        """How it went, in one line."""
        last, chance = self.history[-1], self.config["chance_level"]
        digits, known = (3, "") if chance is None else (2, f" (chance {chance:.2f})")  # grey values: hundredths
        return (f"loss {self.history[0]['loss']:.{digits}f} → {last['loss']:.{digits}f}{known}, "
                f"rank {last['val_rank']:.0f} of at most {self.config['rank_at_most']}, {last['epoch']} epochs in "
                f"{self.seconds:.0f} s")


def pretrain(data: ImageData, method: str | type = "simclr", model: str | nn.Module = "smallcnn", *,
             steps: int | None = None, epochs: int | None = None, batch_size: int = 256, lr: float = 2e-3,
             weight_decay: float = 1e-4, temperature: float | None = None, proj_dim: int = 128,
             augment: str | Augment = "ssl", seed: int = 0, queue_size: int | None = None,
             momentum: float | None = None, lam: float | None = None, slices: int | None = None,
             global_views: int | None = None, local_views: int | None = None, weights: str | None = None,
             stem: str = "imagenet", vit_size: str | None = None, patch: int | Sequence[int] | None = None,
             out: str | Path | None = None, resume: bool = True, validate: Callable | None = None,
             hooks: Sequence[tuple[int, str, Callable]] = (), **settings) -> Pretrained:
    """Pretrain an encoder on the train split; no label is read, and no image of val or test is learnt from.

    The last weights are kept: without labels there is nothing to choose an epoch by. Some settings belong to some
    methods (learners.BELONGS lists them: masks=, target=, mode= … are of those that predict from masks, for images and
    for volumes), weights and stem to a ResNet, vit_size and patch to a ViT; all others go to the Trainer. `method` may
    be a class of your own that is built as SimCLR is, or a subclass of LeJEPA or MaskedJEPA. In the folder `out` a run
    that was cut goes on; resume=False starts it over. validate: what the Trainer looks at after an epoch; hooks: what
    Trainer.every is to call.
    """
    kind, method, family = find_method(method)
    own = own_settings(method, family, {
        "temperature": temperature, "queue_size": queue_size, "momentum": momentum, "lam": lam, "slices": slices,
        "global_views": global_views, "local_views": local_views,
        **{name: settings.pop(name) for name in BELONGS if name in settings}})
    seen = {name: own.pop(name) for name in SEEN if name in own}
    with torch.random.fork_rng(devices=[]):  # first weights from the seed; the caller's random numbers stay
        torch.manual_seed(seed)
        if model != "vit" and (vit_size or patch):
            raise MedsslError(f"{vit_size=}, {patch=} without a ViT of its own to build.", 'model="vit"')
        if isinstance(model, str):
            options = {"stem": stem, "weights": weights} if model.startswith("resnet") else {}
            if model == "vit":
                options = {"patch": patch_for(data.train.images.shape[1:], patch)}
                options |= {"size": vit_size} if vit_size else {}
                options |= {"spacing": data.spacing} if data.spacing else {}
            model, name, start = build_encoder(model, in_channels=data.channels, **options), model, {}
        else:  # what load_encoder needs to build it again, and what tells a resumed run from one with another start
            name, start = type(model).__name__.lower(), {"start": digest(model.state_dict())}
            options = {key: value for key, value in vars(model).items() if key in SHAPE}
            options |= {"weights": "imagenet"} if model.backbone == "imagenet" else {}
        learner = kind(model, proj_dim=proj_dim, **own)
    own, dim = built_with(learner), proj_dim if hasattr(learner, "head") else model.dim
    if batch_size < 2:
        raise MedsslError(f"batch_size={batch_size}", "2 or more: a view is told apart from those of other images")
    batch_size = min(batch_size, len(data.train))
    source = InMemory(data.train, batch_size, seed=seed, drop_last=True)  # a smaller batch would be an easier task
    views = views_for(family, data, model, augment, seen)
    about = {"dataset": data.key, "split_hash": data.split_hash(), "image_size": data.size, "model": model.describe(),
             "batch_size": batch_size, "proj_dim": proj_dim, **own, **start,
             "parameters": count_parameters(model)}
    trainer = Trainer(learner, source, steps=steps, epochs=epochs, views=views, lr=lr, weight_decay=weight_decay,
                      seed=seed, out=out, validate=validate or watch_embeddings(data), about=about,
                      **settings)
    for hook in hooks:
        trainer.every(*hook)
    source.to(trainer.device)
    result = trainer.fit(resume)
    if family == "lejepa":
        own |= {"global_views": views.n_global, "local_views": views.n_local}
    last = result.history[-1]
    config = {"method": method, "backbone": name, "backbone_settings": options, "proj_dim": proj_dim,
              "batch_size": batch_size, "epochs": last["epoch"], "steps": result.steps,
              "optimizer": result.config["optimizer"], "lr": lr, "weight_decay": weight_decay,
              "tau": own.pop("temperature", None), "augmentations": repr(views.augment), "dataset": data.key,
              "seed": seed, **own, "views": repr(views),
              "chance_level": loss_by_chance(learner, views, batch_size), "rank_at_most": min(dim, len(data.val)),
              "split_hash": data.split_hash(), "image_size": data.size,
              "channels": data.channels, "precision": result.config["precision"], "schedule": result.config["schedule"],
              "warmup_steps": result.config["warmup_steps"]}
    model.backbone = f"{method} {last['epoch']} epochs"
    health = {key.removeprefix("val_"): value for key, value in last.items() if key.startswith("val_")}
    warning = collapse_warning(health, dim, len(data.val), "masks.png" if family in MASKED else "view_pairs.png")
    return Pretrained(model, learner, result.history, result.seconds, config, warning, views)


def pretrain_seeds(data: ImageData, seeds: int, method: str | type = "simclr", *, out: str | Path | None = None,
                   **settings) -> list[Pretrained]:
    """The same pretraining from several first weights, one line a seed; with `out`, each in a folder of its own."""
    if seeds < 1:
        raise MedsslError(f"seeds={seeds}", "one seed or more; three say something about the spread")
    runs = []
    for seed in range(seeds):
        run = pretrain(data, method, seed=seed, quiet="silent" if nobody_watches() else False,
                       out=out and Path(out) / f"seed{seed}", **settings)
        print(f"seed {seed}: {run}")
        if run.warning:
            print(run.warning)
        runs.append(run)
    return runs


class Embeddings(nn.Module):
    """Images -> the embeddings that the loss makes even: by the head; of a method of masks the mean over tokens of what
    the head makes of each, which is not what it makes of the mean token."""

    def __init__(self, method: nn.Module):
        super().__init__()
        self.method = method

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.method, MaskedJEPA):
            return self.method.project(self.method.encoder.tokens(x)).mean(1)
        return self.method.head(self.method.encoder(x))


def watch_embeddings(data: ImageData) -> Callable[[nn.Module], dict]:
    """What the trainer looks at after an epoch: how the val images spread as embeddings. No label is read.

    A method without a head is judged by its features, less their mean: what all images share is no collapse there.
    """

    def validate(method: nn.Module) -> dict:
        if hasattr(method, "head"):
            return embedding_health(encode_images(Embeddings(method), data.val.images))
        features = encode_images(method.encoder, data.val.images)
        return embedding_health(features - features.mean(0))

    return validate
