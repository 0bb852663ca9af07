"""In-context instructions for the decoder (SegIC §3.2): geometric, visual, meta.

Every entity, positive (mask of a reference) or negative, gives a propagated mask over the target,
points in it and one visual token. Not in the paper: all entities together give the per-patch
log-odds of method ``likewise`` (instruction "evidence" in decoder files).
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
"""Of the log-odds: defaults of ``LikewiseParams``, fixed since trained decoders depend on them."""
NATS = 10.0
"""Log-odds are divided by this before they go into the decoder."""


@dataclass(frozen=True, eq=False)
class Entity:
    """One masked object of one reference of M patches."""

    features: torch.Tensor
    """F^r: (M, D) float32, unit rows, for the visual token."""
    debiased: torch.Tensor
    """F~^r: (M, D) float32, unit rows, debiased, for the correspondences."""
    mask: torch.Tensor
    """y^r: (M,) bool, at least one True."""
    positive: bool = True
    """False: negative entity (§3.4), which is not to be segmented."""


@dataclass(frozen=True, eq=False)
class Instructions:
    """c = {a, p, v, m} for B targets of (h, w) patches and at most E entities each."""

    maps: torch.Tensor
    """a (Eq. 2): (B, E, h, w) float32, -1..1, propagated masks."""
    log_odds: torch.Tensor
    """(B, h, w) float32 in units of 10 nats; above 0: foreground. Not in the paper."""
    points: torch.Tensor
    """p (Eq. 2): (B, E, k, 2) float32, x and y in 0..1 of the target."""
    visual: torch.Tensor
    """v (Eq. 3): (B, E, D) float32."""
    positive: torch.Tensor
    """(B, E) bool."""
    present: torch.Tensor
    """(B, E) bool: False for padding, where a target has fewer entities."""
    meta: torch.Tensor
    """m (Eq. 4): (B,) int64 index into TASKS, or (B, T) float32 of a text encoder."""


def propagate(target: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """a = y / ‖y‖₁ · C, the propagated mask (Eq. 2), with C of cosine similarities (Eq. 1).

    C is not computed: the mean cosine to the masked patches is the product with their mean.

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
    """Topk(a): centres of the patches of highest value (Eq. 2).

    Args:
        a: (h·w,) values, row-major.
        grid: (h, w).
        count: k; the best patch is repeated if there are fewer.

    Returns:
        (k, 2) float32, x and y in 0..1, the best first.
    """
    import torch

    best = a.topk(min(count, len(a))).indices
    best = torch.cat([best, best[:1].expand(count - len(best))])
    h, w = grid
    return torch.stack([(best % w + 0.5) / w, (best // w + 0.5) / h], dim=1)


def positional_encoding(points: torch.Tensor, width: int) -> torch.Tensor:
    """PE (Eq. 2): sines and cosines of each coordinate, wavelengths from 2 to 1/32 sides.

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
    """(h·w, 2) float32, x and y in 0..1: centres of all patches, row-major."""
    import torch

    y = (torch.arange(grid[0], device=device) + 0.5) / grid[0]
    x = (torch.arange(grid[1], device=device) + 0.5) / grid[1]
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class ReferenceDensities:
    """Patch pool and discriminant of all entities; independent of the target."""

    patches: PatchPool
    """Patches of all entities in S groups."""
    concept: torch.Tensor
    """(S,) bool: groups of masked patches of positive entities."""
    weights: torch.Tensor
    """(D + 1,) float32 weights and offset of the discriminant."""


def fit_densities(entities: Sequence[Entity]) -> ReferenceDensities:
    """Pool the patches of the entities and fit the discriminant, once for all targets.

    Args:
        entities: masked patches of positive entities are the concept; unmasked patches of positive
            and masked patches of negative entities are the rest.
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
        densities: from ``fit_densities``.

    Returns:
        (N,) float32 in units of 10 nats; all 0 if there is no patch of the rest.
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
    """Instructions of a batch of B targets.

    Args:
        targets: (B, N, D) float32 debiased, unit rows.
        grid: (h, w), N = h·w.
        entities: for each target one or more.
        meta: see ``Instructions``.
        points: k, number of points of each entity.
        densities: for each target of its entities; fitted here by default.
    """
    import torch

    count = max(map(len, entities))
    densities = list(map(fit_densities, entities)) if densities is None else densities
    rows = []
    for target, known, density in zip(targets, entities, densities, strict=True):
        propagated = [propagate(target, e.debiased, e.mask) for e in known]
        spare = count - len(known)
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
    maps, odds, places, visual, positive, present = (torch.stack(c) for c in columns)
    return Instructions(maps, odds, places, visual, positive, present, meta)


def _padded(parts: Sequence[torch.Tensor], spare: int) -> torch.Tensor:
    """(n + spare, ...): the parts and so many zeros."""
    import torch

    return torch.stack([*parts, *[torch.zeros_like(parts[0])] * spare])
