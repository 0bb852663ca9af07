"""YOLO segmentation: images/, labels/ and data.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..io.files import make_folder, write_whole
from .dataset import DatasetItem, ExportSettings, copy_image, file_in
from .outlines import outline


def write(items: Iterable[DatasetItem], out: Path, settings: ExportSettings) -> None:
    """Write labels/{train,val}/<name>.txt and copies of the images in images/{train,val}/.

    A line is one instance: its class from 0, then x y of the polygon, 0..1 of width and height.
    An image without instances has an empty file, which marks it as background.

    Raises:
        LikewiseError, WriteError: as for `write_dataset`.
    """
    images = {s: make_folder(out / "images" / s) for s in ("train", "val")}
    labels = {s: make_folder(out / "labels" / s) for s in ("train", "val")}
    validation = False
    for item in items:
        height, width = item.annotation.label_map.shape
        lines = []
        for instance in item.instances:
            points = outline(instance, settings.simplify)
            shares = (points / np.array([width, height])).ravel()
            numbers = " ".join(f"{share:.6f}" for share in shares)
            lines.append(f"{instance.number - 1} {numbers}\n")
        with item.told():
            copy_image(item.annotation, file_in(images[item.split], item.name))
            path = file_in(labels[item.split], f"{item.name}.txt")
            write_whole(path, "".join(lines).encode())
            validation |= item.split == "val"
    # Trainers insist on some validation images. Text in JSON's quotes is text in YAML's too.
    part = "val" if validation else "train"
    names = [
        f"  {k}: {json.dumps(name, ensure_ascii=False)}" for k, name in enumerate(settings.classes)
    ]
    lines = ["train: images/train", f"val: images/{part}", "names:", *names]
    write_whole(out / "data.yaml", ("\n".join(lines) + "\n").encode(errors="backslashreplace"))
