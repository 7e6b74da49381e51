"""Week 13: a UNet learns from masked patches and from the two halves of a slice; what is looked at while it does."""

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, nn

from medssl.about import VERSION
from medssl.data import ImageData, Split
from medssl.evaluate import encode, flat_map
from medssl.figures import embeddings, reconstruction, stamp
from medssl.files import write_atomic
from medssl.models.normalise import Normalise
from medssl.recipes.learners import views_for
from medssl.recipes.pretraining import Pretrained, pretrain, watch_embeddings
from medssl.train import Trainer
from medssl.views import Augment, Halves

SHOWN, MAPPED = 6, 300  # images of a panel, of a t-SNE map
EARLY = 50  # steps until BatchNorm's running averages, 0.9 of the last ones each step, forget what they began with
README = """# {method} on {dataset}

{summary}
{warning}
| | |
|---|---|
{rows}

- checkpoints/: the run goes on from here when it is started again. history.jsonl: a row an epoch, the losses and two
  looks at the embeddings. variance_* (of train batches; val_variance_*: of val images) is of {spread},
  evenly spread {even:.4f}, dead: how many dimensions have less than 1 % of that. val_rank, val_std_*, val_cosine are
  of whole images.
- panels/: each epoch the same images: original, mask, reconstruction, residual.
{maps}- To use it: the encoder knows images that were resized and sharpened, views.Halves(**{halves}).prepare(images).
  {use}

The weights are those of epoch {best_epoch}, where the loss of the validation images was least.
"""
SAYS = ("mask_input", "recon_weight", "contrast_weight", "l2", "tau", "batch_size", "epochs", "lr", "weight_decay",
        "schedule", "warmup_steps", "precision", "seed", "split_hash")


def pretrain_unet_mim(data: ImageData, method: str | type = "unet_mim", model: str | nn.Module = "unet", *,
                      steps: int | None = None, epochs: int | None = None, batch_size: int = 64, lr: float = 1e-3,
                      weight_decay: float = 1e-4, patience: int | None = 10, views: Halves | None = None,
                      augment: str | Augment = "ssl", pixels: int | None = None, out: str | Path | None = None,
                      halves: Mapping | None = None, map_every: int = 5, seed: int = 0, **settings) -> Pretrained:
    """pretrain(data, "unet_mim") as week 13 fixes it: AdamW, cosine with warm-up, 100 epochs unless steps or epochs say
    otherwise, stopped where the validation loss has not fallen for `patience` epochs; the weights with the least one
    are kept. Mixed precision where the machine has it.

    views: Halves(size, patch, …); without, those of 192 pixels, or of pixels=, augment= and halves={"ratio": 0.4, …}.
    mask_input, recon_weight, contrast_weight, l2, temperature go to methods.UNetMIM; whatever else pretrain and the
    Trainer know, to them. In the folder `out`: checkpoints/, panels/ (each epoch), tsne/ (every `map_every`),
    README.md. Probe the encoder on prepared(data, views).
    """
    views, out = views or views_for("unet_mim", data, None, augment, {"pixels": pixels}), out and Path(out)
    if halves:
        views = Halves(**{"size": views.size, "augment": views.augment} | dict(halves))
    pictures = () if out is None else (
        (1, "epoch", draw_panel(data, views, out / "panels", seed)),
        (map_every, "epoch", draw_map(data, views, out / "tsne", seed)))
    run = pretrain(data, method, model, steps=steps, epochs=epochs or (None if steps else 100), seed=seed, lr=lr,
                   batch_size=batch_size, weight_decay=weight_decay, augment=views, monitor="loss", patience=patience,
                   validate=watch_losses(data, views, batch_size, seed), hooks=pictures,
                   out=out and out / "checkpoints", **settings)
    run.config["halves"] = {name: getattr(views, name) for name in ("size", "patch", "radius", "amount")}
    run.config["best_epoch"] = min(run.history, key=lambda row: row["val_loss"])["epoch"]
    dead, dims = run.history[-1].get("val_dead", 0), run.config["proj_dim"]
    if not run.warning and hasattr(run.method, "head") and dead > dims / 10:
        run.warning = (f"Collapse of dimensions: {dead:.0f} of {dims} dimensions of the halves' embeddings hardly vary "
                       "(below 1 % of an even spread). Try fewer of them (proj_dim) or a larger batch.")
    if run.warning and run.config["steps"] < EARLY:
        run.warning = (f"Too early to say after {run.config['steps']} steps, as BatchNorm's averages need some "
                       f"{EARLY}: {run.warning}")
    if out:
        write_atomic(out / "README.md", readme(run, data, out, map_every))
    return run


def readme(run: Pretrained, data: ImageData, out: Path, map_every: int) -> str:
    """What lies in the folder, from what it was made, how to make it again and how to use it."""
    views, plain = run.views, Augment().settings
    changes = {name: value for name, value in views.augment.settings.items() if value != plain[name]}
    facts = {"train images": len(data.train), "val images": len(data.val),
             **{name: run.config[name] for name in SAYS},
             "views": repr(views).partition(", augment=")[0] + ")",
             "changes of a half": ", ".join(f"{name}={value}" for name, value in changes.items()) or "none",
             "device": next(run.method.parameters()).device.type,
             "made with": f"medssl {VERSION}, torch {torch.__version__}"}
    if Path(sys.argv[0]).name == "medssl":
        facts["command"] = f"`{shlex.join(['medssl', *sys.argv[1:]])}`"
    labels = "" if data.multilabel or len(data.classes) < 2 else " / ".join(data.classes)
    coloured = f"coloured by {labels}" if labels else "in one colour, without labels"
    often = "each epoch" if map_every == 1 else f"every {map_every} epochs"
    maps = f"- tsne/: {often} the same images on a map, {coloured}. Read neighbours only.\n"
    use = "`medssl evaluate` does that by itself, in Python recipes.prepared(data, views) for a whole data set."
    if data.modality.endswith(" slices"):
        use = ("`medssl evaluate` reads NIfTI as volumes, not as slices. In Python: data.slices.load_slices as here,\n"
               "  then recipes.prepared(data, views), then recipes.probe_grid.")
    warning = run.warning if run.warning.startswith("Too early") else f"**{run.warning}**"
    return README.format(**run.config | {
        "summary": str(run).replace("1 epochs", "1 epoch") if run.config["epochs"] == 1 else run,
        "warning": f"\n{warning}\n" if run.warning else "", "use": use, "maps": maps if (out / "tsne").is_dir() else "",
        "spread": "halves through the head" if hasattr(run.method, "head") else "whole images in train mode",
        "even": 1 / (run.config["proj_dim"] if hasattr(run.method, "head") else run.encoder.dim),
        "rows": "\n".join(f"| {name} | {value} |" for name, value in facts.items())})


def prepared(data: ImageData, views: Halves | None = None) -> ImageData:
    """The data as the UNet is shown them, for probes and fine-tuning: all splits resized and sharpened, as uint8."""
    views = views or Halves()

    def one(split: Split) -> Split:
        if not len(split):
            return split
        parts = [(views.prepare(part) * 255).round().to(torch.uint8) for part in split.images.split(256)]
        return replace(split, images=torch.cat(parts))

    return replace(data, **{name: one(split) for name, split in data.splits.items()}, size=views.size)


class Prepared(Normalise):
    """Takes the place of an encoder's `normalise`, so that it resizes and sharpens whatever it is shown."""

    def __init__(self, normalise: Normalise, halves: dict):
        super().__init__(normalise.in_channels)
        self.load_state_dict(normalise.state_dict())
        self.prepare = Halves(**halves).prepare

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.prepare(x))


def watch_losses(data: ImageData, views: Halves, batch_size: int, seed: int) -> Callable[[nn.Module], dict]:
    """What the trainer looks at after an epoch: the losses of the val images, with the same masks and changes every
    time, and how these images, whole, spread as embeddings.

    The images come in one shuffled order, the same after each epoch: in the order of the files a piece would hold one
    source, or neighbours of one volume, and to tell these apart is a harder task than that of a train batch."""
    health = watch_embeddings(prepared(replace(data, train=data.val, test=data.val), views))
    order = torch.randperm(len(data.val), generator=Generator().manual_seed(seed))
    pieces = data.val.images[order].tensor_split(-(-len(data.val) // batch_size))  # none much smaller: an easier task

    def validate(method: nn.Module) -> dict:
        generator, device = Generator().manual_seed(seed), next(method.parameters()).device
        sums = {}
        for piece in pieces:
            for name, value in method(views({"image": piece.to(device)}, generator)).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(piece) / len(data.val)
        return sums | health(method)

    return validate


def draw_panel(data: ImageData, views: Halves, folder: Path, seed: int) -> Callable:
    """A hook that draws the same val images with the same masks: original, mask, reconstruction, residual."""
    batch = views({"image": evenly(data.val, SHOWN).images}, Generator().manual_seed(seed))

    def draw(trainer: Trainer, _: Generator) -> None:
        seen = {name: value.to(trainer.device) for name, value in batch.items()}
        figure = reconstruction(batch["image"], batch["mask"], trainer.method.draw(seen),
                                title=f"epoch {trainer.epoch}")
        save(figure, folder, trainer.epoch, data)

    return draw


def draw_map(data: ImageData, views: Halves, folder: Path, seed: int) -> Callable:
    """A hook that maps the features of the same train images with t-SNE, a colour a label: of `together` the set."""
    some = evenly(data.train, MAPPED)
    images, multi = views.prepare(some.images), data.multilabel
    labels, classes = (torch.zeros(len(some)), ("images",)) if multi else (some.labels, data.classes)

    def draw(trainer: Trainer, _: Generator) -> None:
        places = flat_map(encode(trainer.method, images, batch_size=64), seed=seed)
        figure = embeddings({f"epoch {trainer.epoch}": places}, labels, classes)
        save(figure, folder, trainer.epoch, data)

    return draw


def evenly(split: Split, n: int) -> Split:
    """n images (or all) at even distances: of sets laid one behind the other some of each."""
    at = torch.linspace(0, len(split) - 1, min(n, len(split))).round().long()
    return Split(split.images[at], split.labels[at])


def save(figure, folder: Path, epoch: int, data: ImageData) -> None:
    """The figure of that epoch in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (stamp(figure, "PHANTOM data") if data.is_phantom else figure).savefig(folder / f"epoch_{epoch:03}.png", dpi=110)
