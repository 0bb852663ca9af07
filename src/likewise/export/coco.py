"""COCO instance segmentation: annotations.json, or train.json and val.json."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..io.coco_masks import encode_runs
from ..io.files import make_folder, write_json
from .dataset import DatasetItem, ExportSettings


def write(items: Iterable[DatasetItem], out: Path, settings: ExportSettings) -> None:
    """Write one annotation an instance: RLE, bbox, area, score, iscrowd 0. Images stay in place.

    ``file_name`` is relative to the folder that holds all the images, which is what tools ask for
    beside the JSON. Ids count from 1; categories in the order of the classes.

    Raises:
        LikewiseError, WriteError: as for `write_dataset`.
    """
    annotations: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    images: dict[str, list[tuple[Path, int, int]]] = {"train": [], "val": []}
    for item in items:
        height, width = item.annotation.label_map.shape
        path = Path(os.path.normpath(item.annotation.image.absolute()))
        images[item.split].append((path, height, width))
        for instance in item.instances:
            h, w = instance.mask.shape
            annotations[item.split].append(
                {
                    "id": len(annotations[item.split]) + 1,
                    "image_id": len(images[item.split]),
                    "category_id": instance.number,
                    "segmentation": encode_runs(
                        instance.mask, (height, width), instance.top, instance.left
                    ),
                    "bbox": [instance.left, instance.top, w, h],
                    "area": instance.area,
                    "iscrowd": 0,
                    "score": instance.score,
                }
            )
    folders = {path.parent for part in images.values() for path, _, _ in part}
    try:
        root = os.path.commonpath(folders)
    except ValueError:  # no images at all, or on several drives of Windows
        root = ""
    categories = [
        {"id": k, "name": name, "supercategory": name.rpartition("/")[0]}
        for k, name in enumerate(settings.classes, 1)
    ]
    make_folder(out)
    for split in ("train", "val") if settings.val else ("train",):
        listed = [
            {
                "id": k,
                "file_name": Path(os.path.relpath(path, root)).as_posix()
                if root
                else path.as_posix(),
                "height": h,
                "width": w,
            }
            for k, (path, h, w) in enumerate(images[split], 1)
        ]
        dataset = {
            "info": {"description": "exported by likewise"},
            "licenses": [],
            "images": listed,
            "annotations": annotations[split],
            "categories": categories,
        }
        write_json(out / (f"{split}.json" if settings.val else "annotations.json"), dataset)
