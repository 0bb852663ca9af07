"""Masks out of the annotation files of other tools: COCO and Labelme JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ImageError
from .images import why
from .masks import read_coco

Shape = tuple[str, dict[str, Any]]
"""A label and a COCO annotation, see `read_mask`."""


def read_annotated(
    file: Path, image: Path, size: tuple[int, int], label: str | None
) -> npt.NDArray[np.bool_]:
    """All that a file marks in an image as one class.

    Args:
        file: COCO JSON, in which ``image`` is known by its name, or Labelme JSON of that image.
        image: the picture.
        size: its (H, W), for files that name no size.
        label: the class; may be left out where the file marks only one in that image.

    Returns:
        (H, W) bool of the size that the file names, else ``size``.

    Raises:
        ImageError: the file cannot be read, does not mark the image or the class, or marks several
            and ``label`` does not say which.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        shapes = _labelme(content) if "shapes" in content else _coco(content, image)
    except (OSError, ValueError) as error:
        raise ImageError(f"{file} cannot be used ({why(error)}): check the file.") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise ImageError(
            f"{file} is neither COCO nor Labelme JSON (at {error}): give the annotations of "
            f"{image}."
        ) from error
    found = sorted({name for name, _ in shapes})
    if not found:
        raise ImageError(f"{file} marks nothing in {image}: mark the example there.")
    if label is None and len(found) > 1:
        raise ImageError(
            f"{file} marks {', '.join(found)} in {image}: say which is the example with --label."
        )
    if label is not None and label not in found:
        raise ImageError(
            f"{file} marks no {label} in {image}, only {', '.join(found)}: give one of these as "
            "--label."
        )
    masks = [
        read_coco(entry, size, f"a shape of {file}")
        for name, entry in shapes
        if label in (None, name)
    ]
    if len({mask.shape for mask in masks}) > 1:
        raise ImageError(f"{file} gives {image} several sizes: export the annotations again.")
    return np.asarray(np.any(masks, axis=0))


def _labelme(content: Mapping[str, Any]) -> list[Shape]:
    """Its polygons and rectangles. ValueError for other shapes."""
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = {"height": height, "width": width} if height and width else {}
    shapes = []
    for shape in content["shapes"]:
        kind, points = shape.get("shape_type", "polygon"), shape["points"]
        if kind == "rectangle":
            (x, y), (u, v) = points
            points = [(x, y), (u, y), (u, v), (x, v)]
        elif kind != "polygon":
            raise ValueError(f"it holds a {kind}, and only polygons and rectangles have an inside")
        flat = [coordinate for point in points for coordinate in point]
        shapes.append((str(shape["label"]), {"segmentation": [flat], **size}))
    return shapes


def _coco(content: Mapping[str, Any], image: Path) -> list[Shape]:
    """The annotations of an image. ValueError if it is not there, or not once."""
    path = PurePosixPath(image.absolute().as_posix())
    listed = [(PurePosixPath(entry["file_name"]), entry) for entry in content["images"]]
    named = [(name, entry) for name, entry in listed if name.name == path.name]
    if len(named) > 1:  # the same name in several folders
        named = [(n, e) for n, e in named if path.parts[-len(n.parts) :] == n.parts]
    if len(named) != 1:
        raise ValueError(f"it lists {len(named) or 'no'} images called {image.name}")
    entry = named[0][1]
    size = {side: entry[side] for side in ("height", "width") if side in entry}
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    return [
        (names[a["category_id"]], {**size, "segmentation": a["segmentation"]})
        for a in content["annotations"]
        if a["image_id"] == entry["id"]
    ]
