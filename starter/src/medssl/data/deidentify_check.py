"""Does anything that identified a patient in the input still stand in the output?

Identifiers are collected from the input before anything is changed, and sought in the bytes as they will lie on the
disk. Long ones are sought everywhere (pixels, tables and unknown parts too), short ones as whole words in all texts: a
patient called "Lee" is found, the bytes l-e-e somewhere in a million pixels are none.
"""

import io
import re

from medssl.data.deidentify_profile import OPEN, action_for

LONG, SHORT, FREE = 6, 3, 12  # letters: sought everywhere; as a word in texts; a free text that is sought as a whole
NAMING = re.compile(r"(IDs?|Identifier|Name|Address|Numbers?|Residence|Locator|Location|Organization)$")
NOT_NAMING = ("ProtocolName", "PatientIdentityRemoved")
WORDS = re.compile(r"[^\W_]+")
OURS = set(WORDS.findall("anon anonymous removed modified yes medssl dicom basic application level confidentiality "
                        "profile"))
UIDS = re.compile(rb"(?<![0-9.])[0-2](?:\.[0-9]+){4,}")


class Identifiers:
    """What named a patient, an institution, a machine or a file; all in small letters."""

    def __init__(self):
        self.uids, self.strings, self.words, self.dates = set(), set(), set(), set()

    def add(self, value: str, person: bool = False) -> None:
        """One value; of a person's name also each of its parts."""
        value = value.strip(" \0").lower()
        if OURS.issuperset(WORDS.findall(value)):
            return  # a word that is written here, or that another tool left
        if len(value) >= LONG:
            self.strings.add(value)
        if len(value) >= (SHORT if value.isascii() else 2):  # a family name in Japan has two letters
            self.words.add(value)
        if person:
            for part in WORDS.findall(value):
                if part != value:
                    self.add(part)

    def update(self, other: "Identifiers") -> None:
        """For a whole run. Of other patients only the long words: a Mrs Hand must not cost every hand its name."""
        self.uids |= other.uids
        self.words |= {word for word in other.words if len(word) >= LONG}

    def in_text(self, text: str) -> bool:
        """Is one of them in this text: a long one anywhere, a short one as a word, a date, a UID?"""
        text = text.strip(" \0").lower()
        return (text in self.words or text in self.uids or any(word in self.words for word in WORDS.findall(text))
                or any(long in text for long in (*self.strings, *self.dates)))


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
    text = str(value).strip(" \0")
    if element.VR == "UI":
        if not is_public(text) and len(text) >= LONG:
            known.uids.add(text)
    elif element.VR in ("DA", "DT"):
        if re.match(r"\d{8}", text) and text[:8] not in ("19000101", "00010101"):
            known.dates.add(text[:8])
    elif element.VR in ("PN", "AE"):
        known.add(text, person=element.VR == "PN")
    elif isinstance(value, str) and element.VR in OPEN - {"TM"} and not element.tag.is_private:
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
    if any(_stands(date.encode(), low, after=False) for date in own.dates):  # a time may follow
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
            if is_text(e) and any(known.in_text(str(e.value)) for known in (own, run))]


def is_text(element) -> bool:
    """A value in words, not a number, a sequence or a block of bytes."""
    return element.VR in (OPEN | {"CS"}) and not isinstance(element.value, bytes)
