"""Sets of volumes: BraTS (four sequences of MR a case) and the Medical Segmentation Decathlon (dataset.json)."""

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medssl.data.folder_listing import Listing, files_below
from medssl.data.folders import MEMORY, as_data, decode
from medssl.data.images import ImageData
from medssl.data.public.pictures import find
from medssl.data.volume_folders import on_grid
from medssl.data.volume_grid import crop_or_pad, resample
from medssl.data.volumes import Volume, read_volume
from medssl.errors import MedsslError

# What a channel is, and how the years of BraTS end the names of its files.
SEQUENCES = {"T1": ("t1", "t1n"), "T1 with contrast": ("t1ce", "t1c"), "T2": ("t2", "t2w"), "FLAIR": ("flair", "t2f")}
NAME = re.compile(r"(?P<case>.+)[_-](?P<what>t1|t1n|t1ce|t1c|t2|t2w|flair|t2f|seg)\.nii(\.gz)?")


def read_brats(folder: Path, about, size, *, broken: str = "error", masks: bool = False, **how) -> ImageData:
    """Channels T1, T1 with contrast, T2, FLAIR. BraTS-GLI-00001-000 and -001 are two times of patient BraTS-GLI-00001.

    masks: 1 necrotic core, 2 oedema, 4 (2021) or 3 (2023) enhancing tumour.
    """
    cases = {}
    for file in files_below(folder):
        if match := NAME.fullmatch(file.name):
            cases.setdefault(file.parent / match["case"], {})[match["what"]] = file
    chosen, skipped = {}, {}
    wanted = {"seg": ("seg",)} if masks else SEQUENCES
    for case, there in sorted(cases.items()):
        files = [next((there[end] for end in ends if end in there), None) for ends in wanted.values()]
        if None in files:
            lacks = f"{case} has no file of {list(wanted)[files.index(None)]} ({', '.join(sorted(there))} are there)."
            if broken == "error":
                raise MedsslError(lacks, f"one of each: {', '.join(wanted)}", 'Fetch it again, or broken="skip".')
            skipped[str(case)] = lacks
        else:
            chosen[case] = files
    patient = tuple(case.name.rpartition("-")[0] if case.name.startswith("BraTS-") else case.name for case in chosen)
    listing = Listing(folder, tuple(chosen), columns={"patient": patient}, skipped=skipped)

    def volume(case: Path) -> Volume:
        parts = [read_volume(file, "MR") for file in chosen[case]]
        for part in parts[1:]:
            if part.shape != parts[0].shape or not np.allclose(part.affine, parts[0].affine, atol=0.01):
                raise MedsslError(f"{part.source} does not lie on the grid of {parts[0].source}.",
                                  "one grid for all sequences of a case", "Fetch it again.")
        return replace(parts[0], array=torch.cat([part.array.float() for part in parts]))

    return _cubes(listing, volume, 1 if masks else len(SEQUENCES), about, size, broken=broken, masks=masks, **how)


def read_msd(folder: Path, about, size, *, broken: str = "error", masks: bool = False, **how) -> ImageData:
    """The labelled cases ("training") of one task. dataset.json says what the channels of a 4-D file are."""
    path = find(folder, ("dataset.json",))
    try:
        said = json.loads(path.read_text("utf-8-sig"))
        channels, names = said["modality"], [case["label" if masks else "image"] for case in said["training"]]
        if not isinstance(channels, dict) or not all(isinstance(name, str) for name in channels.values()):
            raise TypeError("the names of the channels")
        if any(".." in Path(name).parts or Path(name).is_absolute() or len(name) > 255 for name in names):
            raise ValueError("a path leads out of the folder, or is longer than any")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MedsslError(f"{path} is no dataset.json of the Decathlon ({error}).", "modality, and training: a list of "
                          "image and label", "Fetch it again.") from error
    files, ct = [path.parent / name for name in names], "CT" in channels.values()
    listing = Listing(path.parent, tuple(files), columns={"patient": tuple(file.name for file in files)})

    def volume(file: Path) -> Volume:
        found = read_volume(file, "CT" if ct else "MR", frame="all")
        expected = 1 if masks else len(channels)
        if len(found.array) != expected:
            raise MedsslError(f"{file} has {len(found.array)} channels.",
                              f"{expected}, as dataset.json says: {', '.join(channels.values())}", "Fetch it again.")
        return found

    return _cubes(listing, volume, 1 if masks else len(channels), about, size, broken=broken, masks=masks,
                  **{"window": about.window, **how})


def _cubes(listing: Listing, volume, channels: int, about, size, *, broken: str, masks: bool, mm: float | None = None,
           window: str | tuple = "soft", max_gb: float = MEMORY, seed: int = 0,
           fractions=(0.7, 0.15, 0.15)) -> ImageData:
    """Every case resampled to mm, scaled to 0…255 and cut or padded to `size` around its middle."""
    if masks and broken == "skip":
        raise MedsslError('masks=True with broken="skip".', "images and label maps of the very same cases",
                          "Move the cases that lack a file out of the folder.")
    shape, mm = (size,) * 3 if isinstance(size, int) else tuple(size), float(mm or about.mm)

    def cube(case: Path) -> torch.Tensor:
        found = volume(case)
        if masks:
            return crop_or_pad(resample(found, mm, "nearest"), shape, fill=0).array.to(torch.uint8)
        return torch.cat([on_grid(replace(found, array=channel[None]), shape, (mm,) * 3, window)
                          for channel in found.array])

    images, listing = decode(listing, (channels, *shape), cube, broken, max_gb)
    with warnings.catch_warnings():
        if masks:  # two empty label maps are no copies of a patient
            warnings.filterwarnings("ignore", "(?s).*are copies of another")
        return as_data(listing, images, size=shape[-1], patients="patient", seed=seed, fractions=fractions,
                       spacing=(mm,) * 3, modality=about.modality, license=about.licence)
