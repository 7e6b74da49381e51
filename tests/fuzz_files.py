"""Whole files of every kind that is read from outside, and how to damage each: as bytes, and where its format is known
field by field. A reader here takes a folder and returns a function that writes one drawn case and says how to read it.
"""

import gzip
import hashlib
import io
import json
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fuzz_mutate import CLAIMS, FLOATS, WORDS, damaged, other_json, rewritten
from hostile import VALUES, images


def reader(make, short: int = 150):
    """short: how many cases `make test` draws."""
    make.short = short
    return make


def pick(rng, things):
    return things[rng.integers(len(things))]


@reader
def npz(folder: Path):
    """A data set under a forged MD5, as if the published file itself were like this."""
    from medmnist import INFO
    from test_data import write_npz

    from medssl.data import medmnist

    write_npz(folder / "seed.npz")
    with zipfile.ZipFile(folder / "seed.npz") as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    whole, path = (folder / "seed.npz").read_bytes(), folder / "breastmnist.npz"
    (folder / "seed.npz").unlink()
    claims = [b"(60000, 60000, 60000)", b"(6, 28, 28)", b"(-1, 28)", b"(0,)", b"()", b"(6, 1, 28, 28, 28)", b"(" * 200]
    types = [b"'|O'", b"'<f8'", b"'|S9'", b"'<U1000000000'", b"'<i8'", b"'<c16'", b"[('a', '<i4')]", b"'M8[s]'", b"3"]

    def case(rng):
        if rng.random() < 0.4:
            blob = damaged(rng, whole, front=4000)
        else:
            held = dict(arrays)
            for _ in range(rng.integers(1, 3)):
                name = pick(rng, list(held) or ["x.npy"])
                raw = held.get(name, b"")
                kind = rng.integers(5)
                if kind == 0:
                    held.pop(name, None)
                elif kind == 1:
                    held[name] = damaged(rng, raw, list(arrays.values()), front=128)
                else:  # the same length of header, another claim in it
                    at, end = (raw.find(b"("), raw.find(b")") + 1) if kind < 4 else (raw.find(b"'|u1'"),
                                                                                     raw.find(b"'|u1'") + 5)
                    claim = pick(rng, claims if kind < 4 else types)
                    head = raw[:at] + claim + raw[end:128].rstrip() if at > 0 else raw[:127]
                    held[name] = head[:127].ljust(127) + b"\n" + raw[128:]
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w", pick(rng, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
                for name, raw in held.items():
                    archive.writestr(name, raw)
            blob = stream.getvalue()
        path.write_bytes(blob)
        INFO["breastmnist"]["MD5"] = hashlib.md5(blob).hexdigest()
        return lambda: medmnist.load("breastmnist", folder)

    return case


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
def pictures(folder: Path):
    from PIL import Image

    from medssl.data.pictures import is_colour, read_picture

    rng, seeds = np.random.default_rng(0), list(images().values())
    grey, colour = rng.integers(0, 255, (9, 7), np.uint8), rng.integers(0, 255, (9, 7, 3), np.uint8)
    for picture, kind, more in ((grey, "PNG", {}), (colour, "JPEG", {}), (colour, "TIFF", {"compression": "tiff_lzw"}),
                                (grey, "BMP", {}), (grey.astype(np.uint16) * 9, "PNG", {}), (grey, "TIFF", {}),
                                (grey.astype(np.float32), "TIFF", {"compression": "tiff_adobe_deflate"})):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, kind, **more)
        seeds += [stream.getvalue()] * 3
    seeds = [seed for seed in seeds if len(seed) < 20_000]

    def case(rng):
        path = folder / "a.png"
        path.write_bytes(damaged(rng, pick(rng, seeds), seeds, 100))
        return lambda: (is_colour(path), read_picture(path, 8, 1))

    return case


@reader
def catalog(folder: Path):
    import polars

    from medssl.data.catalog import read_catalog

    rows = {"pmbb_id": ["P1", "P2", ""], "modality": ["CT", "MR", "ct"], "series_path": ["a", "b/c", "../d"],
            "age": ["1", "2", "x"]}
    table, stream = polars.DataFrame(rows), io.BytesIO()
    table.write_parquet(stream)
    own = polars.DataFrame({"patient": ["P1", "P2"], "modality": ["CT", "MR"], "nifti_path": ["a.nii", "b.nii.gz"],
                            "study": ["1", None]}).write_csv()
    texts = [table.write_csv(), own, table.write_csv(separator="\t")]

    def case(rng):
        name = pick(rng, ["c.csv", "c.csv", "c.tsv", "c.csv.gz", "c.parquet"])
        if name == "c.parquet":
            blob = damaged(rng, stream.getvalue())
        else:
            blob = rewritten(rng, texts[2] if name == "c.tsv" else pick(rng, texts[:2]))
            if name.endswith("gz"):
                blob = gzip.compress(blob, 1, mtime=0)
                blob = damaged(rng, blob) if rng.random() < 0.5 else blob
        path = folder / name
        path.write_bytes(blob)
        return lambda: read_catalog(path)

    return case


@reader
def tables(folder: Path):
    """CSV: labels of pictures, and predictions."""
    from medssl.course.predictions import read_predictions
    from medssl.data.folder_listing import read_table

    plain = "seed,index,y_true,p\n0,0,1,0.5\n0,1,0,0.25\n1,0,1,0.5\n1,1,0,1e-3\n"

    def case(rng):
        path = folder / "t.csv"
        path.write_bytes(rewritten(rng, pick(rng, [plain, "image,label\na.png,0\nb.png,1\n", plain.replace(",", ";")])))
        read = pick(rng, [read_predictions, read_table])
        return lambda: read(path)

    return case


@reader
def config(folder: Path):
    """The settings of `medssl prism`, of `medssl pretrain`, the contract and the profiles."""
    import medssl
    from medssl import cli, configs
    from medssl.course.contract import Contract
    from medssl.recipes.prism_config import PrismConfig, read_config
    from medssl.settings import build, read_toml

    home, path = Path(medssl.__file__).parent, folder / "c.toml"
    contract, profiles = ((home / f"course/{name}.toml").read_text() for name in ("contract", "profiles"))
    start = contract.index("[[weeks]]")
    contract = contract[:start] + contract[start:start + 3000].rpartition("\n\n")[0]
    pretrain = next((home / "configs").glob("*.toml")).read_text()
    prism = '[data]\ncatalog = "c.csv"\nn_patches = 24\nworkers = 0\n[train]\nlr = 1e-3\n[wandb]\ntags = ["a"]'
    whole = {"data": {"catalog": "c.csv", "n_patches": 4}, "train": {"lr": 1e-3, "steps": 9}, "seed": 3}
    kinds = [(contract, lambda: build(Contract, read_toml(path), str(path))), (prism, lambda: read_config(path, [])),
             (profiles[:1500], lambda: build(dict[str, dict[str, dict]], read_toml(path), str(path))),
             (pretrain, lambda: configs.read_config(str(path), cli.pretrain))]

    def case(rng):
        if rng.random() < 0.2:  # as JSON, which has null and deep values
            path.write_bytes(other_json(rng, whole))
            return lambda: build(PrismConfig, json.loads(path.read_text()), str(path)) if json_is_whole(path) else None
        text, read = pick(rng, kinds)
        path.write_bytes(rewritten(rng, text))
        return read

    return case


def json_is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_text())
        return True
    except (ValueError, RecursionError):
        return False


@reader
def checkpoints(folder: Path):
    """Under a name with the right digest: as if its writer meant harm. A trainer goes on from it."""
    from torch import nn

    from medssl.train import Trainer
    from medssl.train.checkpoint import _digest, load_newest

    class Method(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)

        def forward(self, batch):
            return {"loss": self.net(batch["x"]).square().mean()}

    class Source:
        def __len__(self):
            return 2

        def batches(self, epoch):
            return ({"x": torch.ones(2, 2)} for _ in range(2))

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    def train(steps=2):
        Trainer(Method(), Source(), steps=4, out=folder, quiet="silent", device="cpu", checkpoint_every=steps).fit()

    train()
    newest = max(folder.glob("*.pt"))
    whole, state = newest.read_bytes(), load_newest(folder)
    odd = [value for value in VALUES if not (isinstance(value, int) and abs(value) > 2**63)]
    odd += [torch.tensor(3.0), torch.zeros(0), torch.full((1, 2), torch.nan), {"net.weight": torch.zeros(7, 7)}]

    def ways(value, at=()):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else (
                ):
            yield (*at, key)
            yield from ways(one, (*at, key))

    def case(rng):
        for old in folder.iterdir():
            old.unlink()
        if rng.random() < 0.5:
            blob = damaged(rng, whole, front=2000)
        else:
            stream = io.BytesIO()
            torch.save(state, stream)
            changed = torch.load(io.BytesIO(stream.getvalue()), weights_only=True)
            at = pick(rng, list(ways(changed)))
            here = changed
            for key in at[:-1]:
                here = here[key]
            if rng.random() < 0.3 and isinstance(here, dict):
                del here[at[-1]]
            else:
                here[at[-1]] = pick(rng, odd)
            stream = io.BytesIO()
            torch.save(changed if rng.random() < 0.95 else pick(rng, odd), stream)
            blob = stream.getvalue()
        path = folder / "x"
        path.write_bytes(blob)
        path.rename(folder / f"checkpoint-00000002-{_digest(path)}.pt")
        return train

    return case


@reader
def encoders(folder: Path):
    """encoder.safetensors, and a pretraining's ssl_config.json with ssl_encoder.pt."""
    from medssl.models import SmallCNN
    from medssl.models.export import WEIGHTS, load_encoder, pretrained_as, save_encoder, seen_images

    save_encoder(folder, SmallCNN(1, width=2), {"method": "simclr", "epochs": 1}, ["ab"])
    whole = (folder / WEIGHTS).read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8:end]), whole[end:]
    settings = {"backbone": "smallcnn", "channels": 1, "method": "x", "epochs": 1, "backbone_settings": {"width": 2}}
    stream = io.BytesIO()
    torch.save(SmallCNN(1, width=2).state_dict(), stream)

    def case(rng):
        for old in folder.iterdir():
            old.unlink()
        if rng.random() < 0.3:
            (folder / "ssl_config.json").write_bytes(other_json(rng, settings))
            (folder / "ssl_encoder.pt").write_bytes(
                damaged(rng, stream.getvalue(), front=2000) if rng.random() < 0.5 else stream.getvalue())
            return lambda: load_encoder(folder)
        if rng.random() < 0.4:
            blob = damaged(rng, whole, front=end)
        else:
            meta = {key: other_json(rng, json.loads(value)).decode("utf-8", "replace") if value[:1] == "{" else value
                    for key, value in header["__metadata__"].items()}
            head = other_json(rng, header) if rng.random() < 0.5 else json.dumps(
                header | {"__metadata__": meta}).encode()
            blob = len(head).to_bytes(8, "little") + head + body
        (folder / WEIGHTS).write_bytes(blob)
        return pick(rng, [lambda: load_encoder(folder), lambda: load_encoder(folder), lambda: seen_images(folder),
                          lambda: pretrained_as(folder)])

    return case


@reader
def results(folder: Path):
    """What a run of Prism leaves for the next one and for the table of all runs."""
    from types import SimpleNamespace

    from medssl.data.run_records import list_runs
    from medssl.recipes.prism_result import PrismResult, finished

    whole = {name: 1 for name in PrismResult.__dataclass_fields__} | {
        "status": "ok", "config_hash": "ab", "metrics": {"loss": 0.5, "x": None}, "run_id": "r", "folder": "f",
        "config": {"train": {"lr": 1e-3}, "wandb": {"tags": ["a"]}}}

    def case(rng):
        (folder / "result.json").write_bytes(other_json(rng, whole))
        read = pick(rng, [0, 1])
        return lambda: list_runs("local", str(folder)) if read else finished(SimpleNamespace(config_hash="ab"), folder)

    return case


@partial(reader, short=25)
def submissions(folder: Path):
    """A perfect hand-in of which some files are damaged: the checker says what is wrong, and never breaks itself."""
    from cohort_today import perfect

    from medssl.course.checker.grade import grade

    work = perfect(folder, 1, "breastmnist", "ada").write(folder)
    held = {path: path.read_bytes() for path in sorted(work.rglob("*")) if path.is_file()}

    def case(rng):
        for path, blob in held.items():
            path.write_bytes(blob)
        for path in [pick(rng, list(held)) for _ in range(rng.integers(1, 4))]:
            blob = held[path]
            if path.suffix == ".json" and rng.random() < 0.7:
                blob = other_json(rng, json.loads(blob))
            elif path.suffix in (".md", ".csv") and rng.random() < 0.8:
                blob = rewritten(rng, blob.decode())
            else:
                blob = damaged(rng, blob)
            path.write_bytes(blob)

        def read():
            broken = [f for s in grade(folder).submissions for f in s["findings"] if f["code"] == "checker-error"]
            assert not broken, broken

        return read

    return case
