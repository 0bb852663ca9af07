"""Guided filter with a colour guide (He, Sun, Tang: Guided Image Filtering, PAMI 2013).

Its coefficients are computed on a coarser grid, as in Fast Guided Filter (He, Sun 2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def guided_filter(
    guide: torch.Tensor,
    scores: torch.Tensor,
    radius: int = 8,
    eps: float = 1e-3,
    step: int = 1,
) -> torch.Tensor:
    """Filter scores along the edges of an image: q = aᵀI + b, a and b least squares per window.

    Args:
        guide: I, (H, W, 3) float32 in 0..1.
        scores: p, (H, W) float32, same device.
        radius: half width of the square window, in pixels; about half a patch.
        eps: regularisation, the variance of colour below which a window counts as flat.
        step: factor by which I and p are subsampled for a and b.

    Returns:
        (H, W) float32 in 0..1, the filtered scores q.
    """
    import torch

    # 1. Subsample I and p.
    whole, size = guide.permute(2, 0, 1), scores.shape
    step = max(1, min(step, *size))
    I, p = (torch.nn.functional.avg_pool2d(v, step, ceil_mode=True) for v in (whole, scores[None]))
    radius = max(1, radius // step)
    # 2. Moments of every window.
    products = (I[:, None] * I[None]).flatten(0, 1)  # the 9 entries of I·Iᵀ
    moments = _box(torch.cat([I, p, I * p, products]), radius)
    mean_I, mean_p, mean_Ip, mean_II = moments.split([3, 1, 3, 9])

    # 3. a = (cov(I) + eps·1)⁻¹ cov(I, p), b = mean(p) - aᵀ mean(I).
    eye = torch.eye(3, device=guide.device)
    covariance = (mean_II - (mean_I[:, None] * mean_I[None]).flatten(0, 1)).permute(1, 2, 0)
    covariance = covariance.unflatten(2, (3, 3)) + eps * eye
    cross = (mean_Ip - mean_I * mean_p).permute(1, 2, 0)
    a = torch.linalg.solve(covariance, cross).permute(2, 0, 1)
    b = mean_p - (a * mean_I).sum(dim=0, keepdim=True)
    # 4. Mean of a and b over the windows of each pixel, applied at full resolution.
    functions = _box(torch.cat([a, b]), radius)
    if step > 1:
        functions = torch.nn.functional.interpolate(functions[None], size, mode="bilinear")[0]
    return ((functions[:3] * whole).sum(dim=0) + functions[3]).clamp(0, 1)


def _box(values: torch.Tensor, radius: int) -> torch.Tensor:
    """(C, H, W) means over (2r+1)² windows, of the pixels inside the image only."""
    import torch

    for dim in ((1, 2 * radius + 1), (2 * radius + 1, 1)):
        padding = (dim[0] // 2, dim[1] // 2)
        values = torch.nn.functional.avg_pool2d(
            values, dim, stride=1, padding=padding, count_include_pad=False
        )
    return values
