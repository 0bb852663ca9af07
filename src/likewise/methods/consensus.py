"""Batch consensus: unlabelled targets of one concept become further references of each other.

The transductive scheme: what was found in the images of a batch, where it can be trusted, shows the
concept in more ways than the references alone. A found mask is trusted when, used alone, it finds
the true references again: in an image without the concept it does not, so such images stay out.

Consensus refines and does not overrule: a target takes the joint result only where that still
agrees with what the references alone found in it, and whether it holds the concept at all is for
the references alone to say (others of its kind make everything in it familiar).
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
"""IoU with which a found mask, used alone, must find the true references again."""
AGREES = 0.5
"""IoU above which a joint mask says the same as the one that the references alone found."""
MARGIN = 0.1
"""Patches whose score is nearer to ½ are taken for neither the concept nor the rest: 2 nats."""


@dataclass(frozen=True, eq=False)
class PseudoReference:
    """One target that stands in as a reference."""

    patches: tuple[torch.Tensor, torch.Tensor]
    """(m, D) debiased patches, without the doubtful ones, and (m,) bool: which show the concept."""
    reliability: float
    """Mean IoU, 0..1, of the true references found from it alone."""


def consensus(
    references: ReferenceSet,
    model: likewise.LikewiseModel,
    targets: Sequence[PatchFeatures],
    rounds: int = ROUNDS,
    classes: int = 1,
) -> list[Scores]:
    """Scores of P targets that lend each other references.

    Args:
        references: the true ones.
        model: fitted to them.
        targets: P encoded targets, of one grid.
        rounds: how often masks become references and references masks.
        classes: how many compete in a target.

    Returns:
        P scores, in order. Each target is judged without what was found in itself; its confidence
        is that of the references alone.
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
    """The consensus of every class for itself: of each target, in order, label → scores.

    Args:
        references: of all classes.
        models: label → what was fitted to the references of the class.
        targets: encoded targets, of one grid.
    """
    found = [
        consensus(references.of(label), model, targets, classes=len(models))
        for label, model in models.items()
    ]
    return [dict(zip(models, scores, strict=True)) for scores in zip(*found, strict=True)]


def _settled(own: Scores, joint: Scores) -> Scores:
    """The joint result, unless something else was found with the references alone: disputed."""
    alone, together = own.patches > 0.5, joint.patches > 0.5
    if alone.any() and likewise.iou(alone, together) <= AGREES:
        return replace(own, disputed=True)
    return replace(joint, confidence=own.confidence)


def _as_reference(
    references: ReferenceSet, params: likewise.Params, target: PatchFeatures, result: Scores
) -> PseudoReference | None:
    """What was found in one target, tested on the true references; None if nothing was."""
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
    """The better half of what was found, without what does not find the references again."""
    known = {i: f for i, f in enumerate(found) if f is not None and f.reliability > RELIABLE}
    ranked = sorted(known, key=lambda i: -known[i].reliability)
    return {i: known[i] for i in ranked[: (len(found) + 1) // 2]}
