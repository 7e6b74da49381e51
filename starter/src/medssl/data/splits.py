"""Training, validation and test parts in which no patient stands in two of them.

Two images of one patient look alike. If one is trained on and the other tested on, memory passes for medicine.
"""

from collections.abc import Sequence

import numpy as np
import torch

from medssl.errors import MedsslError

PARTS = ("train", "val", "test")


def split(patients: Sequence, labels: Sequence[int] | torch.Tensor | None = None,
          fractions: Sequence[float] = (0.7, 0.15, 0.15), seed: int = 0) -> dict[str, torch.Tensor]:
    """{"train": sorted indices, "val": …, "test": …}: every patient in one part, each class shared out as well as whole
    patients allow. patients: one entry for each image; where each image has a patient of its own, range(n). labels:
    [N] numbers, or [N,K] of 0 and 1.

    Patients are taken in random order, those with most images first, and each goes where it hurts least:
    to the part p with the smallest sum over classes c of (want_pc - have_pc - n_c)² - (want_pc - have_pc)², over N_c.
    """
    patients = np.asarray([str(patient) for patient in patients])
    labels = np.zeros(len(patients), int) if labels is None else np.asarray(labels)
    shares = np.asarray(fractions, float)
    if labels.shape[:1] != patients.shape or labels.ndim > 2:
        raise MedsslError(f"{len(patients)} patients and labels of shape {list(labels.shape)}.", "one of each an image")
    if shares.shape != (3,) or shares.min() < 0 or abs(shares.sum() - 1) > 1e-6:
        raise MedsslError(f"fractions={tuple(fractions)}.", "three shares that add up to 1: train, val, test",
                          "Write (0.7, 0.15, 0.15).")
    who, group = np.unique(patients, return_inverse=True)
    used = np.flatnonzero(shares)
    if len(who) < len(used):
        raise MedsslError(f"{len(who)} patients cannot fill {len(used)} parts.", "a patient for each part at least",
                          "Is this the column of the patients?")
    members = labels[:, None] == np.unique(labels) if labels.ndim == 1 else np.insert(labels, 0, 1, axis=1)
    members = members[:, members.any(0)].astype(float)  # [N, classes]; of [N,K] the first column counts images
    counts = np.zeros((len(who), members.shape[1]))
    np.add.at(counts, group, members)
    total, images = counts.sum(0), np.bincount(group)
    want = shares[:, None] * total
    order = np.random.default_rng(seed).permutation(len(who))
    order = order[np.argsort(-images[order], kind="stable")]
    part, have = np.empty(len(who), int), np.zeros_like(want)
    for place, patient in enumerate(order):
        free = want[used] - have[used]
        cost = (((free - counts[patient]) ** 2 - free**2) / total).sum(1)
        empty = have[used].sum(1) == 0
        if empty.sum() == len(order) - place:  # the last patients: one for each part that still has none
            cost[~empty] = np.inf
        part[patient] = used[cost.argmin()]
        have[part[patient]] += counts[patient]
    return {name: torch.from_numpy(np.flatnonzero(part[group] == k)) for k, name in enumerate(PARTS)}
