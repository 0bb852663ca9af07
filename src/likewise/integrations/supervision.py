"""supervision (Roboflow): exported COCO datasets with their scores.

Results as ``Detections``: ``Result.to_supervision``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LikewiseError, needs
from ..io.opening import why


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
