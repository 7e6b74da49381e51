"""One loss over the batches of several processes, each of which has a part of the batch on a GPU of its own.

A contrastive loss needs everybody's embeddings as negatives, SIGReg everybody's as its sample. So each process gathers
all of them and computes the same loss of the whole batch. What comes back to z_r, the part of process r, is the sum of
all gradients: W times dL/dz_r, for W processes. DistributedDataParallel then takes the mean over the processes, and
each weight has the gradient that one process with the whole batch would give it.

torch.distributed.all_gather alone has no gradient: the loss is right, and the weights learn from a W-th of it.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from medssl.errors import MedsslError


def processes() -> int:
    """How many processes share the batch; 1 where torch.distributed was not started."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(x: Tensor) -> Tensor:
    """[N, …] of this process -> [W · N, …] of all, in the order of the processes. N must be the same in each."""
    if processes() == 1:
        return x
    lengths = _all(torch.tensor([len(x)], device=x.device)).tolist()
    if len(set(lengths)) > 1:
        raise MedsslError(f"The processes have {lengths} rows of the batch.", "as many in each", "drop the last batch")
    return _Gather.apply(x)


def of_first(x: Tensor) -> Tensor:
    """The first process's `x`, such as random numbers that all have to share. No gradient."""
    if processes() == 1:
        return x
    x = x.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(x, 0)
    return x


def _all(x: Tensor) -> Tensor:
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(processes())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return _all(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()  # all_reduce works in place, and it is not ours
        dist.all_reduce(gradient)
        own = dist.get_rank() * ctx.rows
        return gradient[own:own + ctx.rows]
