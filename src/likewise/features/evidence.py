"""What references say about a patch: densities of the concept and of the rest, a linear rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .clustering import average_linkage
from .correspondence import BLOCK_ENTRIES

if TYPE_CHECKING:
    import torch

    from .patch_features import PatchFeatures


@dataclass(frozen=True, eq=False)
class Pool:
    """M patches of references in S groups; those of a group are the concept, or not, together.

    What a target has to do with a pool is worked out once (``match``), whatever the classes make
    of its groups.
    """

    debiased: torch.Tensor
    """(M, D) float32, unit rows, those of a group next to each other."""
    weight: torch.Tensor
    """(M,) float32: how many patches each stands for; of one that is in two groups, a part."""
    sizes: tuple[int, ...]
    """Patches of each group."""

    @staticmethod
    def of(
        groups: Sequence[torch.Tensor], limit: int, weights: Sequence[torch.Tensor] | None = None
    ) -> Pool:
        """Pool groups of (m, D) patches; beyond ``limit`` in all, near-identical ones are merged.

        Every group keeps its share of them, and at least 16. ``weights``: (m,) float32 of each
        group, 1 by default.
        """
        import torch

        total = sum(map(len, groups))
        if weights is None:
            weights = [torch.ones(len(g), device=g.device) for g in groups]
        parts = list(zip(groups, weights, strict=True))
        if total > limit:
            parts = [merged(g, max(16, len(g) * limit // total), w) for g, w in parts]
        debiased, weight = (torch.cat(p) for p in zip(*parts, strict=True))
        return Pool(debiased, weight, tuple(len(g) for g, _ in parts))

    def plus(self, groups: Sequence[torch.Tensor]) -> Pool:
        """With further groups at the end."""
        import torch

        ones = [torch.ones(len(g), device=g.device) for g in groups]
        return Pool(
            torch.cat([self.debiased, *groups]),
            torch.cat([self.weight, *ones]),
            self.sizes + tuple(map(len, groups)),
        )

    def patches(self, chosen: torch.Tensor) -> torch.Tensor:
        """(M,) bool: those of the groups that (S,) bool chooses."""
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
        (c, D) float32 weighted means and (c,) float32: what each weighs.
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
    """A target of N patches against a pool of M patches in S groups."""

    kernel: torch.Tensor
    """(N, S) float32: sum over a group of exp((cos - 1) / temperature)."""
    coverage: torch.Tensor
    """(M,) float32: greatest cosine of a patch of the pool to the target."""


def match(pool: Pool, queries: torch.Tensor, temperature: float) -> Match:
    """All of (N, D) unit rows against all of a pool, in blocks: memory never grows with N·M."""
    import torch

    coverage = queries.new_full((len(pool.debiased),), -1.0)
    kernel = []
    for part in queries.split(max(1, BLOCK_ENTRIES // max(1, len(pool.debiased)))):
        cosines = part @ pool.debiased.T
        coverage = torch.maximum(coverage, cosines.amax(dim=0))
        groups = cosines.split(pool.sizes, dim=1)
        cosines.sub_(1).div_(temperature).exp_().mul_(pool.weight)  # in place: 3 times faster
        kernel.append(torch.stack([g.sum(dim=1) for g in groups], dim=1))
    return Match(torch.cat(kernel), coverage)


def log_density(pool: Pool, found: Match, chosen: torch.Tensor) -> torch.Tensor:
    """(N,) nats of the kernel density of the groups that (S,) bool chooses: log Σ - ½ log n.

    With log n whole, a large background would count for less than its patches do; without it, for
    more: half stands between the two priors.
    """
    count = pool.weight[pool.patches(chosen)].sum().clamp_min(1)
    return found.kernel[:, chosen].sum(dim=1).clamp_min(1e-37).log() - 0.5 * count.log()


def discriminant(
    pool: Pool, concept: torch.Tensor, rest: torch.Tensor, ridge: float
) -> torch.Tensor:
    """Ridge regression of concept (1) against the rest (-1), both weighing the same.

    Args:
        pool: M patches in S groups.
        concept: (S,) bool.
        rest: (S,) bool.
        ridge: variance added to every direction, in shares of the mean variance, 1 / D.

    Returns:
        (D + 1,) float32: weights, then the offset; 0 unless there are patches of either kind.
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
    """What one reference tells about foreground and background.

    Args:
        encoded: its N patches.
        mask: (N,) bool: the concept or, if ``negative``, what it is not.
        negative: nothing is known of the unmasked patches then: they are left out.

    Returns:
        ``(tokens, masked)``: (M, D) float32 debiased features and (M,) bool, true where they show
        the concept.
    """
    if negative:
        return encoded.debiased[mask], mask[mask].logical_not()
    return encoded.debiased, mask
