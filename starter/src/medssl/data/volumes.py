"""Volumes: a NIfTI file becomes a `Volume`, whatever order and direction its maker stored the axes in.

The one convention of this package. `array` is [C,Z,Y,X]. Index x grows towards the patient's right, y towards the front
(anterior), z towards the head (superior): "RAS+". A file stored otherwise is brought there by exchanging and reversing
axes, never by interpolation, so every voxel keeps its value; an oblique scan goes to the nearest of these orders and
its affine keeps the remaining rotation. `affine` takes voxel indices (x, y, z, 1) of this grid to millimetres in the
scanner's own RAS+ coordinates; whole indices are centres of voxels. `spacing` is (z, y, x) in mm, as the array is.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medssl.data.nifti_header import DAMAGE, grid, open_nifti, place, read_header, require_nibabel
from medssl.errors import MedsslError

BEST_GZIP = 1032  # gzip makes a file at most this many times smaller


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Voxels [C,Z,Y,X] int16 or float32 in RAS+ order, with their place in the patient."""

    array: torch.Tensor
    spacing: tuple[float, float, float]  # mm along (z, y, x)
    affine: np.ndarray  # 4×4: voxel (x, y, z, 1) -> mm to the right, to the front, to the head
    modality: str = ""  # "CT", "MR", or "" where nobody said
    source: str = ""  # the path as it was given
    notes: tuple[str, ...] = ()  # what was odd about the file, and what was done about it

    def __post_init__(self):
        array, affine = self.array, np.asarray(self.affine)
        if array.ndim != 4 or array.dtype not in (torch.int16, torch.float32) or 0 in array.shape:
            raise MedsslError(f"A volume of shape {list(array.shape)}, {array.dtype}.", "[C,Z,Y,X], int16 or float32",
                              "Add the channel with array[None]; choose the type with .to(torch.float32).")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)[::-1] if affine.shape == (4, 4) else None
        if lengths is None or not np.allclose(lengths, self.spacing, rtol=1e-3, atol=0):
            raise MedsslError(f"The spacing {self.spacing} mm (z, y, x) is not that of the affine {affine.tolist()}.",
                              "the lengths of the affine's columns z, y, x", "Compute the spacing from the affine.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        return tuple(self.array.shape[1:])

    def __repr__(self) -> str:
        size = "×".join(map(str, self.array.shape))
        mm = "×".join(f"{s:.3g}" for s in self.spacing)
        kind = str(self.array.dtype).removeprefix("torch.")
        lines = [f"Volume({size} [C,Z,Y,X] {kind}, {mm} mm, {self.modality or 'modality unknown'}, {self.source})"]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def to_world(volume: Volume, zyx) -> np.ndarray:
    """Millimetres (right, front, head) [..., 3] of voxel indices (z, y, x) [..., 3]; fractions lie between centres."""
    return np.asarray(zyx, float)[..., ::-1] @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def to_index(volume: Volume, world) -> np.ndarray:
    """Voxel indices (z, y, x) [..., 3], with fractions, of millimetres (right, front, head) [..., 3]."""
    inverse = np.linalg.inv(volume.affine[:3, :3])
    return ((np.asarray(world, float) - volume.affine[:3, 3]) @ inverse.T)[..., ::-1]


def read_volume(path: str | Path, modality: str = "", frame: int | str | None = None) -> Volume:
    """One .nii or .nii.gz file as a Volume. A file of several frames (4-D) needs frame=k, or "all": frames become C.

    Whole numbers within -32768…32767, after the header's slope and intercept, become int16; all else becomes float32.
    Memory: the raw voxels and the result, one frame each; there is no float64 copy.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise MedsslError(f"{path} has another ending than a NIfTI file.", ".nii or .nii.gz",
                          "Read DICOM with medssl.data.dicom_series.read_series; convert other formats first.")
    if not path.is_file():
        raise MedsslError(f"{path} is not there." if not path.exists() else f"{path} is a folder.", "a NIfTI file")
    try:
        return _read(path, modality, frame)
    except DAMAGE as error:
        raise MedsslError(f"{path} cannot be read: damaged or cut short ({error}).", "a whole NIfTI file",
                          "Fetch or convert it again.") from error


def read_volumes(paths: Iterable[str | Path], modality: str = "", frame: int | str | None = None,
                 broken: str = "error") -> tuple[list[Volume], dict[str, str]]:
    """(the volumes, {path of each file left out: why}). broken="error" stops at the first file that cannot be read,
    "skip" leaves it out and says so; a blank volume never takes its place."""
    if broken not in ("error", "skip"):
        raise MedsslError(f"broken={broken!r}.", '"error" or "skip"')
    volumes, skipped = [], {}
    for path in paths:
        try:
            volumes.append(read_volume(path, modality, frame))
        except MedsslError as error:
            if broken == "error":
                raise
            skipped[str(path)] = str(error).splitlines()[0]
    if skipped:
        warnings.warn(f"{len(skipped)} of {len(skipped) + len(volumes)} files were left out; the first: "
                      f"{next(iter(skipped.values()))}", stacklevel=2)
    return volumes, skipped


def _read(path: Path, modality: str, frame: int | str | None) -> Volume:
    nibabel, is_gzip = require_nibabel(), path.name.lower().endswith(".gz")
    with open_nifti(path) as file:
        header = read_header(path, file)
        shape, dtype = grid(path, header, frame)
        affine, notes = place(path, header, shape)
        n, n_bytes = math.prod(shape[3:]), math.prod(shape[:3]) * dtype.itemsize
        first, frames = (0, n) if frame in (None, "all") else (frame, 1)
        start, here = float(header["vox_offset"]), path.stat().st_size
        if not 0 <= start < 2**62:
            raise MedsslError(f"{path}: its header says that the voxels begin at byte {start:g}.", "a byte of the file",
                              "It is damaged: fetch or convert it again.")
        start = int(start)
        if start + n * n_bytes > here * (BEST_GZIP if is_gzip else 1):  # before any memory is asked for
            raise EOFError(f"{here} bytes cannot hold {list(shape)} voxels of {dtype}")
        buffer = bytearray(frames * n_bytes)
        file.seek(start + first * n_bytes)
        got = file.readinto(buffer)
        if got < len(buffer):
            raise EOFError(f"{got} of {len(buffer)} bytes of voxels")
        while is_gzip and file.read(1 << 20):  # at the very end gzip compares its checksum
            pass
    stored = np.frombuffer(buffer, dtype).reshape(*shape[:3], frames, order="F")
    order = nibabel.io_orientation(affine)
    if np.isnan(order).any():
        raise MedsslError(f"{path}: by its header {affine[:3].tolist()} an axis has no direction.", "three directions",
                          "Convert it again from its source.", "affine_singular")
    turned = nibabel.apply_orientation(stored, order).transpose(3, 2, 1, 0)  # a view: nothing is copied yet
    affine = affine @ nibabel.orientations.inv_ornt_aff(order, shape[:3])
    array = _numbers(path, turned, *_scaling(path, header))
    spacing = tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0)[::-1])
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    return Volume(torch.from_numpy(array), spacing, affine, modality, str(path), notes)


def _scaling(path: Path, header) -> tuple[float, float]:
    """(slope, intercept): value = slope · stored + intercept. The standard: a slope of 0 means neither is meant."""
    slope, intercept = (float(header[name]) for name in ("scl_slope", "scl_inter"))
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise MedsslError(f"{path}: the intercept in the header is {intercept}.", "a number", "Convert it again.")
    return slope, intercept


def _numbers(path: Path, stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """The values, int16 where they are whole and fit, else float32; slice by slice, so that no large copy is made."""
    ends = [slope * float(end) + intercept for end in (stored.min(), stored.max())]
    whole = stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    fits = whole and min(ends) >= -32768 and max(ends) <= 32767
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is refused below
        if (slope, intercept) == (1.0, 0.0):
            values = np.array(stored, np.int16 if fits else np.float32, order="C")
        else:
            values = np.empty(stored.shape, np.int16 if fits else np.float32)
            for k in range(stored.shape[1]):
                values[:, k] = stored[:, k] * slope + intercept  # float64 for one slice
    if not (fits or np.isfinite([values.min(), values.max()]).all()):
        bad = sum(int((~np.isfinite(values[:, k])).sum()) for k in range(values.shape[1]))
        raise MedsslError(f"{path}: {bad} of {values.size} voxels are no numbers (NaN) or infinite.",
                          "a finite value everywhere", "Decide what they mean and write the file anew.", "nonfinite")
    return values


def write_nifti(path: str | Path, volume: Volume, orientation: str = "RAS") -> Path:
    """Write a volume with its axes stored in another order, e.g. "LPS" or "PIR": read_volume gives the same back."""
    nibabel = require_nibabel()
    array = volume.array.numpy().transpose(3, 2, 1, 0)
    array = array[..., 0] if array.shape[3] == 1 else array
    codes = nibabel.orientations.axcodes2ornt
    order = nibabel.orientations.ornt_transform(codes("RAS"), codes(tuple(orientation)))
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(order, array.shape[:3])
    image = nibabel.Nifti1Image(nibabel.apply_orientation(array, order), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return Path(path)
