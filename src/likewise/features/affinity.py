"""What a target says about itself: which patches belong together, and where it comes apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .correspondence import BLOCK_ENTRIES

if TYPE_CHECKING:
    import torch

CUT_AFFINITY = 0.1
"""Cosine by which the affinity of two patches falls e times, in ``cut_cost``."""


class Affinities:
    """How alike and how near the N patches of one target are, for any number of classes.

    Matrices of N×N are made in blocks and kept while one block holds them (4096 patches); of larger
    targets every call makes them again.

    Args:
        features: (N, D) float32, unit rows.
        grid: (h, w), h·w = N.
    """

    def __init__(self, features: torch.Tensor, grid: tuple[int, int]) -> None:
        self.features = features
        self.grid = grid
        self._kept: dict[object, torch.Tensor] = {}

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

        n = len(self.features)
        place = torch.arange(n, device=values.device)
        y, x = (place // self.grid[1]).float(), (place % self.grid[1]).float()
        spread = 2 * (math.sqrt(n) / 6) ** 2

        def weights(rows: torch.Tensor) -> torch.Tensor:
            distance = (y[rows, None] - y) ** 2 + (x[rows, None] - x) ** 2
            return torch.softmax(self._cosines(rows) / affinity - distance / spread, dim=1)

        blocks = self._blocks(("weights", affinity), weights)
        return torch.cat([block @ values for _, block in blocks])

    def cut_cost(self, values: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
        """Normalised cut (Shi & Malik 2000) between what lies above and below each threshold.

        Affinities are exp((cos - 1) / 0.1); a side of fewer than two patches costs 2, the most.

        Args:
            values: (N,) float32.
            thresholds: (T,) float32.

        Returns:
            (T,) float32 in 0..2; low where the two sides look unlike.
        """
        import torch

        n = len(self.features)
        above = (values > thresholds[:, None]).float()  # (T, N)
        degree, inner = [], torch.zeros_like(thresholds)

        def affinities(rows: torch.Tensor) -> torch.Tensor:
            return (self._cosines(rows) - 1).div_(CUT_AFFINITY).exp_()

        for rows, block in self._blocks("affinities", affinities):
            degree.append(block.sum(dim=1))
            inner += (above[:, rows] * (above @ block.T)).sum(dim=1)
        degrees = torch.cat(degree)
        volume = above @ degrees
        cut = volume - inner
        cost = cut / volume.clamp_min(1e-6) + cut / (degrees.sum() - volume).clamp_min(1e-6)
        size = above.sum(dim=1)
        return cost.masked_fill((size < 2) | (size > n - 2), 2.0)

    def _cosines(self, rows: torch.Tensor) -> torch.Tensor:
        """(r, N) products of some rows with all."""
        ((_, block),) = self._blocks("cosines", lambda r: self.features[r] @ self.features.T, rows)
        return block

    def _blocks(
        self,
        name: object,
        make: Callable[[torch.Tensor], torch.Tensor],
        rows: torch.Tensor | None = None,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(rows, their part of an N×N matrix), all rows in turn or those that are asked for."""
        import torch

        n = len(self.features)
        whole = torch.arange(n, device=self.features.device)
        if n * n > BLOCK_ENTRIES:
            parts = whole.split(max(1, BLOCK_ENTRIES // n)) if rows is None else [rows]
            yield from ((part, make(part)) for part in parts)
            return
        if name not in self._kept:
            self._kept[name] = make(whole)
        yield whole, self._kept[name]
