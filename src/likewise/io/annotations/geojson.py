"""GeoJSON of QuPath: polygons in pixels of level 0 of a slide, or of any other picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..coco_masks import fill_polygon
from ..pyramid import full_scale
from ..text_files import normal
from .shapes import LABEL, Mask, Shape, Size

Rings = list[npt.NDArray[np.float64]]
"""Of a polygon, (n, 2) x, y each: the outer one, then holes."""


def is_of_qupath(content: Mapping[str, Any]) -> bool:
    """Whether GeoJSON is in pixels: other programs write places on the earth."""
    features = content.get("features", [content])
    return isinstance(features, list) and any(
        {"objectType", "classification"} & (one.get("properties") or {}).keys()
        for one in features
        if isinstance(one, dict)
    )


def read(content: Mapping[str, Any], file: Path, image: Path, size: Size) -> list[Shape]:
    """The shapes of a file, see ``reader.read_annotated``; those without a class are of LABEL."""
    down, along = full_scale(image, size)[0]
    return [
        Shape(
            f"annotation {k}",
            LABEL if name is None else name,
            None,
            partial(_draw, size, [[ring / (along, down) for ring in rings] for rings in polygons]),
            has_inside=bool(polygons),
        )
        for k, (name, polygons) in enumerate(polygons_of(content), 1)
    ]


def polygons_of(content: Mapping[str, Any]) -> list[tuple[str | None, list[Rings]]]:
    """Class, if it has one, and polygons of each feature; none of those without an inside.

    Raises:
        KeyError, TypeError, IndexError, ValueError, AttributeError: it is no GeoJSON.
    """
    features = content["features"] if content["type"] == "FeatureCollection" else [content]
    found = []
    for one in features:
        name = ((one.get("properties") or {}).get("classification") or {}).get("name")
        geometry = one["geometry"]
        several = geometry["coordinates"]
        if geometry["type"] == "Polygon":
            several = [several]
        elif geometry["type"] != "MultiPolygon":
            several = []
        polygons = [[np.asarray(ring, np.float64)[:, :2] for ring in rings] for rings in several]
        found.append((None if name is None else normal(str(name)), polygons))
    return found


def fill(mask: npt.NDArray[np.bool_], rings: Sequence[npt.NDArray[np.float64]]) -> None:
    """Mark a polygon in a mask, without its holes."""
    own = np.zeros_like(mask)
    fill_polygon(own, rings[0].ravel())
    for hole in rings[1:]:
        without = np.zeros_like(mask)
        fill_polygon(without, hole.ravel())
        own &= ~without
    mask |= own


def _draw(size: Size, polygons: list[Rings]) -> Mask:
    if not polygons:
        raise ValueError("it has no inside")
    mask = np.zeros(size, bool)
    for rings in polygons:
        fill(mask, rings)
    return mask
