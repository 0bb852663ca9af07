"""geo/polygon_file: polygons of several rasters in one vector file."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import refusal

pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")
import pyogrio
import shapely
from rasterio.crs import CRS

from likewise.geo.polygon_file import PolygonFile, check_polygon_file
from likewise.geo.vectors import Polygon, moved

UTM, NEXT = CRS.from_epsg(32633), CRS.from_epsg(32634)


def squares(count: int, x: float = 500_000.0) -> list[Polygon]:
    shapes = [shapely.box(x + 20 * k, 4e6, x + 20 * k + 10, 4e6 + 10) for k in range(count)]
    return [Polygon(s, 1 + k % 2, 0.12345 * (k + 1), 100.0 + k) for k, s in enumerate(shapes)]


def until(count: int) -> Iterator[Polygon]:
    yield from squares(count)
    raise IndexError


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def add(vectors: PolygonFile, raster: str, crs: CRS | None, polygons: Iterable[Polygon]) -> None:
    with vectors.of(Path(raster), crs) as keep:
        for polygon in polygons:
            keep(polygon)


def read_back(path: Path) -> tuple[str | None, np.ndarray, list[list[object]]]:
    """System, shapes and fields of a vector file."""
    meta, _, shapes, values = pyogrio.raw.read(path)
    assert list(meta["fields"]) == ["class", "score", "area_m2", "image"]
    return meta["crs"], shapely.from_wkb(shapes), [list(v) for v in values]


@pytest.fixture(params=["found.gpkg", "found.geojson"])
def vectors(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PolygonFile:
    monkeypatch.setattr("likewise.geo.polygon_file.BATCH", 2)
    return PolygonFile(tmp_path / request.param, ["field", "größe"])


def test_rasters_share_a_file(vectors: PolygonFile) -> None:
    one, two = squares(5), squares(4, 480_000.0)
    add(vectors, "a/one.tif", UTM, one)
    add(vectors, "a/none.tif", NEXT, [])
    add(vectors, "b/two.tif", NEXT, two)
    assert not list(vectors.path.parent.iterdir())
    vectors.write()
    crs, shapes, (classes, scores, areas, images) = read_back(vectors.path)
    to = UTM if vectors.path.suffix == ".gpkg" else CRS.from_epsg(4326)
    assert CRS.from_user_input(crs) == to
    known = np.array([p.geometry for p in one]), np.array([p.geometry for p in two])
    expected = [*moved(known[0], UTM, to), *moved(known[1], NEXT, to)]
    assert all(a.equals_exact(b, 1e-9) for a, b in zip(shapes, expected, strict=True))
    assert classes == [("field", "größe")[p.number - 1] for p in [*one, *two]]
    assert scores == [round(p.score, 4) for p in [*one, *two]]
    assert areas == [p.area for p in [*one, *two]]
    assert images == ["one.tif"] * 5 + ["two.tif"] * 4
    assert list(vectors.path.parent.iterdir()) == [vectors.path]


def test_what_the_date_line_cuts_fits_into_a_layer_in_degrees(
    vectors: PolygonFile, recwarn: pytest.WarningsRecorder
) -> None:
    add(vectors, "one.tif", CRS.from_epsg(4326), [Polygon(shapely.box(1, 1, 2, 2), 1, 0.5, 1.0)])
    add(vectors, "two.tif", CRS.from_epsg(32601), squares(1, 229_940.0))
    vectors.write()
    assert not [w for w in recwarn if w.category is RuntimeWarning]
    shapes = read_back(vectors.path)[1]
    assert [len(shapely.get_parts(shape)) for shape in shapes] == [1, 2]


def test_what_fails_leaves_no_polygon(vectors: PolygonFile) -> None:
    with pytest.raises(IndexError):
        add(vectors, "first.tif", NEXT, until(5))
    add(vectors, "one.tif", UTM, squares(3))
    with pytest.raises(IndexError):
        add(vectors, "last.tif", None, until(3))
    vectors.write()
    _, _, (*_, images) = read_back(vectors.path)
    assert images == ["one.tif"] * 3


def test_full_disk(vectors: PolygonFile, monkeypatch: pytest.MonkeyPatch) -> None:
    add(vectors, "one.tif", UTM, squares(3))
    with monkeypatch.context() as patch:
        patch.setattr("pickle.dump", raising(OSError(errno.ENOSPC, "No space left on device")))
        text = refusal(add, vectors, "two.tif", UTM, squares(3))
    assert "the disk is full" in text
    vectors.write()
    assert read_back(vectors.path)[2][3] == ["one.tif"] * 3


def test_nothing_found_is_a_file_without_polygons(vectors: PolygonFile) -> None:
    add(vectors, "one.tif", UTM, [])
    vectors.write()
    if vectors.path.suffix == ".gpkg":
        assert len(read_back(vectors.path)[1]) == 0
    else:
        assert json.loads(vectors.path.read_text("utf-8"))["features"] == []


def test_rasters_without_a_place(vectors: PolygonFile, recwarn: pytest.WarningsRecorder) -> None:
    shape = shapely.box(1, 2, 3, 4)
    add(vectors, "one.tif", None, [Polygon(shape, 1, 0.5, None)])
    vectors.write()
    assert not [w for w in recwarn if w.category is UserWarning]
    _, shapes, (_, _, areas, _) = read_back(vectors.path)
    assert shapes[0].equals(shape)
    assert areas[0] is None or np.isnan(areas[0])
    before = vectors.path.read_bytes()
    add(vectors, "two.tif", UTM, squares(1))
    assert "two.tif and one.tif cannot share" in refusal(vectors.write)
    assert vectors.path.read_bytes() == before
    assert list(vectors.path.parent.iterdir()) == [vectors.path]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    assert "folder of" in refusal(check_polygon_file, tmp_path / "missing" / "a.gpkg")
    assert ".gpkg or .geojson" in refusal(check_polygon_file, tmp_path / "a.shp")
    assert "cannot be written" in refusal(PolygonFile, tmp_path / "missing" / "a.gpkg", ["a"])
    (tmp_path / "a.gpkg").mkdir()
    vectors = PolygonFile(tmp_path / "a.gpkg", ["a", "b"])
    add(vectors, "one.tif", UTM, squares(2))
    assert "cannot be written" in refusal(vectors.write)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gpkg"]
