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


@row("Python: one path for many images", 2, r"give segment_many a list of images, not one path, ph")
def one_path_for_many(_: Path) -> Callable[[], object]:
    return lambda: list(_segmenter().fit(("reference.png", "mask.png")).segment_many("photos"))


@row(
    "Python: one class as text, unknown",
    2,
    r"there is no reference of the class 'cat': use some of object\.",
)
def one_class_as_text(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().fit(("reference.png", "mask.png")).only("cat")


@row(
    "Python: a file for a mask array", 2, r"a mask must be an array \(H, W\), not str of shape \(\)"
)
def file_for_an_array(_: Path) -> Callable[[], object]:
    import likewise

    return lambda: likewise.validate_mask_quality("mask.png")


@row(
    "Python: a clip's mask without its frame", 2, r"masks must say which frame each is of, such as"
)
def mask_without_its_frame(_: Path) -> Callable[[], object]:
    import likewise

    return lambda: likewise.segment_video("tiny", "mask.png")


@row("Python: an empty label", 2, r"a reference has an empty label: give a name, or no label\.")
def empty_label(_: Path) -> Callable[[], object]:
    from likewise import Reference

    return lambda: Reference("reference.png", "mask.png", label=" ")
