"""The figure of a reconstruction: what there was, what was masked, what was drawn, and what is wrong with it."""

import numpy as np

from medssl.errors import MedsslError
from medssl.figures.images import picture_grid
from medssl.figures.masks import BLANK, colours, numbers
from medssl.figures.style import headed

WHITE = 0.25  # the error that the residual shows as white, in grey values: the same in every panel, so they compare


def reconstruction(images, mask, drawn, *, title: str = ""):
    """A column an image; rows: original, masked patches in pale blue, reconstruction, residual |drawn - original|.

    images and drawn [B,C,H,W] in [0, 1], mask bool [B,rows,columns]. The mean error stands above, apart for masked and
    other patches: that of the others says what the network makes of pixels that no loss looks at.
    """
    images, drawn, mask = (numbers(part) for part in (images, drawn, mask))
    if images.shape != drawn.shape or mask.ndim != 3 or len(mask) != len(images):
        raise MedsslError(f"Images {images.shape}, reconstructions {drawn.shape}, masks {mask.shape}.",
                          "the first two of one shape, a mask [rows,columns] for each", "take all from one batch")
    error, original = np.abs(drawn - images), colours(images, mask.shape[1:], len(images))
    patch = [side // n for side, n in zip(images.shape[2:], mask.shape[1:], strict=True)]
    inside = np.kron(mask, np.ones((1, *patch), bool))
    at = np.broadcast_to(inside[:, None], error.shape)
    masked = [np.where(part, BLANK[:, None, None], image) for part, image in zip(inside, original, strict=True)]
    about = (f"mean |error| of grey values 0 … 1: masked patches {error[at].mean():.4f}, others "
             f"{error[~at].mean():.4f}\nresidual: white is {WHITE:g} or more")
    rows = [original, masked, list(drawn.clip(0, 1)), list((error / WHITE).clip(0, 1))]
    return picture_grid(rows, ["original", "mask", "reconstruction", "residual"],
                        headed(title, about, 14 * (1 + len(original))))
