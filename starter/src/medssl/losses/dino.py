"""DINO's losses: say of a view which prototype the teacher gave to another view of the same image.

A network that answers the same for all images would be right each time. Against that the teacher's answers are spread
over the prototypes, by a centre that is subtracted or by Sinkhorn, and sharpened by a low temperature. All of it runs
in float32 whatever the precision around it (float64 stays): cosines / 0.04 need digits that bfloat16 does not have.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import MedsslError

TOO_FEW = 8  # prototypes for each row of a batch above which Sinkhorn has too little to go by


def dino_loss(student_logits: Tensor, teacher_probs: Tensor, *, student_temp: float = 0.1,
              ignore_diagonal: bool = False, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy (Caron et al. 2021, arXiv 2104.14294) of S student views [S,B,K] and T teacher views [T,B,K].

        loss = Σ w_stb · CE_stb / Σ w_stb,   CE_stb = - Σ_k p_tbk · log softmax(student_sb / student_temp)_k

    over all pairs of views s, t of each image b. ignore_diagonal: pairs s = t weigh 0, they are one view twice; list
    the views both networks see first, in the same order. weights [S,T,B], 0 or more: what each pair is worth (1). With
    all of them 0 the loss is 0 and so is its gradient. The teacher's p are constants.
    """
    s, t = student_logits.shape, teacher_probs.shape
    if len(s) != 3 or len(t) != 3 or s[1:] != t[1:] or not student_logits.numel() or not teacher_probs.numel() or \
            not student_temp > 0 or (weights is not None and weights.shape != (s[0], t[0], s[1])):
        raise MedsslError(f"Student {list(s)}, teacher {list(t)}, weights "
                          f"{None if weights is None else list(weights.shape)}, {student_temp=}.",
                          "[S,B,K], [T,B,K], none or [S,T,B], a temperature above 0")
    with torch.autocast(student_logits.device.type, enabled=False):
        log_q = (_precise(student_logits) / student_temp).log_softmax(-1)
        entropy = -torch.einsum("tbk,sbk->stb", teacher_probs.detach().to(log_q.dtype), log_q)
        w = torch.ones_like(entropy) if weights is None else weights.detach().to(entropy.dtype)
        if ignore_diagonal:
            w = w * ~torch.eye(s[0], t[0], dtype=torch.bool, device=w.device)[..., None]
        total = w.sum()
        return (w * entropy).sum() / torch.where(total > 0, total, 1)


@torch.no_grad()
def sinkhorn(logits: Tensor, temp: float, iterations: int = 3) -> Tensor:
    """Teacher's answers [N,K] that use every prototype alike (Cuturi 2013; Caron et al. 2020, arXiv 2006.09882).

    exp(logits / temp), each column scaled to one sum, then each row to 1, `iterations` times. The first time on
    logarithms: exp(4 / 0.04) is beyond float32. After it every row and column has an entry of 1 / NK or more, so
    plain division is safe and twice as fast. (Dividing each row by its own largest first, as some do, is another
    scaling before the first columns, and after 3 iterations another answer.)
    """
    if logits.ndim != 2 or not logits.numel() or not temp > 0 or iterations < 1:
        raise MedsslError(f"Logits {list(logits.shape)}, {temp=}, {iterations=}.",
                          "[N,K], a temperature above 0, 1 iteration or more")
    with torch.autocast(logits.device.type, enabled=False):
        q = (_precise(logits) / temp).log_softmax(0).softmax(1)
        for _ in range(iterations - 1):
            q /= q.sum(0)
            q /= q.sum(1, keepdim=True)
        return q


@torch.no_grad()
def softmax_centre(logits: Tensor, centre: Tensor, temp: float | Tensor) -> Tensor:
    """softmax((logits - centre) / temp) [..., K]: the mean of past logits [K] is taken off, so no prototype can win
    everywhere. Whoever calls moves the centre, and in training only."""
    with torch.autocast(logits.device.type, enabled=False):
        return ((_precise(logits) - centre) / temp).softmax(-1)


def koleo(z: Tensor, eps: float = 1e-4) -> Tensor:
    """KoLeo (Sablayrolles et al. 2019, arXiv 1806.03198) of z [G,B,D]: pushes each image from its nearest neighbour.

        loss = mean over views g, images b of  -½ log(d² + eps²),   d = distance of z_gb / |z_gb| to the nearest z_gc

    The neighbour is looked for among other images of the same view g: the nearest of all would be the image's own
    other view, and that one is to come closer. eps bounds the gradient by 1 / (2 eps), and where two images share one
    point it is 0, not a huge step in no direction.
    """
    if z.ndim != 3 or z.shape[1] < 2 or not z.numel():
        raise MedsslError(f"KoLeo of embeddings {list(z.shape)}.", "[G,B,D], 2 images or more", "or koleo=0")
    with torch.autocast(z.device.type, enabled=False):
        unit = F.normalize(_precise(z), dim=-1)
        with torch.no_grad():
            cosine = unit @ unit.transpose(1, 2)  # [G,B,B]
            nearest = cosine.masked_fill(torch.eye(z.shape[1], dtype=torch.bool, device=z.device), -2).argmax(-1)
        neighbour = unit.gather(1, nearest[..., None].expand_as(unit))
        return -0.5 * ((unit - neighbour).square().sum(-1) + eps**2).log().mean()


def entropies(logits: Tensor, temp: float | Tensor) -> tuple[Tensor, Tensor]:
    """(H of the mean answer, mean H of an answer) in nats, of softmax(logits [N,K] / temp). Their difference is the
    mutual information of image and prototype: 0 in every kind of collapse, ln K at most."""
    p = (_precise(logits.detach()) / temp).softmax(-1)
    return torch.special.entr(p.mean(0)).sum(), torch.special.entr(p).sum(-1).mean()


def sinkhorn_floor(rows: int, prototypes: int) -> float:
    """ln(K / rows), 0 at least: no answer has less entropy once each of K prototypes gets rows / K in all, for then no
    single answer can put more on one of them. After 3 iterations that is nearly so: a few answers end a little lower.
    """
    return max(0.0, math.log(prototypes / rows))


def small_batch_warning(rows: int, prototypes: int) -> str:
    """"" where Sinkhorn has enough rows (views · images, and a queue), else the arithmetic and what to do."""
    if rows * TOO_FEW >= prototypes:
        return ""
    floor, most, enough = sinkhorn_floor(rows, prototypes), math.log(prototypes), -(-prototypes // TOO_FEW)
    return (f"Sinkhorn spreads {rows} rows over {prototypes} prototypes: targets have hardly less entropy than "
            f"ln({prototypes} / {rows}) = {floor:.2f} of at most ln({prototypes}) = {most:.2f} nats. They look uniform "
            f"whatever is in the images, and gradient accumulation does not help. Expected: {enough} rows or more. "
            f"What to do: centring='softmax', at most {rows * TOO_FEW} prototypes, or a queue of {enough - rows} rows "
            "or more.")


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
