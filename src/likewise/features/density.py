"""Kernel densities of reference patches and a linear discriminant, of concept and rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

from .clustering import average_linkage
from .correspondence import scaled_cosines

if TYPE_CHECKING:
    import torch

    from .patch_features import PatchFeatures

SCORE_RANGE = 10.0
"""Nats above (below) the threshold at which a score reaches 1 (0)."""


@dataclass(frozen=True, eq=False)
class PatchPool:
    """M patches of references in S groups; all patches of a group are the concept, or none is.

    The kernel sums of a target against a pool are computed once (``match``); each class then adds
    up the groups that are its concept, and those that are not.
    """

    debiased: torch.Tensor
    """(M, D) float32, unit rows, those of a group next to each other."""
    weight: torch.Tensor
    """(M,) float32: patches merged into each; less than 1 for a patch split between two groups."""
    sizes: tuple[int, ...]
    """Number of patches of each of the S groups; their sum is M."""

    @staticmethod
    def of(
        groups: Sequence[torch.Tensor], limit: int, weights: Sequence[torch.Tensor] | None = None
    ) -> PatchPool:
        """Pool groups of (m, D) patches; beyond ``limit`` in all, near-identical ones are merged.

        Every group keeps its share of ``limit``, and at least 16 patches. ``weights``:
        (m,) float32 of each group, 1 by default.
        """
        import torch

        total = sum(map(len, groups))
        if weights is None:
            weights = [torch.ones(len(g), device=g.device) for g in groups]
        parts = list(zip(groups, weights, strict=True))
        if total > limit:
            parts = [merged(g, max(16, len(g) * limit // total), w) for g, w in parts]
        debiased, weight = (torch.cat(p) for p in zip(*parts, strict=True))
        return PatchPool(debiased, weight, tuple(len(g) for g, _ in parts))

    def plus(self, groups: Sequence[torch.Tensor]) -> PatchPool:
        """The pool with further groups of (m, D) patches at the end, of weight 1 each."""
        import torch

        ones = [torch.ones(len(g), device=g.device) for g in groups]
        return PatchPool(
            torch.cat([self.debiased, *groups]),
            torch.cat([self.weight, *ones]),
            self.sizes + tuple(map(len, groups)),
        )

    def patches(self, chosen: torch.Tensor) -> torch.Tensor:
        """(M,) bool of patches from (S,) bool of groups."""
        import torch

        return torch.repeat_interleave(chosen, chosen.new_tensor(self.sizes, dtype=torch.int64))


def merged(
    features: torch.Tensor, count: int, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """At most ``count`` means of patches that are nearly the same (average linkage).

    Args:
        features: (m, D) float32, unit rows.
        count: c.
        weight: (m,) float32, above 0.

    Returns:
        (c, D) float32 weighted means and (c,) float32 sums of their weights.
    """
    import torch

    if len(features) <= count:
        return features, weight
    labels = torch.from_numpy(average_linkage(features).into(count)).to(features.device)
    total = features.new_zeros(int(labels.max()) + 1).index_add_(0, labels, weight)
    sums = features.new_zeros((len(total), features.shape[1]))
    sums.index_add_(0, labels, features * weight[:, None])
    return sums / total[:, None], total


@dataclass(frozen=True, eq=False)
class Match:
    """Kernel sums and best matches of a target of N patches and a pool of M patches in S groups."""

    kernel: torch.Tensor
    """(N, S) float32: sum over a group of exp((cos - 1) / temperature)."""
    coverage: torch.Tensor
    """(M,) float32: greatest cosine of a patch of the pool to the target."""


def match(pool: PatchPool, queries: torch.Tensor, temperature: float) -> Match:
    """Compare (N, D) unit rows with all patches of a pool, in blocks: N·M is never in memory."""
    import torch

    shifts = repeat(queries.new_tensor([-1 / temperature]))
    highest = queries.new_full((len(pool.debiased),), -math.inf)
    kernel = []
    for exponents in scaled_cosines(queries, pool.debiased, 1 / temperature, shifts):
        highest = torch.maximum(highest, exponents.amax(dim=0))
        groups = exponents.split(pool.sizes, dim=1)
        exponents.exp_().mul_(pool.weight)  # in place: 3 times faster
        kernel.append(torch.stack([g.sum(dim=1) for g in groups], dim=1))
    return Match(torch.cat(kernel), highest * temperature + 1)


def log_density(pool: PatchPool, found: Match, chosen: torch.Tensor) -> torch.Tensor:
    """(N,) nats: log of the kernel sum over the groups that (S,) bool chooses, less ½ log n.

    Less log n, this is the log density, and both classes have the prior ½; with nothing taken
    off, the prior is their number of patches n. Half of it stands between the two.
    """
    count = pool.weight[pool.patches(chosen)].sum().clamp_min(1)
    return found.kernel[:, chosen].sum(dim=1).clamp_min(1e-37).log() - 0.5 * count.log()


def discriminant(
    pool: PatchPool, concept: torch.Tensor, rest: torch.Tensor, ridge: float
) -> torch.Tensor:
    """Ridge regression to 1 on the concept and -1 on the rest, each of total weight ½.

    Args:
        pool: M patches in S groups.
        concept: (S,) bool.
        rest: (S,) bool.
        ridge: variance added to every direction, in shares of the mean variance, 1 / D.

    Returns:
        (D + 1,) float32: weights, then the offset; all 0 if the concept or the rest has no patch.
    """
    import torch

    yes, no = pool.patches(concept), pool.patches(rest)
    if not (yes.any() and no.any()):
        return pool.debiased.new_zeros(pool.debiased.shape[1] + 1)
    known = yes | no
    X, G, n = pool.debiased[known], yes[known], pool.weight[known]
    share = n * torch.where(G, 0.5 / n[G].sum(), 0.5 / n[~G].sum())
    centre = share @ X
    centred = X - centre
    covariance = (centred.T * share) @ centred
    covariance.diagonal().add_(ridge / X.shape[1])
    w = torch.linalg.solve(covariance, (share * torch.where(G, 1.0, -1.0)) @ centred)
    return torch.cat([w, -(centre @ w)[None]])


def known_patches(
    encoded: PatchFeatures, mask: torch.Tensor, negative: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The labelled patches of one reference.

    Args:
        encoded: its N patches' features.
        mask: (N,) bool: the concept or, if ``negative``, what it is not.
        negative: nothing is known of the unmasked patches then: they are left out.

    Returns:
        ``(tokens, masked)``: (M, D) float32 debiased features and (M,) bool, true where they show
        the concept.
    """
    if negative:
        return encoded.debiased[mask], mask[mask].logical_not()
    return encoded.debiased, mask
