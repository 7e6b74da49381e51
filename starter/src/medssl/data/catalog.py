"""A catalog of scans: a table with one row a series becomes records with an identity and exactly one NIfTI file each.

Two kinds of table (.csv, .csv.gz, .tsv, .parquet), told apart by their columns; all other columns are left alone:

* as the Penn Medicine BioBank hands them out: pmbb_id, modality, series_path = the folder of the series' one NIfTI file
* of one's own: patient, modality, nifti_path = the file itself; source, study and series are taken where they are there

Paths are absolute, or relative to the catalog's folder (or to `root`). A series whose file is not beyond doubt is
refused with a reason: picking the largest file of a folder would one day give two series the same voxels.
"""

import difflib
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.errors import MedsslError

WANTED = (("pmbb_id", "patient"), ("modality",), ("nifti_path", "series_path"))  # one of each, the first that is there
OPTIONAL = ("source", "study", "series", "series_path")
ENDINGS = (".nii", ".nii.gz")
MOST_COLUMNS = 5_000


@dataclass(frozen=True)
class ScanRecord:
    """One scan that may be read."""

    scan_id: str  # 64 hexadecimal digits, see `identity`
    series_id: str  # the same for all scans of a series
    modality: str  # "CT" or "MR"
    nifti_path: str
    series_path: str  # relative to the root where it lies below it
    patient: str = ""
    study: str = ""


@dataclass(frozen=True)
class Rejected:
    """One row or scan that may not be read, and why: a code to count and a sentence to understand."""

    series_id: str
    modality: str
    path: str
    reason: str
    why: str
    scan_id: str = ""  # empty where no file was found
    row: int = 0  # of the catalog, the first below the header is 1
    patient: str = ""


def identity(*parts: str) -> str:
    """SHA-256 of the parts as a JSON list: unlike a joined string, ("a", "b|c") and ("a|b", "c") stay two."""
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()


def read_catalog(path: str | Path, modalities: Sequence[str] = ("CT", "MR"),
                 root: str | Path | None = None) -> tuple[list[ScanRecord], list[Rejected]]:
    """(the scans of these modalities, the rows left out with their reasons); together as many as the catalog has rows.

    Records come in the order of their scan_id: a lottery that is the same on every machine, so that the first n of
    them are a fair sample. The identity of a series is (source, patient, study, series). Where the catalog names no
    study or series, they are the folders of the path, relative to the root: a moved archive keeps its identities.
    """
    path = Path(path)
    rows, root = _rows(path), os.path.abspath(root or path.parent)
    records, rejected, seen, claims = [], [], set(), {}
    for number, row in enumerate(rows, 1):
        modality, place = row["modality"].upper(), row["place"]
        full = os.path.normpath(os.path.join(root, place))
        inside = os.path.relpath(full, root) if full.startswith(root + os.sep) else full
        inside = inside.replace(os.sep, "/")
        folder = row.get("series_path") or (inside.rpartition("/")[0] if row["is_file"] else inside)
        study = row.get("study") or inside.rpartition("/")[0]
        series = identity(row.get("source", ""), row["patient"], study,
                          row.get("series") or row.get("series_path") or inside)
        file, (reason, why) = "", _row_fault(row, modality, modalities)
        if not reason:
            file, reason, why = (full, *_file_fault(full)) if row["is_file"] else _only_nifti(full)
        scan = identity(series, inside) if row["is_file"] else series
        if not reason and scan in seen:
            reason, why = "duplicate", "The same scan stands in the catalog before; it counts once."
        if reason:
            rejected.append(Rejected(series, modality, file or place, reason, why, row=number, patient=row["patient"]))
        else:
            seen.add(scan)
            record = ScanRecord(scan, series, modality, file, folder, row["patient"], study)
            claims.setdefault(_same_file(file), []).append((number, record))
    for rivals in claims.values():
        own, wrong = _owner(rivals)
        records += own
        rejected += wrong
    return sorted(records, key=lambda record: record.scan_id), rejected


def _same_file(file: str) -> tuple:
    """What two names of one file have in common, whether links or detours tell them apart."""
    try:
        found = os.stat(file)
    except OSError:  # gone since
        return (file,)
    return found.st_dev, found.st_ino


def _owner(rivals: list[tuple[int, ScanRecord]]) -> tuple[list[ScanRecord], list[Rejected]]:
    """(whose file it is, the other rows): one patient's counts once; of several patients nobody knows whose it is, and
    one of them may be held out while another is learnt from."""
    patients = {record.patient for _, record in rivals}
    reason, why = ("duplicate", "The same file stands in the catalog before, under another name; it counts once.") if (
        len(patients) == 1) else ("several_patients", f"Rows of {len(patients)} patients name this file; whose is it?")
    kept = 1 if len(patients) == 1 else 0
    return [record for _, record in rivals[:kept]], [
        Rejected(record.series_id, record.modality, record.nifti_path, reason, why, record.scan_id, number,
                 record.patient) for number, record in rivals[kept:]]


def _rows(path: Path) -> list[dict]:
    """The columns of WANTED, renamed to patient, modality and place, and the OPTIONAL ones, all as stripped text."""
    polars = _require_polars()
    if not path.is_file():
        raise MedsslError(f"There is no catalog {path}.", "a table of scans: .csv, .csv.gz, .tsv or .parquet",
                          "Name the file itself, not its folder.")
    try:
        if path.suffix.lower() == ".parquet":
            table = polars.read_parquet(path, glob=False)
        else:  # every column as text: a patient 000123 keeps its zeros, and no late row can be of another type
            separator = "\t" if ".tsv" in path.name.lower() else ","
            _check_width(path, separator)
            table = polars.read_csv(path, separator=separator, infer_schema_length=0, glob=False)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError, EOFError, zlib.error) as error:
        raise MedsslError(f"{path} cannot be read as a table: {(str(error).splitlines() or ['damaged'])[0]}",
                          "a header line, then as many fields in each line, in UTF-8",
                          "Open it in a text editor and look at the line named above; save it as UTF-8.") from error
    names = _choose(path, table.columns)
    wanted = {name: polars.col(column).cast(polars.String).fill_null("").str.strip_chars()
              for name, column in names.items()}
    return table.select(**wanted).with_columns(is_file=polars.lit("nifti_path" in table.columns)).to_dicts()


def _check_width(path: Path, separator: str) -> None:
    """Polars takes minutes over a header of 200,000 columns, which only a damaged file has."""
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
        columns = file.readline(1 << 20).count(separator.encode()) + 1
    if columns > MOST_COLUMNS:
        raise OSError(f"its first line has {columns:,} columns, more than {MOST_COLUMNS:,}")


def _choose(path: Path, columns: list[str]) -> dict[str, str]:
    """{our name: its column}, or an error that names the columns most like those that are missing."""
    found = [next((name for name in names if name in columns), None) for names in WANTED]
    lacks = [" or ".join(names) for names, name in zip(WANTED, found, strict=True) if name is None]
    if lacks:
        lower = {column.strip().lower(): column for column in columns}
        close = [lower[match] for names in WANTED for name in names if not set(names) & set(columns)
                 for match in difflib.get_close_matches(name, lower, 2)]
        hint = f"Rename {', '.join(repr(name) for name in dict.fromkeys(close))}?" if close else (
            "Add them, or name the right table.")
        raise MedsslError(f"The catalog {path} has no column {', and none '.join(lacks)}; it has "
                          f"{', '.join(columns[:20])}.", "pmbb_id, modality, series_path, or patient, modality, "
                          "nifti_path", hint)
    return dict(zip(("patient", "modality", "place"), found, strict=True)) | {
        name: name for name in OPTIONAL if name in columns and name != found[2]}


def _row_fault(row: dict, modality: str, modalities: Sequence[str]) -> tuple[str, str]:
    if modality not in modalities:
        return "other_modality", f"Its modality is {modality!r}, none of {', '.join(modalities)}."
    if not row["place"]:
        return "no_path", "The row names no path."
    if not row["patient"]:
        return "no_patient", "The row names no patient."
    return "", ""


def _file_fault(file: str) -> tuple[str, str]:
    """(reason, sentence), both empty if there is such a NIfTI file."""
    if not file.lower().endswith(ENDINGS):
        return "no_file", "The file has another ending than .nii or .nii.gz."
    try:
        there = os.path.isfile(file)
    except ValueError:  # a zero byte in the name
        there = False
    return ("", "") if there else ("no_file", "The file is not there.")


def _only_nifti(folder: str) -> tuple[str, str, str]:
    """(the one NIfTI file of a series folder, reason, sentence)."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder)
                       if entry.name.lower().endswith(ENDINGS) and entry.name[0] != "." and entry.is_file())
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        return "", "no_folder", f"The folder of the series cannot be opened ({getattr(error, 'strerror', error)})."
    if len(names) == 1:
        return os.path.join(folder, names[0]), "", ""
    if names:
        return "", "ambiguous_nifti", f"The folder holds {len(names)} NIfTI files ({', '.join(names[:3])}); which one?"
    return "", "no_file", "The folder of the series holds no .nii or .nii.gz file."


def _require_polars():
    """The library that reads tables of tens of thousands of rows; only those who use catalogs need it."""
    try:
        import polars
    except ImportError as error:
        raise MedsslError("Catalogs need the library polars, which is not installed here.",
                          "the extra `prism` of medssl",
                          "in your clone of the course: pip install -e 'starter[prism]'") from error
    return polars
