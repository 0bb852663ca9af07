"""Smoothing of patch scores inside one image, by similarity and distance of its patches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .correspondence import BLOCK_ENTRIES

if TYPE_CHECKING:
    import torch


class Affinities:
    """Smoothing weights of the N patches of one target, for any number of classes.

    The N×N matrix is cached if it fits in one block (4096 patches); for larger targets every call
    computes it again, in blocks.

    Args:
        features: (N, D) float32, unit rows.
        grid: (h, w), h·w = N.
    """

    def __init__(self, features: torch.Tensor, grid: tuple[int, int]) -> None:
        self.features = features
        self.grid = grid
        self._cached: dict[float, torch.Tensor] = {}

    def smooth(self, values: torch.Tensor, affinity: float) -> torch.Tensor:
        """Replace the value of every patch by a weighted mean over all patches.

        The weights are softmax(cos / affinity - d² / 2r²): cos the cosine similarity of two
        patches, d their distance in patches, r a sixth of the grid's side (√N / 6).

        Args:
            values: (N,) float32.
            affinity: temperature of the cosines, above 0.

        Returns:
            (N,) float32.
        """
        import torch

        rows = torch.arange(len(self.features), device=values.device)
        if len(rows) ** 2 > BLOCK_ENTRIES:
            parts = rows.split(max(1, BLOCK_ENTRIES // len(rows)))
            return torch.cat([self._weights(part, affinity) @ values for part in parts])
        if affinity not in self._cached:
            self._cached[affinity] = self._weights(rows, affinity)
        return self._cached[affinity] @ values

    def _weights(self, rows: torch.Tensor, affinity: float) -> torch.Tensor:
        """(r, N) float32 weights of all patches, for r of them; each row adds up to 1."""
        import torch

        n = len(self.features)
        place = torch.arange(n, device=rows.device)
        y, x = (place // self.grid[1]).float(), (place % self.grid[1]).float()
        distance = (y[rows, None] - y) ** 2 + (x[rows, None] - x) ** 2
        logits = self.features[rows] @ self.features.T / affinity
        return torch.softmax(logits - distance / (2 * (math.sqrt(n) / 6) ** 2), dim=1)
