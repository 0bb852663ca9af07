"""Batch consensus: unlabelled targets of one concept become further references of each other.

The transductive scheme: what was found in the images of a batch, where it can be trusted, shows the
concept in more ways than the references alone. A found mask is trusted when, used alone, it finds
the true references again: in an image without the concept it does not, so such images stay out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..features.encoded import Encoded
from ..features.evidence import Tokens
from . import Scores, likewise

if TYPE_CHECKING:
    from ..reference import ReferenceSet

ROUNDS = 1
RELIABLE = 0.5
"""IoU with which a found mask, used alone, must find the true references again."""
MARGIN = 0.1
"""Patches whose score is nearer to ½ are taken for neither the concept nor the rest: 2 nats."""


@dataclass(frozen=True, eq=False)
class Found:
    """One target that stands in as a reference."""

    tokens: Tokens
    """Its patches, without the doubtful ones."""
    reliability: float
    """Mean IoU, 0..1, of the true references found from it alone."""


def consensus(
    references: ReferenceSet,
    model: likewise.Model,
    targets: Sequence[Encoded],
    rounds: int = ROUNDS,
) -> list[Scores]:
    """Scores of P targets that lend each other references.

    Args:
        references: the true ones.
        model: fitted to them.
        targets: P encoded targets, of one grid.
        rounds: how often masks become references and references masks.

    Returns:
        P scores, in order. Each target is judged without what was found in itself.
    """
    scores = [likewise.score(model, target) for target in targets]
    for _ in range(rounds):
        found = [
            _as_reference(references, model.params, target, result)
            for target, result in zip(targets, scores, strict=True)
        ]
        chosen = _reliable(found)
        if not chosen:
            break
        scores = [
            likewise.score(
                likewise.extend(model, [f.tokens for i, f in chosen.items() if i != number]),
                target,
            )
            for number, target in enumerate(targets)
        ]
    return scores


def _as_reference(
    references: ReferenceSet, params: likewise.Params, target: Encoded, result: Scores
) -> Found | None:
    """What was found in one target, tested on the true references; None if nothing was."""
    import torch

    from ..reference import ReferenceSet, Shot

    mask = result.patches > 0.5
    if not mask.any() or mask.all():
        return None
    pair = ReferenceSet((Shot(target, mask), *references.negatives))
    alone = likewise.fit(pair, replace(params, presence=0.0))
    overlaps = [
        likewise.iou(likewise.score(alone, s.encoded).patches > 0.5, s.mask)
        for s in references.positives
    ]
    sure = (result.patches - 0.5).abs() > MARGIN
    tokens = Tokens(target.debiased[sure], mask[sure], torch.zeros_like(mask[sure]).long())
    return Found(tokens, sum(overlaps) / len(overlaps))


def _reliable(found: list[Found | None]) -> dict[int, Found]:
    """The better half of what was found, without what does not find the references again."""
    known = {i: f for i, f in enumerate(found) if f is not None and f.reliability > RELIABLE}
    ranked = sorted(known, key=lambda i: -known[i].reliability)
    return {i: known[i] for i in ranked[: (len(found) + 1) // 2]}
