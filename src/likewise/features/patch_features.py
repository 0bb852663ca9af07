"""Patch features of one image: the output of the encoder, the input of every later stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
