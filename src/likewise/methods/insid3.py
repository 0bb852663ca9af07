"""INSID3 (CVPR 2026), as its released code does it: candidates, clusters, seed, aggregation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..errors import LikewiseError
from ..features.clustering import MergeTree, cluster_means, cluster_prototypes, reference_prototype
from ..features.correspondence import nearest
from ..features.patch_features import PatchFeatures
from ..features.target_cache import TargetCache
from . import TAU, Abilities, MethodParams, Scores

if TYPE_CHECKING:
    import torch

    from ..reference import ReferenceSet


@dataclass(frozen=True)
class INSID3Params(MethodParams):
    """Hyperparameters under the paper's names, with the paper's defaults."""

    method: ClassVar[str] = "insid3"
    tau: float | None = None
    """Cosine similarity, -1..1, at which clustering stops (§3.2); None takes the one calibrated for
    the backbone, and the paper's 0.6 where ``insid3`` is called without one."""
    alpha: float = 0.2
    """Clusters with a combined score above it join the seed (§3.4)."""

    def __post_init__(self) -> None:
        if self.tau is not None and not -1 <= self.tau <= 1:
            raise LikewiseError(
                f"tau {self.tau} is no cosine similarity; use a number from -1 to 1."
            )
        if not math.isfinite(self.alpha):
            raise LikewiseError(f"alpha {self.alpha} is no number to compare scores with; try 0.2.")


Params = INSID3Params
VIEWS: tuple[str, ...] = ()
CAN = Abilities(negatives=False)


@dataclass(frozen=True, eq=False)
class INSID3Trace:
    """Every intermediate of one run, for people who want to look inside. N patches, C clusters."""

    prototype: torch.Tensor
    """(D,) unit length, of the references, debiased."""
    similarity: torch.Tensor
    """(N,) cosine of each target patch to the prototype."""
    candidates: torch.Tensor
    """(N,) bool: patches that match forward and backward."""
    tree: MergeTree | None = field(default=None)
    """The clustering; None when there was no candidate and none was needed."""
    labels: torch.Tensor | None = None
    """(N,) int64 cluster of each patch."""
    seed: int | None = None
    """Id of the seed cluster."""
    cluster_scores: torch.Tensor | None = None
    """(C,) cross · intra · area of each cluster."""
    scores: torch.Tensor = field(kw_only=True)
    """(N,) float32, the answer: 1 in kept clusters, else 0 (INSID3 decides on patches)."""


def candidate_patches(
    references: Sequence[PatchFeatures],
    masks: Sequence[torch.Tensor],
    target: PatchFeatures,
    similarity: torch.Tensor,
) -> torch.Tensor:
    """Patches that are similar to the prototype and whose nearest reference patch is masked (§3.3).

    Returns:
        (N,) bool.
    """
    import torch

    forward = similarity > 0
    if not forward.any():
        top = max(1, len(similarity) // 10)
        forward[similarity.topk(top).indices] = True
    patches = target.debiased[forward]  # the others need no vote
    votes = torch.zeros(len(patches), dtype=torch.int64, device=patches.device)
    for reference, mask in zip(references, masks, strict=True):
        votes += nearest_is_masked(patches, reference.debiased, mask)
    candidates = forward.clone()
    candidates[forward] = votes >= (len(references) + 1) // 2
    return candidates


def nearest_is_masked(
    queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Whether the most similar key of each query is a masked one: (N,) bool.

    As ``mask[nearest(queries, keys)[1]]``, at less than half the cost: for most queries a quarter
    of the unmasked keys already holds one that is more similar than all masked ones.

    Args:
        queries: (N, D) float32, unit rows.
        keys: (M, D) float32, unit rows.
        mask: (M,) bool.
    """
    import torch

    found = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
    inside, some = keys[mask], keys[~mask][::4]
    undecided = torch.ones_like(found)
    if len(inside) and len(some):
        # Rounding may differ between products of different sizes; what is that near is looked at.
        undecided = nearest(queries, inside)[0] >= nearest(queries, some)[0] - 1e-6
    found[undecided] = mask[nearest(queries[undecided], keys)[1]]
    return found


def insid3(
    references: Sequence[PatchFeatures],
    masks: Sequence[torch.Tensor],
    target: PatchFeatures,
    params: INSID3Params = INSID3Params(),
    cache: TargetCache | None = None,
) -> INSID3Trace:
    """Segment ``target`` like the masked patches of K references (INSID3 §3.2-3.4, Algorithm 1).

    Args:
        references: K ≥ 1 encoded references.
        masks: K tensors (N,) bool on the features' device, none empty: the references' grid masks.
        target: the encoded target.
        params: tau and alpha.
        cache: what was computed of ``target`` already; saves clustering it again.

    Returns:
        A trace whose ``scores`` (N,) are 1 on the kept patches and 0 elsewhere; all 0 when no patch
        is a candidate.
    """
    import torch

    prototype = reference_prototype([r.debiased for r in references], masks)
    similarity = target.debiased @ prototype
    candidates = candidate_patches(references, masks, target, similarity)
    if not candidates.any():
        return INSID3Trace(prototype, similarity, candidates, scores=torch.zeros_like(similarity))

    tree = (cache or TargetCache(target)).tree
    tau = TAU if params.tau is None else params.tau
    labels = torch.from_numpy(tree.cut(tau)).to(similarity.device)
    count = int(labels.max()) + 1

    # Seed: the cluster with a candidate whose prototype is closest to the reference's (Eq. 10-11).
    area = cluster_means(candidates.float(), labels, count)
    closeness = cluster_prototypes(target.debiased, labels, count) @ prototype
    seed = int(closeness.masked_fill(area == 0, -torch.inf).argmax())

    # Aggregation (Eq. 12-13). The area factor is the released code's, not the paper's.
    original = cluster_prototypes(target.features, labels, count)
    area[seed] = 1
    cluster_scores = cluster_means(similarity, labels, count) * (original @ original[seed]) * area
    keep = cluster_scores > params.alpha
    keep[seed] = True
    return INSID3Trace(
        prototype,
        similarity,
        candidates,
        tree,
        labels,
        seed,
        cluster_scores,
        scores=keep[labels].float(),
    )


def fit(references: ReferenceSet, params: INSID3Params) -> tuple[ReferenceSet, INSID3Params]:
    """Nothing to prepare: INSID3 knows positive references only."""
    return references, params


def score(
    model: tuple[ReferenceSet, INSID3Params],
    target: PatchFeatures,
    cache: TargetCache | None = None,
) -> Scores:
    """``insid3`` as a method; its confidence is the seed's mean similarity to the prototype."""
    shots = model[0].positives
    references, masks = [s.encoded for s in shots], [s.mask for s in shots]
    trace = insid3(references, masks, target, model[1], cache)
    if trace.labels is None:
        return Scores(trace.scores, 0.0, trace)
    confidence = trace.similarity[trace.labels == trace.seed].mean().clamp(0, 1)
    return Scores(trace.scores, float(confidence), trace)
