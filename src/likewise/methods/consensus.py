"""Batch consensus: targets of a batch become pseudo-references of each other (transductive).

1. Every target is segmented with the references alone.
2. Reliability of each predicted mask: mean IoU of the references' masks with what is found in them
   with the predicted mask as the only reference. It is low in images without the concept.
3. Every target is segmented with the references and the reliable masks of the other targets.
4. The mask of step 3 replaces that of step 1 if the two agree (IoU above AGREES); otherwise the
   target is disputed. The confidence is that of step 1: images of one kind are similar to each
   other whether they show the concept or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..features.patch_features import PatchFeatures
from ..features.target_cache import TargetCache
from . import Scores, likewise

if TYPE_CHECKING:
    import torch

    from ..reference import ReferenceSet

ROUNDS = 1
RELIABLE = 0.5
"""Reliability, 0..1, above which a predicted mask is a pseudo-reference."""
AGREES = 0.5
"""IoU of the masks of steps 1 and 3 above which that of step 3 is taken."""
MARGIN = 0.1
"""Patches whose score, 0..1, is nearer to ½ than this (2 nats) are left out of step 3."""


@dataclass(frozen=True, eq=False)
class PseudoReference:
    """A target with its predicted mask, used as a reference."""

    patches: tuple[torch.Tensor, torch.Tensor]
    """(m, D) float32 debiased patches and (m,) bool, which of them show the concept."""
    reliability: float
    """0..1, see step 2."""


def consensus(
    references: ReferenceSet,
    model: likewise.LikewiseModel,
    targets: Sequence[PatchFeatures],
    rounds: int = ROUNDS,
    classes: int = 1,
) -> list[Scores]:
    """Scores of P targets after consensus.

    Args:
        references: with given masks.
        model: fitted to them.
        targets: P encoded targets, of one grid.
        rounds: how often steps 2 to 4 are done, each time with the masks of the round before.
        classes: number of classes that compete in a target.

    Returns:
        P scores, in order.
    """
    # 1. The references alone.
    single = [likewise.score(model, t, TargetCache(t, classes)) for t in targets]
    open_model = replace(model, params=replace(model.params, presence=0.0))
    scores = single
    for _ in range(rounds):
        # 2. Reliability.
        found = [
            _as_reference(references, model.params, target, result)
            for target, result in zip(targets, scores, strict=True)
        ]
        chosen = _reliable(found)
        if not chosen:
            break
        # 3. and 4. With the reliable masks of the other targets.
        scores = []
        for number, (target, own) in enumerate(zip(targets, single, strict=True)):
            others = [f.patches for i, f in chosen.items() if i != number]
            if own.confidence >= model.params.presence:
                extended = likewise.extend(open_model, others)
                joint = likewise.score(extended, target, TargetCache(target, classes))
                scores.append(_settled(own, joint))
            else:
                scores.append(own)
    return scores


def consensus_of_classes(
    references: ReferenceSet,
    models: Mapping[str, likewise.LikewiseModel],
    targets: Sequence[PatchFeatures],
) -> list[dict[str, Scores]]:
    """``consensus`` for each class separately: for each target, in order, label → scores.

    Args:
        references: of all classes.
        models: label → model fitted to the references of the class.
        targets: encoded targets, of one grid.
    """
    found = [
        consensus(references.of(label), model, targets, classes=len(models))
        for label, model in models.items()
    ]
    return [dict(zip(models, scores, strict=True)) for scores in zip(*found, strict=True)]


def _settled(own: Scores, joint: Scores) -> Scores:
    """Step 4: the joint result if both agree, else that of the references alone, disputed."""
    alone, together = own.patches > 0.5, joint.patches > 0.5
    if alone.any() and likewise.iou(alone, together) <= AGREES:
        return replace(own, disputed=True)
    return replace(joint, confidence=own.confidence)


def _as_reference(
    references: ReferenceSet, params: likewise.Params, target: PatchFeatures, result: Scores
) -> PseudoReference | None:
    """Step 2 for one target; None if its mask is empty or full."""
    from ..reference import EncodedReference, ReferenceSet

    mask = result.patches > 0.5
    if not mask.any() or mask.all():
        return None
    pair = ReferenceSet((EncodedReference(target, mask), *references.negatives))
    alone = likewise.fit(pair, replace(params, presence=0.0))
    overlaps = [
        likewise.iou(likewise.score(alone, s.encoded).patches > 0.5, s.mask)
        for s in references.positives
    ]
    sure = (result.patches - 0.5).abs() > MARGIN
    return PseudoReference((target.debiased[sure], mask[sure]), sum(overlaps) / len(overlaps))


def _reliable(found: list[PseudoReference | None]) -> dict[int, PseudoReference]:
    """Index → pseudo-references of reliability above RELIABLE, at most the better half of all."""
    known = {i: f for i, f in enumerate(found) if f is not None and f.reliability > RELIABLE}
    ranked = sorted(known, key=lambda i: -known[i].reliability)
    return {i: known[i] for i in ranked[: (len(found) + 1) // 2]}
