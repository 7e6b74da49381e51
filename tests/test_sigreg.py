"""SIGReg: equal to its definition, low for Gaussian embeddings only, and able to undo a collapse."""

import math
import sys

import numpy as np
import pytest
import torch
from scipy import integrate

from medssl.errors import MedsslError
from medssl.losses import gaussian_level, random_directions, sigreg

SEEDS = range(10)


def seeded(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(n=256, d=32, seed=0) -> torch.Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


def directions(d=32, m=256, seed=99) -> torch.Tensor:
    return random_directions(d, m, seeded(seed))


def by_the_definition(z, a, knots=17, reach=3.0, exact=False) -> float:
    """Loops over directions and samples; the integral over the whole range -reach … reach, symmetric or not."""
    z, a, values = np.asarray(z, float), np.asarray(a, float), []
    for m in range(a.shape[1]):
        shadow = [sum(z[n, d] * a[d, m] for d in range(z.shape[1])) for n in range(len(z))]

        def integrand(t, shadow=shadow):
            phi = sum(complex(math.cos(t * x), math.sin(t * x)) for x in shadow) / len(shadow)
            return abs(phi - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2)

        if exact:
            integral = integrate.quad(integrand, -reach, reach, epsabs=1e-10)[0]
        else:
            t = np.linspace(-reach, reach, 2 * knots - 1)
            integral = integrate.trapezoid([integrand(x) for x in t], t)
        values.append(len(shadow) * integral)
    return float(np.mean(values))


@pytest.mark.parametrize("move", [lambda z: z, lambda z: z + 2, lambda z: 0.1 * z, lambda z: z.abs(), lambda z: 0 * z])
def test_it_equals_its_definition_on_given_directions(move):
    z, a = move(gaussian(23, 5)), directions(5, 7)
    ours = sigreg(z, a.double()).item()
    assert ours == pytest.approx(by_the_definition(z, a), rel=1e-5, abs=1e-5)
    assert ours == pytest.approx(by_the_definition(z, a, exact=True), rel=2e-3, abs=2e-3), "17 knots are enough"
    assert sigreg(z.float(), a).item() == pytest.approx(ours, rel=1e-5, abs=1e-5), "float32"
    assert sigreg(z, a.double(), 9, 5.0).item() == pytest.approx(by_the_definition(z, a, 9, 5.0), rel=1e-5, abs=1e-5)


def test_over_all_frequencies_it_is_the_closed_form_of_epps_and_pulley():
    """∫ over all t: √(2π) [ Σ_nm exp(-(x_n - x_m)²/2) / N  -  √2 Σ_n exp(-x_n²/4)  +  N/√3 ]."""
    z, a = gaussian(40, 6) * 1.3 + 0.2, directions(6, 9).double()
    x, n = z @ a, len(z)
    pairs = torch.exp(-(x[:, None] - x[None]).square() / 2).sum((0, 1)) / n
    closed = math.sqrt(2 * math.pi) * (pairs - math.sqrt(2) * torch.exp(-x.square() / 4).sum(0) + n / math.sqrt(3))
    assert sigreg(z, a, 400, 9.0).item() == pytest.approx(closed.mean().item(), rel=1e-5)


def test_the_two_constants():
    """1.0525 for N(0, I) whatever N and D; 0.40205 N for a collapse; 1.0594 and 0.40892 N on [-5, 5]."""
    for n, d in ((32, 8), (100, 200)):
        draws = [(gaussian(n, d, seed).float(), directions(d, 32, seed + 100)) for seed in range(100)]
        assert np.mean([sigreg(z, a).item() for z, a in draws]) == pytest.approx(1.0525, abs=0.05)
        assert sigreg(torch.zeros(n, d), directions(d)).item() == pytest.approx(0.40205 * n, rel=1e-4)
    assert gaussian_level() == pytest.approx(1.05246, abs=1e-5)
    assert gaussian_level(17, 5) == pytest.approx(1.05942, abs=1e-5)
    assert sigreg(torch.zeros(50, 4), directions(4), 17, 5.0).item() == pytest.approx(0.40892 * 50, rel=1e-4)


def one_line(z):
    """Rank 1, with the variance of N(0, I) in each dimension: no spread shows it."""
    return z[:, :1].expand_as(z)


def half_rank(z):
    return torch.cat([z[:, :16], z[:, :16]], 1)


def bimodal(z):
    return 0.3 * z + torch.where(torch.arange(len(z)) % 2 == 0, 0.95, -0.95)[:, None]


def heavy_tailed(z):
    """Student's t with 3 degrees of freedom, one length for all dimensions of a sample; of variance 1."""
    length = gaussian(len(z), 3, 77).to(z).square().sum(1)
    return z / length.sqrt()[:, None]


@pytest.mark.parametrize("spoil", [one_line, half_rank, lambda z: 2 * z, lambda z: z / 2, lambda z: z + 0.5, bimodal,
                                   heavy_tailed, lambda z: 0 * z], ids=["one line", "half rank", "twice", "half",
                                                                       "moved", "bimodal", "heavy-tailed", "a point"])
def test_what_is_not_gaussian_scores_higher_in_every_seed(spoil):
    for seed in SEEDS:
        z, a = gaussian(256, 32, seed).float(), directions(32, 128, seed + 50)
        good, bad = sigreg(z, a).item(), sigreg(spoil(z), a).item()
        assert good < 1.7 and bad > 1.2 * good


def test_a_rotation_changes_nothing_but_luck():
    z, spoiled = gaussian(64, 16), gaussian(64, 16) * torch.linspace(0.3, 2, 16)
    turn = torch.linalg.qr(gaussian(16, 16, 5)).Q
    for x in (z, spoiled):
        a = directions(16, 2048).double()
        assert sigreg(x @ turn, a).item() == pytest.approx(sigreg(x, a).item(), rel=0.05)
        assert sigreg(x @ turn, turn.T @ a).item() == pytest.approx(sigreg(x, a).item(), rel=1e-9)


def test_the_gradient_is_that_of_the_formula():
    z, a = gaussian(6, 3).requires_grad_(), directions(3, 4).double()
    assert torch.autograd.gradcheck(lambda z: sigreg(z, a), z)


def test_a_narrow_cloud_is_pushed_apart_and_a_wide_one_together():
    for scale, sign in ((0.1, -1), (3.0, 1)):
        z = (scale * gaussian()).requires_grad_()
        sigreg(z, directions().double()).backward()
        assert math.copysign(1, (z.grad * z.detach()).sum()) == sign


def test_half_precision_around_it_does_not_reach_it():
    z, a = gaussian().float(), directions()
    with torch.autocast("cpu", torch.bfloat16):
        inside = sigreg(z, a)
    assert inside.dtype == torch.float32 and inside.item() == sigreg(z, a).item()
    assert sigreg(z.to(torch.bfloat16), a).item() == pytest.approx(sigreg(z, a).item(), rel=0.05)


def test_directions_come_from_their_generator_and_are_evenly_spread():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw = seeded()
    first, second = random_directions(3, 4000, draw), random_directions(3, 4000, draw)
    assert torch.equal(before, torch.get_rng_state()) and not torch.equal(first, second)
    assert torch.equal(first, random_directions(3, 4000, seeded()))
    assert torch.allclose(first.norm(dim=0), torch.ones(4000), atol=1e-6)
    assert first.mean(1).abs().max() < 0.05 and torch.allclose(first @ first.T / 4000, torch.eye(3) / 3, atol=0.03)


@pytest.mark.parametrize(("call", "says"), [
    (lambda: sigreg(torch.zeros(2, 4, 8), directions(8)), r"\[N,D\]"),
    (lambda: sigreg(torch.zeros(4, 8), directions(9)), r"\[D,M\]"),
    (lambda: sigreg(torch.zeros(0, 8), directions(8)), r"\[N,D\]"),
    (lambda: sigreg(torch.zeros(4, 8), directions(8), 1), "2 knots"),
    (lambda: random_directions(8, 0, seeded()), "1 or more"),
    (lambda: random_directions(8, 4, 0), "torch.Generator"),
])
def test_mistakes_are_named(call, says):
    with pytest.raises(MedsslError, match=says):
        call()


def test_pieces_of_directions_leave_no_trace(monkeypatch):
    z, a, found = gaussian(20, 6).requires_grad_(), directions(6, 11), []
    for at_once in (2**18, 3 * 20 * 17, 1):  # all, 3 at a time, one by one
        monkeypatch.setattr(sys.modules[sigreg.__module__], "WAVES_AT_ONCE", at_once)
        z.grad = None
        value = sigreg(z, a)
        value.backward()
        found.append((value.detach(), z.grad))
    for value, gradient in found[1:]:
        assert torch.allclose(value, found[0][0], rtol=1e-12)
        assert torch.allclose(gradient, found[0][1], rtol=1e-12, atol=1e-15)
