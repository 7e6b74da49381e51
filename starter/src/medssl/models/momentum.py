"""A network that follows another one slowly: the teacher, or the key encoder, of many methods."""

from copy import deepcopy

import torch
from torch import nn

from medssl.models.parameters import is_frozen, unfreeze


def momentum_copy(module: nn.Module) -> nn.Module:
    """A copy that no optimiser moves: `follow` does."""
    copy = deepcopy(module)
    return (unfreeze(copy) if is_frozen(copy) else copy).requires_grad_(False)


@torch.no_grad()
def follow(copy: nn.Module, module: nn.Module, momentum: float) -> None:
    """weights of the copy <- momentum * copy + (1 - momentum) * module; buffers (BatchNorm's statistics) are copied.

    An average of running statistics would lag behind the weights they belong to, and a counter has no average.
    """
    for slow, fast in zip(copy.parameters(), module.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
    for slow, fast in zip(copy.buffers(), module.buffers(), strict=True):
        slow.copy_(fast)
