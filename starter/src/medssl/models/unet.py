"""A small UNet: an encoder like the others, and beside it a decoder that draws the image again."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.models.normalise import Normalise
from medssl.models.smallcnn import block, channels

LEVELS = 4  # with width=16: 16, 32, 64 channels at full, half and quarter size, 128 in the bottleneck at an eighth


class UNet(nn.Module):
    """[B,C,H,W] -> features [B, 8*width]: the mean over the bottleneck. `reconstruct` gives an image [B,C,H,W] back.

    After Ronneberger et al. (2015, arXiv 1505.04597), with BatchNorm and padded convolutions. Each level is two 3x3
    convolutions; on the way down a 2x2 max-pool lies between levels, on the way up a 2x2 transposed convolution, and
    the encoder's map of the same size is laid beside what comes up: the skip connection.

    skips=False trains without them: zeros lie where the encoder's maps would, so the weights are the same numbers and
    one network can be looked at either way. Features of any image of 8 pixels or more; a reconstruction needs sides
    that are multiples of 8.
    """

    def __init__(self, in_channels: int = 1, width: int = 16, skips: bool = True):
        super().__init__()
        self.width, self.skips, self.dim, self.backbone = width, skips, 2 ** (LEVELS - 1) * width, "random"
        self.normalise = Normalise(in_channels)
        widths = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(double(a, b) for a, b in pairwise([in_channels, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.join = nn.ModuleList(double(2 * a, a) for a in widths[:-1])
        self.draw = nn.Conv2d(width, in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B,dim], as of every encoder; the decoder does not run."""
        return self.pool(self.maps(x))

    def maps(self, x: Tensor) -> list[Tensor]:
        """The encoder's map of each level, the bottleneck [B,dim,H/8,W/8] last."""
        found = [self.down[0](self.normalise(x))]
        for level in self.down[1:]:
            found.append(level(nn.functional.max_pool2d(found[-1], 2)))
        return found

    def pool(self, maps: list[Tensor]) -> Tensor:
        """Features [B,dim] of the bottleneck."""
        return maps[-1].mean((2, 3))

    def decode(self, maps: list[Tensor], skips: bool | None = None) -> Tensor:
        """maps() -> grey values [B,C,H,W], not held within [0, 1]. skips=False cuts them in a network that was trained
        with them: what is drawn then comes from the bottleneck alone. None: as the network was built."""
        skips = self.skips if skips is None else skips
        y = maps[-1]
        for up, join, skip in zip(self.up[::-1], self.join[::-1], maps[-2::-1], strict=True):
            y = join(torch.cat([up(y), skip if skips else torch.zeros_like(skip)], 1))
        return self.draw(y) * self.normalise.std + self.normalise.mean  # so a fresh network draws mid grey

    def reconstruct(self, x: Tensor, skips: bool | None = None) -> Tensor:
        """Images [B,C,H,W] -> the same images, drawn again; skips as in decode()."""
        if any(side % 2 ** (LEVELS - 1) for side in x.shape[2:]):
            raise MedsslError(f"Images of {' x '.join(map(str, x.shape[2:]))} pixels cannot be reconstructed.",
                              f"sides that are multiples of {2 ** (LEVELS - 1)}: each is halved {LEVELS - 1} times",
                              "Resize them: views.Halves(size=192).prepare(images).")
        return self.decode(self.maps(x), skips)

    def describe(self) -> str:
        """One line for run.json and for the foot of a figure."""
        return (f"unet (width {self.width}, {'with' if self.skips else 'no'} skip connections, {self.backbone} "
                f"backbone, {channels(self.normalise.in_channels)})")


def double(c_in: int, c_out: int) -> nn.Sequential:
    """One level: twice convolution, BatchNorm, ReLU."""
    return nn.Sequential(block(c_in, c_out), block(c_out, c_out))
