"""Which kind of JSON a file is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ImageError
from ..text_files import read_json
from . import coco, geojson, labelme, tools
from .shapes import Shape, Size

FOREIGN: tuple[tuple[set[str], str], ...] = (
    ({"data", "annotations"}, "Label Studio's own JSON"),
    ({"data", "completions"}, "Label Studio's own JSON"),
    ({"data", "predictions"}, "Label Studio's own JSON"),
    ({"annotation_id", "annotator"}, "Label Studio's JSON-MIN"),
    ({"item", "annotations"}, "V7 Darwin JSON"),
    ({"items", "categories"}, "Datumaro JSON"),
    ({"instances", "metadata"}, "SuperAnnotate JSON"),
    ({"data_row"}, "Labelbox JSON"),
    ({"features", "type"}, "GeoJSON without annotations of QuPath"),
    ({"geometry", "type"}, "GeoJSON without annotations of QuPath"),
    ({"segmentation", "predicted_iou"}, "the list of masks of Segment Anything"),
    ({"image", "annotations"}, "JSON of SA-1B"),
    ({"targets", "backbone"}, "a summary of likewise"),
)
"""Keys that give a kind away that is not read."""


def read(file: Path, image: Path, size: Size) -> list[Shape]:
    """The shapes that a JSON file has for a picture, see ``reader.read_annotated``.

    Raises:
        ImageError: it is of no kind that is read.
        DAMAGE, OSError: it cannot be used.
    """
    content = read_json(file)
    first = content[0] if isinstance(content, list) and content else content
    keys = first.keys() if isinstance(first, Mapping) else set()
    if isinstance(content, list):
        if "image_id" in keys and keys & {"segmentation", "bbox"}:
            return coco.read_results(content, file, image, size)
    elif isinstance(content, Mapping):
        if "shapes" in content:
            return labelme.read(content, file, image, size)
        if {"images", "annotations"} <= keys:
            return coco.read(content, file, image, size)
        if "objects" in content and _objects_have(content, "classTitle"):
            return tools.read_supervisely(content, file, image, size)
        if {"objects", "info"} <= keys:
            return tools.read_isat(content, file, image, size)
        if {"objects", "imgHeight"} <= keys:
            return tools.read_cityscapes(content, file, image, size)
        if {"features", "type"} <= keys and geojson.is_of_qupath(content):
            return geojson.read(content, file, image, size)
        values = content.values()
        if "_via_img_metadata" in keys or any(
            "regions" in v for v in values if isinstance(v, dict)
        ):
            return tools.read_via(content, file, image, size)
    known = next((name for marks, name in FOREIGN if marks <= keys), None)
    what = f"is {known}, which is not read" if known else "is JSON of a kind that is not known"
    raise ImageError(
        f"{file} {what}: export COCO JSON, YOLO or masks as PNG from that tool, and give that."
    )


def _objects_have(content: Mapping[str, Any], key: str) -> bool:
    objects = content["objects"]
    return "size" in content and (
        not objects or any(key in o for o in objects if isinstance(o, Mapping))
    )
