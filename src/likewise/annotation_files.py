"""References from files: masks are images, or COCO and Labelme JSON of other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ImageError
from .images import read_picture, why
from .masks import MaskValue, read_coco, read_mask
from .reference import LABEL, Reference, marked_pixels

Shape = tuple[str, dict[str, Any]]
"""A label and a COCO annotation, see `read_mask`."""


def read_reference(
    image: Path,
    mask: Path | None,
    value: MaskValue | None = None,
    label: str = LABEL,
    negative: bool = False,
) -> Reference:
    """One reference, its files read and checked; for the meaning of all see ``Reference``.

    Args:
        image: the picture.
        mask: an image, or .json of COCO or Labelme (then without ``value``); None marks everything,
            of a negative reference.
        value: the one label of a label map, "any", or a colour; see ``read_mask``.
        label: the class; LABEL, if .json does not know it, is the only class marked there.
        negative: whether it marks what is not to be found.

    Raises:
        ImageError: if a file cannot be used.
    """
    picture = read_picture(image)
    size = picture.pixels.shape[0], picture.pixels.shape[1]
    marked: Any = mask
    if mask is not None and mask.suffix.lower() == ".json":
        marked = read_mask(read_annotated(mask, image, size, label), size=size, name=str(mask))
    reference = Reference(picture, marked, value, label, negative)
    # Wide pictures are read again with the range of all references.
    shown = image if picture.kind else picture
    valid = marked_pixels(reference, picture)
    return Reference(shown, None if mask is None else valid, label=label, negative=negative)


def read_annotated(
    file: Path, image: Path, size: tuple[int, int], label: str = LABEL
) -> npt.NDArray[np.bool_]:
    """All that a file marks in an image as one class.

    Args:
        file: COCO JSON, in which ``image`` is known by its name, or Labelme JSON of that image.
        image: the picture.
        size: its (H, W), for files that name no size.
        label: the class; LABEL, if the file does not know it, is the only one in that image.

    Returns:
        (H, W) bool of the size that the file names, else ``size``.

    Raises:
        ImageError: the file cannot be read, does not mark the image or the class, or marks several
            and ``label`` says none of them.
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
    if label == LABEL and label not in found:
        if len(found) > 1:
            raise ImageError(
                f"{file} marks {', '.join(found)} in {image}: say which is the example by its "
                "label."
            )
        label = found[0]
    if label not in found:
        raise ImageError(
            f"{file} marks no {label} in {image}, only {', '.join(found)}: give one of these as "
            "its label."
        )
    masks = [
        read_coco(entry, size, f"a shape of {file}") for name, entry in shapes if label == name
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
