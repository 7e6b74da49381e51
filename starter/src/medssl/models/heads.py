"""Heads: small networks on the features, for the loss only. They are thrown away when the encoder is used."""

from torch import nn

from medssl.errors import MedsslError


def projection_head(dim_in: int, dim_out: int = 128, hidden: int | None = None) -> nn.Sequential:
    """features [B,dim_in] -> embedding [B,dim_out]: linear, BatchNorm, ReLU, linear (SimCLR's, hidden = dim_in).

    The loss wants embeddings that forget what the views changed. The head lets it forget there, while the features
    below keep what a later task may need.
    """
    if dim_out < 1 or (hidden or 1) < 1:
        raise MedsslError(f"A projection head of {dim_out} outputs (hidden={hidden}).", "1 output or more, such as 128")
    hidden = hidden or dim_in
    return nn.Sequential(nn.Linear(dim_in, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True),
                         nn.Linear(hidden, dim_out))
