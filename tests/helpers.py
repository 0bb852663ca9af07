"""Functions that several test files use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from likewise.errors import LikewiseError
from likewise.images import Picture, read_picture
from likewise.result import ClassResult, Result


def refusal(call, *args, **kwargs) -> str:
    """The text of the LikewiseError that the call ends in: one line, ending in a full stop."""
    with pytest.raises(LikewiseError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


class Columns:
    """Does as a fitted ``Segmenter``, without a backbone: the k-th class is the k-th column.

    Args:
        classes: all there are; as many columns of equal width does every picture have.
        labels: those that are looked for.
        batch: pictures at once; above 1, as on an accelerator, masks are written in a thread.
    """

    keep_tree = False

    def __init__(self, classes: Sequence[str], labels: Sequence[str], batch: int = 1) -> None:
        self.classes, self.labels, self.batch = classes, labels, batch

    def batch_size(self, consensus: bool) -> int:
        return self.batch

    def read(self, image: Path) -> Picture:
        return read_picture(image)

    def segment_batch(self, images: Sequence[Picture], *, consensus: bool) -> list[Result]:
        return [self.segment(image.pixels) for image in images]

    def segment(self, image: np.ndarray) -> Result:
        height, width = image.shape[:2]
        column = np.arange(width) * len(self.classes) // width
        label_map = np.zeros((height, width), np.uint8)
        for number, label in enumerate(self.labels, 1):
            label_map[:, column == self.classes.index(label)] = number
        classes = {
            label: ClassResult(label_map == number, np.float32(label_map == number), 0.9)
            for number, label in enumerate(self.labels, 1)
        }
        scores = np.float32(label_map > 0)
        return Result(label_map > 0, scores, 0.9, None, label_map, classes)
