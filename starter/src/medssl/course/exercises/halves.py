"""Week 13: which patches of the other half may be hidden, and an error that counts hidden patches only."""

from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check


def anti_mirror(mine: Callable) -> Callable:
    """Week 13: anti_mirror(left, order, k) -> bool [rows,columns], the mask of the right half, True is hidden.

    left: bool [rows,columns], the mask of the left half. order: all numbers from 0 to rows · columns - 1, shuffled; the
    patch (r, c) has the number r · columns + c. Walk along `order` and hide the first k patches that are allowed:
    right (r, c) is not where left (r, columns - 1 - c) is hidden, its mirror image.
    """

    def hide(allowed, order, k):
        mask = np.zeros(allowed.size, bool)
        mask[[place for place in order if allowed.flat[place]][:k]] = True
        return mask.reshape(allowed.shape)

    def right(left, order, k):
        return hide(~left[:, ::-1], order, k)

    def too_few(left, order, k):
        return hide(np.ones_like(left), order, k) & ~left[:, ::-1]

    mistakes = {
        "the columns are not mirrored: right (r, c) faces left (r, columns - 1 - c)": lambda m, o, k: hide(~m, o, k),
        "rows are mirrored, not columns: the midline runs from top to bottom": lambda m, o, k: hide(~m[::-1], o, k),
        "rows are mirrored, too: only the columns are": lambda m, o, k: hide(~m[::-1, ::-1], o, k),
        "the rule is turned round: only the mirror images of hidden patches are hidden":
            lambda m, o, k: hide(m[:, ::-1], o, k),
        "the rule is not kept: a patch is hidden on both sides": lambda m, o, k: hide(np.ones_like(m), o, k),
        "fewer than k: first leave out what is forbidden, then take k": too_few,
        "all allowed patches are hidden, not k of them": lambda m, o, k: ~m[:, ::-1],
        "the order is not used: walk along it, or the same places are hidden each time":
            lambda m, o, k: hide(~m[:, ::-1], np.arange(m.size), k),
        "the mask is turned round: True is hidden": lambda m, o, k: ~right(m, o, k),
        "the last k of the order, not the first": lambda m, o, k: hide(~m[:, ::-1], o[::-1], k),
    }
    random = np.random.default_rng(13)
    cases = []
    for rows, columns, k in ((2, 3, 2), (4, 3, 5), (12, 6, 25)):
        left = random.permutation(rows * columns).reshape(rows, columns) < k
        cases.append((left, random.permutation(rows * columns), k))
    return check(mine, right, cases, "allowed = ~left[:, ::-1], then the first k of `order` that it allows", mistakes)


def masked_l1(mine: Callable) -> Callable:
    """Week 13: masked_l1(drawn, image, mask) -> the mean of |drawn - image| over all pixels of hidden patches.

    drawn and image: [B,H,W]. mask: bool [B,rows,columns], True is hidden; a patch is H / rows pixels high and
    W / columns wide. Images with more hidden patches count more: it is one mean over pixels.
    """

    def pixels(mask, image, grow=np.repeat):
        rows, columns = (side // n for side, n in zip(image.shape[1:], mask.shape[1:], strict=True))
        return grow(grow(mask, rows, 1), columns, 2)

    def tiled(mask, times, axis):
        return np.concatenate([mask] * times, axis)

    def right(drawn, image, mask):
        return np.abs(drawn - image)[pixels(mask, image)].mean()

    def each(drawn, image, mask):
        return np.mean([right(*(part[k : k + 1] for part in (drawn, image, mask))) for k in range(len(mask))])

    mistakes = {
        "the mean goes over all pixels of the image: divide by the number of hidden ones":
            lambda d, x, m: (np.abs(d - x) * pixels(m, x)).mean(),
        "all pixels count: only those of hidden patches do": lambda d, x, m: np.abs(d - x).mean(),
        "the mask is turned round: these are the patches in sight": lambda d, x, m: right(d, x, ~m),
        "squared: L1 is the absolute value": lambda d, x, m: ((d - x) ** 2)[pixels(m, x)].mean(),
        "without the absolute value, too bright and too dark cancel": lambda d, x, m: (d - x)[pixels(m, x)].mean(),
        "the mask is laid side by side: a patch is H / rows pixels in a row, np.repeat and not np.tile":
            lambda d, x, m: np.abs(d - x)[pixels(m, x, tiled)].mean(),
        "a sum over pixels: take the mean": lambda d, x, m: np.abs(d - x)[pixels(m, x)].sum(),
        "divided by the patches and not by their pixels": lambda d, x, m: np.abs(d - x)[pixels(m, x)].sum() / m.sum(),
        "a mean of the means of images: one with few hidden patches then counts as much as one with many": each,
    }
    random = np.random.default_rng(31)
    cases = []
    for b, rows, columns, patch, share in ((1, 2, 2, 2, 0.5), (2, 3, 4, 2, 0.4), (3, 4, 3, 4, 0.35)):
        mask = random.random((b, rows, columns)) < share
        mask[:, 0, 0], mask[:, 0, 1] = True, False  # never all, never none
        cases.append((*random.random((2, b, rows * patch, columns * patch)), mask))
    return check(mine, right, cases, "repeat the mask to pixels, then the mean of |drawn - image| where it is True",
                 mistakes)
