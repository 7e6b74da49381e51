"""What a DICOM file is, and whether it holds an image that can be read here.

Only the elements listed below are ever taken from a file. The patient's name, birth date and number are not among
them, so no message, note or log of this package can repeat them.
"""

import math
import os
import zlib
from pathlib import Path

from medssl.data.dicom_frames import decoder_for
from medssl.errors import MedsslError
from medssl.files import OnlyWhatIsThere

TAGS = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID",
    "SeriesNumber", "SliceThickness", "ImagerPixelSpacing", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "BurnedInAnnotation", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope",
    "RescaleType", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]
PALETTE = [f"{kind}{colour}PaletteColorLookupTable{part}" for colour in ("Red", "Green", "Blue")
           for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))]
OVERLAYS = [(group << 16) + 0x10 for group in range(0x6000, 0x6020, 2)]  # the rows of each overlay: is there one?
NUMBERS = {"Rows": 1, "Columns": 1, "NumberOfFrames": 1, "BitsAllocated": 1, "SliceThickness": 1, "PixelSpacing": 2,
           "ImagePositionPatient": 3, "ImageOrientationPatient": 6}  # how many each has, where it is there
SINGLE = ("SOPClassUID", "SeriesInstanceUID", "SOPInstanceUID", "PhotometricInterpretation")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
LIMIT = 1 << 31  # bytes of pixels, decoded: 2 GB, twice a CT of 1,000 slices of 1024×1024

# Kinds of DICOM objects that are no images, by a word in the name of their class or by their modality.
NO_IMAGE = {
    ("SR", "Procedure Log"): ("a structured report (SR): text and measurements", "Read the images that it is about."),
    ("KO", "Key Object Selection"): ("a key object note: a list of other images", "Read the images that it lists."),
    ("DOC", "Encapsulated"): ("a document (PDF or the like) in a DICOM wrapper", "Open it with a DICOM viewer."),
    ("SEG", "Segmentation"): ("a segmentation: labels drawn on another series, no image of a patient",
                              "Convert it to a NIfTI label map (dcmqi: segimage2itkimage), then read_volume."),
    ("RTSTRUCT", "RTDOSE", "RTPLAN", "RT Structure Set", "RT Dose", "RT Plan", "RT Ion Plan"):
        ("a radiotherapy object (contours, dose or plan), no image", "Read the CT or MR series that it refers to."),
    ("PR", "Presentation State"): ("a presentation state: how to show another image", "Read that image."),
    ("REG", "Registration"): ("a registration: how two series fit together", "Read the two series."),
    ("ECG", "HD", "Waveform"): ("a waveform such as an ECG, no image", "Take it out of the image folder."),
    ("Spectroscopy",): ("MR spectroscopy: spectra, no image", "Take it out of the image folder."),
    ("Raw Data",): ("raw data of a scanner, not yet an image", "Export the reconstructed images."),
    ("Media Storage Directory",): ("a DICOMDIR: the table of contents of a disc", "Read the files that it lists."),
}


class NoImage(MedsslError):
    """The file is a sound DICOM object of another kind: a report, a document, contours."""


def require_pydicom():
    """The library that knows DICOM; only those who read DICOM files need it."""
    try:
        import pydicom
    except ImportError as error:
        raise MedsslError("DICOM files need the library pydicom, which is not installed here.",
                          "the extra `volumes` of medssl", "pip install 'medssl[volumes]'") from error
    return pydicom


def is_dicom(path: Path) -> bool:
    """Does the file say that it is DICOM? (Very old ones do not, and are read all the same.)"""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_dicom_file(path: Path) -> bool:
    """By its ending, or by its content."""
    try:
        return path.suffix.lower() in DICOM_ENDINGS or is_dicom(path)
    except OSError as error:
        raise MedsslError(f"{path} cannot be opened ({error.strerror}).", "a file to read", "Is it there?") from None


def open_dicom(path: str | Path, pixels: bool = True):
    """The elements of one file that concern its image, as a pydicom Dataset; why not, if it holds no readable image."""
    pydicom, path = require_pydicom(), Path(path)
    if not path.is_file():
        raise MedsslError(f"{path} is not there." if not path.exists() else f"{path} is a folder.", "a DICOM file",
                          "Read a folder of slices with read_series." if path.is_dir() else "Is the path right?")
    try:
        _check_deflated(path)
        with OnlyWhatIsThere(path) as file:
            ds = pydicom.dcmread(file, force=True, stop_before_pixels=not pixels,
                                 specific_tags=[*TAGS, *PALETTE, *OVERLAYS])
        ds.decode()  # now, not later: a damaged element is found here
        ds.file_meta.decode()
        _check_kinds(ds)
    except (MedsslError, MemoryError):
        raise
    except Exception as error:  # pydicom meets damage in many ways; its words could hold a piece of the header
        raise MedsslError(f"{path} cannot be read: its DICOM header is damaged or cut short ({type(error).__name__}).",
                          "a whole DICOM file", "Export or fetch it again.") from None
    kind = ds.get("SOPClassUID") or ds.file_meta.get("MediaStorageSOPClassUID")
    if kind is None and "Rows" not in ds:
        size = path.stat().st_size
        raise MedsslError(f"{path} is no DICOM file" + ("." if size else ": it is empty (0 bytes)."),
                          "a DICOM file", "Take it out of the folder, or fetch it again.")
    _refuse_other_kinds(path, ds, kind.name if kind else "")
    if "TransferSyntaxUID" not in ds.file_meta:  # no file header: pydicom has found out how the elements are written
        implicit, little = ds.original_encoding
        ds.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian if little
            else pydicom.uid.ExplicitVRBigEndian)
    if pixels:
        _check_pixels(path, ds)
        _check_decoder(path, ds.file_meta.TransferSyntaxUID)
    return ds


def _check_kinds(ds) -> None:
    """pydicom hands on what it finds: text where a number should be, several values where one should."""
    for name, n in NUMBERS.items():
        value = ds.get(name)
        if value not in (None, "", []) and not all(
                not isinstance(v, str) and math.isfinite(float(v)) for v in (value if n > 1 else [value])):
            raise ValueError(name)
        if n > 1 and value and len(value) not in (0, n):
            raise ValueError(name)
    for place, names in ((ds, SINGLE), (ds.file_meta, ("MediaStorageSOPClassUID", "TransferSyntaxUID"))):
        for name in names:
            if not isinstance(place.get(name) or "", str):
                raise ValueError(name)


def _refuse_other_kinds(path: Path, ds, name: str) -> None:
    words, modality = name.split(), str(ds.get("Modality", ""))
    for marks, (what, fix) in NO_IMAGE.items():
        if any(mark == modality or (mark in words if " " not in mark else mark in name) for mark in marks):
            raise NoImage(f"{path} is {what}.", "a DICOM file that holds an image", fix)


def _check_pixels(path: Path, ds) -> None:
    if not any(name in ds for name in PIXELS):
        raise MedsslError(f"{path} holds no pixels: only a header, or it is cut short before them.",
                          "a DICOM file that holds an image", "Export it again, with its image.")
    missing = [name for name in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation") if not ds.get(name)]
    if missing:
        raise MedsslError(f"{path}: the header does not say {', '.join(missing)}.", "a complete image header",
                          "Export or fetch it again.")
    values = math.prod(int(ds.get(name) or 1) for name in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"))
    size = values * int(ds.BitsAllocated) // 8
    here = len(next(ds[name].value or b"" for name in PIXELS if name in ds))
    compressed = ds.file_meta.TransferSyntaxUID.is_encapsulated
    if here == 0 or (not compressed and here < size * (2 / 3 if "422" in ds.PhotometricInterpretation else 1)):
        raise MedsslError(f"{path} is cut short: {here} of {size} bytes of pixels.", "a whole DICOM file",
                          "Export or fetch it again.")
    if size > LIMIT:
        raise MedsslError(f"{path} would fill {size / 1e9:.1f} GB of memory.", f"at most {LIMIT / 1e9:.1f} GB a file",
                          "Is it damaged? A whole-slide image needs a reader of its own.")


def _check_decoder(path: Path, syntax) -> None:
    """Can the pixels be decoded here? JPEG lossless, for one, needs a library beside pydicom."""
    if not syntax.is_encapsulated:
        return
    try:
        decoder, plugin, package = decoder_for(syntax)
    except (KeyError, NotImplementedError):
        video = "MPEG" in syntax.name or "HEVC" in syntax.name
        raise MedsslError(f"{path} is compressed as {syntax.name}, which pydicom does not decode.",
                          "single frames, plain or as JPEG, JPEG 2000, JPEG-LS or RLE",
                          "Extract the video with a DICOM viewer." if video else "Export it uncompressed.") from None
    if plugin not in decoder.available_plugins:
        raise MedsslError(f"{path} is compressed as {syntax.name}, and the library that decodes it is not installed.",
                          "the extra `volumes` of medssl", f"pip install {package}")


def _check_deflated(path: Path) -> None:
    """A deflated file may grow a thousandfold. pydicom inflates it whole, so its size is found out first."""
    if not is_dicom(path):
        return
    from pydicom.filereader import _read_file_meta_info, read_preamble  # read_file_meta_info opens the file itself

    with OnlyWhatIsThere(path) as file:
        read_preamble(file, False)
        meta = _read_file_meta_info(file)
    if not meta.get("TransferSyntaxUID") or not meta.TransferSyntaxUID.is_deflated:
        return
    inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with open(path, "rb") as file:
        file.seek(144 + meta.FileMetaInformationGroupLength, os.SEEK_SET)
        data = file.read(1 << 16)
        while data and not inflate.eof and total <= LIMIT:
            total += len(inflate.decompress(data, 1 << 22))
            data = inflate.unconsumed_tail or file.read(1 << 16)
    if total > LIMIT:
        raise MedsslError(f"{path} is deflated and would fill more than {LIMIT / 1e9:.1f} GB of memory.",
                          "an image of a size that a scanner makes", "Do not open it; ask where it comes from.")
