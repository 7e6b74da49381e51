"""Mistakes that students make in the exercises of weeks 1-10, as they write them; for test_exercise_mistakes."""

import numpy as np
import torch
import torch.nn.functional as F


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
]
