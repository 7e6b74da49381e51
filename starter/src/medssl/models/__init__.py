"""Networks: encoders that turn images [B,C,H,W] into features [B,dim], and small services on any of them."""

import inspect

from torch import nn

from medssl.errors import MedsslError
from medssl.models.heads import PrototypeHead, projection_head
from medssl.models.momentum import follow, momentum_copy
from medssl.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from medssl.models.parameters import (
    count_parameters,
    decay_groups,
    digest,
    freeze,
    freeze_batchnorm,
    is_frozen,
    unfreeze,
)
from medssl.models.patch_encoder import PatchEncoder
from medssl.models.predictor import Predictor
from medssl.models.resnet import imagenet_weights_at_hand, imagenet_weights_file, resnet18
from medssl.models.smallcnn import SmallCNN
from medssl.models.unet import UNet
from medssl.models.vit import ViT, select

__all__ = [
    "ENCODERS", "Normalise", "PatchEncoder", "Predictor", "PrototypeHead", "SmallCNN", "UNet", "ViT",
    "build_encoder", "count_parameters", "decay_groups", "digest", "encoder_to_fill", "follow", "freeze",
    "freeze_batchnorm", "imagenet_weights_at_hand", "imagenet_weights_file", "is_frozen", "momentum_copy",
    "projection_head", "resnet18", "select", "unfreeze",
]
ENCODERS = {"smallcnn": SmallCNN, "resnet18": resnet18, "vit": ViT, "unet": UNet}


def build_encoder(name: str, **settings) -> nn.Module:
    """An encoder by name, for command lines and config files: build_encoder("resnet18", stem="small")."""
    if name not in ENCODERS:
        raise MedsslError(f"There is no encoder {name!r}.", f"one of {', '.join(ENCODERS)}.")
    known = inspect.signature(ENCODERS[name]).parameters
    if wrong := [key for key in settings if key not in known]:
        raise MedsslError(f"{name} has no setting {', '.join(wrong)}.", f"some of {', '.join(known)}.")
    return ENCODERS[name](**settings)


def encoder_to_fill(name: str, channels: int, imagenet: bool, **settings) -> nn.Module:
    """An encoder as its saved weights expect it. One that began as ImageNet sees a grey image three times over."""
    encoder = build_encoder(name, in_channels=3 if imagenet else channels, **settings)
    if imagenet:
        encoder.normalise = Normalise(channels, IMAGENET_MEAN, IMAGENET_STD)
    return encoder
