"""Bridges to other programs: CVAT, supervision, code written for INSID3 (Label Studio: ``web``).

Each needs packages that likewise does without; an extra of the same name installs them.
"""

from __future__ import annotations

from ..errors import LikewiseError
from ..instances import Instance
from ..result import Result


def find_pieces(result: Result, min_area: int = 1) -> list[Instance]:
    """The objects of a result, class by class, each with its score.

    Args:
        result: of one image.
        min_area: smaller ones are left out, in pixels.
    """
    return [instance for instance in result.instances() if instance.area >= min_area]


def check_outline(min_area: int, simplify: float) -> None:
    """Raises LikewiseError for numbers out of range."""
    if min_area < 1:
        raise LikewiseError(f"min_area {min_area} is no area: give at least 1 pixel.")
    if not 0 <= simplify < float("inf"):
        raise LikewiseError(f"simplify {simplify:g} is no distance: give 0 (exact) or more pixels.")
