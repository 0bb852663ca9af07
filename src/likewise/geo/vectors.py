"""Polygons: regions and marks read from vector files, connected pieces of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, needs
from .raster import Raster

READ = (".gpkg", ".geojson", ".shp", ".fgb", ".kml")
"""Suffixes of vector files that are read."""
DEGREES = "EPSG:4326"
EQUAL_AREA = "EPSG:6933"
"""Areas are measured in it: those of a raster's own system may be degrees, or metres that are none,
as in web maps."""
FINE = 64
"""Edges, at least, along the longer side of a polygon that is cut at the date line."""
STRIP = 1024
"""Rows of labels that are made to polygons at once."""
CELLS = 128
"""The score of a polygon is the mean over so many cells a side at most."""


BATCH = 256
"""Pieces whose areas are measured at once."""
Shapes: TypeAlias = "npt.NDArray[np.object_]"
"""(n,) geometries of shapely."""


@dataclass(frozen=True, eq=False)
class Polygon:
    """One connected piece of a class."""

    geometry: Any
    """Of shapely, in the raster's coordinates: 100,000 of them as GeoJSON would fill memory."""
    number: int
    """Its value in the labels."""
    score: float
    """0..1: how far the scores in it are above the threshold, times the class's confidence."""
    area: float | None
    """m²; None without a coordinate reference system."""


def is_vector(path: object) -> bool:
    """Whether a file is one of polygons, by its suffix."""
    return isinstance(path, str | Path) and Path(path).suffix.lower() in READ


def read_vectors(path: Path, raster: Raster) -> list[Any]:
    """The geometries of a file, as GeoJSON in the coordinates of a raster.

    Raises:
        ImageError: it cannot be read, holds no polygon, or one of both lacks a coordinate reference
            system.
    """
    with needs("geo"):
        import pyogrio
        import shapely
        from rasterio.warp import transform_geom
    try:
        meta, _, shapes, _ = pyogrio.raw.read(path, columns=[])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise ImageError(
            f"{path} cannot be read as a vector file ({first_line(error)}): give a GeoPackage or "
            "GeoJSON."
        ) from error
    geometries = [shapely.from_wkb(shape) for shape in shapes if shape is not None]
    areas = [g for g in geometries if g.geom_type in ("Polygon", "MultiPolygon") and not g.is_empty]
    if not areas:
        raise ImageError(f"{path} holds no polygon: draw at least one.")
    crs = meta["crs"]
    if (crs is None) != (raster.crs is None):
        lacking = path if crs is None else raster.name
        raise ImageError(
            f"{lacking} has no coordinate reference system, so {path} and {raster.name} cannot be "
            "laid over each other: assign one, for instance with gdal_edit or in QGIS."
        )
    found = [shapely.geometry.mapping(area) for area in areas]
    if crs is None:
        return found
    found = [transform_geom(crs, raster.crs, g) for g in found]
    if not raster.crs.is_geographic:
        return found
    box = shapely.box(*raster.file.bounds)  # which may go beyond ±180
    shapes = [_turned(shapely.geometry.shape(g), by) for g in found for by in (-360, 0, 360)]
    return [shapely.geometry.mapping(s) for s in shapes if s.intersects(box)] or found


def _turned(shape: Any, by: float) -> Any:
    """A geometry in degrees, moved to the east."""
    import shapely

    return shapely.transform(shape, lambda places: places + np.array([by, 0]))


def window_of(geometries: Sequence[Any], raster: Raster) -> tuple[slice, slice]:
    """Rows and columns that hold geometries, of those that the raster has; maybe none."""
    import shapely
    from rasterio.windows import from_bounds

    left, bottom, right, top = shapely.total_bounds([shapely.geometry.shape(g) for g in geometries])
    window = from_bounds(left, bottom, right, top, raster.transform)
    (H, W), (row, column) = raster.size, (window.row_off, window.col_off)
    rows = slice(max(0, int(row)), min(H, int(np.ceil(row + window.height))))
    return rows, slice(max(0, int(column)), min(W, int(np.ceil(column + window.width))))


def moved(shapes: Shapes, crs: Any, to: Any) -> Shapes:
    """Polygons of one coordinate reference system in another; if that is in degrees, within ±180:
    what crosses the date line is cut there."""
    import shapely
    from rasterio.crs import CRS
    from rasterio.warp import transform

    def there(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transform(crs, to, *places.T))

    found = shapely.transform(shapes, there)
    if CRS.from_user_input(to).is_geographic:
        left, _, right, _ = shapely.bounds(found).T
        for k in np.flatnonzero((right - left >= 180) | (left < -180) | (right > 180)):
            x0, y0, x1, y1 = shapes[k].bounds
            fine = shapes[k].segmentize(max(x1 - x0, y1 - y0) / FINE)  # so a jump is no long edge
            rings = map(shapely.get_coordinates, (fine.exterior, *fine.interiors))
            outer, *holes = (_cut(there(ring)) for ring in rings)
            found[k] = outer.difference(shapely.union_all(holes))
    return found


def _cut(ring: npt.NDArray[np.float64]) -> Any:
    """What a closed ring of (longitude, latitude) surrounds, within ±180."""
    import shapely

    # 1. It begins next to the pole, and its longitudes go on beyond ±180 where they jumped.
    start = np.abs(ring[:-1, 1]).argmax()
    lon, lat = np.roll(ring[:-1], -start, axis=0).T
    lon, lat = np.unwrap([*lon, lon[0]], period=360), np.array([*lat, lat[0]])
    # 2. Around a pole it does not close: the pole becomes an edge.
    if abs(lon[-1] - lon[0]) > 180:
        pole = np.copysign(90, lat[0])
        lon, lat = np.array([*lon, lon[-1], lon[0]]), np.array([*lat, pole, pole])
    area = _areas(shapely.make_valid(shapely.Polygon(np.column_stack([lon, lat]))))
    # 3. Each turn is cut out, and moved back.
    first, last = np.floor((lon.min() + 180) / 360), np.ceil((lon.max() + 180) / 360)
    world = shapely.box(-180, -90, 180, 90)
    turns = np.arange(first, last) * 360
    return _areas(shapely.union_all([_turned(area, -t).intersection(world) for t in turns]))


def _areas(shape: Any) -> Any:
    """Its polygons, without the lines that cutting may leave."""
    import shapely

    parts = shapely.get_parts(shape)
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])


def square_metres(shapes: Shapes, crs: Any) -> npt.NDArray[np.float64] | None:
    """Areas on the ground of geometries; None without a coordinate reference system.

    Raises:
        ImageError: if the system is none of the earth.
    """
    if crs is None:
        return None
    import shapely
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    try:
        whole = moved(shapes, crs, DEGREES)  # whose parts do not jump over the date line
        return np.asarray(shapely.area(moved(whole, DEGREES, EQUAL_AREA)))
    except (RasterioError, CPLE_BaseError) as error:
        raise ImageError(
            f"areas in {crs} cannot be measured ({first_line(error)}): assign a coordinate "
            "reference system of the earth."
        ) from error


def polygons(
    labels: Any,
    scores: Sequence[npt.NDArray[np.float32]],
    cell: tuple[float, float],
    confidences: Sequence[float],
) -> Iterator[Polygon]:
    """The connected pieces of a raster of labels, joined over all windows.

    Each comes when all of its rows were read; in memory are a strip and what goes on below it.

    Args:
        labels: an open dataset with one band, 0 none, k the k-th class.
        scores: (h, w) in 0..1 of each class; 0.5 is the threshold.
        cell: pixels (down, right) that one of them covers.
        confidences: of each class.
    """
    import shapely

    a, b, c, d, e, f = labels.transform[:6]
    pieces = _pieces(labels)
    while batch := list(islice(pieces, BATCH)):
        numbers, cut = zip(*batch, strict=True)
        pixels = np.array(cut, object)
        shapes = shapely.transform(pixels, lambda xy: xy @ [[a, d], [b, e]] + [c, f])
        areas = square_metres(shapes, labels.crs)
        for n, k in enumerate(numbers):
            score = confidences[k - 1] * _margin(pixels[n], scores[k - 1], cell)
            yield Polygon(shapes[n], k, score, None if areas is None else float(areas[n]))


def _pieces(labels: Any) -> Iterator[tuple[int, Any]]:
    """Value and shape, in pixels, of connected pieces; those that strips cut are joined again.

    GDAL keeps all polygons of what it is given, so it is given one strip at a time.
    """
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine
    from rasterio.windows import Window

    cut: dict[int, list[Any]] = {}
    for top in range(0, labels.height, STRIP):
        end = min(top + STRIP, labels.height)
        values = labels.read(1, window=Window(0, top, labels.width, end - top))
        place = Affine.translation(0, top)
        began, cut = cut, {}
        for geometry, value in shapes(values, mask=values > 0, connectivity=4, transform=place):
            outer, *holes = (np.array(ring) for ring in geometry["coordinates"])
            k, shape = int(value), shapely.Polygon(outer, holes)
            _, first, _, last = shape.bounds
            if top and first == top:
                began.setdefault(k, []).append(shape)
            elif last == end < labels.height:
                cut.setdefault(k, []).append(shape)
            else:
                yield k, shape
        for k, parts in began.items():
            whole = shapely.union_all(shapely.make_valid(np.array(parts, object)))
            for piece in shapely.get_parts(whole):
                if piece.bounds[3] == end < labels.height:
                    cut.setdefault(k, []).append(piece)
                else:
                    yield k, piece.simplify(0)


def _margin(piece: Any, scores: npt.NDArray[np.float32], cell: tuple[float, float]) -> float:
    """How far the scores in a polygon, in pixels, are above the threshold on average, 0..1."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    x0, y0, x1, y1 = piece.bounds
    steps = [max(1, min(CELLS, round(end - start))) for start, end in ((y0, y1), (x0, x1))]
    down, along = (y1 - y0) / steps[0], (x1 - x0) / steps[1]
    fine = Affine(along, 0, x0, 0, down, y0)
    inside = rasterize([piece], steps, transform=fine, all_touched=True, dtype="uint8") > 0
    rows, columns = np.nonzero(inside)
    y = ((y0 + (rows + 0.5) * down) / cell[0]).astype(int).clip(0, scores.shape[0] - 1)
    x = ((x0 + (columns + 0.5) * along) / cell[1]).astype(int).clip(0, scores.shape[1] - 1)
    return float(np.maximum(2 * scores[y, x] - 1, 0).mean())


def first_line(error: BaseException) -> str:
    """Of what GDAL says, for a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
