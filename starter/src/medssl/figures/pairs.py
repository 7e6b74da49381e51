"""Figures of Prism: where the patches of two views lie, what each view sees of them, and several runs side by side."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, LINES, MARKERS, legend_below, new_figure
from medssl.figures.volumes import PLANES, three_planes

LEAST = 1e-9  # as low as a zero is drawn


def pair_places(array, spacing, views: Mapping[str, tuple], near_mm: float = 8.0, title: str = ""):
    """Three planes of a volume [Z,Y,X], grey values in [0, 1], through the first view's centre, and the places of all
    views: {name: (centre [3], places [N,3])} in voxels (z, y, x). A place within near_mm of the plane is a full mark,
    any other a faint one; crosses are centres, the arrow goes from the first to the last."""
    views = {name: (np.asarray(centre, float), np.asarray(places, float)) for name, (centre, places) in views.items()}
    wrong = [name for name, (centre, places) in views.items() if centre.shape != (3,) or places.shape[1:] != (3,)]
    if wrong or not views:
        raise MedsslError(f"No places can be drawn of {', '.join(wrong) or 'no view'}.",
                          "{name: (centre [3], places [N,3])} in voxels, (z, y, x)")
    shape, centres = np.array(array.shape[-3:]), [centre for centre, _ in views.values()]
    figure = three_planes(array, spacing, np.clip(np.rint(centres[0]), 0, shape - 1), title)
    for ax, (axis, _) in zip(figure.axes, PLANES.values(), strict=True):
        row, column = (i for i in range(3) if i != axis)

        def on_paper(places, row=row, column=column):  # the picture shows both of its axes from their far end on
            return shape[column] - 1 - places[..., column], shape[row] - 1 - places[..., row]

        for k, (name, (centre, places)) in enumerate(views.items()):
            near = np.abs(places[:, axis] - centres[0][axis]) * spacing[axis] <= near_mm
            for part, alpha in ((near, 0.9), (~near, 0.2)):
                ax.scatter(*on_paper(places[part]), s=7, marker=MARKERS[k % 7], color=COLOURS[(k + 1) % 7],
                           alpha=alpha, linewidths=0, label=f"{name}, {len(places)} patches" if part is near else None)
            ax.scatter(*on_paper(centre), s=90, marker="+", color=COLOURS[(k + 1) % 7], linewidths=2)
        if len(centres) > 1:
            ax.annotate("", on_paper(centres[-1]), on_paper(centres[0]), arrowprops={"arrowstyle": "->", "color": "w"})
        ax.set(xlim=(-0.5, shape[column] - 0.5), ylim=(shape[row] - 0.5, -0.5))
    legend_below(figure, figure.axes[0], 4)
    return figure


def view_mosaics(views: Mapping[str, tuple], patch_mm: float, near_mm: float = 8.0, title: str = ""):
    """What each view is given, {name: (patches [N,s,s,1] in [0, 1], positions [N,3] in mm)}: every patch at its place
    in the view's own frame, those within near_mm of the plane through the centre, the nearest on top."""
    figure, axes = new_figure(0.4 + 2.7 * len(views), 3.6, 1, len(views), sharex=True, sharey=True)
    for ax, (name, (patches, positions)) in zip(axes[0], views.items(), strict=True):
        patches, positions = np.asarray(patches), np.asarray(positions)
        if patches.ndim != 4 or positions.shape != (len(patches), 3):
            raise MedsslError(f"{name}: patches {list(patches.shape)}, positions {list(positions.shape)}.",
                              "[N,s,s,1] and [N,3]")
        pitch, side = patch_mm / patches.shape[1], patches.shape[1]
        half = int(np.ceil(np.abs(positions[:, :2]).max() / pitch)) + side
        paper, far = np.full((2 * half, 2 * half), np.nan), np.abs(positions[:, 2])
        for k in sorted(np.flatnonzero(far <= near_mm), key=far.__getitem__, reverse=True):
            column, row = np.rint(positions[k, :2] / pitch).astype(int) + half - side // 2
            paper[row:row + side, column:column + side] = patches[k, ..., 0]
        reach = half * pitch
        ax.imshow(paper, cmap="gray", vmin=0, vmax=1, origin="lower", extent=(-reach, reach, -reach, reach))
        ax.plot(0, 0, "+", color=COLOURS[1], markersize=9)
        ax.set_facecolor("#DDE7F0")  # where no patch lies
        ax.set_title(name, fontsize=9)
        ax.set(xlabel="mm", aspect="equal")
    axes[0, 0].set(ylabel="mm from the view's centre")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def run_panels(histories: Mapping[str, Sequence[Mapping]], panels: Mapping[str, str], bands: Mapping[str, tuple] = {},
               title: str = ""):
    """A panel for each {key of the rows: its name}, a line for each run {name: rows with "step"}. An axis is
    logarithmic where its values span more than a factor of 100; a zero is 1e-9 there. bands {key: (low, high)} are
    shaded: what is healthy."""
    columns = min(4, len(panels))
    figure, axes = new_figure(0.4 + 3.0 * columns, 0.8 + 2.3 * -(-len(panels) // columns),
                              -(-len(panels) // columns), columns)
    for ax in axes.flat[len(panels):]:
        ax.set_axis_off()
    for ax, (key, name) in zip(axes.flat, panels.items(), strict=False):
        seen = []
        for k, (run, rows) in enumerate(histories.items()):
            points = [(row["step"], row[key]) for row in rows if row.get(key) is not None and np.isfinite(row[key])]
            points = [(step, LEAST if value == 0 else value) for step, value in points]
            ax.plot(*zip(*points, strict=True) if points else ([], []), color=COLOURS[k % 7],
                    linestyle=LINES[k % len(LINES)], marker=MARKERS[k % 7], markersize=4, label=run)
            seen += [value for _, value in points]
        if seen and min(seen) >= 0 and max(seen) > 100 * min(seen):
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(numticks=6))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter(NullFormatter())
        if key in bands:
            ax.axhspan(*bands[key], color="#BBBBBB", alpha=0.3, linewidth=0)
        ax.set_title(fill(name, 34), fontsize=9)
        ax.set(xlabel="steps")
        ax.grid(alpha=0.3)
    if title:
        figure.suptitle(title, fontsize=10)
    legend_below(figure, axes[0, 0], 3)
    return figure
