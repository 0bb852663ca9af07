"""What can only be asked from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bad_input_rows.rows import row


def _segmenter() -> Any:
    from likewise import Segmenter

    return Segmenter("tiny", image_size=64)


def _nearest() -> Any:
    from likewise import Segmenter

    return Segmenter("tiny", image_size=64, method="nearest")


@row(
    "Python: segment before fit",
    2,
    r"no reference yet: give at least one \(image, mask\) pair first",
)
def segment_before_fit(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().segment("a.jpg")


@row(
    "Python: consensus of a method that has none",
    2,
    r"method nearest has no consensus; use likewise\.",
)
def consensus_of_nearest(_: Path) -> Callable[[], object]:
    return lambda: list(
        _nearest().fit(("reference.png", "mask.png")).segment_many(["a.jpg"], consensus=True)
    )


@row("Python: fit of nothing", 2, r"no reference given: pass at least one \(image, mask\) pair")
def fit_of_nothing(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().fit([])


@row(
    "Python: mask array of another shape", 2, r"the mask array is 8 × 8 pixels, but its image is 48"
)
def mask_array_of_another_shape(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().fit(("reference.png", np.eye(8, dtype=bool)))


@row(
    "Python: a number for an image",
    2,
    r"a float was given where an image or mask is needed: give a",
)
def number_for_an_image(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().fit((3.5, "mask.png"))


@row(
    "Python: malformed COCO entry", 2, r"the mask annotation is not a usable COCO mask \(.*\): give"
)
def malformed_coco(_: Path) -> Callable[[], object]:
    entry = {"size": [40, 48], "counts": [1, 3]}
    return lambda: _segmenter().fit(("reference.png", entry))


@row(
    "Python: keypoints that are no pairs",
    2,
    r"keypoints must be \(n, 2\): one \(x, y\) pair for each",
)
def keypoints_no_pairs(_: Path) -> Callable[[], object]:
    import likewise

    return lambda: likewise.match(_segmenter(), "reference.png", [1, 2, 3], "a.jpg")
