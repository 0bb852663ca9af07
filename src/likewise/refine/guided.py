"""Guided filter with a colour guide (He, Sun, Tang: Guided Image Filtering, PAMI 2013).

Its coefficients are computed on a coarser grid, as in Fast Guided Filter (He, Sun 2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def guided_filter(
    guide: torch.Tensor,
    coarse: torch.Tensor,
    scores: torch.Tensor,
    radius: int = 2,
    eps: float = 1e-3,
) -> torch.Tensor:
    """Filter scores along the edges of an image: q = aᵀI + b, a and b least squares per window.

    Args:
        guide: I, (3, H, W) float32 in 0..1.
        coarse: the same picture, (3, h, w) float32, on whose grid a and b are computed.
        scores: p, (h', w') float32 of the same device; resized to the coarser grid.
        radius: half width of the square window, in pixels of ``coarse``; about half a patch.
        eps: regularisation, the variance of colour below which a window counts as flat.

    Returns:
        (H, W) float32 in 0..1, the filtered scores q.
    """
    import torch

    # 1. I and p on the coarser grid.
    I, size = coarse, coarse.shape[1:]
    p = torch.nn.functional.interpolate(scores[None, None], size, mode="bilinear")[0]
    # 2. Moments of every window.
    one, other = [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]  # the entries of I·Iᵀ, each once
    moments = _box(torch.cat([I, p, I * p, I[one] * I[other]]), radius)
    mean_I, mean_p, mean_Ip, mean_II = moments.split([3, 1, 3, 6])

    # 3. a = (cov(I) + eps·1)⁻¹ cov(I, p), b = mean(p) - aᵀ mean(I).
    covariance = mean_II - mean_I[one] * mean_I[other]
    covariance[[0, 3, 5]] += eps
    a = _solved(covariance, mean_Ip - mean_I * mean_p)
    b = mean_p - (a * mean_I).sum(dim=0, keepdim=True)
    # 4. Mean of a and b over the windows of each pixel, applied at full resolution.
    functions = enlarged(_box(torch.cat([a, b]), radius), guide.shape[1:])
    filtered = functions[3].clone()
    for factor, colour in zip(functions[:3], guide, strict=True):
        filtered.addcmul_(factor, colour)
    return filtered.clamp_(0, 1)


def coarser(picture: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """(3, h, w) float32 in 0..1 of an (H, W, 3) uint8 RGB picture: bilinear, antialiased.

    In bytes: half of the time of means of its pixels.
    """
    import numpy as np
    import torch

    planes = torch.from_numpy(np.require(picture, requirements="W")).permute(2, 0, 1)
    resized = torch.nn.functional.interpolate(planes[None], size, mode="bilinear", antialias=True)
    return resized[0].float().div_(255)


def enlarged(planes: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """(C, h, w) → (C, H, W) float32, bilinear, H ≥ h.

    On a CPU columns first, then whole rows: half of the time of both at once, but rounded
    otherwise, so that ``resize``, which decides INSID3's masks to the pixel, does without.
    """
    import torch

    if planes.device.type != "cpu":
        return torch.nn.functional.interpolate(planes[None], size, mode="bilinear")[0]
    h = planes.shape[1]
    wide = torch.nn.functional.interpolate(planes[None], (h, size[1]), mode="bilinear")[0]
    place = ((torch.arange(size[0]) + 0.5) * (h / size[0]) - 0.5).clamp_(0, h - 1)
    above = place.long()
    below = (above + 1).clamp_max(h - 1)
    rows = wide.index_select(1, above)
    return rows.lerp_(wide.index_select(1, below), (place - above)[:, None])


def _solved(matrices: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """(3, H, W) solutions, from (6, H, W) entries of symmetric matrices and (3, H, W) right sides.

    By cofactors: three times as fast on a CPU as one factorisation a pixel.
    """
    import torch

    xx, xy, xz, yy, yz, zz = matrices
    # The inverse is symmetric as well: its entries times the determinant.
    a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    d, e, f = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    x, y, z = vectors
    solved = torch.stack([a * x + b * y + c * z, b * x + d * y + e * z, c * x + e * y + f * z])
    return solved / (xx * a + xy * b + xz * c)


def _box(values: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over (2r+1)² windows of each (H, W) plane, counting only pixels inside the image.

    As sums of shifted planes: four times as fast on a CPU as pooling.
    """
    import torch

    for dim in (1, 2):
        n = values.shape[dim]
        padding = (radius, radius) if dim == 2 else (0, 0, radius, radius)
        padded = torch.nn.functional.pad(values, padding)
        values = padded.narrow(dim, 0, n).clone()
        for shift in range(1, 2 * radius + 1):
            values += padded.narrow(dim, shift, n)
        place = torch.arange(n, device=values.device)
        count = (place + radius).clamp_max(n - 1) - (place - radius).clamp_min(0) + 1
        values /= count[:, None] if dim == 1 else count
    return values
