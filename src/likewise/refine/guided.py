"""Guided filter with a colour guide (He, Sun, Tang: Guided Image Filtering, PAMI 2013).

With the shortcut of Fast Guided Filter (He, Sun 2015): the linear functions are found on a coarser
grid, and used at every pixel.
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
    """Make ``scores`` follow the edges of ``guide``: in every window a linear function of colour.

    Args:
        guide: (H, W, 3) float32 in 0..1.
        scores: (H, W) float32, same device.
        radius: half width of the square window in pixels; about half a patch.
        eps: variance of colour below which a window counts as flat.
        step: pixels, in both directions, of which only the mean is looked at for the functions.

    Returns:
        (H, W) float32, the filtered scores.
    """
    import torch

    whole, size = guide.permute(2, 0, 1), scores.shape
    step = max(1, min(step, *size))
    I, p = (torch.nn.functional.avg_pool2d(v, step, ceil_mode=True) for v in (whole, scores[None]))
    radius = max(1, radius // step)
    products = (I[:, None] * I[None]).flatten(0, 1)  # the 9 entries of I·Iᵀ
    moments = _box(torch.cat([I, p, I * p, products]), radius)
    mean_I, mean_p, mean_Ip, mean_II = moments.split([3, 1, 3, 9])

    eye = torch.eye(3, device=guide.device)
    covariance = (mean_II - (mean_I[:, None] * mean_I[None]).flatten(0, 1)).permute(1, 2, 0)
    covariance = covariance.unflatten(2, (3, 3)) + eps * eye
    cross = (mean_Ip - mean_I * mean_p).permute(1, 2, 0)
    a = torch.linalg.solve(covariance, cross).permute(2, 0, 1)
    b = mean_p - (a * mean_I).sum(dim=0, keepdim=True)
    functions = _box(torch.cat([a, b]), radius)
    if step > 1:
        functions = torch.nn.functional.interpolate(functions[None], size, mode="bilinear")[0]
    return ((functions[:3] * whole).sum(dim=0) + functions[3]).clamp(0, 1)


def _box(values: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over (2r+1)² windows of each (H, W) plane, counting only pixels inside the image."""
    import torch

    for dim in ((1, 2 * radius + 1), (2 * radius + 1, 1)):
        padding = (dim[0] // 2, dim[1] // 2)
        values = torch.nn.functional.avg_pool2d(
            values, dim, stride=1, padding=padding, count_include_pad=False
        )
    return values
