"""Figures of volumes: three planes through one, each the way radiologists hang it."""

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.style import new_figure

# plane -> (axis of [Z,Y,X] that is cut, labels left, right, top, bottom). The reader looks at the patient from the feet
# (axial) or from the front (coronal), so the patient's right is on the left of the picture.
PLANES = {"axial": (0, "RLAP"), "coronal": (1, "RLSI"), "sagittal": (2, "APSI")}


def three_planes(array, spacing, at=None, title: str = ""):
    """Axial, coronal and sagittal slice of a volume [Z,Y,X] or [1,Z,Y,X] in RAS+ order, grey values in [0, 1].

    `spacing` (z, y, x) in mm gives the slices their true shape; `at` is the voxel (z, y, x) they meet in, else the
    middle. Labels: R, L the patient's right and left; A front, P back; S head, I feet.
    """
    array = np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    if array.ndim != 3 or array.min() < -1e-3 or array.max() > 1.001:
        raise MedsslError(f"The volume has shape {list(array.shape)} and runs from {array.min():g} to {array.max():g}.",
                          "[Z,Y,X] with values in [0, 1]", "Use window_ct(…) for CT, scale_mr(…) for MR first.")
    at = [n // 2 for n in array.shape] if at is None else [int(i) for i in at]
    figure, axes = new_figure(9, 3.6, 1, 3)
    for ax, (name, (axis, letters)) in zip(axes[0], PLANES.items(), strict=True):
        rows, columns = (s for k, s in enumerate(spacing) if k != axis)
        picture = array.take(at[axis], axis)[::-1, ::-1]  # indices grow to R, A, S
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect=rows / columns, interpolation="nearest")
        ax.set(xticks=[], yticks=[], title=f"{name}, {'zyx'[axis]} = {at[axis]}")
        for letter, x, y in zip(letters, (0.02, 0.98, 0.5, 0.5), (0.5, 0.5, 0.98, 0.02), strict=True):
            ax.text(x, y, letter, transform=ax.transAxes, color="white", fontsize=11, fontweight="bold",
                    ha={0.02: "left", 0.98: "right"}.get(x, "center"),
                    va={0.02: "bottom", 0.98: "top"}.get(y, "center"))
    if title:
        figure.suptitle(title, fontsize=10)
    return figure
