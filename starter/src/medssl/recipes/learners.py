"""The methods of pretraining by name: which settings belong to which, what each is shown, its loss by chance."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature

import numpy as np
from torch import nn

from medssl.data import ImageData
from medssl.errors import MedsslError
from medssl.losses import chance_level
from medssl.methods import VJEPA, LeJEPA, MaskedJEPA, MoCo, SeedJEPA, SimCLR, UNetMIM
from medssl.views import (
    Augment,
    Halves,
    ManyViews,
    MaskedViews,
    TwoViews,
    blocks_3d,
    multi_block,
    preset,
    random_masks,
    temporal,
    tubes,
)

METHODS = {"simclr": SimCLR, "moco": MoCo, "lejepa": LeJEPA, "ijepa": MaskedJEPA, "vjepa": VJEPA, "seedjepa": SeedJEPA,
           "unet_mim": UNetMIM}
MASKED = ("ijepa", "vjepa", "seedjepa")
MASKS = {"multi_block": multi_block, "random": random_masks, "blocks_3d": blocks_3d, "tubes": tubes,
         "temporal": temporal}
BELONGS = {"temperature": ("simclr", "moco", "unet_mim"), "queue_size": ("moco",),
           "momentum": ("moco", "ijepa", "vjepa"), "lam": ("lejepa", *MASKED), "slices": ("lejepa", "ijepa", "vjepa"),
           "global_views": ("lejepa",), "local_views": ("lejepa",), "masks": MASKED, "foreground": MASKED,
           "least_foreground": MASKED, "predictor_width": MASKED, "predictor_depth": MASKED, "target": ("ijepa",),
           "loss": ("ijepa", "vjepa"), "mode": ("vjepa",),
           **dict.fromkeys(("mask_input", "recon_weight", "contrast_weight", "l2", "pixels"), ("unet_mim",))}
SEEN = ("global_views", "local_views", "masks", "foreground", "least_foreground", "pixels")  # of the views


def find_method(method: str | type) -> tuple[type, str, str]:
    """(the class, its name, the method of METHODS that it is a kind of); a class of no kind counts as SimCLR."""
    kind = METHODS.get(method, method)
    if isinstance(kind, str):
        raise MedsslError(f"There is no method {method!r}.", f"one of {', '.join(METHODS)}")
    name = next((name for name, known in METHODS.items() if known is kind), kind.__name__)
    return kind, name, next((name for name, known in reversed(METHODS.items()) if issubclass(kind, known)), "simclr")


def own_settings(name: str, family: str, given: dict) -> dict:
    """Those of `given` that are not None; one of another method is refused."""
    own = {key: value for key, value in given.items() if value is not None}
    if foreign := [key for key in own if family not in BELONGS[key]]:
        owners = {owner for key in foreign for owner in BELONGS[key]}
        raise MedsslError(f"{name} has no {' or '.join(foreign)}.", f"these belong to {' and '.join(sorted(owners))}",
                          "leave them out")
    return own


def patch_for(shape: tuple[int, ...], patch: int | Sequence[int] | None = None) -> int | tuple[int, ...]:
    """Of a ViT for images [C,H,W] or volumes [C,Z,Y,X]: about 7 to 14 patches a side, whatever the size, or `patch`;
    one number is that of every side."""
    if patch is not None:
        sides = tuple(np.broadcast_to(patch, len(shape) - 1).tolist()) if np.size(patch) == 1 else tuple(patch)
    else:
        sides = tuple(4 if side < 64 else 8 if side < 128 else 16 for side in shape[1:])
    return sides[-1] if len(shape) == 3 and (patch is None or len(set(sides)) == 1) else sides


def views_for(family: str, data: ImageData, model: nn.Module, augment, seen: dict) -> Callable:
    """What the method is shown of a batch. augment="ssl" is what its paper asks for: strong views to be told apart;
    to predict from masks a crop alone (I-JEPA: 0.3 … 1 of the area), and volumes as they are."""
    volumes = data.train.images.ndim == 5
    if volumes and family not in MASKED:
        raise MedsslError(f"{family} on volumes {list(data.train.images.shape[1:])}.",
                          f"images, or one of {', '.join(MASKED)}",
                          "its views are of images: turned, cropped, brightened in the plane")
    if family == "unet_mim":
        if isinstance(augment, Halves):
            return augment
        named = preset(data.modality, augment) if isinstance(augment, str) and augment != "ssl" else augment
        return Halves(seen.get("pixels") or 192, augment=None if augment == "ssl" else named)
    if family in MASKED and augment == "ssl":
        augment = None if volumes else Augment(crop=(0.3, 1.0))
    elif isinstance(augment, str):
        augment = preset(data.modality, augment)
    if family == "lejepa":
        return ManyViews(augment, **{f"n_{name.removesuffix('_views')}": count for name, count in seen.items()})
    if family not in MASKED:
        return TwoViews(augment)
    usual = "multi_block" if not volumes else "blocks_3d" if family == "ijepa" else "tubes"
    masks = seen.get("masks", usual)
    if isinstance(masks, str) and masks not in MASKS:
        raise MedsslError(f"There are no masks {masks!r}.", f"one of {', '.join(MASKS)}, or a function such as these")
    masks = MASKS.get(masks, masks) if isinstance(masks, str) else masks
    if (least := seen.get("least_foreground")) is not None:
        if "least_foreground" not in signature(masks).parameters or "foreground" not in seen or not 0 <= least <= 1:
            raise MedsslError(f"least_foreground={least}, foreground={seen.get('foreground')}.",
                              "a share from 0 to 1, a foreground, and masks of blocks or tubes")
        masks = partial(masks, least_foreground=least)
    if getattr(masks, "func", masks) is blocks_3d and "spacing" not in getattr(masks, "keywords", {}):
        # mm from token to token; voxels where nobody knows the mm
        mm = data.spacing or (1, 1, 1)
        masks = partial(masks, spacing=tuple(p * step for p, step in zip(model.patch, mm, strict=True)))
    return MaskedViews(augment, masks, model.patch, foreground=seen.get("foreground"))


def built_with(learner: nn.Module) -> dict:
    """The settings of its own that a method has, as it holds them: a resumed run is known by these."""
    if isinstance(learner, MaskedJEPA):
        return learner.settings()
    if isinstance(learner, LeJEPA):
        return {"lam": learner.lam, "slices": learner.slices}
    if isinstance(learner, UNetMIM):
        return {name: getattr(learner, name) for name in BELONGS if "unet_mim" in BELONGS[name] and name not in SEEN}
    own = {"temperature": learner.temperature} if hasattr(learner, "temperature") else {}
    if isinstance(learner, MoCo):
        own |= {"queue_size": len(learner.queue), "momentum": learner.momentum, "bn_groups": learner.bn_groups}
    return own


def loss_by_chance(learner: nn.Module, views: Callable, batch_size: int) -> float | None:
    """The loss of embeddings that say nothing of the image; None where nobody can say."""
    if isinstance(learner, LeJEPA):
        return learner.chance_level(views.n_global, views.n_local)
    if isinstance(learner, MaskedJEPA):
        return learner.chance_level()
    if isinstance(learner, UNetMIM):  # of its halves: a reconstruction has none
        return learner.contrast_weight * chance_level(batch_size) if learner.contrast_weight else None
    return math.log(1 + len(learner.queue)) if isinstance(learner, MoCo) else chance_level(batch_size)
