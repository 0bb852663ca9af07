"""Positional debiasing (INSID3 §3.1): find the positional subspace once, then project it out."""

from __future__ import annotations

import math
from numbers import Integral
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resolve_rank(svd_components: int | float, dim: int) -> int:
    """Rank s of the positional subspace for features of dimension ``dim``.

    An int is taken as it is, any other number as a fraction of ``dim`` (the paper's s = 500 at
    D = 1024 is 500/1024). A rank of ``dim`` or more would remove the whole space: an error.

    Raises:
        ValueError: if the rank is not finite, negative or not below ``dim``.
    """
    finite = math.isfinite(svd_components)
    fraction = finite and not isinstance(svd_components, Integral)
    rank = round(svd_components * dim) if fraction else svd_components
    if not finite or not 0 <= rank < dim:
        raise ValueError(
            f"svd_components={svd_components} is rank {rank}, but features of dimension {dim} "
            f"need a rank from 0 to {dim - 1} (or a fraction such as 500/1024)"
        )
    return int(rank)


def positional_basis(tokens: torch.Tensor, rank: int) -> torch.Tensor:
    """Orthonormal basis B of the positional subspace.

    Args:
        tokens: (N, D) patch tokens of the content-free image, any scale.
        rank: s, number of directions, below D. At most N - 1 are informative and returned.

    Returns:
        (D, min(s, N - 1)) float32 on the device of ``tokens``, orthonormal columns: the top right
        singular vectors of the L2-normalised, centred tokens.
    """
    import torch

    F = torch.nn.functional.normalize(tokens.float(), dim=1)
    centred = (F - F.mean(dim=0)).cpu().double()
    # Right singular vectors through the D×D covariance: the same subspace as an SVD of N×D,
    # at a cost that does not grow with the image (float64 keeps the small directions apart).
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return vectors.flip(1)[:, : min(rank, len(F) - 1)].float().to(tokens.device).contiguous()


def debias(features: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """F~ = normalise(F - F·B·Bᵀ) (INSID3 Eq. 5).

    Args:
        features: (N, D) float32, unit rows.
        basis: (D, s) float32, orthonormal columns.

    Returns:
        (N, D) float32, unit rows.
    """
    import torch

    rest = torch.addmm(features, features @ basis, basis.T, alpha=-1)
    return torch.nn.functional.normalize(rest, dim=1)
