"""``<stem>.instances.json`` beside a mask: its objects, each with its class and score."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError
from ..instances import Instance, draw
from ..io.coco_masks import encode_runs, read_coco
from ..io.files import encode_json
from ..io.opening import why
from ..io.text_files import read_json


def instances_path(mask: Path) -> Path:
    """Where the objects of a mask file are kept; no picture, so that nothing takes it for one."""
    return mask.with_name(f"{mask.stem}.instances.json")


def encode_instances(instances: Sequence[Instance]) -> bytes:
    """The file: number of the class, label, score, box, and COCO run lengths within the box.

    The box is left, top, width and height, as in COCO.
    """
    entries = [
        {
            "class": i.number,
            "label": i.label,
            "score": round(i.score, 4),
            "box": [i.left, i.top, i.mask.shape[1], i.mask.shape[0]],
            "mask": encode_runs(i.mask, i.mask.shape),
        }
        for i in instances
    ]
    return encode_json({"instances": entries})


def read_instances(
    path: Path,
    label_map: npt.NDArray[np.unsignedinteger[Any]],
    classes: Sequence[str],
    numbers: Mapping[int, int] | None = None,
) -> tuple[Instance, ...] | None:
    """The objects of a label map, from its file.

    Args:
        path: from ``instances_path``.
        label_map: (H, W), 0 nothing, k the k-th class.
        classes: what the classes are called; labels of the file do not count.
        numbers: number of a class in the file → k, of the k-th class; default the same.

    Returns:
        None where there is no file, or where it is of other pixels: somebody changed the mask.

    Raises:
        ImageError: the file cannot be read, or says what nobody understands.
    """
    if not os.path.exists(path):  # noqa: PTH110 (a name that is too long is none)
        return None
    try:
        numbers = numbers or {k: k for k in range(1, len(classes) + 1)}
        entries = read_json(path)["instances"]
        found = tuple(_instance(entry, classes, numbers) for entry in entries)
    except (OSError, ValueError, LookupError, TypeError, ImageError) as error:
        raise ImageError(
            f"{path} holds no instances ({why(error)}): delete it to export the pieces of the "
            "mask, or segment its image again."
        ) from error
    height, width = label_map.shape
    if any(i.box_xyxy[2] > width or i.box_xyxy[3] > height for i in found):
        return None
    return found if (draw(found, label_map.shape) == label_map).all() else None


def _instance(
    entry: Mapping[str, Any], classes: Sequence[str], numbers: Mapping[int, int]
) -> Instance:
    """Raises ValueError and the like if the entry is malformed."""
    left, top, width, height = (int(number) for number in entry["box"])
    number, score = numbers.get(int(entry["class"]), 0), float(entry["score"])
    runs = entry["mask"]["counts"]
    if min(left, top) < 0 or number == 0 or not 0 <= score <= 1:
        raise ValueError("a box, class or score is out of range")
    mask = read_coco({"size": [height, width], "counts": runs}, None, "a mask of it")
    return Instance(number, classes[number - 1], score, left, top, mask)
