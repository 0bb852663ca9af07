"""Patch features of one image, the output of the encoder; masks on the grid of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class PatchFeatures:
    """Patch features of one image, computed once and shared by every class, method and threshold.

    N = h·w patches, row-major over the grid; D is the backbone's dimension.
    """

    features: torch.Tensor
    """F: (N, D) float32, unit rows. For comparisons inside one image (clustering)."""
    debiased: torch.Tensor
    """F~: (N, D) float32, unit rows, positional subspace removed. For comparisons across images."""
    grid: tuple[int, int]
    """(h, w) patches."""
    size: tuple[int, int]
    """(H, W) pixels of the original image."""
    colour: torch.Tensor | None = None
    """(N, 3) float32 in 0..1: mean RGB of each patch; None when only features are known."""
    picture: np.ndarray | None = None
    """(H', W', 3) uint8: the image at the encoder's input size; None where it was not kept."""


def mask_to_grid(mask: np.ndarray, grid: tuple[int, int]) -> torch.Tensor:
    """G: which patches a pixel mask covers (INSID3 §3.1, with the released code's fall-backs).

    Bilinear resize > 0.5; if that is empty, nearest; if still empty, the one patch at the mask's
    centroid, so that a reference never ends up without a patch.

    Args:
        mask: (H, W) bool with at least one True.
        grid: (h, w).

    Returns:
        (h·w,) bool tensor on the CPU, row-major.
    """
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    patches = torch.nn.functional.interpolate(pixels, size=grid, mode="bilinear")[0, 0] > 0.5
    if not patches.any():
        patches = torch.nn.functional.interpolate(pixels, size=grid, mode="nearest")[0, 0] > 0.5
    if not patches.any():
        rows, columns = np.nonzero(mask)
        y = int(rows.mean() / mask.shape[0] * grid[0])
        x = int(columns.mean() / mask.shape[1] * grid[1])
        patches[min(y, grid[0] - 1), min(x, grid[1] - 1)] = True
    return patches.flatten()


def mask_share(mask: np.ndarray, grid: tuple[int, int]) -> torch.Tensor:
    """The share of each patch that a pixel mask covers; above 0 wherever a pixel is masked.

    Args:
        mask: (H, W) bool.
        grid: (h, w).

    Returns:
        (h·w,) float32 in 0..1 on the CPU, row-major.
    """
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(mask)).float()[None]
    return torch.nn.functional.adaptive_avg_pool2d(pixels, grid).flatten()


def resampled(
    features: torch.Tensor, grid: tuple[int, int], wanted: tuple[int, int]
) -> torch.Tensor:
    """(N, D) unit rows on a grid → (N', D) unit rows on another, bilinearly."""
    import torch

    if grid == wanted:
        return features
    picture = features.unflatten(0, grid).permute(2, 0, 1)[None]
    other = torch.nn.functional.interpolate(picture, wanted, mode="bilinear", antialias=True)
    return torch.nn.functional.normalize(other[0].flatten(1).mT, dim=1)
