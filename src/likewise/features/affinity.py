"""What a target says about itself: which patches belong together, and where it comes apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .correspondence import BLOCK_ENTRIES

if TYPE_CHECKING:
    import torch

CUT_AFFINITY = 0.1
"""Cosine by which the affinity of two patches falls e times, in ``cut_cost``."""


def smooth(
    values: torch.Tensor, features: torch.Tensor, grid: tuple[int, int], affinity: float
) -> torch.Tensor:
    """Every patch takes the mean of those that look like it and lie near.

    Weights softmax(cos / affinity - d² / 2r²), with r a sixth of the grid's side.

    Args:
        values: (N,) float32.
        features: (N, D) float32, unit rows.
        grid: (h, w), h·w = N.
        affinity: cosine by which a patch must be more alike to weigh e times as much, above 0.

    Returns:
        (N,) float32.
    """
    import torch

    n = len(values)
    place = torch.arange(n, device=values.device)
    y, x = (place // grid[1]).float(), (place % grid[1]).float()
    spread = 2 * (math.sqrt(n) / 6) ** 2
    out = []
    for part in place.split(max(1, BLOCK_ENTRIES // n)):
        distance = (y[part, None] - y) ** 2 + (x[part, None] - x) ** 2
        logits = features[part] @ features.T / affinity - distance / spread
        out.append(torch.softmax(logits, dim=1) @ values)
    return torch.cat(out)


def cut_cost(
    values: torch.Tensor, features: torch.Tensor, thresholds: torch.Tensor
) -> torch.Tensor:
    """Normalised cut (Shi & Malik 2000) between what lies above and below each threshold.

    Affinities are exp((cos - 1) / 0.1); a side of fewer than two patches costs 2, the most.

    Args:
        values: (N,) float32.
        features: (N, D) float32, unit rows.
        thresholds: (T,) float32.

    Returns:
        (T,) float32 in 0..2; low where the two sides look unlike.
    """
    import torch

    n = len(values)
    above = (values > thresholds[:, None]).float()  # (T, N)
    degree, inner = [], torch.zeros_like(thresholds)
    for part in torch.arange(n, device=values.device).split(max(1, BLOCK_ENTRIES // n)):
        affinity = torch.exp((features[part] @ features.T - 1) / CUT_AFFINITY)
        degree.append(affinity.sum(dim=1))
        inner += (above[:, part] * (above @ affinity.T)).sum(dim=1)
    degrees = torch.cat(degree)
    volume = above @ degrees
    cut = volume - inner
    cost = cut / volume.clamp_min(1e-6) + cut / (degrees.sum() - volume).clamp_min(1e-6)
    size = above.sum(dim=1)
    return cost.masked_fill((size < 2) | (size > n - 2), 2.0)
