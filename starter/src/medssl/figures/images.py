"""Figures of the data itself: how many, what they look like, what a method sees of them."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, HATCHES, new_figure, show_image, vector


def class_counts(counts: Mapping[str, Mapping[str, int]]):
    """Bars of {"train": {class: n}, ...}: one group a split, one bar a class, each with its number and share."""
    classes, totals = list(next(iter(counts.values()), ())), [sum(split.values()) for split in counts.values()]
    if not classes or any({*split} != {*classes} for split in counts.values()):
        raise MedsslError(f"the counts {counts} make no bars.", '{"train": {class: n, …}, …}, the same classes in each',
                          "pass data.counts()")
    figure, ((ax,),) = new_figure(6.5, 1.0 + 0.36 * len(counts) * len(classes))
    height = 0.8 / len(classes)
    for k, name in enumerate(classes):
        numbers = [split[name] for split in counts.values()]
        bars = ax.barh(np.arange(len(counts)) + (k - (len(classes) - 1) / 2) * height, numbers, height, label=name,
                       color=COLOURS[k % 7], hatch=HATCHES[k % 7], edgecolor="white")
        labels = [f"{number} ({number / max(1, total):.0%})" for number, total in zip(numbers, totals, strict=True)]
        ax.bar_label(bars, labels, padding=3, fontsize=9)
    ax.set_yticks(range(len(counts)), [f"{split}\nn = {total}" for split, total in zip(counts, totals, strict=True)])
    ax.set_xlabel("images")
    ax.margins(x=0.18)
    ax.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=min(3, len(classes)), frameon=False)
    return figure


def picture_grid(rows: Sequence[Sequence], names: Sequence[str], title: str):
    """Rows of images, each row with its name on the left; short rows end in blanks."""
    columns = max((len(row) for row in rows), default=0)
    if columns == 0 or len(names) != len(rows):
        raise MedsslError(f"there are {len(names)} names for {len(rows)} rows of at most {columns} images.",
                          "a name for each row, and at least one image")
    figure, axes = new_figure(1.2 + 0.95 * columns, 0.5 + 1.0 * len(rows), len(rows), columns)
    for row, row_axes, name in zip(rows, axes, names, strict=True):
        for k, ax in enumerate(row_axes):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if k < len(row):
                show_image(ax, row[k])
        row_axes[0].set_ylabel(fill(name, 14), rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return figure


def sample_grid(images, labels, classes: Sequence[str], n: int = 8):
    """The first n images [N,C,H,W] of each class, one row a class."""
    labels = vector(labels, "labels")
    if len(labels) != len(images) or not len(labels) or n < 1:
        raise MedsslError(f"there are {len(images)} images, {len(labels)} labels, and n={n}.",
                          "one label for each image, n of at least 1", "take both from the same split")
    rows = [[images[int(i)] for i in np.flatnonzero(labels == k)[:n]] for k in range(len(classes))]
    names = [f"{name} ({k})" for k, name in enumerate(classes)]
    return picture_grid(rows, names, f"the first {n} images of each class (n = {len(labels)})")


def augmented_views(images, views, names: Sequence[str] | None = None, n: int = 8):
    """Originals [B,C,H,W] in the first row, below them views of the same images: one batch, or a list of batches."""
    batches = [images, *(views if isinstance(views, (list, tuple)) else [views])]
    names = ["original", *(names or [f"view {k}" for k in range(1, len(batches))])]
    title = "one image a column, as it is and as the method sees it"
    return picture_grid([batch[:n] for batch in batches], names, title)
