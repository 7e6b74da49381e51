"""Leakage check: an image that stands in train and in test, too, makes the test say less than it seems to."""

from typing import NamedTuple

from medssl.data.images import ImageData


class Duplicate(NamedTuple):
    """Image index_b of split_b is, pixel for pixel, image index_a of split_a."""

    split_a: str
    index_a: int
    split_b: str
    index_b: int
    same_label: bool


def find_duplicates(data: ImageData) -> list[Duplicate]:
    """Every image whose pixels have come before (in the order train, val, test), paired with the first such image."""
    first, found = {}, []
    for name, split in data.splits.items():
        for index, (image, label) in enumerate(zip(split.images.cpu().numpy(), split.labels.tolist(), strict=True)):
            pixels = image.tobytes()
            if pixels in first:
                name_a, index_a, label_a = first[pixels]
                found.append(Duplicate(name_a, index_a, name, index, same_label=label == label_a))
            else:
                first[pixels] = (name, index, label)
    return found
