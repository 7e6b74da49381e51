"""Small networks and short pretrainings that several tests share."""

import pytest
import torch
from torch import nn

from medssl import recipes
from medssl.data import ImageData
from medssl.methods import MoCo, SimCLR
from medssl.models import SmallCNN
from medssl.views import TwoViews, preset

METHODS = ("simclr", "moco")
both_methods = pytest.mark.parametrize("method", METHODS)


def small(seed=0) -> SmallCNN:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SmallCNN(width=8)


def build(method: str, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = {"simclr": SimCLR, "moco": MoCo}[method]
        return made(small(), proj_dim=16, **({"queue_size": 50} if method == "moco" else {}) | settings)


def batch_of(data: ImageData, n: int = 24, seed: int = 0) -> dict:
    images = {"image": data.train.images[:n], "index": torch.arange(n)}
    return TwoViews(preset("ultrasound", "ssl"))(images, torch.Generator().manual_seed(seed))


def pretrain(data, method="simclr", **settings):
    own = {"queue_size": 50} if method == "moco" else {}
    return recipes.pretrain(data, method, **{"model": small(), "steps": 7, "batch_size": 24, "proj_dim": 16,
                                             "device": "cpu", "quiet": "silent", **own, **settings})


def weights(module: nn.Module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
