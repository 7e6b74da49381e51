"""DICOM files that tests make: one slice in any way of writing, which names its patient wherever a file can."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

SECRET = "Mustermann^Erika"
IMPLICIT, EXPLICIT, DEFLATED, BIG = (UID(f"1.2.840.10008.1.2{end}") for end in ("", ".1", ".1.99", ".2"))
RLE, J2K, JPEG_LS, JPEG, JPEG_12_BIT, JPEG_LOSSLESS = (UID(f"1.2.840.10008.1.2.{end}") for end in
                                                      ("5", "4.90", "4.80", "4.50", "4.51", "4.70"))


def pattern(h=40, w=56, low=-1000, high=2000, dtype=np.int16):
    """Not symmetric in any way, with both ends of the range."""
    y, x = np.mgrid[:h, :w]
    values = low + (high - low) * ((x * 7 + y * 3) % 41) / 40
    values[0, 0], values[-1, 0] = low, high
    return values.astype(dtype)


def dataset(pixels, syntax=EXPLICIT, **more):
    """A CT slice that names its patient everywhere a file can."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT if syntax.is_encapsulated else syntax
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.Modality = SECRET, "ID-77123", "19340101", "CT"
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    ds.Rows, ds.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        ds.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    raw = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    ds["PixelData"] = pydicom.DataElement("PixelData", "OW" if bits > 8 else "OB", raw + b"\0" * (len(raw) % 2))
    for name, value in more.items():
        setattr(ds, name, value)
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    return ds


def encapsulate(ds, syntax, frame: bytes) -> None:
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds["PixelData"].VR = "OB"


def write(path: Path, ds) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path
