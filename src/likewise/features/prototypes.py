"""Prototypes: one vector that stands for a set of patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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
