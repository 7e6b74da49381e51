"""Readers of scans, damaged as bytes and, where the format is known, element by element: NIfTI and DICOM."""

import gzip
import io
import json
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from fuzz_mutate import CLAIMS, FLOATS, WORDS, damaged, other_json, pick, reader


@reader
def nifti(folder: Path):
    import nibabel

    from medssl.data import read_volume

    rng, seeds = np.random.default_rng(0), []
    for kind, dtype in ((nibabel.Nifti1Image, np.int16), (nibabel.Nifti2Image, np.float32), (nibabel.Nifti1Image,
                                                                                            np.uint8)):
        image = kind(rng.integers(0, 200, (5, 6, 7)).astype(dtype), np.diag([2.0, 3.0, 4.0, 1.0]))
        image.set_qform(image.affine, 1)
        seeds.append(image.to_bytes())
    kinds = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}

    def case(rng):
        blob = pick(rng, seeds)
        if rng.random() < 0.5:  # a field by its name
            size = int.from_bytes(blob[:4], "little")
            header = kinds[size](blob[:size], check=False)
            for _ in range(rng.integers(1, 4)):
                field = pick(rng, list(header))
                values = header[field].copy().reshape(-1)
                if values.dtype.kind in "iuf":
                    new = pick(rng, CLAIMS if values.dtype.kind != "f" or rng.random() < 0.3 else FLOATS)
                    with np.errstate(all="ignore"):
                        values[rng.integers(len(values))] = np.array([new]).astype(values.dtype)[0]
                    header[field] = values.reshape(header[field].shape)
            blob = header.binaryblock + blob[size:]
            blob = damaged(rng, blob, seeds, 348) if rng.random() < 0.2 else blob
        else:
            blob = damaged(rng, blob, seeds, 348)
        path = folder / pick(rng, ["a.nii", "a.nii.gz"])
        if path.suffix == ".gz":
            blob = gzip.compress(blob, 1, mtime=0)
            blob = damaged(rng, blob, front=20) if rng.random() < 0.4 else blob
        path.write_bytes(blob)
        return lambda: read_volume(path, frame=pick(rng, [None, None, "all", 0]))

    return case


@reader
def dicom(folder: Path):
    """A file of each way of writing pixels; elements with other values, or other bytes anywhere."""
    import pydicom
    import test_dicom as files
    from pydicom.tag import Tag

    from medssl.data.dicom import read_dicom
    from medssl.data.dicom_header import PALETTE, TAGS

    pixels = files.pattern(32, 36)  # JPEG 2000 refuses smaller ones
    made = [files.dataset(pixels, syntax, RescaleSlope=2, RescaleIntercept=-24, PixelPaddingValue=-1000,
                          WindowCenter=[40, 300], WindowWidth=[400, 1500])
            for syntax in (files.IMPLICIT, files.EXPLICIT, files.DEFLATED, files.BIG, files.RLE, files.J2K,
                           files.JPEG_LS)]
    made.append(files.dataset(np.stack([pixels] * 3), PhotometricInterpretation="MONOCHROME1"))
    made.append(files.dataset(np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8), files.RLE))
    seeds = []
    for ds in made:
        stream = io.BytesIO()
        ds.save_as(stream, enforce_file_format=True)
        seeds.append(stream.getvalue())
    tags = [Tag(name) for name in (*TAGS, *PALETTE) if name != "PixelData"]
    numbers = {"US": lambda rng: int(pick(rng, CLAIMS)) % 65536, "SS": lambda rng: int(rng.integers(-32768, 32768)),
               "UL": lambda rng: int(pick(rng, CLAIMS)) % 2**32}

    def case(rng):
        blob = pick(rng, seeds)
        if rng.random() < 0.5:
            ds = pydicom.dcmread(io.BytesIO(blob))
            for _ in range(rng.integers(1, 4)):
                tag = pick(rng, tags)
                vr = pydicom.datadict.dictionary_VR(tag).split(" ")[0]
                try:
                    if rng.random() < 0.2:
                        ds.pop(tag, None)
                    elif vr == "SQ":
                        inner = pydicom.Dataset()
                        inner.add_new(pick(rng, [t for t in tags if t in ds] or tags), "LO", str(pick(rng, WORDS))[:60])
                        ds.add_new(tag, "SQ", [inner] * int(rng.integers(0, 3)))
                    elif vr in numbers:
                        ds.add_new(tag, vr, numbers[vr](rng))
                    else:
                        raw = str(pick(rng, [*WORDS, *CLAIMS, "1\\2", "a\\b\\c", "-1\\1e9"]))[:200].encode()
                        ds[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(raw), raw, 0, False, True)
                except Exception:  # pydicom will not hold such a value: another one next time
                    continue
            stream = io.BytesIO()
            try:
                ds.save_as(stream, enforce_file_format=True)
                blob = stream.getvalue()
            except Exception:
                blob = damaged(rng, blob, seeds)
        else:
            blob = damaged(rng, blob, seeds, 900)
        path = folder / "a.dcm"
        path.write_bytes(blob)
        window, fill = pick(rng, [None, None, "file", "lung"]), pick(rng, [None, "lowest", -5])
        return lambda: read_dicom(path, window=window, fill=fill)

    return case


@reader
def series(folder: Path):
    """A folder of four slices, one or two of them damaged."""
    import test_dicom_series as files

    from medssl.data.dicom_series import read_series

    files.write(folder, [files.make_slice(k, shape=(4, 3)) for k in range(4)])
    paths = sorted(folder.glob("*.dcm"))
    seeds = [path.read_bytes() for path in paths]

    def case(rng):
        for path, blob in zip(paths, seeds, strict=True):
            path.write_bytes(blob)
        for at in rng.integers(4, size=rng.integers(1, 3)):
            paths[at].write_bytes(damaged(rng, seeds[at], seeds, 900))
        return lambda: read_series(folder)

    return case


@reader
def cines(folder: Path):
    """Clips: DICOM files of many frames, and 4-D NIfTI."""
    import test_video as files

    from medssl.data.video import read_clip

    rng = np.random.default_rng(0)
    seeds = [files.dicom(folder / "a.dcm", rng.integers(0, 900, (5, 8, 9)).astype(np.uint16)).read_bytes(),
             files.dicom(folder / "a.dcm", rng.integers(0, 255, (5, 8, 9, 3)).astype(np.uint8)).read_bytes()]
    volume = files.nifti(folder / "a.nii", rng.integers(0, 900, (5, 4, 3, 2))).read_bytes()

    def case(rng):
        for old in folder.iterdir():
            old.unlink()
        dicom = rng.random() < 0.6
        path = folder / ("a.dcm" if dicom else "a.nii")
        path.write_bytes(damaged(rng, pick(rng, seeds) if dicom else volume, seeds, 900 if dicom else 348))
        level, channels = pick(rng, [None, None, 0]), int(rng.choice([1, 3]))
        return lambda: read_clip(path, 8, 4, channels, level=level)

    return case


@reader
def scan_cache(folder: Path):
    """A scan of the local disk: voxels or description damaged, or described by one who means harm, checksum and all."""
    from test_scan_cache import record

    from medssl.data.phantom_volumes import ct_phantom
    from medssl.data.scan_cache import _canonical, _crc32, open_cached, write_cache
    from medssl.data.volumes import write_nifti

    source = write_nifti(folder / "a.nii", ct_phantom(1, (8, 14, 12), (20.0, 15.0, 15.0)).image)
    scan = record(source, "CT")
    voxels = write_cache(scan, folder)
    notes = voxels.with_suffix(".json")
    whole, about = voxels.read_bytes(), json.loads(notes.read_text())

    def case(rng):
        voxels.write_bytes(damaged(rng, whole) if rng.random() < 0.6 else whole)
        notes.write_text(json.dumps(about))
        if rng.random() < 0.5:
            raw = other_json(rng, about)
            if rng.random() < 0.6:
                raw = other_json(rng, about["about"])
                with suppress(ValueError, RecursionError):  # should it still be JSON: with the right checksum
                    forged = json.loads(raw)
                    raw = json.dumps({"about": forged, "crc32": _crc32(_canonical(forged))}).encode()
            notes.write_bytes(raw)
        return lambda: open_cached(folder, scan.scan_id).read()

    return case


@partial(reader, short=60)
def anonymized(folder: Path):
    """Files of each kind whose names are taken out: what cannot be read is refused, and says so in the report."""
    import test_dicom_series as files
    from PIL import Image

    from medssl.data.deidentify import anonymize
    from medssl.data.folders import dicom_patients

    inside, rng = folder / "in", np.random.default_rng(0)
    files.write(inside, [files.make_slice(0, shape=(4, 3))])
    seeds = {".dcm": next(inside.glob("*.dcm")).read_bytes()}
    for ending, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".tif", "TIFF")):
        Image.fromarray(rng.integers(0, 255, (9, 7), np.uint8)).save(stream := io.BytesIO(), kind)
        seeds[ending] = stream.getvalue()
    import nibabel

    seeds[".nii"] = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)).to_bytes()
    key = {"salt": "ab" * 32, "patients": {"P": "1"}, "uids": {}, "files": {}}

    def case(rng):
        shutil.rmtree(folder)
        inside.mkdir(parents=True)
        ending = pick(rng, [".dcm", ".dcm", *seeds])
        (path := inside / f"a{ending}").write_bytes(damaged(rng, seeds[ending], list(seeds.values()), 900))
        if ending == ".dcm" and rng.random() < 0.3:
            return lambda: dicom_patients([path, path])
        if rng.random() < 0.2:
            (folder / "key").write_bytes(other_json(rng, key))
            return lambda: anonymize(inside, folder / "out", key=folder / "key")
        return lambda: anonymize(inside, folder / "out")

    return case
