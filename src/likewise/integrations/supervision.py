"""supervision (Roboflow): results as Detections, exported COCO datasets with their scores."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LikewiseError
from ..io.images import why
from . import needs
from .pieces import find_pieces

if TYPE_CHECKING:
    from ..result import Result


def to_detections(result: Result, *, min_area: int = 1) -> Any:
    """A result as ``supervision.Detections``, one detection for every object.

    Args:
        result: of one (H, W) image.
        min_area: smaller objects are left out, in pixels. Each takes H × W bytes of memory.

    Returns:
        Detections of n objects: ``xyxy`` (n, 4) float32, edges of pixels (0 to W and H); ``mask``
        (n, H, W) bool; ``confidence`` (n,) float32, 0..1, of the object; ``class_id`` (n,) int64,
        the place in ``result.labels``, from 0; ``data["class_name"]`` (n,) str.

    Raises:
        LikewiseError: if supervision is not installed.
    """
    with needs("supervision"):
        import supervision
    pieces = find_pieces(result, min_area)
    masks = np.zeros((len(pieces), *result.mask.shape), bool)
    boxes = np.zeros((len(pieces), 4), np.float32)
    for mask, box, piece in zip(masks, boxes, pieces, strict=True):
        height, width = piece.mask.shape
        bottom, right = piece.top + height, piece.left + width
        mask[piece.top : bottom, piece.left : right] = piece.mask
        box[:] = piece.left, piece.top, right, bottom
    return supervision.Detections(
        xyxy=boxes,
        mask=masks,
        confidence=np.array([piece.score for piece in pieces], np.float32),
        class_id=np.array([piece.number - 1 for piece in pieces], np.int64),
        data={"class_name": np.array([piece.label for piece in pieces], str)},
    )


def load(annotations: str | Path, images: str | Path) -> Any:
    """A COCO dataset of ``likewise export`` as ``supervision.DetectionDataset``, with the scores.

    ``DetectionDataset.from_coco`` reads the same, but drops the scores.

    Args:
        annotations: annotations.json, train.json or val.json.
        images: the folder that ``file_name`` starts from.

    Returns:
        The dataset, each of its Detections with ``confidence`` (n,) float32, 1 where no score is
        written.

    Raises:
        LikewiseError: if supervision is not installed, or a file cannot be used.
    """
    with needs("supervision"):
        import supervision
    scores: dict[Path, list[float]] = defaultdict(list)
    try:
        dataset = supervision.DetectionDataset.from_coco(
            str(images), str(annotations), force_masks=True
        )
        coco = json.loads(Path(annotations).read_text(encoding="utf-8"))
        paths = {i["id"]: (Path(images) / i["file_name"]).resolve() for i in coco["images"]}
        for entry in coco["annotations"]:
            scores[paths[entry["image_id"]]].append(float(entry.get("score", 1.0)))
        # Within an image it keeps the order of the file.
        for path, detections in dataset.annotations.items():
            found = np.array(scores[Path(path).resolve()], np.float32)
            if len(found) != len(detections):
                raise ValueError(f"supervision reads {len(detections)} of {len(found)} objects")
            detections.confidence = found
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LikewiseError(
            f"{annotations} cannot be loaded ({why(error)}): give the JSON that likewise export "
            "--format coco wrote, and the folder that its images are in."
        ) from error
    return dataset
