"""Warnings about masks, their stability, and the order in which to review them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import LikewiseError
from .io.stretch import BAND

UNSURE = 0.5
"""Stability score below which a mask is ``unsure``."""
STEP = 0.075
"""By how much of the scores, 0..1, the threshold is moved: 1.5 of the 20 nats of ``likewise``."""


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

    Raises:
        LikewiseError: if it is no array of two dimensions, such as a file that was not read.
    """
    foreground = np.asarray(mask)
    foreground = foreground if foreground.dtype == bool else foreground != 0
    if foreground.ndim != 2:
        raise LikewiseError(
            f"a mask must be an array (H, W), not {type(mask).__name__} of shape "
            f"{foreground.shape}: read a file first."
        )
    area = foreground.mean() if foreground.size else 0.0
    if area < min_area_ratio:
        return "too_small"  # likely missed the object
    if area > max_area_ratio:
        return "too_large"  # likely leaked to the background
    return "fragmented" if _count_components(foreground) > max_components else "ok"


def _count_components(mask: npt.NDArray[np.bool_]) -> int:
    """Of (H, W); rows at a time, for labels take four times the memory of the mask."""
    from scipy import ndimage, sparse

    rows = max(1, BAND // mask.shape[1])
    count, above, pairs = 0, np.zeros(mask.shape[1], np.int64), [np.empty((2, 0), np.int64)]
    for top in range(0, len(mask), rows):
        labels, more = ndimage.label(mask[top : top + rows])
        first, last = (np.where(row > 0, row + np.int64(count), 0) for row in labels[[0, -1]])
        pairs.append(np.stack([above, first])[:, (above > 0) & (first > 0)])
        count, above = count + more, last
    one, other = np.concatenate(pairs, axis=1)
    touching = sparse.coo_array((np.ones(len(one), bool), (one, other)), (count + 1,) * 2)
    return int(sparse.csgraph.connected_components(touching, directed=False)[0]) - 1  # not of 0


def stability_score(scores: npt.NDArray[np.floating[Any]]) -> float:
    """IoU, 0..1, of the masks at thresholds a little higher and lower, as SAM's stability score.

    The thresholds are 0.5 ± STEP. Of the measures tried, it tells best which masks are wrong: see
    benchmarks/NOTES.md.

    Args:
        scores: (h, w) in 0..1, 0.5 is the threshold.

    Returns:
        1 also if all scores are 0 or 1, or none is above 0.5.
    """
    smaller, larger = scores > 0.5 + STEP, scores > 0.5 - STEP
    return float(smaller.sum() / larger.sum()) if (scores > 0.5).any() else 1.0


def mask_warnings(
    mask: npt.NDArray[np.bool_],
    stability: float = 1.0,
    confidence: float = 1.0,
    disputed: bool = False,
    *,
    min_confidence: float = 0.0,
    **limits: Any,
) -> tuple[str, ...]:
    """Everything about one class's mask that hints at a mistake; empty if there is nothing.

    Args:
        mask: (H, W) bool.
        stability: its ``stability_score``.
        confidence: 0..1 of the method: how similar what it found is to the references.
        disputed: whether the consensus of its batch found something else.
        min_confidence: below it, it is ``unlike_references``; see ``methods.Abilities``.
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
    if stability < UNSURE:
        found.append("unsure")
    return tuple(found)


def review_priority(confidence: float, stability: float, reasons: tuple[str, ...]) -> float:
    """Place of a mask in the review queue: 0..1, the greatest first (column ``doubt`` on disk).

    Of an empty mask: 1 at confidence ½, falling to 0 at confidence 0 and 1.

    Args:
        confidence: 0..1 of the method; it decides between masks of the same stability.
        stability: ``stability_score`` of its scores.
        reasons: its ``mask_warnings``.
    """
    if "empty" in reasons:
        return 1 - 2 * abs(confidence - 0.5)
    looks_wrong = len([reason for reason in reasons if reason != "unsure"])
    return min(1.0, 1 - stability * (0.9 + 0.1 * confidence) + 0.2 * looks_wrong)
