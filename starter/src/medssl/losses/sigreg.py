"""SIGReg (Balestriero & LeCun 2025, arXiv 2511.08544): are these embeddings an isotropic standard Gaussian?

In D dimensions that is hard to ask, in one it is easy; and a distribution is N(0, I) exactly if its shadow on every
direction is N(0, 1) (Cramér and Wold). So embeddings are laid on random directions, and each shadow is tested.
"""

import torch
from torch import Generator, Tensor

from medssl.errors import MedsslError
from medssl.losses.gather import gather, of_first

KNOTS, REACH = 17, 3.0  # the frequencies t at which a shadow is looked at: 17 from 0 to 3
WAVES_AT_ONCE = 2**18  # on a CPU: what stays in its cache


def sigreg(z: Tensor, directions: Tensor, knots: int = KNOTS, reach: float = REACH) -> Tensor:
    """SIGReg of embeddings z [N,D] of one view, on `directions` [D,M] of length 1: mean over them of Epps and Pulley's

        T = N ∫ |φ(t) - exp(-t²/2)|² exp(-t²/2) dt  over t from -reach to reach,   φ(t) = mean over n of exp(i t x_n)

    for the shadow x = z a on direction a. φ is the empirical characteristic function, exp(-t²/2) that of N(0, 1). The
    integrand is even: twice the integral from 0, by the trapezoid rule at `knots` points.

    About 1.05 (gaussian_level) for embeddings that are Gaussian, for any N and D: noise of a finite sample. Collapsed
    to 0 it is 0.40205 N. Mean and scale are part of the question, so z is neither centred nor normalised first. Give
    it one view at a time: two views of an image are no independent draws. float32 whatever the precision around it
    (float64 stays). Time and memory grow as N · M · knots. N is the whole batch: of several processes each gives its
    part and gets the test of them all, on the first one's directions (see gather.py).
    """
    if z.ndim != 2 or not len(z) or directions.ndim != 2 or z.shape[1] != len(directions) or knots < 2 or reach <= 0:
        raise MedsslError(f"Embeddings {list(z.shape)}, directions {list(directions.shape)}, {knots=}, {reach=}.",
                          "[N,D] and [D,M], 2 knots or more, a reach above 0", "directions: random_directions(D, M, …)")
    z, directions = gather(z), of_first(directions.to(z.device))
    precise = torch.float64 if z.dtype == torch.float64 else torch.float32
    with torch.autocast(z.device.type, enabled=False):
        shadows = z.to(precise) @ directions.to(precise)  # [N,M]
        t, gaussian, weight = (x.to(shadows)[:, None] for x in _knots(knots, reach))  # [K,1]
        # Each direction is a test of its own. A CPU is up to twice as fast on some at a time; a GPU wants all at once.
        some = max(1, WAVES_AT_ONCE // (len(z) * knots)) if z.device.type == "cpu" else shadows.shape[1]
        tests = []
        for part in shadows.split(some, 1):
            waves = part[:, None] * t  # [N,K,some]
            apart = (waves.cos().mean(0) - gaussian).square() + waves.sin().mean(0).square()  # |φ - gaussian|²
            tests.append((weight * apart).sum(0))
        return len(z) * torch.cat(tests).mean()


def random_directions(dim: int, count: int, generator: Generator) -> Tensor:
    """[dim,count]: columns of length 1, evenly spread over the sphere, on the generator's device.

    Fresh ones each step: a network would learn to look Gaussian on a few that stay.
    """
    if dim < 1 or count < 1 or not isinstance(generator, Generator):
        raise MedsslError(f"{count} directions in {dim} dimensions from {generator!r}.",
                          "1 or more of both, and a torch.Generator")
    a = torch.randn(dim, count, generator=generator, device=generator.device)
    return a / a.norm(dim=0)


def gaussian_level(knots: int = KNOTS, reach: float = REACH) -> float:
    """What sigreg is on average for N(0, I), 1.0525: the sum of weight · (1 - exp(-t²)), the variance of φ times N."""
    _, gaussian, weight = _knots(knots, reach)
    return float((weight * (1 - gaussian.square())).sum())


def _knots(knots: int, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """(t, exp(-t²/2), weight) in float64: the trapezoid rule's step, half at both ends, doubled for t < 0."""
    t = torch.linspace(0, reach, knots, dtype=torch.float64)
    gaussian = torch.exp(-t.square() / 2)
    step = torch.full_like(t, 2 * reach / (knots - 1))
    step[0] = step[-1] = reach / (knots - 1)
    return t, gaussian, step * gaussian
