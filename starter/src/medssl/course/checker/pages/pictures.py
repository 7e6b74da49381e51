"""Figures and READMEs for the report: read with the checker's care, made small, carried inside the page.

A figure is never passed on as it was handed in: it is decoded, scaled and written anew, so nothing else travels.
"""

import base64
import fnmatch
import io
import re
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from medssl.course.checker.files.slots import FOUND
from medssl.course.checker.parse.handed_in import (
    MAX_PIXELS,
    Problem,
    check_image,
    clean,
    list_folder,
    read_bytes,
    read_text,
)

TOPS = ("results", "reports")
MOST_FIGURES = 24  # of one submission
# (pixels across, WebP quality, as many times the bytes of the last, about), best first. To encode the smallest takes a
# millisecond and tells which of the others may fit: to try them in turn took half of the time of the whole grading.
SIZES = ((720, 65, 12), (560, 60, 8), (420, 60, 5.4), (320, 50, 3.2), (240, 40, 1.9), (160, 35, 1))


def bytes_at(base: Path, shown: str) -> bytes | None:
    """The bytes of a file by the path shown in grade.json; None where that leads through a link, out, or to nothing."""
    parts = shown.split("/")
    if len(parts) < 3 or any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        return None
    here = base
    for part in parts[:-1]:
        here = here / part
        if here.is_symlink():
            return None
    try:
        return read_bytes(here / parts[-1])
    except (Problem, OSError, ValueError):
        return None


def text_at(base: Path, shown: str) -> str:
    try:
        return read_text(bytes_at(base, shown) or b"")
    except Problem:
        return ""


def own_words(text: str) -> str:
    """A README without the tables that the notebook rendered: they repeat what the JSON says."""
    kept, waiting = [], None  # waiting: lines since a marker that may never be closed
    for line in (clean(line.replace("\t", "    "), 5000) for line in text.splitlines()):
        if waiting is None and line.startswith("<!-- medssl:"):
            waiting = []
        if waiting is None:
            kept.append(line)
        elif line.startswith("<!-- /medssl:"):
            waiting = None
        else:
            waiting.append(line)
    return re.sub(r"\n\s*\n", "\n\n", "\n".join(kept + (waiting or []))).strip()


def figures_of(base: Path, submission: dict) -> list[tuple[str, bool]]:
    """(path, whether the checker has looked at it) of every figure: those asked for first, then the extra ones."""
    found = {}
    for slot in submission["slots"]:
        if slot["kind"] == "figure" and slot["status"] in FOUND and slot["found"]:
            found[slot["found"]] = True
            if "*" in slot["file"]:  # one slot, many files: grade.json names the first
                folder, _, pattern = slot["found"].rpartition("/")[0], "/", slot["file"].rpartition("/")[2]
                entries, _ = list_folder(base / folder, levels=1)
                found |= {f"{folder}/{e.path}": False for e in entries if e.kind == "file"
                          and fnmatch.fnmatchcase(e.path, pattern) and f"{folder}/{e.path}" not in found}
    for name in submission["extra_files"]:
        if name.casefold().endswith((".png", ".jpg", ".jpeg")):
            found.setdefault(f"{submission['folder']}/{name}", False)
    return list(found.items())[:MOST_FIGURES]


def thumbnails(base: Path, figures: list[tuple[str, bool]], budget: int) -> dict[str, str]:
    """{path: data URI}, together at most `budget` characters: the more figures, the smaller each."""
    each = int(budget / max(1, len(figures)) - 40) * 3 // 4  # base64 makes four characters of three bytes
    if each < 500:
        return {}
    first: dict[bytes, tuple[str, bool]] = {}  # who shares a seed shares figures: each is made small once
    same = {}
    for shown, checked in figures:
        same[shown] = blake2b(bytes_at(base, shown) or b"", digest_size=16).digest()
        first.setdefault(same[shown], (shown, checked))
    with ThreadPoolExecutor(2) as pool:  # PIL and zlib let go of Python's lock
        made = dict(zip(first, pool.map(lambda one: thumbnail(base, *one, each), first.values()), strict=True))
    return {shown: made[digest] for shown, digest in same.items() if made[digest]}


def thumbnail(base: Path, shown: str, checked: bool, most: int) -> str:
    """One figure as a data URI of at most `most` bytes before encoding; "" where it cannot be shown."""
    from PIL import Image

    raw = bytes_at(base, shown)
    if not raw:
        return ""
    try:
        if not checked:
            check_image(raw)
        with Image.open(io.BytesIO(raw), formats=["PNG", "JPEG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                return ""
            image.draft("RGB", (SIZES[0][0],) * 2)  # a JPEG is decoded at the size that is needed
            image = _on_white(image)
        least = len(_webp(image, *SIZES[-1][:2]))
        for width, quality, times in SIZES:
            if times * least <= most and len(small := _webp(image, width, quality)) <= most:
                return "data:image/webp;base64," + base64.b64encode(small).decode()
    except Exception:  # PIL raises many kinds on broken files; the findings say what is wrong with it
        return ""
    return ""


def _webp(image, width: int, quality: int) -> bytes:
    from PIL import Image

    small, out = image.copy(), io.BytesIO()
    small.thumbnail((width, 2 * width), Image.Resampling.BICUBIC, reducing_gap=1.0)
    small.save(out, "WEBP", quality=quality, method=2)
    return out.getvalue()


def _on_white(image):
    """Without transparency: a see-through figure would be black on black in the page's dark mode."""
    from PIL import Image

    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA"):
        return image.convert("RGB")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] == 255:  # as matplotlib saves: nothing shows through
        return image.convert("RGB")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    return paper
