"""Domain shifts: the same patients on another machine. Five grades of five changes; 0 is the image itself.

  brightness  x (1 - s)                       darker by the share s; a negative s is brighter
  contrast    m + (1 - s) (x - m)             flatter about its own mean m, so brightness stays
  noise       x + s n, n standard normal      grain, as of a low dose
  blur        Gaussian of s pixels            a pixel being 1/28 of the side: 64-pixel images get the same look
  crop        the middle 1 - s of each side   stretched back: a closer view
"""

import math

import torch
from torch import Generator, Tensor

from medssl.errors import MedsslError
from medssl.views.augment2d import _generator_on, gaussian_blur, resample, to_float

SHIFTS = {"brightness": (0.1, 0.2, 0.3, 0.4, 0.5), "contrast": (0.15, 0.3, 0.45, 0.6, 0.75),
          "noise": (0.02, 0.04, 0.08, 0.12, 0.16), "blur": (0.4, 0.6, 0.8, 1.0, 1.4),
          "crop": (0.05, 0.1, 0.15, 0.2, 0.25)}
LIMITS = {"brightness": (-1, 1), "contrast": (-1, 1), "noise": (0, 1), "blur": (0, 5), "crop": (0, 0.9)}


def shift(images: Tensor, kind: str, strength: float, generator: Generator | None = None) -> Tensor:
    """images [B,C,H,W], uint8 or float in [0, 1] -> float32 in [0, 1], all of them shifted alike.

    Only noise draws, from `generator`: with one seed for all strengths the grain is the same and only grows.
    """
    low, high = LIMITS.get(kind, (0, 0))
    if kind not in SHIFTS or not low <= strength <= high:
        raise MedsslError(f"There is no shift {kind!r} of strength {strength!r}.",
                          ", ".join(f"{name} from {low} to {high}" for name, (low, high) in LIMITS.items()) + ".",
                          "SHIFTS holds five grades of each.")
    x = to_float(images)
    if strength == 0:
        return x
    if kind == "brightness":
        x = x * (1 - strength)
    elif kind == "contrast":
        x = torch.lerp(x, x.mean((1, 2, 3), keepdim=True), strength)
    elif kind == "noise":
        if not isinstance(generator, Generator):
            raise MedsslError(f"The generator is {generator!r}.", "a torch.Generator: all chance comes from it",
                              "Make one with torch.Generator().manual_seed(0).")
        x = x + strength * torch.randn(x.shape, generator=_generator_on(x.device, generator), device=x.device)
    elif kind == "blur":
        sigma = strength * x.shape[-1] / 28
        x = gaussian_blur(x, torch.full((len(x),), sigma, device=x.device), math.ceil(3 * sigma))
    else:  # the view's pixel q, counted from the centre, shows what lies at (1 - s) q
        A = (1 - strength) * torch.eye(2, device=x.device).expand(len(x), 2, 2)
        x = resample(x, A, torch.zeros(len(x), 2, device=x.device), "border")
    return x.clamp(0, 1)
