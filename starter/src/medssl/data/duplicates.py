"""Leakage check: an image that stands in train and in test, too, makes the test say less than it seems to."""

import hashlib
from typing import NamedTuple

import numpy as np
import torch

from medssl.data.images import ImageData


class Duplicate(NamedTuple):
    """Image index_b of split_b is, pixel for pixel, image index_a of split_a."""

    split_a: str
    index_a: int
    split_b: str
    index_b: int
    same_label: bool


def image_hashes(images: torch.Tensor | np.ndarray) -> list[str]:
    """For each image of [N, …] the first 16 hex digits of the sha256 of its pixels, not of its file.

    They tell whether an image has been seen before, of the same size and channels, and cannot be turned into it.
    """
    array = images.cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    return [hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in array]


def find_duplicates(data: ImageData) -> list[Duplicate]:
    """Every image whose pixels have come before (in the order train, val, test), paired with the first such image."""
    first, found = {}, []
    for name, split in data.splits.items():
        for index, (pixels, label) in enumerate(zip(image_hashes(split.images), split.labels.tolist(), strict=True)):
            if pixels in first:
                name_a, index_a, label_a = first[pixels]
                found.append(Duplicate(name_a, index_a, name, index, same_label=label == label_a))
            else:
                first[pixels] = (name, index, label)
    return found


TWIN = 8.0  # grey values, root mean square: in BreastMNIST what lies closer is, to the eye, the same scene


def near_twins(data: ImageData, split: str, within: float = TWIN) -> tuple[torch.Tensor, torch.Tensor]:
    """(is there a train image within `within` grey values? bool [N]; the nearest train image, int64 [N]) for a split.

    Exact duplicates are rare; another frame of the same examination is not, and tests memory rather than medicine.
    Asked about "train", an image is not compared with itself.
    """
    here, train = (part.images.flatten(1).float().cpu() for part in (data.splits[split], data.train))
    blocks = []
    for start in range(0, len(here), 1024):  # a block bounds the memory
        gaps = torch.cdist(here[start:start + 1024], train)
        if split == "train":
            gaps[:, start:].fill_diagonal_(torch.inf)
        blocks.append(gaps.min(1))
    distance, nearest = (torch.cat([block[k] for block in blocks]) for k in (0, 1))
    return distance / here.shape[1] ** 0.5 <= within, nearest
