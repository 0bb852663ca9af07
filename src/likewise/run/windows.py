"""An image that is read in windows: decided once as a whole, its labels block by block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import LikewiseError
from ..features.tiles import Plan
from ..large.image import ImageSource, RefinedBlock, refine_blocks, score_tiles
from ..methods import DEFAULT, get_method
from ..segmenter import Segmenter

BLOCK = 512
"""Side of the blocks of the files that are written, in pixels; those of labels are multiples."""


@dataclass(frozen=True, eq=False)
class DecidedImage:
    """What was found in one image."""

    scores: Sequence[npt.NDArray[np.float32]]
    """(h, w) in 0..1 of each class, 0.5 is the threshold."""
    cell: tuple[float, float]
    """Pixels (down, right) that one of them covers."""
    confidences: Sequence[float]
    blocks: Iterable[RefinedBlock]
    """Row by row, made one after the other; those with nothing in them are left out."""
    tiles: int
    """That it was read in; 1 if at once."""


def check_reads_windows(method: str, what: str) -> None:
    """Raises LikewiseError unless a method reads ``what`` in tiles."""
    if not get_method(method).CAN.tiles:
        raise LikewiseError(f"method {method} reads no {what}; use {DEFAULT}.")


def plan_of(segmenter: Segmenter, size: tuple[int, int]) -> Plan | None:
    """How a fitted segmenter reads an image of (H, W) pixels in tiles; None if at once."""
    return segmenter.tiles.plan(size, segmenter.encoder, segmenter.fitted())


def decide(
    segmenter: Segmenter,
    source: ImageSource,
    plan: Plan | None,
    tiles: Sequence[tuple[int, int]] | None = None,
) -> DecidedImage:
    """Scores and labels of an image; memory is bounded by a tile and by the scores of patches.

    Args:
        segmenter: fitted, with the default method.
        source: the image.
        plan: of ``plan_of``.
        tiles: those of the plan to read; all by default.

    Raises:
        ImageError: if a window cannot be read.
    """
    (H, W), encoder = source.size, segmenter.encoder
    if plan is None:
        result = segmenter.segment_batch([source.read(slice(0, H), slice(0, W))])[0]
        scores = [c.scores for c in result.classes.values()]
        masks = {label: c.mask for label, c in result.classes.items()}
        block = RefinedBlock(slice(0, H), slice(0, W), result.label_map, masks)
        h, w = scores[0].shape
        confidences = [c.confidence for c in result.classes.values()]
        return DecidedImage(scores, (H / h, W / w), confidences, [block], 1)
    models = segmenter.tiles.models(plan, encoder, segmenter.fitted(), segmenter.models)
    found = score_tiles(source, plan, encoder, models, tiles, segmenter.tiles.watch)
    core = BLOCK * max(1, round(plan.tile / BLOCK))
    blocks = refine_blocks(source, plan, found, encoder.spec.patch, segmenter.refiner, core)
    return DecidedImage(
        [f.patches.numpy() for f in found.values()],
        (float(plan.patch), float(plan.patch)),
        [f.confidence for f in found.values()],
        blocks,
        len(plan.tiles if tiles is None else tiles),
    )
