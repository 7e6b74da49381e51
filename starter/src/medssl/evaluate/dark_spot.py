"""How large is the lesion, and how well does it stand out? A crude answer where no radiologist has drawn an outline."""

import numpy as np
from scipy import ndimage

from medssl.errors import MedsslError

RADII = np.geomspace(2.5, 10, 9) / 28  # of the side


def dark_spot(images) -> dict[str, np.ndarray]:
    """The strongest round dark spot of each image [N,C,H,W] (uint8, or float in [0, 1]): {"spot_radius" (share of the
    side), "spot_contrast", "row", "column" (pixels)}, each [N].

    In ultrasound most lesions are darker than what surrounds them. A disc of radius r that is darker by c gives
    s^2 Laplacian(blurred image), at its centre, the value c (r/s)^2 exp(-r^2 / 2 s^2): largest, 2c/e, where the blur
    s is r / sqrt(2). So the largest value over places and blurs tells r and c (Lindeberg 1998). A slope of brightness,
    as of sound that fades with depth, has no Laplacian and does not count. Places near the border count less, for the
    examiner puts the lesion in the middle. Shadows and lobules of fat are dark, too: look at outlined() first.
    """
    x = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if x.ndim != 4 or len(x) == 0:
        raise MedsslError(f"these images have shape {list(x.shape)}.", "[N,C,H,W]", "hand in the images as loaded")
    x = x.mean(1, dtype=np.float64) / (255 if x.dtype == np.uint8 else 1)
    x = x - x.mean((1, 2), keepdims=True)  # the second derivative of a constant is 0, but not to the last digit
    side = max(x.shape[1:])
    near = np.outer(*(np.cos(np.linspace(-1, 1, n) * 1.2) for n in x.shape[1:]))  # 1 in the middle, 0.36 at a border
    best = {"value": np.full(len(x), -np.inf), "spot_radius": 0.0, "spot_contrast": 0.0, "row": 0, "column": 0}
    for radius in RADII:
        s = radius * side / np.sqrt(2)
        curved = [ndimage.gaussian_filter(x, (0, s, s), order, mode="nearest") for order in ((0, 2, 0), (0, 0, 2))]
        found = s**2 * sum(curved) * np.e / 2
        place = (found * near).reshape(len(x), -1).argmax(1)
        contrast = found.reshape(len(x), -1)[np.arange(len(x)), place]
        row, column = np.unravel_index(place, x.shape[1:])
        now = {"value": contrast * near[row, column], "spot_radius": radius, "spot_contrast": contrast, "row": row,
               "column": column}
        better = now["value"] > best["value"]
        best = {name: np.where(better, now[name], best[name]) for name in best}
    return {name: best[name] for name in ("spot_radius", "spot_contrast", "row", "column")}


def outlined(images, spots: dict[str, np.ndarray]) -> np.ndarray:
    """The images, float [N,1,H,W], with a white ring around each spot: what the numbers took for the lesion."""
    x = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    x = x.mean(1, dtype=np.float64) / (255 if x.dtype == np.uint8 else 1)
    row, column = (np.arange(n) for n in x.shape[1:])
    away = np.hypot(row[:, None] - spots["row"][:, None, None], column - spots["column"][:, None, None])
    return np.where(abs(away - spots["spot_radius"][:, None, None] * max(x.shape[1:])) < 0.6, 1.0, x)[:, None]
