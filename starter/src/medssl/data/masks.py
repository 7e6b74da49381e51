"""Masks of your own: for each image of an `ImageData` the mask that was drawn on it, on the same grid.

A mask may come as PNG, TIFF or BMP beside pictures, as NIfTI beside volumes; what is above 0 is the foreground. It must
have the size (NIfTI: and the place in the patient) of its image as it is stored, or it belongs to another.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medssl.data.dicom_header import open_dicom
from medssl.data.dicom_series import read_series
from medssl.data.folder_listing import files_below
from medssl.data.images import ImageData
from medssl.data.pictures import is_dicom_file, open_picture, to_square
from medssl.data.volume_grid import crop_or_pad, resample
from medssl.data.volumes import read_volume
from medssl.errors import MedsslError

NIFTI, PICTURES = (".nii.gz", ".nii"), (".png", ".tif", ".tiff", ".bmp")
TILTED = (5, 6, 7, 8)  # EXIF: the camera was held upright, height and width change places


def load_masks(data: ImageData, folder: str | Path, root: str | Path, fit: str = "pad", *,
               merge: bool = False) -> dict[Path, torch.Tensor]:
    """{file of an image: mask int64 [H,W] or [Z,Y,X], 1 is the foreground} for all images of load_own(root).

    The mask of scan7.png is called scan7, scan7_mask, scan7_seg or scan7_segmentation, that of scan7_image scan7_mask,
    too; in subfolders as the images are, or, where names differ, anywhere below the folder. merge: all that is above 0
    is one foreground; else masks with several values above 0, which may be several structures, are an error.
    """
    masks, root, values = {}, Path(root), set()
    there: dict[str, list[Path]] = {}
    for file in files_below(Path(folder)):
        if file.name.lower().endswith(NIFTI + PICTURES):
            for name in {_stem(file), str(file.relative_to(folder).with_name(_stem(file)))}:
                there.setdefault(name, []).append(file)
    for part in data.splits.values():
        for image, file in zip(part.images, part.about["file"], strict=True):
            mask = _mask_of(file, root, there, Path(folder))
            masks[file], drawn = _volume(mask, file, image.shape[1:], data.spacing) if image.ndim == 4 else \
                _picture(mask, file, image.shape[-1], fit)
            values |= set(np.unique(drawn[drawn > 0]).tolist())
            if len(values) > 1 and not merge:
                few = ", ".join(f"{value:g}" for value in sorted(values)[:5])
                raise MedsslError(f"The masks up to {mask} hold {len(values)} values above 0 ({few}"
                                  f"{', …' * (len(values) > 5)}).", "one, for the one structure that is to be found",
                                  "Draw or export one structure only, or, where all of them are the foreground or the "
                                  "values are its soft edge: --merge-masks (Python: merge=True).")
    return masks


def _stem(file: Path) -> str:
    ending = next((end for end in NIFTI if file.name.lower().endswith(end)), file.suffix)
    return file.name[:len(file.name) - len(ending)]


def _mask_of(file: Path, root: Path, there: dict[str, list[Path]], folder: Path) -> Path:
    stem = _stem(file) if file.is_file() else file.name
    names = [stem, *(stem + end for end in ("_mask", "_seg", "_segmentation")), stem.replace("_image", "_mask")]
    for name in (*(str(file.relative_to(root).with_name(name)) for name in names), *names):
        found = [mask for mask in there.get(name, ()) if mask.resolve() != file.resolve()]
        if len(found) > 1:
            raise MedsslError(f"The mask of {file} could be {found[0]} or {found[1]}.", "one mask for each image",
                              "Give the masks the subfolders of their images.")
        if found:
            return found[0]
    raise MedsslError(f"{folder} holds no mask of {file}.", f"a file {stem} or {stem}_mask: PNG, TIFF or NIfTI",
                      "Where nothing is to be found in an image, its mask is 0 everywhere, and a file all the same.")


def _other(mask: Path, file: Path, *sizes: Sequence) -> MedsslError:
    return MedsslError(f"{mask} is {'×'.join(map(str, sizes[0]))}, {file} is {'×'.join(map(str, sizes[1]))}"
                       f"{' in another place' * (tuple(sizes[0]) == tuple(sizes[1]))}.", "a mask on the grid of its "
                       "image", "Is it the mask of another image, or of one that was resampled?")


def _picture(mask: Path, file: Path, size: int, fit: str) -> tuple[torch.Tensor, np.ndarray]:
    """(mask, values as drawn; a colour is one number). A pixel is foreground where half of what it shows is."""
    with open_picture(mask) as opened:
        values = np.asarray(opened.convert("RGB") if opened.mode == "P" else opened)
    if values.ndim == 3:
        grey = values.shape[-1] < 3 or (values[..., :3] == values[..., :1]).all()
        values = values[..., 0] if grey else values[..., :3].astype(np.int64) @ (65536, 256, 1)
    inside = values > 0
    if is_dicom_file(file):
        ds = open_dicom(file, pixels=False)
        shape = (ds.Rows, ds.Columns)
    else:
        with open_picture(file) as opened:
            shape = opened.size[::1 if opened.getexif().get(0x0112, 1) in TILTED else -1]
    if inside.shape != tuple(shape):
        raise _other(mask, file, inside.shape, shape)
    return (to_square(torch.from_numpy(inside[None].astype(np.float32)), size, fit)[0] >= 0.5).long(), values


def _volume(mask: Path, file: Path, shape: Sequence[int], spacing: Sequence[float]) -> tuple:
    """(mask, values as drawn). As on_grid does with the image, but for the nearest voxel's value: a label is no number
    to blend."""
    drawn, image = read_volume(mask), read_series(file) if file.is_dir() else read_volume(file)
    if drawn.shape != image.shape or not np.allclose(drawn.affine, image.affine, atol=0.1):
        raise _other(mask, file, drawn.shape, image.shape)
    on = crop_or_pad(resample(drawn, spacing, mode="nearest"), shape, fill=0).array[0]
    return (on > 0).long(), np.asarray(drawn.array)
