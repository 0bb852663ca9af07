"""Dense Gaussian CRF in a band around the boundary (Krähenbühl & Koltun 2011; INSID3 appendix)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

if TYPE_CHECKING:
    import torch

_MAX_PAIRS = 1 << 26  # limit of (band pixel, neighbour) pairs; above it the lattice is made coarser
_CHUNK = 1 << 22  # pairs that are computed at a time


@dataclass(frozen=True)
class CRFParams:
    """Parameters with the released code's values.

    Widths are standard deviations of Gaussians, in pixels at a side of 512; they scale with it.
    """

    band: int = 5
    """Radius in pixels, at every image size, of the band around the boundary."""
    core_probability: float = 0.95
    """Foreground probability inside the mask; outside 1 minus it, in the band 0.5."""
    spatial_weight: float = 3.0
    spatial_width: float = 4.0
    bilateral_weight: float = 20.0
    bilateral_width: float = 12.0
    colour_width: float = 0.03
    """Of the bilateral kernel, in RGB of 0..1."""
    iterations: int = 10
    samples_per_width: float = 3.0
    """Bilateral neighbours are sampled on a lattice, so many per width but at most one a pixel:
    small images are exact."""


def dense_crf(
    image: torch.Tensor, mask: torch.Tensor, params: CRFParams = CRFParams()
) -> torch.Tensor:
    """Move the boundary of ``mask`` to edges of colour, within a band around it.

    Mean-field inference of a fully connected Potts model; the pixels outside the band are fixed.
    Kernels are normalised for each pixel and exclude it. The spatial kernel is a blur; the
    bilateral one a sparse matrix between band pixels, computed once.

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
    scale = math.sqrt(inside.size) / 512

    # Potts with two labels: logit_i = Σ_j w_ij v_j with v = 2·probability - 1. In the band the
    # unary term is 0 (probability 0.5) and v starts at 0; outside v is constant.
    # float64, because subtracting the blur's middle tap may cancel most digits.
    v = torch.where(mask, 1.0, -1.0).double() * (2 * params.core_probability - 1)
    v[band] = 0
    width = params.bilateral_width * scale
    bilateral, constant = _bilateral(image, band, v.float(), width, params)
    taps = _gaussian(params.spatial_width * scale).to(image.device)
    total = (_blur(torch.ones_like(v), taps) - 1)[band].clamp_min(1e-12)
    for _ in range(params.iterations):
        spatial = (_blur(v, taps) - v)[band] / total
        across = constant + (bilateral @ v[band].float()[:, None])[:, 0]
        logit = params.spatial_weight * spatial + params.bilateral_weight * across
        v[band] = torch.tanh(logit / 2)
    return torch.where(band, v > 0, mask)


def boundary_band(mask: np.ndarray, radius: int) -> np.ndarray:
    """(H, W) bool: pixels within ``radius`` of the boundary (disc dilation minus disc erosion)."""
    if mask.all() or not mask.any():
        return np.zeros_like(mask)
    band: np.ndarray = np.maximum(distance_transform_edt(mask), distance_transform_edt(~mask))
    return band <= radius


def _gaussian(width: float) -> torch.Tensor:
    """(2r+1,) float64 Gaussian, not normalised, 1 in the middle; r = 3 widths."""
    import torch

    reach = max(1, math.ceil(3 * width))
    return torch.exp(-(torch.arange(-reach, reach + 1).double() ** 2) / (2 * width**2))


def _blur(values: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """(H, W) convolved with ``taps`` along both axes, zero outside."""
    import torch

    padding = len(taps) // 2
    values = torch.nn.functional.conv2d(
        values[None, None], taps[None, None, None], padding=(0, padding)
    )
    return torch.nn.functional.conv2d(values, taps[None, None, :, None], padding=(padding, 0))[0, 0]


def _bilateral(
    image: torch.Tensor, band: torch.Tensor, core: torch.Tensor, width: float, params: CRFParams
) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised bilateral kernel of the M band pixels.

    Args:
        image: (H, W, 3) float32 in 0..1.
        band: (H, W) bool.
        core: (H, W) float32, v outside the band, 0 in it.
        width: spatial width in pixels.
        params: colour width and sampling.

    Returns:
        ``(weights, share)``: sparse (M, M) float32 weights between band pixels, and (M,) float32
        weighted sum of ``core``.
    """
    import torch

    H, W = band.shape
    rows, columns = band.nonzero(as_tuple=True)
    M = len(rows)
    offsets = _lattice(width, params.samples_per_width, M).to(image.device)
    falloff = -(offsets.float() ** 2).sum(dim=1) / (2 * width**2)
    number = torch.full((H, W), -1, dtype=torch.int64, device=image.device)
    number[band] = torch.arange(M, device=image.device)

    share = torch.empty(M, device=image.device)
    lengths = torch.empty(M, dtype=torch.int64, device=image.device)
    targets, values = [], []
    pixels, fixed, number = image.reshape(-1, 3), core.flatten(), number.flatten()
    for chunk in torch.arange(M, device=image.device).split(max(1, _CHUNK // len(offsets))):
        y = rows[chunk, None] + offsets[:, 0]
        x = columns[chunk, None] + offsets[:, 1]
        valid = (y >= 0) & (y < H) & (x >= 0) & (x < W)
        flat = y.clamp_(0, H - 1).mul_(W).add_(x.clamp_(0, W - 1))
        own = pixels[rows[chunk] * W + columns[chunk]]
        distance = torch.zeros(y.shape, device=image.device)
        for channel in range(3):
            difference = pixels[:, channel].take(flat) - own[:, channel, None]
            distance.addcmul_(difference, difference)
        exponent = falloff - distance / (2 * params.colour_width**2)
        kernel = exponent.exp() * valid
        kernel /= kernel.sum(dim=1, keepdim=True).clamp_min(1e-12)
        share[chunk] = (kernel * fixed.take(flat)).sum(dim=1)
        # Weights below 1e-6 of the total do not change a decision; they are dropped for memory.
        other = number.take(flat)
        near = (other >= 0) & (kernel > 1e-6)
        lengths[chunk] = near.sum(dim=1)
        targets.append(other[near])
        values.append(kernel[near])
    # Offsets and band pixels are both in raster order, so the columns of each row are sorted.
    starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        weights = torch.sparse_csr_tensor(
            starts, torch.cat(targets), torch.cat(values), (M, M), check_invariants=False
        )
    return weights, share


def _lattice(width: float, samples_per_width: float, pixels: int) -> torch.Tensor:
    """(n, 2) int64 (dy, dx) within 3 widths, without (0, 0), coarser if over _MAX_PAIRS."""
    import torch

    reach = max(1, math.ceil(3 * width))
    step = max(1, round(width / samples_per_width))
    while (2 * (reach // step) + 1) ** 2 * pixels > _MAX_PAIRS and step < reach:
        step += 1
    axis = torch.arange(-(reach // step), reach // step + 1) * step
    offsets = torch.cartesian_prod(axis, axis)
    return offsets[offsets.ne(0).any(dim=1)]
