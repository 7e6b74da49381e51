"""One DICOM file without what identifies: PS3.15 Annex E, rules in deidentify_profile.py.

Nothing of the file's frame is taken over: preamble and file header are made new, what is stored beside the pixels is
cut off (deidentify_pixels.py).
"""

import base64
import hmac
import io
import secrets
import uuid
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from medssl.about import VERSION
from medssl.data.deidentify_check import Identifiers, is_public, names_someone
from medssl.data.deidentify_pixels import pixels_only
from medssl.data.deidentify_profile import DATES, DUMMIES, MEANINGS, SCHEMES, WHOLE, action_for, representation
from medssl.data.dicom_header import open_dicom, require_pydicom
from medssl.errors import MedsslError
from medssl.files import OnlyWhatIsThere

METHOD = [f"medssl {VERSION}", "DICOM PS3.15 Basic Application Level Confidentiality Profile"]


class Pseudonyms:
    """New names and numbers from old ones: HMAC-SHA256(salt, old). Without the salt there is no way back.

    The same old UID gives the same new one in every file of a run; the next run has another salt.
    """

    def __init__(self, salt: bytes | None = None):
        self.salt = salt or secrets.token_bytes(32)
        self.uids, self.patients = {}, {}  # new -> old; only a key file is ever made of them

    def _digest(self, kind: str, old: str) -> bytes:
        return hmac.digest(self.salt, f"{kind}\0{old}".encode(), "sha256")

    def uid(self, old: str) -> str:
        """2.25.<a UUID as a number>: the root that needs no registration (PS3.5 B.2)."""
        old = old.strip(" \0")
        new = f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=4).int}"
        self.uids[new] = old
        return new

    def patient(self, old: str) -> str:
        """ANON- and twelve letters."""
        old = old.strip(" \0")
        new = "ANON-" + base64.b32encode(self._digest("patient", old))[:12].decode()
        self.patients[new] = old
        return new

    def shift(self, patient: str) -> timedelta:
        """Back by 30 to 3,680 whole days, the same for one patient."""
        return -timedelta(days=30 + int.from_bytes(self._digest("shift", patient)[:8]) % 3651)


def read_whole(path: Path):
    """Every element of a file that holds an image which can be read here; a MedsslError says why not."""
    open_dicom(path)  # damage, other kinds of objects, zip bombs
    with OnlyWhatIsThere(path) as file:
        return require_pydicom().dcmread(file, force=True)


def patient_of(ds, path: Path) -> str:
    """What tells this patient from others: the number, else the name, else the study, else the file itself."""
    found = (str(ds.get(name) or "").strip(" \0^") for name in ("PatientID", "PatientName", "StudyInstanceUID"))
    return next((text for text in found if text), str(path))


def deidentify_dataset(ds, names: Pseudonyms, own: Identifiers, run: Identifiers, patient: str,
                       shift_dates: bool) -> Counter:
    """Change `ds` in place. Returns {(letter, keyword): how often}; S is a shifted date, C a kept text that was emptied
    because an identifier stood in it."""
    done, shift = Counter(), names.shift(patient) if shift_dates else None
    if shift:
        own.dates -= {_shifted(date, shift) for date in own.dates}  # a new date may be another's old one
    _walk(ds, names, shift, lambda element: names_someone(element, own, run), done)
    ds.PatientID = ds.PatientName = names.patient(patient)
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", METHOD
    ds.DeidentificationMethodCodeSequence = [_code("113100", "Basic Application Confidentiality Profile")]
    if shift_dates:
        ds.DeidentificationMethodCodeSequence.append(
            _code("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
    ds.LongitudinalTemporalInformationModified = "MODIFIED" if shift_dates else "REMOVED"
    pixels_only(ds, done)
    return done


def _code(value: str, meaning: str):
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _walk(ds, names: Pseudonyms, shift: timedelta | None, identifies, done: Counter) -> None:
    for element in list(ds):
        action = action_for(element)
        if action == "X" and element.keyword in WHOLE and representation(element) != element.VR:
            raise MedsslError(f"its {element.keyword} is written as {element.VR}, which the standard does not allow")
        if element.keyword in MEANINGS and str(ds.get("CodingSchemeDesignator") or "").strip() not in SCHEMES:
            action = "D"
        if element.VR == representation(element) in DATES and shift and element.keyword and element.tag.group > 7:
            action = "Z" if element.keyword == "PatientBirthDate" else "S"
        if action == "U" and all(is_public(uid) for uid in _values(element)):
            action = "K"
        elif action == "K" and identifies(element):
            action = "C"
        if action == "X":
            del ds[element.tag]
        elif action in "ZC":
            element.value = [] if element.VR == "SQ" else None
        elif action == "D":
            element.value = names.patient(str(element.value)) if element.keyword == "PatientID" else DUMMIES.get(
                element.VR, "REMOVED")
        elif action == "U":
            element.value = [uid if is_public(uid) else names.uid(uid) for uid in _values(element)]
        elif action == "S":
            element.value = [_shifted(str(value), shift) for value in _values(element)]
        elif element.VR == "SQ":
            for item in element.value:
                item.pop("PixelData", None)  # a small copy of the image
                _walk(item, names, shift, identifies, done)
        if action != "K":
            done[action, "private" if element.tag.is_private else element.keyword or _group(element)] += 1


def _group(element) -> str:
    return {0x50: "curve", 0x60: "overlay"}.get(element.tag.group >> 8, "unknown")


def _values(element) -> list:
    return list(element.value) if element.VM > 1 else [element.value] if element.value else []


def _shifted(text: str, shift: timedelta) -> str:
    """A day, without its time; what is no date is emptied."""
    try:
        return (datetime.strptime(text[:8], "%Y%m%d") + shift).strftime("%Y%m%d").zfill(8)
    except (ValueError, OverflowError):
        return ""


def write_bytes(ds) -> bytes:
    """The file, with a header that says nothing of where it comes from. Deflated ones are written plain, so that the
    check can see what is in them."""
    pydicom = require_pydicom()
    from pydicom.dataset import FileMetaDataset

    syntax, meta = ds.file_meta.TransferSyntaxUID, FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian if syntax.is_deflated else syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.preamble, ds.file_meta, file = bytes(128), meta, io.BytesIO()
    try:
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
    except Exception as error:  # its words could hold a value
        raise MedsslError(f"impossible to write: an element breaks the rules ({type(error).__name__})") from None
    return file.getvalue()
