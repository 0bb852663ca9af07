"""Labelme, AnyLabeling and X-AnyLabeling JSON: the shapes of one picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .shapes import (
    Mask,
    Shape,
    Size,
    box,
    check_picture,
    collect,
    draw_polygon,
    ellipse,
    fail,
    frame,
    label_of,
    paste,
    picture_mask,
    two_points,
)

NO_INSIDE = ("point", "points", "line", "linestrip")


def read(content: Mapping[str, Any], file: Path, image: Path, size: Size) -> list[Shape]:
    """The shapes of a file, see ``reader.read_annotated``."""
    own = frame(content.get("imageHeight"), content.get("imageWidth"), size, str(file))
    check_picture(content.get("imagePath"), image, file)
    return collect("shape", content["shapes"], partial(_shape, own))


def _shape(size: Size, name: str, entry: Any) -> Iterable[Shape]:
    label = label_of(entry.get("label"))
    kind = str(entry.get("shape_type") or "polygon")
    draw = partial(_draw, size, name, kind, entry)
    yield Shape(name, label, None, draw, has_inside=kind not in NO_INSIDE)


def _draw(size: Size, name: str, kind: str, entry: Mapping[str, Any]) -> Mask:
    points = entry["points"]
    if kind in NO_INSIDE:
        fail(f"a {kind} has no inside")
    if kind == "rectangle" and len(points) == 2:  # Labelme; X-AnyLabeling writes all four corners
        points = box(*two_points(points, kind))
    elif kind == "circle":
        x, y, u, v = two_points(points, kind)  # its centre, and a point on it
        radius = math.hypot(u - x, v - y)
        points = ellipse(x, y, radius, radius)
    elif kind == "mask":
        left, top, right, bottom = (round(c) for c in two_points(points, kind))
        piece = picture_mask(entry["mask"], name)
        own, said = piece.shape, (abs(bottom - top) + 1, abs(right - left) + 1)
        # Labelme's box goes one pixel beyond the mask, and the piece ends with the picture.
        if not all(side - 1 <= length <= side for length, side in zip(own, said, strict=True)):
            raise ValueError(
                f"its mask has {own[1]} × {own[0]} pixels, and its box {said[1]} × {said[0]}"
            )
        return paste(size, piece, min(left, right), min(top, bottom))
    elif kind not in ("polygon", "rectangle", "rotation", "quadrilateral", "oriented_rectangle"):
        # The corners of a turned rectangle are as they lie in the picture: its angle says no more.
        raise ValueError(f"a {' '.join(kind.split())[:60]} is not known")
    return draw_polygon(size, points)
