"""What a NIfTI header says of size, number type and place, each doubt told by name.

nibabel knows the fields. It mends some of them in silence (a spacing of zero becomes 1 mm), so its checks are off here
and ours say what is wrong.
"""

import math
import zlib
from pathlib import Path

import numpy as np

from medssl.errors import MedsslError

try:  # the extra `prism`: inflates in half the time (512×512×200 voxels: 0.4 s instead of 0.9 s)
    from isal.igzip import open as inflated
    from isal.igzip_lib import IsalError
except ImportError:
    from gzip import open as inflated
    IsalError = zlib.error

SHEAR = 0.005  # cosine between two axes, 0 at a right angle: above it (0.3°) distances go wrong by millimetres
AGREE = 0.5  # sform and qform may place a corner of the volume differently by this share of the smallest spacing
DAMAGE = (OSError, EOFError, zlib.error, IsalError)  # what reading a damaged file raises
UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}  # code in the header; all others mean mm, or nothing said


def require_nibabel():
    """The library that knows the NIfTI header; only those who read volumes need it."""
    try:
        import nibabel
    except ImportError as error:
        raise MedsslError("NIfTI files need the library nibabel, which is not installed here.",
                          "the extra `volumes` of medssl", "pip install 'medssl[volumes]'") from error
    return nibabel


def open_nifti(path: Path):
    """The file, opened for reading; what ends in .gz is inflated on the way."""
    return (inflated if path.name.lower().endswith(".gz") else open)(path, "rb")


def read_header(path: Path, file):
    """The header at the start of an open file, unchecked and unmended. NIfTI-1 and NIfTI-2, either byte order."""
    nibabel = require_nibabel()
    start = file.read(544)
    for kind, size in ((nibabel.Nifti1Header, 348), (nibabel.Nifti2Header, 540)):
        if len(start) >= size and size in (int.from_bytes(start[:4], order) for order in ("little", "big")):
            header = kind(start[:size], check=False)
            magic = bytes(header["magic"])
            if magic[:3] in (b"n+1", b"n+2"):
                return header
            raise MedsslError(f"{path} is not a NIfTI file of its own (its mark is {magic!r}).", "the mark n+1 or n+2",
                              "A pair of .hdr and .img files, or ANALYZE, must be converted to one .nii file.")
    raise MedsslError(f"{path} is no NIfTI file: it has no NIfTI header.", "348 or 540 bytes of header",
                      "Convert it to NIfTI; a .gz ending is only for gzip files.")


def grid(path: Path, header, frame: int | str | None) -> tuple[tuple[int, ...], np.dtype]:
    """(x, y, z, frames…) and the number type, or why this is no volume of plain numbers."""
    try:
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
    except Exception as error:  # nibabel: a number type it has never heard of
        raise MedsslError(f"{path}: the header is damaged ({error}).", "a size and a known type of number",
                          code="dtype") from error
    if len(shape) < 3 or min(shape) < 1:
        raise MedsslError(f"{path} holds an array of shape {list(shape)}.", "three axes at least, none of them empty",
                          "Read a single picture as an image, not as a volume.", "ndim")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        what = {"V": "colour (RGB)", "c": "complex numbers"}.get(dtype.kind, f"{dtype}")
        raise MedsslError(f"{path} holds {what}.", "one whole or decimal number for each voxel",
                          "Convert it first: to grey values, or to the magnitude.", "dtype")
    frames = math.prod(shape[3:])
    if frames > 1 and frame is None:
        raise MedsslError(f"{path} is {len(shape)}-D {list(shape)}: {frames} frames, times or channels.",
                          "one volume", f'Say which: frame=0 … {frames - 1}, or frame="all" for channels.', "ndim")
    if frame not in (None, "all") and not (isinstance(frame, int) and 0 <= frame < frames):
        raise MedsslError(f"{path} has {frames} frames, and frame={frame!r} was asked for.",
                          f'0 … {frames - 1} or "all"')
    return shape, dtype


def place(path: Path, header, shape: tuple[int, ...], strict: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
    """(affine to RAS+ mm of the voxels as they are stored, notes). The sform goes before the qform, as in nibabel.
    strict: a header that contradicts itself is an error, not a note."""
    zooms = header["pixdim"][1:4].astype(float)
    if not (np.isfinite(zooms) & (zooms > 0)).all():
        raise MedsslError(f"{path}: the voxel size in the header is {zooms.tolist()} (x, y, z).",
                          "three lengths above zero", "Its distances are unknown: convert it again from its source.",
                          "spacing_mismatch")
    header = header.copy()
    if header["pixdim"][0] not in (-1, 1):  # the standard: 0 counts as 1
        header["pixdim"][0] = 1
    notes, forms, contradictions = [], {}, {}
    for name, form in (("sform", header.get_sform), ("qform", header.get_qform)):
        if header[f"{name}_code"] > 0:
            try:
                forms[name] = form()
                _check_affine(path, forms[name], name)
            except ValueError as error:  # ours, or nibabel's of an impossible rotation
                if name == "sform" or "sform" not in forms:
                    raise error if isinstance(error, MedsslError) else MedsslError(
                        f"{path}: its {name} is no rotation ({error}).", "a unit quaternion",
                        code="affine_singular") from error
                forms.pop(name, None)
                notes.append("the qform is no use (singular, sheared or no rotation); the sform is used")
    if not forms:
        notes.append("the header says nothing of the orientation (sform_code = qform_code = 0): right to left, back to "
                     "front, foot to head is assumed, as nibabel does for such files; left and right may be exchanged")
        forms["none"] = header.get_base_affine()
    used = next(iter(forms.values()))
    if len(forms) == 2:
        apart = max(np.abs((used - forms["qform"]) @ [*corner, 1]).max() for corner in _corners(shape))
        if apart > AGREE * zooms.min():
            contradictions["forms_disagree"] = f"sform and qform place a corner {apart:.3g} mm apart; the sform is used"
    lengths = np.linalg.norm(used[:3, :3], axis=0)
    if not np.allclose(lengths, zooms, rtol=0.01):
        contradictions["spacing_mismatch"] = (
            f"the header's voxel size {np.round(zooms, 3).tolist()} is not that of its affine "
            f"{np.round(lengths, 3).tolist()} (x, y, z); the affine is used")
    for code, note in contradictions.items():
        if strict:
            raise MedsslError(f"{path}: {note.partition(';')[0]}.", "a header that agrees with itself",
                              "Convert it again from its source.", code)
        notes.append(note)
    if int(header["xyzt_units"]) % 8 in UNITS:
        unit, mm = UNITS[int(header["xyzt_units"]) % 8]
        notes.append(f"lengths in the header are in {unit}; they were changed to mm")
        used = np.diag([mm] * 3 + [1.0]) @ used
    return used, tuple(notes)


def _corners(shape: tuple[int, ...]):
    return [(x, y, z) for x in (0, shape[0] - 1) for y in (0, shape[1] - 1) for z in (0, shape[2] - 1)]


def _check_affine(path: Path, affine: np.ndarray, name: str) -> None:
    """Three directions of some length, at right angles to one another."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or lengths.min() <= 0:
        raise MedsslError(f"{path}: its {name} {affine[:3].tolist()} gives an axis no length.", "three axes in space",
                          "Convert it again from its source.", "affine_singular")
    unit = affine[:3, :3] / lengths
    if abs(np.linalg.det(unit)) < 1e-3:
        raise MedsslError(f"{path}: its {name} is singular, two axes point the same way.", "three axes in space",
                          "Convert it again from its source.", "affine_singular")
    lean = np.abs(unit.T @ unit - np.eye(3)).max()
    if lean > SHEAR:
        raise MedsslError(f"{path}: its axes are not at right angles ({90 - np.degrees(np.arccos(lean)):.1f}° off), "
                          "as after a gantry tilt.", f"at most {np.degrees(np.arcsin(SHEAR)):.1f}° off",
                          "Resample it to a straight grid first, with a tool made for that.", "affine_sheared")
