"""Week 14: the share of patient in a box, the loss of pairs of crops, and the number that sees every collapse."""

from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check


def box_ratio(mine: Callable) -> Callable:
    """Week 14: box_ratio(table, low, high) -> the share of foreground voxels in the box, low inside, high outside.

    table: [Z+1,Y+1,X+1], a summed-area table: table[z,y,x] counts the foreground voxels below (z, y, x), that is in
    mask[:z, :y, :x]. low, high: three whole numbers each, the box is mask[low[0]:high[0], low[1]:high[1], …]. Eight
    entries of the table are enough, whatever the size of the box.
    """

    def count(t, low, high):
        for a, b in zip(low, high, strict=True):  # axis after axis: up to the upper face, less up to the lower one
            t = t[b].astype(float) - t[a]
        return t

    def voxels(low, high):
        return np.prod(np.subtract(high, low))

    def right(table, low, high):
        return count(table, low, high) / voxels(low, high)

    def no_way_back(t, low, high):
        """The upper corner less three faces, and nothing added back."""
        faces = [tuple(low[i] if i == axis else high[i] for i in range(3)) for axis in range(3)]
        return (float(t[tuple(high)]) - sum(float(t[face]) for face in faces)) / voxels(low, high)

    mistakes = {
        "the upper corner alone counts all voxels from the origin on: subtract what lies before the box":
            lambda t, low, high: t[tuple(high)] / voxels(low, high),
        "upper corner less lower corner is right on a line only: in 3D eight corners count":
            lambda t, low, high: (float(t[tuple(high)]) - t[tuple(low)]) / voxels(low, high),
        "what two faces subtract twice has to be added back, and the corner of all three subtracted": no_way_back,
        "the sign is turned round: the corner (high, high, high) is +": lambda t, low, high: -right(t, low, high),
        "a count: divide by the voxels of the box": count,
        "divided by the voxels of the whole volume: divide by those of the box":
            lambda t, low, high: count(t, low, high) / np.prod(np.array(t.shape) - 1),
        "the table has a first plane of zeros already: do not add 1 to the corners":
            lambda t, low, high: right(t, np.add(low, 1), np.add(high, 1)),
        "high is outside of the box: table[high] needs no - 1":
            lambda t, low, high: count(t, low, np.subtract(high, 1)) / voxels(low, high),
        "the share of background: the table counts foreground": lambda t, low, high: 1 - right(t, low, high),
    }  # fmt: skip
    random = np.random.default_rng(14)
    cases = []
    for shape, low, high in (((4, 5, 6), (1, 1, 2), (3, 4, 5)), ((6, 6, 7), (0, 2, 1), (4, 5, 6)),
                             ((9, 7, 8), (3, 1, 2), (8, 6, 7))):
        mask = random.random(shape) < 0.6
        table = np.pad(mask, ((1, 0),) * 3).astype(np.int64).cumsum(0).cumsum(1).cumsum(2)
        cases.append((table, low, high))
    return check(mine, right, cases, "along each axis: the table at high less the table at low; then divide", mistakes)


def pair_loss(mine: Callable) -> Callable:
    """Week 14: pair_loss(ce, weights) -> the weighted mean over pairs of crops, without the diagonal; 0 if none counts.

    ce: [S,T,B], the cross-entropy of student crop s and teacher crop t of scan b. The first T student crops are the
    teacher's own: of s = t nothing can be learnt. weights: [S,T,B], 0 or more. sum(weights · ce) / sum(weights) over
    all pairs with s ≠ t; where no such pair has a weight, 0 and not NaN.
    """

    def diagonal(ce):
        return np.eye(*ce.shape[:2], dtype=bool)[..., None] | np.zeros(ce.shape, bool)

    def right(ce, weights):
        w = np.where(diagonal(ce), 0, weights)
        return (w * ce).sum() / w.sum() if w.sum() > 0 else 0.0

    def safe(a, b):
        return a / b if b > 0 else 0.0

    mistakes = {
        "the diagonal counts, too: of a crop and itself nothing is learnt":
            lambda ce, w: safe((w * ce).sum(), w.sum()),
        "the diagonal is left out of the sum, but its weights still divide it":
            lambda ce, w: safe((np.where(diagonal(ce), 0, w) * ce).sum(), w.sum()),
        "only the diagonal counts: it is what is to be left out": lambda ce, w: safe((diagonal(ce) * w * ce).sum(),
                                                                                    (diagonal(ce) * w).sum()),
        "the mean weight times the mean loss only changes the step: weigh each pair":
            lambda ce, w: ce[~diagonal(ce)].mean() * w[~diagonal(ce)].mean(),
        "the weights are not used": lambda ce, w: ce[~diagonal(ce)].mean(),
        "divided by the number of pairs: divide by the sum of their weights":
            lambda ce, w: (w * ce)[~diagonal(ce)].mean(),
        "0 / 0: without any weight the loss is 0": lambda ce, w: (np.where(diagonal(ce), 0, w) * ce).sum()
            / np.float64(np.where(diagonal(ce), 0, w).sum()),
        "weights may add up to less than 1: divide by their sum, whatever it is, where it is above 0":
            lambda ce, w: (np.where(diagonal(ce), 0, w) * ce).sum() / max(np.where(diagonal(ce), 0, w).sum(), 1),
        "a mean for each scan, then their mean: a scan of little weight then counts as much as any":
            lambda ce, w: np.mean([right(ce[..., b : b + 1], w[..., b : b + 1]) for b in range(ce.shape[2])]),
        "all pairs of the first T student crops are left out, not those with s = t only":
            lambda ce, w: safe((w * ce)[ce.shape[1] :].sum(), w[ce.shape[1] :].sum()),
    }  # fmt: skip
    random = np.random.default_rng(41)
    cases = [(random.random((s, t, b)) * 3, random.random((s, t, b))) for s, t, b in ((4, 2, 3), (6, 2, 4), (5, 3, 2))]
    cases.append((random.random((4, 2, 3)), np.zeros((4, 2, 3))))
    cases.append((random.random((4, 2, 3)), random.random((4, 2, 3)) / 100))
    return check(mine, right, cases, "set the weights of s = t to 0, then sum(w · ce) / sum(w)", mistakes)


def mutual_information(mine: Callable) -> Callable:
    """Week 14: mutual_information(p) -> H(mean of p) - mean of H(p), in nats.

    p: [N,K], a row a crop, each a distribution over K prototypes. H(q) = -sum q ln q, and 0 ln 0 = 0. It is 0 where all
    rows are alike, be they uniform, one-hot or anything else, and at most ln of the smaller of N and K.
    """

    def entropy(q, axis=-1, log=np.log):
        return -(q * log(np.where(q > 0, q, 1))).sum(axis)

    def right(p):
        return entropy(p.mean(0)) - entropy(p).mean()

    mistakes = {
        "the mean entropy of the rows: it cannot tell a uniform collapse from crops that are hard to tell":
            lambda p: entropy(p).mean(),
        "the entropy of the mean: rows that are all uniform have the largest there is": lambda p: entropy(p.mean(0)),
        "turned round: H(mean) less the mean of H": lambda p: -right(p),
        "in bits: take the natural logarithm": lambda p: right(p) / np.log(2),
        "a share of ln K: leave it in nats": lambda p: right(p) / np.log(p.shape[1]),
        "the mean goes over prototypes: average the crops, axis 0":
            lambda p: entropy(p.mean(1)) - entropy(p, 0).mean(),
        "the entropies of the rows are added up: take their mean": lambda p: entropy(p.mean(0)) - entropy(p).sum(),
        "0 ln 0 is 0, not NaN": lambda p: -(p.mean(0) * np.log(p.mean(0))).sum() + (p * np.log(p)).sum(1).mean(),
    }
    random = np.random.default_rng(4)
    soft = [np.exp(3 * random.standard_normal(shape)) for shape in ((6, 4), (5, 8), (12, 3))]
    cases = [(q / q.sum(1, keepdims=True),) for q in soft]
    cases += [(np.full((4, 5), 0.2),), (np.eye(3)[[0, 0, 0, 0]],), (np.eye(4)[[0, 1, 2, 3, 1]],)]
    return check(mine, right, cases, "average p over the crops first; then entropy(that) less the mean entropy of rows",
                 mistakes)
