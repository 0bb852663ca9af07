"""Smoothing of patch scores inside one image, by similarity and distance of its patches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .correspondence import BLOCK_ENTRIES, block_rows, scaled_cosines

if TYPE_CHECKING:
    import torch

FEW = 1024
"""Patches up to which a mean is over all of them; of more, one of every four stands for the four.
Half of the time for 0.05 mIoU at 48 × 48 patches: see benchmarks/NOTES.md."""


class Affinities:
    """Smoothing weights of the N patches of one target, for any number of classes.

    The weights are kept if they fit in memory (up to 8192 patches); for larger targets every call
    computes them again.

    Args:
        features: (N, D) float32, unit rows.
        grid: (h, w), h·w = N.
    """

    def __init__(self, features: torch.Tensor, grid: tuple[int, int]) -> None:
        import torch

        self.features = features
        self.grid = grid
        place = torch.arange(len(features), device=features.device)
        self._y, self._x = place // grid[1], place % grid[1]
        odd = (self._y % 2 == min(1, grid[0] - 1)) & (self._x % 2 == min(1, grid[1] - 1))
        self._sources = place if len(place) <= FEW else place[odd]
        """(M,) places of the patches that are averaged."""
        self._kept: dict[float, list[torch.Tensor]] = {}

    def smooth(self, values: torch.Tensor, affinity: float) -> torch.Tensor:
        """Replace the value of every patch by a weighted mean over itself and all patches.

        The weights are softmax(cos / affinity - d² / 2r²): cos the cosine similarity of two
        patches, d their distance in patches, r a sixth of the grid's side (√N / 6).

        Args:
            values: (N,) float32.
            affinity: temperature of the cosines, above 0.

        Returns:
            (N,) float32.
        """
        import torch

        n, sources = len(self.features), self._sources
        blocks: Iterable[torch.Tensor] = self._blocks(affinity)
        if n * len(sources) <= BLOCK_ENTRIES:
            blocks = self._kept.setdefault(affinity, [])
            if not blocks:
                blocks.extend(self._blocks(affinity))
        counted = torch.stack([values, torch.ones_like(values)], dim=1)
        times = n / len(sources)  # that a source counts for others; every patch counts once for
        own = torch.ones_like(values).index_fill_(0, sources, 1 - times)  # itself, with weight 1
        others = (times * counted[sources]).T.contiguous().T  # columns: a fifth of the time
        sums = torch.cat([block @ others for block in blocks]) + own[:, None] * counted
        return sums[:, 0] / sums[:, 1]

    def _blocks(self, affinity: float) -> Iterator[torch.Tensor]:
        """(r, M) float32 weights, 1 of a patch for itself, of some patches after the other."""
        import torch

        n, F, sources = len(self.features), self.features, self._sources
        y, x = self._y.float(), self._x.float()
        y, x = y - y.mean(), x - x.mean()
        # cos / affinity plus a product of four columns, which is -1 / affinity - d² / 2r².
        r2 = n / 36
        half, one = (y**2 + x**2) / (2 * r2), torch.ones_like(y)
        left = torch.stack([y / r2, x / r2, one, -half - 1 / affinity], dim=1)
        right = torch.stack([y, x, -half, one], dim=1)[sources].T
        shifts = (place @ right for place in left.split(block_rows(len(sources), F.device)))
        for exponents in scaled_cosines(F, F[sources], 1 / affinity, shifts):
            yield exponents.exp_()
