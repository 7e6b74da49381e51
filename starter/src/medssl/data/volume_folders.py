"""Your own volumes: NIfTI files and folders of DICOM slices become an `ImageData` [N,C,D,H,W] on one grid.

Each volume goes through the same four steps: axes in one order (RAS+), resampled to one spacing in mm, grey values to
0…255 (CT by a window in Hounsfield units, MR by its own percentiles), cut or padded around its middle to one size.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medssl.data.dicom_header import DICOM_ENDINGS
from medssl.data.dicom_series import read_series
from medssl.data.folder_listing import files_below, is_dicom_without_ending, list_folder
from medssl.data.folders import MEMORY, as_data, decode, load_folder
from medssl.data.images import ImageData
from medssl.data.intensity import scale_mr, window_ct
from medssl.data.volume_grid import crop_or_pad, resample
from medssl.data.volumes import Volume, read_volume
from medssl.errors import MedsslError

NIFTI = (".nii", ".nii.gz")
AIR = -1024  # HU: less is no tissue but a scanner's mark for "outside the field of view", and must not blur into it


def load_own(path: str | Path, size: Sequence[int] | None = None, spacing: Sequence[float] | None = None,
             **how) -> ImageData:
    """A folder of yours, pictures or volumes: volumes where it holds NIfTI, or where a spacing is named (DICOM series).
    size: [224], or (z, y, x) for volumes."""
    volumes = spacing is not None or any(_is_nifti(file) for file in files_below(Path(path)))
    if not volumes and len(size or [224]) != 1:
        raise MedsslError(f"A size of {list(size)} for pictures.", "one number, the side of a picture",
                          "For volumes name the spacing, too: --spacing 2")
    if not volumes:
        return load_folder(path, size=(size or [224])[0], **how)
    if spacing is None or size is None:
        raise MedsslError(f"{path} holds volumes, and nothing says on which grid to put them.",
                          "a spacing in mm and a size in voxels", "For example --spacing 3 --size 64 (192 mm a side).")
    return load_volume_folder(path, size=size, spacing=spacing, **how)


def load_volume_folder(path: str | Path, labels: str | Path | None = None, image_column: str = "image",
                       label_column: str | Sequence[str] | None = None, *, size: Sequence[int],
                       spacing: float | Sequence[float], modality: str | None = None, window="soft",
                       frame: int | None = None, classes: Sequence[str] | None = None, only: str = "*",
                       folders: bool = True, broken: str = "error", max_gb: float = MEMORY, **about) -> ImageData:
    """All volumes of a folder as uint8 [N,1,z,y,x], in three parts (see list_folder, as_data).

    size: voxels (z, y, x); spacing: mm, one number or (z, y, x). modality: "CT" or "MR"; DICOM says it itself.
    window: of CT (see window_ct). frame: which of a 4-D file. labels: a CSV that names NIfTI files or series folders.
    """
    size, spacing = (tuple(np.broadcast_to(np.asarray(value), 3).tolist()) for value in (size, spacing))
    if modality not in (None, "CT", "MR"):
        raise MedsslError(f"The modality {modality!r} of volumes.", "CT or MR", "Leave it out for DICOM: it says it.")
    listing = list_folder(path, labels, image_column, label_column, classes, broken, only,
                          find=volume_files, folders=folders)
    if not listing.files:
        raise MedsslError(f"{listing.root} holds no volume{f' like {only}' * (only != '*')}.",
                          "NIfTI files (.nii, .nii.gz), or folders of DICOM slices", "Is this the right folder?")
    kinds = set()

    def read(file: Path) -> torch.Tensor:
        volume = read_series(file) if file.is_dir() else read_volume(file, frame=frame)
        kinds.add(modality or volume.modality)
        return on_grid(replace(volume, modality=modality or volume.modality), size, spacing, window)

    images, listing = decode(listing, (1, *size), read, broken, max_gb)
    return as_data(listing, images, size=max(size), spacing=tuple(map(float, spacing)),
                   modality=" and ".join(sorted(kinds - {""})), **about)


def on_grid(volume: Volume, size: Sequence[int], spacing: Sequence[float], window="soft") -> torch.Tensor:
    """uint8 [C,z,y,x] of a CT or MR volume: resampled, scaled, cut or padded."""
    array, name = volume.array, volume.source
    low, high = array.min(), array.max()
    if not ((array != low) & (array != high)).any():
        raise MedsslError(f"{name} holds " + (f"{low:g} everywhere." if low == high else f"only {low:g} and {high:g}."),
                          "an image with grey values", 'A mask? Name the images: only="*_image.nii.gz" (--only).')
    if volume.modality not in ("CT", "MR"):
        raise MedsslError(f"{name} does not say whether it is CT or MR.", "modality CT or MR (--modality)",
                          "CT is shown through a window in Hounsfield units, MR is scaled by its own percentiles.")
    ct = volume.modality == "CT"
    volume = resample(replace(volume, array=array.clamp(min=AIR)) if ct else volume, spacing)
    pair = (window,) if isinstance(window, str) else window
    grey = window_ct(volume.array, *pair) if ct else scale_mr(volume.array)
    return (crop_or_pad(replace(volume, array=grey), size, fill=0).array * 255).round().to(torch.uint8)


def volume_files(root: Path) -> list[Path]:
    """NIfTI files, and folders that hold DICOM slices themselves, sorted. A series is known by its folder."""
    nifti, series = [], set()
    for file in files_below(root):
        if _is_nifti(file):
            nifti.append(file)
        elif file.parent not in series and (file.suffix.lower() in DICOM_ENDINGS or is_dicom_without_ending(file)):
            series.add(file.parent)
    return sorted(nifti + list(series))


def _is_nifti(file: Path) -> bool:
    return file.name.lower().endswith(NIFTI)
