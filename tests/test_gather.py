"""Losses over the batches of two processes: value and gradients are those of one process with the whole batch."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from medssl.errors import MedsslError
from medssl.losses import nt_xent, sigreg, supcon
from medssl.losses.gather import gather

ROWS, LABELS = 6, torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 2, 6, 6, 7])  # most partners are in the other process


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def batch() -> torch.Tensor:
    """[2 views, 12 images, 5]"""
    return torch.randn(2, 2 * ROWS, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def directions(seed: int) -> torch.Tensor:
    return nn.functional.normalize(torch.randn(4, 16, generator=torch.Generator().manual_seed(seed)), dim=0)


def losses(rows: slice, rank: int) -> dict:
    """{name: loss of a network and these rows}; each process has directions of its own, the first one's count."""
    two, labels = batch()[:, rows], LABELS[rows]
    return {"nt_xent": lambda net: nt_xent(net(two[0]), net(two[1])),
            "supcon": lambda net: supcon(net(two[0]), labels),
            "sigreg": lambda net: sigreg(net(two[0]), directions(rank))}


def learn(net: nn.Module, loss) -> dict:
    net.zero_grad()
    value = loss(net)
    value.backward()
    return {"value": value.detach(), **{name.removeprefix("module."): p.grad.clone() for name, p in
                                        net.named_parameters()}}


def one_of_two(rank: int, folder: str) -> None:
    """What a process of two finds, as a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    net = nn.parallel.DistributedDataParallel(network())
    rows = slice(ROWS * rank, ROWS * (rank + 1))
    found = {name: learn(net, loss) for name, loss in losses(rows, rank).items()}
    try:
        gather(torch.zeros(2 + rank, 3))
    except MedsslError as error:
        found["unequal"] = str(error)
    x = torch.full((2, 3), float(rank), requires_grad=True)
    (gather(x)[:, ::2] * torch.tensor([1.0, 2.0])).sum().backward()  # a gradient that does not lie in one piece
    found["sum"] = x.grad
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(one_of_two, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", ["nt_xent", "supcon", "sigreg"])
def test_two_processes_learn_what_one_would(found, name):
    whole = learn(network(), losses(slice(None), 0)[name])
    for rank in range(2):
        assert whole.keys() == found[rank][name].keys()
        for key, expected in whole.items():
            torch.testing.assert_close(found[rank][name][key], expected, rtol=1e-9, atol=1e-12, msg=f"{name}: {key}")
    part = learn(network(), losses(slice(0, ROWS), 0)[name])
    assert not torch.allclose(part["value"], whole["value"], rtol=1e-3), "half of the batch would have done"


def test_gradients_of_both_processes_come_back(found):
    for rank in range(2):
        assert found[rank]["sum"].tolist() == [[2.0, 0.0, 4.0]] * 2


def test_parts_of_unequal_length_are_refused(found):
    assert all("[2, 3] rows" in found[rank]["unequal"] for rank in range(2))


def test_alone_nothing_is_gathered():
    x = torch.ones(2, 3, requires_grad=True)
    assert gather(x) is x
