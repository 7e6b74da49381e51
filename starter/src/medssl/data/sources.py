"""A source hands out batches, epoch by epoch. This one holds the whole set in memory, on any device."""

from collections.abc import Iterator

import numpy as np
import torch

from medssl.data.images import Split
from medssl.errors import MedsslError


class InMemory:
    """Batches of a split, or of the images of it that `indices` names, in a new order each epoch."""

    def __init__(self, split: Split, batch_size: int, *, seed: int = 0, indices: torch.Tensor | None = None,
                 shuffle: bool = True, drop_last: bool = False):
        chosen = torch.arange(len(split)) if indices is None else torch.as_tensor(indices).cpu()
        whole = chosen.ndim == 1 and chosen.dtype in (torch.int64, torch.int32)
        if not whole or ((chosen < 0) | (chosen >= len(split))).any():
            raise MedsslError(f"The indices ({chosen.dtype}, {list(chosen.shape)}) do not fit {split}.",
                              f"whole numbers from 0 to {len(split) - 1}", "Take them from label_subset(…).")
        if len(chosen.unique()) < len(chosen):
            raise MedsslError("An image stands in the indices more than once.", "each place in the split at most once",
                              "Take them from label_subset(…): an epoch shows each image once.")
        if batch_size < 1 or len(chosen) < (batch_size if drop_last else 1):
            raise MedsslError(f"{len(chosen)} images give no batch of {batch_size} (drop_last={drop_last}).",
                              "at least one batch in an epoch", "Choose a smaller batch_size, or drop_last=False.")
        self.images, self.labels, self.indices = split.images, split.labels, chosen.long()
        self.batch_size, self.seed, self.shuffle, self.drop_last = batch_size, seed, shuffle, drop_last

    def __repr__(self) -> str:
        settings = f"batch_size={self.batch_size}, seed={self.seed}, shuffle={self.shuffle}, drop_last={self.drop_last}"
        return f"InMemory({len(self.indices)} of {len(self.labels)} images, {settings})"

    def to(self, device: torch.device | str) -> "InMemory":
        """Keep the whole set on the device: then no batch waits for a copy."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        return self

    def __len__(self) -> int:
        """Batches in one epoch; the last may be smaller, unless drop_last. A single image left over is no batch."""
        full, left = divmod(len(self.indices), self.batch_size)
        return full if self.drop_last else full + (left > min(1, full))

    def batches(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield {"image": uint8 [B,C,H,W], "label": int64 [B], "index": int64 [B] (place in the split)}.

        The order comes from (seed, epoch) and nothing else: a run that is cut and resumed sees the very same batches.
        A single image left over joins the batch before it: BatchNorm cannot take the spread of one image.
        """
        order = self.indices
        if self.shuffle:
            order = order[torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(len(order)))]
        order = order[:len(self) * self.batch_size] if self.drop_last else order
        starts = [self.batch_size * k for k in range(1, len(self))]
        for index in order.to(self.images.device).tensor_split(starts):
            yield {"image": self.images[index], "label": self.labels[index], "index": index}

    def state_dict(self) -> dict:
        return {}  # nothing to remember: (seed, epoch) says it all

    def load_state_dict(self, state: dict) -> None:
        pass
