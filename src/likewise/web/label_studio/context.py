"""What a person points at in Label Studio with smart tools: ``context`` of a request, as prompts.

Its ``result`` are the regions that were drawn, as in annotations: a keypoint (not ``is_positive``
with Alt), a rectangle, or what a brush has painted. All have one class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import LikewiseError
from ...prompts import Box, Point, Prompts
from .brush import decode_brush

CELLS = 24
"""A brush marks a point in each of so many cells a side that it has painted."""


@dataclass(frozen=True)
class Pointed:
    """What was pointed at, of one class."""

    label: str
    to_name: str
    """Of the image in the configuration."""
    prompts: Prompts


def read_context(regions: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Pointed:
    """The regions of a context as prompts.

    Args:
        regions: at least one.
        size: (H, W) of the image.

    Raises:
        LikewiseError: if one is no keypoint, rectangle or brush mask of one class.
    """
    height, width = size
    points, box = list[Point](), None
    labels, names = set[str](), set[str]()
    for region in regions:
        try:
            kind, value = region["type"], region["value"]
            if region.get("image_rotation"):
                raise ValueError("its image was turned there")
            labels.update(_labels(value, kind))
            names.add(str(region["to_name"]))
            sign = 1 if region.get("is_positive", True) else 0
            if kind == "keypointlabels":
                x, y = float(value["x"]) * width / 100, float(value["y"]) * height / 100
                points.append((min(max(x, 0), width - 1), min(max(y, 0), height - 1), sign))
            elif kind == "rectanglelabels":
                box = _box(value, size)
            elif kind == "brushlabels":
                mask = decode_brush(value["rle"], size)
                points += [(x, y, sign) for x, y in spread_points(mask)]
            else:
                raise ValueError(f"{kind} is no keypoint, rectangle or brush")
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise LikewiseError(
                f"what was pointed at cannot be read ({error}): use a keypoint, a rectangle or a "
                "brush of one class."
            ) from error
    if len(labels) != 1 or len(names) != 1:
        raise LikewiseError("what was pointed at has not one class of one image: point again.")
    # A keypoint on one that is there already, say.
    kept = {(int(x), int(y)): (x, y, sign) for x, y, sign in points}
    return Pointed(labels.pop(), names.pop(), Prompts([*kept.values()], box))


def spread_points(mask: np.ndarray) -> list[tuple[float, float]]:
    """Pixels spread over an (H, W) bool mask: of each cell that it is in, one in its middle."""
    rows, columns = np.nonzero(mask)
    side = max(1, -(-max(mask.shape) // CELLS))
    cells = rows // side * mask.shape[1] + columns // side
    order = np.argsort(cells, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(cells[order])) + 1)
    middles = [group[len(group) // 2] for group in groups if len(group)]
    return [(float(columns[k]), float(rows[k])) for k in middles]


def _labels(value: Mapping[str, Any], kind: str) -> list[str]:
    found = value[kind]
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        raise ValueError("it has no class")
    return found


def _box(value: Mapping[str, Any], size: tuple[int, int]) -> Box:
    if value.get("rotation"):
        raise ValueError("a rectangle is turned")
    height, width = size
    left, top, across, down = (float(value[k]) / 100 for k in ("x", "y", "width", "height"))
    return left * width, top * height, (left + across) * width, (top + down) * height
