"""Week 8: a shift written by hand."""

from collections.abc import Callable

import torch

from medssl.course.exercises.check import check


def lower_contrast(mine: Callable) -> Callable:
    """Week 8: lower_contrast(x, s): x float [B,C,H,W] in [0, 1]; each image is drawn towards its own mean m.

    x' = m + (1 - s) (x - m), m the mean of that one image over channels and pixels: s = 0 changes nothing, s = 1 leaves
    an even grey, and no image's mean brightness moves.
    """
    from medssl.views import shift

    def right(x, s):
        m = x.mean((1, 2, 3), keepdim=True)
        return m + (1 - s) * (x - m)

    def packages_own(x, s):
        return shift(x, "contrast", s)

    def towards(x, s, m):
        return m + (1 - s) * (x - m)

    mistakes = {
        "one mean for the whole batch: an image must not depend on its neighbours; x.mean((1, 2, 3), keepdim=True)":
            lambda x, s: towards(x, s, x.mean()),
        "drawn towards 0: that is brightness, the mean falls too": lambda x, s: (1 - s) * x,
        "drawn towards mid-grey 0.5: a dark image gets brighter; take its own mean": lambda x, s: towards(x, s, 0.5),
        "s and 1 - s are exchanged: s = 0 must change nothing": lambda x, s: towards(x, 1 - s, right(x, 1)),
        "(1 + s) raises the contrast: (1 - s) lowers it": lambda x, s: towards(x, -s, right(x, 1)),
        "the mean is not added again": lambda x, s: (1 - s) * (x - right(x, 1)),
    }
    grey = torch.linspace(0.1, 0.9, 2 * 3 * 4).reshape(2, 1, 3, 4)
    colour = (torch.arange(2 * 3 * 2 * 2) * 7 % 24 / 24).reshape(2, 3, 2, 2)
    hint = "m = x.mean((1, 2, 3), keepdim=True) is one number an image; then m + (1 - s) * (x - m)"
    return check(mine, right, [(grey, 0.5), (grey, 1.0), (colour, 0.3)], hint, mistakes, also=packages_own,
                 serves=packages_own)
