"""Exact average-linkage clustering of patch features (INSID3 §3.2), kept as a merge tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class MergeTree:
    """The merges of average linkage on cosine distance; any cut of it costs next to nothing."""

    merges: np.ndarray
    """(N-1, 4) float64 in SciPy's linkage layout: two ids, distance in 0..2, size."""

    def cut(self, tau: float) -> np.ndarray:
        """Clusters left when merges closer than distance 1 - tau are made.

        Args:
            tau: cosine similarity in -1..1; higher gives more and smaller clusters.

        Returns:
            (N,) int64 labels 0..C-1, numbered by each cluster's first patch.
        """
        from scipy.cluster.hierarchy import fcluster

        if len(self.merges) == 0:
            return np.zeros(1, dtype=np.int64)
        # A merge at exactly 1 - tau is not made, as in scikit-learn; SciPy alone would make it.
        labels = fcluster(self.merges, np.nextafter(1 - tau, -np.inf), criterion="distance")
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def average_linkage(features: torch.Tensor) -> MergeTree:
    """Agglomerate patches by average linkage on the distance 1 - cosine.

    The same tree as scikit-learn's and SciPy's average linkage on the same distances.

    Args:
        features: (N, D) float32, unit rows, N ≥ 1.
    """
    import fastcluster

    # float32 products, as in the released code, then float64 distances for the linkage.
    similarity = (features @ features.T).cpu().numpy()
    n = len(similarity)
    if n == 1:
        return MergeTree(np.empty((0, 4)))
    condensed = np.empty(n * (n - 1) // 2)
    start = 0
    for i in range(n - 1):  # row by row: no N×N index arrays
        condensed[start : start + n - 1 - i] = similarity[i, i + 1 :]
        start += n - 1 - i
    np.subtract(1, condensed, out=condensed)
    np.maximum(condensed, 0, out=condensed)
    return MergeTree(fastcluster.linkage(condensed, method="average", preserve_input=False))
