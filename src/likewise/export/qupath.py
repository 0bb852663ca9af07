"""QuPath: <name>.geojson, with polygons in pixels of the whole image; of slides, of level 0."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..instances import Instance
from ..io.draw import class_colour
from ..io.files import make_folder, write_json
from ..io.pyramid import full_scale
from .dataset import DatasetItem, ExportSettings, file_in
from .outlines import Points, polygons


def write(items: Iterable[DatasetItem], out: Path, settings: ExportSettings) -> None:
    """Write one annotation an instance, exact to the pixel; the images stay in place.

    Measurements are its score and area: in µm², too, where the image says how large a pixel is.
    With ``settings.val`` the files are in train/ and val/.

    Raises:
        LikewiseError, WriteError: as for `write_dataset`.
    """
    splits = ("train", "val") if settings.val else ("train",)
    folders = {s: make_folder(out / s if settings.val else out) for s in splits}
    for item in items:
        scale, edges = full_scale(item.annotation.image, item.annotation.label_map.shape)
        features = [
            feature(instance, f"{item.name} {k}", edges, scale)
            for k, instance in enumerate(item.instances)
        ]
        path = file_in(folders[item.split], f"{item.name}.geojson")
        with item.told():
            write_json(path, {"type": "FeatureCollection", "features": features})


def feature(
    instance: Instance,
    name: str,
    edges: tuple[float, float] | None,
    scale: tuple[float, float] = (1, 1),
) -> dict[str, Any]:
    """One annotation of QuPath.

    Args:
        instance: an object.
        name: of it, different from those of others; its ``id`` is made of it.
        edges: height and width of a pixel of the image in µm, where they are known.
        scale: pixels of the image, down and along, that one of the instance measures.
    """
    unique = name.encode(errors="backslashreplace").decode()  # a file name may be no UTF-8
    shapes = [[_closed(ring, scale) for ring in rings] for rings in polygons(instance)]
    area = instance.area * scale[0] * scale[1]
    measured = {"score": instance.score, "Area px^2": area}
    if edges is not None:
        measured["Area µm^2"] = area * edges[0] * edges[1]
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": shapes}
    if len(shapes) == 1:
        geometry = {"type": "Polygon", "coordinates": shapes[0]}
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, unique)),
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "classification": {
                "name": instance.label,
                "color": list(class_colour(instance.number)),
            },
            "measurements": measured,
        },
    }


def _closed(ring: Points, scale: tuple[float, float]) -> list[list[float]]:
    points: list[list[float]] = ring.tolist()
    if scale != (1, 1):
        points = np.round(ring * scale[::-1], 2).tolist()
    return [*points, points[0]]
