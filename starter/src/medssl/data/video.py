"""Clips: a film (mp4), a cine DICOM file or a 4-D NIfTI file becomes uint8 [C,T,H,W], T frames from all of its length.

Frames are evenly spaced from the first to the last. A clip of fewer frames than asked is refused: none is made up.
Grey values of DICOM and NIfTI are scaled by one pair of percentiles for the whole clip, so that no frame flickers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

from medssl.data.dicom import read_dicom
from medssl.data.dicom_header import DICOM_ENDINGS, is_dicom_file
from medssl.data.dicom_values import Window
from medssl.data.folder_listing import files_below, is_dicom_without_ending, list_folder
from medssl.data.folders import MEMORY, as_data, decode
from medssl.data.images import ImageData, Split
from medssl.data.intensity import quantiles
from medssl.data.phantom_cine import cine_phantom
from medssl.data.pictures import FITS, PERCENTILES, to_square
from medssl.data.volume_folders import NIFTI
from medssl.data.volumes import read_volume
from medssl.errors import MedsslError

FILMS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
COUNTS, REDUCED = {"train": 96, "val": 32, "test": 64}, 0.4  # clips of the phantom; the heart is weak at 40 % or less


def read_clip(path: str | Path, size: int, frames: int = 16, channels: int = 1, fit: str = "pad",
              window: Window | None = None, level: int | None = None) -> Tensor:
    """One file as uint8 [channels, frames, size, size]; fit as in `read_picture`.

    window: of a DICOM file, see read_dicom; else percentiles. level: which slice of a 4-D NIfTI file, counted from the
    feet, by default the middle one; it is drawn as radiologists look at it, the patient's right on the left.
    """
    path = Path(path)
    if fit not in FITS or channels not in (1, 3) or size < 1 or frames < 2:
        raise MedsslError(f"{fit=}, {channels=}, {size=}, {frames=}.", f"fit one of {FITS}, 1 or 3 channels, 2 frames")
    if not path.is_file():
        raise MedsslError(f"{path} is not there." if not path.exists() else f"{path} is a folder.", "a file of a clip")
    if path.suffix.lower() in FILMS:
        pixels = torch.stack([to_square(frame, size, fit) for frame in _film(path, frames)])
    elif path.name.lower().endswith(NIFTI):
        pixels = _still(path, _slice(path, level, frames), size, fit)
    elif is_dicom_file(path):
        image = read_dicom(path, window)
        array = image.array[_spread(path, len(image.array) if image.array.ndim == 4 else 1, frames)]
        pixels = _still(path, array, size, fit, scaled=array.shape[1] == 3 or window is not None)
    else:
        raise MedsslError(f"{path} is no clip that can be read here.", f"{', '.join(FILMS)}, .nii, .nii.gz or DICOM")
    if pixels.shape[1] != channels:
        pixels = pixels.expand(-1, 3, -1, -1) if channels == 3 else rgb_to_grayscale(pixels)
    return pixels.round().clamp(0, 255).to(torch.uint8).transpose(0, 1).contiguous()


def load_clip_folder(path: str | Path, labels: str | Path | None = None, image_column: str = "image",
                     label_column: str | Sequence[str] | None = None, *, size: int = 224, frames: int = 16,
                     channels: int = 1, fit: str = "pad", window: Window | None = None, level: int | None = None,
                     classes: Sequence[str] | None = None, only: str = "*", folders: bool = True,
                     broken: str = "error", max_gb: float = MEMORY, **about) -> ImageData:
    """All clips of a folder as uint8 [N,channels,frames,size,size], in three parts (see read_clip, list_folder,
    as_data)."""
    listing = list_folder(path, labels, image_column, label_column, classes, broken, only, find=clip_files,
                          folders=folders)
    if not listing.files:
        raise MedsslError(f"{listing.root} holds no clip{f' like {only}' * (only != '*')}.",
                          f"{', '.join(FILMS)}, 4-D NIfTI or cine DICOM", "Is this the right folder?")
    images, listing = decode(listing, (channels, frames, size, size), lambda file: read_clip(
        file, size, frames, channels, fit, window, level), broken, max_gb)
    return as_data(listing, images, size=size, **about)


def clip_files(root: Path) -> list[Path]:
    """Every film, NIfTI or DICOM file below the folder, sorted; whether it is a clip shows when it is read."""
    return [file for file in files_below(root) if file.name.lower().endswith((*FILMS, *NIFTI, *DICOM_ENDINGS))
            or is_dicom_without_ending(file)]


def cine_data(size: int = 28, frames: int = 16) -> ImageData:
    """Beating hearts drawn by `cine_phantom`: images are clips [N,1,T,H,W], label 1 an ejection fraction up to 40 %."""
    def split(seed: int, count: int) -> Split:
        clips, ejection = zip(*(cine_phantom(1000 * seed + k, frames, size) for k in range(count)), strict=True)
        labels = torch.tensor([int(fraction <= REDUCED) for fraction in ejection])
        return Split(torch.stack(clips).transpose(1, 2).contiguous(), labels)

    splits = {name: split(seed, count) for seed, (name, count) in enumerate(COUNTS.items())}
    return ImageData(key="cinephantom", **splits, classes=("normal", "reduced"), modality="mr",
                     license="generated by this package, MIT", is_phantom=True, size=size)


def _spread(path: Path, n: int, frames: int) -> list[int]:
    """The numbers of `frames` frames, evenly spaced over n, both ends among them."""
    if n < frames:
        raise MedsslError(f"{path} has {n} frame{'s' * (n != 1)}, and {frames} are asked for.", f"{frames} or more",
                          "Ask for fewer (frames=), or read a single picture or volume as such.")
    return np.rint(np.linspace(0, n - 1, frames)).astype(int).tolist()


def _still(path: Path, array: Tensor, size: int, fit: str, scaled: bool = False) -> Tensor:
    """float32 [T,C,S,S] in 0…255 of values [T,C,H,W]; scaled: they are colours, or in 0…1 after a window."""
    if scaled:
        low, high = 0, 255 if array.shape[1] == 3 else 1
    else:
        low, high = quantiles(array, PERCENTILES)
        if high <= low:  # nearly one value everywhere
            low, high = (float(end) for end in array.aminmax())
    values = (array.float() - low) * (255 / max(high - low, 1e-6))
    return torch.stack([to_square(frame, size, fit) for frame in values.clamp(0, 255)])


def _slice(path: Path, level: int | None, frames: int) -> Tensor:
    """[T,1,Y,X] of one slice, turned the way it is looked at: front up, the patient's right on the left."""
    array = read_volume(path, frame="all").array  # [T,Z,Y,X] in RAS+
    level = array.shape[1] // 2 if level is None else level
    if not 0 <= level < array.shape[1]:
        raise MedsslError(f"{path} has {array.shape[1]} slices, and level={level}.", f"0 … {array.shape[1] - 1}")
    return array[_spread(path, len(array), frames), level, None].flip(2, 3)


def _film(path: Path, frames: int) -> Iterator[Tensor]:
    """RGB frames float32 [3,H,W] in 0…255, one at a time: a film unpacked as a whole may not fit into memory."""
    try:
        import av
    except ImportError as error:
        raise MedsslError("Films need the library PyAV, which is not installed here.", "the extra `video` of medssl",
                          "pip install 'medssl[video]'") from error
    try:
        with av.open(str(path), metadata_errors="replace") as film:  # counted: not every header says how many
            wanted = _spread(path, sum(packet.size > 0 for packet in film.demux(video=0)), frames)
        with av.open(str(path), metadata_errors="replace") as film:
            for k, frame in enumerate(film.decode(video=0)):
                while wanted and wanted[0] == k:
                    wanted.pop(0)
                    yield torch.from_numpy(np.moveaxis(frame.to_ndarray(format="rgb24"), -1, 0).copy()).float()
    except (av.error.FFmpegError, IndexError) as error:
        raise MedsslError(f"{path} cannot be read: damaged, or without pictures ({error}).", "a film",
                          "Fetch it again, or convert it to mp4 (H.264).") from error
    if wanted:
        raise MedsslError(f"{path} ends before frame {wanted[0]}.", "a whole film", "It is damaged: fetch it again.")
