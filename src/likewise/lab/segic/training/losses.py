"""The mask loss of SegIC (§3.4): dice and cross-entropy on importance-sampled points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Chance: TypeAlias = "torch.Generator | Sequence[torch.Generator]"
"""Generator of a batch, or one for each of its samples."""

POINTS = 12544
"""K, points of each mask (§4.2): 112 × 112."""
OVERSAMPLE, UNSURE = 3, 0.75
"""OVERSAMPLE·K points are drawn; UNSURE·K of smallest |logit| are used, the rest is random."""
CE, DICE = 5.0, 5.0
"""λ_ce and λ_dice, not given in the paper; the values of Mask2Former (its reference 11)."""


def mask_loss(
    logits: torch.Tensor,
    masks: torch.Tensor,
    valid: torch.Tensor,
    generator: Chance,
    points: int = POINTS,
) -> torch.Tensor:
    """L = λ_ce L_ce + λ_dice L_dice on importance-sampled points, the mean of B samples.

    Args:
        logits: (B, h, w) float32.
        masks: (B, H, W) float32 in 0..1, the truth, of any size.
        valid: (B, H, W) float32, weight of each pixel, 0 or 1.
        generator: of the points, on the CPU, so that they are the same on every device. With one
            for each sample its loss does not depend on the other samples of the batch.
        points: K.
    """
    import torch

    with torch.no_grad():
        where = sample_points(logits, points, generator)
        truth, weight = at_points(masks, where), at_points(valid, where)
    sampled = at_points(logits, where)
    ce = torch.nn.functional.binary_cross_entropy_with_logits(sampled, truth, reduction="none")
    ce = (ce * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
    return (CE * ce + DICE * dice_loss(sampled, truth, weight)).mean()


def dice_loss(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(B,) dice loss 1 - (2 Σ p y + 1) / (Σ p + Σ y + 1) of (B, K) logits, truth and weight."""
    p, y = logits.sigmoid() * weight, truth * weight
    return 1 - (2 * (p * y).sum(dim=1) + 1) / (p.sum(dim=1) + y.sum(dim=1) + 1)


def sample_points(logits: torch.Tensor, count: int, generator: Chance) -> torch.Tensor:
    """Importance sampling of PointRend: mostly points whose logits are near 0.

    Args:
        logits: (B, h, w) float32.
        count: K.
        generator: on the CPU.

    Returns:
        (B, K, 2) float32, x and y in 0..1.
    """
    import torch

    batch, unsure = len(logits), round(UNSURE * count)
    drawn = _random_points(batch, OVERSAMPLE * count, generator).to(logits.device)
    best = (-at_points(logits, drawn).abs()).topk(unsure, dim=1).indices
    chosen = drawn.gather(1, best[..., None].expand(-1, -1, 2))
    rest = _random_points(batch, count - unsure, generator).to(logits.device)
    return torch.cat([chosen, rest], dim=1)


def _random_points(batch: int, count: int, generator: Chance) -> torch.Tensor:
    """(B, K, 2) float32, uniform in 0..1."""
    import torch

    if isinstance(generator, torch.Generator):
        return torch.rand(batch, count, 2, generator=generator)
    return torch.stack([torch.rand(count, 2, generator=own) for own in generator])


def at_points(values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B, K) bilinear samples of (B, h, w) values at (B, K, 2) points x, y in 0..1."""
    import torch

    return torch.nn.functional.grid_sample(
        values[:, None], points[:, :, None] * 2 - 1, padding_mode="border", align_corners=False
    )[:, 0, :, 0]
