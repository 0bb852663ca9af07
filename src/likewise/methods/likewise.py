"""The default method: evidence from many views, shared in the target, cut where it comes apart.

docs/method.md explains it with a figure. What decides is read from the references where it can be:

1. Evidence. Each target patch is compared with the masked and with the unmasked patches of the
   references and their views: a ratio of kernel densities (local) plus a discriminant (global).
2. Sharing. Patches of the target that look alike and lie close together share their evidence.
3. Cut. The threshold moves to where the target itself comes apart (normalised cut); what that is
   trusted with is learnt by finding shots, or views of the only shot, from the others.
4. Presence. What is found, and the rest of the picture, must be about as familiar as the references
   are to each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import LikewiseError
from ..features.affinity import cut_cost, smooth
from ..features.encoded import Encoded
from ..features.evidence import Tokens, discriminant, known_patches, log_densities
from ..views import VIEWS, same_picture
from . import Scores

if TYPE_CHECKING:
    import torch

    from ..features.clustering import MergeTree
    from ..reference import ReferenceSet, Shot

__all__ = ["NEGATIVES", "VIEWS", "Model", "Params", "Trace", "extend", "fit", "iou", "score"]

NEGATIVES = True
TRUSTS = (math.inf, 0.03, 0.01, 0.004, 0.002, 0.0005)
"""Cost per squared nat of moving the threshold; inf leaves it where it is."""
UNFAMILIAR = 0.5
"""References that know each other less are taken for this familiar."""
REACH, STEPS = 10.0, 41
"""Thresholds tried: evenly from -REACH to REACH nats."""
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
class View:
    """One view of one shot, to be found from the others."""

    encoded: Encoded
    mask: torch.Tensor
    shot: int
    """Which shot; -1 if it is a negative one."""
    name: str


@dataclass(frozen=True, eq=False)
class Model:
    """What the references say."""

    params: Params
    tokens: Tokens
    weights: torch.Tensor
    """(D + 1,) of the discriminant."""
    concept: torch.Tensor
    """(n, D) debiased patches of the concept, of the references as they are."""
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
    """(STEPS,) thresholds in nats, and …"""
    cost: torch.Tensor
    """… (STEPS,) normalised cut at each, 0..2."""
    threshold: float
    """Nats at which ``shared`` is cut."""
    familiarity: float
    """Of the target to the references, as a share of theirs to each other."""


def fit(references: ReferenceSet, params: Params) -> Model:
    """Pool the views of all shots; learn from them, left out in turn, what to trust."""
    import torch

    tokens, views = pool(references.shots)
    concept = torch.cat([v.encoded.debiased[v.mask] for v in views if v.shot >= 0 and not v.name])
    tests = []
    for view, known in folds(views):
        rest = tokens.of(known)
        if rest.has_both() and view.mask.any() and not view.mask.all():
            alone = Model(params, rest, discriminant(rest, params.ridge), concept)
            trace = explain(alone, view.encoded)
            tests.append((view, rest, trace))
    overlap = torch.zeros(len(TRUSTS))
    for view, _, trace in tests:
        for n, trust in enumerate(TRUSTS):
            overlap[n] += iou(trace.shared > best_offset(trace, trust), view.mask)
    trust = TRUSTS[int(overlap.argmax())]
    levels = [
        familiarity(concept, rest, view.encoded, trace.shared > best_offset(trace, trust))
        for view, rest, trace in tests
    ]
    level = max(UNFAMILIAR, sum(levels) / len(levels)) if levels else 1.0
    weights = discriminant(tokens, params.ridge)
    return Model(params, tokens, weights, concept, trust, level)


def extend(model: Model, more: Sequence[Tokens]) -> Model:
    """The model with further, less sure patches: they add evidence; what to trust stays."""
    import torch

    parts = (model.tokens, *more)
    tokens = Tokens(
        torch.cat([p.debiased for p in parts]),
        torch.cat([p.foreground for p in parts]),
        torch.cat([torch.zeros_like(p.view) for p in parts]),  # no view is left out any more
    )
    concept = torch.cat([model.concept, *(p.debiased[p.foreground] for p in more)])
    weights = discriminant(tokens, model.params.ridge)
    return replace(model, tokens=tokens, weights=weights, concept=concept)


def score(model: Model, target: Encoded, tree: MergeTree | None = None) -> Scores:
    """Evidence of one target, cut at its own threshold: ±REACH nats around it become 0..1.

    No patch is above 0.5 if the confidence says that the concept is absent.
    """
    trace = explain(model, target)
    level = familiarity(model.concept, model.tokens, target, trace.shared > trace.threshold)
    trace = replace(trace, familiarity=level / model.familiarity)
    patches = (trace.shared - trace.threshold) / (2 * REACH) + 0.5
    confidence = 1 / (1 + math.exp((FAMILIAR - trace.familiarity) / SLOPE))
    present = confidence >= model.params.presence
    return Scores(patches.clamp(0, 1 if present else 0.5), confidence, trace)


def pool(shots: Sequence[Shot]) -> tuple[Tokens, list[View]]:
    """All patches of shots and their views; of negative shots only the marked ones are known."""
    import torch

    views: list[View] = []
    features, labels, numbers = [], [], []
    for number, shot in enumerate(shots):
        for name, (encoded, mask) in {"": (shot.encoded, shot.mask), **shot.views}.items():
            known, labelled = known_patches(encoded, mask, shot.negative)
            features.append(known)
            labels.append(labelled)
            numbers.append(torch.full_like(labelled, len(views), dtype=torch.int64))
            views.append(View(encoded, mask, -1 if shot.negative else number, name))
    return Tokens(torch.cat(features), torch.cat(labels), torch.cat(numbers)), views


def folds(views: list[View]) -> Iterator[tuple[View, list[int]]]:
    """Each test: a view to find, and the views (by number) that may be known for it.

    Of three shots and more, each is found from the others. Fewer are too few for that (with two,
    the trust learnt so was worth -5 mIoU): each of their views is found from all other views. A
    picture and its mirror image show the same; neither is known for the other, and one is found.
    """
    several = len({v.shot for v in views if v.shot >= 0}) > 2
    for view in views:
        if several and view.shot >= 0 and view.name == "":
            yield view, [i for i, v in enumerate(views) if v.shot != view.shot]
        elif not several and view.shot >= 0 and view.name:
            same = same_picture(view.name)
            yield (
                view,
                [i for i, v in enumerate(views) if v.shot != view.shot or v.name not in same],
            )


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    """Intersection over union, 0..1, of two (N,) bool masks; 0 of two empty ones."""
    return float((a & b).sum() / (a | b).sum().clamp_min(1))


def best_offset(trace: Trace, trust: float) -> float:
    """The threshold of least cut, in nats; moving it costs ``trust`` a squared nat."""
    if math.isinf(trust):
        return 0.0
    return float(trace.offsets[(trace.cost + trust * trace.offsets**2).argmin()])


def explain(model: Model, target: Encoded) -> Trace:
    """The steps of the method on one target."""
    import torch

    params, F, T = model.params, target.features, target.debiased
    rest, concept = log_densities(model.tokens, T, params.temperature).unbind(dim=1)
    if model.tokens.has_both():
        linear = T @ model.weights[:-1] + model.weights[-1]
        evidence = concept - rest + params.linear * linear
    else:  # nothing is known not to be it: what is more like it than this target is on average
        evidence = concept - concept.mean()
    shared = smooth(evidence, F, target.grid, params.affinity)
    offsets = torch.linspace(-REACH, REACH, STEPS, device=F.device)
    trace = Trace(evidence, shared, offsets, cut_cost(shared, F, offsets), 0.0, 0.0)
    return replace(trace, threshold=best_offset(trace, model.trust) + params.threshold)


def familiarity(
    concept: torch.Tensor, tokens: Tokens, target: Encoded, found: torch.Tensor
) -> float:
    """How well a target and references explain each other: the mean of up to three cosines.

    Of what was found to the concept (means), of every patch of the concept (n, D) to its nearest in
    the target, and of what was not found to its nearest in the rest (every fourth patch will do).
    """
    import torch

    T, rest = target.debiased, tokens.debiased[~tokens.foreground][::4]
    best = found if found.any() else torch.ones_like(found)
    cosines = [
        torch.nn.functional.cosine_similarity(T[best].mean(0), concept.mean(0), dim=0),
        (concept @ T.T).amax(dim=1).mean(),
    ]
    if len(rest) and not found.all():
        cosines.append((T[~found] @ rest.T).amax(dim=1).mean())
    return float(torch.stack(cosines).mean())
