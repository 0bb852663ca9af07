"""A folder annotated from one example with one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import LikewiseError, note
from ..io.images import ImageLike
from ..io.masks import MaskLike, read_label_map
from ..quality import MaskQuality, validate_mask_quality
from .folder import FolderRun
from .outcomes import Outcome

Status: TypeAlias = MaskQuality | Literal["failed"]


@dataclass(frozen=True)
class AnnotatedImage:
    """What became of one image."""

    image: Path
    status: Status
    """What ``validate_mask_quality`` says of the mask; ``failed`` where there is none, or none that
    can be read."""
    mask: Path | None
    """The file of the mask; None if none was written."""
    error: str | None = None
    """Why it failed, in a sentence; None if it did not."""


def annotate_batch(
    reference_image: ImageLike,
    reference_mask: MaskLike,
    target_dir: str | Path,
    output_dir: str | Path,
    **options: Any,
) -> list[AnnotatedImage]:
    """Annotate all images of a folder using a single reference.

    Writes ``<stem>_mask.png``, 0 and 255, for each. What is there already is kept if this call
    would make the same, so that a run that was stopped goes on, or if a person made or changed it.
    Where two images have one name, masks keep their folders. ``likewise annotate`` does more:
    projects, review, reports.

    Args:
        reference_image: the example.
        reference_mask: its mask.
        target_dir: folder of images; a file or a glob pattern will do too.
        output_dir: folder for the masks, made if it is not there.
        options: of ``FolderRun`` or ``Segmenter``, such as ``backbone="vitl"``.

    Returns:
        One for each image, in the order of ``find_images``. An image that cannot be read has the
        status ``failed``; the others are segmented.

    Raises:
        LikewiseError: if the reference or the folder cannot be used, or nothing more can be
            written; what is written stays.
    """
    pair = (reference_image, reference_mask)
    run = FolderRun(str(target_dir), output_dir, pair, resume=True, suffix="_mask.png", **options)
    return list(map(_annotated, run))


def _annotated(outcome: Outcome) -> AnnotatedImage:
    if outcome.by_hand:
        note(outcome.mask, "it was changed by hand, and is kept: delete it to have it made anew.")
    if outcome.mask is None:
        return AnnotatedImage(outcome.target, "failed", None, outcome.error)
    try:
        word = validate_mask_quality(read_label_map(outcome.mask))
    except LikewiseError as error:  # a person's
        return AnnotatedImage(outcome.target, "failed", outcome.mask, str(error))
    return AnnotatedImage(outcome.target, word, outcome.mask)
