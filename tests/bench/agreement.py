"""Do two ways of making views draw from the same recipe? A left out or weaker step must show, before anything is timed.

Views of two drawn pictures give each step away. The first is dark on the left and light on the right: how light it is
shows the brightness, light to dark the contrast, which side is light the flip, how the edge lies the rotation, how much
is light where the crop lies. The second has vertical stripes: how fast they follow one another shows the crop's size
whatever the contrast, how steep their flanks are whether it was blurred. Each trait is one number a view, and two sets
of numbers are compared by Kolmogorov and Smirnov's distance: the largest difference of their shares below a value.

A step left out makes 0.5 or more in its own trait (a crop, 0.8). What equal recipes may differ in makes up to 0.25 in
the traits of geometry: ours crops the turned image with one resampling, the others turn what they have cropped, some
by the nearest pixel, with black corners. That makes theirs softer too: how sharp views are is not compared with them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

VIEWS = 512
MOST = {"flip": 0.15, "brightness": 0.15, "contrast": 0.15, "rotation": 0.3, "place": 0.3, "crop": 0.3}
SHARP = {"blur": 0.15}  # of two that resample alike: blurred half of the time is 0.37


def probes(size: int) -> Tensor:
    """uint8 [2,1,size,size]: half dark and half light; two vertical stripes."""
    x = (torch.arange(size) + 0.5) / size
    rows = torch.stack([torch.where(x < 0.5, 80.0, 170.0), 125 + 45 * torch.cos(4 * torch.pi * x)])
    return rows.round().byte()[:, None, None, :].expand(2, 1, size, size).contiguous()


def traits(half: Tensor, stripes: Tensor) -> dict[str, Tensor]:
    """Numbers of float views [N,H,W] of the two pictures: {step: [N]}."""
    n, size = len(half), half.shape[-1]
    edge = size // 5  # beyond it there are no corners that a rotation has left black
    inner, lag = half[:, edge:-edge, edge:-edge], max(1, size // 7)
    dark, light = (inner.flatten(1).quantile(q, 1) for q in (0.15, 0.85))
    flank = [inner.diff(dim=d).sum((1, 2)) for d in (2, 1)]  # along x and along y
    lit = inner > (dark + light).view(n, 1, 1) / 2
    side = flank[0].sign()
    waves = stripes[:, edge:-edge, edge:-edge]
    waves = waves - waves.mean((1, 2), keepdim=True)
    power = waves.square().mean((1, 2))
    return {"brightness": dark + light, "contrast": (light - dark) / (light + dark), "flip": side,
            "rotation": flank[1] / flank[0], "place": (lit.float().mean((1, 2)) - 0.5) * side,
            "crop": (waves[:, :, lag:] - waves[:, :, :-lag]).square().mean((1, 2)) / power,
            "blur": inner.diff(dim=2).abs().amax((1, 2)) / (light - dark)}


def distance(a: Tensor, b: Tensor) -> float:
    """Kolmogorov and Smirnov's, of two samples."""
    at = torch.cat([a, b]).sort().values
    below = [torch.searchsorted(x.sort().values, at, right=True) / len(x) for x in (a, b)]
    return float((below[0] - below[1]).abs().max())


def of(views: Callable[[Tensor], Tensor], size: int, at_once: int = VIEWS) -> dict[str, Tensor]:
    """Traits of VIEWS views that views(uint8 [N,1,size,size]) -> [N,1,H,W] makes, so many of a call; always the same
    ones of what takes its chance from torch."""
    torch.manual_seed(0)
    half, stripes = ([views(picture.expand(at_once, 1, size, size).contiguous())[:, 0]
                      for _ in range(VIEWS // at_once)] for picture in probes(size))
    return traits(torch.cat(half), torch.cat(stripes))


def agree(theirs: dict[str, Tensor], ours: dict[str, Tensor], most: dict[str, float] = MOST) -> str:
    """How far apart they are, or AssertionError that names the step."""
    apart = {name: distance(theirs[name], ours[name]) for name in most}
    worst = max(apart, key=lambda name: apart[name] / most[name])
    assert apart[worst] <= most[worst], f"{worst} is drawn otherwise: {apart[worst]:.2f} apart"
    return f"{len(apart)} traits of {VIEWS} views, the furthest {max(apart.values()):.2f} apart"
