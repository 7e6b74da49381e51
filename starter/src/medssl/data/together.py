"""Several data sets as one, to pretrain on without labels."""

from collections.abc import Sequence

import torch
from torchvision.transforms.v2 import functional as transforms

from medssl.data.images import ImageData, Split
from medssl.errors import MedsslError


def together(sets: Sequence[ImageData], size: int | None = None, channels: int | None = None) -> ImageData:
    """The train and val images of all; test images stay out of it. The label of an image is the SET it comes from.

    Its classes are the keys of the sets, so that a batch can be balanced between them; no diagnosis is kept. size: the
    side that images are brought to, by default the smallest. channels: 1 (colour becomes luminance) or 3 (grey three
    times), by default the largest. Volumes must lie on one grid already. With one phantom among them it counts as one.
    """
    if len({data.key for data in sets}) < max(2, len(sets)):
        raise MedsslError(f"The sets {', '.join(data.key for data in sets)}.", "two or more different sets")
    volumes = {data.train.images.ndim == 5 for data in sets}
    grids = {(data.train.images.shape[1:], data.spacing) for data in sets}
    if len(volumes) > 1 or (True in volumes and len(grids) > 1):
        raise MedsslError("These sets are " + ("images and volumes." if len(volumes) > 1 else
                                               f"volumes of {', '.join(str(list(grid[0])) for grid in grids)}."),
                          "images, or volumes of one shape and spacing", "Load them with the same size= and mm=.")
    channels = channels or max(data.channels for data in sets)
    size = size or min(data.train.images.shape[-1] for data in sets)
    if channels not in (1, 3) and True not in volumes:
        raise MedsslError(f"channels={channels}.", "1 or 3")

    def one(images: torch.Tensor) -> torch.Tensor:
        if images.ndim == 5:
            return images
        if images.shape[1] != channels:
            images = images.expand(-1, 3, -1, -1) if channels == 3 else transforms.rgb_to_grayscale(images)
        return images if images.shape[-2:] == (size, size) else transforms.resize(images, [size, size], antialias=True)

    splits = {}
    for part in ("train", "val"):
        images = torch.cat([one(data.splits[part].images) for data in sets])
        counts = torch.tensor([len(data.splits[part]) for data in sets])
        splits[part] = Split(images, torch.arange(len(sets)).repeat_interleave(counts))
    empty = Split(splits["train"].images[:0], splits["train"].labels[:0])
    return ImageData(key="+".join(data.key for data in sets), **splits, test=empty, size=size,
                     classes=tuple(data.key for data in sets), spacing=sets[0].spacing,
                     modality=", ".join(dict.fromkeys(data.modality for data in sets)),
                     license="; ".join(dict.fromkeys(data.license for data in sets)),
                     is_phantom=any(data.is_phantom for data in sets))
