"""XML: CVAT for images 1.1, and Pascal VOC with boxes or polygons."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ...errors import ImageError
from ..opening import check_size
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
    find,
    frame,
    label_of,
    paste,
    turned,
)

INSIDE = ("box", "ellipse", "mask", "polygon")
"""CVAT's shapes with an inside."""
SHAPES = (*INSIDE, "cuboid", "points", "polyline", "skeleton")


def read(file: Path, image: Path, size: Size) -> list[Shape]:
    """The shapes that an XML file has for a picture, see ``reader.read_annotated``.

    Raises:
        ImageError: it is of no kind that is read.
        OSError, ValueError: it cannot be used.
    """
    content = file.read_bytes()
    # Entities can grow without end, and no tool writes any. UTF-16 has a zero beside every letter.
    if b"<!ENTITY" in content.replace(b"\0", b""):
        raise ValueError("it declares entities")
    try:
        root = ElementTree.fromstring(content)  # knows encodings and byte order marks
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"it is no XML: {error}") from error
    if root.tag == "annotations" and root.find("image") is not None:
        return _cvat(root, file, image, size)
    if root.tag == "annotation":
        return _voc(root, file, image, size)
    what = (
        "is CVAT for video"
        if root.tag == "annotations" and root.find("track") is not None
        else "is XML of a kind that is not known"
    )
    raise ImageError(f"{file} {what}: export CVAT for images 1.1, or COCO JSON, and give that.")


def _cvat(root: ElementTree.Element, file: Path, image: Path, size: Size) -> list[Shape]:
    entries = [e for e in root.iter("image") if e.get("name")]
    entry = entries[find([e.get("name", "") for e in entries], image, file)]
    own = frame(entry.get("height"), entry.get("width"), size, str(file))
    return collect("shape", [e for e in entry if e.tag in SHAPES], partial(_cvat_shape, own))


def _cvat_shape(size: Size, name: str, entry: ElementTree.Element) -> Iterable[Shape]:
    has_inside = entry.tag in INSIDE
    draw = partial(_draw_cvat, size, entry)
    yield Shape(name, label_of(entry.attrib["label"]), None, draw, has_inside=has_inside)


def _draw_cvat(size: Size, entry: ElementTree.Element) -> Mask:
    said = entry.attrib
    angle = math.radians(float(said.get("rotation", 0)))
    if entry.tag == "polygon":
        pairs = [pair.split(",") for pair in said["points"].split(";")]
        return draw_polygon(size, [[float(x), float(y)] for x, y in pairs])
    if entry.tag == "box":
        corners = box(*(float(said[side]) for side in ("xtl", "ytl", "xbr", "ybr")))
        return draw_polygon(size, turned(corners, angle))
    if entry.tag == "ellipse":
        points = ellipse(*(float(said[side]) for side in ("cx", "cy", "rx", "ry")))
        return draw_polygon(size, turned(points, angle))
    if entry.tag == "mask":
        left, top, width, height = (int(said[k]) for k in ("left", "top", "width", "height"))
        check_size(height, width, "its mask")
        runs = np.array([int(run) for run in said["rle"].split(",")], np.int64)
        if (runs < 0).any() or runs.sum() != width * height:
            raise ValueError(f"its runs do not add up to {width} × {height} pixels")
        # Along the rows, unlike COCO's; background first.
        marks = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return paste(size, marks.reshape(height, width), left, top)
    return fail(f"a {entry.tag} has no inside")


def _voc(root: ElementTree.Element, file: Path, image: Path, size: Size) -> list[Shape]:
    check_picture(root.findtext("filename"), image, file)
    own = frame(root.findtext("size/height"), root.findtext("size/width"), size, str(file))
    return collect("object", root.findall("object"), partial(_voc_object, own))


def _voc_object(size: Size, name: str, entry: ElementTree.Element) -> Iterable[Shape]:
    label = label_of(entry.findtext("name"))
    polygon = entry.find("polygon")
    if polygon is not None:
        # <x1>1</x1><y1>2</y1>..., or LabelMe's <pt><x>1</x><y>2</y></pt>...
        values = [e.text or "" for e in polygon.iter() if e.tag.rstrip("0123456789") in ("x", "y")]
        yield Shape(name, label, None, partial(_draw_texts, size, values))
        return
    sides = [entry.findtext(f"bndbox/{side}") or "" for side in ("xmin", "ymin", "xmax", "ymax")]
    yield Shape(name, label, None, partial(_draw_box, size, sides), is_box=True)


def _draw_texts(size: Size, values: list[str]) -> Mask:
    return draw_polygon(size, [float(value) for value in values])


def _draw_box(size: Size, sides: list[str]) -> Mask:
    return draw_polygon(size, box(*(float(side) for side in sides)))
