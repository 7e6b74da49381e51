"""Which images keep their label when only a part of the labels is "known": stratified, nested, one rounding rule."""

from numbers import Integral

import numpy as np
import torch

from medssl.errors import MedsslError


def label_subset(labels: torch.Tensor, fraction: float, seed: int = 0) -> torch.Tensor:
    """Sorted int64 indices of a stratified share of labels [N]; a smaller share lies inside a larger of equal seed.

    total = floor(fraction · N + 0.5), at least one of each class. The k-th image (k = 0, 1, …, in random order) of a
    class of n stands at (k + 0.5) / n in one queue, the first of each class at its head; `total` are taken. For two
    classes this is the largest remainder rule; for more it stays nested, which that rule does not.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0:
        raise MedsslError(f"The labels have shape {list(labels.shape)}.", "shape [N], N > 0", "Use labels.squeeze(1).")
    if not 0 < fraction <= 1:
        raise MedsslError(f"The label fraction is {fraction}.", "a share above 0 and at most 1", "Write 10 % as 0.10.")
    if not isinstance(seed, Integral) or seed < 0:
        raise MedsslError(f"seed={seed!r}.", "a whole number, so that the same share can be drawn again", "Use seed=0.")
    rng = np.random.default_rng(seed)
    place, classes = np.empty(len(labels)), np.unique(labels)
    for c in classes:
        members = rng.permutation(np.flatnonzero(labels == c))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] = 0
    total = max(len(classes), int(np.floor(fraction * len(labels) + 0.5)))
    return torch.from_numpy(np.sort(np.argsort(place, kind="stable")[:total]))
