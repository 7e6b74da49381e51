"""Phantom scans of a trunk, CT or MR, so that everything with volumes runs with no download.

A scan is a *scene* (a few random numbers: how large the patient, where the lesion) painted at the centres of voxels,
in mm, so any spacing shows the same patient. Nothing is symmetric: the liver is on the right, the heart, the spleen and
the stomach on the left, the spine and the table behind, the lungs above the kidneys, so a flip of any axis shows.
They are cartoons: nothing measured on them says anything about patients.
"""

from typing import NamedTuple

import numpy as np
import torch

from medssl.data.phantoms import ramp
from medssl.data.volumes import Volume
from medssl.errors import MedsslError

ORGANS = ("outside", "body", "lung right", "lung left", "liver", "spleen", "stomach", "kidney right", "kidney left",
          "heart", "aorta", "bone", "lesion")
# Hounsfield units of a CT in the portal venous phase, and signal of a T1-weighted MR in units of nothing.
SIGNAL = {
    "CT": dict(air=-1000, table=-150, fat=-100, muscle=55, lung=-860, liver=105, spleen=120, stomach=25, kidney=190,
               heart=140, vessel=170, bone=420, disc=90, dark=60, lesion=35),
    "MR": dict(air=0, table=0, fat=800, muscle=330, lung=40, liver=480, spleen=290, stomach=160, kidney=360,
               heart=300, vessel=90, bone=560, disc=260, dark=120, lesion=190),
}
WORLD = 320.0  # mm from the middle to the edge of the cube in which random textures exist
SLAB = 2_000_000  # voxels painted at once: the memory of a large scan stays small


class PhantomScan(NamedTuple):
    """A scan, its organs on the same grid (int16, an index into ORGANS), and the lesion's organ ("" for none)."""

    image: Volume
    organs: Volume
    lesion: str


def ct_phantom(seed: int, shape=(32, 64, 64), spacing=(8.0, 6.0, 6.0), lesion: str | None = None) -> PhantomScan:
    """A trunk in Hounsfield units. 512×512×60 voxels of 0.8×0.8×5 mm: shape=(60, 512, 512), spacing=(5, 0.8, 0.8).

    `lesion` is "liver", "lung" or "" (none); unsaid, about two scans in three have one.
    """
    scene, slabs = _scene(seed, lesion), []
    for coordinates in _slabs(shape, spacing):
        hu, organs = _paint(scene, SIGNAL["CT"], *coordinates)
        noise = np.random.default_rng((seed, 1, len(slabs))).standard_normal(hu.shape, np.float32)
        slabs.append((np.rint(hu + 14 * noise).clip(-1024, 3071).astype(np.int16), organs))
    return _scan("CT", seed, slabs, spacing, scene)


def mr_phantom(seed: int, shape=(32, 64, 64), spacing=(8.0, 6.0, 6.0), lesion: str | None = None) -> PhantomScan:
    """The same kind of trunk as MR: arbitrary units (another factor for each scan), a smooth bias field as of a coil
    that hears one side better, and Rician noise: the length of a complex number is never negative, not even in air."""
    scene, slabs = _scene(seed, lesion), []
    rng = np.random.default_rng((seed, 2))
    gain, strength, field = rng.uniform(0.3, 2.5), rng.uniform(0.15, 0.4), rng.standard_normal((5, 5, 5))
    for coordinates in _slabs(shape, spacing):
        signal, organs = _paint(scene, SIGNAL["MR"], *coordinates)
        signal = signal * np.exp(strength * _texture(field, *coordinates))
        noise = 18 * np.random.default_rng((seed, 3, len(slabs))).standard_normal((2, *signal.shape), np.float32)
        length = np.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
        slabs.append((np.rint(gain * length).clip(0, 32767).astype(np.int16), organs))
    return _scan("MR", seed, slabs, spacing, scene)


def _scan(modality: str, seed: int, slabs: list, spacing, scene: dict) -> PhantomScan:
    image, organs = (np.concatenate(part) for part in zip(*slabs, strict=True))
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(image.shape[::-1], spacing[::-1], strict=True)]
    spacing, source = tuple(float(s) for s in spacing), f"{modality.lower()}_phantom(seed={seed})"
    return PhantomScan(*(Volume(torch.from_numpy(part)[None], spacing, affine, kind, source)
                         for part, kind in ((image, modality), (organs, ""))), scene["lesion"])


def _slabs(shape, spacing):
    """(x [1,1,X], y [1,Y,1], z [n,1,1]) in mm, the middle of the scan at 0, a few slices at a time."""
    if len(shape) != 3 or len(spacing) != 3 or min(shape) < 1 or min(spacing) <= 0:
        raise MedsslError(f"A phantom of shape {shape}, spacing {spacing}.", "(z, y, x) above zero, spacing in mm")
    z, y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True))
    step = max(1, SLAB // (len(y) * len(x)))
    for start in range(0, len(z), step):
        yield x[None, None, :], y[None, :, None], z[start:start + step, None, None]


def _texture(lattice: np.ndarray, x, y, z) -> np.ndarray:
    """A random lattice [n,n,n] over the cube of ±WORLD mm, straight lines between its points, axis by axis."""
    values = lattice
    for axis, at in enumerate((z.ravel(), y.ravel(), x.ravel())):
        place = np.clip((at + WORLD) / (2 * WORLD), 0, 1) * (lattice.shape[axis] - 1.001)
        left = place.astype(int)
        share = (place - left).reshape([-1 if k == axis else 1 for k in range(3)])
        values = values.take(left, axis) * (1 - share) + values.take(left + 1, axis) * share
    return values


def _scene(seed: int, lesion: str | None) -> dict:
    """Everything random about a patient that does not depend on the grid."""
    rng = np.random.default_rng((seed, 0))
    scene = {name: rng.uniform(low, high) for name, low, high in (
        ("width", 145, 172), ("depth", 92, 118), ("fat", 8, 22), ("breath", -14, 14), ("liver", 0.92, 1.1),
        ("heart", 0.88, 1.12), ("spleen", 0.8, 1.2), ("kidney", 0.9, 1.1), ("bubble", 40, 62), ("ribs", 0, 6.28))}
    scene |= {"bend": rng.standard_normal((3, 9, 9, 9)), "fine": rng.standard_normal((64, 64, 64)),
              "net": rng.standard_normal((44, 44, 44))}
    drawn, radius, along = str(rng.choice(["", "liver", "lung"])), rng.uniform(10, 20), rng.uniform(-1, 1, 3)
    scene["lesion"] = drawn if lesion is None else lesion
    if scene["lesion"] not in ("", "liver", "lung"):
        raise MedsslError(f"lesion={lesion!r}.", '"liver", "lung" or "" (none)')
    middle = {"liver": (75, 5, -48), "lung": (70, -15, 60)}.get(scene["lesion"], (0, 0, 0))
    spread = (32, 30, 20) if scene["lesion"] == "liver" else (20, 30, 40)
    if scene["lesion"] == "lung" and along[0] < 0:
        middle = (-70, -25, 70)
    scene["spot"] = (*(m + a * s for m, a, s in zip(middle, along, spread, strict=True)), radius)
    return scene


def _paint(scene: dict, signal: dict, x, y, z) -> tuple[np.ndarray, np.ndarray]:
    """(grey values, organs) [n,Y,X]: back to front, each tissue covering what was there before."""
    bx, by, bz = (4.0 * _texture(bend, x, y, z) for bend in scene["bend"])  # no organ is an exact ellipsoid
    x, y, z, flat = x + bx, y + by, z + bz, (x, y, z)
    fine, net = _texture(scene["fine"], *flat), _texture(scene["net"], *flat)
    value, organ = np.full(fine.shape, float(signal["air"])), np.zeros(fine.shape, np.int16)

    def cover(share, tissue, name=None):
        value[...] += share * (tissue - value)
        if name is not None:
            organ[share > 0.5] = ORGANS.index(name)

    def ball(cx, cy, cz, a, b, c):
        """1 inside an ellipsoid with half axes a, b, c mm, 0 outside, a soft edge of some 5 mm."""
        r = np.sqrt(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2)
        return ramp((1 - r) * min(a, b, c) / 5)

    behind = -scene["depth"] - 13 + (flat[0] / 60) ** 2 * 2  # the table is straight, whatever bends the patient
    cover(ramp((6 - abs(flat[1] - behind)) / 3) * (abs(flat[0]) < 215) * np.ones_like(fine), signal["table"])
    waist = 1 - 0.10 * ramp((z - 20) / 160) - 0.05 * ramp((-z - 60) / 100)
    r = ((abs(x) / (scene["width"] * waist)) ** 2.4 + (abs(y) / (scene["depth"] * waist)) ** 2.4) ** (1 / 2.4)
    rim = (1 - r) * scene["depth"]  # mm below the skin, about
    cover(ramp(rim / 4), signal["fat"] * (1 + 0.03 * fine), "body")
    cover(ramp((rim - scene["fat"]) / 5), signal["muscle"] + 0.03 * abs(signal["muscle"]) * fine)
    dome = scene["breath"] - 10 + 12 * ramp(x / 60) - 0.0045 * ((abs(x) - 72) ** 2 + (y - 10) ** 2)  # right is higher
    below, inside = ramp((dome - z) / 5), ramp((rim - scene["fat"] - 16) / 5)
    cover(below * inside * ramp((y + 40) / 10), signal["fat"] + 0.05 * abs(signal["fat"]) * fine)
    size = scene["liver"]
    liver = below * inside * ball(72, 5, -48, 82 * size, 82 * size, 72 * size)
    vessels = 0.4 * (signal["vessel"] - signal["liver"]) * (net > 1.6)
    cover(liver, signal["liver"] * (1 + 0.04 * fine) + vessels, "liver")
    size = scene["spleen"]
    spleen = below * inside * ball(-98, -42, -42, 30 * size, 42 * size, 46 * size)
    cover(spleen, signal["spleen"] * (1 + 0.03 * fine), "spleen")
    stomach = below * inside * ball(-62, 38, -58, 42, 38, 42)
    cover(stomach, signal["stomach"] + 10 * fine, "stomach")
    cover(stomach * ramp((y - scene["bubble"]) / 4), signal["air"])  # air rises to the front of a patient on the back
    size = scene["kidney"]
    for name, cx, cz in (("kidney right", 58, -104), ("kidney left", -60, -88)):  # the right one lies lower
        cover(ball(cx, -52, cz, 27 * size, 25 * size, 50 * size), signal["kidney"] * (1 + 0.05 * fine), name)
        cover(ball(cx * 0.82, -48, cz, 11, 9, 20), signal["fat"])
    for name, cx, a in (("lung right", 70, 62), ("lung left", -74, 56)):
        lung = (1 - below) * inside * ball(cx, -6, 40, a, 82, 120)
        cover(lung, signal["lung"] + 0.45 * (signal["vessel"] - signal["lung"]) * np.clip(net - 1.1, 0, 1), name)
    size = scene["heart"]
    heart = ball(-30, 28, 26, 54 * size, 46 * size, 48 * size)
    cover(heart, signal["muscle"] * (1 + 0.03 * fine), "heart")
    cover(ball(-34, 28, 22, 36 * size, 30 * size, 32 * size), signal["heart"] * (1 + 0.04 * fine))
    back = -scene["depth"] * waist  # the skin behind the spine
    cover(ramp((13 - np.hypot(x + 18, y - back - 80)) / 4), signal["vessel"] * (1 + 0.03 * fine), "aorta")
    spine = ramp((21 - np.hypot((x - 2), (y - back - 48) * 1.15)) / 4)
    disc = ramp((np.cos(2 * np.pi * z / 32) - 0.8) * 3)  # every 32 mm
    cover(spine, signal["bone"] * (1 + 0.15 * fine) * (1 - disc) + signal["disc"] * disc, "bone")
    stripes = ramp((np.cos(2 * np.pi * (z - 0.35 * y) / 30 + scene["ribs"]) - 0.2) * 3) * ramp((z + 70) / 20)
    cover(ramp((4 - abs(rim - scene["fat"] - 9)) / 3) * stripes, signal["bone"], "bone")  # ribs fall towards the front
    cover(ramp((8 - np.hypot(x, y - back - 22)) / 3), signal["dark"], "body")  # the spinal canal
    if scene["lesion"]:
        cx, cy, cz, radius = scene["spot"]
        host = liver if scene["lesion"] == "liver" else 1 - below
        bumpy = ball(cx, cy, cz, radius, radius, radius) * host
        cover(bumpy, signal["lesion"] * (1 + 0.2 * fine), "lesion")
    return value, organ
