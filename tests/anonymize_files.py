"""Files for the tests of `medssl anonymize`, full of planted identifiers, and the search that none of them survives.

Every planted text holds the letters ZQX, every planted UID begins with ROOT, and the planted dates are few: no byte of
the output, no file name and no report may hold one of them.
"""

import gzip
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from medssl.data.deidentify import anonymize

ROOT = "1.2.826.0.1.424242"
CT, MR, US, SC = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "6.1", "7"))
PLANTED = (b"zqx", ROOT.encode(), b"19530717", b"19530101", b"19870304", b"1987:03:04")
PIXELS = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8) * 7


def item(**values) -> Dataset:
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def hostile(k: int = 0, syntax=ExplicitVRLittleEndian, patient: str = "ZQX-4711", day: str = "19870304") -> Dataset:
    """A CT slice that names its patient wherever a file can."""
    ds = item(
        SpecificCharacterSet="ISO_IR 100", SOPClassUID=CT, SOPInstanceUID=f"{ROOT}.1.{k + 1}", Modality="CT",
        StudyInstanceUID=f"{ROOT}.8", SeriesInstanceUID=f"{ROOT}.9", FrameOfReferenceUID=f"{ROOT}.10",
        PatientName=f"Zqxmüller^Zqx Anna^Zqxmiddle^Dr. zqx^PhD={patient}", PatientID=patient, StudyID="zqx7",
        PatientBirthDate="19530717", PatientSex="F", PatientAge="034Y", PatientWeight="71.5",
        OtherPatientIDs=["ZQX1", "ZQX22"],
        StudyDate=day, SeriesDate=day, AcquisitionDateTime=f"{day}101112.5+0100", ContentTime="101112", ContentDate=day,
        InstitutionName="ZQX Klinik", InstitutionAddress="Zqxstraße 1\r\nZQX", StationName="ZQXCT01",
        AccessionNumber="ZQX99887766",
        DeviceSerialNumber="ZQX-SER-1", ReferringPhysicianName="Zqxdoc^Eva", OperatorsName=["zqxop^a", "zqxop^b"],
        StudyDescription="Kontrolle Frau Zqxmüller", ImageComments="zqx free text, ring +49 ZQX", PatientComments="zqx",
        RetrieveAETitle=["ZQXPACS", "ZQXAE2"], ManufacturerModelName="Model 5", Manufacturer="Maker AG",
        ProtocolName="thorax zqx", DeidentificationMethod="zqx earlier tool", ImageType=["ORIGINAL", "PRIMARY"],
        BodyPartExamined="CHEST", WindowCenter="40", WindowWidth="400", ImagePositionPatient=[0, 0, 2.5 * k],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[0.5, 0.75], SliceThickness="2.5",
        InstanceNumber=k + 1,
        RequestAttributesSequence=[item(RequestedProcedureID="ZQX-REQ", ScheduledProcedureStepDescription="zqx")],
        IconImageSequence=[item(BitsAllocated=8, PixelData=b"ZQX!")], EncryptedAttributesSequence=[
            item(EncryptedContent=b"zqx zqx ")],
        ReferencedImageSequence=[item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=f"{ROOT}.1.1")],
        DerivationCodeSequence=[item(CodeValue="113040", CodingSchemeDesignator="DCM", CodeMeaning="Lossy Compression",
                                     PatientName="Zqxdeep^Name", TextComments="zqx deep",
                                     SourceImageSequence=[item(ReferencedSOPInstanceUID=f"{ROOT}.1.1",
                                                               OperatorsName="zqx^deeper")])],
    )  # fmt: skip
    for tag, vr, value in (
        (0x00102297, "PN", "zqx^responsible"), (0xFFFCFFFC, "OB", b"zqx "), (0x00181078, "DT", f"{day}120000"),
        (0x00409999, "UN", b"ZQX unknown "), (0x00104000, "UN", b"zqx comment "), (0x50003000, "OW", b"ZQXcurve"),
        (0x50000040, "LO", "zqx curve"), (0x60003000, "OW", b"ZQX overlay!"), (0x60000022, "LO", "zqx overlay"),
    ):  # fmt: skip
        ds.add_new(tag, vr, value)
    for group in (0x0009, 0x0029, 0x7FE1):
        block = ds.private_block(group, "ZQX CREATOR 1.0", create=True)
        block.add_new(0x10, "LO", patient)
        block.add_new(0x20, "SQ", [item(PatientName="zqx^private", StudyDate="19530101")])
        block.add_new(0x30, "OB", "Zqxmüller".encode("utf-16-le"))
    ds.DerivationCodeSequence[0].private_block(0x0011, "ZQX NESTED", create=True).add_new(1, "UN", b"zqx nested")
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 6, 8, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    values = (PIXELS + k).astype(">u2" if syntax == ExplicitVRBigEndian else "<u2")
    ds.add_new(0x7FE00010, "OW", values.tobytes())
    ds.file_meta, ds.preamble = FileMetaDataset(), b"ZQX preamble 19530717 ".ljust(128, b"z")
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.ImplementationVersionName, ds.file_meta.SourceApplicationEntityTitle = "ZQXVENDOR", "ZQXSTORE"
    ds.file_meta.ImplementationClassUID = f"{ROOT}.77"
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = f"{ROOT}.78", b"zqx private "
    if syntax == RLELossless:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(RLELossless, generate_instance_uid=False)
    if syntax == JPEGBaseline8Bit:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = encapsulate([jpeg(comment=b"zqx in the frame")])
        ds["PixelData"].VR = "OB"
    return ds


def jpeg(comment: bytes = b"", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS.astype(np.uint8)).save(file, "JPEG", comment=comment, **options)
    return file.getvalue()


def save(path: Path, ds: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(path, enforce_file_format=True)
    return path


def clean(out: Path) -> None:
    """No planted byte in any file, name or report below `out`; DICOM also inflated, NIfTI unpacked."""
    for path in out.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        for planted in PLANTED:
            assert planted not in data.lower(), f"{planted} in {path.name} at {data.lower().find(planted)}"
            assert planted not in str(path.relative_to(out)).lower().encode()


def outputs(out: Path) -> list[Dataset]:
    """The written DICOM files, in the order of their slices."""
    return sorted((dcmread(path) for path in out.rglob("*.dcm")), key=lambda ds: int(ds.get("InstanceNumber") or 0))


def copied(folder: Path, **options) -> list[Dataset]:
    """anonymize folder/in to folder/out; everything must have been copied."""
    report = anonymize(folder / "in", folder / "out", **options)
    assert not report.refused()
    return outputs(folder / "out")
