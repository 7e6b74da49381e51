"""Figures of tokens laid over images: here the masks, as the model sees them; and what all such figures share."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.colors import to_rgb

from medssl.errors import MedsslError
from medssl.figures.images import picture_grid
from medssl.figures.style import COLOURS
from medssl.figures.volumes import PLANES

BLANK = np.array([0.80, 0.87, 0.95])  # a pale blue: no grey value of an image, so nobody takes it for tissue


def masks(images, masks, grid, n: int = 4, *, spacing=None, title: str = ""):
    """Images, what of them is seen, and what is to be predicted, one colour a block; pale blue is hidden.

    images [B,C,H,W], masks (context [B,K], targets [T,B,M]), as in a batch of MaskedViews: the first n images. Of clips
    and volumes [B,C,D,H,W] the first one, n frames or slices of it; with spacing (z, y, x) in mm three planes of a RAS+
    volume, through the brightest token that is to be predicted: a gland may be thinner than the block about it. Where
    blocks overlap the last one's colour is drawn.
    """
    context, targets = (numbers(part) for part in masks)
    tokens = math.prod(grid)
    if context.ndim != 2 or targets.ndim != 3 or not len(images) == len(context) == targets.shape[1] or \
            max(context.max(), targets.max()) >= tokens:
        raise MedsslError(f"Masks {list(context.shape)} and {list(targets.shape)} for {len(images)} images of {tokens} "
                          "tokens.", "context [B,K] and targets [T,B,M] of the same images and grid")
    shown = colours(images, grid, n)
    seen, ahead = [], []
    for k, picture in enumerate(shown):
        is_seen, block = np.zeros(tokens), np.full(tokens, -1)
        is_seen[context[k]] = 1
        for number, target in enumerate(targets[:, k]):
            block[target] = number
        block = to_pixels(block, picture, grid)
        tint = np.moveaxis(np.array([to_rgb(colour) for colour in COLOURS])[block % 7], -1, 0)
        blank = BLANK.reshape(-1, *[1] * len(grid))
        seen.append(np.where(to_pixels(is_seen, picture, grid) > 0, picture, blank))
        ahead.append(np.where(block >= 0, 0.55 * picture + 0.45 * tint, blank))
    at = brightest(shown[0], grid, np.unique(targets[:, 0]))
    hidden = np.mean([len(np.unique(targets[:, k])) for k in range(len(images))]) / tokens
    blocks = f"{len(targets)} blocks of {targets.shape[2]}" if len(targets) > 1 else f"{targets.shape[2]} tokens"
    about = (f"{context.shape[1]} of {tokens} tokens seen ({context.shape[1] / tokens:.0%}), "
             f"{blocks} to predict ({hidden:.0%} of all)")
    return over_images({"image": shown, "seen": seen, "to predict": ahead}, grid, n, spacing, title, about, at)


def over_images(rows: Mapping[str, list], grid, n: int, spacing, title: str, about: str, at=None):
    """A figure of RGB arrays [3,H,W] or [3,D,H,W], a row a kind, a column an image, a slice or a plane."""
    at = brightest(rows["image"][0], grid) if at is None else at
    cuts = {name: [cut for array in arrays for cut in cuts_of(array, grid, n, spacing, at)]
            for name, arrays in rows.items()}
    figure = picture_grid([[picture for _, picture, _ in row] for row in cuts.values()], list(rows),
                          f"{title}\n{about}" if title else about)
    width = max(figure.get_figwidth(), 0.085 * max(map(len, f"{title}\n{about}".split("\n"))))
    figure.set_size_inches(width, figure.get_figheight() + 0.2 * bool(title) + 0.3 * (len(grid) == 3))
    for k, (ax, (name, _, aspect)) in enumerate(zip(figure.axes, sum(cuts.values(), []), strict=True)):
        ax.set_aspect(aspect)
        if k < len(next(iter(cuts.values()))):
            ax.set_title(name, fontsize=9)
    return figure


def cuts_of(array: np.ndarray, grid, n: int, spacing, at) -> list[tuple[str, np.ndarray, float]]:
    """(name, [3,h,w], height of a pixel in its widths): the image, n slices of it, or three planes through a pixel."""
    if array.ndim == 3:
        return [("", array, 1.0)]
    patch = [side // cells for side, cells in zip(array.shape[1:], grid, strict=True)]
    if spacing is None:
        layers = np.unique(np.linspace(0, grid[0] - 1, min(n, grid[0])).round().astype(int))
        return [(f"no. {z}", array[:, z], 1.0) for z in layers * patch[0] + patch[0] // 2]
    planes = []
    for name, (axis, _) in PLANES.items():
        rows, columns = (mm for k, mm in enumerate(spacing) if k != axis)
        planes.append((f"{name}\n{'zyx'[axis]} = {at[axis]}", array.take(at[axis], 1 + axis)[:, ::-1, ::-1],
                       rows / columns))
    return planes


def brightest(picture: np.ndarray, grid, among=None) -> tuple[int, ...]:
    """The pixel in which planes meet: the middle, by grey value, of the lightest token (of those `among` them). A
    token's own middle may be air."""
    grey, patch = picture.mean(0), [side // cells for side, cells in zip(picture.shape[1:], grid, strict=True)]
    cells = grey.reshape([part for pair in zip(grid, patch, strict=True) for part in pair])
    means = cells.mean(tuple(range(1, 2 * len(grid), 2))).ravel()
    among = np.arange(means.size) if among is None else among
    first = [k * p for k, p in zip(np.unravel_index(among[means[among].argmax()], grid), patch, strict=True)]
    token = grey[tuple(slice(a, a + p) for a, p in zip(first, patch, strict=True))] + 1e-9  # all air: its own middle
    middle = [(np.indices(patch)[axis] * token).sum() / token.sum() for axis in range(len(grid))]
    return tuple(int(a + m + 0.5) for a, m in zip(first, middle, strict=True))


def colours(images, grid, n: int) -> list[np.ndarray]:
    """The first n images, or the first clip or volume, as RGB float [3,(D,)H,W] in [0, 1]."""
    images = numbers(images)
    sides = images.shape[2:]
    if len(sides) != len(grid) or any(side % cells for side, cells in zip(sides, grid, strict=True)) or n < 1 or \
            not len(images):
        raise MedsslError(f"Images of shape {list(images.shape)} on a grid of {tuple(grid)} tokens, n={n}.",
                          "[B,C,H,W] and (rows, columns), or [B,C,D,H,W] and (z, rows, columns), sides that fit")
    some = images[:n if len(grid) == 2 else 1]
    some = some / 255 if some.dtype == np.uint8 else some.astype(float)
    return [np.broadcast_to(image, (3, *sides)) for image in some]


def to_pixels(values: np.ndarray, picture: np.ndarray, grid) -> np.ndarray:
    """A value a token [N] -> one a pixel [(D,)H,W], unsmoothed: a token is no finer than its patch."""
    values = values.reshape(grid)
    for axis, cells in enumerate(grid):
        values = values.repeat(picture.shape[1 + axis] // cells, axis)
    return values


def numbers(values) -> np.ndarray:
    """Tensor or array -> array."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
