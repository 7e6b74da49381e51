"""A folder of DICOM slices becomes a `Volume`, or an error says what the folder is instead.

The place of each slice comes from its own position and orientation (PS3.3 C.7.6.2); file names, slice numbers and the
slice thickness prove nothing. DICOM counts millimetres to the left and to the back (LPS), a `Volume` to the right and
to the front (RAS): the first two rows of the affine change sign.
"""

import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from medssl.data.dicom import read_dicom
from medssl.data.dicom_header import NoImage, is_dicom_file, open_dicom
from medssl.data.nifti_header import SHEAR, require_nibabel
from medssl.data.volumes import Volume
from medssl.errors import MedsslError

PLANES = ("sagittal", "coronal", "axial")  # by the axis that the normal is nearest to


def read_series(folder: str | Path, series: int | str | None = None, tolerance: float = 0.02,
                fill: float | None = None) -> Volume:
    """The one series in a folder (and the folders below it) as a Volume; of several, the one that `series` names: its
    number in the list that the error prints, or its SeriesInstanceUID.

    tolerance: by how much of their distance slices may lie off an even row. fill: the value of pixels that the files
    declare as padding (outside the field of view), in the scanner's unit; None leaves them. Values are those of
    read_dicom without a window, not inverted. Memory: the voxels and their turned copy.
    """
    folder = Path(folder)
    groups, notes = _groups(folder)
    slices = _choose(folder, groups, series)
    slices, affine, more = _in_order(folder, slices, tolerance)
    stored = _voxels(folder, slices, fill).transpose(2, 1, 0)  # [X,Y,Z] as stored: column, row, slice
    nibabel = require_nibabel()
    order = nibabel.io_orientation(affine)
    turned = nibabel.apply_orientation(stored, order).transpose(2, 1, 0)
    affine = affine @ nibabel.orientations.inv_ornt_aff(order, stored.shape)
    spacing = tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0)[::-1])
    notes = (*notes, *more)
    for note in notes:
        warnings.warn(f"{folder}: {note}", stacklevel=2)
    modality = str(slices[0].get("Modality") or "")
    return Volume(torch.from_numpy(np.ascontiguousarray(turned)[None]), spacing, affine,
                  modality if modality in ("CT", "MR") else "", str(folder), notes)


def _groups(folder: Path) -> tuple[list[list], list[str]]:
    """([the headers of each group of slices that could be one volume], notes on the files left out)."""
    if not folder.is_dir():
        raise MedsslError(f"{folder} is not there." if not folder.exists() else f"{folder} is a file.",
                          "a folder of DICOM slices", "Read one file with read_dicom." if folder.exists() else "")
    groups, left = [], Counter()
    files = sorted(Path(at, name) for at, _, names in os.walk(folder) for name in names if name[0] != ".")
    for path in files:
        if path.name == "DICOMDIR" or not is_dicom_file(path):
            left["no DICOM slice"] += 1
            continue
        try:
            ds = open_dicom(path, pixels=False)
        except NoImage as error:  # but a damaged file is an error: it might be a slice of the series
            left[error.wrong.removeprefix(f"{path} is ").rstrip(".")] += 1
            continue
        if "LOCALIZER" in ds.get("ImageType", ()):
            left["a localizer (scout view)"] += 1
            continue
        ds.filename = str(path)
        group = next((group for group in groups if _alike(group[0], ds)), None)
        groups.append([ds]) if group is None else group.append(ds)
    if not groups:
        said = "; ".join(f"{n} × {what}" for what, n in left.items()) or "no file at all"
        raise MedsslError(f"{folder} holds no DICOM slice of a volume: {said}.", "the slices of a CT or MR series",
                          "Name the folder of the series itself.")
    notes = [f"{n} file{'s' * (n > 1)} left out: {what}" for what, n in left.items()]
    return groups, notes


def _alike(a, b) -> bool:
    """One series, one size, one orientation (to 0.3 degrees)?"""
    turns = [list(ds.get("ImageOrientationPatient") or ()) for ds in (a, b)]
    return (all(a.get(name) == b.get(name) for name in ("SeriesInstanceUID", "Rows", "Columns"))
            and len(turns[0]) == len(turns[1]) and np.allclose(*turns, atol=SHEAR))


def _choose(folder: Path, groups: list[list], series: int | str | None) -> list:
    """The group that was asked for; if none was, the only one."""
    rows = []
    for number, slices in enumerate(groups, 1):
        first, turn = slices[0], slices[0].get("ImageOrientationPatient")
        plane = PLANES[np.abs(np.cross(turn[:3], turn[3:])).argmax()] if turn else "orientation unknown"
        rows.append(f"  series={number}: {len(slices)} × {first.get('Rows')}×{first.get('Columns')}, "
                    f"{first.get('Modality') or 'modality unknown'}, {plane}, "
                    f"from {Path(first.filename).relative_to(folder)}")
    listed = "\n" + "\n".join(rows)
    if isinstance(series, str):
        fitting = [slices for slices in groups if slices[0].get("SeriesInstanceUID") == series]
    else:
        fitting = groups if series is None else groups[series - 1:series] if series > 0 else []
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise MedsslError(f"{folder} has no series {series!r}. It holds:{listed}", "one of these", "Name its number.")
    if len({slices[0].get("SeriesInstanceUID") for slices in fitting}) == 1:
        raise MedsslError(f"{folder} holds one series of mixed orientation or size:{listed}", "parallel, equal slices",
                          "Say which part: series=1, series=2, …")
    raise MedsslError(f"{folder} holds {len(groups)} series:{listed}", "one series", "Say which: series=1, …")


def _in_order(folder: Path, slices: list, tolerance: float) -> tuple[list, np.ndarray, list[str]]:
    """(the slices from one end to the other, the affine to RAS+ mm of [column, row, slice], notes)."""
    for ds in slices:
        for name, n in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
            if len(ds.get(name) or ()) != n:
                more = int(ds.get("NumberOfFrames") or 1) > 1
                raise MedsslError(f"{ds.filename} does not say its {name}" + (": it is a multi-frame file." if more
                                  else "."), "the place of each slice in the patient",
                                  "Convert it to NIfTI (dcm2niix)." if more else "Export the original series.")
    turn, pixel = (np.array(slices[0][name].value, float) for name in ("ImageOrientationPatient", "PixelSpacing"))
    row, column = turn[:3], turn[3:]
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=1e-3) or pixel.min() <= 0:
        raise MedsslError(f"{slices[0].filename}: its orientation {turn.tolist()} or its pixel spacing "
                          f"{pixel.tolist()} is impossible.", "two unit vectors at right angles, two lengths")
    if not all(np.allclose(np.array(ds.PixelSpacing, float), pixel, rtol=1e-3) for ds in slices):
        raise MedsslError(f"{folder}: the pixel spacing differs from slice to slice.", "one spacing for all slices")
    if len(slices) < 2:
        raise MedsslError(f"{slices[0].filename} is a single slice.", "two slices at least, whose distance is known",
                          "Read it with read_dicom.")
    normal = np.cross(row, column)
    slices = sorted(slices, key=lambda ds: float(normal @ np.array(ds.ImagePositionPatient, float)))
    place = np.array([ds.ImagePositionPatient for ds in slices], float)
    gaps = np.diff(place @ normal)
    usual = float(np.median(gaps[gaps > 1e-3])) if (gaps > 1e-3).any() else 0.0
    _check_gaps(folder, slices, gaps, usual, tolerance)
    step = (place[-1] - place[0]) / (len(slices) - 1)
    lean = np.linalg.norm(step - (step @ normal) * normal) / np.linalg.norm(step)
    if lean > SHEAR:
        raise MedsslError(f"{folder}: each slice is shifted sideways against the one before, by "
                          f"{np.degrees(np.arcsin(min(1, lean))):.1f}°, as after a gantry tilt.",
                          "slices that stand straight above one another", "Resample it with a tool made for that.")
    off = np.abs(place - place[0] - np.arange(len(slices))[:, None] * step).max()
    if off > max(tolerance * usual, 0.01) * 2:
        raise MedsslError(f"{folder}: a slice lies {off:.3g} mm off the straight row of the others.",
                          f"at most {2 * tolerance:.0%} of their distance", "Is it one scan? Or raise tolerance=.")
    affine = np.eye(4)
    affine[:3] = np.stack([row * pixel[1], column * pixel[0], step, place[0]], 1)
    affine[:2] *= -1  # LPS -> RAS
    thick, notes = slices[0].get("SliceThickness"), []
    if thick and abs(float(thick) - usual) > 0.05 * usual:
        notes.append(f"slices {float(thick):.3g} mm thick lie {usual:.3g} mm apart; the distance is the spacing")
    return slices, affine, notes


def _check_gaps(folder: Path, slices: list, gaps: np.ndarray, usual: float, tolerance: float) -> None:
    """No two slices at one place, none missing, all equally far apart."""
    def between(k: int) -> str:
        return " and ".join(Path(ds.filename).name for ds in slices[k:k + 2])

    twice = np.flatnonzero(gaps <= 1e-3)
    if len(twice):
        copies = len({ds.get("SOPInstanceUID") for ds in slices}) < len(slices)
        raise MedsslError(f"{folder}: {len(twice)} of {len(slices)} slices lie where another one does, the first "
                          f"{between(twice[0])}" + (" (copies of one image)." if copies else "."),
                          "one slice at each place", "Remove the copies." if copies else
                          "Several times, echoes or b-values in one series: put each into a folder of its own.")
    odd = np.flatnonzero(np.abs(gaps - usual) > max(tolerance * usual, 0.01))
    if len(odd):
        k, times = odd[0], gaps[odd] / usual
        holes = int((np.rint(times) - 1).sum())
        if np.rint(times).min() >= 2 and np.abs(times - np.rint(times)).max() < 0.1:
            raise MedsslError(f"{folder}: {holes} slice{'s' * (holes > 1)} missing, the first between "
                              f"{between(k)} ({gaps[k]:.3g} mm apart, the others {usual:.3g} mm).", "all slices",
                              "Export the whole series again.")
        raise MedsslError(f"{folder}: the distance of its slices varies from {gaps.min():.4g} to {gaps.max():.4g} mm "
                          f"(first between {between(k)}).", f"equal within {tolerance:.0%}",
                          "Resample it first; if it is only rounding, raise tolerance=.")


def _voxels(folder: Path, slices: list, fill: float | None) -> np.ndarray:
    """[slice, row, column], int16 until a slice needs float32. One slice is decoded at a time."""
    voxels = np.empty((len(slices), slices[0].Rows, slices[0].Columns), np.int16)
    for k, ds in enumerate(slices):
        pixels = read_dicom(ds.filename, fill=fill, invert=False).array
        if len(pixels) != 1 or pixels.ndim != 3:
            raise MedsslError(f"{ds.filename} is " + ("in colour." if pixels.ndim == 3 else "a multi-frame file."),
                              "slices of one grey value a pixel", "Convert it to NIfTI (dcm2niix).")
        if pixels.dtype == torch.float32 and voxels.dtype == np.int16:
            voxels = voxels.astype(np.float32)
        voxels[k] = pixels[0].numpy()
    return voxels
