"""Pixels to what a network likes: inside the network, so that no checkpoint meets another normalisation."""

import torch
from torch import Tensor, nn

from medssl.errors import MedsslError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """uint8 in 0..255 or float in [0, 1], [B,C,H,W] -> (x - mean) / std; mean and std travel in the state_dict.

    ndim=3 takes volumes and clips [B,C,D,H,W]. Three means and one channel give three channels: a grey image for a
    network that was trained on colour ones.
    """

    def __init__(self, in_channels: int, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.5,),
                 ndim: int = 2):
        super().__init__()
        self.in_channels, self.ndim = in_channels, ndim
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, *[1] * ndim))
        self.register_buffer("std", torch.tensor(std).view(1, -1, *[1] * ndim))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2 + self.ndim or x.shape[1] != self.in_channels:
            raise MedsslError(f"The encoder was given images of shape {list(x.shape)}.",
                              f"[B, {self.in_channels}, {'D, ' * (self.ndim == 3)}H, W].",
                              "Build the encoder with in_channels= the channels of your images (data.channels); "
                              "a ViT for volumes has a patch of three sides.")
        if x.dtype == torch.uint8:
            x = x.float() / 255
        elif not x.is_floating_point():
            raise MedsslError(f"The encoder was given images of type {x.dtype}.", "uint8 in 0..255 or float in [0, 1].",
                              "Keep the loader's uint8 images, or divide by the largest value yourself.")
        return (x - self.mean) / self.std
