"""Damage for files, drawn by a generator: what disks, networks and people who mean harm do to bytes, text and JSON.

A reader takes a folder and returns a function that writes one drawn case there and says how to read it. Whole files of
each kind, and how they are damaged: fuzz_pictures.py, fuzz_scans.py, fuzz_tables.py, fuzz_runs.py.
"""

import copy
import json
import re
import struct

import numpy as np
from hostile import VALUES, paths, replaced

CLAIMS = [0, 1, -1, 127, 128, 255, 32767, 60_000, 65_535, 2**31 - 1, -2**31, 2**32 - 1, 2**63 - 1]  # sizes and offsets
FLOATS = [0.0, -0.0, -1.0, 1e-30, 1e30, 3.4e38, float("nan"), float("inf"), -float("inf")]
WORDS = ["", "nan", "inf", "-1", "0", "1e400", "9" * 400, "\x00", "\ufeff", "\u202e", '"', "'", ",", ";", "\t", "\r",
         "\n\n", "[" * 3000, "{" * 3000, "a." * 3000, "../../../etc/passwd", "=1+1", "0x1p3", "é" * 300, "[[", "]]",
         "#", "1979-05-27T25:61:00", "true", "=", "\\u", "\\", "9" * 5000, "_", "null", "x" * 70_000]


def reader(make, short: int = 150):
    """Marks one. short: how many cases `make test` draws."""
    make.short = short
    return make


def pick(rng, things):
    return things[rng.integers(len(things))]


def damaged(rng: np.random.Generator, blob: bytes, others: list[bytes] = (), front: int = 512) -> bytes:
    """One to four wounds. Half of them fall on the first `front` bytes, where headers are."""
    for _ in range(rng.integers(1, 5)):
        blob = bytearray(blob)
        size = len(blob)
        at = int(rng.integers(min(size, front) if rng.random() < 0.5 else size)) if size else 0
        kind = rng.integers(9)
        if kind < 2 and size:  # bits
            for place in rng.integers(size, size=rng.integers(1, 9)):
                blob[place] ^= 1 << rng.integers(8)
        elif kind == 2:  # cut short
            del blob[at:]
        elif kind == 3:  # a claim: a number of 2, 4 or 8 bytes, in either order
            width = int(rng.choice([2, 4, 8]))
            number = int(rng.choice(np.array(CLAIMS, object))) % 256**width
            blob[at:at + width] = number.to_bytes(width, str(rng.choice(["little", "big"])))
        elif kind == 4:  # a decimal number
            blob[at:at + 4] = struct.pack(str(rng.choice(["<f", ">f"])), FLOATS[rng.integers(len(FLOATS))])
        elif kind == 5:  # something comes in
            blob[at:at] = rng.bytes(rng.integers(1, 64)) * int(rng.choice([1, 1, 1, 50]))
        elif kind == 6:  # something is gone
            del blob[at:at + int(rng.integers(1, 64))]
        elif kind == 7 and size:  # a piece stands elsewhere
            start, length = int(rng.integers(size)), int(rng.integers(1, 200))
            blob[at:at + length] = blob[start:start + length]
        elif kind == 8 and len(others):  # the head of one file, the tail of another
            other = others[rng.integers(len(others))]
            blob[at:] = other[at:]
    return bytes(blob)


def rewritten(rng: np.random.Generator, text: str) -> bytes:
    """Text with words, numbers and lines exchanged; now and then damaged as bytes, or in another encoding."""
    for _ in range(rng.integers(1, 4)):
        pieces = re.split(r"([^\w.\-]+)", text)
        at, word = int(rng.integers(len(pieces))), WORDS[rng.integers(len(WORDS))]
        kind = rng.integers(5)
        if kind < 2:
            pieces[at] = word
        elif kind == 2:
            pieces.insert(at, word)
        elif kind == 3:
            del pieces[at:at + int(rng.integers(1, 4))]
        else:  # a piece many times over
            pieces[at] = pieces[at] * int(rng.choice([2, 3, 2000]))
        text = "".join(pieces)[:300_000]
    kind = rng.integers(10)
    if kind == 0:
        return text.encode("utf-16")
    raw = text.encode("utf-8", "surrogateescape")
    return damaged(rng, raw) if kind < 3 else raw


def other_json(rng: np.random.Generator, value: object) -> bytes:
    """JSON with one to three fields replaced, or without them; or its text rewritten."""
    if rng.random() < 0.2:
        return rewritten(rng, json.dumps(value))
    for _ in range(rng.integers(1, 4)):
        ways = list(paths(value))
        if not ways:
            break
        at = ways[rng.integers(len(ways))]
        if rng.random() < 0.25:
            value = copy.deepcopy(value)
            here = value
            for key in at[:-1]:
                here = here[key]
            del here[at[-1]]
        else:
            value = replaced(value, at, VALUES[rng.integers(len(VALUES))])
    return json.dumps(value).encode("utf-8", "surrogateescape")
