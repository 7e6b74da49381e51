"""Segmentation with a light head on frozen tokens, the two baselines it must beat, and Dice case by case.

A case is an image [C,*S], a mask int64 [*S] (0 is background) and its spacing in mm; S is (rows, columns) or (z, rows,
columns). Every method is fitted on train cases and becomes a function case -> P [K,*S], the probability of each class
in each pixel or voxel; what is drawn is the same for all (`draw`), with one threshold chosen on val cases.

Dice by scikit-learn's f1_score, the same number, and here already: torchmetrics and MONAI would be dependencies.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import MedsslError
from medssl.evaluate.probes import scale

THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)
CS = (1e-3, 0.1, 10.0)
BINS = 32


class Case(NamedTuple):
    image: Tensor  # float [C,*S] in [0, 1]; for the head its tokens [D,*grid] (see as_tokens)
    mask: Tensor
    spacing: tuple[float, ...] | None = None


def as_tokens(encoder: nn.Module, case: Case, patch: Sequence[int]) -> Case:
    """The case with the encoder's patch tokens in place of its image, which is padded with 0 to whole patches.

    The encoder has `tokens(x)`, one row a patch, in C order (a ViT); `patch` is its patch size along each axis of S. It
    is asked in eval mode and left in the mode in which it came.
    """
    sides = case.mask.shape
    if len(patch) != len(sides) or case.image.shape[1:] != sides:
        raise MedsslError(f"An image {list(case.image.shape)}, a mask {list(sides)}, patches of {tuple(patch)}.",
                          "image [C,*S], mask [*S], one patch side for each axis of S")
    grid = [-(-side // p) for side, p in zip(sides, patch, strict=True)]
    after = [(0, n * p - side) for n, p, side in zip(grid, patch, sides, strict=True)]
    x = F.pad(case.image.float(), [pad for pair in after[::-1] for pad in pair])[None]
    where, spacing = next(encoder.parameters()).device, {} if case.spacing is None else {"spacing": case.spacing}
    modes = [(module, module.training) for module in encoder.modules()]
    try:
        encoder.eval()
        with torch.no_grad():
            tokens = encoder.tokens(x.to(where), **spacing)[0, -int(np.prod(grid)):].cpu()  # a class token is first
    finally:
        for module, training in modes:
            module.training = training
    return case._replace(image=tokens.T.reshape(-1, *grid))


def patch_shares(mask: Tensor, patch: Sequence[int], classes: int) -> Tensor:
    """[K,*grid]: the share of each class among those pixels of a patch that the image has."""
    one_hot = F.one_hot(mask, classes).movedim(-1, 0).float()
    pool = F.avg_pool2d if mask.ndim == 2 else F.avg_pool3d
    return pool(one_hot[None], tuple(patch), ceil_mode=True)[0]


def fit_head(train: Sequence[Case], val: Sequence[Case], patch: Sequence[int], classes: int = 2) -> Callable:
    """A linear layer from a token to the shares of its patch: cases as as_tokens makes them -> P [K,*S], upsampled.

    Logistic regression with soft targets: each token counts once for each class, weighted by its share. Of CS the one
    with the lowest log loss on val. Between the centres of patches P is linear.
    """
    from sklearn.linear_model import LogisticRegression

    def rows(cases):
        shares = [patch_shares(case.mask, patch, classes).reshape(classes, -1).T for case in cases]
        return (torch.cat([case.image.flatten(1).T for case in cases]).double().numpy(), torch.cat(shares).numpy())

    (x, shares), (x_val, shares_val) = rows(train), rows(val)
    mean, std = scale(x)
    token, label = np.nonzero(shares)
    found = []
    for C in CS:
        model = LogisticRegression(C=C, max_iter=300).fit(((x - mean) / std)[token], label, shares[token, label])
        p = model.predict_proba((x_val - mean) / std)
        found.append((-(shares_val[:, model.classes_] * np.log(np.maximum(p, 1e-9))).sum(), model))
    model = min(found, key=lambda pair: pair[0])[1]

    def predict(case: Case) -> Tensor:
        p = np.zeros((case.image[0].numel(), classes))
        p[:, model.classes_] = model.predict_proba((case.image.flatten(1).T.double().numpy() - mean) / std)
        p = torch.from_numpy(p.T).float().reshape(1, classes, *case.image.shape[1:])
        p = F.interpolate(p, scale_factor=tuple(map(float, patch)), mode="bilinear" if p.ndim == 4 else "trilinear")
        return p[(0, slice(None), *map(slice, case.mask.shape))]

    return predict


def fit_intensity(train: Sequence[Case], val: Sequence[Case] = (), classes: int = 2, reach: int = 5) -> Callable:
    """The baseline of grey values: P of each class in each cell of a histogram of (grey value, mean of reach^d around).

    It knows no shape and no place. A colour image counts by the mean of its channels. val is not needed.
    """
    def cells(case: Case) -> Tensor:
        grey = case.image.float().mean(0)[None, None]
        pool = F.avg_pool2d if grey.ndim == 4 else F.avg_pool3d
        around = pool(grey, reach, stride=1, padding=reach // 2, count_include_pad=False)
        a, b = ((v * BINS).long().clamp(0, BINS - 1)[0, 0] for v in (grey, around))
        return a * BINS + b

    count = sum(torch.bincount((cells(case) * classes + case.mask).flatten(), minlength=BINS * BINS * classes)
                for case in train).reshape(-1, classes).float()
    p = (count + count.sum(0) / count.sum()) / (count.sum(1, keepdim=True) + 1)  # a new cell: the share overall
    return lambda case: p[cells(case)].movedim(-1, 0)


def fit_ellipsoid(train: Sequence[Case], val: Sequence[Case] = ()) -> Callable:
    """The position prior: one ellipsoid (2D: ellipse) that sees no pixel, for one foreground class; P is 0 or 1.

    Its centre is where the train masks have theirs, as a share of the field of view L; its half axes are s (L/2 - m),
    with s and the margin m in mm of the best mean Dice on train and val. Data that were cropped around what is searched
    for, with a margin, give themselves away in L.
    """
    cases, best = [*train, *val], (-1.0, 0.0, 0.0)
    centre = torch.stack([torch.nonzero(case.mask).float().mean(0).add(0.5) / torch.tensor(case.mask.shape)
                          for case in cases if case.mask.any()]).mean(0) - 0.5

    def distance(case: Case, margin: float) -> Tensor:  # 1 on the ellipsoid of s = 1
        total, n_axes = 0, case.mask.ndim
        for axis, (n, mm) in enumerate(zip(case.mask.shape, case.spacing or (1.0,) * n_axes, strict=True)):
            at = (torch.arange(n) + 0.5 - n / 2 - centre[axis] * n) * mm / max(n * mm / 2 - margin, mm)
            total = total + at.square().reshape([-1 if k == axis else 1 for k in range(n_axes)])
        return total.sqrt()

    sizes = torch.linspace(0.02, 2, 100)
    half = max(n * mm / 2 for case in cases for n, mm in zip(case.mask.shape, case.spacing or (1,) * 3, strict=False))
    for margin in torch.linspace(0, half, 33)[:-1].tolist():
        dices = []
        for case in cases:
            at = torch.bucketize(distance(case, margin).flatten(), sizes)  # within sizes[k] are those of bucket <= k
            inside, hit = (torch.bincount(at[of], minlength=101).cumsum(0)[:100]
                           for of in (slice(None), case.mask.flatten() > 0))
            dices.append(2 * hit / (inside + case.mask.gt(0).sum()).clamp(min=1))
        top = torch.stack(dices).mean(0).max(0)
        best = max(best, (float(top.values), margin, float(sizes[top.indices])))
    _, margin, size = best

    def predict(case: Case) -> Tensor:
        inside = (distance(case, margin) <= size).float()
        return torch.stack([1 - inside, inside])

    return predict


def draw(p: Tensor, threshold: float) -> Tensor:
    """P [K,*S] -> int64 [*S]: the likeliest foreground class wherever the foreground reaches the threshold."""
    return torch.where(1 - p[0] >= threshold, 1 + p[1:].argmax(0), 0)


def dice(mask: Tensor, drawn: Tensor, classes: int = 2) -> np.ndarray:
    """[K-1]: 2 |A∩B| / (|A| + |B|) of each foreground class in one case.

    NaN where the class is in neither (there is nothing to measure: left out of means, and counted); 0 where it is in
    one of the two only.
    """
    from sklearn.metrics import f1_score

    pairs = np.arange(classes**2)  # (in the mask, drawn): counted first, for f1_score is slow on a million voxels
    count = torch.bincount((mask * classes + drawn).flatten(), minlength=classes**2).numpy()
    return f1_score(pairs // classes, pairs % classes, labels=range(1, classes), average=None, sample_weight=count,
                    zero_division=np.nan)


def score_cases(predict: Callable, val: Sequence[Case], test: Sequence[Case], classes: int = 2) -> tuple:
    """(Dice [cases,K-1] on test, the threshold): that of the best mean Dice on val, the same for every method."""
    maps = [(case.mask, predict(case)) for case in val]
    means = [np.nanmean([dice(mask, draw(p, t), classes) for mask, p in maps]) for t in THRESHOLDS]
    threshold = float(THRESHOLDS[int(np.argmax(means))])
    return np.stack([dice(case.mask, draw(predict(case), threshold), classes) for case in test]), threshold


def paired_cases(a, b=None, seed: int = 0) -> dict[str, float]:
    """{"mean", "lo", "hi", "n"} of Dice a [cases] less b [cases] of the same cases (b=None: of a), 95 % by bootstrap.

    Cases are drawn, both methods together; those with NaN in either are left out, and n says how many stayed. Few cases
    make percentiles too narrow (11 cases: 90 % for 95 %): the level is raised to what Student's t asks for (Hesterberg
    2015, arXiv 1411.5279), which then held the truth in 94 to 96 of 100.
    """
    from scipy.stats import bootstrap, norm, t

    d = np.asarray(a, float) - (0 if b is None else np.asarray(b, float))
    d = d[np.isfinite(d)]
    if len(d) < 2:
        raise MedsslError(f"{len(d)} cases have both numbers.", "two or more", "an interval needs cases to draw from")
    level = 2 * norm.cdf(np.sqrt(len(d) / (len(d) - 1)) * t.ppf(0.975, len(d) - 1)) - 1
    ends = bootstrap((d,), np.mean, n_resamples=5000, method="percentile", confidence_level=level,
                     rng=seed).confidence_interval
    return {"mean": float(d.mean()), "lo": float(ends.low), "hi": float(ends.high), "n": len(d)}
