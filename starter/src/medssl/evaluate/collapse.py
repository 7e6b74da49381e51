"""Has a representation collapsed? A loss can fall while all images move to one point, or onto one line."""

from collections.abc import Mapping

import numpy as np

from medssl.errors import MedsslError

FEW = 10  # images below which a low rank is no sign of a collapse


def rankme(z) -> float:
    """RankMe (Garrido et al. 2023, arXiv 2210.02885): how many directions z [N,D] uses, from 1 to min(N, D).

    exp(-sum_k p_k log p_k) with p_k = s_k / sum of s, the singular values of z: the number of equally strong directions
    that would have this entropy. Not centred, as in the paper: a common offset counts as one direction.
    """
    singular = np.linalg.svd(_matrix(z), compute_uv=False)
    if singular[0] == 0:
        return 1.0  # all zeros: one point
    p = singular / singular.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def rank_share(z) -> float:
    """RankMe of the centred z [N,D] over min(N - 1, D), the most it can be: 8 images never span more than 7 directions,
    so a rank of 7 is a collapse of 4096 images and all there is of 8."""
    z = _matrix(z)
    return rankme(z - z.mean(0)) / min(len(z) - 1, z.shape[1])


def embedding_health(z) -> dict[str, float]:
    """{"rank", "std_mean", "std_min", "cosine"} of embeddings z [N,D].

    std: of each dimension of z / |z|, times sqrt(D), mean and smallest over the dimensions. Directions spread evenly
    over the sphere give 1, a single point gives 0. cosine: the mean over all pairs of different images, 0 and 1 there.
    """
    z = _matrix(z)
    unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    std = unit.std(0) * np.sqrt(z.shape[1])
    n, total = len(z), unit.sum(0)
    return {"rank": rankme(z), "std_mean": float(std.mean()), "std_min": float(std.min()),
            "cosine": float((total @ total - (unit**2).sum()) / (n * (n - 1)))}


def collapse_warning(health: Mapping[str, float], dim: int, n: int | None = None,
                     picture: str = "view_pairs.png") -> str:
    """For embeddings of `dim` dimensions: "" if they are healthy, else what was measured, expected, and what to try.

    The thresholds are rules of thumb: a mean std under 0.1 is (nearly) one point, a rank under 3 a line or a plane
    (in fewer than 5 dimensions: half way from 1 to all there are). n: of so many images; those of fewer than FEW span
    a line or a plane however well they spread, so their rank says nothing. picture: of what the method was shown.
    """
    if health["std_mean"] < 0.1:
        what = f"all images have nearly the same embedding: mean std {health['std_mean']:.3f} (evenly spread: 1)"
    elif (n is None or n >= FEW) and health["rank"] < min(3, (1 + dim) / 2):
        what = f"the embeddings use {health['rank']:.1f} of {min(dim, n or dim)} directions"
    else:
        return ""
    return f"Collapse: {what}. Try a smaller learning rate, weaker views or a larger batch, and look at {picture}."


def _matrix(z) -> np.ndarray:
    z = np.asarray(z.detach().float().cpu() if hasattr(z, "detach") else z, dtype=float)
    if z.ndim != 2 or len(z) < 2 or not z.size or not np.isfinite(z).all():
        raise MedsslError(f"The embeddings have shape {list(z.shape)}, or hold NaN.", "finite numbers [N,D], N > 1")
    return z
