"""Dense Gaussian CRF in a band around the boundary (Krähenbühl & Koltun 2011; INSID3 appendix)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

if TYPE_CHECKING:
    import torch

_MAX_PAIRS = 1 << 26  # (band pixel, neighbour) pairs looked at; more makes the sampling coarser
_CHUNK = 1 << 22


@dataclass(frozen=True)
class CRFParams:
    """The released code's values; widths in pixels are for a side of 512 and grow with it."""

    band: int = 5
    """Erosion and dilation radius in pixels, at every size."""
    core_probability: float = 0.95
    """Foreground probability of the core; the background's is 1 minus it, the band's 0.5."""
    spatial_weight: float = 3.0
    spatial_width: float = 4.0
    bilateral_weight: float = 20.0
    bilateral_width: float = 12.0
    colour_width: float = 0.03
    """In units of colour 0..1."""
    iterations: int = 10
    samples_per_width: float = 4.0
    """Neighbours are taken on a lattice with this many steps per Gaussian width; a step is never
    finer than a pixel, so small images are computed exactly."""


def dense_crf(
    image: torch.Tensor, mask: torch.Tensor, params: CRFParams = CRFParams()
) -> torch.Tensor:
    """Redraw the boundary of ``mask`` where colours change; only the band around it may change.

    Mean field of a fully connected Potts model. Messages are weighted means over the neighbours
    (kernels normalised per pixel, the pixel itself left out). The core is fixed, so each band pixel
    needs its band neighbours only: one sparse matrix, made once.

    Args:
        image: (H, W, 3) float32 in 0..1.
        mask: (H, W) bool, same device.
        params: weights and widths.

    Returns:
        (H, W) bool; equal to ``mask`` outside the band.
    """
    import torch

    inside = mask.cpu().numpy()
    band_np = boundary_band(inside, params.band)
    if not band_np.any():
        return mask
    band = torch.from_numpy(band_np).to(image.device)
    probability = torch.where(mask, params.core_probability, 1 - params.core_probability)
    probability[band] = 0.5

    # Potts, binary: logit_i = Σ_j w_ij (2 q_j - 1); the band's unary is even and drops out.
    # The core's share of the sum never changes.
    core = torch.where(band, 0.0, 2 * probability - 1)
    scale = math.sqrt(inside.size) / 512
    kernels = (
        (params.spatial_weight, params.spatial_width * scale, None),
        (params.bilateral_weight, params.bilateral_width * scale, params.colour_width),
    )
    constant = torch.zeros(int(band.sum()), device=image.device)
    matrices = []
    for weight, width, colour in kernels:
        weights, share = _messages(image, band, core, width, colour, params.samples_per_width)
        matrices.append((weight, weights))
        constant += weight * share
    q = torch.full_like(constant, 0.5)
    for _ in range(params.iterations):
        logit = constant.clone()
        for weight, weights in matrices:
            logit += weight * (weights @ (2 * q - 1)[:, None])[:, 0]
        q = torch.sigmoid(logit)
    result = mask.clone()
    result[band] = q > 0.5
    return result


def boundary_band(mask: np.ndarray, radius: int) -> np.ndarray:
    """(H, W) bool: within ``radius`` of the other side (disc dilation minus disc erosion)."""
    if mask.all() or not mask.any():
        return np.zeros_like(mask)
    band: np.ndarray = np.maximum(distance_transform_edt(mask), distance_transform_edt(~mask))
    return band <= radius


def _messages(
    image: torch.Tensor,
    band: torch.Tensor,
    core: torch.Tensor,
    width: float,
    colour_width: float | None,
    samples_per_width: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One normalised Gaussian kernel from all pixels to the M band pixels.

    Returns:
        ``(weights, share)``: sparse (M, M) weights between band pixels, and (M,) the sum of the
        fixed ``core`` values already weighted.
    """
    import torch

    H, W = band.shape
    rows, columns = band.nonzero(as_tuple=True)
    M = len(rows)
    offsets = _lattice(width, samples_per_width, M).to(image.device)
    falloff = -(offsets.float() ** 2).sum(dim=1) / (2 * width**2)
    number = torch.full((H, W), -1, dtype=torch.int64, device=image.device)
    number[band] = torch.arange(M, device=image.device)

    share = torch.empty(M, device=image.device)
    indices, values = [], []
    for chunk in torch.arange(M, device=image.device).split(max(1, _CHUNK // len(offsets))):
        y = rows[chunk, None] + offsets[:, 0]
        x = columns[chunk, None] + offsets[:, 1]
        valid = (y >= 0) & (y < H) & (x >= 0) & (x < W)
        flat = (y.clamp(0, H - 1) * W + x.clamp(0, W - 1)).flatten()
        exponent = falloff.expand(y.shape)
        if colour_width is not None:
            own = image[rows[chunk], columns[chunk]]
            neighbour = image.reshape(-1, 3)[flat].reshape(*y.shape, 3)
            distance = ((neighbour - own[:, None]) ** 2).sum(dim=2)
            exponent = exponent - distance / (2 * colour_width**2)
        kernel = exponent.exp() * valid
        kernel = kernel / kernel.sum(dim=1, keepdim=True).clamp_min(1e-12)
        share[chunk] = (kernel * core.flatten()[flat].reshape(y.shape)).sum(dim=1)
        other = number.flatten()[flat].reshape(y.shape)
        # Weights under 1e-6 of the total cannot move a decision and would only cost memory.
        i, k = ((other >= 0) & (kernel > 1e-6)).nonzero(as_tuple=True)
        indices.append(torch.stack([chunk[i], other[i, k]]))
        values.append(kernel[i, k])
    weights = torch.sparse_coo_tensor(
        torch.cat(indices, dim=1), torch.cat(values), (M, M), check_invariants=False
    )
    return weights.coalesce(), share


def _lattice(width: float, samples_per_width: float, pixels: int) -> torch.Tensor:
    """(n, 2) int64 (dy, dx) within 3 widths, without (0, 0), thinned to the pair budget."""
    import torch

    reach = max(1, math.ceil(3 * width))
    step = max(1, round(width / samples_per_width))
    while (2 * (reach // step) + 1) ** 2 * pixels > _MAX_PAIRS and step < reach:
        step += 1
    axis = torch.arange(-(reach // step), reach // step + 1) * step
    offsets = torch.cartesian_prod(axis, axis)
    return offsets[offsets.ne(0).any(dim=1)]
