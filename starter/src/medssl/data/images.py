"""What a data set is here: three splits of uint8 images with int64 labels, whole in memory."""

import hashlib
from dataclasses import dataclass

import torch

from medssl.errors import MedsslError


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images uint8 [N,C,H,W] (volumes: [N,C,D,H,W]) and their labels int64 [N].

    Where an image may show several findings at once, labels are int64 [N,K] of 0 and 1, a column for each. about: what
    else is known of each image, by name: "file", "patient", "site". It is kept in memory and written nowhere.
    """

    images: torch.Tensor
    labels: torch.Tensor
    about: dict[str, tuple] | None = None

    def __post_init__(self):
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim not in (4, 5):
            raise MedsslError(f"The images are {images.dtype} of shape {list(images.shape)}.",
                              "uint8 (grey values 0…255) of shape [N,C,H,W], for volumes [N,C,D,H,W]",
                              "Add a missing channel with images.unsqueeze(1); leave scaling to the encoder.")
        several = labels.ndim == 2 and labels.shape[1] > 1  # [N,1] == [N] gives a silent [N,N]
        if labels.dtype != torch.int64 or len(labels) != len(images) or not (labels.ndim == 1 or several):
            raise MedsslError(f"The labels are {labels.dtype} of shape {list(labels.shape)}.",
                              f"int64 of shape [{len(images)}], one label for each image",
                              "If the shape is [N,1], use labels.squeeze(1); if only the type is wrong, labels.long().")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self)} images of {list(self.images.shape[1:])})"


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """One data set. classes[i] names label i; classes[1] is the positive class of every metric."""

    key: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    modality: str
    license: str
    is_phantom: bool
    size: int
    spacing: tuple[float, float, float] | None = None  # of volumes on one grid: mm from voxel to voxel, (z, y, x)
    parted: str = ""  # how train, val and test were parted, where that is worth a thought

    def __post_init__(self):
        for name, split in self.splits.items():
            if split.labels.ndim == 2 and not (split.labels.shape[1] == len(self.classes)
                                               and torch.isin(split.labels, torch.tensor([0, 1])).all()):
                raise MedsslError(f"{self.key}, {name}: labels of shape {list(split.labels.shape)}.",
                                  f"0 or 1 for each of the {len(self.classes)} findings", "A column for each class.")
            if len(split) and not 0 <= split.labels.min() <= split.labels.max() < len(self.classes):
                raise MedsslError(f"{self.key}, {name}: labels run from {split.labels.min()} to {split.labels.max()}.",
                                  f"0 to {len(self.classes) - 1}: {self.classes}", "Name every class in `classes`.")

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def positive(self) -> str:
        return self.classes[1]

    @property
    def multilabel(self) -> bool:
        """May an image have several labels? Then they are [N,K]."""
        return self.train.labels.ndim == 2

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    def counts(self) -> dict[str, dict[str, int]]:
        """Images of each class in each split: {"train": {"malignant": 147, …}, …}."""
        return {name: {c: int((split.labels[:, i] if self.multilabel else split.labels == i).sum())
                       for i, c in enumerate(self.classes)} for name, split in self.splits.items()}

    def split_hash(self) -> str:
        """16 hex digits that change with any pixel, any label and their order: a result says which data it is from."""
        sha = hashlib.sha256()
        for split in self.splits.values():
            sha.update(str(list(split.images.shape)).encode())
            for tensor in (split.images, split.labels):
                sha.update(tensor.cpu().contiguous().numpy())
        return sha.hexdigest()[:16]

    def __repr__(self) -> str:
        mark = ", PHANTOM: made by a program, no patients" if self.is_phantom else ""
        lines = [f"  {name:5} {len(self.splits[name]):4} = {', '.join(f'{n} “{c}”' for c, n in split.items())}"
                 for name, split in self.counts().items()]
        if self.spacing:
            mark = f", {'×'.join(f'{mm:g}' for mm in self.spacing)} mm{mark}"
        last = ["  an image may have several of these" if self.multilabel else
                f"  positive class (label 1): “{self.positive}”"] if len(self.classes) > 1 else []
        last += [f"  parts: {self.parted}"] if self.parted else []
        size = "×".join(map(str, self.train.images.shape[2:])) if self.spacing else f"{self.size} px"
        return "\n".join([f"{self.key}: {self.modality}, {size}, {self.license}{mark}", *lines, *last])
