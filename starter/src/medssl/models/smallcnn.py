"""The small baseline: four convolutions that one can draw on a blackboard."""

from torch import Tensor, nn

from medssl.models.normalise import Normalise


class SmallCNN(nn.Module):
    """[B,C,H,W] -> features [B, 8*width]; any image of 16 pixels or more a side.

    Each block is convolution -> BatchNorm -> ReLU; between blocks a 2x2 max-pool halves the side while the channels
    double. At the end each channel's mean over the image is one feature, so the size of the image does not matter.
    """

    def __init__(self, in_channels: int = 1, width: int = 32):
        super().__init__()
        self.width, self.dim, self.backbone = width, 8 * width, "random"
        self.normalise = Normalise(in_channels)
        self.body = nn.Sequential(
            block(in_channels, width), nn.MaxPool2d(2),
            block(width, 2 * width), nn.MaxPool2d(2),
            block(2 * width, 4 * width), nn.MaxPool2d(2),
            block(4 * width, 8 * width), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.normalise(x))

    def describe(self) -> str:
        """One line for run.json and for the foot of a figure."""
        return f"smallcnn (width {self.width}, {self.backbone} backbone, {channels(self.normalise.in_channels)})"


def block(c_in: int, c_out: int) -> nn.Sequential:
    """3x3 convolution, BatchNorm, ReLU. The convolution needs no bias: BatchNorm subtracts it and brings its own."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


def channels(n: int) -> str:
    """1 -> "1 channel", 3 -> "3 channels"."""
    return f"{n} channel{'' if n == 1 else 's'}"
