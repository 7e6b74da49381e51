"""A short clip of a beating heart in cross-section, so that methods for video run with no download."""

import numpy as np
import torch

from medssl.data.phantoms import ramp, smooth_noise
from medssl.errors import MedsslError


def cine_phantom(seed: int, frames: int = 16, size: int = 64,
                 ejection_fraction: float | None = None) -> tuple[torch.Tensor, float]:
    """(clip uint8 [T,1,Y,X], ejection fraction): one heartbeat over the clip, as in a short-axis cine MR.

    The blood of the left ventricle is an ellipse whose area falls by the ejection fraction and comes back; the muscle
    around it keeps its area, so it thickens as the ventricle empties. The right ventricle lies on the left of the
    picture, and systole is shorter than diastole: neither a flip nor a clip run backwards looks the same.
    """
    if frames < 2 or size < 8 or not (ejection_fraction is None or 0 <= ejection_fraction < 1):
        raise MedsslError(f"A clip of {frames} frames of {size} pixels, ejection fraction {ejection_fraction}.",
                          "2 frames, 8 pixels, a share from 0 to below 1")
    rng = np.random.default_rng((seed, 44))
    drawn, turn, flat, cx, cy, large, wall = rng.uniform([0.2, -0.4, 0.85, 0.0, -0.1, 0.26, 0.09],
                                                         [0.7, 0.4, 1.0, 0.2, 0.1, 0.34, 0.14])
    ejection = drawn if ejection_fraction is None else ejection_fraction
    lattice = rng.standard_normal((1, 12, 12))
    axis = (2 * np.arange(size) + 1) / size - 1
    x, y = axis[None, None, :], axis[None, :, None]
    phase = (np.arange(frames) / frames)[:, None, None]
    squeeze = np.where(phase < 0.35, 0.5 - 0.5 * np.cos(np.pi * phase / 0.35),
                       0.5 + 0.5 * np.cos(np.pi * (phase - 0.35) / 0.65))  # 0 full, 1 empty: fast out, slow in
    blood = large * np.sqrt(1 - ejection * squeeze)  # the area goes with the square of the radius
    outer = np.sqrt(blood**2 + (large + wall) ** 2 - large**2)
    along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    across = ((y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)) / flat
    distance = np.hypot(along, across)
    right = np.hypot((along + 0.42) / 0.9, across / (1.5 - 0.3 * squeeze))
    edge = 3.0 / size
    picture = 0.25 + 0.06 * smooth_noise(lattice, x + 0 * y, y + 0 * x) * np.ones_like(phase)
    picture = picture + ramp((0.27 - right) / edge) * (0.75 - picture)
    picture = picture + ramp((outer - distance) / edge) * (0.2 - picture)
    picture = picture + ramp((blood - distance) / edge) * (0.85 - picture)
    picture = picture - 0.25 * ramp((np.hypot(x, y) - 0.98) / 0.1)
    noisy = picture + 0.03 * rng.standard_normal(picture.shape)
    return torch.from_numpy(np.rint(255 * noisy.clip(0, 1)).astype(np.uint8))[:, None], float(ejection)
