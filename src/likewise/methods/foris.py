"""FoRIS (arXiv 2609.03384), implemented from the paper: one continuous score in four steps.

1. Adaptive debias: the target decides whether original or debiased features are compared.
2. Purification: soft maximum of the cosines to the foreground prototypes, minus the cosine to the
   background tokens that are most similar to the foreground.
3. Localisation: adds backward votes and a prior, the similarity of a token's cluster to a seed.
4. Consolidation: lowers tokens on which the cues disagree; raises or lowers whole clusters.

Differences from the released code: the debias test takes the mean over all references, not the
last one; a candidate needs more than half of the votes, not half; step 4 uses the clustering that
is cached for all classes. Min-max normalisation gives every target a patch of score 1, so no mask
is ever empty; the confidence is therefore absolute: mean cosine of the mask to the foreground.

Where the paper is not explicit: the foreground mean of the debias test is not normalised;
candidates are made dense next to candidates on the grid; disagreement is the range (maximum -
minimum) of matching, votes and prior; uncertainty is 1 at the middle of the score's range, 0 at its
ends; foreground and background similarities are min-max normalised in step 4. A gate scales tokens:
that changes the means of clusters, which it weights, but not the cosines that clusters are made of.
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
    """Hyperparameters with the paper's defaults; similarities are cosines."""

    method: ClassVar[str] = "foris"
    tau: float | None = None
    """-1..1: target clusters merge down to this similarity; None: the value calibrated for the
    backbone, or the paper's 0.6."""
    foreground_tau: float = 0.6
    """-1..1: the same for the reference foreground, whose cluster means are the prototypes."""
    debias_below: float = 0.8
    """Debiased features are used if target and foreground mean are less similar than this."""
    temperature: float = 0.07
    """T in T·logsumexp(cosines / T) over the prototypes, above 0."""
    hardest: float = 0.2
    """Share, 0..1, of the background tokens that is averaged: those most similar to foreground."""
    background_weight: float = 0.55  # of the background similarity, subtracted in step 2
    vote_weight: float = 0.2  # of votes - 0.5 in step 3
    prior_weight: float = 0.25  # of prior - 0.5 in step 3
    colour_weight: float = 0.35  # of RGB in 0..1 beside unit features, clusters of the prior
    position_weight: float = 0.2  # of x and y in 0..1, the same
    disagreement_weight: float = 0.08  # of the range of the cues, penalty of step 4
    ambiguity_weight: float = 0.05  # of min(foreground, background), the same
    uncertainty_power: float = 1.5  # exponent of the uncertainty that multiplies the penalty
    highest_penalty: float = 0.22  # upper limit of the penalty
    gate_slope: float = 12.0  # of the sigmoid that weights tokens in cluster means
    gate_floor: float = 0.1  # lower limit of those weights
    reward: float = 0.2  # of a cluster: times max(foreground - background, 0)
    reduction: float = 0.18  # of a cluster: times min(foreground, background)
    lowest_change: float = -0.12  # lower limit of reward - reduction

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
    """K references of N tokens in original or in debiased features; P prototypes."""

    tokens: tuple[torch.Tensor, ...]
    """K tensors (N, D) float32, unit rows."""
    masks: tuple[torch.Tensor, ...]
    """K tensors (N,) bool."""
    negative: torch.Tensor
    """(M, D) float32, unit rows: masked tokens of the negative references; M may be 0."""
    mean: torch.Tensor
    """(D,) float32, unit length: mean of the foreground tokens."""
    prototypes: torch.Tensor
    """(P, D) float32, unit rows: means of the clusters of the foreground."""
    background: torch.Tensor
    """(D,) float32, unit length, orthogonal to ``mean``; all 0 if there is no background."""


@dataclass(frozen=True, eq=False)
class FoRISModel:
    """The references in both kinds of features; each target chooses one."""

    original: Appearance
    debiased: Appearance
    centre: torch.Tensor
    """(D,) float32: mean of the references' original foreground means, not normalised."""
    params: FoRISParams


@dataclass(frozen=True, eq=False)
class FoRISTrace:
    """The score after every step; N patches, float32."""

    debiased: bool
    """Whether the debias test chose debiased features."""
    purified: torch.Tensor
    """(N,) score of step 2: foreground minus weighted background similarity."""
    votes: torch.Tensor
    """(N,) in 0..1: share of references whose nearest token is masked."""
    prior: torch.Tensor
    """(N,) in 0..1: similarity of the patch's cluster to the seed cluster, min-max normalised."""
    localised: torch.Tensor
    """(N,) score of step 3: with votes and prior."""
    consolidated: torch.Tensor
    """(N,) score of step 4; min-max normalised it is the result."""
    tree: MergeTree
    """Clustering of the target's features."""


def normalise(values: torch.Tensor) -> torch.Tensor:
    """Min-max normalisation to 0..1; all 0 if the range is within rounding (1e-5)."""
    import torch

    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high - low > 1e-5 else torch.zeros_like(values)


def describe(
    tokens: tuple[torch.Tensor, ...],
    masks: tuple[torch.Tensor, ...],
    negative: torch.Tensor,
    params: FoRISParams,
) -> Appearance:
    """Foreground prototypes and the background direction of the references, for step 2.

    Each reference is clustered alone: memory does not grow with K².
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
    """(N,) float32 in 0..1: share of the K references whose nearest token is masked.

    There is no vote of a reference if a token of a negative reference is nearer.
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
    """(N,) bool: the candidates, and their 8 neighbours in even rows and columns of the grid."""
    import torch

    plane = candidates.reshape(1, 1, *grid)
    near = torch.nn.functional.max_pool2d(plane.float(), 3, stride=1, padding=1) > 0
    near[..., 1::2, :] = False
    near[..., 1::2] = False
    return (plane | near).flatten()


def layout_tree(target: PatchFeatures, params: FoRISParams) -> MergeTree:
    """Average-linkage clustering of unit features, weighted colour and weighted position."""
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
    """P: cross · intra · area of each token's cluster (INSID3 Eq. 10-13), min-max normalised.

    Args:
        target: gives original features, colour and grid.
        matched: (N, D) float32, the target in the features chosen in step 1.
        mean: (D,) float32, the foreground mean in the same features.
        votes: (N,) float32 in 0..1.
        params: tau and the weights of colour and position.

    Returns:
        (N,) float32 in 0..1; all 0 if there is no candidate.
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
    """Prototypes and background of the references in original and in debiased features."""
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
    """Scores of one target; ``cache`` holds the clustering of ``target.features`` (step 4)."""
    import torch

    p = model.params
    # 1. Adaptive debias. If the whole target is similar to the foreground (an X-ray), position
    # separates better than content, so the features keep it.
    overall = torch.nn.functional.normalize(target.features.mean(dim=0), dim=0)
    debiased = bool(model.centre @ overall < p.debias_below)
    references = model.debiased if debiased else model.original
    matched = target.debiased if debiased else target.features

    # 2. Purification.
    logits = matched @ references.prototypes.T / p.temperature
    foreground = p.temperature * logits.logsumexp(dim=1)
    background = matched @ references.background
    purified = foreground - p.background_weight * background

    # 3. Localisation.
    votes = vote(references, matched)
    prior = seed_prior(target, matched, references.mean, votes, p)
    localised = purified + p.vote_weight * (votes - 0.5) + p.prior_weight * (prior - 0.5)

    # 4. Consolidation: a penalty for each token, then a change for each cluster.
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
    """Reward of clusters that are more foreground than background, reduction of ambiguous ones.

    Args:
        contrast: (N,) foreground minus background cosine; its sigmoid around the mean is the gate.
        foreground: (N,) min-max normalised foreground similarity.
        background: (N,) min-max normalised background similarity.
        labels: (N,) int64 cluster of each token.
        params: gate, reward, reduction and lowest change.

    Returns:
        (N,) float32 to add to the score; equal in each cluster.
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
