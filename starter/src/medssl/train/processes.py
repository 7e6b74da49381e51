"""Several processes, one a GPU, that take each step of the Trainer together: `torchrun --nproc-per-node 2 …`.

Each has all the weights and its rows of every batch. Losses that compare images gather the embeddings of all (see
losses/gather.py), BatchNorm the statistics of all (batchnorm.py), the gradients are averaged, and each makes the same
step. So the weights are those of one process with the whole batch, up to the order of sums. To that end each draws the
views of the whole batch, from one seed, and keeps its own rows: only the network's share of a step becomes smaller.

The first process alone judges, writes and prints. Started alone, a process finds every function here to do nothing.
"""

import atexit
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medssl.errors import MedsslError

MEETING = timedelta(minutes=5)  # for all to have come: they import the same files, one perhaps from a slow disk
WAITING = timedelta(minutes=30)  # then, for one another: the others wait while the first judges and writes


def join(method: nn.Module) -> None:
    """Meet the processes that torchrun started beside this one; a method not shown to learn the same is refused."""
    if started() > 1 and not dist.is_initialized():
        backend, place = "gloo", int(os.environ["LOCAL_RANK"])
        if torch.cuda.is_available():
            if place >= torch.cuda.device_count():
                raise MedsslError(f"There is no GPU for process {place + 1}: torch finds {torch.cuda.device_count()}.",
                                  "one GPU each", f"torchrun --nproc-per-node {torch.cuda.device_count()} …")
            torch.cuda.set_device(place)
            backend = "cpu:gloo,cuda:nccl"  # numbers that the host needs at once do not wait for the GPU
        store, rank, number = _meet()
        dist.init_process_group(backend, store=store, rank=rank, world_size=number, timeout=WAITING)
        atexit.register(dist.destroy_process_group)
    if count() > 1 and "split_along" not in vars(type(method)):
        raise MedsslError(f"{type(method).__name__} in {count()} processes has not been shown to learn what it learns "
                          "in one.", "simclr or lejepa, or one process", "start it without torchrun")


def _meet() -> tuple:
    """(store, rank, how many) once each has said that it is here. torch alone would wait for half an hour, and then
    speak of sockets."""
    try:
        store, rank, number = next(dist.rendezvous("env://", timeout=MEETING))
        store.set(f"here {rank}", "")
        store.wait([f"here {k}" for k in range(number)], MEETING)
    except dist.DistError as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ.get('MASTER_PORT', '')}"
        raise MedsslError(f"Of {os.environ['WORLD_SIZE']} processes not all met at {place} in {MEETING.seconds} s; "
                          f"this one is number {os.environ['RANK']}.", "all that torchrun starts, and a free port",
                          "Read the logs of the others: one may have died. On several machines: can they reach that "
                          "address?") from error
    return store, rank, number


def started() -> int:
    """How many processes torchrun has started, this one included."""
    told = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if told else 1


def count() -> int:
    """How many processes share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def first() -> bool:
    """Is this the one that writes?"""
    return count() == 1 or dist.get_rank() == 0


def own_rows(seen: dict, method: nn.Module) -> dict:
    """The part of a batch that is this process's. method.split_along {name: dimension} says where the images of an
    entry are counted; those that are not named have them in the first."""
    if count() == 1:
        return seen
    part = {}
    for name, value in seen.items():
        if torch.is_tensor(value) and value.ndim:
            along = method.split_along.get(name, 0)
            if value.shape[along] % count():
                raise MedsslError(f"{value.shape[along]} images a batch for {count()} processes.",
                                  f"a multiple of {count()}", "another batch size, and a source with drop_last=True")
            value = value.chunk(count(), along)[dist.get_rank()]
        part[name] = value
    return part


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean over the processes, as one message."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, (flat / count()).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def average(numbers: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """{name: mean over the processes}: of a loss of all it is that loss, of what was taken of a part the mean."""
    if count() == 1:
        return numbers
    values = torch.stack([value.to(device) for value in numbers.values()])
    dist.all_reduce(values)
    return dict(zip(numbers, (values / count()).unbind(), strict=True))


@torch.no_grad()
def same_start(method: nn.Module, step: int) -> None:
    """Everybody begins with the first one's weights, at the same step."""
    if of_first(lambda: step) != step:
        raise MedsslError("The processes do not find the same checkpoint.", "one folder for all of them",
                          "name one on a shared disk with out=, --out")
    if count() > 1:
        for value in method.state_dict().values():
            whole = value.contiguous()
            dist.broadcast(whole, 0)
            value.copy_(whole)


def of_first(compute: Callable):
    """What the first process computes, a number or a dict of them, for all; the others wait for it."""
    if count() == 1:
        return compute()
    said = [compute() if first() else None]
    dist.broadcast_object_list(said, 0, device=torch.device("cpu"))
    return said[0]


def most(number: int) -> int:
    """The largest of what the processes have: a signal that one of them got is one for all."""
    if count() == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process's turn, then that of the others: it puts a folder in order that they read."""
    if not first():
        most(0)
    yield
    if first():
        most(0)
