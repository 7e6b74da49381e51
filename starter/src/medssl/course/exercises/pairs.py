"""Week 15: how far apart two views are, how one is turned against the other, and who is whose partner in SupCon."""

from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check


def centre_distance(mine: Callable) -> Callable:
    """Week 15: centre_distance(a, b, affine) -> mm between two voxels of a scan.

    a, b: [3], the voxels' indices (x, y, z), in the order of the affine's columns. affine: [4,4], index -> place in mm.
    What moves the whole scan, its fourth column, moves both.
    """

    def right(a, b, affine):
        return np.linalg.norm(affine[:3, :3] @ (b - a))

    mistakes = {
        "voxels, not mm: the affine says how far apart they are": lambda a, b, affine: np.linalg.norm(b - a),
        "a distance is taken with its root: the squares alone are mm²": lambda a, b, m: right(a, b, m) ** 2,
        "the sum of the three ways: that is how a taxi drives": lambda a, b, m: np.abs(m[:3, :3] @ (b - a)).sum(),
        "the diagonal of the affine holds the spacings only where the scan's axes are the patient's":
            lambda a, b, m: np.linalg.norm(np.diag(m)[:3] * (b - a)),
        "the affine is transposed: its columns are the voxel axes": lambda a, b, m: right(a, b, m.T),
        "the indices are (x, y, z) already: do not reverse them": lambda a, b, m: right(a[::-1], b[::-1], m),
        "the place of b alone: the place of a has to be taken off":
            lambda a, b, m: np.linalg.norm(m[:3, :3] @ b + m[:3, 3]),
        "a difference has no origin: the fourth column falls out":
            lambda a, b, m: np.linalg.norm(m[:3, :3] @ (b - a) + m[:3, 3]),
    }  # fmt: skip
    random = np.random.default_rng(15)
    cases = []
    for spacing in ((0.8, 0.8, 5.0), (1.0, 2.0, 3.0), (6.0, 6.0, 8.0)):
        turned = np.linalg.qr(random.standard_normal((3, 3)))[0]
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = turned * spacing, random.normal(0, 100, 3)
        cases.append((*random.integers(0, 60, (2, 3)).astype(float), affine))
    return check(mine, right, cases, "place = affine[:3, :3] @ index + affine[:3, 3], for both; then their distance",
                 mistakes)


def rotation_delta(mine: Callable) -> Callable:
    """Week 15: rotation_delta(r_a, r_b) -> the rotation vector of r_b r_aᵀ in degrees, [3].

    r_a, r_b: [3,3], rotations by which two views look. The vector's direction is the axis, its length the angle, here
    above 0 and below 180°. For a rotation Q by the angle t,

        trace Q = 1 + 2 cos t,    (Q_32 - Q_23, Q_13 - Q_31, Q_21 - Q_12) = 2 sin t · axis.
    """

    def vector(q):
        t = np.arccos(np.clip((np.trace(q) - 1) / 2, -1, 1))
        w = np.array([q[2, 1] - q[1, 2], q[0, 2] - q[2, 0], q[1, 0] - q[0, 1]])
        return np.degrees(t) * w / (2 * np.sin(t))

    def right(a, b):
        return vector(b @ a.T)

    def euler(r):
        """Angles about z, y, x, as most programs give them."""
        return np.degrees([np.arctan2(r[2, 1], r[2, 2]), -np.arcsin(r[2, 0]), np.arctan2(r[1, 0], r[0, 0])])

    mistakes = {
        "turned round: from a to b is r_b r_aᵀ": lambda a, b: right(b, a),
        "r_aᵀ r_b has the right angle about another axis: the axis is wanted in the frame of the views, r_b r_aᵀ":
            lambda a, b: vector(a.T @ b),
        "the back of a rotation is its transpose: r_b r_a turns twice": lambda a, b: vector(b @ a),
        "radians: the target is in degrees": lambda a, b: np.radians(right(a, b)),
        "a difference of Euler angles is no rotation: it jumps at 180° and depends on their order":
            lambda a, b: euler(b) - euler(a),
        "a difference of two rotation vectors is right for small angles only":
            lambda a, b: vector(b) - vector(a),
        "the axis has length 1: the angle is missing": lambda a, b: right(a, b) / np.linalg.norm(right(a, b)),
        "2 sin t · axis is not yet t · axis: divide by 2 sin t":
            lambda a, b: np.degrees(2 * np.sin(np.radians(np.linalg.norm(right(a, b))))) * right(a, b)
            / np.linalg.norm(right(a, b)),
        "the angle alone: a vector of three is wanted": lambda a, b: np.linalg.norm(right(a, b)),
    }  # fmt: skip
    random = np.random.default_rng(51)

    def turn(degrees):
        """Rodrigues' formula, the way back of `vector`."""
        t = np.linalg.norm(np.radians(degrees))
        x, y, z = np.asarray(degrees) / np.linalg.norm(degrees)
        k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        return np.eye(3) + np.sin(t) * k + (1 - np.cos(t)) * k @ k

    cases = [(turn(random.uniform(-20, 20, 3)), turn(random.uniform(-20, 20, 3))) for _ in range(2)]
    cases += [(turn([0, 0, 170.0]), turn([0, 10.0, -170.0]))]
    return check(mine, right, cases, "Q = r_b @ r_a.T; the angle from its trace, the axis from what is not symmetric",
                 mistakes)


def supcon_loss(mine: Callable) -> Callable:
    """Week 15: supcon_loss(s, labels) -> SupCon of cosines that are divided by the temperature already.

    s: [N,N], symmetric. labels: [N], whole numbers. For an embedding i with partners P(i), others of its label:

        loss_i = - mean over p in P(i) of  log( exp(s_ip) / sum over k ≠ i of exp(s_ik) ),

    then the mean over those i that have a partner; 0 where nobody has one.
    """

    def each(s, labels, among=None):
        n = len(s)
        own = np.eye(n, dtype=bool)
        share = s - np.log(np.where(own if among is None else among, 0, np.exp(s)).sum(1, keepdims=True))
        same = (labels[:, None] == labels) & ~own
        return share, same, same.any(1)

    def pooled(s, labels, among=None, self_too=False):
        share, same, has = each(s, labels, among)
        if self_too:
            same = same | np.eye(len(s), dtype=bool)
            has = has | True
        loss = -(share * same).sum(1) / np.maximum(same.sum(1), 1)
        return loss[has].mean() if has.any() else 0.0

    def inside(s, labels):
        share, same, has = each(s, labels)
        total = np.where(same, np.exp(share), 0).sum(1) / np.maximum(same.sum(1), 1)
        return -np.log(total[has]).mean() if has.any() else 0.0

    def over_all(s, labels):
        share, same, _ = each(s, labels)
        return (-(share * same).sum(1) / np.maximum(same.sum(1), 1)).mean()

    def only_strangers(s, labels):
        share, same, has = each(s, labels)
        strangers = np.where(labels[:, None] == labels, 0, np.exp(s)).sum(1, keepdims=True)
        loss = -((s - np.log(strangers)) * same).sum(1) / np.maximum(same.sum(1), 1)
        return loss[has].mean() if has.any() else 0.0

    mistakes = {
        "the embedding itself stands below the line: leave k = i out of the sum":
            lambda s, y: pooled(s, y, np.zeros_like(s, bool)),
        "nobody is a partner of itself": lambda s, y: pooled(s, y, self_too=True),
        "embeddings without a partner are left out of the mean, not counted as 0": over_all,
        "partners stand below the line, too: the sum is over all k ≠ i": only_strangers,
        "the mean is of logarithms: a logarithm of the mean is another loss": inside,
        "the partners are added up: take their mean": lambda s, y: (
            lambda share, same, has: -(share * same).sum(1)[has].mean() if has.any() else 0.0)(*each(s, y)),
        "a loss is minus the logarithm": lambda s, y: -pooled(s, y),
        "where nobody has a partner the loss is 0, not NaN": lambda s, y: (
            lambda share, same, has: (-(share * same).sum(1) / same.sum(1))[has].mean())(*each(s, y)),
    }  # fmt: skip
    random = np.random.default_rng(151)
    cases = []
    for labels in ([0, 0, 1], [0, 1, 0, 1, 2, 1], [3, 3, 3, 3]):
        z = random.standard_normal((len(labels), 4))
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        cases.append((z @ z.T / 0.5, np.array(labels)))
    cases.append((cases[0][0], np.array([0, 1, 2])))
    return check(mine, pooled, cases, "for row i: s_ip less the logarithm of the sum of exp(s_ik) over k ≠ i, averaged "
                 "over partners", mistakes)
