"""DINO's losses against lightly's: the same numbers and gradients first, then time a call, then Sinkhorn at ±10.

`make bench` prints medians over interleaved rounds, and how the ratio varied; it asserts nothing about speed. Both
get the same float32 tensors. lightly's DINOLoss and SwAV Sinkhorn come as they are; the reference is a Sinkhorn in
float64 on logarithms. Without lightly there is nothing to compare with, and nothing is done.
"""

import importlib.util
import math
import sys

import torch
from timing import compare, save

from medssl.losses import dino_loss, koleo, sinkhorn, softmax_centre

ROUNDS = 7
SIZES = [(2, 4, 16, 256), (2, 8, 64, 1024), (2, 8, 64, 8192)]  # globals, locals, images, prototypes


def race(name, size, equal, ours, theirs):
    return compare(name, size, ours, {"lightly": ("lightly", lambda: (theirs, equal))}, rounds=ROUNDS, at_least=0.05)


def with_gradient(loss, x):
    x.grad = None
    loss(x).backward()
    return x.grad


def reference(logits, temp=0.05, iterations=3):
    x = logits.double() / temp
    for _ in range(iterations):
        x = x - x.logsumexp(0, keepdim=True)
        x = x - x.logsumexp(1, keepdim=True)
    return x.exp()


def compare_losses(G, L, B, K):
    """Rows for one size; nothing is timed before both are the same."""
    from lightly.loss import DINOLoss, KoLeoLoss
    from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn

    g = torch.Generator().manual_seed(K)
    student = (2 * torch.rand(G + L, B, K, generator=g) - 1).requires_grad_()
    teacher, centre = 2 * torch.rand(G, B, K, generator=g) - 1, 0.1 * torch.randn(K, generator=g)
    peer = DINOLoss(K, teacher_temp=0.04, warmup_teacher_temp=0.04, center_momentum=1.0)  # its centre stays as given
    peer.center.copy_(centre)

    def our_loss(x):
        return dino_loss(x, softmax_centre(teacher, centre, 0.04), ignore_diagonal=True)

    def their_loss(x):
        return peer(list(teacher), list(x))

    p = ((teacher.double() - centre) / 0.04).softmax(-1)
    exact = dino_loss(student.double(), p, ignore_diagonal=True)
    assert torch.allclose(our_loss(student).double(), exact, rtol=1e-5) and our_loss(student).dtype == torch.float32
    assert torch.allclose(their_loss(student).double(), exact, rtol=1e-4)  # its sum over all images is in float32
    assert torch.allclose(with_gradient(our_loss, student), with_gradient(their_loss, student), rtol=1e-3, atol=1e-8)
    rows, z = teacher.flatten(0, 1), torch.randn(B, 128, generator=g).requires_grad_()
    assert (sinkhorn(rows, 0.05) - lightly_sinkhorn(rows)).abs().max() < 1e-5
    raced = [*race("DINO loss with gradient", f"{G}+{L} x {B} x {K}", "value as in float64, gradient within 1e-3",
                   lambda: with_gradient(our_loss, student), lambda: with_gradient(their_loss, student)),
             *race("Sinkhorn, 3 rounds", f"{len(rows)} x {K}", "within 1e-5", lambda: sinkhorn(rows, 0.05),
                   lambda: lightly_sinkhorn(rows))]
    if (B, K) in ((16, 256), (64, 1024)):  # it has no prototypes: one row for each number of images

        def our_koleo(x):
            return koleo(x[None])

        assert torch.allclose(our_koleo(z), KoLeoLoss()(z), rtol=1e-4)
        assert torch.allclose(with_gradient(our_koleo, z), with_gradient(KoLeoLoss(), z), rtol=1e-3, atol=1e-6)
        raced += race("KoLeo with gradient", f"{B} x 128", "value within 1e-4, gradient within 1e-3",
                      lambda: with_gradient(our_koleo, z), lambda: with_gradient(KoLeoLoss(), z))
    return raced


def accuracy():
    """Largest error against float64, of logits within ± a scale, at temperature 0.05; None: it is no number."""
    from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn

    out = []
    for scale in (1, 4, 10):
        rows = scale * (2 * torch.rand(32, 256, generator=torch.Generator().manual_seed(scale)) - 1)
        errors = [float((q - reference(rows)).abs().max()) for q in (sinkhorn(rows, 0.05), lightly_sinkhorn(rows))]
        out.append({"logits_within": scale, "ours_error": errors[0],
                    "lightly_error": errors[1] if math.isfinite(errors[1]) else None})
        print(f"Sinkhorn, logits within ±{scale:<3} largest error: ours {errors[0]:.1e}, lightly {errors[1]:.1e}")
    return out


if __name__ == "__main__":
    torch.set_num_threads(1)
    if importlib.util.find_spec("lightly") is None:
        save("dino", [{"row": "DINO losses", "size": "all", "peer": "lightly", "missing": "lightly is not installed"}])
    sizes = SIZES[:1] if "few" in sys.argv[1:] else SIZES
    save("dino", [row for size in sizes for row in compare_losses(*size)], accuracy=accuracy())
