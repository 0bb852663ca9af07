"""The default method: log-odds of every patch, shared among alike patches, cut at 0.

docs/method.md explains it with a figure; benchmarks/NOTES.md says what each step gains.

1. Evidence. Each target patch is compared with the masked and with the unmasked patches of the
   references and their mirror images: a ratio of kernel densities (local) plus a discriminant
   (global).
2. Sharing. Patches of the target that look alike and lie close together share their evidence.
3. Seed. The patches of the target that are surest stand for the concept as this target shows it:
   what is like them gains, what is unlike them loses.
4. Presence. What is found must be familiar to the references, or the mask is empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ..errors import LikewiseError
from ..features.evidence import Pool, discriminant, log_density
from ..features.patch_features import PatchFeatures
from ..features.target_cache import TargetCache
from . import Abilities, MethodParams, Scores

if TYPE_CHECKING:
    import torch

    from ..reference import EncodedReference, ReferenceSet

VIEWS: tuple[str, ...] = ("flip",)
CAN = Abilities(consensus=True, threshold=True, min_confidence=0.8)
"""Confidences of 0.5 to 0.8 had half of the masks of images without the concept, and a tenth of the
others."""
REACH = 10.0
"""Nats from the threshold at which a score is 0 or 1."""
KEPT, POOL = 1 / 3, 16384
"""Share of the references' patches that is compared with, near-identical ones merged; and the most.

Twice as fast as with all of them, and no less accurate: see benchmarks/NOTES.md."""
SURE = 2.0
"""Nats by which a patch must be surer to count e times as much for the seed."""
FAMILIAR, SLOPE = 0.6, 0.04
"""Familiarity at confidence ½, and how soft that is."""


@dataclass(frozen=True)
class LikewiseParams(MethodParams):
    """What can be tuned."""

    method: ClassVar[str] = "likewise"
    temperature: float = 0.02
    """Cosine by which a patch must be nearer to count e times as much in the densities."""
    linear: float = 5.0
    """Nats that the discriminant says at the centre of either class."""
    ridge: float = 0.2
    """Variance added to the features for the discriminant, in shares of the mean."""
    affinity: float = 0.05
    """Cosine by which two patches of the target must be more alike to share e times as much."""
    seed: float = 8.0
    """Nats between the patches of the target that are most and least like its surest ones."""
    threshold: float = 0.0
    """Nats that a patch needs; above 0 gives smaller masks."""
    presence: float = 0.5
    """Confidence below which the concept is said to be absent; 0 never says so."""

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
class Model:
    """What the references say of one class."""

    params: Params
    pool: Pool
    """Patches of all references, of all classes, in S groups."""
    concept: torch.Tensor
    """(S,) bool: the groups that show the concept, and …"""
    rest: torch.Tensor
    """… (S,) bool: those that show something else."""
    plain: torch.Tensor
    """(S,) bool: those of the concept that are of the references as they are, not mirrored."""
    weights: torch.Tensor
    """(D + 1,) of the discriminant."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Intermediate results of one target of N patches."""

    evidence: torch.Tensor
    """(N,) float32 nats; above 0 speaks for the concept."""
    smoothed: torch.Tensor
    """(N,) float32 nats, after sharing."""
    grown: torch.Tensor
    """(N,) float32 nats, with what likeness to the seed adds: what is decided on."""
    familiarity: float
    """About 0..1: how well it and the references explain each other; see ``familiarity``."""


def fit(references: ReferenceSet, params: Params) -> Model:
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
    return taught(Model(params, pool, yes, no, own, none))


def pool_of(shots: Sequence[EncodedReference]) -> Pool:
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
    return Pool.of(groups, min(POOL, round(KEPT * sum(map(len, groups)))), weights)


def taught(model: Model) -> Model:
    """With the discriminant of its groups."""
    ridge = model.params.ridge
    return replace(model, weights=discriminant(model.pool, model.concept, model.rest, ridge))


def has_both(model: Model) -> bool:
    """Whether there are patches of the concept and of the rest."""
    return all(bool(model.pool.patches(g).any()) for g in (model.concept, model.rest))


def extend(model: Model, more: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Model:
    """The model with further, less sure patches.

    Args:
        more: (m, D) patches and (m,) bool, which of them show the concept, of each image.
    """
    import torch

    groups = [part for rows, mask in more for part in (rows[mask], rows[~mask])]
    yes = model.concept.new_tensor([True, False] * len(more), dtype=torch.bool)
    return taught(
        replace(
            model,
            pool=model.pool.plus(groups),
            concept=torch.cat([model.concept, yes]),
            rest=torch.cat([model.rest, ~yes]),
            plain=torch.cat([model.plain, yes]),
        )
    )


def score(model: Model, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
    """Evidence of one target: ±REACH nats around the threshold become 0..1.

    No patch is above 0.5 if the confidence says that the concept is absent.
    """
    cache = cache or TargetCache(target)
    trace = explain(model, cache)
    above = trace.grown > model.params.threshold
    patches = (trace.grown - model.params.threshold) / (2 * REACH) + 0.5
    if cache.classes > 1 and not above.any():  # of many classes, most
        return Scores(patches.clamp(0, 0.5), 0.0, trace)
    trace = replace(trace, familiarity=familiarity(model, cache, above))
    confidence = 1 / (1 + math.exp((FAMILIAR - trace.familiarity) / SLOPE))
    present = confidence >= model.params.presence
    return Scores(patches.clamp(0, 1 if present else 0.5), confidence, trace)


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union, 0..1, of two (N,) bool masks; 0 of two empty ones."""
    return float((a & b).sum() / (a | b).sum().clamp_min(1))


def explain(model: Model, cache: TargetCache) -> Trace:
    """Steps 1 to 3 on one target; the familiarity is not known yet: 0."""
    params, T = model.params, cache.target.debiased
    found = cache.match(model.pool, params.temperature)
    evidence = log_density(model.pool, found, model.concept)
    if has_both(model):
        evidence = evidence - log_density(model.pool, found, model.rest)
        evidence += params.linear * (T @ model.weights[:-1] + model.weights[-1])
    else:  # nothing is known not to be it: what is more like it than this target is on average
        evidence = evidence - evidence.mean()
    alike = cache.affinities.smooth(evidence, params.affinity)
    grown = alike + params.seed * like_seed(cache.target.features, alike)
    return Trace(evidence, alike, grown, 0.0)


def like_seed(features: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
    """How like the seed of its target each patch is: the seed cluster of INSID3 §3.3, made soft.

    The seed is the mean of the patches, weighted by softmax(evidence / SURE). Cosines to it are
    stretched to the whole range, so that features of every backbone say the same.

    Args:
        features: (N, D) float32 unit rows, not debiased: they are compared inside one image.
        evidence: (N,) float32 nats.

    Returns:
        (N,) float32 from -½, the least alike, to ½; all 0 where all patches are the same.
    """
    cosines = features @ ((evidence / SURE).softmax(dim=0) @ features)
    low, high = cosines.min(), cosines.max()
    return (cosines - (low + high) / 2) / (high - low).clamp_min(1e-3)


def familiarity(model: Model, cache: TargetCache, mask: torch.Tensor) -> float:
    """How well a target and references explain each other: the sum of two cosines, divided.

    The first is that of the mean of what was found (of all, if nothing was) to the concept's mean;
    the second the mean cosine of the concept's patches to their nearest in the target. Both are
    lower for a concept that varies, and for features that are less alike at all: the sum is divided
    by 1 + the length of the concept's mean.
    """
    import torch

    found = cache.match(model.pool, model.params.temperature)
    T, plain = cache.target.debiased, model.pool.patches(model.plain)
    concept, weight = model.pool.debiased[plain], model.pool.weight[plain]
    best = mask if mask.any() else torch.ones_like(mask)
    mean = (weight @ concept) / weight.sum()
    alike = torch.nn.functional.cosine_similarity(T[best].mean(0), mean, dim=0)
    covered = (weight @ found.coverage[plain]) / weight.sum()
    return float((alike + covered) / (1 + mean.norm()))
