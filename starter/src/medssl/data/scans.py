"""Whole scans, each of its own size and spacing: read from a folder, handed out by number, for views that cut crops."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medssl.data.dicom_series import read_series
from medssl.data.folder_listing import list_folder
from medssl.data.folders import MEMORY, parts_of
from medssl.data.volume_folders import volume_files
from medssl.data.volumes import Volume, read_volume
from medssl.errors import MedsslError


def load_scans(path: str | Path, labels: str | Path | None = None, image_column: str = "image",
               label_column: str | Sequence[str] | None = None, *, modality: str | None = None, only: str = "*",
               patients: str | None = None, split_column: str | None = None, broken: str = "error", seed: int = 0,
               max_gb: float = MEMORY) -> dict[str, list[Volume]]:
    """{"train", "val", "test"}: the NIfTI files and DICOM series of a folder, as they are: no common size or spacing.

    The table's columns mean what they mean in load_volume_folder, and the parts are the same ones for the same seed:
    an encoder pretrained on this "train" can be tested on that "test". modality: CT or MR, where a file does not say.
    """
    listing = list_folder(path, labels, image_column, label_column, broken=broken, only=only, find=volume_files,
                          folders=False)
    if not listing.files:
        raise MedsslError(f"{listing.root} holds no volume{f' like {only}' * (only != '*')}.",
                          "NIfTI files (.nii, .nii.gz), or folders of DICOM slices", "Is this the right folder?")
    volumes, kept, skipped, taken = [], [], {}, 0
    for k, file in enumerate(listing.files):
        try:
            volume = read_series(file) if file.is_dir() else read_volume(file)
            volume = check_scan(replace(volume, modality=modality or volume.modality))
        except MedsslError as error:
            if broken == "error":
                raise
            skipped[str(file)] = error.wrong
            continue
        taken += volume.array.nbytes
        if taken > max_gb * 1e9:
            raise MedsslError(f"{len(volumes) + 1} of {len(listing.files)} scans take {taken / 1e9:.3g} GB already.",
                              f"at most max_gb={max_gb:g}", "Choose fewer files, or raise max_gb.")
        volumes.append(volume)
        kept.append(k)
    if skipped:
        warnings.warn(f"{len(skipped)} of {len(listing.files)} scans were left out; the first: "
                      f"{next(iter(skipped.values()))}", stacklevel=2)
    if not volumes:
        raise MedsslError(f"{listing.root}: not one scan could be read.", f"scans; the first: {[*skipped.values()][0]}")
    parts, _, _ = parts_of(listing.take(kept), patients, split_column, None, seed)
    return {name: [volumes[i] for i in chosen.tolist()] for name, chosen in parts.items()}


def check_scan(volume: Volume) -> Volume:
    """The volume, if crops can be cut from it: one channel, and CT or MR, whose grey values are read differently."""
    if volume.modality not in ("CT", "MR") or len(volume.array) != 1:
        raise MedsslError(f"{volume.source or 'A volume'}: modality {volume.modality or 'unknown'}, "
                          f"{len(volume.array)} channels.", "CT or MR, one channel",
                          "Say which: modality=, --modality; of a file of several frames read one.")
    return volume


class Scans:
    """A source of scan numbers for the Trainer: {"scan": int64 [B]}, full batches only.

    An epoch is `steps` batches (by default as many as show each scan once): shuffled rounds through all scans, one
    behind the other, so no scan is shown again before all have been, and the counts differ by one at most. The order
    comes from (seed, epoch). With fewer scans than batch_size a scan stands in a batch more than once, in crops of its
    own each time.
    """

    def __init__(self, volumes: Sequence[Volume], batch_size: int, seed: int = 0, steps: int | None = None):
        if not len(volumes) or batch_size < 1 or (steps is not None and steps < 1):
            raise MedsslError(f"{len(volumes)} scans, {batch_size=}, {steps=}.", "one scan, batch and step or more")
        self.volumes = [check_scan(volume) for volume in volumes]
        self.batch_size, self.seed, self.steps = batch_size, seed, steps or -(-len(volumes) // batch_size)

    def __repr__(self) -> str:
        return f"Scans({len(self.volumes)} scans, batch_size={self.batch_size}, seed={self.seed}, steps={self.steps})"

    def __len__(self) -> int:
        return self.steps

    def batches(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        rng, n = np.random.default_rng([self.seed, epoch]), self.steps * self.batch_size
        rounds = [rng.permutation(len(self.volumes)) for _ in range(-(-n // len(self.volumes)))]
        for numbers in torch.from_numpy(np.concatenate(rounds)[:n]).split(self.batch_size):
            yield {"scan": numbers}

    def state_dict(self) -> dict:
        return {}  # nothing to remember: (seed, epoch) says it all

    def load_state_dict(self, state: dict) -> None:
        pass
