"""Week 14: DINO on crops of scans: view, method and trainer tied together, and a watch over whether it collapses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path

import torch
from torch import Generator

from medssl.data import Scans, Volume
from medssl.errors import MedsslError
from medssl.evaluate.prototypes import collapse_alarms, collapse_kind, collapse_numbers, prototype_health
from medssl.methods import DINO3D
from medssl.models import ViT, count_parameters, digest
from medssl.models.export import SHAPE
from medssl.recipes.pretraining import Pretrained
from medssl.settings import nearest
from medssl.train import Trainer
from medssl.views import MultiCrop3D

GIVEN = {MultiCrop3D: ("scans",), DINO3D: ("encoder",),  # what the recipe itself gives them
         Trainer: ("method", "source", "steps", "epochs", "views", "lr", "weight_decay", "seed", "validate", "out",
                   "about", "eval_every")}
SHAPES = ("global_size", "global_mm", "window")  # what the watched crops have of the crops to learn from
WATCHED = {"n_global": 1, "n_local": 0, "foreground_crop_prob": 1.0, "min_foreground_ratio": 0.5, "aspect": 1.0,
           "flip_left_right": 0.0, "contrast": 0.0, "brightness": 0.0, "gamma": 0.0, "noise": 0.0, "blur": 0.0}


@dataclass
class PretrainedScans(Pretrained):
    """As Pretrained; `kind` says how it collapsed in the end ("none": it did not), judged on the watched crops."""

    kind: str = ""

    def __str__(self) -> str:
        first, last = self.history[0], self.history[-1]
        return (f"loss {first['loss']:.2f} → {last['loss']:.2f} (uniform answers: {self.config['chance_level']:.2f}), "
                f"mutual information {last['val_student_mi']:.2f} of the most there can be, collapse: {self.kind}, "
                f"{last['step']} steps in {self.seconds:.0f} s")


def pretrain_dino3d(volumes: Sequence[Volume], *, watch: Sequence[Volume] | None = None, model: ViT | None = None,
                    vit_size: str = "tiny", patch: int | Sequence[int] = 8, steps: int = 500, rows: int = 10,
                    batch_size: int = 8, lr: float = 1e-3, weight_decay: float = 0.04, seed: int = 0, crops: int = 128,
                    out: str | Path | None = None, resume: bool = True, **settings) -> "PretrainedScans":
    """DINO-3D on whole scans of any size (data.load_scans, phantoms): a ViT that gives a crop what a slow teacher gives
    to other crops of the same scan. No label is read. model: a ViT of your own, instead of vit_size and patch.

    settings: those of views.MultiCrop3D (which crops), of methods.DINO3D (which pairs count and how), of train.Trainer;
    one that none of them has is an error. `history` has `rows` rows, more where they do not divide the steps: means
    over the training crops (loss, achieved ratios, share of relaxed crops, share of pairs used) and, as val_…, what
    `crops` fixed crops of the scans `watch` (without any: of `volumes`) say: mutual information of student and raw
    teacher, prototypes in use, spread, rank. These crops have the size and the window of those to learn from; nothing
    else changes them, they are at least half patient, never flipped or brightened: settings that draw other crops to
    learn from can be compared by them. In `out` a run that was cut goes on.
    """
    parts = sort_settings(settings)
    if steps < 1 or rows < 1 or crops < 16:
        raise MedsslError(f"{steps=}, {rows=}, {crops=}.", "one step and one row or more, 16 watched crops or more")
    with torch.random.fork_rng(devices=[]):  # first weights from the seed; the caller's random numbers stay
        torch.manual_seed(seed)
        if model is None:
            model = ViT(size=vit_size, patch=(patch,) * 3 if isinstance(patch, int) else tuple(patch))
        learner = DINO3D(model, **parts[DINO3D])
    views = MultiCrop3D(volumes, **parts[MultiCrop3D])
    some = {f"{k} {v.modality} {v.spacing}": v.array[..., ::4, ::4] for k, v in enumerate(volumes)}
    about = {"scans": f"{len(volumes)} {digest(some)}", "model": model.describe(), "start": digest(model.state_dict()),
             "batch_size": batch_size, "parameters": count_parameters(model), **learner.settings()}
    look = CropWatch(watch or volumes, crops, parts[MultiCrop3D])
    trainer = Trainer(learner, Scans(volumes, batch_size, seed, steps=max(1, steps // rows)), steps=steps, views=views,
                      lr=lr, weight_decay=weight_decay, seed=seed, out=out, about=about, validate=look.numbers,
                      **parts[Trainer])
    result = trainer.fit(resume)
    own = learner.settings()
    low, high = views.settings["global_mm"]
    config = {"method": "dino3d", "backbone": "vit", "channels": 1, "batch_size": batch_size,
              "backbone_settings": {key: value for key, value in vars(model).items() if key in SHAPE},
              "steps": result.steps, "epochs": result.history[-1]["epoch"], "lr": lr, "weight_decay": weight_decay,
              "seed": seed, **own, "views": repr(views), "scans": len(volumes),
              "modality": " and ".join(sorted({volume.modality for volume in volumes})),
              **{key: result.config[key] for key in ("optimizer", "schedule", "warmup_steps", "clip", "precision")},
              "image_size": "×".join([str(views.settings["global_size"])] * 3),
              "spacing": [round(math.sqrt(low * high), 2)] * 3, "chance_level": math.log(own["prototypes"])}
    model.backbone = f"dino3d {result.steps} steps"
    windows = [{"rank" if key == "val_rank_share" else key.removeprefix("val_"): value for key, value in row.items()}
               for row in result.history]
    warning = "\n".join(f"Collapse: {told}." for told in collapse_alarms(windows).values())
    return PretrainedScans(model, learner, result.history, result.seconds, config, warning, views, look.kind(learner))


def sort_settings(settings: dict) -> dict[type, dict]:
    """{MultiCrop3D, DINO3D, Trainer: those of the settings that are its own}; what nobody knows is an error."""
    known = {part: [name for name in signature(part).parameters if name not in given] for part, given in GIVEN.items()}
    for name in settings:
        if not any(name in names for names in known.values()):
            raise MedsslError(f"DINO-3D has no setting {name!r}.",
                              nearest(name, {name for names in known.values() for name in names}),
                              "correct its name, or leave it out")
    return {part: {name: settings[name] for name in names if name in settings} for part, names in known.items()}


class CropWatch:
    """n fixed crops of scans, the same for every setting of a comparison, and how a DINO3D answers them."""

    def __init__(self, volumes: Sequence[Volume], n: int, geometry: dict):
        views = MultiCrop3D(volumes, **{name: geometry[name] for name in SHAPES if name in geometry}, **WATCHED)
        seen = views({"scan": torch.arange(n) % len(volumes)}, Generator().manual_seed(n))
        self.x, self.spacing = seen["globals"][0], seen["global_spacing"][0]

    @torch.no_grad()
    def answers(self, method: DINO3D) -> list[torch.Tensor]:
        """Logits [N,K] of student and teacher, features [N,dim], for all crops, 64 at a time."""
        device = next(method.parameters()).device
        parts = []
        for x, mm in zip(self.x.split(64), self.spacing.split(64), strict=True):
            x, mm = x.to(device), mm.to(device)
            parts.append((method.logits(x, mm), method.logits(x, mm, teacher=True), method.encode(x, mm)))
        return [torch.cat(column).float().cpu() for column in zip(*parts, strict=True)]

    def numbers(self, method: DINO3D) -> dict[str, float]:
        """What the Trainer looks at: evaluate.collapse_numbers of the crops, where "rank" is called "rank_share"."""
        found = collapse_numbers(*self.answers(method), method.head.prototypes, student_temp=method.student_temp,
                                 teacher_temp=float(method.temp))
        return found | {"rank_share": found.pop("rank")}

    def kind(self, method: DINO3D) -> str:
        """evaluate.collapse_kind of the student."""
        logits = self.answers(method.eval())[0]
        return collapse_kind(prototype_health(logits, method.student_temp), logits.shape[1])
