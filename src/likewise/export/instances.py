"""What becomes an annotation of its own: objects that were told apart, or the pieces of a mask."""

from __future__ import annotations

from collections.abc import Iterator

from ..instances import Instance, pieces
from .annotations import Annotation


def find_instances(annotation: Annotation, min_area: int = 1) -> Iterator[Instance]:
    """The annotation's own instances, or the 8-connected pieces of each class, class by class.

    Args:
        annotation: of one image.
        min_area: instances of fewer pixels are specks and are left out.
    """
    found = _pieces(annotation) if annotation.instances is None else annotation.instances
    return (instance for instance in found if instance.area >= min_area)


def _pieces(annotation: Annotation) -> Iterator[Instance]:
    for number, name in enumerate(annotation.classes, 1):
        score = annotation.scores.get(name, 1.0)
        for left, top, mask in pieces(annotation.mask_of(number)):
            yield Instance(number, name, score, left, top, mask)
