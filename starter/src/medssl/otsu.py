"""Otsu's threshold (1979) of a histogram: for files that become tensors and for views of tensors alike."""

import numpy as np


def best_edge(count: np.ndarray, edges: np.ndarray) -> float:
    """The edge that parts the bins into two groups with the largest w₀w₁(m₀ - m₁)²: the share of both groups times the
    squared distance of their means. count [n], edges [n+1]; the first inner edge where all is in one bin."""
    dark = np.cumsum(count, dtype=np.float64)
    sums, bright = np.cumsum(count * (edges[:-1] + edges[1:]) / 2), dark[-1] - dark
    with np.errstate(invalid="ignore", divide="ignore"):  # a group may be empty: no parting, 0
        gap = dark * bright * (sums / dark - (sums[-1] - sums) / bright) ** 2
    return float(edges[1:][np.nan_to_num(gap).argmax()])
