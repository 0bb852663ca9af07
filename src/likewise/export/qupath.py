"""QuPath: <name>.geojson, with polygons in pixels of the whole image."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..instances import Instance
from ..io.draw import class_colour
from ..io.files import make_folder, write_json
from ..io.tiff import pixel_microns
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
        edges = pixel_microns(item.annotation.image)
        features = [
            _feature(instance, f"{item.name} {k}", edges)
            for k, instance in enumerate(item.instances)
        ]
        path = file_in(folders[item.split], f"{item.name}.geojson")
        with item.told():
            write_json(path, {"type": "FeatureCollection", "features": features})


def _feature(instance: Instance, name: str, edges: tuple[float, float] | None) -> dict[str, Any]:
    shapes = [[_closed(ring) for ring in rings] for rings in polygons(instance)]
    measured = {"score": instance.score, "Area px^2": instance.area}
    if edges is not None:
        measured["Area µm^2"] = instance.area * edges[0] * edges[1]
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": shapes}
    if len(shapes) == 1:
        geometry = {"type": "Polygon", "coordinates": shapes[0]}
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
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


def _closed(ring: Points) -> list[list[int]]:
    points: list[list[int]] = ring.tolist()
    return [*points, points[0]]
