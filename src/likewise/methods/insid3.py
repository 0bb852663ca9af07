"""INSID3 (CVPR 2026), as its released code does it.

1. Candidates: patches that match the references forward and backward (§3.3).
2. Clusters of the target's patches (§3.2).
3. Seed: the cluster with candidates that is most similar to the prototype (§3.3).
4. Aggregation: clusters whose combined score is above alpha join the seed (§3.4).
"""

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
    """-1..1: clusters merge down to this cosine similarity (§3.2); None: the value calibrated for
    the backbone, or the paper's 0.6 where ``insid3`` is called directly."""
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
    """Intermediate results of one target of N patches and C clusters."""

    prototype: torch.Tensor
    """(D,) float32, unit length: debiased prototype of the references (Eq. 2)."""
    similarity: torch.Tensor
    """(N,) float32 cosine of each target patch to the prototype."""
    candidates: torch.Tensor
    """(N,) bool: patches that match forward and backward."""
    tree: MergeTree | None = field(default=None)
    """The clustering; None if there is no candidate."""
    labels: torch.Tensor | None = None
    """(N,) int64 cluster of each patch."""
    seed: int | None = None
    """Id of the seed cluster."""
    cluster_scores: torch.Tensor | None = None
    """(C,) float32: cross · intra · area of each cluster (Eq. 12-13)."""
    scores: torch.Tensor = field(kw_only=True)
    """(N,) float32: 1 in the seed and the clusters that join it, else 0."""


def candidate_patches(
    references: Sequence[PatchFeatures],
    masks: Sequence[torch.Tensor],
    target: PatchFeatures,
    similarity: torch.Tensor,
) -> torch.Tensor:
    """Patches with forward and backward matches (§3.3).

    Forward: cosine to the prototype above 0; if there is none, the highest tenth. Backward: the
    nearest patch is masked in at least half of the references.

    Returns:
        (N,) bool.
    """
    import torch

    forward = similarity > 0
    if not forward.any():
        top = max(1, len(similarity) // 10)
        forward[similarity.topk(top).indices] = True
    patches = target.debiased[forward]
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

    Equal to ``mask[nearest(queries, keys)[1]]`` at less than half the cost: most queries have a
    key in a quarter of the unmasked ones that is more similar than all masked keys.

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
        # 1e-6: products of different sizes may round differently; near ties are computed in full.
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
        cache: holds the clustering of ``target``.

    Returns:
        Trace; its ``scores`` are all 0 if no patch is a candidate.
    """
    import torch

    # 1. Candidates.
    prototype = reference_prototype([r.debiased for r in references], masks)
    similarity = target.debiased @ prototype
    candidates = candidate_patches(references, masks, target, similarity)
    if not candidates.any():
        return INSID3Trace(prototype, similarity, candidates, scores=torch.zeros_like(similarity))

    # 2. Clusters.
    tree = (cache or TargetCache(target)).tree
    tau = TAU if params.tau is None else params.tau
    labels = torch.from_numpy(tree.cut(tau)).to(similarity.device)
    count = int(labels.max()) + 1

    # 3. Seed: of the clusters with candidates the one closest to the prototype (Eq. 10-11).
    area = cluster_means(candidates.float(), labels, count)
    closeness = cluster_prototypes(target.debiased, labels, count) @ prototype
    seed = int(closeness.masked_fill(area == 0, -torch.inf).argmax())

    # 4. Aggregation (Eq. 12-13). The area factor is in the released code, not in the paper.
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
    """References and parameters: nothing is fitted."""
    return references, params


def score(
    model: tuple[ReferenceSet, INSID3Params],
    target: PatchFeatures,
    cache: TargetCache | None = None,
) -> Scores:
    """Scores of one target; confidence: mean cosine of the seed cluster to the prototype, 0..1."""
    shots = model[0].positives
    references, masks = [s.encoded for s in shots], [s.mask for s in shots]
    trace = insid3(references, masks, target, model[1], cache)
    if trace.labels is None:
        return Scores(trace.scores, 0.0, trace)
    confidence = trace.similarity[trace.labels == trace.seed].mean().clamp(0, 1)
    return Scores(trace.scores, float(confidence), trace)
