"""torchvision's ResNet-18 up to its global average pool, with a choice of stem and of first weights."""

import http.client
import pickle
import socket
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights
from torchvision.models import resnet18 as torchvision_resnet18

from medssl.errors import MedsslError
from medssl.models.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from medssl.models.smallcnn import channels

# Kernel, stride and max-pool before the first block. A 28-pixel image is 7x7 after the stem "imagenet", 14x14 after
# "small", 28x28 after "cifar"; each doubling of the side costs about four times the arithmetic.
STEMS = {"imagenet": (7, 2, True), "small": (3, 2, False), "cifar": (3, 1, False)}
IMAGENET = ResNet18_Weights.IMAGENET1K_V1


class ResNet18(nn.Module):
    """[B,C,H,W] -> features [B,512]. Build it with `resnet18(...)`."""

    def __init__(self, in_channels: int, stem: str, weights: str | None):
        super().__init__()
        kernel, stride, pool = STEMS[stem]
        pretrained = weights == "imagenet"
        self.stem, self.dim, self.backbone = stem, 512, "imagenet" if pretrained else "random"
        self.normalise = Normalise(in_channels, IMAGENET_MEAN, IMAGENET_STD) if pretrained else Normalise(in_channels)
        self.body = torchvision_resnet18(weights=None)
        if pretrained:
            _load_imagenet(self.body)
        elif stem != "imagenet" or in_channels != 3:
            self.body.conv1 = nn.Conv2d(in_channels, 64, kernel, stride, padding=kernel // 2, bias=False)
            nn.init.kaiming_normal_(self.body.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
        if not pool:
            self.body.maxpool = nn.Identity()
        self.body.fc = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.normalise(x))

    def describe(self) -> str:
        """One line for run.json and for the foot of a figure."""
        return f"resnet18 ({self.stem} stem, {self.backbone} backbone, {channels(self.normalise.in_channels)})"


def resnet18(in_channels: int = 1, stem: str = "imagenet", weights: str | None = None) -> ResNet18:
    """ResNet-18 (He et al. 2016) as an encoder.

    weights="imagenet" needs the file that torchvision downloads and never falls back on random ones; it comes with the
    stem it was trained with. A grey image is then shown to the colour network three times over.
    """
    if stem not in STEMS:
        raise MedsslError(f"There is no stem {stem!r}.", f"one of {', '.join(STEMS)}.")
    if weights not in (None, "imagenet"):
        raise MedsslError(f"There are no weights {weights!r}.", 'weights=None (random) or weights="imagenet".')
    if weights and stem != "imagenet":
        raise MedsslError(f"ImageNet weights do not fit the stem {stem!r}.", 'stem="imagenet" with weights="imagenet".',
                          f'Take stem="imagenet", or weights=None to train the {stem!r} stem from scratch.')
    if weights and in_channels not in (1, 3):
        raise MedsslError(f"ImageNet weights cannot read {in_channels} channels.", "in_channels=1 or 3.")
    return ResNet18(in_channels, stem, weights)


def imagenet_weights_file() -> Path:
    """Where torchvision keeps (or would put) its ResNet-18 weights: $TORCH_HOME/hub/checkpoints/resnet18-<hash>.pth."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(IMAGENET.url).name


def imagenet_weights_at_hand(name: str = "resnet18") -> bool:
    """True where `weights="imagenet"` works without a download."""
    return name == "resnet18" and imagenet_weights_file().is_file()


def _load_imagenet(body: nn.Module) -> None:
    patience, file = socket.getdefaulttimeout(), imagenet_weights_file()
    socket.setdefaulttimeout(10)  # a compute node without a way out often drops packets instead of refusing them
    try:
        body.load_state_dict(IMAGENET.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, http.client.HTTPException) as error:
        problem = "cannot be read" if file.is_file() else "are not on this machine, and the download failed"
        raise MedsslError(
            f"The ImageNet weights of resnet18 {problem} ({str(error).splitlines()[0] if str(error) else error!r}).",
            f"the file {file.name} in the folder {file.parent}.",
            f"Download {IMAGENET.url} elsewhere and put it there, or choose weights=None: a random backbone.",
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
