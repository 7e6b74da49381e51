"""A folder of phantom scans and a catalog of them, as a biobank hands out its imaging: a CSV with one row a series.

Each patient has a CT study of two series and an MR study of one, all of the same anatomy, in several spacings and
storage orientations. Rows that cannot be used come only when asked for, one kind of fault each.
"""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medssl.data.nifti_header import require_nibabel
from medssl.data.phantom_volumes import ct_phantom, mr_phantom
from medssl.data.volumes import write_nifti
from medssl.errors import MedsslError

COLUMNS = ("pmbb_id", "modality", "body_part", "series_description", "manufacturer", "exam_type", "series_size_mb",
           "study_total_size_mb", "n_nifti_in_study", "series_path")
FIELD = np.array([256.0, 384.0, 384.0])  # mm (z, y, x) that a scan covers
# study, modality, description, maker, spacing (z, y, x) in mm, storage orientation: the three series of a patient
SERIES = (("ct", "CT", "AXIAL 8 MM", "ALPHA", (8, 6, 6), "LPS"), ("ct", "CT", "SAGITTAL", "ALPHA", (6, 6, 8), "PIR"),
          ("mr", "MR", "T1 AXIAL", "BETA", (10, 5, 5), "LAS"))
FAULTS = ("no folder", "no file", "two files", "cut short", "not nifti", "singular affine", "nan", "4d", "too small",
          "other modality")


def phantom_catalog(folder: str | Path, n: int = 8, faults: Sequence[str] = (), seed: int = 0) -> Path:
    """Write n scans and FOLDER/catalog.csv, and return the path of the CSV; the same bytes for the same arguments.

    series_path is relative to the folder and names the folder that holds the series' one .nii.gz file. `faults` adds
    one row for each name of FAULTS in it, after the good ones.
    """
    unknown = [fault for fault in faults if fault not in FAULTS]
    if n < 1 or unknown:
        raise MedsslError(f"n={n}, unknown faults {unknown}.", f"one scan at least; faults of {', '.join(FAULTS)}")
    folder, rows = Path(folder), []
    for k in range(n + len(faults)):
        patient, (study, modality, description, maker, spacing, orientation) = k // 3, SERIES[k % 3]
        place = Path(f"PHANTOM{patient:04d}", study, f"series{k % 3}")
        (folder / place).mkdir(parents=True, exist_ok=True)
        file = folder / place / f"series{k % 3}.nii.gz"
        shape = tuple(int(size) for size in np.rint(FIELD / spacing))
        scan = (ct_phantom if modality == "CT" else mr_phantom)((seed * 1000 + patient), shape, spacing).image
        write_nifti(file, scan, orientation)
        rows.append({"pmbb_id": place.parts[0], "modality": modality, "body_part": "CHEST ABDOMEN",
                     "series_description": description, "manufacturer": maker, "exam_type": f"{modality} TRUNK",
                     "series_path": place.as_posix()})
        if k >= n:
            _spoil(faults[k - n], rows[-1], file)
    for row in rows:
        here = folder / row["series_path"]
        row["series_size_mb"], _ = _size(here)
        row["study_total_size_mb"], row["n_nifti_in_study"] = _size(here.parent)
    path = folder / "catalog.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _size(folder: Path) -> tuple[str, int]:
    """(size in MB, number) of the NIfTI files in a folder and below."""
    sizes = [file.stat().st_size for file in folder.rglob("*.nii.gz")]
    return f"{sum(sizes) / 1e6:.3f}", len(sizes)


def _spoil(fault: str, row: dict[str, str], file: Path) -> None:
    """Make one row unusable, in the way that `fault` names."""
    if fault == "other modality":
        row["modality"], row["exam_type"] = "US", "US ABDOMEN"
    elif fault == "no folder":
        file.unlink()
        file.parent.rmdir()
    elif fault == "no file":
        file.unlink()
    elif fault == "two files":
        (file.parent / "other.nii.gz").write_bytes(file.read_bytes())
    elif fault == "cut short":
        file.write_bytes(file.read_bytes()[:-2000])
    elif fault == "not nifti":
        file.write_bytes(gzip.compress(b"This is no scan.\n" * 40, mtime=0))
    else:
        _rewrite(fault, file)


def _rewrite(fault: str, file: Path) -> None:
    """Faults that are in the header or the voxels."""
    nibabel = require_nibabel()
    image = nibabel.load(file)
    array, affine = np.asarray(image.dataobj), image.affine.copy()
    if fault == "singular affine":
        affine[:3, 1] = affine[:3, 0]
    elif fault == "nan":
        array = array.astype(np.float32)
        array[:2] = np.nan
    elif fault == "4d":
        array = np.stack([array, array], 3)
    elif fault == "too small":
        array = array[:5, :4, :3]
    new = nibabel.Nifti1Image(array, None)
    new.header.set_zooms((*image.header.get_zooms(), 1.0)[:array.ndim])
    new.set_sform(affine, 1)
    nibabel.save(new, file)
