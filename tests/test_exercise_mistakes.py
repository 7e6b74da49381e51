"""Mistakes as students make them, in code of their own: told by name, and nobody is told of one they did not make."""

import copy
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from medssl.course import exercises
from medssl.course.exercises import (
    baseline,
    calibration,
    check,
    contrastive,
    crops,
    halves,
    operating,
    pairs,
    prediction,
    probing,
    reproducing,
    shifts,
    volumes,
    writing,
)

ROOMS = (baseline, contrastive, probing, calibration, operating, reproducing, shifts, prediction, volumes, halves,
         crops, pairs, writing)
EXERCISES = {name: room for room in ROOMS for name in vars(room)
             if name in exercises.__all__ and getattr(room, name).__module__ == room.__name__}


def logits(z1, z2, t, mask=True):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    s = z @ z.T / t
    return s.masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9) if mask else s


def partner(n):
    return torch.cat([torch.arange(n, 2 * n), torch.arange(n)])


def not_normalised(z1, z2, t):
    z = torch.cat([z1, z2])
    s = (z @ z.T / t).masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf"))
    return F.cross_entropy(s, partner(len(z1)))


def without_the_pair(z1, z2, t):
    s, n = logits(z1, z2, t), len(z1)
    positive = s[torch.arange(2 * n), partner(n)]
    rest = s.clone()
    rest[torch.arange(2 * n), partner(n)] = -1e9
    return (rest.logsumexp(1) - positive).mean()


def clip_loss(z1, z2, t):
    s = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / t
    return (F.cross_entropy(s, torch.arange(len(s))) + F.cross_entropy(s.T, torch.arange(len(s)))) / 2


def in_turns(z1, z2, t):
    return F.cross_entropy(logits(z1, z2, t), torch.arange(2 * len(z1)).reshape(-1, 2).flip(1).flatten())


def zero_on_the_diagonal(z1, z2, t):
    s = logits(z1, z2, t, mask=False)
    return F.cross_entropy(s.fill_diagonal_(0), partner(len(z1)))


def normalised_over(dim, stacked):
    def mine(z1, z2, t):
        z = F.normalize(torch.cat([z1, z2]), dim=dim) if stacked else torch.cat([F.normalize(z, dim=dim)
                                                                                  for z in (z1, z2)])
        return F.cross_entropy((z @ z.T / t).fill_diagonal_(float("-inf")), partner(len(z1)))
    return mine


def bins_of(p):
    return np.minimum((p * 10).astype(int), 9)


def ece_by_bins(y, p, confidence=None, hit=None, weighted=True):
    """As many write it, with half-open bins: np.digitize."""
    confidence, hit = p if confidence is None else confidence, y if hit is None else hit
    gaps = [(np.mean(bins_of(confidence) == b), abs(hit[bins_of(confidence) == b].mean()
             - confidence[bins_of(confidence) == b].mean())) for b in np.unique(bins_of(confidence))]
    return sum(w * g for w, g in gaps) if weighted else np.mean([g for _, g in gaps])


def broadcast_ece(y, p):
    y = y.reshape(-1, 1)  # as MedMNIST stores it
    predicted = (p >= 0.5).astype(int)
    return ece_by_bins(y, p, hit=(predicted == y).mean(1))


def called(y, p, t):
    return p >= t, y == 1


def rates_of_the_flipped(y, p, t):
    said, y = p < t, 1 - y
    return (said & (y == 1)).sum() / (y == 1).sum(), (said & (y == 0)).sum() / (y == 0).sum()


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
    ("optimiser_steps", lambda n, b, e: e * (n // b), "the last batch"),
    ("optimiser_steps", lambda n, b, e: int(np.ceil(n * e / b)), "never spans two epochs"),
    ("optimiser_steps", lambda n, b, e: n / b * e, "a fraction of a step"),
    ("majority_accuracy", lambda y: y.float().mean(), "share of class 1"),
    ("majority_accuracy", lambda y: int(torch.bincount(y).max()), "is a count"),
    ("majority_accuracy", lambda y: torch.mode(y).values, "majority class itself"),
    ("paired_gap", lambda a, b: (np.mean(b) - np.mean(a)) / np.std(np.subtract(b, a), ddof=1), "standard error is std"),
    ("paired_gap", lambda a, b: np.mean(np.subtract(b, a)) / (np.std(np.subtract(b, a)) / len(a) ** 0.5), "ddof=1"),
    ("paired_gap", lambda a, b: (np.mean(b) - np.mean(a))
     / np.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b)), "not paired"),
    ("ece", lambda y, p: ece_by_bins(y, p, hit=(y == (p > 0.5))), "mixed axes"),
    ("ece", broadcast_ece, "[N,N]"),
    ("ece", lambda y, p: ece_by_bins(y, p, weighted=False), "not weighted"),
    ("ece", lambda y, p: ece_by_bins(y, p, np.maximum(p, 1 - p), y == (p >= 0.5)), "top-label"),
    ("ece", lambda y, p: abs(y.mean() - p.mean()), "cancel"),
    ("nt_xent", not_normalised, "not normalised"),
    ("nt_xent", lambda a, b, t: F.cross_entropy(logits(a, b, t, mask=False), partner(len(a))), "self-similarity"),
    ("nt_xent", without_the_pair, "2B - 2"),
    ("nt_xent", clip_loss, "the own view's repel too"),
    ("nt_xent", lambda a, b, t: F.cross_entropy(logits(a, b, t)[: len(a)], partner(len(a))[: len(a)]), "one direction"),
    ("nt_xent", lambda a, b, t: F.cross_entropy(F.normalize(a) @ F.normalize(b).T / t, torch.arange(len(a))),
     "one direction only, and only B candidates"),
    ("nt_xent", lambda a, b, t: F.cross_entropy(logits(a, b, 1 / t), partner(len(a))), "multiplied"),
    ("nt_xent", lambda a, b, t: F.cross_entropy(logits(a, b, t), partner(len(a)), reduction="sum"), "a sum"),
    ("nt_xent", lambda a, b, t: F.cross_entropy(logits(a, b, t, mask=False), torch.arange(2 * len(a))), "same view"),
    ("nt_xent", in_turns, "not in turns"),
    ("nt_xent", lambda a, b, t: logits(a, b, t).log_softmax(1)[range(2 * len(a)), partner(len(a))].mean(), "minus"),
    ("nt_xent", zero_on_the_diagonal, "0 on the diagonal leaves nothing out"),
    ("nt_xent", normalised_over(0, stacked=True), "normalised over dim=0"),
    ("nt_xent", normalised_over(0, stacked=False), "each view is normalised over dim=0"),
    ("nt_xent", lambda a, b, t: F.cross_entropy(logits(a, b, 0.2), partner(len(a))), "fixed at 0.2"),
    ("nt_xent", lambda a, b, t, temperature=0.5: F.cross_entropy(logits(a, b, temperature), partner(len(a))),
     "fixed at 0.5"),
    ("queue_mask", lambda ids, queue: ids.view(-1, 1) != queue.view(1, -1), "empty slot"),
    ("queue_mask", lambda ids, queue: (queue != -1).repeat(len(ids), 1), "older view"),
    ("queue_mask", lambda ids, queue: (ids[:, None] == queue) | (queue == -1), "turned round"),
    ("queue_mask", lambda ids, queue: (queue[:, None] != ids) & (queue[:, None] >= 0), "one axis each"),
    ("label_counts", lambda y, f: [max(1, int(f * (y == c).sum())) for c in (0, 1)], "cut off"),
    ("label_counts", lambda y, f: [(k := round((n := round(f * len(y))) * (1 - y.float().mean().item()))), n - k],
     "left with no image"),
    ("label_counts", lambda y, f: [max(1, round(f * (y == c).sum().item())) for c in (0, 1)],
     "max(1, round(n_k · fraction)) rounds each class by itself: the total may be one off"),
    ("label_counts", lambda y, f: [round(f * (y == c).sum().item()) for c in (0, 1)], "may end with no image"),
    ("label_counts", lambda y, f: torch.bincount(y[: round(f * len(y))], minlength=2), "not stratified"),
    ("label_counts", lambda y, f: [int(f * len(y) + 0.5) // 2] * 2, "as many of both"),
    ("standardise", lambda a, b: (b - b.mean(0)) / np.maximum(b.std(0), 1e-9), "std of test"),
    ("standardise", lambda a, b: (b - a.mean(0)) / a.std(0), "0 / 0"),
    ("standardise", lambda a, b: (b - a.mean()) / a.std(), "one mean and std for all"),
    ("standardise", lambda a, b: (b - np.r_[a, b].mean(0)) / (np.r_[a, b].std(0) + 1e-9), "together"),
    ("may_claim", lambda ssl, rungs: np.mean(ssl) > max(np.mean(r) for r in rungs), "higher mean"),
    ("may_claim", lambda ssl, rungs: any((d := ssl - r).mean() > 2 * d.std(ddof=1) / 2 for r in rungs), "one rung"),
    ("may_claim", lambda ssl, rungs: all((d := ssl - r).mean() - 2 * d.std(ddof=1) > 0 for r in rungs), "std / sqrt"),
    ("may_claim", lambda ssl, rungs: all(
        ssl.mean() - r.mean() > 2 * np.hypot(ssl.std(ddof=1), r.std(ddof=1)) / 2 for r in rungs), "not paired"),
    ("may_claim", lambda ssl, rungs: all((d := ssl - r).mean() > 2 * np.std(d) / len(d) ** 0.5 for r in rungs),
     "ddof=1"),
    ("brier", lambda y, p: ((p - y) ** 2 + ((1 - p) - (1 - y)) ** 2).mean(), "twice"),
    ("brier", lambda y, p: np.mean((p - y) ** 2) ** 0.5, "root"),
    ("brier", lambda y, p: np.mean(np.abs(p - y)), "absolute"),
    ("apply_temperature", lambda p, t: 1 / (1 + np.exp(-np.log(p / (1 - p)) * t)), "multiplied"),
    ("apply_temperature", lambda p, t: p / t, "p itself"),
    ("apply_temperature", lambda p, t: torch.sigmoid(torch.tensor(p) / t), "logit is forgotten"),
    ("apply_temperature", lambda p, t: p ** (1 / t), "p^(1/T) alone"),
    ("apply_temperature", lambda p, t: np.power(p, t), "p^T"),
    ("temperature_nll", lambda y, p, t: F.binary_cross_entropy_with_logits(
        torch.logit(torch.tensor(p)) * t, torch.tensor(y).double()), "multiplied"),
    ("temperature_nll", lambda y, p, t: F.binary_cross_entropy(
        torch.tensor(p), torch.tensor(y).double()), "T is not used"),
    ("temperature_nll", lambda y, p, t: F.binary_cross_entropy_with_logits(
        torch.logit(torch.tensor(p)) / t, torch.tensor(y).double(), reduction="sum"), "a sum"),
    ("seed_band", lambda v, k: (np.mean(v) - k * np.std(v), np.mean(v) + k * np.std(v)), "n - 1"),
    ("seed_band", lambda v, k: [np.mean(v) + s * k * np.std(v, ddof=1) / len(v) ** 0.5 for s in (-1, 1)],
     "error of the mean"),
    ("seed_band", lambda v, k: (sorted(v)[0], sorted(v)[-1]), "smallest and largest"),
    ("threshold_for_tpr", lambda y, p, target: min(t for t in p if (p[y == 1] >= t).mean() >= target), "lowest"),
    ("threshold_for_tpr", lambda y, p, target: max(
        [t for t in p if (p[y == 1] > t).mean() >= target], default=np.nan), "> leaves out"),
    ("threshold_for_tpr", lambda y, p, target: np.quantile(p, 1 - target), "quantile of all scores"),
    ("threshold_for_tpr", lambda y, p, target: np.quantile(p[y == 1], 1 - target), "between two scores"),
    ("threshold_for_tpr", lambda y, p, target: np.quantile(p[y == 1], 1 - target, method="higher"), "'higher'"),
    ("threshold_for_tpr", lambda y, p, target: np.quantile(p[y == 1], 1 - target, method="lower"), "'lower'"),
    ("threshold_for_tpr", lambda y, p, target: np.sort(p[y == 1])[int(np.floor((1 - target) * sum(y)))],
     "cut off to 0"),
    ("operating_point", lambda y, p, t: ((p >= t) @ y / (p >= t).sum(), (p >= t)[y == 0].mean()), "precision"),
    ("operating_point", lambda y, p, t: (((p >= t) & (y == 1)).sum() / len(y), ((p >= t) & (y == 0)).sum() / len(y)),
     "all N"),
    ("operating_point", rates_of_the_flipped, "positive class is turned"),
    ("operating_point", lambda y, p, t: ((p > t)[y == 1].mean(), (p > t)[y == 0].mean()), "threshold itself"),
    ("expected_cost", lambda y, p, t, fn, fp: np.where(p >= t, fn * (y == 0), fp * (y == 1)).mean(), "swapped"),
    ("expected_cost", lambda y, p, t, fn, fp: np.where(p >= t, fp * (y == 0), fn * (y == 1)).sum(), "a sum"),
    ("expected_cost", lambda y, p, t, fn, fp: fn * (p[y == 1] < t).mean() + fp * (p[y == 0] >= t).mean(), "rates"),
    ("gap_of_gaps", lambda a, b: [x - y for x, y in zip(a, b, strict=True)], "upside down"),
    ("gap_of_gaps", lambda a, b: (a[0] - b[0], a[1] - b[2], a[2] - b[1]), "worst side"),
    ("gap_of_gaps", lambda a, b: (b[0] - a[0], b[0] - a[0] - np.hypot(b[0] - b[1], a[2] - a[0]),
                                  b[0] - a[0] + np.hypot(b[2] - b[0], a[0] - a[1])), "turned"),
    ("lower_contrast", lambda x, s: x.mean() + (1 - s) * (x - x.mean()), "neighbours"),
    ("lower_contrast", lambda x, s: x * (1 - s), "brightness"),
    ("lower_contrast", lambda x, s: 0.5 + (1 - s) * (x - 0.5), "mid-grey"),
    ("lower_contrast", lambda x, s: torch.lerp(x.mean((1, 2, 3), keepdim=True), x, s), "exchanged"),
    ("lower_contrast", lambda x, s: (1 - s) * (x - x.mean((1, 2, 3), keepdim=True)), "not added"),
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


def test_the_answers_of_week_15_in_code_of_its_own(capsys):
    apart = lambda a, b, m: math.dist((m @ [*a, 1])[:3], (m @ [*b, 1])[:3])  # noqa: E731
    log = lambda a, b: turned_by(b @ a.T)  # noqa: E731
    assert exercises.centre_distance(apart) is apart and exercises.rotation_delta(log) is log
    assert exercises.supcon_loss(one_by_one) is one_by_one and capsys.readouterr().out.count("right: ") == 3


def test_the_answers_of_week_14_in_code_of_its_own(capsys):
    assert exercises.box_ratio(boxed) is boxed and exercises.pair_loss(pairs_apart) is pairs_apart
    by_rows = lambda p: np.mean([q * np.log(q / m) for row in p for q, m in zip(row, p.mean(0), strict=True) if q > 0]  # noqa: E731
                                + [0.0] * int((p == 0).sum())) * p.shape[1]  # the mean divergence from the mean
    assert exercises.mutual_information(by_rows) is by_rows and capsys.readouterr().out.count("right: ") == 3


def test_both_answers_of_week_13_in_code_of_its_own(capsys):
    assert exercises.anti_mirror(walk) is walk
    loops = lambda d, x, m: sum(abs(d - x)[hidden_pixels(m, x)]) / hidden_pixels(m, x).sum()  # noqa: E731
    assert exercises.masked_l1(loops) is loops and capsys.readouterr().out.count("right: ") == 2


@pytest.mark.parametrize(("exercise", "mine", "words"), STUDENTS, ids=[f"{e}-{w[:20]}" for e, _, w in STUDENTS])
def test_a_known_mistake_is_told_by_its_name(exercise, mine, words, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert getattr(exercises, exercise)(mine) is not mine
    told = capsys.readouterr().out
    hint = next(line for line in told.splitlines() if line.startswith("hint: "))
    assert words in hint, told
    assert len(told) < 700 and len(told.splitlines()) == 3


def test_every_exercise_knows_at_least_three_mistakes_and_each_was_tried():
    tried = {name: sum(exercise == name for exercise, _, _ in STUDENTS) for name in EXERCISES}
    assert set(EXERCISES) | {"predict"} == set(exercises.__all__) and min(tried.values()) >= 3, tried


@pytest.mark.parametrize("name", EXERCISES)
def test_no_mistake_is_right_and_no_two_are_alike(name, monkeypatch):
    """Or an honest answer, or another mistake, would be told something that is not so."""
    seen = {}
    monkeypatch.setattr(EXERCISES[name], "check", lambda mine, right, cases, hint, mistakes, **_:
                        seen.update(right=right, cases=cases, mistakes=mistakes, hint=hint))
    getattr(exercises, name)(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = {words: [check._numbers(wrong(*copy.deepcopy(case))) for case in seen["cases"]]
                   for words, wrong in ({"right": seen["right"]} | seen["mistakes"]).items()}
    for (one, a), (other, b) in itertools.combinations(answers.items(), 2):
        assert not all(check._agree(x, y, equal_nan=True) for x, y in zip(a, b, strict=True)), (one, other)
    assert all(len(words) < 125 for words in seen["mistakes"]) and seen["hint"] not in seen["mistakes"]
