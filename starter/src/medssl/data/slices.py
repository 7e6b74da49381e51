"""Axial slices drawn from volumes, each with the patient's midline in its middle: pictures that have two halves."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from medssl.data.dicom_series import read_series
from medssl.data.folder_listing import Listing, list_folder
from medssl.data.folders import as_data
from medssl.data.images import ImageData
from medssl.data.intensity import otsu
from medssl.data.volume_folders import AIR, on_grid, volume_files
from medssl.data.volumes import Volume, read_volume
from medssl.errors import MedsslError

ALIKE, FAR, DRIFT = 0.7, 0.15, 0.05  # a midline is believed from that symmetry on, up to these shares of the width
LABELS = 256  # at most so many values has a label map


def load_slices(path: str | Path, kinds: Mapping[str, tuple[str, str]], *, patient: str | None = None, size: int = 192,
                each: int = 16, least: float = 0.1, window="soft", midline: str = "find", broken: str = "error",
                **about) -> ImageData:
    """Slices of all volumes below a folder as uint8 [N,1,size,size]; the label of a slice is its kind.

    kinds: {name: (CT or MR, which files)}, such as {"chest": ("CT", "chest*.nii.gz"), "head": ("MR", "t1*.nii.gz")}.
    patient: a regular expression that finds the patient in a file's name ("STS_[0-9]+"); without one each volume is a
    patient. All slices of a patient, of whatever kind, are in one part. each, least, window, midline: see `slices_of`;
    split.about["symmetry"] is how well the halves of a slice's volume agree. broken: "skip" leaves out what cannot be
    read or has no such slice, and says so. about: see folders.as_data.
    """
    root, images, files, owners, labels, skipped, symmetry = Path(path), [], [], [], [], {}, {}
    for label, (name, (modality, only)) in enumerate(kinds.items()):
        found = list_folder(root, only=only, broken=broken, find=volume_files, folders=False).files
        if not found:
            raise MedsslError(f"{root} holds no volume like {only} ({name}).",
                              "NIfTI files, or folders of DICOM slices", "Is the path right?")
        for file in found:
            owner = re.search(patient, file.name) if patient else re.match(".*", str(file))
            if owner is None:
                raise MedsslError(f"{file.name} names no patient like {patient!r}.", "a patient in each name",
                                  "Another expression, or only such files (--only).")
            try:
                volume = read_series(file) if file.is_dir() else read_volume(file)
                if modality and volume.modality not in ("", modality):
                    raise MedsslError(f"{file} is {volume.modality}, says its header; it was named {modality}.",
                                      f"{modality} alone", "Name it what it is (--modality), or pick files (--only).")
                some, symmetry[file] = with_symmetry(replace(volume, modality=modality), size, each, least, window,
                                                     midline)
            except MedsslError as error:
                if broken == "error":
                    raise
                skipped[str(file)] = error.wrong.splitlines()[0]
                continue
            images.append(some)
            files += [file] * len(some)
            owners += [owner.group()] * len(some)
            labels += [label] * len(some)
    if skipped:
        warnings.warn(f"{len(skipped)} volumes were left out; the first: {next(iter(skipped.values()))}", stacklevel=2)
    if not images:
        raise MedsslError(f"{root}: not one slice.", "volumes that can be read", next(iter(skipped.values())))
    several = len(kinds) > 1
    listing = Listing(root, tuple(files), torch.tensor(labels) if several else None, tuple(kinds) if several else (),
                      {"patient": tuple(owners)}, skipped)
    modality = " and ".join(sorted({modality for modality, _ in kinds.values()}))
    data = as_data(listing, torch.cat(images), size=size, patients="patient", modality=f"{modality} slices", **about)
    data = replace(data, **{name: replace(split, about=split.about | {
        "symmetry": tuple(symmetry[file] for file in split.about["file"])}) for name, split in data.splits.items()})
    return data if patient else replace(data, parted="each volume counts as a patient of its own, as nobody said how "
                                        "patients are named")


def slices_of(volume: Volume, size: int = 192, each: int = 16, least: float = 0.1, window="soft",
              midline: str = "find") -> torch.Tensor:
    """uint8 [N,1,size,size]: at most `each` axial slices, evenly spaced over those of which a share of `least` or more
    is patient (above Otsu's threshold of the volume).

    All of the field of view fits into the picture, pixels are as high as wide. The front of the body is up, its right
    side on the left, as radiologists show it. CT is shown through `window`, MR scaled by its own percentiles. midline:
    "find" moves the slices so that their axis of symmetry is in the middle, all of a volume by the same (see
    volume_midline); "middle" asserts that it is there already. A volume whose axis is in doubt is left as it is, with a
    warning. A single limb, or a breast from the side, has no midline, and not every such volume is noticed.
    """
    return with_symmetry(volume, size, each, least, window, midline)[0]


def with_symmetry(volume: Volume, size: int, each: int, least: float, window, midline: str
                  ) -> tuple[torch.Tensor, float]:
    """(what slices_of gives, how well the halves agree about the volume's axis: 1 where one mirrors the other)."""
    if midline not in ("find", "middle") or size < 2 or size % 2 or each < 1:
        raise MedsslError(f"{midline=}, {size=}, {each=}.", '"find" or "middle", an even size, one slice or more')
    check_values(volume)
    chosen = filled(volume, each, least)
    (z, y, x), (slow, *plane) = volume.shape, volume.spacing
    step = max(y * plane[0], x * plane[1]) / size
    pictures = on_grid(volume, (z, size, size), (slow, step, step), window)[0, chosen].flip(1, 2)
    column, symmetry, drift = volume_midline(pictures)
    if midline == "find":
        shift = (column - (size - 1) / 2) / size
        if symmetry < ALIKE or abs(shift) > FAR or drift > DRIFT:
            warnings.warn(f"{volume.source}: its midline is in doubt (symmetry {symmetry:.2f}, {ALIKE} or more "
                          f"expected; {shift:+.0%} of the width off the middle, at most {FAR:.0%}; {drift:.0%} from "
                          f"slice to slice, at most {DRIFT:.0%}). It stays as it is. If it has none, as a single limb, "
                          "leave it out (--only); if it is in the middle, say so (--midline middle).", stacklevel=2)
        else:
            pictures = centred(pictures, torch.full((len(pictures),), column))
    return pictures[:, None], symmetry


def check_values(volume: Volume) -> None:
    """Refuse what can be no image of that modality: a label map (few whole values from 0 on, and next to most of them
    the same once more), Hounsfield units as MR. A warning where CT has no air: a scan may be cut so close, but more
    often the values are no Hounsfield units."""
    some = volume.array[0, ::max(1, volume.shape[0] // 16)]
    values, air = some.unique(), float((some < -500).float().mean())
    left, right = some[..., :-1], some[..., 1:]
    flat = bool((left == right)[(left != 0) & (right != 0)].float().mean() > 0.8)
    if 1 < len(values) <= LABELS and values[0] == 0 and flat and bool((values == values.round()).all()):
        raise MedsslError(f"{volume.source} holds {len(values)} whole values, 0 to {values[-1]:g}: a label map.",
                          "an image with grey values", "Pick the images by their names (--only).")
    if volume.modality == "MR" and air > 0.01:
        raise MedsslError(f"{volume.source}: {air:.0%} of its values are below -500, as the air of a CT is.",
                          "MR, whose values are no Hounsfield units", "Is it CT? (--modality CT)")
    if volume.modality == "CT" and not air:
        warnings.warn(f"{volume.source}: no value below -500, so no air around or in the patient. Are these Hounsfield "
                      "units of a CT? A window of any others shows nothing sensible.", stacklevel=2)


def filled(volume: Volume, each: int = 16, least: float = 0.1) -> torch.Tensor:
    """Which slices `slices_of` takes, as numbers along z: so a mask on the same grid can label them."""
    array = volume.array[0].clamp(min=AIR) if volume.modality == "CT" else volume.array[0]
    full = ((array > otsu(array)).float().mean((1, 2)) >= least).nonzero()[:, 0]
    if not len(full):
        raise MedsslError(f"{volume.source}: no slice of which {least:.0%} is patient.", "one at least",
                          "A smaller least=.")
    return full[torch.linspace(0, len(full) - 1, min(each, len(full))).round().long()]


def find_midline(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(column, symmetry), float [N] each, of images [N,H,W]: where the vertical axis of symmetry is, between two
    columns, and how well the halves agree: 1 where one is the mirror image of the other.

        column = argmax over c of S(c) = sum over rows y and columns x of f(y, x) · f(y, 2c - x),   symmetry = S / S_max

    with f = 0 outside the image. S is never more than S_max = sum of f², and equal to it only where f mirrors itself
    (Cauchy and Schwarz). S of all c at once is each row convolved with itself, by the Fourier transform.
    """
    f, width = images.double(), images.shape[2]
    score = torch.fft.irfft(torch.fft.rfft(f, n=2 * width).square(), n=2 * width).sum(1)  # at 2c
    best, at = score[:, 1:2 * width - 2:2].max(1)  # odd 2c: between two columns, where the image can be cut
    return at + 0.5, best / f.square().sum((1, 2)).clamp(min=1e-12)


def volume_midline(images: torch.Tensor) -> tuple[float, float, float]:
    """(column, symmetry, drift) of all slices [N,H,W] of a volume, as a patient has one midline: the medians of their
    columns (weighted by symmetry) and symmetries, and over what share of the width the columns spread (without the
    tenth furthest on either side: the top of a head may say anything)."""
    columns, symmetry = find_midline(images)
    order = columns.argsort()
    weight = symmetry[order].cumsum(0)
    at = int(torch.searchsorted(weight, weight[-1] / 2))
    tenths = torch.tensor([0.1, 0.9], dtype=columns.dtype)
    low, high = torch.quantile(columns, tenths, interpolation="nearest").tolist()
    return float(columns[order[at]]), float(symmetry.median()), (high - low) / images.shape[2]


def centred(images: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Images [N,H,W], even W, moved sideways until `column` [N] is in the middle; 0 comes in, what leaves is lost."""
    width = images.shape[2]
    at = torch.arange(width) + (column[:, None] - (width - 1) / 2).round().long()  # [N,W]: where each column comes from
    inside = ((at >= 0) & (at < width))[:, None]
    return images.gather(2, at.clamp(0, width - 1)[:, None].expand_as(images)) * inside
