"""SimCLR: two views of one image should land close together, and far from the views of all others."""

import torch
from torch import Tensor, nn

from medssl.losses import nt_xent, pair_cosines
from medssl.models import decay_groups, projection_head


class SimCLR(nn.Module):
    """Encoder and projection head under NT-Xent (Chen et al. 2020, arXiv 2002.05709).

    A batch has "view1" and "view2" [B,C,H,W], two views of the same B images; labels are not looked at. The other
    2B - 2 views of the batch are what a view must be told apart from, so a larger batch is a harder task.
    """

    split_along: dict[str, int] = {}  # several processes learn what one learns: see train/processes.py

    def __init__(self, encoder: nn.Module, *, proj_dim: int = 128, temperature: float = 0.2):
        super().__init__()
        self.encoder, self.head = encoder, projection_head(encoder.dim, proj_dim)
        self.temperature = temperature

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        both = torch.cat([batch["view1"], batch["view2"]])  # in one pass: BatchNorm sees the same statistics for both
        z1, z2 = self.head(self.encoder(both)).chunk(2)
        positive, negative = pair_cosines(z1, z2)
        return {"loss": nt_xent(z1, z2, self.temperature), "positive_cosine": positive, "negative_cosine": negative}

    def encode(self, x: Tensor) -> Tensor:
        """Images [B,C,H,W] -> features [B,dim], from below the head."""
        return self.encoder(x)

    def param_groups(self, lr: float, weight_decay: float) -> list[dict]:
        """Biases and BatchNorm scales do not decay."""
        return decay_groups(self, lr, weight_decay)
