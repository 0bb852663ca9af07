"""JSON of single tools that keep one outline an object: VGG VIA, ISAT, Supervisely, Cityscapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .shapes import (
    LABEL,
    Mask,
    Shape,
    Size,
    box,
    check_picture,
    collect,
    draw_polygon,
    ellipse,
    fail,
    find,
    frame,
    label_of,
    paste,
    picture_mask,
    turned,
    two_points,
)

CLASS = ("class", "label", "category")
"""What VIA's attribute of the class is called, where there are several."""


def read_via(content: Mapping[str, Any], file: Path, image: Path, size: Size) -> list[Shape]:
    """The regions of one image, of a project of VIA or an export (makesense writes these, too)."""
    files = content.get("_via_img_metadata", content)
    entries = [e for e in files.values() if isinstance(e, Mapping) and "filename" in e]
    regions = entries[find([str(e["filename"]) for e in entries], image, file)].get("regions") or []
    if isinstance(regions, Mapping):  # version 1
        regions = list(regions.values())
    # Many draw without any attribute.
    nameless = all(isinstance(r, Mapping) and not _attributes(r) for r in regions)
    return collect("region", regions, partial(_region, size, LABEL if nameless else None))


def _attributes(region: Mapping[str, Any]) -> dict[str, Any]:
    said = region.get("region_attributes")
    said = said if isinstance(said, Mapping) else {}
    return {key: value for key, value in said.items() if value not in ("", None, {})}


def _region(size: Size, label: Any, name: str, entry: Any) -> Iterable[Shape]:
    said = _attributes(entry)
    if len(said) > 1:
        said = {k: v for k, v in said.items() if k.casefold() in CLASS} or said
    if len(said) == 1:
        label = next(iter(said.values()))
    elif said or label is None:
        raise ValueError(
            f"it has {len(said)} attributes, and one called class or label would be its class"
        )
    # A group of check boxes is {"cat": true}.
    if isinstance(label, Mapping):
        label = next((k for k, on in label.items() if on), None)
    shape = entry["shape_attributes"]
    has_inside = shape["name"] not in ("point", "polyline")
    yield Shape(
        name, label_of(label), None, partial(_draw_region, size, shape), has_inside=has_inside
    )


def _draw_region(size: Size, shape: Mapping[str, Any]) -> Mask:
    kind = shape["name"]
    if kind == "polygon":
        pairs = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        return draw_polygon(size, [list(pair) for pair in pairs])
    if kind == "rect":
        x, y, width, height = _numbers(shape, "x", "y", "width", "height")
        return draw_polygon(size, box(x, y, x + width, y + height))
    if kind == "circle":
        x, y, radius = _numbers(shape, "cx", "cy", "r")
        return draw_polygon(size, ellipse(x, y, radius, radius))
    if kind == "ellipse":
        points = ellipse(*_numbers(shape, "cx", "cy", "rx", "ry"))
        return draw_polygon(size, turned(points, float(shape.get("theta", 0))))
    return fail(f"a {kind} has no inside")


def _numbers(shape: Mapping[str, Any], *keys: str) -> tuple[float, ...]:
    return tuple(float(shape[key]) for key in keys)


def read_isat(content: Mapping[str, Any], file: Path, image: Path, size: Size) -> list[Shape]:
    """The objects of one image, lowest layer first: ``__background__`` cuts holes into them."""
    info = content["info"]
    own = frame(info.get("height"), info.get("width"), size, str(file))
    check_picture(info.get("name"), image, file)
    return collect("object", content["objects"], partial(_isat_object, own))


def _isat_object(size: Size, name: str, entry: Any) -> Iterable[Shape]:
    label = label_of(entry["category"])
    draw = partial(draw_polygon, size, entry["segmentation"])
    yield Shape(name, label, None, draw, erases=label == "__background__")


def read_supervisely(
    content: Mapping[str, Any], file: Path, image: Path, size: Size
) -> list[Shape]:
    """The objects of one image."""
    said = content["size"]
    own = frame(said.get("height"), said.get("width"), size, str(file))
    return collect("object", content["objects"], partial(_supervisely_object, own))


def _supervisely_object(size: Size, name: str, entry: Any) -> Iterable[Shape]:
    kind = entry["geometryType"]
    draw = partial(_draw_supervisely, size, name, kind, entry)
    has_inside = kind in ("polygon", "rectangle", "bitmap")
    yield Shape(name, label_of(entry["classTitle"]), None, draw, has_inside=has_inside)


def _draw_supervisely(size: Size, name: str, kind: str, entry: Mapping[str, Any]) -> Mask:
    if kind == "bitmap":
        left, top = (int(c) for c in entry["bitmap"]["origin"])
        return paste(size, picture_mask(entry["bitmap"]["data"], name, deflated=True), left, top)
    if kind not in ("polygon", "rectangle"):
        fail(f"a {kind} has no inside")
    points = entry["points"]["exterior"]
    if kind == "rectangle":
        points = box(*two_points(points, kind))
    mask = draw_polygon(size, points)
    for hole in entry["points"].get("interior") or []:
        mask &= ~draw_polygon(size, hole)
    return mask


def read_cityscapes(content: Mapping[str, Any], file: Path, image: Path, size: Size) -> list[Shape]:
    """The objects of one image."""
    own = frame(content["imgHeight"], content.get("imgWidth"), size, str(file))
    return collect("object", content["objects"], partial(_cityscapes_object, own))


def _cityscapes_object(size: Size, name: str, entry: Any) -> Iterable[Shape]:
    draw = partial(draw_polygon, size, entry["polygon"])
    yield Shape(name, label_of(entry["label"]), None, draw)
