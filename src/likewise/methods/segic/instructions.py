"""What references tell the decoder about one target (SegIC §3.2): geometric, visual, meta.

Every entity, be it wanted (a reference's mask) or not (a negative), gives a map over the target,
points in it and one visual token. Beyond the paper, all of them together give the per-patch
log-odds of method ``likewise`` (instruction "evidence" in decoder files). All functions take and
return tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...features.density import PatchPool, discriminant, log_density, match

if TYPE_CHECKING:
    import torch

TEMPERATURE, LINEAR, RIDGE = 0.02, 5.0, 0.2
"""Of the log-odds: the defaults of ``LikewiseParams``, which a trained decoder relies on."""
NATS = 10.0
"""Log-odds are divided by this before the decoder sees them."""


@dataclass(frozen=True, eq=False)
class Entity:
    """One masked thing in one reference, as the backbone sees it."""

    features: torch.Tensor
    """F^r: (M, D) float32, unit rows; for the visual token."""
    debiased: torch.Tensor
    """F~^r: (M, D) float32, unit rows; for the correspondences."""
    mask: torch.Tensor
    """y^r: (M,) bool, at least one True."""
    positive: bool = True
    """False for what is not wanted (negative entity, §3.4)."""


@dataclass(frozen=True, eq=False)
class Instructions:
    """c = {a, p, v, m} for B targets of (h, w) patches and at most E entities each."""

    maps: torch.Tensor
    """a: (B, E, h, w) float32 cosines."""
    log_odds: torch.Tensor
    """(B, h, w) float32 in units of 10 nats; above 0: wanted. Ours, not the paper's."""
    points: torch.Tensor
    """(B, E, k, 2) float32: x, y in 0..1 of the target."""
    visual: torch.Tensor
    """(B, E, D) float32."""
    positive: torch.Tensor
    """(B, E) bool."""
    present: torch.Tensor
    """(B, E) bool: False pads samples of fewer entities."""
    meta: torch.Tensor
    """(B,) int64 number of the task, or (B, T) float32 of a text encoder."""


def propagate(target: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """a = y / ‖y‖₁ · C, the propagated mask (Eq. 2), with C of cosine similarities (Eq. 1).

    C is never made: the mean of cosines to masked patches is the product with their mean.

    Args:
        target: (N, D) float32, unit rows.
        reference: (M, D) float32, unit rows.
        mask: (M,) bool, at least one True.

    Returns:
        (N,) float32 in -1..1.
    """
    return target @ pool(reference, mask)


def pool(features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """v = y / ‖y‖₁ · f, mask pooling (Eq. 3): (D,) mean of the (M, D) rows that (M,) bool marks."""
    return features[mask].mean(dim=0)


def top_points(a: torch.Tensor, grid: tuple[int, int], count: int) -> torch.Tensor:
    """Topk(a): centres of the patches of greatest value (Eq. 2).

    Args:
        a: (h·w,) values, row-major.
        grid: (h, w).
        count: k; the best is repeated where there are fewer patches.

    Returns:
        (k, 2) float32 of x, y in 0..1, the best first.
    """
    import torch

    best = a.topk(min(count, len(a))).indices
    best = torch.cat([best, best[:1].expand(count - len(best))])
    h, w = grid
    return torch.stack([(best % w + 0.5) / w, (best // w + 0.5) / h], dim=1)


def positional_encoding(points: torch.Tensor, width: int) -> torch.Tensor:
    """PE (Eq. 2): sines and cosines of each coordinate at wavelengths of 2 to 1/32 of the side.

    Args:
        points: (..., 2) of x, y in 0..1.
        width: a multiple of 4.

    Returns:
        (..., width): sin x, cos x, sin y, cos y, a quarter each.
    """
    import torch

    waves = torch.logspace(0, 6, width // 4, base=2, device=points.device) * math.pi
    x, y = (points[..., None] * waves).unbind(dim=-2)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=-1)


def grid_points(grid: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(h·w, 2) float32 of x, y in 0..1: the centres of all patches, row-major."""
    import torch

    y = (torch.arange(grid[0], device=device) + 0.5) / grid[0]
    x = (torch.arange(grid[1], device=device) + 0.5) / grid[1]
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class ReferenceDensities:
    """Patches and discriminant of all entities, the same for every target: for ``log_odds``."""

    patches: PatchPool
    """Patches of all entities in S groups."""
    concept: torch.Tensor
    """(S,) bool: the groups that are wanted."""
    weights: torch.Tensor
    """(D + 1,) of the discriminant."""


def fit_densities(entities: Sequence[Entity]) -> ReferenceDensities:
    """Pool the patches of the entities and fit the discriminant, once for all targets.

    Args:
        entities: what is masked in those that are wanted is the concept; what lies around it in
            their references, and what is masked in the others, is the rest.
    """
    import torch

    groups = [e.debiased[e.mask] for e in entities]
    groups += [e.debiased[~e.mask] for e in entities if e.positive]
    yes = [e.positive for e in entities] + [False] * (len(groups) - len(entities))
    rows = torch.cat(groups)
    patches = PatchPool(rows, rows.new_ones(len(rows)), tuple(map(len, groups)))
    concept = torch.tensor(yes, device=rows.device)
    return ReferenceDensities(patches, concept, discriminant(patches, concept, ~concept, RIDGE))


def log_odds(target: torch.Tensor, densities: ReferenceDensities) -> torch.Tensor:
    """Log-odds of each patch, as step 1 of method ``likewise``: densities plus discriminant.

    Args:
        target: (N, D) float32 debiased, unit rows.
        densities: of the entities.

    Returns:
        (N,) float32 in units of 10 nats; all 0 if no patch is of the rest.
    """
    import torch

    patches, concept, w = densities.patches, densities.concept, densities.weights
    if patches.patches(concept).all():
        return torch.zeros_like(target[:, 0])
    found = match(patches, target, TEMPERATURE)
    nats = log_density(patches, found, concept) - log_density(patches, found, ~concept)
    return (nats + LINEAR * (target @ w[:-1] + w[-1])) / NATS


def instruct(
    targets: torch.Tensor,
    grid: tuple[int, int],
    entities: Sequence[Sequence[Entity]],
    meta: torch.Tensor,
    points: int = 1,
    densities: Sequence[ReferenceDensities] | None = None,
) -> Instructions:
    """All instructions for a batch.

    Args:
        targets: (B, N, D) float32 debiased, unit rows.
        grid: (h, w), N = h·w.
        entities: of each target at least one.
        meta: see ``Instructions``.
        points: k, for each entity.
        densities: of the entities of each target; fitted now by default.
    """
    import torch

    most = max(map(len, entities))
    densities = list(map(fit_densities, entities)) if densities is None else densities
    rows = []
    for target, known, density in zip(targets, entities, densities, strict=True):
        propagated = [propagate(target, e.debiased, e.mask) for e in known]
        spare = most - len(known)
        rows.append(
            (
                _padded([a.reshape(grid) for a in propagated], spare),
                log_odds(target, density).reshape(grid),
                _padded([top_points(a, grid, points) for a in propagated], spare),
                _padded([pool(e.features, e.mask) for e in known], spare),
                targets.new_tensor([e.positive for e in known] + [True] * spare, dtype=torch.bool),
                targets.new_tensor([True] * len(known) + [False] * spare, dtype=torch.bool),
            )
        )
    columns = zip(*rows, strict=True)
    maps, said, places, visual, positive, present = (torch.stack(c) for c in columns)
    return Instructions(maps, said, places, visual, positive, present, meta)


def _padded(parts: Sequence[torch.Tensor], spare: int) -> torch.Tensor:
    import torch

    return torch.stack([*parts, *[torch.zeros_like(parts[0])] * spare])
