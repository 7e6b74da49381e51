"""Features of hundreds of dimensions on a sheet of paper. A map is for looking; it measures nothing."""

import numpy as np

from medssl.errors import MedsslError
from medssl.evaluate.probes import as_features, scale


def flat_map(x, method: str = "tsne", *, neighbours: int = 30, seed: int = 0) -> np.ndarray:
    """Features [N,D] -> places on a sheet [N,2], by method "tsne", "umap" (where umap-learn is installed) or "pca".

    t-SNE and UMAP keep neighbours together and give up distances: they also draw islands where there are none, the more
    so with fewer `neighbours` (t-SNE calls them perplexity). Features are standardised first, as for the probes.
    """
    x = as_features(x, "x")
    mean, std = scale(x)
    x = (x - mean) / std
    left, values, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    x = (left * values)[:, :50]  # the usual first step: fewer dimensions, less noise in the distances
    neighbours = min(neighbours, max(2, (len(x) - 1) // 3))
    if method == "pca":
        return x[:, :2]
    if method == "tsne":
        from sklearn.manifold import TSNE

        return TSNE(perplexity=neighbours, init="pca", random_state=seed).fit_transform(x.astype(np.float32))
    if method == "umap" and umap_at_hand():
        from umap import UMAP

        return UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(x)
    raise MedsslError(f"There is no map {method!r} here.", "tsne, pca, or umap where umap-learn is installed",
                      "pip install umap-learn, or take tsne")


def umap_at_hand() -> bool:
    """Whether umap-learn is installed."""
    from importlib.util import find_spec

    return find_spec("umap") is not None
