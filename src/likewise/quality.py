"""What a mask looks like it got wrong, and which masks are worth a look first."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

UNSURE = 0.5
"""Steadiness below which a mask is called unsure."""
STEP = 0.075
"""Share of the scores by which the threshold is moved: 1.5 of the 20 nats of ``likewise``."""


MaskQuality: TypeAlias = Literal["ok", "too_small", "too_large", "fragmented"]


def validate_mask_quality(
    mask: npt.ArrayLike,
    min_area_ratio: float = 0.001,
    max_area_ratio: float = 0.9,
    max_components: int = 10,
) -> MaskQuality:
    """One word on a mask: ``too_small``, ``too_large``, ``fragmented`` or ``ok``.

    Args:
        mask: (H, W), foreground where it is not 0.
        min_area_ratio: share of the image below which it is too small, 0..1.
        max_area_ratio: share of the image above which it is too large, 0..1.
        max_components: connected parts (corners do not connect) above which it is fragmented.
    """
    from scipy import ndimage

    foreground = np.asarray(mask) != 0
    area = foreground.mean() if foreground.size else 0.0
    if area < min_area_ratio:
        return "too_small"  # likely missed the object
    if area > max_area_ratio:
        return "too_large"  # likely leaked to the background
    return "fragmented" if ndimage.label(foreground)[1] > max_components else "ok"


def steadiness(scores: npt.NDArray[np.floating[Any]]) -> float:
    """How little a mask hangs on where exactly its threshold lies, 0..1.

    IoU of the masks a little above and below the threshold (1.5 nats of ``likewise``). Of what was
    looked at, it tells best which masks are wrong: see benchmarks/NOTES.md.

    Args:
        scores: (h, w) in 0..1, 0.5 is the threshold.

    Returns:
        1 also where scores are 0 or 1 only, or nothing was found.
    """
    smaller, larger = scores > 0.5 + STEP, scores > 0.5 - STEP
    return float(smaller.sum() / larger.sum()) if (scores > 0.5).any() else 1.0


def verdicts(
    mask: npt.NDArray[np.bool_],
    steady: float = 1.0,
    confidence: float = 1.0,
    disputed: bool = False,
    *,
    min_confidence: float = 0.0,
    **limits: Any,
) -> tuple[str, ...]:
    """Everything that speaks against one class's mask; nothing of what is fine.

    Args:
        mask: (H, W) bool.
        steady: its ``steadiness``.
        confidence: 0..1 of the method: how familiar what it found is to the references.
        disputed: whether the consensus of its batch found something else.
        min_confidence: below it, it is unlike its references; see ``methods.Abilities``.
        limits: of ``validate_mask_quality``.

    Returns:
        Some of ``empty``, ``too_small``, ``too_large``, ``fragmented``, ``touches_border`` (three
        sides of the image or more, of a mask that is not large), ``unlike_references``,
        ``disputed`` and ``unsure``.
    """
    found = []
    word: str = "empty" if not mask.any() else validate_mask_quality(mask, **limits)
    if word != "ok":
        found.append(word)
    sides = [mask[0].any(), mask[-1].any(), mask[:, 0].any(), mask[:, -1].any()]
    if sum(map(bool, sides)) >= 3 and mask.mean() < 0.5:
        found.append("touches_border")
    if mask.any() and confidence < min_confidence:
        found.append("unlike_references")
    if disputed:
        found.append("disputed")
    if steady < UNSURE:
        found.append("unsure")
    return tuple(found)


def doubt(confidence: float, steady: float, reasons: tuple[str, ...]) -> float:
    """How much a mask is worth a look, 0..1: the review queue is ordered by it.

    Of an empty mask: how near the confidence came to finding something.

    Args:
        confidence: 0..1 of the method; it decides between masks that are equally steady.
        steady: ``steadiness`` of its scores.
        reasons: its ``verdicts``.
    """
    if "empty" in reasons:
        return 1 - 2 * abs(confidence - 0.5)
    looks_wrong = len([reason for reason in reasons if reason != "unsure"])
    return min(1.0, 1 - steady * (0.9 + 0.1 * confidence) + 0.2 * looks_wrong)
