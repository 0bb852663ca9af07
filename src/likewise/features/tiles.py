"""Tiles of a large image, and what they say of it put together on one patch grid.

A tile is a square of g × g patches of the whole image's grid, g as the encoder sees it. Neighbours
overlap; where they do, both count, with weights that fall like a cosine to the edge of a tile. Sums
are kept as whole numbers, so that the order of the tiles does not change a bit of them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

OVERLAP = 1 / 4
"""Share of a tile that its neighbour sees too, at least."""
STEP, SHARE = 1 / 4096, 1 / 1_000_000
"""What nats of evidence and weights of tiles are rounded to."""
IN_MEMORY = 256_000_000
"""Bytes of features that are kept in memory; more go to a temporary file."""
FLAT = 4
"""Grey levels between the darkest and the brightest pixel of a tile in which nothing is looked for.
"""


@dataclass(frozen=True)
class Plan:
    """How an image is read in tiles."""

    size: tuple[int, int]
    """(H, W) pixels."""
    patch: int
    """Pixels of the image that a patch covers in each direction."""
    side: int
    """g: patches of a tile in each direction."""
    overlap: int
    """Patches that neighbours share at least, below g."""

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) patches of the whole image; the last may reach beyond it."""
        h, w = (-(-pixels // self.patch) for pixels in self.size)
        return h, w

    @property
    def tile(self) -> int:
        """Pixels of a tile in each direction."""
        return self.patch * self.side

    def starts(self, axis: int) -> list[int]:
        """First patch of each tile along an axis; the first tile starts at 0, the last one ends
        with the image, or reaches beyond an image that is smaller than a tile."""
        free = max(0, self.grid[axis] - self.side)
        steps = math.ceil(free / (self.side - self.overlap))
        return [round(free * k / max(1, steps)) for k in range(steps + 1)]

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """(row, column) of the first patch of each tile, row by row."""
        return [(row, column) for row in self.starts(0) for column in self.starts(1)]

    def weights(self, tile: tuple[int, int]) -> npt.NDArray[np.float64]:
        """(g, g) in 0..1; over all tiles they add up to 1 at every patch of the grid."""
        rows, columns = (self._along(axis)[first] for axis, first in enumerate(tile))
        return np.asarray(rows[:, None] * columns)

    def _along(self, axis: int) -> dict[int, npt.NDArray[np.float64]]:
        """First patch of a tile → (g,) weights along an axis: 1 where it is alone, and falling like
        sin² to its edges where others overlap it."""
        ramp = np.sin(np.pi * (np.arange(self.side) + 0.5) / self.side) ** 2
        starts = self.starts(axis)
        total = np.zeros(max(self.side, self.grid[axis]))
        for first in starts:
            total[first : first + self.side] += ramp
        return {first: ramp / total[first : first + self.side] for first in starts}


def plan_tiles(size: tuple[int, int], patch: int, side: int, largest: float = 0.0) -> Plan:
    """Tiles with an overlap that no object falls between: it is larger than the largest one.

    Args:
        size: (H, W) pixels of the image.
        patch: pixels of it that a patch covers.
        side: patches of a tile in each direction.
        largest: pixels that an object measures at most, if known. The halo, half of the overlap, is
            more than half of that, unless no overlap of up to half a tile can hold such an object.
    """
    least, wanted = max(1, round(OVERLAP * side)), math.ceil(largest / patch) + 1
    return Plan(size, patch, side, wanted if least < wanted <= side // 2 else least)


def is_flat(pixels: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_] | None) -> bool:
    """Whether a tile has nothing to look for: no data, or one colour, as a sky or a glass slide.

    Args:
        pixels: (H, W, 3).
        valid: (H, W), or None where all are.
    """
    shown = pixels if valid is None else pixels[valid]
    if not shown.size:
        return True
    channels = shown.reshape(-1, 3)
    return bool((channels.max(axis=0) - channels.min(axis=0) <= FLAT).all())


class Mosaic:
    """Features and evidence of all tiles of one image, blended on its grid of h·w patches.

    Memory: 4 bytes for each patch and kind of evidence; the features, 2 bytes for each of the D
    dimensions, go to a temporary file where they are many.

    Args:
        plan: of the tiles.
        dim: D of the features.
        kinds: C, how many numbers of evidence each patch has.
    """

    def __init__(self, plan: Plan, dim: int, kinds: int) -> None:
        self.plan = plan
        h, w = plan.grid
        self._shape = (h, w, dim)
        self._weight = np.zeros((h, w), np.int32)
        self._evidence = np.zeros((kinds, h, w), np.int32)
        self._file: Any = None
        self._features: npt.NDArray[np.int16] | None = None
        if 2 * h * w * dim <= IN_MEMORY:
            self._features = np.zeros(self._shape, np.int16)
        else:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (lives as long as the mosaic)
            self._file.truncate(2 * h * w * dim)

    def add(
        self,
        tile: tuple[int, int],
        features: torch.Tensor,
        evidence: list[torch.Tensor],
        shown: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Add one tile, each once, in any order.

        Args:
            tile: of the plan.
            features: (g·g, D) float32 unit rows.
            evidence: C of (g·g,) float32 nats.
            shown: (g, g), the patches that have data; None if all do.
        """
        row, column = tile
        side, (h, w) = self.plan.side, self.plan.grid
        rows, columns = slice(row, min(row + side, h)), slice(column, min(column + side, w))
        inside = slice(rows.stop - row), slice(columns.stop - column)
        weights = self.plan.weights(tile)[inside]
        if shown is not None:
            weights = weights * shown[inside]
        self._weight[rows, columns] += np.rint(weights / SHARE).astype(np.int32)
        for sums, values in zip(self._evidence, evidence, strict=True):
            nats = values.cpu().numpy().reshape(side, side)[inside]
            sums[rows, columns] += np.rint(weights * nats / STEP).astype(np.int32)
        unit = features.cpu().numpy().reshape(side, side, -1)[inside]
        kept = self._open()
        kept[rows, columns] += np.rint(weights[..., None] * unit * 32000).astype(np.int16)

    def _open(self) -> npt.NDArray[np.int16]:
        """(h, w, D) of the features; a file is mapped anew, so that what was read leaves memory."""
        if self._features is not None:
            return self._features
        return np.memmap(self._file, np.int16, "r+", shape=self._shape)

    def _read(self, band: slice) -> npt.NDArray[np.int16]:
        """A copy of rows of the features; a file is read: mapped pages stay in memory."""
        if self._features is not None:
            return self._features[band].copy()
        _, w, dim = self._shape
        values = np.empty((band.stop - band.start, w, dim), np.int16)
        self._file.seek(2 * band.start * w * dim)
        self._file.readinto(values.data.cast("B"))
        return values

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """(h, w): the patches that a tile was added of."""
        return self._weight > 0

    def evidence(self, kind: int) -> npt.NDArray[np.float32]:
        """(h, w) blended nats of one kind; 0 where nothing was seen."""
        blended = self._evidence[kind] * STEP / (np.maximum(self._weight, 1) * SHARE)
        return np.where(self.seen, blended, 0).astype(np.float32)

    def rows(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Bands of the grid from top to bottom: its rows, and (n·w, D) float32 unit features."""
        import torch

        h, w, dim = self._shape
        step = max(1, 2_000_000 // (w * dim))
        for first in range(0, h, step):
            band = slice(first, min(first + step, h))
            values = torch.from_numpy(self._read(band)).float().reshape(-1, dim)
            yield band, torch.nn.functional.normalize(values, dim=1)
