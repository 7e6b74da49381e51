"""Does anything that identified a patient in the input still stand in the output?

Identifiers are collected from the input before anything is changed, and sought in the bytes as they will lie on the
disk. Long ones are sought everywhere (pixels, tables and unknown parts too), short ones as whole words in all texts: a
patient called "Lee" is found, the bytes l-e-e somewhere in a million pixels are none.
"""

import io
import re
from itertools import permutations

from medssl.data.deidentify_profile import OPEN, action_for, representation

LONG, SHORT, FREE = 6, 3, 12  # letters: sought everywhere; as a word in texts; a free text that is sought as a whole
NAMING = re.compile(r"(IDs?|Identifier|Name|Address|Numbers?|Residence|Locator|Location|Organization)$")
NOT_NAMING = ("ProtocolName", "PatientIdentityRemoved")
TEXTS = ("AS", "LO", "LT", "SH", "ST", "UC", "UR", "UT")
WORDS = re.compile(r"[^\W_]+")
OURS = set(WORDS.findall("anon anonymous removed modified yes medssl dicom basic application level confidentiality "
                        "profile"))
UIDS = re.compile(rb"(?<![0-9.])[0-2](?:\.[0-9]+){4,}")
TERMS = ("RescaleType", "ModalityLUTType")  # the standard's own words (HU, US), and HU is also a family name
FIGURES = {"IS": (0x28,), "DS": (0x18, 0x20, 0x28)}  # numbers in digits, except groups of the image and its geometry


class Identifiers:
    """What named a patient, an institution, a machine or a file; all in small letters."""

    def __init__(self):
        self.uids, self.strings, self.words, self.dates, self.phrases = set(), set(), set(), set(), set()

    def add(self, value: str, person: bool = False) -> None:
        """One value; of a person's name also each of its parts, and any two of them as they may be written together."""
        value = value.strip(" \0").lower()
        words = WORDS.findall(value)
        if OURS.issuperset(words):
            return  # a word that is written here, or that another tool left
        if len(value) >= LONG:
            self.strings.add(value)
        if len(value) >= SHORT or person and len(value) == 2 and not value.isdigit():  # Li, Wu, Ng
            self.words.add(value)
        if not person:
            return
        for part in words:
            if part != value:
                self.add(part, person=True)
        for one, two in permutations([word for word in words if len(word) > 1][:8], 2):
            self.phrases.add(f" {one} {two} ")
            for pair in (f"{one}{between}{two}" for between in ("", " ", "_", "^", ", ")):
                if len(pair) >= LONG > max(len(one), len(two)):  # a long part is found by itself
                    self.strings.add(pair)
            self.words.add(one + two)

    def update(self, other: "Identifiers") -> None:
        """For a whole run. Of other patients only the long words: a Mrs Hand must not cost every hand its name."""
        self.uids |= other.uids
        self.words |= {word for word in other.words if len(word) >= LONG}

    def in_text(self, text: str, code: bool = False) -> bool:
        """Is one of them in this text: a long one anywhere, a short one as a word, two parts of a name side by side, a
        date, a UID? code: the text is one of the standard's terms, among which two letters (MR, NO) are no name."""
        text = text.strip(" \0").lower()
        words = WORDS.findall(text)
        if any(word in self.words and not (code and len(word) < SHORT) for word in (text, *words)):
            return True
        return (text in self.uids or any(phrase in f" {' '.join(words)} " for phrase in self.phrases)
                or any(long in text for long in (*self.strings, *self.forms_of_dates())))

    def is_number(self, text: str) -> bool:
        """Is this whole number one of theirs, of four digits at least?"""
        return text.strip(" \0").lstrip("0") in {w.lstrip("0") for w in self.words if w.isdecimal() and int(w) > 999}

    def forms_of_dates(self) -> set[str]:
        """31 January 1950 as 19500131, 1950-01-31, 31.01.1950, 01/31/1950, …"""
        parts = [(date[:4], date[4:6], date[6:]) for date in self.dates]
        return self.dates | {mark.join(order) for year, month, day in parts for order, marks in (
            ((year, month, day), "-./:"), ((day, month, year), "-./"), ((month, day, year), "-./")) for mark in marks}


def identifiers(ds) -> Identifiers:
    """Those of a Dataset, in sequences and private sequences too."""
    known = Identifiers()
    for element in ds.iterall():
        action = action_for(element)
        if action == "K" or element.VR == "SQ" or not element.value:
            continue
        values = element.value if element.VM > 1 else [element.value]
        for value in values:
            _collect(known, element, action, value)
    return known


def _collect(known: Identifiers, element, action: str, value) -> None:
    text = (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0")
    vr = representation(element)
    if vr == "UI":
        if not is_public(text) and len(text) >= LONG:
            known.uids.add(text)
    elif vr in ("DA", "DT"):
        text = text.replace(".", "")  # 1950.01.31, before DICOM 3
        if re.match(r"\d{8}", text) and text[:8] not in ("19000101", "00010101"):
            known.dates.add(text[:8])
    elif vr in ("PN", "AE"):
        known.add(text, person=vr == "PN")
    elif vr in TEXTS and not element.tag.is_private:
        if NAMING.search(element.keyword) and element.keyword not in NOT_NAMING:
            known.add(text)
        elif len(text) >= FREE:
            known.strings.add(text.lower())


def is_public(uid: str) -> bool:
    """One of the standard's own: a class, a transfer syntax, a well-known frame of reference."""
    from pydicom.uid import UID_dictionary

    return uid in UID_dictionary


def survivors(data: bytes, own: Identifiers, run: Identifiers) -> list[str]:
    """Kinds of identifiers found in the bytes of a written file; [] if none.

    A number is no find inside a longer number: the digits of a new UID hold every short number by chance.
    """
    low, found = data.lower(), []
    if any(_stands(uid.encode(), low) for uid in own.uids) or {uid.decode() for uid in UIDS.findall(data)} & run.uids:
        found.append("a UID")
    if any(_sought(text, low) for text in own.strings):
        found.append("a name, number or text")
    if any(_stands(date.encode(), low, after=False) for date in own.forms_of_dates()):  # a time may follow
        found.append("a date")
    return found


def _sought(text: str, low: bytes) -> bool:
    cases = (text, text.upper(), text.title())  # bytes.lower() knows no Ü
    forms = {t.encode(code, "ignore").lower() for t in cases for code in ("utf-8", "latin-1", "utf-16-le", "utf-16-be")}
    if not text.isascii():
        forms = {form for form in forms if len(form) >= LONG}
    if text.replace(".", "").isdigit():
        return any(_stands(form, low) for form in forms)
    return any(form in low for form in forms)


def _stands(number: bytes, low: bytes, after: bool = True) -> bool:
    """Is this number there, as one of its own?"""
    return number in low and bool(re.search(rb"(?<![0-9.])" + re.escape(number) + rb"(?![0-9.])" * after, low))


def surviving_words(data: bytes, own: Identifiers, run: Identifiers) -> list[str]:
    """The attributes of a written DICOM file, read back, whose text holds an identifier."""
    import pydicom

    return [e.keyword or "a private element" for e in pydicom.dcmread(io.BytesIO(data)).iterall()
            if names_someone(e, own, run)]


def names_someone(element, own: Identifiers, run: Identifiers) -> bool:
    """Does a value in words hold an identifier, or is a number in digits one?"""
    if element.VR in FIGURES and element.tag.group not in FIGURES[element.VR]:
        values = element.value if element.VM > 1 else [element.value]
        return any(own.is_number(str(value)) for value in values)
    code = element.VR == "CS" or element.keyword in TERMS
    return is_text(element) and any(known.in_text(str(element.value), code) for known in (own, run))


def is_text(element) -> bool:
    """A value in words, not a number, a sequence or a block of bytes."""
    return element.VR in (OPEN | {"CS"}) and not isinstance(element.value, bytes)
