"""Heads: small networks on the features, for the loss only. They are thrown away when the encoder is used."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import MedsslError


def projection_head(dim_in: int, dim_out: int = 128, hidden: int | None = None, layers: int = 2) -> nn.Sequential:
    """features [B,dim_in] -> embedding [B,dim_out]: linear, BatchNorm, ReLU, linear (SimCLR's, hidden = dim_in).

    The loss wants embeddings that forget what the views changed. The head lets it forget there, while the features
    below keep what a later task may need. layers: how many are linear; BatchNorm and ReLU follow each but the last.
    """
    if dim_out < 1 or (hidden or 1) < 1 or layers < 2:
        raise MedsslError(f"A projection head of {dim_out} outputs (hidden={hidden}, layers={layers}).",
                          "1 output or more, such as 128, and 2 layers or more")
    hidden = hidden or dim_in
    widths = [dim_in] + [hidden] * (layers - 1)
    below = [(nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU(inplace=True)) for a, b in pairwise(widths)]
    return nn.Sequential(*(part for layer in below for part in layer), nn.Linear(hidden, dim_out))


class PrototypeHead(nn.Module):
    """features [B,dim_in] -> cosines [B,K] with K prototypes (DINO's head: Caron et al. 2021, arXiv 2104.14294).

    Three linear layers with GELU, a vector of length 1, its product with the directions of the prototypes. They too are
    taken at length 1 (DINO's weight norm with g = 1), so answers stay within -1 and 1 and no temperature overflows; a
    plain last layer has no such bound. While `still`, no gradient reaches the prototypes.
    """

    def __init__(self, dim_in: int, prototypes: int, hidden: int = 512, bottleneck: int = 64):
        super().__init__()
        if min(hidden, bottleneck) < 1 or prototypes < 2:
            raise MedsslError(f"A head of {prototypes} prototypes ({hidden=}, {bottleneck=}).",
                              "2 prototypes or more, the others 1 or more")
        self.layers = nn.Sequential(nn.Linear(dim_in, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
                                    nn.Linear(hidden, bottleneck))
        for layer in self.layers[::2]:  # torch's own start has biases so large that all images would look alike
            nn.init.trunc_normal_(layer.weight, std=layer.in_features ** -0.5)
            nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))
        self.still = False

    def forward(self, features: Tensor) -> Tensor:
        return self.score(self.embed(features))

    def embed(self, features: Tensor) -> Tensor:
        """[B,bottleneck] of length 1, in float32."""
        return F.normalize(self.layers(features).float(), dim=-1)

    def score(self, z: Tensor) -> Tensor:
        """Cosines [B,K] of what embed() gave, in float32: bfloat16 cannot tell 0.99 from 0.995."""
        prototypes = self.prototypes.detach() if self.still else self.prototypes
        with torch.autocast(z.device.type, enabled=False):
            return z @ F.normalize(prototypes.float(), dim=-1).T
