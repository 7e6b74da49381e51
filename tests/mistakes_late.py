"""Mistakes that students make in the exercises of weeks 11-15, as they write them; for test_exercise_mistakes."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation


def places(grid, mm, first, size, more=0, least=1, whole=round):
    """The tokens (z, y, x) of a block, one by one."""
    ends = [min(n, a + max(least, whole(s / d)) + more) for n, d, a, s in zip(grid, mm, first, size, strict=True)]
    return itertools.product(*map(range, first, ends))


def by_loops(grid, mm, first, size, **wrong):
    return np.array([(z * grid[1] + y) * grid[2] + x for z, y, x in places(grid, mm, first, size, **wrong)])


def gap(x, t, gaussian=None):
    phi = torch.exp(1j * torch.outer(t, x)).mean(1)
    return (phi - (torch.exp(-t**2 / 2) if gaussian is None else gaussian)).abs() ** 2


def outside(grid, blocks, number=None):
    number = number or (lambda r, c: r * grid[1] + c)
    return sorted(number(r, c) for r in range(grid[0]) for c in range(grid[1])
                  if not any(t <= r < t + h and x <= c < x + w for t, x, h, w in blocks))


def slope(function, image):
    image = image.clone().requires_grad_()
    function(image).backward()
    return image.grad


def turned_by(r):
    """Rotation vector in degrees by the real logarithm of scipy."""
    return Rotation.from_matrix(r).as_rotvec(degrees=True)


def one_by_one(s, labels, below=lambda i, k, labels: k != i, own=False, of=np.mean, rows=True, outside=True):
    """SupCon in loops: below the line stand the k with below(i, k, labels)."""
    found = []
    for i in range(len(s)):
        partners = [p for p in range(len(s)) if labels[p] == labels[i] and (own or p != i)]
        total = sum(np.exp(s[i, k]) for k in range(len(s)) if below(i, k, labels))
        if partners and outside:
            found.append(-of([s[i, p] - np.log(total) for p in partners]))
        elif partners:
            found.append(-np.log(np.mean([np.exp(s[i, p]) / total for p in partners])))
        elif not rows:
            found.append(0.0)
    return np.mean(found) if found else 0.0


def walk(left, order, k, facing=lambda r, c, w: (r, w - 1 - c)):
    """The mask of the right half, place by place."""
    mask = np.zeros_like(left)
    for place in order:
        r, c = divmod(int(place), left.shape[1])
        if mask.sum() < k and not left[facing(r, c, left.shape[1])]:
            mask[r, c] = True
    return mask


def hidden_pixels(mask, image):
    return np.array([np.kron(one, np.ones((image.shape[1] // mask.shape[1], image.shape[2] // mask.shape[2])))
                     for one in mask]).astype(bool)


def boxed(table, low, high, inside=1):
    """The mask given back by three differences, then counted where the box is."""
    mask = np.diff(np.diff(np.diff(table, axis=0), axis=1), axis=2)
    return (mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] == inside).mean()


def pairs_apart(ce, weights, keep=lambda s, t: s != t, by=None):
    above = below = 0
    for s, t in itertools.product(*map(range, ce.shape[:2])):
        if keep(s, t):
            above, below = above + (weights[s, t] * ce[s, t]).sum(), below + weights[s, t].sum()
    below = by if by is not None else below
    return above / below if below else 0.0


def entropy_of(row):
    return -sum(q * np.log(q) for q in row if q > 0)


STUDENTS = [  # exercise, what they wrote, words of the hint
    ("voxel_to_world", lambda a, zyx: (a @ [*zyx, 1])[:3], "zyx[::-1]"),
    ("voxel_to_world", lambda a, zyx: np.dot(a[:3, :3], np.flip(zyx)), "voxel 0"),
    ("voxel_to_world", lambda a, zyx: np.flip(zyx) @ a[:3, :3] + a[:3, 3], "transposed"),
    ("voxel_to_world", lambda a, zyx: np.sqrt((a[:3, :3] ** 2).sum(0)) * zyx[::-1] + a[:3, 3], "only the spacing"),
    ("voxel_to_world", lambda a, zyx: (a @ [*zyx[::-1], 1])[2::-1], "order of the array"),
    ("voxel_to_world", lambda a, zyx: (np.linalg.inv(a) @ [*zyx[::-1], 1])[:3], "do not solve"),
    ("block_tokens", lambda grid, mm, first, size: by_loops(grid, [mm[2]] * 3, first, size), "its own mm"),
    ("block_tokens", lambda grid, mm, first, size: np.sort([
        (x * grid[1] + y) * grid[0] + z for z, y, x in places(grid, mm, first, size)]), "z fastest"),
    ("block_tokens", lambda grid, mm, first, size: by_loops(grid, [1, 1, 1], first, size), "taken for tokens"),
    ("block_tokens", lambda grid, mm, first, size: by_loops(grid, mm, first, size, more=1), "one token too many"),
    ("block_tokens", lambda grid, mm, first, size: by_loops(grid, mm, first, size, least=0), "at least one"),
    ("block_tokens", lambda grid, mm, first, size: by_loops(grid, mm, first, size, whole=int), "cut off"),
    ("epps_pulley", lambda x, t, w: (w * gap(x, t)).sum(), "N is missing"),
    ("epps_pulley", lambda x, t, w: len(x) * (w * gap(x, t)).mean(), "a mean over the frequencies"),
    ("epps_pulley", lambda x, t, w: len(x) * w @ gap((x - x.mean()) / x.std(), t), "standardised"),
    ("epps_pulley", lambda x, t, w: len(x) * w @ gap(x - x.mean(), t), "centred"),
    ("epps_pulley", lambda x, t, w: len(x) * w @ (torch.cos(torch.outer(t, x)).mean(1) - torch.exp(-t**2 / 2))**2,
     "sine is missing"),
    ("epps_pulley", lambda x, t, w: len(x) * w @ (torch.exp(1j * torch.outer(t, x))
                                                  - torch.exp(-t**2 / 2)[:, None]).abs().square().mean(1), "before"),
    ("epps_pulley", lambda x, t, w: len(x) * w @ (torch.cos(torch.outer(t, x)).mean(1) - torch.exp(-t**2 / 2)
                                                  + torch.sin(torch.outer(t, x)).mean(1)), "not squared"),
    ("epps_pulley", lambda x, t, w: len(x) * gap(x, t).sum(), "not used"),
    ("epps_pulley", lambda x, t, w: len(x) * w @ gap(x, t, torch.exp(-t**2)), "exp(-t²) belongs"),
    ("epps_pulley", lambda x, t, w: len(x) * w @ gap(x, t, 0), "not taken away"),
    ("context_tokens", lambda grid, blocks: sorted({r * grid[1] + c for t, x, h, w in blocks for r in range(t, t + h)
                                                    for c in range(x, x + w)}), "those are the targets"),
    ("context_tokens", lambda grid, blocks: outside(grid, blocks, lambda r, c: c * grid[0] + r), "column by column"),
    ("context_tokens", lambda grid, blocks: outside(grid, [(a, b, h + 1, w + 1) for a, b, h, w in blocks]),
     "too large"),
    ("context_tokens", lambda grid, blocks: outside(grid, [(t, x, w, h) for t, x, h, w in blocks]), "exchanged"),
    ("context_tokens", lambda grid, blocks: outside(grid, [blocks[-1]]), "the last block"),
    ("context_tokens", lambda grid, blocks: outside(grid, [blocks[0]]), "the first block"),
    ("context_tokens", lambda grid, blocks: outside(grid, blocks, lambda r, c: r * grid[1] + c + 1), "from 1"),
    ("leak", lambda f, image, hidden, w: slope(lambda x: f(x).sum(), image)[hidden].abs().max(), "LayerNormed"),
    ("leak", lambda f, image, hidden, w: slope(lambda x: (w * f(x)).sum(), image).abs().max(), "all pixels"),
    ("leak", lambda f, image, hidden, w: slope(lambda x: (w * f(x)).sum(), image)[~hidden].abs().max(), "visible"),
    ("leak", lambda f, image, hidden, w: slope(lambda x: (w * f(x)).sum(), image)[hidden].max(), "negative"),
    ("leak", lambda f, image, hidden, w: slope(lambda x: (w * f(x)).sum(), image)[hidden].abs().mean(), "a mean"),
    ("leak", lambda f, image, hidden, w: slope(lambda x: (w * f(x)).sum(), image)[hidden].abs().sum(), "a sum"),
    ("anti_mirror", lambda left, order, k: walk(left, order, k, lambda r, c, w: (r, c)), "not mirrored"),
    ("anti_mirror", lambda left, order, k: walk(left, order, k, lambda r, c, w: (len(left) - 1 - r, c)),
     "rows are mirrored, not columns"),
    ("anti_mirror", lambda left, order, k: walk(left, order, k, lambda r, c, w: (len(left) - 1 - r, w - 1 - c)),
     "rows are mirrored, too"),
    ("anti_mirror", lambda left, order, k: walk(np.zeros_like(left), order, k), "not kept"),
    ("anti_mirror", lambda left, order, k: walk(np.zeros_like(left), order, k) & ~np.fliplr(left), "fewer than k"),
    ("anti_mirror", lambda left, order, k: np.fliplr(~left), "all allowed"),
    ("anti_mirror", lambda left, order, k: walk(left, range(left.size), k), "order is not used"),
    ("anti_mirror", lambda left, order, k: walk(left, reversed(order), k), "last k"),
    ("masked_l1", lambda d, x, m: sum(abs(d - x)[hidden_pixels(m, x)]) / x.size, "over all pixels"),
    ("masked_l1", lambda d, x, m: np.abs(x - d).mean(), "all pixels count"),
    ("masked_l1", lambda d, x, m: np.abs(d - x)[~hidden_pixels(m, x)].mean(), "turned round"),
    ("masked_l1", lambda d, x, m: np.square(x - d)[hidden_pixels(m, x)].mean(), "squared"),
    ("masked_l1", lambda d, x, m: (d[hidden_pixels(m, x)] - x[hidden_pixels(m, x)]).mean(), "cancel"),
    ("masked_l1", lambda d, x, m: np.mean([np.abs(a - b)[h].mean() for a, b, h in
                                           zip(d, x, hidden_pixels(m, x), strict=True)]), "mean of the means"),
    ("box_ratio", lambda t, low, high: t[high] / np.prod(np.array(high) - low), "subtract what lies before"),
    ("box_ratio", lambda t, low, high: (t[high] - t[low]) / np.prod(np.array(high) - low), "on a line only"),
    ("box_ratio", lambda t, low, high: (t[high] - t[low[0], high[1], high[2]] - t[high[0], low[1], high[2]]
                                        - t[high[0], high[1], low[2]]) / np.prod(np.array(high) - low), "added back"),
    ("box_ratio", lambda t, low, high: boxed(t, low, high) * np.prod(np.array(high) - low), "a count"),
    ("box_ratio", lambda t, low, high: boxed(t, low, high, inside=0), "background"),
    ("box_ratio", lambda t, low, high: boxed(t[1:, 1:, 1:], low, high), "do not add 1"),
    ("pair_loss", lambda ce, w: pairs_apart(ce, w, lambda s, t: True), "the diagonal counts, too"),
    ("pair_loss", lambda ce, w: pairs_apart(ce, w, by=w.sum()), "still divide it"),
    ("pair_loss", lambda ce, w: pairs_apart(ce, np.ones_like(w)), "not used"),
    ("pair_loss", lambda ce, w: pairs_apart(ce, w, by=ce.size - ce.shape[1] * ce.shape[2]), "number of pairs"),
    ("pair_loss", lambda ce, w: pairs_apart(ce, np.ones_like(w)) * pairs_apart(w, np.ones_like(w)), "mean weight"),
    ("pair_loss", lambda ce, w: sum((w * ce)[s, t].sum() for s, t in itertools.product(*map(range, ce.shape[:2]))
                                    if s != t) / np.float64(pairs_apart(np.ones_like(w), w, by=1)), "0 / 0"),
    ("pair_loss", lambda ce, w: pairs_apart(ce, w, lambda s, t: s >= ce.shape[1]), "first T"),
    ("mutual_information", lambda p: np.mean([entropy_of(row) for row in p]), "mean entropy of the rows"),
    ("mutual_information", lambda p: entropy_of(np.mean(p, 0)), "entropy of the mean"),
    ("mutual_information", lambda p: np.mean([entropy_of(row) for row in p]) - entropy_of(p.mean(0)), "turned round"),
    ("mutual_information", lambda p: (entropy_of(p.mean(0)) - np.mean([entropy_of(r) for r in p])) / np.log(2),
     "in bits"),
    ("centre_distance", lambda a, b, m: sum((a - b) ** 2) ** 0.5, "voxels, not mm"),
    ("centre_distance", lambda a, b, m: sum((m[:3, :3] @ (a - b)) ** 2), "mm²"),
    ("centre_distance", lambda a, b, m: sum(abs(m[:3, :3] @ (a - b))), "taxi"),
    ("centre_distance", lambda a, b, m: sum((m.diagonal()[:3] * (a - b)) ** 2) ** 0.5, "diagonal"),
    ("centre_distance", lambda a, b, m: sum(((a - b) @ m[:3, :3]) ** 2) ** 0.5, "transposed"),
    ("centre_distance", lambda a, b, m: sum((m @ [*(b - a), 1] - [0, 0, 0, 1]) ** 2) ** 0.5, "fourth column"),
    ("rotation_delta", lambda a, b: turned_by(a @ np.linalg.inv(b)), "turned round"),
    ("rotation_delta", lambda a, b: turned_by(np.linalg.inv(a) @ b), "another axis"),
    ("rotation_delta", lambda a, b: turned_by(b @ np.linalg.inv(a)) * np.pi / 180, "radians"),
    ("rotation_delta", lambda a, b: Rotation.from_matrix(b).as_euler("xyz", True)
     - Rotation.from_matrix(a).as_euler("xyz", True), "Euler"),
    ("rotation_delta", lambda a, b: turned_by(b) - turned_by(a), "small angles"),
    ("rotation_delta", lambda a, b: F.normalize(torch.tensor(turned_by(b @ a.T)), dim=0), "length 1"),
    ("rotation_delta", lambda a, b: sum(turned_by(b @ a.T) ** 2) ** 0.5, "vector of three"),
    ("supcon_loss", lambda s, y: one_by_one(s, y, lambda i, k, y: True), "leave k = i out"),
    ("supcon_loss", lambda s, y: one_by_one(s, y, own=True), "partner of itself"),
    ("supcon_loss", lambda s, y: one_by_one(s, y, rows=False), "not counted as 0"),
    ("supcon_loss", lambda s, y: one_by_one(s, y, outside=False), "mean is of logarithms"),
    ("supcon_loss", lambda s, y: one_by_one(s, y, of=np.sum), "added up"),
    ("supcon_loss", lambda s, y: -one_by_one(s, y), "minus the logarithm"),
    ("mutual_information", lambda p: entropy_of(p.mean(1)) - np.mean([entropy_of(c) for c in p.T]), "axis 0"),
    ("mutual_information", lambda p: -(p.mean(0) * np.log(p.mean(0))).sum() + (p * np.log(p)).sum() / len(p), "0 ln 0"),
]
