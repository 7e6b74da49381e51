"""Readers of scans, damaged as bytes and, where the format is known, element by element: NIfTI and DICOM."""

import gzip
import io
from pathlib import Path

import numpy as np
from fuzz_mutate import CLAIMS, FLOATS, WORDS, damaged, pick, reader


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
