"""FoRIS (arXiv 2609.03384), from its description: one continuous score, corrected in four steps.

Matching (adaptive debias), purification (several foreground prototypes against the hardest
background), localisation (votes and the prior of a seed cluster), consolidation (less where the
cues disagree, more for whole clusters that are rather foreground).

Flaws of its release that are mended here:

- its debias test sees only the last reference: here the mean over all of them;
- with an even number of references half the votes made a candidate: here it takes more than half;
- it clusters the target twice anew: here the consolidation uses the tree that other methods share;
- min-max makes something the best of every target, so it can never answer "absent". That is its
  decision rule and stays, but the confidence is absolute: the mean cosine of the patches found to
  the foreground mean.

What the description leaves open is read so: the foreground mean of the debias test has its own
length, as in the formula; candidates are densified where grid tokens touch them; cues disagree by
the range of matching, vote and prior; uncertainty is 1 at the middle of the score's range and 0 at
its ends; consolidation compares min-maxed foreground and background similarities. Cosine clusters
do not change when a token is scaled by its gate; their means do, which the gate weighs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from ..errors import LikewiseError
from ..features.clustering import (
    MergeTree,
    average_linkage,
    cluster_means,
    cluster_prototypes,
    reference_prototype,
)
from ..features.correspondence import nearest
from ..features.patch_features import PatchFeatures
from ..features.target_cache import TargetCache
from . import TAU, Abilities, MethodParams, Scores

if TYPE_CHECKING:
    import torch

    from ..reference import ReferenceSet


@dataclass(frozen=True)
class FoRISParams(MethodParams):
    """Hyperparameters with the paper's defaults."""

    method: ClassVar[str] = "foris"
    tau: float | None = None
    """Cosine similarity, -1..1, at which clustering the target stops; None takes the one calibrated
    for the backbone, and the paper's 0.6 where there is none."""
    foreground_tau: float = 0.6
    """The same for the reference foreground, whose clusters are the prototypes."""
    debias_below: float = 0.8
    """Features are debiased if the target is less similar than that to the foreground mean."""
    temperature: float = 0.07
    """Of the log-sum-exp over the prototypes."""
    hardest: float = 0.2
    """Share of the background tokens, those most like the foreground, that stand for it."""
    background_weight: float = 0.55
    vote_weight: float = 0.2
    prior_weight: float = 0.25
    colour_weight: float = 0.35
    """Of RGB beside unit features, for the clusters of the prior."""
    position_weight: float = 0.2
    """Of x and y in 0..1."""
    disagreement_weight: float = 0.08
    ambiguity_weight: float = 0.05
    uncertainty_power: float = 1.5
    highest_penalty: float = 0.22
    gate_slope: float = 12.0
    gate_floor: float = 0.1
    reward: float = 0.2
    """Of a cluster, times foreground above background similarity."""
    reduction: float = 0.18
    """Of a cluster, times the smaller of both similarities."""
    lowest_change: float = -0.12

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if name == "tau" and value is None:
                continue
            if not math.isfinite(value):
                raise LikewiseError(f"{name} {value} is no finite number.")
            if name.endswith("tau") and not -1 <= value <= 1:
                raise LikewiseError(
                    f"{name} {value} is no cosine similarity; use a number from -1 to 1."
                )
        if self.temperature <= 0:
            raise LikewiseError(f"temperature {self.temperature} is not above 0; try 0.07.")
        if not 0 < self.hardest <= 1:
            raise LikewiseError(f"hardest {self.hardest} is no share; use one above 0 up to 1.")


Params = FoRISParams
VIEWS: tuple[str, ...] = ()
CAN = Abilities()


@dataclass(frozen=True, eq=False)
class Appearance:
    """K references in one kind of features, original or debiased; P prototypes."""

    tokens: tuple[torch.Tensor, ...]
    """K tensors (N, D) float32, unit rows."""
    masks: tuple[torch.Tensor, ...]
    """K tensors (N,) bool."""
    negative: torch.Tensor
    """(M, D) float32, unit rows: the masked tokens of negative references; M may be 0."""
    mean: torch.Tensor
    """(D,) unit length: the foreground."""
    prototypes: torch.Tensor
    """(P, D) float32, unit rows: the clusters of the foreground."""
    background: torch.Tensor
    """(D,) unit length and orthogonal to ``mean``; 0 where there is no background."""


@dataclass(frozen=True, eq=False)
class FoRISModel:
    """What depends on the references alone, for either answer to the debias test."""

    original: Appearance
    debiased: Appearance
    centre: torch.Tensor
    """(D,) mean of the references' original foreground means, not normalised."""
    params: FoRISParams


@dataclass(frozen=True, eq=False)
class FoRISTrace:
    """The score after every step. N patches; float32 unless said otherwise."""

    debiased: bool
    """Whether the debias test chose debiased features."""
    purified: torch.Tensor
    """(N,) score 1: foreground minus background similarity."""
    votes: torch.Tensor
    """(N,) in 0..1: share of references whose nearest token is masked."""
    prior: torch.Tensor
    """(N,) in 0..1: belongs to the seed cluster or to one like it."""
    localised: torch.Tensor
    """(N,) score 2: score 1 with votes and prior."""
    consolidated: torch.Tensor
    """(N,) score 3, whose min-max is the answer."""
    tree: MergeTree
    """The clustering of the target's features, for the next class."""


def normalise(values: torch.Tensor) -> torch.Tensor:
    """Min-max to 0..1; all 0 where nothing but rounding tells the values apart."""
    import torch

    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high - low > 1e-5 else torch.zeros_like(values)


def describe(
    tokens: tuple[torch.Tensor, ...],
    masks: tuple[torch.Tensor, ...],
    negative: torch.Tensor,
    params: FoRISParams,
) -> Appearance:
    """Purification's view of the references: foreground prototypes and hardest background.

    Clusters are made in each reference, so that memory does not grow with K².
    """
    import torch

    mean = reference_prototype(tokens, masks)
    prototypes = []
    for foreground in (F[G] for F, G in zip(tokens, masks, strict=True)):
        labels = average_linkage(foreground).cut(params.foreground_tau)
        clusters = torch.from_numpy(labels).to(mean.device)
        prototypes.append(cluster_prototypes(foreground, clusters, int(labels.max()) + 1))
    unmasked = torch.cat([*(F[~G] for F, G in zip(tokens, masks, strict=True)), negative])
    background = torch.zeros_like(mean)
    if len(unmasked):
        count = max(1, round(params.hardest * len(unmasked)))
        hard = unmasked[(unmasked @ mean).topk(count).indices].mean(dim=0)
        background = torch.nn.functional.normalize(hard - (hard @ mean) * mean, dim=0)
    return Appearance(tokens, masks, negative, mean, torch.cat(prototypes), background)


def vote(references: Appearance, target: torch.Tensor) -> torch.Tensor:
    """(N,) in 0..1: share of the K references whose nearest token to a target token is masked.

    A negative reference's token that is nearer than a reference's takes its vote away.
    """
    import torch

    votes = torch.zeros(len(target), device=target.device)
    against = torch.full_like(votes, -torch.inf)
    if len(references.negative):
        against = nearest(target, references.negative)[0]
    for F, G in zip(references.tokens, references.masks, strict=True):
        similarity, index = nearest(target, F)
        votes += G[index] & (similarity > against)
    return votes / len(references.tokens)


def densify(candidates: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(N,) bool: also the tokens of every second row and column that touch a candidate."""
    import torch

    plane = candidates.reshape(1, 1, *grid)
    near = torch.nn.functional.max_pool2d(plane.float(), 3, stride=1, padding=1) > 0
    near[..., 1::2, :] = False
    near[..., 1::2] = False
    return (plane | near).flatten()


def layout_tree(target: PatchFeatures, params: FoRISParams) -> MergeTree:
    """Clustering of features, colour and place: neighbours of one colour belong together."""
    import torch

    h, w = target.grid
    cells = torch.arange(h * w, device=target.features.device)
    places = torch.stack([cells % w / max(1, w - 1), cells // w / max(1, h - 1)], dim=1)
    parts = [target.features, params.position_weight * places]
    if target.colour is not None:
        parts.append(params.colour_weight * target.colour)
    return average_linkage(torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1))


def seed_prior(
    target: PatchFeatures,
    matched: torch.Tensor,
    mean: torch.Tensor,
    votes: torch.Tensor,
    params: FoRISParams,
) -> torch.Tensor:
    """P: how much each token's cluster is like the seed cluster, INSID3's Eq. 10-13 as a prior.

    Args:
        target: for its original features, colour and grid.
        matched: (N, D) the target in the features that the references are compared in.
        mean: (D,) the foreground in them.
        votes: (N,) in 0..1.
        params: tau and the weights of colour and place.

    Returns:
        (N,) in 0..1; all 0 without a candidate.
    """
    import torch

    similarity = matched @ mean
    candidates = (similarity > 0) & (votes > 0.5)
    if not candidates.any():
        return torch.zeros_like(similarity)
    candidates = densify(candidates, target.grid)
    labels = torch.from_numpy(
        layout_tree(target, params).cut(TAU if params.tau is None else params.tau)
    ).to(mean.device)
    count = int(labels.max()) + 1
    area = cluster_means(candidates.float(), labels, count)
    like = cluster_prototypes(matched, labels, count) @ mean
    seed = int(like.masked_fill(area == 0, -torch.inf).argmax())
    area[seed] = 1
    original = cluster_prototypes(target.features, labels, count)
    cross = cluster_means(similarity, labels, count)
    return normalise((cross * (original @ original[seed]) * area)[labels])


def fit(references: ReferenceSet, params: FoRISParams) -> FoRISModel:
    """Describe the references in original and in debiased features; the target decides later."""
    import torch

    shots, negatives = references.positives, references.negatives
    masks = tuple(s.mask for s in shots)
    appearances = []
    for kind in ("features", "debiased"):
        tokens = tuple(getattr(s.encoded, kind) for s in shots)
        against = [getattr(s.encoded, kind)[s.mask] for s in negatives]
        negative = torch.cat([tokens[0][:0], *against])
        appearances.append(describe(tokens, masks, negative, params))
    centre = torch.stack([s.encoded.features[s.mask].mean(dim=0) for s in shots]).mean(dim=0)
    return FoRISModel(appearances[0], appearances[1], centre, params)


def score(model: FoRISModel, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
    """All steps; ``cache`` has the clustering of ``target.features``, for the consolidation."""
    import torch

    p = model.params
    # Adaptive debias: a target that looks like the foreground everywhere (an X-ray) is told apart
    # by position rather than by content, so that its positional directions stay.
    overall = torch.nn.functional.normalize(target.features.mean(dim=0), dim=0)
    debiased = bool(model.centre @ overall < p.debias_below)
    references = model.debiased if debiased else model.original
    matched = target.debiased if debiased else target.features

    # Purification.
    logits = matched @ references.prototypes.T / p.temperature
    foreground = p.temperature * logits.logsumexp(dim=1)
    background = matched @ references.background
    purified = foreground - p.background_weight * background

    # Localisation.
    votes = vote(references, matched)
    prior = seed_prior(target, matched, references.mean, votes, p)
    localised = purified + p.vote_weight * (votes - 0.5) + p.prior_weight * (prior - 0.5)

    # Consolidation: less for tokens on which the cues disagree, then more or less for clusters.
    fg, bg = normalise(foreground), normalise(background)
    cues = torch.stack([normalise(purified), votes, prior])
    disagreement = cues.amax(dim=0) - cues.amin(dim=0)
    uncertainty = 1 - (2 * normalise(localised) - 1).abs()
    penalty = p.disagreement_weight * disagreement + p.ambiguity_weight * torch.minimum(fg, bg)
    penalty = (penalty * uncertainty**p.uncertainty_power).clamp(max=p.highest_penalty)
    tree = (cache or TargetCache(target)).tree
    labels = torch.from_numpy(tree.cut(TAU if p.tau is None else p.tau)).to(matched.device)
    change = cluster_change(foreground - background, fg, bg, labels, p)
    consolidated = localised - penalty + change

    patches = normalise(consolidated)
    found = patches > 0.5
    confidence = float((matched[found] @ references.mean).mean().clamp(0, 1)) if found.any() else 0
    trace = FoRISTrace(debiased, purified, votes, prior, localised, consolidated, tree)
    return Scores(patches, float(confidence), trace)


def cluster_change(
    contrast: torch.Tensor,
    foreground: torch.Tensor,
    background: torch.Tensor,
    labels: torch.Tensor,
    params: FoRISParams,
) -> torch.Tensor:
    """Reward of clusters that are rather foreground, reduction of those that are both.

    Args:
        contrast: (N,) foreground minus background similarity; above its mean a token's gate opens.
        foreground: (N,) in 0..1.
        background: (N,) in 0..1.
        labels: (N,) int64 cluster of each token.
        params: gate, reward, reduction and the lowest change.

    Returns:
        (N,): the same for all tokens of a cluster.
    """
    import torch

    gate = torch.sigmoid(params.gate_slope * (contrast - contrast.mean()))
    gate = gate.clamp(min=params.gate_floor)
    count = int(labels.max()) + 1
    opened = cluster_means(gate, labels, count)
    fg = cluster_means(gate * foreground, labels, count) / opened
    bg = cluster_means(gate * background, labels, count) / opened
    change = params.reward * (fg - bg).clamp(min=0) - params.reduction * torch.minimum(fg, bg)
    return change.clamp(min=params.lowest_change)[labels]
