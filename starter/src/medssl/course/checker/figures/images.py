"""Figures as files: two slots with one figure, copies, blank ones, and galleries that show one image again and again.

Only what must be is unpacked (a figure costs 20 ms): those that are suspiciously small for their size, and galleries.
"""

import io
import re
import shlex
from collections.abc import Iterator
from hashlib import blake2b

from PIL import Image

from medssl.course.checker.figures.galleries import as_grey, repeated_tiles
from medssl.course.checker.files.walk import Item
from medssl.course.checker.parse.handed_in import Problem, clean
from medssl.course.checker.reading import Reading

Said = Iterator[tuple[str, Problem]]
ENDINGS = (".png", ".jpg", ".jpeg")
MOST_PICTURES, MOST_GALLERIES = 30, 4
EMPTY = 0.02  # bytes a pixel: one colour needs 0.001 to 0.012, a plain line plot 0.05 and more
UNREADABLE = 100 * 100  # pixels: no axis label can be read in fewer
GALLERY = re.compile(r"gallery|misclass|missclass|high_?conf", re.I)


def figures(reading: Reading) -> Said:
    broken = {item.shown for s in reading.slots if reading.flaws.get(s.path) for item in reading.matches[s.path].items}
    pictures = [item for item in reading.files() if item.path.suffix.casefold() in ENDINGS and item.size > 0
                and item.shown not in broken]
    yield from _copies(reading, pictures)
    galleries = 0
    for item in pictures[:MOST_PICTURES]:
        gallery = bool(GALLERY.search(item.path.name)) and galleries < MOST_GALLERIES
        galleries += gallery
        try:
            yield from _look_at(item, reading, gallery)
        except Problem:
            raise
        except Exception:  # PIL raises many kinds on broken files; that they are broken is said by their slot
            continue


def _copies(reading: Reading, pictures: list[Item]) -> Said:
    """Byte by byte the same figure under two names."""
    slot_of = {item.shown: s.path for s in reading.slots for item in reading.matches[s.path].items}
    first: dict[tuple, Item] = {}
    for item in sorted(pictures, key=lambda one: (one.shown not in slot_of, one.shown)):
        raw = reading.bytes_of(item)
        twin = first.setdefault((item.size, blake2b(raw, digest_size=16).digest()), item) if raw else item
        if twin is item:
            continue
        name = clean(twin.path.name, 80)
        if slot_of.get(item.shown, slot_of.get(twin.shown)) != slot_of.get(twin.shown):
            yield item.shown, Problem("same-figure", f"is the same file as {name}, byte by byte: two models or two "
                                      "questions never give one figure, so one of them does not show what it says",
                                      f"draw both anew: {reading.context.rerun}")
        else:
            yield item.shown, Problem("duplicate-figure", f"is an identical copy of {name}: one of the two is enough",
                                      f"git rm {shlex.quote(item.shown)}", "note")


def _look_at(item: Item, reading: Reading, gallery: bool) -> Said:
    raw = reading.bytes_of(item) or b""
    with Image.open(io.BytesIO(raw), formats=["PNG", "JPEG"]) as image:
        pixels = image.width * image.height
        if pixels < UNREADABLE:
            yield item.shown, Problem("small-figure", f"has {image.width} x {image.height} pixels: nothing can be read "
                                      "in it", "save the figure at dpi=150", "note")
        if len(raw) < EMPTY * pixels:
            grey = as_grey(image)
            if grey is not None and grey.max() - grey.min() < 5:
                yield item.shown, Problem("blank-figure", f"shows nothing: all {pixels} pixels have one colour. Was it "
                                          "saved after plt.show(), which empties the figure?",
                                          "fig.savefig(…) before plt.show(), or hand_in.figure(…)")
                return
        groups = repeated_tiles(image) if gallery else []
    if groups:
        longest = max(groups, key=len)
        said = "; ".join(", ".join(map(str, group[:12])) for group in groups[:3])
        yield item.shown, Problem("gallery-repeats", f"shows one image {len(longest)} times (tiles {said}): an [N] "
                                  "mask against [N, 1] labels gives index 0 again and again, no distinct errors",
                                  "y = y.squeeze(1) before np.where(pred != y), then draw distinct images",
                                  "error" if len(longest) > 2 else "warning")


CHECKS = (figures,)
