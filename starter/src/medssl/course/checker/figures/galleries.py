"""Does a gallery show one image again and again? Its tiles are cut out along the background between them and compared.

An error mask of the wrong shape gives index 0 each time; the gallery then holds five times the same "error".
"""

from itertools import pairwise, product

import numpy as np
from PIL import Image

from medssl.course.checker.parse.handed_in import MAX_PIXELS

LONGEST = 1600  # pixels: a larger figure is made smaller first
SMALLEST, MOST_TILES = 16, 64  # pixels across; tiles compared
SAMPLES = 20  # each tile is reduced to SAMPLES x SAMPLES means
# Mean difference of two tiles by that of neighbouring samples in one, up to which they are one image. Drawn twice by
# matplotlib, at other fractions of a pixel, an image differs from itself by up to 0.10; the most similar two of
# BreastMNIST's test split by 0.084 to 0.13, the next by 0.157, and such twins come in pairs. So three alike are one
# image; two have to be closer.
THREE, TWO, NEARLY = 0.13, 0.075, 0.6


def repeated_tiles(image: Image.Image) -> list[list[int]]:
    """Groups of tiles (numbered from 1, row by row) that show the same image; [] where no tiles are found."""
    grey = as_grey(image)
    if grey is None:
        return []
    ink = np.abs(grey - _background(grey)) > 8
    found = [_without_ticks(box, ink) for box in _boxes(ink)]
    least = max((0.4 * _side(box) for box in found), default=0)  # words between the tiles are smaller than they
    boxes = [part for box in found if _side(box) >= least for part in _split(box)][:MOST_TILES]
    tiles = [_reduced(grey, box) for box in boxes]
    groups: list[dict[int, float]] = []  # {tile: how far it is from the first of its group}
    for k, tile in enumerate(tiles):
        if tile.std() > 8:  # a flat patch is a colour bar or a legend
            apart = [_apart(grey, tiles[next(iter(group))], tile, boxes[k]) for group in groups]
            if apart and min(apart) < THREE:
                groups[apart.index(min(apart))][k] = min(apart)
            else:
                groups.append({k: 0.0})
    close = [[k for k in group if len(group) > 2 or group[k] < TWO] for group in groups]
    return [[k + 1 for k in group] for group in close if len(group) > 1]


def _apart(grey: np.ndarray, one: np.ndarray, other: np.ndarray, box: tuple[slice, slice]) -> float:
    """Mean difference of two tiles; of similar ones at the best of all ways to cut the second a pixel wider or less."""
    texture = max(float(np.abs(np.diff(other, axis=0)).mean() + np.abs(np.diff(other, axis=1)).mean()) / 2, 1.0)
    rough = float(np.abs(one - other).mean()) / texture
    if not 0.01 < rough < NEARLY:
        return rough
    (top, bottom), (left, right) = ((side.start, side.stop) for side in box)
    moved = (_reduced(grey, (slice(max(0, top + a), bottom + b), slice(max(0, left + c), right + d)))
             for a, b, c, d in product((-1, 0, 1), repeat=4))
    return min(float(np.abs(one - tile).mean()) for tile in moved) / texture


def as_grey(image: Image.Image) -> np.ndarray | None:
    """float32 [H, W] on white, at most LONGEST pixels long; None for a picture too large to unpack."""
    if image.width * image.height > MAX_PIXELS:
        return None
    image.draft("L", (LONGEST, LONGEST))  # a JPEG is unpacked at a smaller size
    if image.mode == "P":
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema()[0] < 255:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("L")
    if max(image.size) > LONGEST:
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def _background(grey: np.ndarray) -> float:
    """The commonest grey value along the figure's edge."""
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]).astype(np.uint8)
    return float(np.bincount(edge).argmax())


def _boxes(ink: np.ndarray, top: int = 0, left: int = 0, depth: int = 0) -> list[tuple[slice, slice]]:
    """Cut along empty rows, then along empty columns, and so on, until nothing can be cut: (rows, columns) of each."""
    if depth > 6 or min(ink.shape) < SMALLEST or not ink.any():  # letters and ticks are left out
        return []
    for axis in (0, 1):
        runs = _runs(ink.any(1 - axis))
        if len(runs) > 1 or runs[0] != (0, ink.shape[axis]):
            boxes = []
            for low, high in runs[:200]:
                part = ink[low:high] if axis == 0 else ink[:, low:high]
                boxes += _boxes(part, top + low * (axis == 0), left + low * (axis == 1), depth + 1)
            return boxes
    return [(slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1]))]


def _runs(full: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.r_[0, full.astype(np.int8), 0]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _side(box: tuple[slice, slice]) -> int:
    return min(side.stop - side.start for side in box)


def _without_ticks(box: tuple[slice, slice], ink: np.ndarray) -> tuple[slice, slice]:
    """The box without lines at its sides that are mostly empty: the marks of an axis stick out there."""
    sides = []
    for axis, side in enumerate(box):
        full = np.flatnonzero(ink[box].mean(1 - axis) > 0.3)
        low, high = (int(full[0]), int(full[-1]) + 1) if len(full) else (0, side.stop - side.start)
        sides.append(slice(side.start + min(low, 8), max(side.start + high, side.stop - 8)))
    return sides[0], sides[1]


def _split(box: tuple[slice, slice]) -> list[tuple[slice, slice]]:
    """A box of touching tiles (imshow of a grid) as its tiles, else the box itself."""
    height, width = (side.stop - side.start for side in box)
    counts = max(1, round(height / width)), max(1, round(width / height))
    down, across = (np.linspace(side.start, side.stop, n + 1).round().astype(int).tolist()
                    for side, n in zip(box, counts, strict=True))
    return [(slice(a, b), slice(c, d)) for a, b in pairwise(down) for c, d in pairwise(across)]


def _reduced(grey: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    """A tile as SAMPLES x SAMPLES means, less its frame and the edges' fractions of a pixel."""
    small = Image.fromarray(grey[box]).resize((SAMPLES, SAMPLES), Image.Resampling.BOX)
    return np.asarray(small)[2:-2, 2:-2]
