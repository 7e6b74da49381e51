"""Are the confident errors darker, flatter, or emptier than the rest? Three numbers an image, and a test for groups."""

import numpy as np

from medssl.errors import MedsslError

EDGE_LEVEL = 0.08  # change of intensity (0 to 1) per pixel; exceeded by 19 % of the pixels in BreastMNIST's train split


def image_statistics(images, edge_level: float = EDGE_LEVEL) -> dict[str, np.ndarray]:
    """{"brightness", "contrast", "edge_density"}, each [N], of images [N,C,H,W], uint8 or float in [0, 1].

    brightness: the mean; contrast: the standard deviation of the pixels; edge_density: the share of pixels whose Sobel
    gradient is above edge_level. (Sobel / 8 = slope per pixel; edges of the image repeated; channels averaged first.)
    """
    images = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if images.ndim != 4 or len(images) == 0 or not (
            images.dtype == np.uint8 or (images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1)):
        raise MedsslError(f"these images have shape {list(images.shape)} and type {images.dtype}.",
                          "[N,C,H,W], uint8 or float in [0, 1]", "hand in the images as loaded, before normalising")
    x = images.mean(1, dtype=np.float64) / (255 if images.dtype == np.uint8 else 1)  # [N,H,W]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]  # smooth along one axis,
    right = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    # then the difference along the other
    slope = np.hypot(down[:, :, 2:] - down[:, :, :-2], right[:, 2:] - right[:, :-2]) / 8
    return {"brightness": x.mean((1, 2)), "contrast": x.std((1, 2)), "edge_density": (slope > edge_level).mean((1, 2))}


def compare_groups(values: dict[str, np.ndarray], mask, *, permutations: int = 10_000, seed: int = 0) -> dict:
    """Do the images of `mask` [N] (the errors) differ from the rest? {statistic: {"difference", "ci95", "p", …}}.

    difference = mean(mask) - mean(rest). ci95: Welch's t interval, honest for a group of five where a bootstrap is too
    narrow; None for a group of one, or where all values are equal. p: how often a random group of this size differs as
    much, either way: shuffled labels, no formula to believe. p_holm: corrected for asking several questions at once
    (Holm 1979); judge by this.
    """
    from scipy.stats import ttest_ind

    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 1 or not 0 < mask.sum() < len(mask):
        raise MedsslError(f"mask has type {mask.dtype}, shape {list(mask.shape)}, {int(np.sum(mask))} of it marked.",
                          "True or False for each image, both present", "mask = predicted != y, for instance")
    table = np.stack([np.asarray(column, np.float64) for column in values.values()], 1)  # [N, K]
    if len(table) != len(mask):
        raise MedsslError(f"there are {len(table)} values, but {len(mask)} in mask.", "the same images in both")
    inside, rest, rng = table[mask], table[~mask], np.random.default_rng(seed)
    centred = table - table.mean(0)  # sums to 0, so mean(group) - mean(rest) = sum(group) * (1 / n1 + 1 / n0)
    scale = 1 / len(inside) + 1 / len(rest)
    shuffled = [centred[rng.permutation(len(mask))[:len(inside)]].sum(0) for _ in range(permutations)]  # [P, K]
    as_far = np.abs(shuffled) >= np.abs(centred[mask].sum(0)) - 1e-12
    p = (1 + as_far.sum(0)) / (1 + permutations)  # the grouping that we saw is one of the possible ones
    holm = correct_for_many(p)
    out = {}
    for k, name in enumerate(values):
        spread = min(len(inside), len(rest)) > 1 and np.ptp(table[:, k]) > 0
        welch = ttest_ind(inside[:, k], rest[:, k], equal_var=False) if spread else None
        out[name] = {"difference": float(centred[mask, k].sum() * scale),
                     "ci95": [float(end) for end in welch.confidence_interval()] if welch else None,
                     "p": float(p[k]), "p_holm": float(holm[k]), "mean_group": float(inside[:, k].mean()),
                     "mean_rest": float(rest[:, k].mean()), "n_group": len(inside), "n_rest": len(rest)}
    return out


def compare_errors(values: dict[str, np.ndarray], y, predicted, **settings) -> dict[str, dict]:
    """{"FN": …, "FP": …}, each as compare_groups gives it: errors beside the right answers *of the same class*.

    Malignant lesions look unlike benign ones, and errors are mostly of one class: beside all images they would differ
    for that alone. So missed images of class 1 (FN) stand beside those that were found, false alarms (FP) beside the
    rest of class 0. p_holm is corrected for all questions of both together. A kind without two groups is left out.
    """
    y, predicted, out = np.asarray(y), np.asarray(predicted), {}
    if not len(y) == len(predicted) == len(next(iter(values.values()), ())) or not np.isin(predicted, (0, 1)).all():
        raise MedsslError(f"{len(y)} labels, {len(predicted)} predictions of the values {np.unique(predicted)[:5]}.",
                          "one of each for each image, the predictions 0 or 1", "predicted = p >= threshold")
    for name, label in (("FN", 1), ("FP", 0)):
        wrong = predicted[y == label] != label
        if 0 < wrong.sum() < len(wrong):
            out[name] = compare_groups({key: np.asarray(v)[y == label] for key, v in values.items()}, wrong, **settings)
    rows = [row for group in out.values() for row in group.values()]
    for row, p in zip(rows, correct_for_many([row["p"] for row in rows]), strict=True):
        row["p_holm"] = float(p)
    return out


def correct_for_many(p) -> np.ndarray:
    """Holm's p-values [K] (1979): the smallest times K, the next times K - 1, ..., none below the one before."""
    p = np.asarray(p, float)
    order, holm = np.argsort(p, kind="stable"), np.empty(len(p))
    holm[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return holm
