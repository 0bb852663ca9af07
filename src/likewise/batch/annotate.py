"""A folder annotated from one example with one call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..images import ImageLike
from ..masks import MaskLike
from ..quality import validate_mask_quality
from .folder import Job, Outcome, claim, segment_files
from .targets import find_images


def annotate_batch(
    reference_image: ImageLike,
    reference_mask: MaskLike,
    target_dir: str | Path,
    output_dir: str | Path,
    **options: Any,
) -> dict[str, str]:
    """Annotate all images of a folder using a single reference.

    Writes ``<stem>_mask.png``, 0 and 255, for each; what is there already is kept, so that a run
    that was stopped goes on. ``likewise annotate`` does more: projects, review, reports.

    Args:
        reference_image: the example.
        reference_mask: its mask.
        target_dir: folder of images; a file or a glob pattern will do too.
        output_dir: folder for the masks, made if it is not there.
        options: of ``Segmenter``, such as ``backbone="vitl"``.

    Returns:
        Image → a word of ``validate_mask_quality``, or ``failed: …`` and why.

    Raises:
        LikewiseError: if the reference or the folder cannot be used; what is written stays.
    """
    from ..segmenter import Segmenter

    out = Path(output_dir)
    jobs = [Job(t, out / f"{t.stem}_mask.png", None) for t in find_images(str(target_dir))]
    claim(out, [(job.target, job.mask) for job in jobs], [job.target for job in jobs])
    segmenter = Segmenter(**options).fit((reference_image, reference_mask))
    return dict(_words(segment_files(segmenter, jobs, resume=True)))


def _words(outcomes: Iterator[Outcome]) -> Iterator[tuple[str, str]]:
    import numpy as np
    from PIL import Image

    for outcome in outcomes:
        word = f"failed: {outcome.error}"
        if outcome.mask is not None:
            with Image.open(outcome.mask) as mask:
                word = validate_mask_quality(np.asarray(mask))
        yield str(outcome.target), word
