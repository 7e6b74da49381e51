"""Week 4: the contrastive loss, and which entries of a queue are negatives."""

from collections.abc import Callable
from functools import partial

import numpy as np

from medssl.course.exercises.check import check


def nt_xent(mine: Callable) -> Callable:
    """Week 4: nt_xent(z1, z2, temperature), embeddings [B,D] of two views of B images -> one number, with a gradient.

        loss = mean over all 2B embeddings i of  -log  exp(z_i · z_j(i) / T) / sum over k != i of exp(z_i · z_k / T)

    where every z is divided by its length, and j(i) is the other view of i.
    """
    import torch

    from medssl.losses import nt_xent as packages_own

    mistakes = {
        "the embeddings are not normalised: F.normalize(z, dim=1) makes z · z' a cosine":
            partial(_nt_xent, normalise=None),
        "normalised over dim=0, the batch: dim=1 gives every embedding, a row, the length 1":
            partial(_nt_xent, normalise=0),
        "each view is normalised over dim=0, its batch: dim=1 gives every embedding, a row, the length 1":
            lambda z1, z2, t: _nt_xent(*(z.double() / z.double().norm(dim=0) for z in (z1, z2)), t, normalise=None),
        "the self-similarity is left in the denominator: put -inf on the diagonal": partial(_nt_xent, itself=True),
        "0 on the diagonal leaves nothing out, exp(0) = 1 is still summed: put -inf there":
            partial(_nt_xent, zeroed=True),
        "the pair is missing in the denominator: 2B - 1 candidates, not 2B - 2": partial(_nt_xent, pair=False),
        "the B images of the other view are not all: the own view's repel too, 2B - 1 candidates in all":
            partial(_nt_xent, own_view=False),
        "one direction only, and only B candidates: z2 looks for its partner too, each among 2B - 1":
            partial(_nt_xent, own_view=False, both=False),
        "one direction only: z2 looks for its partner too, the mean goes over 2B": partial(_nt_xent, both=False),
        "multiplied by the temperature: divide": lambda z1, z2, t: _nt_xent(z1, z2, 1 / t),
        "the temperature is not used": lambda z1, z2, t: _nt_xent(z1, z2, 1.0),
        **{f"the temperature is fixed at {fixed}, whatever was asked for: it is an argument":
           lambda z1, z2, t, fixed=fixed: _nt_xent(z1, z2, fixed) for fixed in (0.5, 0.2, 0.1, 0.07)},
        "a sum, and not the mean: it would grow with the batch": lambda z1, z2, t: _nt_xent(z1, z2, t) * 2 * len(z1),
        "twice the loss: both directions are added, take their mean": lambda z1, z2, t: 2 * _nt_xent(z1, z2, t),
        "the minus sign is missing: small must mean good": lambda z1, z2, t: -_nt_xent(z1, z2, t),
        "the positive of row i is row i of the same view: it is i + B in [z1; z2], and i - B for the second half":
            partial(_nt_xent, itself=True, partner=lambda i, n: i),
        "the positive of row i is row i itself, whose -inf makes the loss infinite: it is i + B, or i - B":
            lambda z1, z2, t: np.inf,
        "the views are stacked [z1; z2], not in turns: the positive of row i is i + B, or i - B":
            partial(_nt_xent, partner=lambda i, n: i ^ 1),
    }
    random = torch.Generator().manual_seed(4)
    sizes = [(4, 3, 0.5, torch.float32), (3, 5, 0.2, torch.float64), (8, 16, 0.2, torch.float32)]
    cases = [(*(1.5 * torch.randn(2, b, d, generator=random, dtype=dtype)), t) for b, d, t, dtype in sizes]
    hint = "cosines of all 2B embeddings over T, -inf on the diagonal, cross-entropy with the partner as the class"
    return check(mine, _nt_xent, cases, hint, mistakes, serves=packages_own, gradient=True)


def _nt_xent(z1, z2, t, *, normalise=1, itself=False, zeroed=False, pair=True, own_view=True, both=True,
             partner=lambda i, n: (i + n) % (2 * n)):
    """The formula term by term, in float64. Each keyword does what one mistake does; normalise: over which dim."""
    import torch

    z, n = torch.cat([z1, z2]).double(), len(z1)
    z = z if normalise is None else z / z.norm(dim=normalise, keepdim=True)
    i, e, counted = torch.arange(2 * n), torch.exp(z @ z.T / t), torch.ones(2 * n, 2 * n)
    j = partner(i, n)
    if not own_view:
        counted[:n, :n] = counted[n:, n:] = 0
    if not pair:
        counted[i, j] = 0
    counted[i, i] = 1 / e[i, i].detach().float() if zeroed else float(itself)
    loss = -torch.log(e[i, j] / (e * counted).sum(1))
    return (loss if both else loss[:n]).mean()


def queue_mask(mine: Callable) -> Callable:
    """Week 4: queue_mask(ids, queue_ids) -> bool [B,K]: is slot k of the queue a negative of image i of the batch?

    Not where it holds the same image, an older view of it, and not where it is still empty (id -1).
    """
    import torch

    def right(ids, queue_ids):
        return np.array([[k != i and k != -1 for k in queue_ids.tolist()] for i in ids.tolist()])

    mistakes = {
        "turned round: True marks a negative, not what is masked": lambda ids, queue: ~right(ids, queue),
        "an empty slot (id -1) is no negative: & (queue_ids >= 0)": lambda ids, queue: ids[:, None] != queue,
        "an older view of the same image is no negative: ids[:, None] != queue_ids":
            lambda ids, queue: (queue >= 0).expand(len(ids), -1),
        "compared with its own place, not with its image: the ids say which image it is":
            lambda ids, queue: (torch.arange(len(ids))[:, None] != torch.arange(len(queue))) & (queue >= 0),
        "one axis each: rows are the batch, columns the queue": lambda ids, queue: right(ids, queue).T,
    }
    cases = [(torch.tensor([7, 2, 9]), torch.tensor([2, 5, 7, 7, -1])), (torch.tensor([0, 1]), torch.tensor([1, 0, 3])),
             (torch.tensor([4, 4]), torch.tensor([-1, -1, 6]))]
    return check(mine, right, cases, "rows are the batch, columns the queue: ids[:, None] beside queue_ids", mistakes)
