"""COCO JSON: a data set, or the bare list of results that detectors write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ImageError, note
from ..coco_masks import decode_runs
from ..opening import check_size
from .shapes import (
    DAMAGE,
    Mask,
    Shape,
    Size,
    box,
    collect,
    draw_polygon,
    find,
    frame,
    label_of,
    path_parts,
)

MIN_SCORE = 0.5
"""Results below are left out: a detector lists everything that it can imagine."""


def read(content: Mapping[str, Any], file: Path, image: Path, size: Size) -> list[Shape]:
    """The shapes of one image of a data set, see ``reader.read_annotated``.

    Raises:
        ImageError, ValueError: the image is not in it, or not once.
    """
    annotations = content["annotations"]
    if any("segments_info" in a for a in annotations if isinstance(a, Mapping)):
        raise ImageError(
            f"{file} is COCO panoptic JSON, whose outlines are in PNG files: give the PNG of "
            f"{image} as the mask, with --mask-value."
        )
    if not isinstance(content["images"], list):
        raise ValueError("its images are no list")
    entries = [e for e in content["images"] if isinstance(e, Mapping) and _file_name(e)]
    entry = entries[find([_file_name(e) for e in entries], image, file)]
    own = frame(entry.get("height"), entry.get("width"), size, str(file))
    names = {}
    for category in content.get("categories") or []:
        if isinstance(category, Mapping) and category.get("name") and "id" in category:
            names[_key(category["id"])] = label_of(category["name"])
    return collect("annotation", annotations, partial(_annotation, _key(entry["id"]), names, own))


def read_results(content: list[Any], file: Path, image: Path, size: Size) -> list[Shape]:
    """The shapes of one image of a list of results.

    Raises:
        ValueError: it is not clear which image is meant.
    """
    known = [r for r in content if isinstance(r, Mapping) and "image_id" in r]
    images = list(dict.fromkeys(_key(r["image_id"]) for r in known))
    stem = path_parts(image.stem)[-1]
    # COCO's own pictures are called by their number, with zeros in front.
    hits = [k for k in images if k == stem or k.zfill(12) == stem.zfill(12)]
    if len(images) > 1 and len(hits) != 1:
        raise ValueError(
            f"it is a list of results for {len(images)} images without their file names: give the "
            "results of one image, or COCO JSON with images"
        )
    of = hits[0] if hits else images[0]
    if not hits:
        note(file, f"names no files: its only image, {of}, is taken to be {image}.")
    sure = [r for r in content if not _unsure(r)]
    if len(sure) < len(content):
        left = len(content) - len(sure)
        note(file, f"{left} results with a score below {MIN_SCORE} are left out.")
    return collect("result", sure, partial(_annotation, of, {}, size))


def _unsure(result: Any) -> bool:
    score = result.get("score") if isinstance(result, Mapping) else None
    return isinstance(score, int | float) and score < MIN_SCORE


def _file_name(entry: Mapping[str, Any]) -> str:
    """Of an image; LVIS gives its address only."""
    return str(entry.get("file_name") or entry.get("coco_url") or "")


def _key(value: Any) -> str:
    """One spelling of an id: 17, 17.0 and "17" are the same. Raises ValueError if it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError("its ids are neither numbers nor text")
    return str(value).strip()


def _annotation(
    image: str, names: Mapping[str, str], size: Size, name: str, entry: Any
) -> Iterable[Shape]:
    """The shapes of one annotation, if it is of the image: one for each of its rings."""
    if _key(entry["image_id"]) != image:
        return []
    category = _key(entry["category_id"])
    number = int(category) if category.lstrip("-").isdecimal() else None
    label = names.get(category)
    if names and label is None:
        raise ValueError(f"it is of the category {category}, which the file does not name")
    if label is None and number is None:
        label = label_of(category)
    marks = entry.get("segmentation")
    if isinstance(marks, Mapping) and marks:
        return [Shape(name, label, number, partial(_runs, marks, name))]
    if marks and not (
        isinstance(marks, list)
        and all("counts" in ring for ring in marks if isinstance(ring, Mapping))
    ):
        raise ValueError("its segmentation is neither polygons nor run lengths")
    rings = [ring for ring in marks or [] if ring]
    if not rings:
        corners = partial(_box, size, entry.get("bbox"))
        return [Shape(name, label, number, corners, is_box=True)]
    if all(isinstance(ring, int | float | str) for ring in marks):
        rings = [marks]  # a single polygon, not in a list of its own
    elif len(rings) > 2 and all(isinstance(r, list) and len(r) == 2 for r in rings):
        rings = [rings]  # a single polygon, by points
    return [
        Shape(
            name if len(rings) == 1 else f"{name} (part {k})",
            label,
            number,
            partial(_runs, ring, name)
            if isinstance(ring, Mapping)
            else partial(draw_polygon, size, ring),
        )
        for k, ring in enumerate(rings, 1)
    ]


def _runs(marks: Mapping[str, Any], name: str) -> Mask:
    """Compressed or not."""
    height, width = (int(side) for side in marks["size"])
    check_size(height, width, name)
    return decode_runs(marks["counts"], height, width)


def _box(size: Size, bbox: Any) -> Mask:
    try:
        x, y, width, height = (float(number) for number in bbox)
    except DAMAGE as error:
        raise ValueError("it has neither outline nor box") from error
    if not (width > 0 and height > 0):
        raise ValueError("it has no outline, and its box is empty")
    return draw_polygon(size, box(x, y, x + width, y + height))
