"""A folder of medical images becomes a folder without names: `anonymize`, and the report of what was done.

First all files are looked through for what identifies, then each is cleaned, checked in memory, and only then written.
The input is read and never changed. What cannot be cleaned with certainty is refused, listed, and not copied.
"""

import gzip
import json
import os
import re
from pathlib import Path

from medssl.data import deidentify_dicom, deidentify_files
from medssl.data.deidentify_check import Identifiers, identifiers, surviving_words, survivors
from medssl.data.deidentify_profile import pixel_warning, why_not
from medssl.data.deidentify_report import LETTERS, NOTICE, Report
from medssl.data.dicom_header import is_dicom_file, require_pydicom
from medssl.errors import MedsslError
from medssl.files import OnlyWhatIsThere, write_atomic

OURS = re.compile(r"2\.25\.[0-9]{1,39}")  # a UID of Pseudonyms


def anonymize(source: str | Path, out: str | Path, shift_dates: bool = False, key: str | Path | None = None) -> Report:
    """Copy the images of `source` (a file or a folder) to `out` without what identifies. `out` must be new or empty.

    shift_dates: move each patient's dates back by the same secret number of days, not remove them. key: a file outside
    both that tells the way back (old names, numbers, paths); only where it is asked for. One that exists is used
    again, so that a later delivery has the same pseudonyms.
    """
    source, out = Path(source), Path(out)
    paths = _inputs(source, out, key)
    names, old_files = _open_key(key)
    report, run = Report("shifted" if shift_dates else "removed"), Identifiers()
    for path in paths:
        run.update(_look(path))
    out.mkdir(parents=True, exist_ok=True)
    try:
        for number, path in enumerate(paths, 1):
            row = {"number": number}
            try:
                row |= _one(path, number, out, names, run, shift_dates)
                old_files[row["output"]] = str(path)
            except MedsslError as error:
                row["refused"] = error.wrong.removeprefix(f"{path} is ").replace(str(path), "it").rstrip(".")
            report.paths.append(path)
            report.files.append(row)
    finally:
        if key is not None:
            _write_key(Path(key), names, old_files)
    about = {"notice": NOTICE, "dates": report.dates, "letters": LETTERS, "files": report.files}
    write_atomic(out / "report.json", json.dumps(about, indent=1))
    write_atomic(out / "report.txt", report.text())
    return report


def _inputs(source: Path, out: Path, key) -> list[Path]:
    """Every file below `source`, in order; links are listed and never followed."""
    if not source.exists():
        raise MedsslError(f"{source} is not there.", "a file or a folder of images", "Is the path right?")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MedsslError(f"{out} is not empty.", "a folder that does not exist yet, or an empty one",
                          "Name another one, so that old and new files cannot mix.")
    if out.resolve().is_relative_to(source.resolve()):
        raise MedsslError(f"{out} lies inside {source}.", "a place outside the input", "Name another folder.")
    if key is not None and any(Path(key).resolve().is_relative_to(place.resolve()) for place in (source, out)):
        raise MedsslError(f"The key {key} would lie with the images.", "a place outside input and output",
                          "Keep it where only those may look who may know the patients.")
    if source.is_file():
        return [source]
    found = []
    for at, folders, files in os.walk(source):
        found += [Path(at, name) for name in files] + [Path(at, n) for n in folders if Path(at, n).is_symlink()]
    if not found:
        raise MedsslError(f"{source} holds no file.", "a folder of images", "Is the path right?")
    return sorted(found)


def _look(path: Path) -> Identifiers:
    """The identifiers of one DICOM file, also of one that will be refused; none of what cannot be read."""
    try:
        if path.is_symlink() or not path.is_file() or not is_dicom_file(path):
            return Identifiers()
    except MedsslError:  # it cannot be opened: refused later, too
        return Identifiers()
    pydicom = require_pydicom()
    try:
        with OnlyWhatIsThere(path) as file:
            return identifiers(pydicom.dcmread(file, force=True, stop_before_pixels=True))
    except Exception:  # damaged: it is refused later, by name
        return Identifiers()


def _one(path: Path, number: int, out: Path, names, run: Identifiers, shift_dates: bool) -> dict:
    """Clean, check and write one file; a MedsslError says why it is refused, without a word out of it."""
    if path.is_symlink() or not path.is_file():
        raise MedsslError("a link or no ordinary file")
    try:
        if is_dicom_file(path):
            return _dicom(path, out, names, run, shift_dates)
        with open(path, "rb") as file:
            start = file.read(8)
        if path.name.lower().endswith((".nii", ".nii.gz")):
            (new, texts, ending), folder = deidentify_files.deidentify_nifti(path), "volumes"
        elif start == deidentify_files.PNG or start[:4] in deidentify_files.TIFFS or start[:2] == b"\xff\xd8":
            (new, texts, ending), folder = deidentify_files.deidentify_picture(path.read_bytes()), "pictures"
        else:
            raise MedsslError("neither DICOM, NIfTI, PNG, JPEG nor TIFF")
    except MedsslError:
        raise
    except Exception as error:  # libraries meet damage in many ways; their words could hold a piece of the file
        raise MedsslError(f"damaged ({type(error).__name__})") from None
    own = Identifiers()
    for text in texts:
        own.add(text)
    _refuse(survivors(new, own, run))
    name = f"{folder}/{number:06}{ending}"
    _write(out, name, gzip.compress(new, 6, mtime=0) if ending.endswith(".gz") else new)
    return {"kind": folder, "output": name, "done": {"X": {"text and notes": len(texts)}} if texts else {},
            "warning": "" if folder == "volumes" else "a picture, which says nothing of text in its pixels"}


def _write(out: Path, name: str, data: bytes) -> None:
    """Below `out` and nowhere else, whatever a file says of itself; nothing is written over."""
    path = out / name
    if not path.resolve().is_relative_to(out.resolve()):
        raise MedsslError("its name would lead out of the output")
    if path.exists():
        raise MedsslError("a second file with the same SOP instance UID")
    write_atomic(path, data)


def _dicom(path: Path, out: Path, names, run: Identifiers, shift_dates: bool) -> dict:
    ds = deidentify_dicom.read_whole(path)
    if why_not(ds):
        raise MedsslError(why_not(ds))
    own, warning = identifiers(ds), pixel_warning(ds)
    if not ds.get("SOPInstanceUID"):
        ds.SOPInstanceUID = str(path)
    patient = deidentify_dicom.patient_of(ds, path)
    counts = deidentify_dicom.deidentify_dataset(ds, names, own, run, patient, shift_dates)
    data = deidentify_dicom.write_bytes(ds)
    _refuse(survivors(data, own, run) + surviving_words(data, own, run))
    series, image = (str(ds.get(uid) or "") for uid in ("SeriesInstanceUID", "SOPInstanceUID"))
    if not OURS.fullmatch(image):
        raise MedsslError("its SOP instance UID is one of the standard's own, or several")
    name = f"{ds.PatientID}/{series if OURS.fullmatch(series) else 'series'}/{image}.dcm"  # only names made here
    _write(out, name, data)
    done = {}
    for (letter, keyword), n in sorted(counts.items()):
        done.setdefault(letter, {})[keyword] = n
    return {"kind": "dicom", "output": name, "done": done, "warning": warning}


def _refuse(found: list[str]) -> None:
    if found:
        raise MedsslError(f"after cleaning there still stood: {', '.join(sorted(set(found)))}")


def _open_key(key) -> tuple[deidentify_dicom.Pseudonyms, dict[str, str]]:
    if key is None or not Path(key).exists():
        return deidentify_dicom.Pseudonyms(), {}
    try:
        kept = json.loads(Path(key).read_text())
        names = deidentify_dicom.Pseudonyms(salt := bytes.fromhex(kept["salt"]))
        names.uids, names.patients, files = (kept[part] for part in ("uids", "patients", "files"))
        if len(salt) != 32 or not all(isinstance(part, dict) and all(isinstance(word, str) for word in part.values())
                   for part in (names.uids, names.patients, files)):
            raise TypeError
        return names, files
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MedsslError(f"{key} is no key of an earlier run.", "a file that --key wrote",
                          "Name a new file.") from error


def _write_key(path: Path, names, files: dict[str, str]) -> None:
    """Readable by its owner only, from its first byte on."""
    kept = {"salt": names.salt.hex(), "patients": names.patients, "uids": names.uids, "files": files}
    before = os.umask(0o077)
    try:
        write_atomic(path, json.dumps(kept, indent=1))
    finally:
        os.umask(before)
