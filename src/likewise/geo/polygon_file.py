"""The file of polygons: kept on disk while rasters are read, written whole at the end."""

from __future__ import annotations

import json
import pickle
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..errors import ImageError, LikewiseError
from ..io.files import refused, remove_parts, unfinished
from .vectors import DEGREES, Polygon, first_line, moved

SUFFIXES = (".gpkg", ".geojson")
"""Of files that are written."""
BATCH = 4096
"""Polygons that are in memory at once."""
Row: TypeAlias = "tuple[Any, str, float, float | None, str]"
"""Geometry, class, score, m² and image."""
CRS84 = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
"""What GDAL writes into a GeoJSON in degrees."""


def check_polygon_file(path: Path) -> None:
    """Raises LikewiseError unless polygons can be written to such a file."""
    if path.suffix.lower() not in SUFFIXES:
        raise LikewiseError(f"{path} is no {' or '.join(SUFFIXES)} file: give one of those.")
    if not path.parent.is_dir():
        raise LikewiseError(f"the folder of {path} does not exist: make it, or give another.")


class PolygonFile:
    """The polygons of some rasters, on their way to one vector file.

    Until ``write`` they lie in a file without a name in the same folder; it goes with the process.

    Args:
        path: a GeoPackage, in the coordinates of the first raster, or a GeoJSON, in degrees and cut
            at the date line, as its standard wants, if that has a coordinate reference system.
        labels: name of the k-th class.

    Raises:
        ImageError: if nothing can be written there.
    """

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self.path, self.labels = path, labels
        self._first: Any = None
        """Path and system of the first raster."""
        self._end = 0
        """What lies behind it is of a raster that failed."""
        remove_parts([path.parent])
        try:
            self._kept = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (lives as long as this)
        except OSError as error:
            raise refused(path, error) from error
        weakref.finalize(self, self._kept.close)

    @contextmanager
    def of(self, raster: Path, crs: Any) -> Iterator[Callable[[Polygon], None]]:
        """A function that adds a polygon of a raster. If the block fails, none of them stays.

        Args:
            raster: its path.
            crs: its coordinate reference system; may be None.

        Raises:
            ImageError: if the disk is full.
        """
        batch, end = list[Polygon](), self._end

        def keep() -> None:
            nonlocal end
            try:
                self._kept.seek(end)
                pickle.dump((raster, crs, batch), self._kept)
                self._kept.flush()
                end = self._kept.tell()
            except OSError as error:
                raise refused(self.path, error) from error
            batch.clear()

        def add(polygon: Polygon) -> None:
            batch.append(polygon)
            if len(batch) == BATCH:
                keep()

        yield add
        keep()
        self._end, self._first = end, self._first or (raster, crs)

    def write(self) -> None:
        """Write what there is, at least of one raster; the file is replaced whole.

        Fields are class, score, area_m2 and image.

        Raises:
            ImageError: if it cannot be written, or only some rasters have a coordinate reference
                system.
        """
        import pyogrio

        suffix = self.path.suffix.lower()
        write = _write_geojson if suffix == ".geojson" else _write_geopackage
        crs = self._first[1]
        crs = DEGREES if crs is not None and suffix == ".geojson" else crs
        try:
            with unfinished(self.path, suffix) as part:
                write(part, self.path.stem, crs, self._rows(crs))
                part.replace(self.path)
        except OSError as error:
            raise refused(self.path, error) from error
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise ImageError(
                f"{self.path} cannot be written ({first_line(error)}): give another place."
            ) from error

    def _rows(self, to: Any) -> Iterator[list[Row]]:
        """All polygons by batches, of which the first may be empty; in the coordinates ``to``."""
        self._kept.seek(0)
        while self._kept.tell() < self._end:
            raster, crs, batch = pickle.load(self._kept)
            if (crs is None) != (to is None):
                raise ImageError(
                    f"{raster} and {self._first[0]} cannot share {self.path}: only one of them has "
                    "a coordinate reference system."
                )
            shapes = np.array([polygon.geometry for polygon in batch], object)
            if batch and to is not None and (to is DEGREES or crs != to):  # may be beyond ±180
                shapes = moved(shapes, crs, to)
            yield [
                (shape, self.labels[p.number - 1], round(p.score, 4), p.area, raster.name)
                for shape, p in zip(shapes, batch, strict=True)
            ]


def _write_geopackage(part: Path, layer: str, crs: Any, rows: Iterator[list[Row]]) -> None:
    import pyogrio
    import shapely

    cut = crs is not None and crs.is_geographic  # at the date line, see ``moved``
    types = {"class": object, "score": np.float64, "area_m2": np.float64, "image": object}
    for number, batch in enumerate(rows):
        shapes, *values = zip(*batch, strict=True) if batch else [()] * 5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a crs that is None
            pyogrio.raw.write(
                part,
                geometry=np.array(shapely.to_wkb(shapes), object),
                field_data=[np.array(v, t) for v, t in zip(values, types.values(), strict=True)],
                fields=list(types),
                geometry_type="MultiPolygon" if cut else "Polygon",
                promote_to_multi=cut,
                crs=None if crs is None else crs.to_wkt(),
                driver="GPKG",
                layer=layer,
                append=number > 0,
            )


def _write_geojson(part: Path, layer: str, crs: Any, rows: Iterator[list[Row]]) -> None:
    """By lines, as GDAL writes it; but GDAL would read the whole file again for each batch."""
    import shapely

    told = {"name": layer} if crs is None else {"name": layer, "crs": CRS84}
    head = json.dumps({"type": "FeatureCollection", **told}, ensure_ascii=False)
    with part.open("w", encoding="utf-8") as file:
        file.write(head.removesuffix("}") + ', "features": [')
        before = "\n"
        for shape, name, score, area, image in (row for batch in rows for row in batch):
            fields = {"class": name, "score": score, "area_m2": area, "image": image}
            known = json.dumps(fields, ensure_ascii=False)
            geometry = shapely.to_geojson(shape)
            file.write(
                f'{before}{{"type": "Feature", "properties": {known}, "geometry": {geometry}}}'
            )
            before = ",\n"
        file.write("\n]}\n")
