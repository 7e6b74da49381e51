"""MoCo: as SimCLR, but the candidates come from a queue of keys, made by a slow copy of the network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.losses import info_nce_queue, pair_cosines
from medssl.models import decay_groups, follow, momentum_copy, projection_head


class MoCo(nn.Module):
    """Momentum contrast (He et al. 2020; v2: Chen et al. 2020, arXiv 2003.04297), each view once query and once key.

    The queue keeps the last `queue_size` keys, so the number of candidates does not hang on the batch. Two traps:

    - On a small set the queue holds old keys of the very image that is asked for. Each key carries its image's number
      (batch["index"]), and info_nce_queue leaves keys of the same image out. Empty slots carry -1.
    - BatchNorm tells a key by its batch: query and key of an image, normalised with the same companions, share
      statistics that give the answer away. So queries and keys pass in `bn_groups` groups, keys in shuffled order:
      most of their companions differ.
    """

    def __init__(self, encoder: nn.Module, *, proj_dim: int = 128, temperature: float = 0.2, queue_size: int = 1024,
                 momentum: float = 0.99, bn_groups: int = 4):
        super().__init__()
        if not 0 <= momentum < 1 or queue_size < 1 or bn_groups < 1:
            raise MedsslError(f"momentum={momentum}, queue_size={queue_size}, bn_groups={bn_groups}",
                              "momentum from 0 to below 1, the others at least 1")
        self.encoder, self.head = encoder, projection_head(encoder.dim, proj_dim)
        self.key_encoder, self.key_head = momentum_copy(self.encoder), momentum_copy(self.head)
        self.temperature, self.momentum, self.bn_groups = temperature, momentum, bn_groups
        self.register_buffer("queue", torch.zeros(queue_size, proj_dim))
        self.register_buffer("queue_ids", torch.full((queue_size,), -1))  # which image a key came from
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))  # the oldest slot, overwritten next

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        views, ids = (batch["view1"], batch["view2"]), batch["index"]
        q1, q2 = (self.embed(view) for view in views)
        with torch.no_grad():
            k1, k2 = (self.embed_keys(view) for view in views)
        queue = (self.queue, self.temperature, ids, self.queue_ids)
        loss = (info_nce_queue(q1, k2, *queue) + info_nce_queue(q2, k1, *queue)) / 2  # before the new keys come in
        positive, negative = pair_cosines(q1, k2)
        if self.training:
            self.enqueue(torch.cat([k1, k2]), torch.cat([ids, ids]))
        return {"loss": loss, "positive_cosine": positive, "negative_cosine": negative}

    def embed(self, x: Tensor) -> Tensor:
        """Queries [B,D]: in training each group of the batch has BatchNorm statistics of its own."""
        groups = self.bn_groups if self.training and len(x) >= 2 * self.bn_groups else 1
        return torch.cat([self.head(self.encoder(part)) for part in x.tensor_split(groups)])

    def embed_keys(self, x: Tensor) -> Tensor:
        """Keys [B,D], in groups drawn anew: of a query's companions, one in `bn_groups` meets its key again."""
        groups = self.bn_groups if self.training and len(x) >= 2 * self.bn_groups else 1
        order = torch.randperm(len(x)).to(x.device)  # the trainer seeds this for every step
        keys = torch.cat([self.key_head(self.key_encoder(part)) for part in x[order].tensor_split(groups)])
        return keys[order.argsort()]

    @torch.no_grad()
    def enqueue(self, keys: Tensor, ids: Tensor) -> None:
        """The newest keys take the places of the oldest; any batch size fits any queue."""
        keys, ids = keys[-len(self.queue):], ids[-len(self.queue):]
        slots = (self.pointer + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[slots], self.queue_ids[slots] = F.normalize(keys.float(), dim=1), ids
        self.pointer.copy_((self.pointer + len(keys)) % len(self.queue))

    def after_step(self) -> None:
        """The copy follows once the optimiser has moved the query side."""
        follow(self.key_encoder, self.encoder, self.momentum)
        follow(self.key_head, self.head, self.momentum)

    def encode(self, x: Tensor) -> Tensor:
        """Images [B,C,H,W] -> features [B,dim] of the query encoder."""
        return self.encoder(x)

    def param_groups(self, lr: float, weight_decay: float) -> list[dict]:
        """Only the query side learns; biases and BatchNorm scales do not decay."""
        return decay_groups(self.encoder, lr, weight_decay) + decay_groups(self.head, lr, weight_decay)
