"""Readers of pictures, damaged: sets of them (npz, HDF5), single files and films."""

import hashlib
import io
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
from fuzz_mutate import damaged, pick, reader
from hostile import images


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


@partial(reader, short=60)
def hdf5(folder: Path):
    """PatchCamelyon as published: six files, of which one or two are damaged, or hold something else."""
    import h5py

    from medssl.data.public import SETS
    from medssl.data.public.pictures import read_pcam

    rng = np.random.default_rng(0)
    held = {}
    for k, name in enumerate(("train", "valid", "test")):
        for key, shape in (("x", (3, 8, 8, 3)), ("y", (3, 1, 1, 1))):
            values = rng.integers(0, 256 if key == "x" else 2, shape, np.uint8)
            path = folder / f"camelyonpatch_level_2_split_{name}_{key}.h5"
            with h5py.File(path, "w") as file:
                file.create_dataset(key, data=values, **({"chunks": values.shape, "compression": "gzip"} if k else {}))
            held[path] = path.read_bytes()
    odd = [{"shape": (2**40, 96, 96, 3)}, {"shape": (3, 2**20, 2**20, 3)}, {"shape": (0, 8, 8, 3)}, {"shape": (3, 1)},
           {"shape": (3, 0, 8, 3)}, {"data": np.zeros((3, 8, 8, 3))}, {"data": "text"}, {"data": np.array([b"a"] * 3)},
           {"data": np.full(3, np.nan)}, {"data": np.full(3, 7, np.uint8)}, {"data": h5py.Empty("u1")},
           {"data": np.zeros(3, [("a", "i4")])}, {"shape": (2**40,)}, {"data": 3}, {"shape": (3, 8, 8, 0)}]

    def case(rng):
        for path, blob in held.items():
            path.write_bytes(blob)
        for path in [pick(rng, list(held)) for _ in range(rng.integers(1, 3))]:
            if rng.random() < 0.6:
                path.write_bytes(damaged(rng, held[path], list(held.values()), 2000))
                continue
            with h5py.File(path, "w") as file:
                what, key = pick(rng, odd), path.stem[-1]
                if rng.random() < 0.1:
                    file.create_group(key)
                else:
                    file.create_dataset(key, dtype=np.uint8 if "shape" in what else None, **what)
        return lambda: read_pcam(folder, SETS["pcam"], 8)

    return case


@partial(reader, short=60)
def films(folder: Path):
    """Of each kind of film one, of 3 to 9 frames."""
    import av
    from test_video import film

    from medssl.data.video import read_clip

    rng, seeds = np.random.default_rng(0), {}
    for ending, codec in ((".mp4", "mpeg4"), (".avi", "mjpeg"), (".mkv", "mpeg4"), (".webm", "libvpx"), (".mov", "png"),
                          (".mp4", "libx264")):
        try:
            path = film(folder / f"seed{ending}", rng.integers(0, 255, (9, 32, 32, 3)).astype(np.uint8), codec=codec)
        except (av.error.FFmpegError, ValueError):  # this build of FFmpeg cannot write it
            continue
        seeds[ending, codec] = path.read_bytes()
        path.unlink()

    def case(rng):
        for old in folder.iterdir():
            old.unlink()
        ending, _ = key = pick(rng, list(seeds))
        path = folder / f"a{ending}"
        path.write_bytes(damaged(rng, seeds[tuple(key)], list(seeds.values()), 1000))
        return lambda: read_clip(path, 8, 3, int(rng.choice([1, 3])))

    return case
