"""Two independent views of one scan, and how they lie to each other: what Prism learns to tell.

A view is a centre, a rotation R, a window and N places around the centre; each place gets a patch. The network sees
patches and, in mm, where each lies from the view's own centre in the view's own frame: q = R Fᵀ (place - centre), F
the frame of the scan. It never sees a centre, so it can tell how two views lie only from what is in them. Of what is
drawn nothing shows in the positions either: their law is the same box in every view of a scan. The scan does: one
that is shorter than two boxes gets a smaller one, and its places say how large it is (see reports/prism.md).

With Q = R_b R_aᵀ and t = R_a Fᵀ (centre_b - centre_a), what lies at q in view A lies at Q (q - t) in view B. The
targets are t, its length, and the rotation vector of Q (its direction is the axis, its length the angle): unlike
differences of Euler angles it has no jump at 180°, and 179° against -179° are 2° apart.
"""

from typing import NamedTuple

import numpy as np

from medssl.errors import MedsslError
from medssl.views.patches import sample_patches, scan_frame

WINDOW_CENTRE = 1.0  # the window's centre: the scan's median ± at most so many spreads, uniform
WINDOW_WIDTH = (2.0, 10.0)  # its width in spreads, uniform in its logarithm
CENTRES = 8  # drawn for a view; the first that lies in the patient serves, else the very first


class View(NamedTuple):
    """Where and how one looks at a scan."""

    centre: np.ndarray  # [3] mm: right, front, head
    rotation: np.ndarray  # R [3,3]: from the scan's frame to the view's
    window: tuple[float, float]  # centre and width, in the scan's grey values
    positions: np.ndarray  # q [N,3] mm, around the centre, in the view's frame


def draw_view(scan, n_patches: int, rng: np.random.Generator, prism_mm: float = 80.0,
              max_degrees: float = 20.0) -> View:
    """A view of a scan that has `shape` (z, y, x), `affine`, `stats` (median, spread, threshold, background), `scale`,
    `offset` and `read_block(low, size)`, as data.scan_cache.CachedScan has.

    Places are uniform in a box of prism_mm, its axes those of the view; along an axis on which the scan is short, half
    of the scan's length. The centre is uniform over all centres whose box, unrotated, lies within the scan, and nearly
    always in the patient: above stats.threshold. The rotation is a rotation vector with three numbers, each uniform
    within ± max_degrees.
    """
    frame, voxels = scan_frame(scan.affine), np.array(scan.shape[::-1])
    middle = scan.affine[:3, :3] @ ((voxels - 1) / 2) + scan.affine[:3, 3]
    half = np.abs(frame.T @ scan.affine[:3, :3]) @ (voxels / 2)  # mm along the three axes of the frame
    box = np.minimum(prism_mm / 2, half / 2)
    centres = middle + (rng.uniform(-1, 1, (CENTRES, 3)) * (half - box)) @ frame.T
    rotation = rotation_matrix(rng.uniform(-max_degrees, max_degrees, 3))
    low, high = np.log(WINDOW_WIDTH)
    window = (scan.stats.median + scan.stats.spread * rng.uniform(-WINDOW_CENTRE, WINDOW_CENTRE),
              scan.stats.spread * np.exp(rng.uniform(low, high)))
    centre = next((centre for centre in centres if _in_patient(scan, centre)), centres[0])
    return View(centre, rotation, window, rng.uniform(-box, box, (n_patches, 3)))


def _in_patient(scan, centre: np.ndarray) -> bool:
    index = np.rint(np.linalg.solve(scan.affine[:3, :3], centre - scan.affine[:3, 3]))[::-1].astype(int)
    low = np.clip(index, 0, np.array(scan.shape) - 1).tolist()
    return scan.read_block(low, (1, 1, 1)).item() * scan.scale + scan.offset > scan.stats.threshold


def look(scan, view: View, patch_mm: float, pixels: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """(patches float32 [N,pixels,pixels,1] in [0, 1], valid float32 [N]: the share of each patch within the scan).

    A value v = code · scale + offset becomes (v - (centre - width/2)) / width, clipped: black at the lower edge of the
    window, white at the upper. Outside the scan lies its background.
    """
    centres = view.centre + view.positions @ view.rotation @ scan_frame(scan.affine).T  # rows: F Rᵀ q
    background = (scan.stats.background - scan.offset) / scan.scale
    patches, valid = sample_patches(scan, scan.affine, centres, view.rotation, patch_mm, pixels, background)
    centre, width = view.window
    patches -= np.float32((centre - width / 2 - scan.offset) / scan.scale)
    patches *= np.float32(scan.scale / width)
    return np.clip(patches, 0, 1, out=patches), valid


def pair_targets(scan, a: View, b: View) -> dict[str, np.ndarray]:
    """How view B lies to view A. `window_delta` is in grey values. `window_target` has no unit (difference of centres /
    spread of the scan, logarithm of the ratio of widths): MR, whose grey values mean nothing, and CT agree on it."""
    delta = a.rotation @ scan_frame(scan.affine).T @ (b.centre - a.centre)
    (centre_a, width_a), (centre_b, width_b) = a.window, b.window
    return {"center_distance_mm": np.float32(np.linalg.norm(delta)), "center_delta_mm": delta.astype(np.float32),
            "rotation_delta_deg": rotation_vector(b.rotation @ a.rotation.T).astype(np.float32),
            "window_delta": np.float32([centre_b - centre_a, width_b - width_a]),
            "window_target": np.float32([(centre_b - centre_a) / scan.stats.spread, np.log(width_b / width_a)])}


def pair_views(scan, n_patches: int, patch_mm: float, rng: np.random.Generator, *, pixels: int = 16,
               prism_mm: float = 80.0, max_degrees: float = 20.0) -> dict[str, np.ndarray]:
    """One item: patches_a, positions_a, patches_b, positions_b, valid_fraction [2,N] and the targets.

    Both views come from generators of their own, spawned from `rng`: nothing drawn for A changes B.
    """
    if n_patches < 1 or not prism_mm > 0 or not 0 <= max_degrees <= 45:
        raise MedsslError(f"n_patches={n_patches}, prism_mm={prism_mm}, max_degrees={max_degrees}.",
                          "one patch at least, a box of some size, 0 to 45 degrees about each axis")
    a, b = (draw_view(scan, n_patches, own, prism_mm, max_degrees) for own in rng.spawn(2))
    (patches_a, valid_a), (patches_b, valid_b) = (look(scan, view, patch_mm, pixels) for view in (a, b))
    return {"patches_a": patches_a, "positions_a": a.positions.astype(np.float32),
            "patches_b": patches_b, "positions_b": b.positions.astype(np.float32),
            "valid_fraction": np.stack([valid_a, valid_b]), **pair_targets(scan, a, b)}


def rotation_matrix(degrees) -> np.ndarray:
    """[3,3] of a rotation vector in degrees (its direction is the axis, its length the angle)."""
    from scipy.spatial.transform import Rotation  # loads in 0.1 s: only for those who rotate

    return Rotation.from_rotvec(degrees, degrees=True).as_matrix()


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """[3] degrees, at most 180 long: the logarithm of a rotation, the inverse of rotation_matrix."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrix).as_rotvec(degrees=True)
