"""Labels carried from frame to frame along correspondences (label propagation as in DINO)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..features.patch_features import PatchFeatures
from .memory import Known

if TYPE_CHECKING:
    import torch


def neighbourhood(
    grid: tuple[int, int], radius: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The patches around every patch.

    Args:
        grid: (h, w), N = h·w.
        radius: in patches, along both axes.

    Returns:
        (N, M) int64 numbers of patches, M = (2·radius + 1)², and (N, M) bool: false where a place
        lies outside the grid.
    """
    import torch

    steps = torch.arange(-radius, radius + 1, device=device)
    dy, dx = torch.meshgrid(steps, steps, indexing="ij")
    place = torch.arange(grid[0] * grid[1], device=device)
    y = (place // grid[1])[:, None] + dy.flatten()
    x = (place % grid[1])[:, None] + dx.flatten()
    inside = (y >= 0) & (y < grid[0]) & (x >= 0) & (x < grid[1])
    return (y * grid[1] + x).clamp(0, len(place) - 1) * inside, inside


def carry(
    target: PatchFeatures,
    anywhere: Sequence[Known],
    near: Sequence[Known],
    window: tuple[torch.Tensor, torch.Tensor],
    neighbours: int,
    temperature: float,
) -> torch.Tensor:
    """Every patch takes the labels of the patches of known frames that look most like it.

    Args:
        target: N patches.
        anywhere: frames in which these may lie wherever they like, and …
        near: … those in which they must lie near; at least one frame in all.
        window: of ``neighbourhood``: what near means.
        neighbours: how many patches, of all frames together, are asked.
        temperature: cosine by which one must be more alike to weigh e times as much.

    Returns:
        (K, N) float32 in 0..1.
    """
    import torch

    T = target.features
    cosines, labels = [], []
    for frame in anywhere:
        best = (T @ frame.encoded.features.T).topk(min(neighbours, len(T)), dim=1)
        cosines.append(best.values)
        labels.append(frame.labels[:, best.indices])
    places, inside = window
    for frame in near:
        found = (T @ frame.encoded.features.T).gather(1, places).masked_fill(~inside, -torch.inf)
        best = found.topk(min(neighbours, found.shape[1]), dim=1)
        cosines.append(best.values)
        labels.append(frame.labels[:, places.gather(1, best.indices)])
    found, theirs = torch.cat(cosines, dim=1), torch.cat(labels, dim=2)
    best = found.topk(min(neighbours, found.shape[1]), dim=1)
    weights = torch.softmax(best.values / temperature, dim=1)
    chosen = theirs.gather(2, best.indices.expand(len(theirs), -1, -1))
    return (chosen * weights).sum(dim=2)
