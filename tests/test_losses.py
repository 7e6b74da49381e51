"""Contrastive losses against the papers' sums, written out in numpy, and against what must not change them."""

import math

import numpy as np
import pytest
import torch

from medssl.errors import MedsslError
from medssl.losses import chance_level, info_nce_queue, nt_xent, pair_cosines, supcon

F64 = torch.float64


def gaussian(*shape, seed=0, dtype=F64, scale=1.0):
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64) * scale
    return z.to(dtype)


# ---- the papers, term by term, with no trick against overflow: float64 needs none here


def unit(v):
    return np.asarray(v, dtype=float) / np.sqrt(sum(float(x) ** 2 for x in v))


def paper_nt_xent(z1, z2, t):
    """Chen et al. 2020, equation 1: l(i, j) over all 2B anchors."""
    z, b = [unit(v) for v in (*z1.numpy(), *z2.numpy())], len(z1)
    total = 0.0
    for i in range(2 * b):
        j = i + b if i < b else i - b
        denominator = sum(math.exp(float(z[i] @ z[k]) / t) for k in range(2 * b) if k != i)
        total -= math.log(math.exp(float(z[i] @ z[j]) / t) / denominator)
    return total / (2 * b)


def paper_moco(q, k, queue, t, ids=None, queue_ids=None):
    """He et al. 2020, equation 1, with the negatives that each query may use."""
    total = 0.0
    for i in range(len(q)):
        positive = math.exp(float(unit(q[i].numpy()) @ unit(k[i].numpy())) / t)
        denominator = positive
        for n in range(len(queue)):
            if ids is None or (queue_ids[n] >= 0 and queue_ids[n] != ids[i]):
                denominator += math.exp(float(unit(q[i].numpy()) @ unit(queue[n].numpy())) / t)
        total -= math.log(positive / denominator)
    return total / len(q)


def paper_supcon(z, labels, t):
    """Khosla et al. 2020, equation 2: the sum over positives stands outside the logarithm."""
    z, per_anchor = [unit(v) for v in z.numpy()], []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        denominator = sum(math.exp(float(z[i] @ z[a]) / t) for a in range(len(z)) if a != i)
        if positives:
            per_anchor.append(-sum(math.log(math.exp(float(z[i] @ z[p]) / t) / denominator) for p in positives)
                              / len(positives))
    return sum(per_anchor) / len(per_anchor)


LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3, 1])  # 2 and 3 have no partner
IDS, QUEUE_IDS = torch.tensor([4, 7, 9]), torch.tensor([1, 4, -1, 9, 9, 4, 2, -1, 7, 11])


def cases(dtype=F64):
    """(our value, the paper's) of every loss, over sizes and temperatures."""
    for seed, (b, d, t) in enumerate([(1, 4, 0.2), (2, 2, 0.5), (5, 3, 0.07), (7, 16, 0.2), (3, 1, 1.0)]):
        z1, z2 = gaussian(b, d, seed=seed, scale=3), gaussian(b, d, seed=seed + 50, scale=0.2)
        yield nt_xent(z1.to(dtype), z2.to(dtype), t), paper_nt_xent(z1, z2, t)
        queue = gaussian(6, d, seed=seed + 99)
        yield info_nce_queue(z1.to(dtype), z2.to(dtype), queue.to(dtype), t), paper_moco(z1, z2, queue, t)
    q, k, queue, z = (gaussian(n, 5, seed=n) for n in (3, 4, 10, 8))
    given = [x.to(dtype) for x in (q, k[:3], queue)]
    yield info_nce_queue(*given, 0.2, IDS, QUEUE_IDS), paper_moco(q, k[:3], queue, 0.2, IDS, QUEUE_IDS)
    yield supcon(z.to(dtype), LABELS, 0.3), paper_supcon(z, LABELS, 0.3)


def test_the_papers_sums_in_float64():
    for ours, paper in cases():
        assert ours.dtype == F64 and ours.item() == pytest.approx(paper, abs=1e-10, rel=1e-10)


def test_the_papers_sums_in_float32():
    """Logits reach 1 / 0.07 = 14, where float32 resolves 1e-6."""
    for ours, paper in cases(torch.float32):
        assert ours.dtype == torch.float32 and ours.item() == pytest.approx(paper, abs=5e-6, rel=2e-6)


def test_gradients():
    z1, z2, queue = (gaussian(n, 3, seed=n).requires_grad_() for n in (4, 5, 6))
    z2 = z2[:4]
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.3), (z1, z2))
    assert torch.autograd.gradcheck(lambda q: info_nce_queue(q, z2, queue, 0.3), (z1,))
    ids, queue_ids = torch.arange(4), torch.tensor([0, 1, 0, -1, 8, 2])
    assert torch.autograd.gradcheck(lambda q: info_nce_queue(q, z2, queue, 0.3, ids, queue_ids), (z1,))
    assert torch.autograd.gradcheck(lambda z: supcon(z, LABELS[:6], 0.3), (gaussian(6, 3).requires_grad_(),))


def test_a_step_down_the_gradient_pulls_pairs_together_and_pushes_the_others_apart():
    z1, z2 = (gaussian(16, 8, seed=s).requires_grad_() for s in (1, 2))
    before = pair_cosines(z1, z2)
    g1, g2 = torch.autograd.grad(nt_xent(z1, z2), (z1, z2))
    after = pair_cosines(z1 - g1, z2 - g2)
    assert after[0] > before[0] and after[1] < before[1]


# ---- what must not matter

@pytest.mark.parametrize("seed", range(10))
def test_invariances(seed):
    b, d, k = 3 + seed, 2 + seed, 4 + 3 * seed
    z1, z2, queue = gaussian(b, d, seed=seed), gaussian(b, d, seed=seed + 100), gaussian(k, d, seed=seed + 200)
    draw = torch.Generator().manual_seed(seed)
    ids, queue_ids = torch.randperm(b, generator=draw), torch.randint(-1, b, (k,), generator=draw)
    labels = torch.randint(0, 3, (b,), generator=draw)
    labels[1] = labels[0]
    order, other_order = torch.randperm(b, generator=draw), torch.randperm(k, generator=draw)
    turn = torch.linalg.qr(gaussian(d, d, seed=seed + 300))[0]
    stretch = [torch.rand(len(z), 1, generator=draw, dtype=F64) * 9 + 0.1 for z in (z1, z2, queue)]

    a = nt_xent(z1, z2)
    assert torch.allclose(a, nt_xent(z2, z1)), "views swapped"
    assert torch.allclose(a, nt_xent(z1[order], z2[order])), "images in another order"
    assert torch.allclose(a, nt_xent(z1 @ turn, z2 @ turn)), "space turned"
    assert torch.allclose(a, nt_xent(z1 * stretch[0], z2 * stretch[1])), "embeddings longer or shorter"
    assert not torch.allclose(a, nt_xent(z1, z2.roll(1, 0))), "pairs torn apart must matter"

    a = info_nce_queue(z1, z2, queue, 0.2, ids, queue_ids)
    asked = (queue[other_order], 0.2, ids, queue_ids[other_order])
    assert torch.allclose(a, info_nce_queue(z1, z2, *asked)), "queue in another order"
    assert torch.allclose(a, info_nce_queue(z1[order], z2[order], queue, 0.2, ids[order], queue_ids))
    assert torch.allclose(a, info_nce_queue(z1 @ turn, z2 @ turn, queue @ turn, 0.2, ids, queue_ids))
    long = [z * s for z, s in zip((z1, z2, queue), stretch, strict=True)]
    assert torch.allclose(a, info_nce_queue(*long, 0.2, ids, queue_ids))
    assert torch.allclose(a, info_nce_queue(z1, z2, queue, 0.2, 5 + 3 * ids, torch.where(
        queue_ids < 0, -7, 5 + 3 * queue_ids))), "only equality of ids counts, and their sign"

    a = supcon(z1, labels)
    assert torch.allclose(a, supcon(z1[order], labels[order])) and torch.allclose(a, supcon(z1 @ turn, 7 - 2 * labels))
    assert torch.allclose(a, supcon(z1 * stretch[0], labels))


# ---- special values

@pytest.mark.parametrize("b", [1, 2, 8, 256])
def test_equal_embeddings_cost_chance(b):
    z = torch.ones(b, 4)
    assert nt_xent(z, z, 0.07).item() == pytest.approx(math.log(2 * b - 1), abs=1e-5)
    assert chance_level(b) == math.log(2 * b - 1)
    assert info_nce_queue(z, z, torch.ones(11, 4)).item() == pytest.approx(math.log(12), abs=1e-5)


def test_perfect_pairs_cost_what_can_be_worked_out():
    """B orthogonal pairs: each anchor has one candidate at cosine 1 and 2B - 2 at cosine 0."""
    b, t = 6, 0.5
    z = torch.eye(b, dtype=F64)
    assert nt_xent(z, z, t).item() == pytest.approx(math.log(1 + (2 * b - 2) * math.exp(-1 / t)), abs=1e-12)
    assert info_nce_queue(z, z, -z, t).item() == pytest.approx(
        math.log(1 + (b - 1) * math.exp(-1 / t) + math.exp(-2 / t)), abs=1e-12)


def test_one_label_a_pair_makes_supcon_nt_xent():
    z1, z2 = gaussian(9, 5, seed=1), gaussian(9, 5, seed=2)
    labels = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(supcon(torch.cat([z1, z2]), labels.repeat(2), 0.1), nt_xent(z1, z2, 0.1))


def test_embeddings_without_a_partner_are_left_out_of_the_mean_but_repel():
    z = gaussian(5, 4)
    alone = supcon(z[:4], torch.tensor([0, 0, 1, 1]))
    with_one_more = supcon(z, torch.tensor([0, 0, 1, 1, 2]))
    assert with_one_more > alone
    assert with_one_more.item() == pytest.approx(paper_supcon(z, [0, 0, 1, 1, 2], 0.2))


def test_slots_of_the_same_image_and_empty_slots_do_nothing():
    q, k, queue = gaussian(3, 5, seed=1), gaussian(3, 5, seed=2), gaussian(10, 5, seed=3)
    before = info_nce_queue(q, k, queue, 0.2, IDS, QUEUE_IDS)
    garbage = queue.clone()
    garbage[QUEUE_IDS < 0] = 1e6  # never filled
    assert torch.equal(before, info_nce_queue(q, k, garbage, 0.2, IDS, QUEUE_IDS))
    garbage[1] = q[0]  # an old key of image 4, as near to its query as can be
    only_first = (q[:1], k[:1])
    assert torch.equal(info_nce_queue(*only_first, queue, 0.2, IDS[:1], QUEUE_IDS),
                       info_nce_queue(*only_first, garbage, 0.2, IDS[:1], QUEUE_IDS))
    assert info_nce_queue(q, k, garbage) > info_nce_queue(q, k, queue), "without ids it counts as a negative"
    nothing = info_nce_queue(q.requires_grad_(), k, queue, 0.2, IDS, torch.full((10,), -1))
    nothing.backward()
    assert nothing == 0 and (q.grad == 0).all(), "an empty queue: nothing to tell the key from"


def test_no_gradient_into_keys_and_queue():
    q, k, queue = (gaussian(4, 3, seed=s).requires_grad_() for s in (1, 2, 3))
    info_nce_queue(q, k, queue).backward()
    assert q.grad.abs().sum() > 0 and k.grad is None and queue.grad is None
    z1, z2 = (gaussian(4, 3, seed=s).requires_grad_() for s in (1, 2))
    nt_xent(z1, z2).backward()
    assert z1.grad.abs().sum() > 0 and z2.grad.abs().sum() > 0, "SimCLR: both views learn"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_float32_out(dtype):
    """Embeddings as a network under autocast gives them, with norms that a square in fp16 would overflow (1e3**2)."""
    z1, z2, queue = (gaussian(16, 32, seed=s, dtype=dtype, scale=1e3).requires_grad_() for s in (1, 2, 3))
    labels = torch.arange(16) // 2
    for loss in (lambda: nt_xent(z1, z2, 0.05), lambda: info_nce_queue(z1, z2, queue, 0.05),
                 lambda: supcon(z1, labels, 0.05)):
        plain = loss()
        with torch.autocast("cpu", dtype):
            under_autocast = loss()
        assert under_autocast.dtype == torch.float32 and torch.equal(plain, under_autocast)
        under_autocast.backward()
        assert torch.isfinite(under_autocast) and torch.isfinite(z1.grad).all()
    with torch.autocast("cpu", dtype):
        rough = pair_cosines(z1, z2)
    assert rough == pair_cosines(z1.float(), z2.float())
    assert torch.equal(nt_xent(z1, z2), nt_xent(z1.float(), z2.float())), "lengths taken before the cast"


@pytest.mark.parametrize("temperature", [1e-4, 1e-2, 1e2])
def test_extreme_temperatures_and_embeddings_stay_finite(temperature):
    """exp(1 / 1e-4) is beyond float64: only logsumexp gets through."""
    for z1, z2 in ((gaussian(8, 4, seed=1), gaussian(8, 4, seed=2)), (torch.zeros(8, 4), torch.zeros(8, 4)),
                   (torch.ones(8, 4), -torch.ones(8, 4)), (1e-20 * torch.ones(8, 4), torch.ones(8, 4))):
        a, b = z1.float().requires_grad_(), z2.float().requires_grad_()
        total = (nt_xent(a, b, temperature) + info_nce_queue(a, b, b, temperature)
                 + supcon(torch.cat([a, b]), torch.arange(8).repeat(2), temperature))
        total.backward()
        assert torch.isfinite(total) and torch.isfinite(a.grad).all() and total >= 0


def test_pair_cosines_against_sklearn():
    from sklearn.metrics.pairwise import cosine_similarity

    z1, z2 = gaussian(6, 4, seed=1), gaussian(6, 4, seed=2)
    table = cosine_similarity(z1, z2)
    positive, negative = pair_cosines(z1.requires_grad_(), z2)
    assert positive.item() == pytest.approx(np.diag(table).mean(), abs=1e-6) and not positive.requires_grad
    assert negative.item() == pytest.approx(table[~np.eye(6, dtype=bool)].mean(), abs=1e-6)


def test_a_single_pair_has_no_strangers():
    positive, negative = pair_cosines(gaussian(1, 4), gaussian(1, 4, scale=3))
    assert positive.item() == pytest.approx(1, abs=1e-6) and negative == 0


# ---- mistakes are named

Z = gaussian(4, 3)


@pytest.mark.parametrize(("call", "says"), [
    (lambda: nt_xent(Z, gaussian(4, 2)), "same B and D"),
    (lambda: nt_xent(Z, gaussian(3, 3)), "same B and D"),
    (lambda: nt_xent(Z[0], Z[0]), r"both \[B,D\]"),
    (lambda: nt_xent(Z[:0], Z[:0]), "1 or more"),
    (lambda: nt_xent(Z, Z, 0.0), "temperature"),
    (lambda: nt_xent(Z, Z, -0.2), "temperature"),
    (lambda: nt_xent(Z, Z, math.nan), "temperature"),
    (lambda: nt_xent(Z, Z, math.inf), "temperature"),
    (lambda: info_nce_queue(Z, gaussian(5, 3), Z), "same B and D"),
    (lambda: info_nce_queue(Z, Z, gaussian(5, 2)), r"\[5, 3\]"),
    (lambda: info_nce_queue(Z, Z, Z, ids=torch.arange(4)), "no ids at all"),
    (lambda: info_nce_queue(Z, Z, Z, queue_ids=torch.arange(4)), "no ids at all"),
    (lambda: info_nce_queue(Z, Z, Z, 0.2, torch.arange(1), torch.arange(4)), r"\[4\]"),  # would be broadcast
    (lambda: info_nce_queue(Z, Z, Z, 0.2, torch.arange(4)[:, None], torch.arange(4)), r"\[4, 1\]"),
    (lambda: info_nce_queue(Z, Z, Z, 0.2, torch.arange(4), torch.arange(3)), r"\[3\]"),
    (lambda: supcon(Z, torch.zeros(4, 1).long()), r"squeeze\(1\)"),
    (lambda: supcon(Z, torch.zeros(4)), "int64"),
    (lambda: supcon(Z, torch.zeros(3).long()), r"\[4\]"),
])  # fmt: skip
def test_errors(call, says):
    with pytest.raises(MedsslError, match=says):
        call()
