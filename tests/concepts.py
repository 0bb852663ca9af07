"""Hand-made features: scenes of a thing and of what is around it."""

from __future__ import annotations

import torch

from likewise.features.patch_features import PatchFeatures
from likewise.methods import likewise as method

K = torch.linalg.qr(torch.randn(32, 8, generator=torch.Generator().manual_seed(0)))[0].T
THING, SCENE, OTHER, PLACE = K[:4]
GRID = (12, 12)


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def box(top: int, bottom: int, left: int, right: int, grid: tuple[int, int] = GRID) -> torch.Tensor:
    mask = torch.zeros(grid, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask.flatten()


def scene(
    mask: torch.Tensor,
    thing: torch.Tensor = THING,
    rest: torch.Tensor = SCENE,
    seed: int = 0,
    grid: tuple[int, int] = GRID,
    noise: float = 0.1,
) -> PatchFeatures:
    """Every patch is the one or the other direction, and a little of its own."""
    rows = torch.where(mask[:, None], thing, rest)
    own = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))
    rows = unit(rows + noise * unit(own))
    return PatchFeatures(rows, rows, grid, (8 * grid[0], 8 * grid[1]))


def found(scores: method.Scores) -> torch.Tensor:
    return scores.patches > 0.5


HERE, THERE, WIDE = box(3, 7, 3, 8), box(6, 10, 5, 10), box(1, 9, 1, 7)
