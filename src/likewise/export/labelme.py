"""Labelme: <name>.json, with polygons to correct by hand."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..io.files import make_folder, write_json
from .dataset import DatasetItem, ExportSettings, file_in
from .outlines import outline


def write(items: Iterable[DatasetItem], out: Path, settings: ExportSettings) -> None:
    """Write one polygon an instance, with its score; the images stay in place.

    With ``settings.val`` the files are in train/ and val/.

    Raises:
        LikewiseError, WriteError: as for `write_dataset`.
    """
    splits = ("train", "val") if settings.val else ("train",)
    folders = {s: make_folder(out / s if settings.val else out) for s in splits}
    for item in items:
        height, width = item.annotation.label_map.shape
        path = file_in(folders[item.split], f"{item.name}.json")
        shapes = [
            {
                "label": instance.label,
                "points": outline(instance, settings.simplify).tolist(),
                "group_id": None,
                "description": f"score {instance.score:.3f}",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for instance in item.instances
        ]
        file = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": _path_from(path.parent, item.annotation.image),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        with item.told():
            write_json(path, file)


def _path_from(folder: Path, image: Path) -> str:
    """The image as seen from the folder, or its whole path where there is no way."""
    try:
        return Path(os.path.relpath(image.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return image.resolve().as_posix()
