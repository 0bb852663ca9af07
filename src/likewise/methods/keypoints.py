"""Semantic correspondence: points of a reference found in a target (INSID3 §4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..features.patch_features import PatchFeatures

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MatchParams:
    """Hyperparameters of the soft-argmax, with the released code's values."""

    sigma: float = 7.0
    """Standard deviation, in patches, of the Gaussian window around the best patch."""
    temperature: float = 0.04
    """Temperature of the softmax over the windowed cosines."""


def match_keypoints(
    reference: PatchFeatures,
    target: PatchFeatures,
    keypoints: torch.Tensor,
    params: MatchParams = MatchParams(),
    debiased: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find each keypoint of the reference in the target.

    1. Cosines of the keypoint's patch to every target patch.
    2. Gaussian window around the patch of highest cosine.
    3. Soft-argmax over the windowed cosines, which gives a position finer than the grid.

    As in the released code, patch (0, 0) stands for the corner of the image, not for its own
    middle.

    Args:
        reference, target: encoded images.
        keypoints: (n, 2) float, x and y in pixels of the reference image.
        params: window and temperature.
        debiased: compare debiased features, as in the paper, or original ones.

    Returns:
        ``(points, similarity)``: (n, 2) float32, x and y in pixels of the target, and (n,) float32
        cosine, -1..1, of the best patch.
    """
    import torch

    R, T = (e.debiased if debiased else e.features for e in (reference, target))
    (rh, rw), (th, tw) = reference.grid, target.grid
    # 1. Cosines.
    points = keypoints.to(R.device, torch.float32)
    x = (points[:, 0] * rw / reference.size[1]).round().long().clamp(0, rw - 1)
    y = (points[:, 1] * rh / reference.size[0]).round().long().clamp(0, rh - 1)
    similarity = R[y * rw + x] @ T.T
    best, index = similarity.max(dim=1)

    # 2. Window.
    patches = torch.arange(th * tw, device=R.device)
    rows, columns = patches // tw, patches % tw
    distance = (rows - (index // tw)[:, None]) ** 2 + (columns - (index % tw)[:, None]) ** 2
    window = torch.exp(-distance / (2 * params.sigma**2))
    # 3. Soft-argmax.
    weights = torch.softmax(similarity * window / params.temperature, dim=1)
    scale = weights.new_tensor([target.size[1] / tw, target.size[0] / th])
    grid = torch.stack([columns, rows], dim=1).to(weights.dtype)
    return weights @ grid * scale, best
