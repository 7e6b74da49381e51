"""What an encoder must beat to be worth its pretraining: its own build with random weights, and the pixels alone."""

import inspect
from copy import deepcopy

import torch
from torch import nn

from medssl.data import ImageData
from medssl.models import ENCODERS, encoder_to_fill
from medssl.models.export import SHAPE
from medssl.recipes.baselines import Pixels

MOST = {"two": 4096, "many": 1024}  # numbers an image: the grid for two classes is fast, scikit-learn for more is not


def beside(encoder: nn.Module, data: ImageData) -> tuple[dict[str, nn.Module], list[str]]:
    """({name: what a probe is also fitted on}, notes). The random weights are one draw, always the same one."""
    notes, found = [], {}
    if type(encoder).__name__.lower() in ENCODERS:
        found["random weights"] = untrained(encoder, 0)
        notes.append("random weights: the same build before any training, one draw (seed 0)")
    else:
        notes.append(f"random weights: left out, nobody knows how to build another {type(encoder).__name__}")
    shape, pixels = data.train.images.shape[2:], "voxels" if data.train.images.ndim == 5 else "pixels"
    most = MOST["two" if len(data.classes) == 2 and not data.multilabel else "many"]
    side = max(k for k in range(1, 29) if k == 1 or data.channels * k ** len(shape) <= most)
    found[pixels] = Pixels(side)
    if max(shape) > side:
        notes.append(f"{pixels}: logistic regression on the grey values, averaged to at most {side} a side")
    return found, notes


def untrained(encoder: nn.Module, seed: int) -> nn.Module:
    """One of the same build, that sees images as this one does, with weights that have learnt nothing."""
    name = type(encoder).__name__.lower()
    settings = {key: vars(encoder)[key] for key in inspect.signature(ENCODERS[name]).parameters
                if key in SHAPE and key in vars(encoder)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        other = encoder_to_fill(name, encoder.normalise.in_channels, encoder.normalise.mean.numel() == 3, **settings)
    other.normalise = deepcopy(encoder.normalise)
    return other
