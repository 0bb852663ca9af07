"""Batch consensus: unlabelled targets of one concept become further references of each other.

Transductive: the masks predicted in the images of a batch are used as pseudo-references, if they
are reliable. A mask is reliable if, as the only reference, it finds the masks of the true
references again; a mask in an image without the concept does not.

The joint result of references and pseudo-references replaces that of the references alone only if
the two masks agree. The confidence (is the concept there at all?) is that of the references alone:
images of the same kind would make any content similar to the references.
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
"""IoU with the masks of the true references above which a pseudo-reference is used."""
AGREES = 0.5
"""IoU of the joint mask with that of the references alone above which the joint one is taken."""
MARGIN = 0.1
"""Patches whose score, 0..1, is nearer to ½ (2 nats) are in no pseudo-reference."""


@dataclass(frozen=True, eq=False)
class PseudoReference:
    """A target with its predicted mask, used as a reference."""

    patches: tuple[torch.Tensor, torch.Tensor]
    """(m, D) debiased patches, those near ½ left out, and (m,) bool: which show the concept."""
    reliability: float
    """Mean IoU, 0..1, of the true references found from it alone."""


def consensus(
    references: ReferenceSet,
    model: likewise.LikewiseModel,
    targets: Sequence[PatchFeatures],
    rounds: int = ROUNDS,
    classes: int = 1,
) -> list[Scores]:
    """Scores of P targets that are pseudo-references of each other.

    Args:
        references: with masks given by a person.
        model: fitted to them.
        targets: P encoded targets, of one grid.
        rounds: how often the targets are segmented with pseudo-references of the round before.
        classes: number of classes that compete in a target.

    Returns:
        P scores, in order. A target is no pseudo-reference of itself; its confidence is that of the
        references alone.
    """
    single = [likewise.score(model, t, TargetCache(t, classes)) for t in targets]
    open_model = replace(model, params=replace(model.params, presence=0.0))
    scores = single
    for _ in range(rounds):
        found = [
            _as_reference(references, model.params, target, result)
            for target, result in zip(targets, scores, strict=True)
        ]
        chosen = _reliable(found)
        if not chosen:
            break
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
    """The joint result if it agrees with that of the references alone, else that one, disputed."""
    alone, together = own.patches > 0.5, joint.patches > 0.5
    if alone.any() and likewise.iou(alone, together) <= AGREES:
        return replace(own, disputed=True)
    return replace(joint, confidence=own.confidence)


def _as_reference(
    references: ReferenceSet, params: likewise.Params, target: PatchFeatures, result: Scores
) -> PseudoReference | None:
    """One target as pseudo-reference; None if its mask is empty or full."""
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
    """Index → the reliable pseudo-references, at most the better half of all."""
    known = {i: f for i, f in enumerate(found) if f is not None and f.reliability > RELIABLE}
    ranked = sorted(known, key=lambda i: -known[i].reliability)
    return {i: known[i] for i in ranked[: (len(found) + 1) // 2]}
