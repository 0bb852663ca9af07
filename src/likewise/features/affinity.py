"""What a target says about itself: which of its patches belong together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .correspondence import BLOCK_ENTRIES

if TYPE_CHECKING:
    import torch


class Affinities:
    """How alike and how near the N patches of one target are, for any number of classes.

    The matrix of N×N weights is kept while one block holds it (4096 patches); of larger targets
    every call makes it again, in blocks.

    Args:
        features: (N, D) float32, unit rows.
        grid: (h, w), h·w = N.
    """

    def __init__(self, features: torch.Tensor, grid: tuple[int, int]) -> None:
        self.features = features
        self.grid = grid
        self._kept: dict[float, torch.Tensor] = {}

    def smooth(self, values: torch.Tensor, affinity: float) -> torch.Tensor:
        """Every patch takes the mean of those that look like it and lie near.

        Weights softmax(cos / affinity - d² / 2r²), with r a sixth of the grid's side.

        Args:
            values: (N,) float32.
            affinity: cosine by which a patch must be more alike to weigh e times as much, above 0.

        Returns:
            (N,) float32.
        """
        import torch

        rows = torch.arange(len(self.features), device=values.device)
        if len(rows) ** 2 > BLOCK_ENTRIES:
            parts = rows.split(max(1, BLOCK_ENTRIES // len(rows)))
            return torch.cat([self._weights(part, affinity) @ values for part in parts])
        if affinity not in self._kept:
            self._kept[affinity] = self._weights(rows, affinity)
        return self._kept[affinity] @ values

    def _weights(self, rows: torch.Tensor, affinity: float) -> torch.Tensor:
        """(r, N) weights of all patches for some; each row adds up to 1."""
        import torch

        n = len(self.features)
        place = torch.arange(n, device=rows.device)
        y, x = (place // self.grid[1]).float(), (place % self.grid[1]).float()
        distance = (y[rows, None] - y) ** 2 + (x[rows, None] - x) ** 2
        logits = self.features[rows] @ self.features.T / affinity
        return torch.softmax(logits - distance / (2 * (math.sqrt(n) / 6) ** 2), dim=1)
