"""The default method: log-odds of every patch, smoothed over similar patches, cut at 0.

docs/method.md explains it with a figure; benchmarks/NOTES.md says what each step gains.

1. Log-odds. Each target patch is compared with the masked and with the unmasked patches of the
   references and their mirror images: log of a ratio of kernel densities (local) plus a linear
   discriminant (global).
2. Smoothing. Each patch takes the weighted mean of the log-odds of patches of the target that have
   similar features and lie close to it.
3. Seed. The mean of the patches of highest log-odds is the concept as this target shows it: patches
   of high cosine similarity to it gain up to ``seed`` / 2 nats, those of low similarity lose them.
4. Presence. If target and references are not similar enough, the mask is empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from ..errors import LikewiseError
from ..features.density import SCORE_RANGE, PatchPool, discriminant, log_density
from ..features.patch_features import PatchFeatures
from ..features.target_cache import TargetCache
from . import Abilities, MethodParams, Scores

if TYPE_CHECKING:
    import torch

    from ..reference import EncodedReference, ReferenceSet

VIEWS: tuple[str, ...] = ("flip",)
CAN = Abilities(consensus=True, tiles=True, threshold=True, half=("embedded",), min_confidence=0.8)
"""Measured: of masks in images without the concept a half had a confidence of 0.5 to 0.8, of the
others a tenth."""
POOL_SHARE, POOL_LIMIT = 1 / 3, 16384
"""Share of the references' patches that is kept (near-identical ones are merged), and its maximum.

Twice as fast as with all of them, and no less accurate: see benchmarks/NOTES.md."""
SEED_TEMPERATURE = 2.0
"""Nats; the seed weighs the patches by softmax(log-odds / SEED_TEMPERATURE)."""
SIMILARITY_AT_HALF, SIMILARITY_SLOPE = 0.6, 0.04
"""Confidence = sigmoid((reference similarity - SIMILARITY_AT_HALF) / SIMILARITY_SLOPE)."""


@dataclass(frozen=True)
class LikewiseParams(MethodParams):
    """What can be tuned; log-odds are in nats, widths in cosine similarity."""

    method: ClassVar[str] = "likewise"
    temperature: float = 0.02
    """Of the kernel exp((cos - 1) / temperature) of the densities, above 0."""
    linear: float = 5.0
    """Nats per unit of the discriminant, which is fitted to 1 on the concept, -1 on the rest."""
    ridge: float = 0.2
    """Of the discriminant: variance added in every direction, in units of the mean, 1 / D."""
    affinity: float = 0.05
    """Temperature of the smoothing, see ``features/affinity.py``: lower shares with fewer."""
    seed: float = 8.0
    """Nats between what the patches most and least similar to the seed are given."""
    threshold: float = 0.0
    """Nats above which a patch is in the mask; above 0 gives smaller masks."""
    presence: float = 0.5
    """Confidence, 0..1, below which the mask is empty; 0: never."""

    def __post_init__(self) -> None:
        for name in ("temperature", "ridge", "affinity"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise LikewiseError(f"{name} {value} is no width; use a number above 0.")
        if not all(map(math.isfinite, (self.linear, self.seed, self.threshold))):
            raise LikewiseError("linear, seed and threshold must be finite numbers of nats.")
        if not 0 <= self.presence <= 1:
            raise LikewiseError(f"presence {self.presence} is no confidence; use 0 to 1.")


Params = LikewiseParams


@dataclass(frozen=True, eq=False)
class LikewiseModel:
    """What is fitted to the references of one class."""

    params: Params
    pool: PatchPool
    """Patches of all references, of all classes, in S groups."""
    concept: torch.Tensor
    """(S,) bool: the groups that show the concept."""
    rest: torch.Tensor
    """(S,) bool: the groups that show something else."""
    plain: torch.Tensor
    """(S,) bool: the groups of the concept from references as given, not mirrored."""
    weights: torch.Tensor
    """(D + 1,) float32 weights and offset of the discriminant."""

    @cached_property
    def shares(self) -> torch.Tensor:
        """(M,) float32 shares of the patches of ``plain`` groups in their mean; 0 of the others."""
        weight = self.pool.weight * self.pool.patches(self.plain)
        return weight / weight.sum()

    @cached_property
    def mean(self) -> torch.Tensor:
        """(D,) float32 mean of the patches of ``plain`` groups."""
        return self.shares @ self.pool.debiased


@dataclass(frozen=True, eq=False)
class Trace:
    """Intermediate results of one target of N patches."""

    log_odds: torch.Tensor
    """(N,) float32 nats of step 1; above 0: more likely the concept than not."""
    smoothed: torch.Tensor
    """(N,) float32 nats of step 2, smoothed over similar patches."""
    decided: torch.Tensor
    """(N,) float32 nats of step 3, with the seed: the mask is where this is above the threshold."""
    reference_similarity: float
    """About 0..1; see the function ``reference_similarity``."""


def fit(references: ReferenceSet, params: Params) -> LikewiseModel:
    """Pool the patches of all shots and of their mirror images, and learn the discriminant."""
    import torch

    pool = references.cached("pool", lambda: pool_of(references.shots))
    concept, rest, plain = [], [], []
    for shot in references.shots:
        for name in shot.seen:
            # Two groups: what is masked and, of references that are not negative, what is not.
            concept += [not shot.negative, False]
            rest += [shot.negative, not shot.negative]
            plain += [not shot.negative and not name, False]
    device, none = pool.weight.device, pool.debiased.new_zeros(0)
    yes, no, own = (torch.tensor(flags, device=device) for flags in (concept, rest, plain))
    return with_discriminant(LikewiseModel(params, pool, yes, no, own, none))


def pool_of(shots: Sequence[EncodedReference]) -> PatchPool:
    """Two groups for each shot and each of its views: its masked patches, then the others.

    A patch that the mask covers in part is in both, with the share that belongs there.
    """
    groups, weights = [], []
    for shot in shots:
        for name, (encoded, _) in shot.seen.items():
            covered = shot.share(name)
            for share in (covered, 1 - covered):
                groups.append(encoded.debiased[share > 0])
                weights.append(share[share > 0])
    return PatchPool.of(groups, min(POOL_LIMIT, round(POOL_SHARE * sum(map(len, groups)))), weights)


def with_discriminant(model: LikewiseModel) -> LikewiseModel:
    """The model with the discriminant fitted to its groups."""
    ridge = model.params.ridge
    return replace(model, weights=discriminant(model.pool, model.concept, model.rest, ridge))


def has_both(model: LikewiseModel) -> bool:
    """Whether there are patches of the concept and of the rest."""
    return all(bool(model.pool.patches(g).any()) for g in (model.concept, model.rest))


def extend(
    model: LikewiseModel, more: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> LikewiseModel:
    """The model with further patches, of masks that were predicted.

    Args:
        more: (m, D) patches and (m,) bool, which of them show the concept, of each image.
    """
    import torch

    groups = [part for rows, mask in more for part in (rows[mask], rows[~mask])]
    yes = model.concept.new_tensor([True, False] * len(more), dtype=torch.bool)
    return with_discriminant(
        replace(
            model,
            pool=model.pool.plus(groups),
            concept=torch.cat([model.concept, yes]),
            rest=torch.cat([model.rest, ~yes]),
            plain=torch.cat([model.plain, yes]),
        )
    )


def score(model: LikewiseModel, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
    """Scores of one target: ±SCORE_RANGE nats around the threshold become 0..1.

    No patch is above 0.5 if the confidence is below ``presence``.
    """
    cache = cache or TargetCache(target)
    trace = explain(model, cache)
    above = trace.decided > model.params.threshold
    if cache.classes > 1 and not above.any():  # spares the confidence of most of many classes
        return Scores(in_range(trace.decided, model.params).clamp(0, 0.5), 0.0, trace)
    trace = replace(trace, reference_similarity=reference_similarity(model, cache, above))
    return judged(model.params, trace)


def judged(params: Params, trace: Trace) -> Scores:
    """Step 4: the scores of a trace that has its similarity to the references."""
    below = SIMILARITY_AT_HALF - trace.reference_similarity
    confidence = 1 / (1 + math.exp(below / SIMILARITY_SLOPE))
    present = confidence >= params.presence
    patches = in_range(trace.decided, params).clamp(0, 1 if present else 0.5)
    return Scores(patches, confidence, trace)


def in_range(decided: torch.Tensor, params: Params) -> torch.Tensor:
    """Nats → scores, 0.5 at the threshold; not yet cut off at 0 and 1."""
    return (decided - params.threshold) / (2 * SCORE_RANGE) + 0.5


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union, 0..1, of two (N,) bool masks; 0 of two empty ones."""
    return float((a & b).sum() / (a | b).sum().clamp_min(1))


def explain(model: LikewiseModel, cache: TargetCache) -> Trace:
    """Steps 1 to 3 on one target; ``reference_similarity`` is left at 0."""
    params = model.params
    log_odds = compared(model, cache)
    if not has_both(model):  # no negative patch is known: compare with the mean of this target
        log_odds = log_odds - log_odds.mean()
    smoothed = cache.affinities.smooth(log_odds, params.affinity)
    decided = smoothed + params.seed * seed_similarity(cache.target.features, smoothed)
    return Trace(log_odds, smoothed, decided, 0.0)


def compared(model: LikewiseModel, cache: TargetCache) -> torch.Tensor:
    """Step 1: (N,) float32 nats of log-odds or, if no negative patch is known, of log density."""
    params, T = model.params, cache.target.debiased
    found = cache.match(model.pool, params.temperature)
    log_odds = log_density(model.pool, found, model.concept)
    if has_both(model):
        log_odds = log_odds - log_density(model.pool, found, model.rest)
        log_odds += params.linear * (T @ model.weights[:-1] + model.weights[-1])
    return log_odds


def seed_similarity(features: torch.Tensor, log_odds: torch.Tensor) -> torch.Tensor:
    """Similarity of each patch to the seed of its target: a soft seed cluster (INSID3 §3.3).

    The seed is the mean of the patches, weighted by softmax(log_odds / SEED_TEMPERATURE). Cosines
    to it are scaled to one range, because they spread less in some backbones than in others.

    Args:
        features: (N, D) float32 unit rows, not debiased: they are compared inside one image.
        log_odds: (N,) float32 nats.

    Returns:
        (N,) float32 from -½, the least similar, to ½; all 0 if all patches are the same.
    """
    return spread(features @ ((log_odds / SEED_TEMPERATURE).softmax(dim=0) @ features))


def spread(cosines: torch.Tensor) -> torch.Tensor:
    """(N,) cosines to a seed, scaled to -½..½."""
    low, high = cosines.min(), cosines.max()
    return (cosines - (low + high) / 2) / (high - low).clamp_min(1e-3)


def reference_similarity(model: LikewiseModel, cache: TargetCache, mask: torch.Tensor) -> float:
    """Similarity of a target to the references, about 0..1: the sum of two cosines, normalised.

    1. Cosine of the mean patch of the mask (of the target, if the mask is empty) to the mean c of
       the references' concept patches.
    2. Mean over the concept patches of the cosine to their nearest patch of the target.

    Both are lower for a concept that varies and for backbones whose cosines are lower throughout;
    so is ‖c‖, as a mean of unit vectors. Hence the sum is divided by 1 + ‖c‖.

    Args:
        mask: (N,) bool, what was found in the target.
    """
    import torch

    T = cache.target.debiased
    best = mask if mask.any() else torch.ones_like(mask)
    coverage = cache.match(model.pool, model.params.temperature).coverage
    return likeness(model, T[best].mean(0), coverage)


def likeness(model: LikewiseModel, found: torch.Tensor, coverage: torch.Tensor) -> float:
    """The sum of ``reference_similarity``, normalised.

    Args:
        model: M patches in its pool.
        found: (D,) float32, the mean debiased patch of what was found.
        coverage: (M,) float32, see ``density.Match``.
    """
    import torch

    alike = torch.nn.functional.cosine_similarity(found, model.mean, dim=0)
    return float((alike + model.shares @ coverage) / (1 + model.mean.norm()))
