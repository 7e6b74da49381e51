"""Figures of crops: where they lie in the patient, and how much of them is patient."""

import numpy as np
from matplotlib.patches import Rectangle

from medssl.errors import MedsslError
from medssl.figures.style import COLOURS, HATCHES, LINES, legend_below, new_figure, vector
from medssl.figures.volumes import PLANES, three_planes


def crop_boxes(array, spacing, boxes: dict, at=None, title: str = ""):
    """Three planes of a volume [Z,Y,X], grey values in [0, 1], and boxes over them: {name: [N,2,3] low and high corner
    in mm, (z, y, x), 0 the centre of the first voxel}, as MultiCrop3D reports them. Boxes that the plane cuts are
    drawn with a full line, those in front of it or behind it with a thin dotted one. `at`: the voxel of the planes."""
    shape = array.shape[-3:]
    at = [n // 2 for n in shape] if at is None else [int(i) for i in at]
    figure = three_planes(array, spacing, at, title)
    for k, (name, group) in enumerate(boxes.items()):
        corners = np.asarray(group.detach().cpu() if hasattr(group, "detach") else group, float)
        if corners.ndim != 3 or corners.shape[1:] != (2, 3):
            raise MedsslError(f"The boxes {name!r} have shape {list(corners.shape)}.", "[N,2,3], low and high corner",
                              "Of a batch's global_box [G,B,2,3] take one scan: global_box[:, 0].")
        for ax, (axis, _) in zip(figure.axes, PLANES.values(), strict=False):
            row, column = (i for i in range(3) if i != axis)
            for low, high in corners / np.asarray(spacing, float):
                cut = low[axis] <= at[axis] <= high[axis]
                # the picture shows both of its axes from their far end on
                ax.add_patch(Rectangle((shape[column] - 1 - high[column], shape[row] - 1 - high[row]),
                                       high[column] - low[column], high[row] - low[row], fill=False,
                                       edgecolor=COLOURS[(k + 1) % len(COLOURS)], linewidth=1.8 if cut else 0.7,
                                       linestyle=LINES[k % len(LINES)] if cut else ":"))
        figure.axes[0].plot([], [], color=COLOURS[(k + 1) % len(COLOURS)], linestyle=LINES[k % len(LINES)],
                            label=f"{name} ({len(corners)})")
    legend_below(figure, figure.axes[0], 4)
    return figure


def ratio_histograms(ratios: dict, minimum: float | None = None, title: str = ""):
    """Share of foreground in crops, {name: [N] in [0, 1]}, e.g. before and after a minimum is asked for; the legend
    says which share of the crops reaches `minimum`."""
    figure, axes = new_figure(6.4, 3.8)
    ax, edges = axes[0, 0], np.linspace(0, 1, 21)
    for k, (name, values) in enumerate(ratios.items()):
        values = vector(values, name)  # as they are: the 0.7 of float32 is less than that of float64
        if not len(values) or not ((values >= 0) & (values <= 1)).all():
            raise MedsslError(f"The ratios {name!r} are none, or not all in [0, 1].", "one number for each crop")
        reached = "" if minimum is None else f": {np.mean(values >= minimum):.0%} at or above {minimum:g}"
        ax.hist(values, edges, weights=np.full(len(values), 100 / len(values)), histtype="stepfilled", alpha=0.35,
                color=COLOURS[k % len(COLOURS)], hatch=HATCHES[k % len(HATCHES)], edgecolor=COLOURS[k % len(COLOURS)],
                label=f"{name} (n={len(values)}){reached}")
    if minimum is not None:
        ax.axvline(minimum, color="black", linestyle="--", linewidth=1)
    ax.set(xlim=(0, 1), xlabel="foreground voxels / all voxels of the crop", ylabel="crops, %", title=title)
    legend_below(figure, ax, 1)
    return figure
