"""NT-Xent and SIGReg with their gradients, against lightly, solo-learn and jepa-science; DINO's losses: dino.py.

Before anything is timed, value and gradient of a peer equal ours. A peer's SIGReg draws its own directions, by torch's
randn and in float32: with the same seed ours gets the same ones. One thread, the same tensors for all. The bound of
SIGReg is the time of its sines and cosines, and of their gradient, alone.
"""

import torch
from timing import compare, save

from medssl.losses import nt_xent
from medssl.losses.sigreg import KNOTS, random_directions, sigreg


def contrast(batch: int, dim: int = 128, rounds: int = 7) -> list[dict]:
    g = torch.Generator().manual_seed(batch)
    z = torch.randn(2, batch, dim, generator=g).requires_grad_()
    ours = with_gradient(lambda: nt_xent(z[0], z[1], 0.2), z)
    value, gradient = ours()

    def checked(loss):
        theirs = with_gradient(lambda: loss(z[0], z[1]), z)
        v, d = theirs()
        assert torch.allclose(v, value, rtol=1e-5) and torch.allclose(d, gradient, rtol=1e-3, atol=1e-7)
        return theirs, "value within 1e-5, gradient within 1e-3"

    def lightly():
        from lightly.loss import NTXentLoss

        return checked(NTXentLoss(temperature=0.2))

    def solo():
        from solo.losses.simclr import simclr_loss_func

        return checked(lambda a, b: simclr_loss_func(a, b, temperature=0.2))

    return compare("NT-Xent with gradient", f"2 × {batch} × {dim}", ours,
                   {"lightly": ("lightly", lightly), "solo-learn": ("solo-learn", solo)}, rounds=rounds)


def gaussian(n: int, dim: int, slices: int, rounds: int = 7) -> list[dict]:
    g = torch.Generator().manual_seed(n)
    z = torch.randn(n, dim, generator=g).mul_(1.5).requires_grad_()  # no standard Gaussian, so there is a gradient
    ours = with_gradient(lambda: sigreg(z, random_directions(dim, slices, g)), z)

    def checked(loss):
        theirs = with_gradient(loss, z)
        torch.manual_seed(n)
        value, gradient = theirs()
        same = torch.Generator().manual_seed(n)  # the stream of torch.manual_seed(n)
        expected, wanted = with_gradient(lambda: sigreg(z, random_directions(dim, slices, same)), z)()
        apart = float((gradient - wanted).norm() / wanted.norm())
        assert torch.allclose(value, expected, rtol=1e-4), f"value {value:.5f}, ours {expected:.5f}"
        assert apart < 1e-3, f"gradients {apart:.1e} of their length apart"
        return theirs, f"same directions: value within 1e-4, gradient {apart:.0e} of its length apart"

    def lightly():
        from lightly.loss.lejepa_loss import SIGReg

        test = SIGReg(num_vectors=slices)
        return checked(lambda: test(z))

    def jepa_science():
        from jepa_science import sigreg_loss

        return checked(lambda: sigreg_loss(z, num_slices=slices))

    waves = torch.randn(n, KNOTS, slices, generator=g).requires_grad_()

    def sines():
        return with_gradient(lambda: (waves.cos() + waves.sin()).sum(), waves), "as many sines and cosines"

    rows = compare("SIGReg with gradient", f"{n} × {dim}, {slices} directions", ours,
                   {"lightly": ("lightly", lightly), "jepa-science": ("jepa-science", jepa_science),
                    "its sines and cosines alone": ("torch", sines)}, rounds=rounds)
    rows[-1]["kind"] = "bound"
    return rows


def with_gradient(loss, z):
    def call():
        z.grad = None
        value = loss()
        value.backward()
        return value.detach(), z.grad

    return call


if __name__ == "__main__":
    torch.set_num_threads(1)
    save("losses", contrast(256) + contrast(1024) + gaussian(256, 64, 256) + gaussian(256, 128, 1024))
