"""How much do frozen features know? Linear and nearest-neighbour probes on few labels, all label draws at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import rankdata
from torch.nn.functional import softplus

from medssl.errors import MedsslError
from medssl.evaluate.checks import as_vector, check_number

CS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # strong to weak regularisation


@dataclass
class Probes:
    """S linear probes: logit = x @ weight.T + bias on the features as they are, weight [S,D], bias [S], C [S]."""

    weight: np.ndarray
    bias: np.ndarray
    C: np.ndarray

    def predict_proba(self, x) -> np.ndarray:
        """Features [N,D] -> P(class 1) float64 [S,N]."""
        return expit(self.weight @ as_features(x, "x", self.weight.shape[1]).T + self.bias[:, None])


def fit_probes(x_train, y_train, x_val, y_val, subsets: Sequence, *, Cs: Sequence[float] = CS, balanced: bool = False,
               choose: str = "nll") -> Probes:
    """One linear probe for each subset (an index array into train): features [N,D], labels [N] in {0,1}.

    Each is sklearn's LogisticRegression, to more digits: with t_i = 2 y_i - 1 it minimises

        1/2 |w|^2 + C sum_i s_i log(1 + exp(-t_i (w·x_i + b))),    s_i = 1, or n / (2 n_class) where balanced.

    C is the one with the lowest val log loss (choose="auroc": highest AUROC); of equals the smallest. Log loss also
    finds the better ranking: told one half of BreastMNIST's val, it chose Cs of 0.005 to 0.01 more AUROC on the other
    half than the AUROC of the one half did, which so few images leave to luck. All of val counts as labelled.

    x is standardised with mean and deviation of *all* of train: that needs no labels, which are what is scarce, and
    five images could not tell the deviation of a feature.
    """
    x, y, x_val, y_val, subsets = checked(x_train, y_train, x_val, y_val, subsets)
    if choose not in ("auroc", "nll") or not len(Cs):
        raise MedsslError(f"choose={choose!r}, Cs={Cs!r}.", "choose 'auroc' or 'nll', and one C or more")
    for C in Cs:
        check_number("C", C, 1e-12, 1e12, whole=False)
    mean, std = scale(x)
    x, x_val = (torch.from_numpy((a - mean) / std) for a in (x, x_val))
    weight, bias, best_C = np.zeros((len(subsets), x.shape[1])), np.zeros(len(subsets)), np.zeros(len(subsets))
    for size in {len(subset) for subset in subsets}:  # subsets of one size are one batch; equal ones are solved once
        members = [k for k, subset in enumerate(subsets) if len(subset) == size]
        unique, back = np.unique([subsets[k] for k in members], axis=0, return_inverse=True)
        found = _choose(x[unique], torch.from_numpy(y[unique]), x_val, y_val, sorted(Cs), balanced, choose)
        for whole, part in zip((weight, bias, best_C), found, strict=True):
            whole[members] = part[back.reshape(-1)]
    weight = weight / std
    return Probes(weight, bias - weight @ mean, best_C)


def _choose(x, y, x_val, y_val, Cs, balanced, choose) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B subsets of one size, x [B,n,D], y [B,n]: (weight [B,D], bias [B], C [B]), each with its best C."""
    axes, ones = None, y.mean(1, keepdim=True)
    if x.shape[1] < x.shape[2]:  # w lies in the span of the n images (a part across it costs and changes nothing):
        axes, triangle = torch.linalg.qr(x.mT)  # turn the axes, so that n numbers an image say all: x = z @ axes.T
        x = triangle.mT
    s = torch.where(y == 1, 0.5 / ones, 0.5 / (1 - ones)) if balanced else torch.ones_like(y)
    x = torch.cat([x, torch.ones_like(y)[..., None]], 2)  # b is the weight of a column of ones
    theta = torch.zeros(len(y), x.shape[2], dtype=x.dtype)
    theta[:, -1:] = 0 if balanced else torch.logit(ones)
    path = []
    for C in Cs:  # from strong to weak: each solution is the next one's first guess
        theta = newton(x, y, s, C, theta)
        path.append(theta)
    w, b = torch.stack(path, 1).split([x.shape[2] - 1, 1], 2)  # [B,Cs,r], [B,Cs,1]
    w = w if axes is None else w @ axes.mT
    logits = (w @ x_val.T + b).numpy()
    value = auroc_rows(y_val, logits) if choose == "auroc" else -np.logaddexp(0, (1 - 2 * y_val) * logits).mean(2)
    best = value.argmax(1)  # the first of equals: the smallest C
    rows = np.arange(len(best))
    return w.numpy()[rows, best], b.numpy()[rows, best, 0], np.array(Cs)[best]


def newton(x, y, s, C: float, theta):
    """Minimise 1/2 |w|^2 + C sum s log(1 + exp(-t x·theta)) for B problems at once; the last of theta is b.

    Newton's step solves H d = -g. H costs far more than a step, so it is kept while steps shrink |g| fourfold; an
    older H only makes the next step less good, for a step is halved until the loss falls: this cannot diverge.
    """
    free = torch.ones(x.shape[2], dtype=x.dtype)
    free[-1] = 0  # b is not penalised

    def logits(theta):
        return (theta[:, None] @ x.mT)[:, 0]

    def loss(theta, z):
        return (0.5 * free * theta**2).sum(1) + C * (s * softplus((1 - 2 * y) * z)).sum(1)

    z, last, factor = logits(theta), np.inf, None
    for _ in range(500):
        p = torch.sigmoid(z)
        g = free * theta + C * ((s * (p - y))[:, None] @ x)[:, 0]
        size = g.abs().amax(1)
        far = size > 1e-8 * C  # relative to C: where C is small, so is w, and the bias moves on C alone
        if not far.any():
            return theta
        if factor is None or (far & (size > 0.25 * last)).any():
            h = x * (C * s * p * (1 - p)).sqrt()[..., None]
            h = h.mT @ h + torch.diag(free + 1e-10 * (1 - free))  # b: where every p is 0 or 1, h alone would be 0
            factor, last = torch.linalg.cholesky(h), np.inf
        last = torch.minimum(size, torch.as_tensor(last))
        d = -torch.cholesky_solve(g[..., None], factor)[..., 0]
        dz, slope, old = logits(d), (g * d).sum(1), loss(theta, z)
        step = torch.ones_like(size)
        for _ in range(40):
            too_far = loss(theta + step[:, None] * d, z + step[:, None] * dz) > old + 1e-4 * step * slope + 1e-12 * old
            if not too_far.any():
                break
            step = torch.where(too_far, step / 2, step)
        theta, z = theta + step[:, None] * d, z + step[:, None] * dz
    raise MedsslError(f"The probe with C={C} did not converge.", "features of ordinary size", "use smaller Cs")


def knn_proba(x_train, y_train, x, subsets: Sequence, k: int = 20, temperature: float = 0.2) -> np.ndarray:
    """P(class 1) [S,N] of x [N,D] by the k most similar images of each subset (all, where it has fewer than k).

    Features are standardised as in fit_probes; a neighbour's vote is exp((cosine - largest cosine) / temperature), 1
    for the nearest. One more vote for each class (Laplace) keeps p off 0 and 1: p = (votes for 1 + 1) / (votes + 2).
    """
    check_number("k", k, 1)
    check_number("temperature", temperature, 1e-6, whole=False)
    x_train, y, x, _, subsets = checked(x_train, y_train, x, None, subsets)
    mean, std = scale(x_train)
    x_train, x = ((a - mean) / std for a in (x_train, x))
    x_train, x = (a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for a in (x_train, x))
    cosine, out = x @ x_train.T, []
    for subset in subsets:
        near = cosine[:, subset]
        nearest = np.argsort(-near, axis=1, kind="stable")[:, :k]
        near = np.take_along_axis(near, nearest, 1)
        vote = np.exp((near - near[:, :1]) / temperature)
        out.append(((vote * y[subset][nearest]).sum(1) + 1) / (vote.sum(1) + 2))
    return np.stack(out)


def auroc_rows(y: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUROC of each row of scores [...,N]: the mean rank of class 1, so counted that a tied pair is one half."""
    n1, n0 = y.sum(), (1 - y).sum()
    return (rankdata(scores, axis=-1)[..., y == 1].sum(-1) - n1 * (n1 + 1) / 2) / (n1 * n0)


def scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean [D], deviation [D]); a feature that never changes (a dead unit) gets deviation 1 and so stays 0."""
    std = x.std(0)
    return x.mean(0), np.where(std > 1e-7 * np.abs(x).max(0), std, 1)


def as_features(x, name: str, width: int | None = None) -> np.ndarray:
    """Tensor or array -> float64 [N,D], D = width where given."""
    x = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape or x.shape[1] != (width or x.shape[1]):
        raise MedsslError(f"{name} has shape {list(x.shape)}.", f"features [N,{width or 'D'}], one row an image",
                          "encode(model, images) gives them")
    if not np.isfinite(x).all():
        raise MedsslError(f"{name} has {np.sum(~np.isfinite(x))} values that are NaN or infinite.", "finite features",
                          "look for a diverged training")
    return x


def checked(x_train, y_train, x, y, subsets):
    """Features, labels and subsets as float64 and int arrays that belong together; y=None: x comes without labels."""
    x_train, subsets = as_features(x_train, "x_train"), [np.asarray(subset) for subset in subsets]
    x = as_features(x, "x_val" if y is not None else "x", x_train.shape[1])
    y_train, y = as_vector(y_train, "y_train"), None if y is None else as_vector(y, "y_val")
    for name, labels, features in (("train", y_train, x_train), ("val", y, x)):
        if labels is not None and (len(labels) != len(features) or not np.array_equal(np.unique(labels), (0, 1))):
            raise MedsslError(f"{name}: {len(features)} rows of features, {len(labels)} labels of the values "
                              f"{np.unique(labels)[:5].tolist()}.", "one label a row, 0 or 1, and both classes")
    for k, subset in enumerate(subsets):
        if subset.ndim != 1 or subset.dtype.kind not in "iu" or not len(subset) or len(set(subset)) < len(subset) \
                or not 0 <= subset.min() <= subset.max() < len(x_train):
            raise MedsslError(f"Subset {k} has shape {list(subset.shape)}, type {subset.dtype}.",
                              f"different whole numbers from 0 to {len(x_train) - 1}", "label_subset() gives them")
        if len(np.unique(y_train[subset])) < 2:
            raise MedsslError(f"Subset {k} has {len(subset)} labels, all of one class.", "both classes in each subset",
                              "label_subset() keeps at least one of each")
    if not subsets:
        raise MedsslError("There are no subsets.", "one index array or more", "[np.arange(len(x_train))] is all labels")
    return x_train, y_train, x, y, subsets
