"""BatchNorm over the batch of all processes. torch.nn.SyncBatchNorm does the same, but not on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medssl.train.processes import count


@contextmanager
def synchronised(method: nn.Module) -> Iterator[None]:
    """Inside, every BatchNorm that trains takes mean and variance over all processes. Modules and weights stay."""
    norms = [module for module in method.modules() if isinstance(module, _BatchNorm)] if count() > 1 else []
    for norm in norms:
        norm.forward = partial(_whole_batch, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward  # the class's own is back


def _whole_batch(norm: _BatchNorm, x: Tensor) -> Tensor:
    """y = (x - m) / sqrt(v + eps) · weight + bias, m and v over the N values of a channel in all processes; the running
    variance takes v · N / (N - 1). The mean first, then the squares of what is left: E x² - m² would cancel."""
    if not norm.training:
        return type(norm).forward(norm, x)
    dims, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
    values = x.to(torch.promote_types(x.dtype, torch.float32))  # also under autocast
    n = count() * x.numel() // x.shape[1]
    mean = _Total.apply(values.sum(dims)) / n
    centred = values - mean.view(shape)
    variance = _Total.apply(centred.square().sum(dims)) / n
    y = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    if norm.track_running_stats:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            new = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.to(norm.running_mean), new)
            norm.running_var.lerp_((variance * n / max(1, n - 1)).to(norm.running_var), new)
    return y.to(x.dtype)


class _Total(torch.autograd.Function):
    """The sum over the processes. Every loss depends on it, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(_ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
