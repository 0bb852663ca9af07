"""Objects of a class: the connected pieces of its mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .annotations import Annotation


@dataclass(frozen=True, eq=False)
class Instance:
    """One object in one image."""

    number: int
    """Its class, as in the label map: 1 for the first."""
    label: str
    """The class by name."""
    score: float
    """0..1: how sure the method is that the image shows the class."""
    left: int
    """Column of the first pixel of ``mask`` in the image."""
    top: int
    """Row of the first pixel of ``mask`` in the image."""
    mask: npt.NDArray[np.bool_]
    """(h, w) bool, cut out of the image as small as it goes."""

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())


def find_instances(annotation: Annotation, min_area: int = 1) -> Iterator[Instance]:
    """The 8-connected pieces of each class, class by class, from top to bottom.

    Args:
        annotation: of one image.
        min_area: pieces of fewer pixels are specks and are left out.
    """
    from scipy.ndimage import find_objects, label

    for number, name in enumerate(annotation.classes, 1):
        pieces, _ = label(annotation.mask_of(number), structure=np.ones((3, 3)))
        for piece, (rows, columns) in enumerate(find_objects(pieces), 1):
            mask = pieces[rows, columns] == piece
            if mask.sum() >= min_area:
                score = annotation.scores.get(name, 1.0)
                yield Instance(number, name, score, columns.start, rows.start, mask)


def draw(instances: list[Instance], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """(H, W) label map of these instances only, parts over wholes; classes up to 255."""
    drawn = np.zeros(shape, np.uint8)
    for instance in sorted(instances, key=lambda i: i.label.count("/")):
        h, w = instance.mask.shape
        window = drawn[instance.top : instance.top + h, instance.left : instance.left + w]
        window[instance.mask] = instance.number
    return drawn
