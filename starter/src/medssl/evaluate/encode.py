"""From a network and images to arrays: probabilities of class 1, or features."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from medssl.errors import MedsslError


def _in_batches(model: nn.Module, function: Callable, images, batch_size: int, device) -> torch.Tensor:
    """function(batch) over images [N,C,H,W] (uint8, or float in [0,1]), eval mode, no gradients -> [N, K] on CPU."""
    images = torch.as_tensor(images)
    if len(images) == 0:
        raise MedsslError("there are no images.", "a tensor [N,C,H,W], N at least 1", "check the split or the indices")
    if device is not None:
        model.to(device)
    batch_size = min(batch_size, max(1, 80_000_000 // images[0].numel()))  # of large volumes fewer at once
    anchor = next(model.parameters(), next(model.buffers(), torch.zeros(())))
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            out = torch.cat([function(batch.to(anchor.device)).cpu() for batch in images.split(batch_size)])
    finally:  # every part back in its own mode: a frozen encoder below a head in training stays in eval
        for module, training in modes:
            module.training = training
    if out.ndim != 2:
        raise MedsslError(f"the model returned shape {list(out.shape)}.", "one row an image: [N, K]",
                          "average or flatten the feature map inside the model")
    return out


def nearby(images: torch.Tensor) -> list[torch.Tensor]:
    """Ten versions of [N,C,H,W]: as it is or moved by a pixel up, down, left, right (edges repeated); each mirrored."""
    rows, columns = (torch.arange(n, device=images.device) for n in images.shape[-2:])
    steps = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]
    moved = [images[..., (rows + down).clamp(0, len(rows) - 1), :][..., (columns + right).clamp(0, len(columns) - 1)]
             for down, right in steps]
    return moved + [version.flip(-1) for version in moved]


def predict_proba(model: nn.Module, images, batch_size: int = 512, device=None, tta: bool = False) -> np.ndarray:
    """P(class 1) as float64 [N] = softmax(model.predict(x))[:, 1], for a model whose predict gives logits [B, 2].

    Runs on the device the model is on; a `device` that is given moves the model there. tta (test-time augmentation):
    the mean over ten `nearby` versions, where mirroring and a shift must not matter; ten times the work.
    """
    if tta:
        return np.mean([predict_proba(model, version, batch_size, device) for version in nearby(images)], axis=0)
    p = predict_many(model, images, batch_size, device)
    if p.shape[1] != 2:
        raise MedsslError(f"model.predict gives {p.shape[1]} outputs an image.", "two logits, one a class",
                          "build the head with num_classes=2, or ask predict_many")
    return p[:, 1]


def predict_many(model: nn.Module, images, batch_size: int = 512, device=None, several: bool = False) -> np.ndarray:
    """Probabilities float64 [N,K] of K classes (softmax of the logits), or of several findings at once (sigmoid)."""
    logits = _in_batches(model, model.predict, images, batch_size, device).double()  # float32 saturates at exactly 1
    return (logits.sigmoid() if several else logits.softmax(1)).numpy()


def encode(model: nn.Module, images, batch_size: int = 512, device=None, tta: bool = False) -> np.ndarray:
    """Features as float32 [N, D]: model.encode(x), or model(x) where the module is itself an encoder.

    tta: the mean feature of ten `nearby` versions; for every model of a comparison, and for train, val and test alike.
    """
    if tta:
        return np.mean([encode(model, version, batch_size, device) for version in nearby(images)], axis=0)
    return _in_batches(model, getattr(model, "encode", model), images, batch_size, device).float().numpy()
