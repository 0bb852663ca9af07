"""Hand-made features: patches that point in one of few directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from likewise.features.patch_features import PatchFeatures
from likewise.methods import Method
from likewise.reference import EncodedReference, ReferenceSet

X, Y, Z, W = torch.eye(4)
Rows = Sequence[torch.Tensor] | torch.Tensor


def unit(rows: Rows) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.stack(list(rows)), dim=1)


def encode(
    rows: Rows,
    grid: tuple[int, int] | None = None,
    colour: torch.Tensor | None = None,
    debiased: Rows | None = None,
) -> PatchFeatures:
    features = unit(rows)
    debiased = features if debiased is None else unit(debiased)
    return PatchFeatures(features, debiased, grid or (1, len(features)), (10, 10), colour)


def direction(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane of X and Y."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return angles.cos()[:, None] * X + angles.sin()[:, None] * Y


def on(*flags: int) -> torch.Tensor:
    return torch.tensor(flags, dtype=torch.bool)


def shot(rows: Rows, *flags: int, negative: bool = False) -> EncodedReference:
    return EncodedReference(encode(rows), on(*flags), negative=negative)


def noise(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def patches(
    method: Method, params: Any, shots: Sequence[EncodedReference], target: PatchFeatures
) -> torch.Tensor:
    return method.score(method.fit(ReferenceSet(tuple(shots)), params), target).patches
