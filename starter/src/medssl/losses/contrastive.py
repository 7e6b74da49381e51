"""Contrastive losses: name the partner of an embedding among many candidates.

All compare directions only, so embeddings are normalised here and not by whoever calls. Logits are float32 even where
the network ran in half precision: exp(1 / 0.07) is beyond fp16, and bfloat16 cannot tell cosines 0.99 and 0.995 apart.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import MedsslError
from medssl.losses.gather import gather


def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.2) -> Tensor:
    """SimCLR's loss (Chen et al. 2020, arXiv 2002.05709) of B pairs of views, z1 and z2 [B,D].

        loss = mean over i of  -log  exp(z_i · z_j(i) / T) / sum over k != i of exp(z_i · z_k / T)

    Of each of the 2B embeddings i its other view j(i) has to be found among the 2B - 1 others. Guessing costs
    ln(2B - 1), see chance_level(); both views take both parts, so swapping them changes nothing. Of several processes
    each gives its part of the pairs and gets the loss of them all (see gather.py).
    """
    z1, z2 = (gather(z) for z in _directions(z1, z2, temperature))
    z = torch.cat([z1, z2])
    with torch.autocast(z.device.type, enabled=False):
        logits = z @ z.T / temperature  # [2B, 2B]
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        partner = torch.arange(len(z), device=z.device).roll(len(z1))  # i + B for the first half, i - B for the second
        return F.cross_entropy(logits.masked_fill(itself, -torch.inf), partner)


def info_nce_queue(q: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.2, ids: Tensor | None = None,
                   queue_ids: Tensor | None = None) -> Tensor:
    """MoCo's loss (He et al. 2020, arXiv 1911.05722): query q_i [B,D] finds its key k_i among a queue's [K,D].

        loss = mean over i of  -log  e(k_i) / (e(k_i) + sum over negatives n of i of e(n)),   e(n) = exp(q_i · n / T)

    `ids` [B] and `queue_ids` [K] say which image an embedding came from: an old key of image i is no negative of i. (A
    queue of 4096 holds 7 such keys of each of BreastMNIST's 546 images: the loss would push an image from itself.)
    A slot with a negative id is empty. Keys are constants: no gradient flows into k or the queue.
    """
    q, k = _directions(q, k.detach(), temperature)
    shapes = [None if x is None else list(x.shape) for x in (queue, ids, queue_ids)]
    fitting = [[len(queue), q.shape[1]], [len(q)], [len(queue)]]
    if shapes not in (fitting, [fitting[0], None, None]):
        raise MedsslError(f"For {len(q)} queries: queue, ids, queue_ids of shape {', '.join(map(str, shapes))}.",
                          f"{', '.join(map(str, fitting))}; or no ids at all")
    with torch.autocast(q.device.type, enabled=False):
        positive = (q * k).sum(1, keepdim=True)  # [B, 1]
        negative = q @ F.normalize(queue.detach().to(q.dtype), dim=1).T  # [B, K]
        if ids is not None:
            negative = negative.masked_fill((queue_ids < 0) | (ids[:, None] == queue_ids), -torch.inf)
        logits = torch.cat([positive, negative], 1) / temperature
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def supcon(z: Tensor, labels: Tensor, temperature: float = 0.2) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, L_out) of z [N,D] with labels int64 [N].

        loss_i = -1/|P(i)| sum over p in P(i) of log  exp(z_i · z_p / T) / sum over k != i of exp(z_i · z_k / T)

    P(i) are the others with the label of i; embeddings that have none are left out of the mean, and where nobody has
    one the loss is 0, with gradient 0. With one label a pair of views this is nt_xent. The embedding itself is cut out
    of its row of logits, not filled with a large negative number: float16 has none that is large enough. Of several
    processes each gives its part of the batch and gets the loss of the whole (see gather.py).
    """
    if labels.shape != z.shape[:1] or labels.is_floating_point():
        raise MedsslError(f"Labels of shape {list(labels.shape)} and type {labels.dtype} for {len(z)} embeddings.",
                          f"int64 of shape [{len(z)}]", "MedMNIST keeps labels as [N,1]: labels.squeeze(1)")
    z, labels = gather(_directions(z, z, temperature)[0]), gather(labels)
    with torch.autocast(z.device.type, enabled=False):
        others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
        log_share = (z @ z.T / temperature)[others].view(len(z), -1).log_softmax(1)  # [N, N-1]
        same = (labels[:, None] == labels)[others].view(len(z), -1)
        partners = same.sum(1)
        per_anchor = -(log_share * same).sum(1) / partners.clamp(min=1)  # finite times 0 where they are strangers
        return per_anchor.sum() / (partners > 0).sum().clamp(min=1)


def chance_level(batch_size: int) -> float:
    """nt_xent of a network that tells nothing apart, ln(2B - 1): where the curve of a fresh network begins."""
    return math.log(2 * batch_size - 1)


def pair_cosines(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    """(mean cosine of the B pairs, mean cosine of embeddings of different images), z1 and z2 [B,D].

    A single pair (B = 1) has no strangers: their mean is 0 then.
    """
    z1, z2 = F.normalize(z1.detach().float(), dim=1), F.normalize(z2.detach().float(), dim=1)
    with torch.autocast(z1.device.type, enabled=False):
        cosine = z1 @ z2.T
    positive = cosine.diagonal().mean()
    return positive, (cosine.sum() - cosine.trace()) / max(1, cosine.numel() - len(cosine))


def _directions(a: Tensor, b: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Both as float32 of length 1 (float64 stays float64), after a look at what was handed in."""
    if a.ndim != 2 or not a.numel() or a.shape != b.shape or not 0 < temperature < math.inf:
        raise MedsslError(f"Embeddings {list(a.shape)} and {list(b.shape)}, temperature {temperature}.",
                          "both [B,D], the same B and D (1 or more), and a temperature above 0",
                          "one row an image, in the same order in both")
    precise = torch.float64 if a.dtype == b.dtype == torch.float64 else torch.float32
    return F.normalize(a.to(precise), dim=1), F.normalize(b.to(precise), dim=1)
