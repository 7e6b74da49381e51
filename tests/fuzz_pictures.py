"""Readers of pictures, damaged: sets of them (npz) and single files."""

import hashlib
import io
import zipfile
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
