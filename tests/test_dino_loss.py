"""DINO's losses against definitions written out in loops and in float64."""

import math

import pytest
import torch

from medssl.errors import MedsslError
from medssl.losses import (
    dino_loss,
    entropies,
    koleo,
    sinkhorn,
    sinkhorn_floor,
    small_batch_warning,
    softmax_centre,
)


def views(S, T, B=5, K=7, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    student = torch.randn(S, B, K, generator=g, dtype=dtype)
    return student, torch.randn(T, B, K, generator=g, dtype=dtype).mul(3).softmax(-1)


def three_loops(student, teacher, temp, diagonal_out, weights=None):
    """The definition, number by number."""
    total = count = 0.0
    for s in range(len(student)):
        for t in range(len(teacher)):
            for b in range(student.shape[1]):
                w = 1.0 if weights is None else float(weights[s, t, b])
                if diagonal_out and s == t:
                    continue
                z = [x / temp for x in student[s, b].tolist()]
                log_sum = math.log(sum(math.exp(x) for x in z))
                total += w * -sum(p * (x - log_sum) for p, x in zip(teacher[t, b].tolist(), z, strict=True))
                count += w
    return total / count


@pytest.mark.parametrize("local", [0, 4, 8])
@pytest.mark.parametrize("diagonal_out", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_what_three_loops_say(local, diagonal_out, weighted):
    student, teacher = views(2 + local, 2)
    w = torch.rand(2 + local, 2, 5, generator=torch.Generator().manual_seed(1)) if weighted else None
    loss = dino_loss(student, teacher, student_temp=0.3, ignore_diagonal=diagonal_out, weights=w)
    assert loss.item() == pytest.approx(three_loops(student, teacher, 0.3, diagonal_out, w), rel=1e-9)


def test_weights_choose_pairs_and_only_their_ratios_count():
    student, teacher = views(4, 2)
    w = torch.zeros(4, 2, 5)
    w[3, 1, 2] = 0.02  # one pair of one image: its loss, whatever its weight
    alone = dino_loss(student[3:, 2:3], teacher[1:, 2:3])
    assert dino_loss(student, teacher, weights=w).item() == pytest.approx(alone.item())
    some = torch.rand(4, 2, 5)
    assert dino_loss(student, teacher, weights=some).item() == pytest.approx(
        dino_loss(student, teacher, weights=7 * some).item(), rel=1e-6)


def test_weights_of_zero_give_a_loss_and_a_gradient_of_zero():
    student, teacher = views(3, 2)
    student.requires_grad_()
    loss = dino_loss(student, teacher, weights=torch.zeros(3, 2, 5))
    loss.backward()
    assert loss == 0 and (student.grad == 0).all()
    one, teacher = views(1, 1)
    assert dino_loss(one.requires_grad_(), teacher, ignore_diagonal=True) == 0, "nothing but the diagonal"


def test_no_gradient_reaches_the_teacher_and_half_precision_is_not_used():
    student, teacher = views(3, 2, dtype=torch.float32)
    teacher.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = dino_loss(student.requires_grad_(), teacher)
        assert sinkhorn(student[0], 0.04).dtype == torch.float32
    loss.backward()
    assert loss.dtype == torch.float32 and teacher.grad is None
    assert loss.item() == pytest.approx(dino_loss(student.double(), teacher.double()).item(), rel=1e-5)


def log_domain(logits, temp, iterations):
    """Sinkhorn in float64 with its two scalings kept apart, as a physicist would write it."""
    x = logits.double() / temp
    rows, columns = torch.zeros(len(x), 1, dtype=torch.float64), torch.zeros(1, x.shape[1], dtype=torch.float64)
    for _ in range(iterations):
        columns = -torch.logsumexp(x + rows, 0, keepdim=True)
        rows = -torch.logsumexp(x + columns, 1, keepdim=True)
    return (x + rows + columns).exp()


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("iterations", [1, 3, 50])
@pytest.mark.parametrize("n, k", [(8, 64), (200, 16), (1, 5)])
def test_sinkhorn_is_the_float64_reference_and_finite_at_ten(scale, iterations, n, k):
    logits = scale * (2 * torch.rand(n, k, generator=torch.Generator().manual_seed(n)) - 1)
    logits[0, 0], logits[-1, -1] = scale, -scale
    q = sinkhorn(logits, 0.04, iterations)
    assert q.isfinite().all() and torch.allclose(q.sum(1), torch.ones(n), atol=1e-5)
    expected = log_domain(logits, 0.04, iterations)
    assert (q - expected).abs().max() < (1e-5 if scale == 1 else 1e-4 * iterations)  # 250 in float32: 1.5e-5 apart
    assert (sinkhorn(logits.double(), 0.04, iterations) - expected).abs().max() < 1e-11


def test_sinkhorn_uses_all_prototypes_alike_and_keeps_the_order_of_rows():
    logits = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    q, order = sinkhorn(logits, 0.1, 100), torch.randperm(64)
    assert torch.allclose(q.sum(0), torch.full((8,), 8.0), atol=1e-3)
    assert torch.allclose(sinkhorn(logits[order], 0.1), sinkhorn(logits, 0.1)[order], atol=1e-6)
    assert torch.allclose(sinkhorn(logits + 3, 0.1), sinkhorn(logits, 0.1), atol=1e-5), "a constant changes nothing"


def test_few_rows_make_targets_look_uniform_and_the_floor_is_kept():
    g = torch.Generator().manual_seed(0)
    for rows, prototypes in ((8, 1024), (16, 256), (64, 256)):
        q = sinkhorn(torch.randn(rows, prototypes, generator=g), 0.04, 20)
        mean = torch.special.entr(q).sum(1).mean()
        assert mean >= sinkhorn_floor(rows, prototypes) - 1e-4
    assert sinkhorn_floor(8, 1024) == pytest.approx(math.log(128)) and sinkhorn_floor(512, 256) == 0


def test_the_warning_gives_the_arithmetic_and_its_remedies_work():
    text = small_batch_warning(8, 1024)
    for part in ("8 rows", "1024 prototypes", "4.85", "6.93", "centring='softmax'", "at most 64", "queue of 120"):
        assert part in text
    assert small_batch_warning(8 + 120, 1024) == small_batch_warning(8, 64) == ""
    assert small_batch_warning(7, 64)
    assert "Expected: 32 rows" in small_batch_warning(31, 255) and small_batch_warning(32, 255) == ""


def test_centring_takes_the_mean_off_and_changes_no_centre():
    logits, centre = torch.randn(3, 4, 6), torch.randn(6)
    before = centre.clone()
    expected = torch.softmax((logits.double() - centre) / 0.04, -1)
    assert torch.allclose(softmax_centre(logits, centre, 0.04).double(), expected, atol=1e-5)
    assert torch.equal(centre, before)
    assert softmax_centre(logits, 1e3 * torch.eye(6)[0], 0.04)[..., 0].max() == 0, "a favourite of the past never wins"


def by_hand(z, eps=1e-4):
    total = 0.0
    for view in z:
        unit = [v / v.norm() for v in view]
        for i, a in enumerate(unit):
            d = min(float((a - b).norm()) for j, b in enumerate(unit) if i != j)
            total -= 0.5 * math.log(d * d + eps * eps)
    return total / z.shape[0] / z.shape[1]


def test_koleo_is_what_loops_say_and_leaves_the_twin_view_out():
    z = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert koleo(z).item() == pytest.approx(by_hand(z))
    twins = torch.stack([z[0], z[0] + 1e-9])  # each image beside its own other view, far from all others
    assert koleo(twins).item() == pytest.approx(koleo(z[:1]).item(), rel=1e-6), "a twin is no neighbour"
    assert koleo(z).item() == pytest.approx(koleo(z * torch.rand(2, 6, 1) * 9).item()), "directions only"


def test_koleo_of_one_point_is_finite_and_pushes_others_apart():
    point = torch.ones(1, 4, 3, requires_grad=True)
    koleo(point).backward()
    assert koleo(point).item() == pytest.approx(-math.log(1e-4), rel=1e-3) and point.grad.isfinite().all()
    z = torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    koleo(z).backward()
    assert koleo((z - 0.1 * z.grad).detach()) < koleo(z)


def test_entropies_of_what_can_be_worked_out():
    marginal, mean = entropies(torch.eye(4), 1e-3)
    assert marginal.item() == pytest.approx(math.log(4)) and mean.item() == pytest.approx(0, abs=1e-6)
    marginal, mean = entropies(torch.zeros(3, 4), 0.1)
    assert marginal.item() == pytest.approx(mean.item()) == pytest.approx(math.log(4))


@pytest.mark.parametrize("call", [
    lambda: dino_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5)),
    lambda: dino_loss(torch.zeros(2, 3, 4), torch.zeros(2, 2, 4)),
    lambda: dino_loss(torch.zeros(3, 4), torch.zeros(2, 3, 4)),
    lambda: dino_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), weights=torch.ones(2, 2)),
    lambda: dino_loss(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), student_temp=0),
    lambda: sinkhorn(torch.zeros(2, 3, 4), 0.1), lambda: sinkhorn(torch.zeros(2, 3), 0),
    lambda: sinkhorn(torch.zeros(2, 3), 0.1, 0), lambda: koleo(torch.zeros(2, 1, 4)), lambda: koleo(torch.zeros(4, 3))])
def test_what_cannot_be_meant_is_an_error(call):
    with pytest.raises(MedsslError, match="Expected"):
        call()
