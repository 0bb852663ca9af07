"""Exact average-linkage clustering of patch features (INSID3 §3.2), and means of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .correspondence import BLOCK_ENTRIES, BLOCK_ROWS

if TYPE_CHECKING:
    import torch

AVERAGE = 2
"""fastcluster's number of average linkage."""


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
        # A merge at exactly 1 - tau is not made, as in scikit-learn; SciPy would make it.
        return self._labels(self.merges[:, 2] < 1 - tau)

    def into(self, count: int) -> np.ndarray:
        """(N,) int64 labels of at most ``count`` ≥ 1 clusters; equal distances merge together."""
        distances = self.merges[:, 2]
        needed = len(distances) + 1 - count
        if needed <= 0:
            return self._labels(np.zeros(len(distances), dtype=bool))
        return self._labels(distances <= np.partition(distances, needed - 1)[needed - 1])

    def _labels(self, made: np.ndarray) -> np.ndarray:
        """From (N-1,) bool; no merge is made without those it is of, for distances only rise."""
        n = len(self.merges) + 1
        root = np.arange(2 * n - 1)
        root[self.merges[made, :2].astype(np.int64)] = n + np.flatnonzero(made)[:, None]
        while (root[root] != root).any():
            root = root[root]
        _, first, inverse = np.unique(root[:n], return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def average_linkage(features: torch.Tensor) -> MergeTree:
    """Agglomerate patches by average linkage on the distance 1 - cosine.

    The same partitions as scikit-learn's and SciPy's average linkage on the same distances. On the
    CPU by fastcluster, on other devices by ``reciprocal_merges``, so that no N×N matrix travels.

    Args:
        features: (N, D) float32, unit rows, N ≥ 1.
    """
    if len(features) == 1:
        return MergeTree(np.empty((0, 4)))
    if features.device.type == "cpu":
        # What fastcluster.linkage calls; to import that imports SciPy, a quarter of a second.
        from _fastcluster import linkage_wrap

        merges = np.empty((len(features) - 1, 4))
        linkage_wrap(len(features), condensed_distances(features), merges, AVERAGE)
        return MergeTree(merges)
    return MergeTree(reciprocal_merges(features))


def condensed_distances(features: torch.Tensor) -> np.ndarray:
    """1 - cosine of every pair, in SciPy's condensed order; half the work and memory of a square.

    Args:
        features: (N, D) float32, unit rows, on the CPU.

    Returns:
        (N·(N-1)/2,) float64 in 0..2, of products in float32 as in the released code.
    """
    n = len(features)
    condensed = np.empty(n * (n - 1) // 2)
    end = 0
    for start in range(0, n, BLOCK_ROWS):
        block = (features[start : start + BLOCK_ROWS] @ features[start:].T).numpy()
        for i, row in enumerate(block, 1):
            begin, end = end, end + len(row) - i
            np.subtract(1, row[i:], out=condensed[begin:end], dtype=np.float64)
    return np.maximum(condensed, 0, out=condensed)


def reciprocal_merges(features: torch.Tensor) -> np.ndarray:
    """Average linkage in rounds: all clusters that are each other's nearest merge at once.

    Exact, because average linkage is reducible: a merge brings no two other clusters closer than
    they are. The mean similarity of two clusters is the product of their mean features, so that no
    N×N matrix is kept. Some 40 rounds for an image; the lowest index wins a tie.

    Args:
        features: (N, D) float32, unit rows, N ≥ 2, on any device; all work stays there.

    Returns:
        (N-1, 4) float64 merges in SciPy's linkage layout, by rising distance.
    """
    import torch

    n = len(features)
    sums, size = features.double(), features.new_ones(n, dtype=torch.float64)
    name, height = torch.arange(n, device=features.device), torch.zeros_like(size)
    rounds = []
    while len(sums) > 1:
        similarity, partner = _nearest_other((sums / size[:, None]).float())
        index = torch.arange(len(sums), device=sums.device)
        first = index[(partner[partner] == index) & (index < partner)]
        if len(first) == 0:  # a tie that rounding told apart in one direction only
            best = similarity.argmax()
            first = torch.minimum(best, partner[best])[None]
            partner[first] = torch.maximum(best, partner[best])
        second = partner[first]
        # Never below its parts, whatever rounding says: sorting then keeps parts before wholes.
        distance = (1 - similarity[first].double()).clamp_min(0)
        distance = torch.maximum(distance, torch.maximum(height[first], height[second]))
        size[first] += size[second]
        rounds.append(torch.stack([name[first], name[second], distance, size[first]], dim=1))
        sums[first] += sums[second]
        height[first] = distance
        made = n + sum(map(len, rounds))
        name[first] = torch.arange(made - len(first), made, device=name.device)
        keep = torch.ones_like(index, dtype=torch.bool)
        keep[second] = False
        sums, size, name, height = sums[keep], size[keep], name[keep], height[keep]
    merges = torch.cat(rounds).cpu().numpy()
    order = np.argsort(merges[:, 2], kind="stable")
    new_names = np.arange(2 * n - 1)
    new_names[n + order] = np.arange(n, 2 * n - 1)
    merges[:, :2] = np.sort(new_names[merges[:, :2].astype(np.int64)], axis=1)
    return merges[order]


def _nearest_other(means: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For every row of (C, D) the greatest product with another row, and which row that is."""
    import torch

    values, indices = [], []
    rows = max(1, BLOCK_ENTRIES // len(means))
    for start in range(0, len(means), rows):
        products = means[start : start + rows] @ means.T
        products.diagonal(start).fill_(-torch.inf)
        best = products.max(dim=1)
        values.append(best.values)
        indices.append(best.indices)
    return torch.cat(values), torch.cat(indices)


def reference_prototype(
    features: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Mean over each reference's masked patches, mean over references, then normalised (Eq. 2).

    Args:
        features: K tensors (N, D) float32.
        masks: K tensors (N,) bool, none of them empty.

    Returns:
        (D,) float32, unit length.
    """
    import torch

    means = torch.stack([F[G].mean(dim=0) for F, G in zip(features, masks, strict=True)])
    return torch.nn.functional.normalize(means.mean(dim=0), dim=0)


def cluster_prototypes(features: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """Normalised mean of every cluster (Eq. 9).

    Args:
        features: (N, D) float32.
        labels: (N,) int64 in 0..count-1, every id present.
        count: number of clusters C.

    Returns:
        (C, D) float32, unit rows.
    """
    import torch

    return torch.nn.functional.normalize(cluster_means(features, labels, count), dim=1)


def cluster_means(values: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """Mean of ``values`` ((N,) or (N, D), floating) over every cluster: (C,) or (C, D)."""
    import torch

    sums = values.new_zeros((count, *values.shape[1:])).index_add_(0, labels, values)
    sizes = torch.bincount(labels, minlength=count).to(values.dtype)
    return sums / sizes.reshape(-1, *[1] * (values.ndim - 1))
