"""SupCon against two loops in float64, in every precision, and where there is nothing to compare."""

import math

import pytest
import torch

from medssl.losses import supcon

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3])


def embeddings(n=7, d=5, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def loops(z, labels, t):
    """Khosla et al. 2020, L_out, one anchor after the other."""
    z = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in z.double().tolist()]
    sims = [[sum(a * b for a, b in zip(p, q, strict=True)) / t for q in z] for p in z]
    anchors = []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        if positives:
            top = max(sims[i][k] for k in range(len(z)) if k != i)
            log_sum = top + math.log(sum(math.exp(sims[i][k] - top) for k in range(len(z)) if k != i))
            anchors.append(sum(log_sum - sims[i][p] for p in positives) / len(positives))
    return sum(anchors) / len(anchors)


@pytest.mark.parametrize("t", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_equals_two_loops(t, seed):
    z = embeddings(seed=seed)
    assert supcon(z, LABELS, t).item() == pytest.approx(loops(z, LABELS.tolist(), t), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_only_in_the_input(dtype):
    """Under autocast too: the logits are float32, or nearly equal partners could not be told apart."""
    z = embeddings(dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        got = supcon(z, LABELS, 0.1)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(loops(z, LABELS.tolist(), 0.1), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gradients_are_those_of_float64_and_finite(dtype):
    z = embeddings(dtype=dtype).requires_grad_()
    exact = z.detach().double().requires_grad_()
    supcon(z, LABELS, 0.1).backward()
    supcon(exact, LABELS, 0.1).backward()
    assert torch.isfinite(z.grad).all()
    assert torch.allclose(z.grad.double(), exact.grad, atol={torch.float32: 1e-6}.get(dtype, 0.02))
    assert torch.autograd.gradcheck(lambda z: supcon(z, LABELS, 0.3), (embeddings().requires_grad_(),))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_nobody_with_a_partner_is_0_with_gradient_0(n):
    z = embeddings(n, dtype=torch.float32).requires_grad_()
    loss = supcon(z, torch.arange(n), 0.1)
    loss.backward()
    assert loss.item() == 0 and loss.requires_grad and torch.equal(z.grad, torch.zeros_like(z))


def test_all_of_one_label():
    z = embeddings()
    assert supcon(z, torch.zeros(7).long(), 0.2).item() == pytest.approx(loops(z, [0] * 7, 0.2))
    same = torch.ones(7, 5, dtype=torch.float64)
    assert supcon(same, torch.zeros(7).long(), 0.2).item() == pytest.approx(math.log(6))


def test_order_and_the_names_of_labels_say_nothing():
    z, order = embeddings(), torch.randperm(7, generator=torch.Generator().manual_seed(4))
    assert supcon(z[order], LABELS[order], 0.1).item() == pytest.approx(supcon(z, LABELS, 0.1).item())
    assert supcon(z, 100 - 7 * LABELS, 0.1).item() == pytest.approx(supcon(z, LABELS, 0.1).item())


def test_a_lonely_anchor_is_left_out_but_stays_a_stranger():
    z = embeddings(5)
    alone = supcon(z[:4], torch.tensor([0, 0, 1, 1]), 0.2).item()
    assert supcon(z, torch.tensor([0, 0, 1, 1, 9]), 0.2).item() > alone
