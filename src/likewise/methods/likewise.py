"""The default method: evidence from many views, shared in the target, cut where it comes apart.

docs/method.md explains it with a figure. What decides is read from the references where it can be:

1. Evidence. Each target patch is compared with the masked and with the unmasked patches of the
   references and their views: a ratio of kernel densities (local) plus a discriminant (global).
2. Sharing. Patches of the target that look alike and lie close together share their evidence.
3. Cut. The threshold moves to where the target itself comes apart (normalised cut); what that is
   trusted with is learnt by finding shots, or views of the only shot, from the others. Where C
   classes compete, each moves by 1/√C of that.
4. Presence. What is found, and the rest of the picture, must be about as familiar as the references
   are to each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import LikewiseError
from ..features.encoded import Encoded
from ..features.evidence import Pool, discriminant, log_density
from ..features.shared import Shared
from ..views import VIEWS
from . import Scores
from .folds import View, all_views, folds

if TYPE_CHECKING:
    import torch

    from ..reference import ReferenceSet

__all__ = ["NEGATIVES", "VIEWS", "Model", "Params", "Trace", "extend", "fit", "iou", "score"]

NEGATIVES = True
TRUSTS = (math.inf, 0.03, 0.01, 0.004, 0.002, 0.0005)
"""Cost per squared nat of moving the threshold; inf leaves it where it is."""
UNFAMILIAR = 0.5
"""References that know each other less are taken for this familiar."""
REACH, STEPS = 10.0, 41
"""Thresholds tried: evenly from -REACH to REACH nats."""
KEPT, POOL = 1 / 3, 16384
"""Share of the references' patches that is compared with, near-identical ones merged; and the most.

Twice as fast as with all of them, and no less accurate: see benchmarks/NOTES.md."""
FAMILIAR, SLOPE = 0.65, 0.05
"""Familiarity, as a share of the references' own, at confidence ½; and how soft that is."""


@dataclass(frozen=True)
class Params:
    """What can be tuned."""

    temperature: float = 0.02
    """Cosine by which a patch must be nearer to count e times as much in the densities."""
    linear: float = 5.0
    """Nats that the discriminant says at the centre of either class."""
    ridge: float = 0.2
    """Variance added to the features for the discriminant, in shares of the mean."""
    affinity: float = 0.05
    """Cosine by which two patches of the target must be more alike to share e times as much."""
    threshold: float = 0.0
    """Further nats that a patch needs; above 0 gives smaller masks."""
    presence: float = 0.5
    """Confidence below which the concept is said to be absent; 0 never says so."""

    def __post_init__(self) -> None:
        for name in ("temperature", "ridge", "affinity"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise LikewiseError(f"{name} {value} is no width; use a number above 0.")
        if not (math.isfinite(self.threshold) and math.isfinite(self.linear)):
            raise LikewiseError("threshold and linear must be finite numbers of nats.")
        if not 0 <= self.presence <= 1:
            raise LikewiseError(f"presence {self.presence} is no confidence; use 0 to 1.")


@dataclass(frozen=True, eq=False)
class Model:
    """What the references say of one class."""

    params: Params
    pool: Pool
    """Patches of all references, of all classes."""
    concept: torch.Tensor
    """(S,) bool: the groups of the pool that show the concept, and …"""
    rest: torch.Tensor
    """… (S,) bool: those that show something else."""
    around: torch.Tensor
    """(S,) bool: of the rest, those of the concept's own references: what it usually lies in."""
    plain: torch.Tensor
    """(S,) bool: those of the concept that are of the references as they are, no other view."""
    weights: torch.Tensor
    """(D + 1,) of the discriminant."""
    trust: float = math.inf
    """One of TRUSTS."""
    familiarity: float = 1.0
    """Mean ``familiarity`` of references to each other."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Intermediate results of one target of N patches."""

    evidence: torch.Tensor
    """(N,) float32 nats; above 0 speaks for the concept."""
    shared: torch.Tensor
    """(N,) float32 nats, after sharing."""
    offsets: torch.Tensor
    """(STEPS,) thresholds in nats (none if the class was out of reach), and …"""
    cost: torch.Tensor
    """… (STEPS,) normalised cut at each, 0..2."""
    threshold: float
    """Nats at which ``shared`` is cut."""
    familiarity: float
    """Of the target to the references, as a share of theirs to each other."""


def fit(references: ReferenceSet, params: Params) -> Model:
    """Pool the views of all shots; learn from them, left out in turn, what to trust."""
    import torch

    views = list(all_views(references.shots))
    pool = references.kept("pool", lambda: pool_of(views))
    of_concept = [v.shot >= 0 for v in views]
    # Two groups a view: what is masked and, of references that are not negative, what is not.
    concept, rest, around, plain = (
        torch.tensor([flag for view in flags for flag in view], device=pool.weight.device)
        for flags in (
            [(yes, False) for yes in of_concept],
            [(not yes, yes) for yes in of_concept],
            [(False, yes) for yes in of_concept],
            [(yes and not v.name, False) for yes, v in zip(of_concept, views, strict=True)],
        )
    )
    own = pool if (concept | rest).all() else pool.subset(concept | rest)
    model = Model(params, own, concept, rest, around, plain, own.debiased.new_zeros(0))
    tests, overlaps, levels = 0, torch.zeros(len(TRUSTS)), torch.zeros(len(TRUSTS))
    for view, known in folds(views):
        members = known.to(concept.device).repeat_interleave(2)
        few = replace(
            model, concept=concept & members, rest=rest & members, around=around & members
        )
        alone = taught(few)
        if has_both(alone) and view.mask.any() and not view.mask.all():
            shared = Shared(view.encoded)
            trace = explain(alone, shared)
            for n, trust in enumerate(TRUSTS):
                mask = trace.shared > best_offset(trace, trust)
                overlaps[n] += iou(mask, view.mask)
                levels[n] += familiarity(alone, shared, mask)
            tests += 1
    best = int(overlaps.argmax())
    trust, level = TRUSTS[best], max(UNFAMILIAR, float(levels[best]) / tests) if tests else 1.0
    return replace(taught(model), pool=pool, trust=trust, familiarity=level)


def taught(model: Model) -> Model:
    """With the discriminant of its groups."""
    ridge = model.params.ridge
    return replace(model, weights=discriminant(model.pool, model.concept, model.rest, ridge))


def has_both(model: Model) -> bool:
    """Whether there are patches of the concept and of the rest."""
    return all(bool(model.pool.patches(g).any()) for g in (model.concept, model.rest))


def extend(model: Model, more: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Model:
    """The model with further, less sure patches: they add evidence; what to trust stays.

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
            around=torch.cat([model.around, ~yes]),
            plain=torch.cat([model.plain, yes]),
        )
    )


def score(model: Model, target: Encoded, shared: Shared | None = None) -> Scores:
    """Evidence of one target, cut at its own threshold: ±REACH nats around it become 0..1.

    No patch is above 0.5 if the confidence says that the concept is absent.
    """
    shared = shared or Shared(target)
    trace = explain(model, shared)
    if not len(trace.offsets):
        patches = (trace.shared - trace.threshold) / (2 * REACH) + 0.5
        return Scores(patches.clamp(0, 0.5), 0.0, trace)
    level = familiarity(model, shared, trace.shared > trace.threshold)
    trace = replace(trace, familiarity=level / model.familiarity)
    patches = (trace.shared - trace.threshold) / (2 * REACH) + 0.5
    confidence = 1 / (1 + math.exp((FAMILIAR - trace.familiarity) / SLOPE))
    present = confidence >= model.params.presence
    return Scores(patches.clamp(0, 1 if present else 0.5), confidence, trace)


def pool_of(views: Sequence[View]) -> Pool:
    """Two groups a view: its masked patches, then the others."""
    groups = [v.encoded.debiased[m] for v in views for m in (v.mask, ~v.mask)]
    return Pool.of(groups, min(POOL, round(KEPT * sum(map(len, groups)))))


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union, 0..1, of two (N,) bool masks; 0 of two empty ones."""
    return float((a & b).sum() / (a | b).sum().clamp_min(1))


def best_offset(trace: Trace, trust: float) -> float:
    """The threshold of least cut, in nats; moving it costs ``trust`` a squared nat."""
    if math.isinf(trust):
        return 0.0
    return float(trace.offsets[(trace.cost + trust * trace.offsets**2).argmin()])


def furthest(trust: float) -> float:
    """Nats by which the threshold moves at most: no cut costs more than 2."""
    return 0.0 if math.isinf(trust) else min(REACH, math.sqrt(2 / trust))


def explain(model: Model, shared: Shared) -> Trace:
    """The steps of the method on one target.

    Of several classes, one that is below every threshold it might get is not cut: its trace has no
    ``offsets`` and ``cost``.
    """
    import torch

    params, T = model.params, shared.target.debiased
    found = shared.match(model.pool, params.temperature)
    evidence = log_density(model.pool, found, model.concept)
    if has_both(model):
        evidence = evidence - log_density(model.pool, found, model.rest)
        evidence += params.linear * (T @ model.weights[:-1] + model.weights[-1])
    else:  # nothing is known not to be it: what is more like it than this target is on average
        evidence = evidence - evidence.mean()
    smooth = shared.affinities.smooth(evidence, params.affinity)
    offsets = torch.linspace(-REACH, REACH, STEPS, device=T.device)
    lowest = params.threshold - furthest(model.trust) / math.sqrt(shared.classes)
    if shared.classes > 1 and not (smooth > lowest).any():
        return Trace(evidence, smooth, offsets[:0], offsets[:0], lowest, 0.0)
    cost = shared.affinities.cut_cost(smooth, offsets)
    trace = Trace(evidence, smooth, offsets, cost, 0.0, 0.0)
    # Moved thresholds err on their own; of many classes, some would swallow the others' pixels.
    moved = best_offset(trace, model.trust) / math.sqrt(shared.classes)
    return replace(trace, threshold=moved + params.threshold)


def familiarity(model: Model, shared: Shared, mask: torch.Tensor) -> float:
    """How well a target and references explain each other: the mean of up to three cosines.

    Of what was found to the concept (means), of every patch of the concept to its nearest in the
    target, and of what was not found to its nearest in what was around the concept: that something
    else is familiar, which negative references show, says nothing of the concept.
    """
    import torch

    found = shared.match(model.pool, model.params.temperature)
    T, plain = shared.target.debiased, model.pool.patches(model.plain)
    concept, weight = model.pool.debiased[plain], model.pool.weight[plain]
    best = mask if mask.any() else torch.ones_like(mask)
    cosines = [
        torch.nn.functional.cosine_similarity(T[best].mean(0), weight @ concept, dim=0),
        (weight @ found.coverage[plain]) / weight.sum(),
    ]
    if model.pool.patches(model.around).any() and not mask.all():
        cosines.append(found.nearest[~mask][:, model.around].amax(dim=1).mean())
    return float(torch.stack(cosines).mean())
