"""Smoothing of patch scores inside one image, by similarity and distance of its patches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .clustering import BLOCK_ROWS
from .correspondence import BLOCK_ENTRIES

if TYPE_CHECKING:
    import torch


class Affinities:
    """Smoothing weights of the N patches of one target, for any number of classes.

    They are symmetric but for the sums of their rows, so only blocks of the upper triangle are
    computed. The blocks are kept if they fit in memory (up to 4096 patches); for larger targets
    every call computes them again.

    Args:
        features: (N, D) float32, unit rows.
        grid: (h, w), h·w = N.
    """

    def __init__(self, features: torch.Tensor, grid: tuple[int, int]) -> None:
        self.features = features
        self.grid = grid
        self._kept: dict[float, list[torch.Tensor]] = {}

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

        blocks: Iterable[torch.Tensor] = self._blocks(affinity)
        if len(self.features) ** 2 <= BLOCK_ENTRIES:
            blocks = self._kept.setdefault(affinity, [])
            if not blocks:
                blocks.extend(self._blocks(affinity))
        counted = torch.stack([values, torch.ones_like(values)], dim=1)
        sums, start = torch.zeros_like(counted), 0
        for block in blocks:
            end = start + len(block)
            sums[start:end] += block @ counted[start:]
            sums[end:] += block[:, end - start :].T @ counted[start:end]
            start = end
        return sums[:, 0] / sums[:, 1]

    def _blocks(self, affinity: float) -> Iterator[torch.Tensor]:
        """(r, N - s) float32 weights, 1 of a patch for itself, of patches s to s + r and later."""
        import torch

        n, F = len(self.features), self.features
        place = torch.arange(n, device=F.device)
        y, x = (place // self.grid[1]).float(), (place % self.grid[1]).float()
        y, x = y - y.mean(), x - x.mean()
        # cos / affinity - 1 / affinity - d² / 2r², all of it as one product.
        r2 = n / 36
        half, one = (y**2 + x**2) / (2 * r2), torch.ones_like(y)
        rows = torch.stack([y / r2, x / r2, one, -half - 1 / affinity], dim=1)
        left = torch.cat([F / affinity, rows], dim=1)
        right = torch.cat([F, torch.stack([y, x, -half, one], dim=1)], dim=1)
        side = BLOCK_ROWS if F.device.type == "cpu" else max(1, BLOCK_ENTRIES // n)
        for start in range(0, n, side):
            yield (left[start : start + side] @ right[start:].T).exp_()
