"""What all figures share: colours that colour-blind readers can tell apart, markers and hatches for grey print."""

from io import BytesIO
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from medssl.errors import MedsslError

# Okabe & Ito 2008: blue, orange, green, vermillion, purple, sky, black; yellow is left out, it vanishes on paper.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS, HATCHES, GREY = "osD^vPX", ("", "///", "...", "xxx", "---", "+++", "OO"), "#BBBBBB"
LINES = ("-", "--", "-.", (0, (3, 1, 1, 1, 1, 1)))


class PaperFigure(Figure):
    """A Figure made without pyplot (so none stays open in memory) that a notebook shows all the same, once."""

    def draw(self, renderer):
        for text in self.findobj(Text):
            text.set_parse_math(False)  # a model named "a$b$" is drawn as it is written, not as a formula
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        return buffer.getvalue()


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options):
    """(figure of width x height inches, axes [rows, columns]) that makes room for every label."""
    figure = PaperFigure(figsize=(width, height), layout="constrained", dpi=110)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def named(text: str, width: int = 36) -> str:
    """A name for a legend: broken into lines, and shown even where matplotlib would hide it (a leading underscore)."""
    return fill(f" {text}" if text.startswith("_") else text, width)


def headed(title: str, numbers: str, width: int) -> str:
    """The title above the lines of numbers that every figure writes itself, all broken at `width` letters."""
    return "\n".join(fill(line, width) for line in [title, *numbers.split("\n")] if line)


def legend_below(figure: Figure, ax, columns: int = 2) -> None:
    """The legend of one panel, for all of them, under the figure, where it covers no data."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:  # an empty legend would keep its room
        place = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": 9}
        figure.legend(handles, labels, **place).set_gid("below")


def stamp(figure: Figure, text: str) -> Figure:
    """Mark any figure at its foot, e.g. stamp(figure, "PHANTOM data"); a new mark replaces the old one."""
    for old in [mark for mark in figure.texts if mark.get_gid() == "stamp"]:
        old.remove()
    share, engine = 0.22 / figure.get_figheight(), figure.get_layout_engine()  # a strip of 0.22 inch, kept free of axes
    if engine is not None:
        engine.set(rect=(0, share, 1, 1 - share))
        for legend in [legend for legend in figure.legends if legend.get_gid() == "below"]:
            legend.borderaxespad = 2.3  # the engine moves axes only; in letters, of which 1.8 are 0.22 inch
    figure.text(0.99, 0.2 * share if engine else -share, text, ha="right", va="bottom", fontsize=8, color="#555555",
                style="italic", gid="stamp")
    return figure


def vector(values, name: str) -> np.ndarray:
    """Tensor, array or list -> numpy [N]. A column [N,1] is refused: beside [N] it would compare all with all."""
    array = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    if array.ndim != 1:
        raise MedsslError(f"{name} has shape {list(array.shape)}.", "shape [N]", f"for a column: {name}.squeeze(1)")
    return array


def check_pair(y, p, images=None) -> tuple[np.ndarray, np.ndarray]:
    """(y int [N] in {0, 1}, p float [N] = P(class 1)), one for each image: a figure of anything else would mislead."""
    y, p = vector(y, "y"), vector(p, "p")
    lengths = {len(y), len(p), *([] if images is None else [len(images)])}
    if lengths == {0} or len(lengths) > 1:
        raise MedsslError(f"there are {len(y)} labels, {len(p)} values of p"
                          + (f", {len(images)} images." if images is not None else "."),
                          "one of each for every image, and one image at least", "take all of them from the same split")
    if not np.isin(y, (0, 1)).all():
        raise MedsslError(f"y holds the values {sorted(set(y.tolist()))[:6]}.", "labels that are 0 or 1")
    if p.dtype.kind not in "biuf" or not ((p >= 0) & (p <= 1)).all() or np.isin(p, (0, 1)).all():
        raise MedsslError("p holds NaN, values outside [0, 1], or nothing but 0 and 1.", "probabilities of class 1",
                          "pass torch.softmax(logits, dim=1)[:, 1]: no logits, no percentages, no predicted classes")
    return y.astype(int), p.astype(float)


def show_image(ax, image, **options) -> None:
    """Draw [H,W], [1|3,H,W] or the middle slice of [1,D,H,W]: uint8, or float in [0,1]; pixels stay pixels."""
    array = image.detach().cpu().numpy() if hasattr(image, "detach") else np.asarray(image)
    array = array / 255 if array.dtype == np.uint8 else array.astype(float)
    if array.min() < -1e-3 or array.max() > 1.001:
        raise MedsslError(f"the image runs from {array.min():.2f} to {array.max():.2f}.", "uint8, or float in [0, 1]",
                          "show the image before it is normalised")
    if array.ndim == 4:
        array = array[:, array.shape[1] // 2]
    if array.ndim == 3:
        array = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    ax.imshow(np.clip(array, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest", **options)
    ax.set(xticks=[], yticks=[])
