"""Annotation files of one drawn box, as tools write them."""

from __future__ import annotations

import io
import json
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likewise.errors import InputWarning
from likewise.io.annotations.reader import read_annotated
from likewise.io.coco_masks import fill_polygon

SIZE = (40, 60)
BOX = [[10, 5], [30, 5], [30, 25], [10, 25]]
OTHER = [[40, 10], [55, 10], [55, 30], [40, 30]]


def drawn(*polygons: Any, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    for polygon in polygons:
        fill_polygon(mask, np.asarray(polygon, float).ravel())
    return mask


def write(folder: Path, content: Any, name: str = "a.json", encoding: str = "utf-8") -> Path:
    file = folder / name
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    file.write_bytes(text.encode(encoding))
    return file


def read(file: Path, label: str = "object", value: object = None, size=SIZE, image="a.png"):
    """The mask and the notes, without the name of the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mask = read_annotated(file, file.parent / image, size, label, value)
    assert all(issubclass(w.category, InputWarning) for w in caught)
    assert all(w.message.source == str(file) for w in caught)
    assert all("\n" not in str(w.message) and str(w.message).endswith(".") for w in caught)
    return mask, [w.message.what for w in caught]


def labelme(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"label": "coin", "shape_type": "polygon", "group_id": None, "flags": {}}
    content = {"version": "5.5.0", "flags": {}, "shapes": [{**base, **s} for s in shapes]}
    return {
        **content,
        "imagePath": "a.png",
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
        **more,
    }


def coco(*annotations: Any, **more: Any) -> dict[str, Any]:
    full = [
        {"id": 100 + k, "image_id": 7, "category_id": 3, **a} if isinstance(a, dict) else a
        for k, a in enumerate(annotations)
    ]
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 3, "name": "coin"}, {"id": 4, "name": "dog"}],
        "annotations": full,
        **more,
    }


def flat(points: Any) -> list[float]:
    return [c for point in points for c in point]


def png(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def disc(x: float, y: float, across: float, down: float, angle: float = 0) -> np.ndarray:
    """Pixels whose centre lies in an ellipse, turned clockwise by degrees."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    u, v, t = columns - x, rows - y, np.deg2rad(angle)
    along, beside = u * np.cos(t) + v * np.sin(t), v * np.cos(t) - u * np.sin(t)
    return (along / across) ** 2 + (beside / down) ** 2 <= 1


def few(a: np.ndarray, b: np.ndarray, most: int) -> bool:
    assert a.shape == b.shape
    return int((a != b).sum()) <= most and bool(a.any())


BAD = {
    "two points": {"segmentation": [[5, 5, 5, 9]]},
    "odd numbers": {"segmentation": [[5, 5, 5, 9, 8, 8, 1]]},
    "no area": {"segmentation": [[5, 5, 9, 9, 5, 5]]},
    "text": {"segmentation": "polygon"},
    "words": {"segmentation": [["a", "b", "c", "d", "e", "f"]]},
    "a number": {"segmentation": 5},
    "null inside": {"segmentation": [[5, None, 5, 9, 8, 8]]},
    "NaN": {"segmentation": [[float("nan"), 5, 5, 9, 8, 8]]},
    "infinity": {"segmentation": [[float("inf"), 5, 5, 9, 8, 8]]},
    "huge": {"segmentation": [[1e300, 5, -1e300, 9, 8, 1e308]]},
    "huge whole number": {"segmentation": [[10**400, 5, 5, 9, 8, 8]]},
    "outside": {"segmentation": [[500, 500, 510, 500, 510, 510]]},
    "no outline, no box": {"segmentation": None},
    "no outline, empty box": {"segmentation": [], "bbox": [5, 5, 0, 9]},
    "no outline, damaged box": {"segmentation": [], "bbox": [5, "wide"]},
    "no outline, NaN box": {"segmentation": [], "bbox": [5, 5, float("nan"), 9]},
    "category not in the file": {"segmentation": [flat(OTHER)], "category_id": 99},
    "category null": {"segmentation": [flat(OTHER)], "category_id": None},
    "category of the wrong kind": {"segmentation": [flat(OTHER)], "category_id": {"id": 3}},
    "image of the wrong kind": {"segmentation": [flat(OTHER)], "image_id": [7]},
    "runs that do not fill": {"segmentation": {"size": [40, 60], "counts": [5, 5]}},
    "runs cut short": {"segmentation": {"size": [40, 60], "counts": "Tj0:l1"}},
    "runs without an end": {"segmentation": {"size": [40, 60], "counts": "o" * 5000}},
    "runs of words": {"segmentation": {"size": [40, 60], "counts": "äöü"}},
    "runs without counts": {"segmentation": {"size": [40, 60]}},
    "runs of no size": {"segmentation": {"size": None, "counts": [2400]}},
    "runs of a huge size": {"segmentation": {"size": [10**9, 10**9], "counts": [10**18]}},
    "runs of another picture": {"segmentation": {"size": [10, 10], "counts": [0, 100]}},
}

RESULT = {"image_id": 42, "category_id": 3, "score": 0.9, "segmentation": [flat(BOX)]}

NFC, NFD = (unicodedata.normalize(form, "münze") for form in ("NFC", "NFD"))

YOLO_BOX = " ".join(
    str(c / side) for point in BOX for c, side in zip(point, SIZE[::-1], strict=True)
)
YOLO_OTHER = " ".join(
    str(c / side) for point in OTHER for c, side in zip(point, SIZE[::-1], strict=True)
)

CVAT_BOX = ";".join(f"{x},{y}" for x, y in BOX)


def cvat(*shapes: str, name: str = "a.png", size: tuple[int, int] = SIZE) -> str:
    inside = "\n".join(shapes)
    return (
        "<annotations>\n<version>1.1</version><meta/>"
        f'<image id="0" name="b.png" width="9" height="9"/>'
        f'<image id="1" name="{name}" width="{size[1]}" height="{size[0]}">{inside}</image>\n'
        "</annotations>"
    )


def via_region(label: Any, **shape: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": {"class": label}}
