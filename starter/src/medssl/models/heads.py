"""Heads: small networks on the features, for the loss only. They are thrown away when the encoder is used."""

from itertools import pairwise

from torch import nn

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
