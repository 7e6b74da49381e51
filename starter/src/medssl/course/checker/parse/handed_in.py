"""Read what was handed in as if it were hostile: nothing is run or unpickled, no link followed, every size has a cap.

A folder is listed once, and only names from that listing are opened: a name read inside a file never becomes a path.
"""

import io
import json
import math
import os
import re
import stat
import unicodedata
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import NamedTuple

MAX_BYTES = 30_000_000  # of one file that is read (weights are never read)
MAX_JSON_BYTES = 2_000_000  # 10 seeds with all their bins need 100 kB
MAX_TEXT_BYTES = 200_000  # a README
MAX_JSON_DEPTH = 40
MAX_PIXELS = 30_000_000
MAX_FILES, MAX_LEVELS = 2_000, 5  # in one submission


class Problem(Exception):
    """What is wrong with a file: code, what and why it matters, what to do. Raised where the file is of no use."""

    def __init__(self, code: str, message: str, fix: str = "", severity: str = "error"):
        super().__init__(message)
        self.code, self.message, self.fix, self.severity = code, message, fix, severity

    def __reduce__(self):  # so that it can go to another process and come back
        return Problem, (self.code, self.message, self.fix, self.severity)


class Entry(NamedTuple):
    """One name in a folder: its path below it, and `file`, `folder`, `link` or `device` (pipes and sockets too)."""

    path: str
    kind: str
    size: int


def clean(text: object, limit: int = 400) -> str:
    """Text that is safe to show anywhere: no control, direction or surrogate characters, and not endless."""
    shown = str(text)[: limit + 1]
    if not shown.isprintable():  # by character ten times as slow, and seldom needed
        shown = "".join("\ufffd" if unicodedata.category(c)[0] == "C" else c for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def list_folder(folder: Path, levels: int = MAX_LEVELS, most: int = MAX_FILES) -> tuple[list[Entry], bool]:
    """Everything below `folder`, sorted, links not followed; and whether something was left out (too much, or locked).

    What lies below the last level is left out without a word when only one level is asked for.
    """
    found, todo, cut = [], [(Path(folder), "", 1)], False
    while todo and len(found) < most:
        here, prefix, level = todo.pop()
        try:
            with os.scandir(here) as names:
                items = [(item, item.stat(follow_symlinks=False)) for item in islice(names, most + 1)]
        except OSError:
            items, cut = [], True
        for item, info in items:
            kind = _kind(info.st_mode)
            found.append(Entry(prefix + item.name, kind, info.st_size))
            if kind == "folder" and level < levels:
                todo.append((Path(item.path), f"{prefix}{item.name}/", level + 1))
            cut |= kind == "folder" and level == levels > 1
    return sorted(found)[:most], cut or len(found) > most or bool(todo)


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "link"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "device"


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file of at most `most` bytes. A link, pipe or device raises before anything is read."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
        try:  # what was opened is asked, not the path: a folder or a pipe may have taken the file's place meanwhile
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                raise Problem("not-a-file", "is a folder, pipe or device, not a file", "hand in a plain file")
            if info.st_size > most:
                raise Problem("too-large", f"has {info.st_size / 1e6:.1f} MB; {most / 1e6:.0f} MB is the most that is "
                              "read", "hand in the file that the notebook writes; weights and raw data do not belong "
                              "here")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(most)
        finally:
            os.close(handle)
    except OSError as error:
        raise Problem("unreadable", f"cannot be opened ({clean(error.strerror)})", "hand in a plain file") from None


def read_text(raw: bytes) -> str:
    """UTF-8 text (a byte-order mark is dropped). A NUL byte is in no text: images and UTF-16 have them."""
    if b"\0" in raw:
        raise Problem("bad-utf8", f"is not UTF-8 text (byte {raw.index(0)} is NUL)", "save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem("bad-utf8", f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from None


def read_json(raw: bytes) -> tuple[object, list[Problem]]:
    """(value, problems that leave it readable: NaN, infinities and keys given twice)."""
    if len(raw) > MAX_JSON_BYTES:
        raise Problem("too-large", f"has {len(raw) / 1e6:.1f} MB; at most {MAX_JSON_BYTES / 1e6:.0f} MB of JSON",
                      "hand in the file that the notebook writes")
    text, problems, strange = read_text(raw), [], []
    if _depth(text) > MAX_JSON_DEPTH:
        raise Problem("json-depth", f"is nested deeper than {MAX_JSON_DEPTH} levels", "write a flat object of numbers")

    keys: set[str] = set()

    def constant(name):
        strange.append(name)
        return float(name.replace("Infinity", "inf"))

    def pairs(items):
        value = dict(items)
        if strange:
            keys.update(key for key, one in items if isinstance(one, float) and not math.isfinite(one))
        if len(value) < len(items) and len(problems) < 5:
            key = next(key for key, times in Counter(key for key, _ in items).items() if times > 1)
            problems.append(Problem("json-duplicate-key", f"has the key '{clean(key, 40)}' twice: only the last counts",
                                    "keep one of the two"))
        return value

    try:
        value = json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
        if strange:
            where = f" ({', '.join(clean(key, 40) for key in sorted(keys)[:5])})" if keys else ""
            problems.append(Problem("json-nan", f"holds {strange[0]}{where}, which is no number and cannot be compared",
                                    "find the cell that made it (one class only? a diverged loss?) and run it again"))
        return value, problems
    except (ValueError, RecursionError) as error:
        raise Problem("json-syntax", f"is not JSON ({clean(error, 120)})", "let json.dump write it") from None


def _depth(text: str) -> int:
    """How deep the brackets nest outside strings (one pass: an unclosed string runs to the end)."""
    deepest = depth = 0
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'(?s)"(?:[^"\\]|\\.)*+(?:"|\Z)', "", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def check_image(raw: bytes) -> None:
    """Raise unless these bytes are a whole PNG or JPEG of sensible size. Header first: a bomb is never unpacked."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(raw), formats=["PNG", "JPEG"]) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Problem("image-too-large", f"has {width} x {height} pixels", "save the figure at dpi=150")
            image.verify()  # check sums
        with Image.open(io.BytesIO(raw), formats=["PNG", "JPEG"]) as image:
            image.load()  # every row is there
    except Problem:
        raise
    except Exception as error:  # PIL raises many kinds on broken files: OSError, SyntaxError, ValueError, zlib.error
        if raw.startswith((b"\x89PNG", b"\xff\xd8")):
            what = f"is no whole PNG or JPEG image ({clean(re.sub(' *<_io[^>]*>', '', str(error)), 100)})"
        else:
            what = f"is no image at all (it begins with '{clean(raw[:20].decode('utf-8', 'replace'), 20)}')"
        raise Problem("image-broken", what, "save the figure again, and look at it before handing in") from None
