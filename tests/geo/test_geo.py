"""Rasters with a place on the earth: read in windows, written on the same grid, as polygons."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from commands import run_on_a_terminal
from helpers import refusal

pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")
import pyogrio
import rasterio
import shapely
from rasterio.env import get_gdal_config
from rasterio.transform import from_origin
from rasterio.warp import transform
from scipy import ndimage

from likewise import Segmenter
from likewise.errors import ImageError, WriteError
from likewise.geo.polygon_file import PolygonFile
from likewise.geo.raster import Raster, drawn, gdal
from likewise.geo.run import (
    RasterOptions,
    RasterResult,
    read_georeferenced,
    segment_raster,
    segment_rasters,
)
from likewise.geo.vectors import polygons, read_vectors, square_metres
from scenes import run

METRE = 2.0
"""Side of a pixel."""
ORIGIN = 500_000.0, 4_000_000.0


def scene(
    size: tuple[int, int], fields: list[tuple[int, int, int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """(3, H, W) uint8 green land with red rectangles (top, left, height, width), and their mask."""
    noise = np.random.default_rng(0).integers(0, 12, (*size, 3), dtype=np.uint8)
    pixels = np.full((*size, 3), (40, 90, 40), np.uint8) + noise
    mask = np.zeros(size, bool)
    for top, left, height, width in fields:
        mask[top : top + height, left : left + width] = True
    pixels[mask] = (200, 60, 50)
    return np.moveaxis(pixels, -1, 0), mask


def write(path: Path, values: np.ndarray, crs: str | None = "EPSG:32633", **more: object) -> Path:
    profile = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype.name,
        "transform": from_origin(*ORIGIN, METRE, METRE),
    }
    with rasterio.open(path, "w", **profile | {"crs": crs} | more) as file:
        file.write(values)
    return path


def box(top: int, left: int, height: int, width: int) -> shapely.Polygon:
    """The polygon of pixels, in the raster's coordinates."""
    x, y = ORIGIN[0] + left * METRE, ORIGIN[1] - top * METRE
    return shapely.box(x, y - height * METRE, x + width * METRE, y)


def write_vector(path: Path, shapes: list[shapely.Polygon], crs: str | None) -> Path:
    geometry = np.array([shapely.to_wkb(shape) for shape in shapes], object)
    pyogrio.raw.write(path, geometry, [], [], geometry_type="Polygon", crs=crs)
    return path


def read_back(path: Path) -> tuple[dict[str, object], np.ndarray, dict[str, np.ndarray]]:
    """About a vector file, its shapes, and its fields."""
    meta, _, shapes, values = pyogrio.raw.read(path)
    return meta, shapely.from_wkb(shapes), dict(zip(meta["fields"], values, strict=True))


def segment(
    segmenter: Segmenter, path: Path, labels: Path, options: RasterOptions, **more: bool
) -> tuple[RasterResult, dict[str, np.ndarray]]:
    """What became of a raster, and the fields of its polygons."""
    vectors = PolygonFile(labels.with_suffix(".gpkg"), ["object"])
    found = segment_raster(segmenter, path, labels, options, vectors=vectors, **more)
    vectors.write()
    fields = read_back(vectors.path)[2]
    assert len(fields["class"]) == found.polygons
    return found, fields


FIELDS = [(40, 50, 40, 60), (150, 300, 30, 30), (210, 60, 50, 20), (20, 330, 12, 12)]
AREAS = sorted(h * w * METRE**2 for _, _, h, w in FIELDS)
CLOSE = 0.12  # a third of a pixel at each edge of the smallest, 12 × 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rasters")
    write(folder / "ref.tif", scene((120, 160), [(40, 50, 40, 60)])[0])
    write_vector(folder / "ref.gpkg", [box(40, 50, 40, 60)], "EPSG:32633")
    write(
        folder / "land.tif", scene((300, 400), FIELDS)[0], tiled=True, blockxsize=64, blockysize=64
    )
    return folder


@pytest.fixture(scope="module")
def segmenter(tiny: Path, place: Path) -> Segmenter:
    fitted = Segmenter(tiny, image_size=224, tile=56)
    return fitted.fit([read_georeferenced(place / "ref.tif", place / "ref.gpkg")])


def test_labels_lie_on_the_same_grid_and_areas_are_true(
    segmenter: Segmenter, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "land.tif"
    options = RasterOptions(save_scores=True)
    result, found = segment(segmenter, place / "land.tif", out, options)
    truth = scene((300, 400), FIELDS)[1]
    with rasterio.open(out) as labels, rasterio.open(place / "land.tif") as image:
        assert labels.transform == image.transform
        assert labels.crs == image.crs
        assert labels.shape == image.shape
        assert labels.is_tiled
        mask = labels.read(1) > 0
    assert (mask & truth).sum() / (mask | truth).sum() > 0.97
    areas = sorted(found["area_m2"])
    assert areas == pytest.approx(AREAS, rel=CLOSE)
    assert sum(areas) == pytest.approx(sum(AREAS), rel=0.02)
    assert ((found["score"] > 0) & (found["score"] <= 1)).all()
    assert result.area == pytest.approx(mask.mean())
    with rasterio.open(tmp_path / "land_scores.tif") as scores:
        assert scores.bounds.left == ORIGIN[0]
        assert scores.read(1).max() > 0.5
    assert not list(tmp_path.glob(".likewise*"))


def test_small_pieces_and_what_lies_outside_of_the_region_are_left_out(
    segmenter: Segmenter, place: Path, tmp_path: Path
) -> None:
    # Given in degrees, and drawn around the two fields on the right.
    roi = write_vector(tmp_path / "roi.geojson", [box(0, 280, 300, 120)], "EPSG:32633")
    out = tmp_path / "land.tif"
    options = RasterOptions(roi=roi, min_area=1000)
    _, found = segment(segmenter, place / "land.tif", out, options)
    assert list(found["area_m2"]) == pytest.approx([30 * 30 * METRE**2], rel=0.03)
    with rasterio.open(out) as labels:
        assert (labels.read(1) > 0).sum() == pytest.approx(900, rel=0.03)


def test_pieces_that_strips_cut_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = (ndimage.gaussian_filter(rng.random((120, 90)), 1.5) > 0.5).astype(np.uint8)
    values[:, :30] *= 2
    path = write(tmp_path / "labels.tif", values[None])
    score = [np.ones((1, 1), np.float32)] * 2
    found = []
    for strip in (7, 1024):
        monkeypatch.setattr("likewise.geo.vectors.STRIP", strip)
        with rasterio.open(path) as file:
            pieces = list(polygons(file, score, (120, 90), [1.0, 1.0]))
        found.append(sorted((p.number, p.geometry.bounds, p.geometry.area) for p in pieces))
    assert found[0] == found[1]
    assert sum(area for *_, area in found[0]) == (values > 0).sum() * METRE**2
    assert len(found[0]) == sum(ndimage.label(values == k)[1] for k in (1, 2))


def test_nodata_is_in_no_mask(segmenter: Segmenter, place: Path, tmp_path: Path) -> None:
    values, _ = scene((300, 400), FIELDS)
    values[:, :, :200] = 0
    path = write(tmp_path / "part.tif", values, nodata=0)
    found = segment_raster(segmenter, path, tmp_path / "out.tif", RasterOptions())
    assert found.polygons == 2
    with rasterio.open(tmp_path / "out.tif") as labels:
        assert not labels.read(1)[:, :200].any()


def test_bands_are_chosen_and_stretched_over_the_whole_raster(tmp_path: Path) -> None:
    values, _ = scene((120, 160), [(40, 50, 40, 60)])
    wide = np.concatenate([values[::-1].astype(np.uint16) * 40 + 500, values[:1]])
    path = write(tmp_path / "wide.tif", wide)
    raster = Raster(path, (3, 2, 1))
    whole = raster.read(slice(0, 120), slice(0, 160))
    part = raster.read(slice(30, 90), slice(40, 120))
    assert (part.pixels == whole.pixels[30:90, 40:120]).all()
    assert np.corrcoef(whole.pixels.ravel(), np.moveaxis(values, 0, -1).ravel())[0, 1] > 0.99
    assert "one or three of 1 to 4" in refusal(Raster, path, (4, 5, 6))
    assert "one or three of 1 to 4" in refusal(Raster, path, (1, 2))


def test_a_large_raster_without_overviews_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = scene((300, 400), FIELDS)[0].astype(np.uint16) * 40 + 500
    path = write(tmp_path / "wide.tif", wide)
    whole = Raster(path).own_range
    monkeypatch.setattr("likewise.geo.raster.OVERVIEW", 10)
    assert Raster(path).own_range == pytest.approx(whole, rel=0.1)


def test_gdal_keeps_blocks_that_are_read_again(place: Path) -> None:
    with gdal("land.tif") as rasterio:
        rasterio.open(place / "land.tif").close()
        assert 100e6 < get_gdal_config("GDAL_CACHEMAX") < 200e6  # bytes


def test_a_run_goes_on_with_what_is_whole(
    segmenter: Segmenter, place: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / "land.tif", RasterOptions()
    first, known = segment(segmenter, place / "land.tif", out, options)
    before = out.read_bytes()
    kept, found = segment(segmenter, place / "land.tif", out, options, resume=True)
    assert (kept.tiles, kept.polygons, kept.area) == (0, first.polygons, first.area)
    assert (found["area_m2"] == known["area_m2"]).all()
    assert out.read_bytes() == before
    anew = segment_raster(
        segmenter, place / "land.tif", out, RasterOptions(min_area=1), resume=True
    )
    assert anew.tiles > 1


def test_areas_are_those_on_the_ground() -> None:
    """A square of 100 m near 60° north, in metres of a web map, which are half as long there."""
    side = 100 / np.cos(np.deg2rad(60))
    corner = 1_000_000, 8_399_737.9
    square = shapely.box(*corner, corner[0] + side, corner[1] + side)
    area = square_metres(np.array([square]), rasterio.crs.CRS.from_epsg(3857))
    assert area == pytest.approx([100 * 100], rel=0.01)


@pytest.mark.parametrize(
    ("crs", "latitude", "side", "pixel"),
    [
        ("EPSG:32601", 65, METRE, METRE**2),
        ("EPSG:32760", -17, METRE, METRE**2),
        ("EPSG:3031", -71, METRE, METRE**2),  # polar, true to scale there
        ("EPSG:4326", 0, 2**-17, 2**-34 * 111_319 * 110_574),  # its columns go on beyond 180
    ],
)
def test_polygons_over_the_date_line(
    crs: str, latitude: float, side: float, pixel: float, tmp_path: Path
) -> None:
    labels = np.zeros((1, 60, 80), np.uint8)
    labels[0, 10:40, 10:70] = 1
    labels[0, 40:45, 40:70] = 1  # the line is at 40: these touch it
    labels[0, 20:30, 30:45] = 0  # a hole on the line
    labels[0, 50:55, 5:15] = 1
    (x,), (y,) = transform("EPSG:4326", crs, [180.0], [latitude])
    grid = from_origin(x - 40 * side, y + 30 * side, side, side)
    path = write(tmp_path / "labels.tif", labels, crs, transform=grid)
    vectors = PolygonFile(tmp_path / "found.geojson", ["object"])
    with rasterio.open(path) as file:
        found = list(polygons(file, [np.ones((1, 1), np.float32)], (60, 80), [1.0]))
    areas = sorted(p.area for p in found)
    assert areas == pytest.approx([50 * pixel, 1800 * pixel], rel=5e-3)
    with vectors.of(path, rasterio.crs.CRS.from_user_input(crs)) as add:
        for polygon in found:
            add(polygon)
    vectors.write()

    shapes = read_back(vectors.path)[1]
    assert sorted(shape.geom_type for shape in shapes) == ["MultiPolygon", "Polygon"]
    for part in shapely.get_parts(shapes):
        left, _, right, _ = part.bounds
        assert -180 <= left < right <= 180
        assert right - left < 0.01
    on_raster = read_vectors(vectors.path, Raster(path))  # and back
    again = drawn(on_raster, Raster(path), slice(0, 60), slice(0, 80))
    assert (again != (labels[0] > 0)).sum() == 0


def test_areas_around_a_pole() -> None:
    """A square of 10 km on the map, which is too small there by 0.97276901 in each direction."""
    square = shapely.box(-5000, -4000, 5000, 6000)
    area = square_metres(np.array([square]), rasterio.crs.CRS.from_epsg(3031))
    assert area == pytest.approx([1e8 / 0.97276901**2], rel=1e-3)


def test_what_cannot_be_used_is_one_sentence(
    segmenter: Segmenter, place: Path, tmp_path: Path
) -> None:
    bare = write(tmp_path / "bare.tif", scene((120, 160), [(40, 50, 40, 60)])[0], crs=None)
    out = tmp_path / "out.tif"
    text = refusal(segment_raster, segmenter, bare, out, RasterOptions(min_area=10))
    assert "no coordinate reference system" in text
    assert "no coordinate reference system" in refusal(read_georeferenced, bare, place / "ref.gpkg")
    torn = tmp_path / "torn.tif"
    torn.write_bytes((place / "land.tif").read_bytes()[:150_000])
    assert "torn.tif" in refusal(segment_raster, segmenter, torn, out, RasterOptions())
    junk = tmp_path / "junk.tif"
    junk.write_bytes(b"nothing")
    assert "junk.tif" in refusal(Raster, junk)
    empty = write_vector(tmp_path / "far.gpkg", [box(9000, 9000, 5, 5)], "EPSG:32633")
    assert "marks no pixel" in refusal(read_georeferenced, place / "ref.tif", empty)
    junk = tmp_path / "junk.gpkg"
    junk.write_bytes(b"nothing")
    raster = Raster(place / "ref.tif")
    assert "junk.gpkg" in refusal(read_vectors, junk, raster)
    assert not out.exists()


def test_without_the_extra_it_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert "pip install 'likewise[geo]'" in refusal(Raster, place / "ref.tif")


def test_a_broken_raster_does_not_stop_the_others(
    segmenter: Segmenter, place: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn.tif"
    torn.write_bytes((place / "land.tif").read_bytes()[:150_000])
    pairs = [(torn, tmp_path / "a.tif"), (place / "land.tif", tmp_path / "b.tif")]
    first, second = segment_rasters(segmenter, pairs, RasterOptions())
    assert isinstance(first, ImageError)
    assert "previous exception" not in str(first)
    assert second.labels.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tif", "torn.tif"]


def test_a_full_disk_ends_the_run(
    segmenter: Segmenter, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    vectors = PolygonFile(tmp_path / "found.gpkg", ["object"])
    pairs = [(place / "land.tif", tmp_path / name) for name in ("a.tif", "b.tif")]
    monkeypatch.setattr("pickle.dump", full)
    with pytest.raises(WriteError, match="the disk is full"):
        list(segment_rasters(segmenter, pairs, RasterOptions(), vectors=vectors))


def test_labels_that_a_full_disk_cut_short_are_one_sentence(
    segmenter: Segmenter, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(part: Path, *_: object) -> None:
        part.write_bytes(b"")

    monkeypatch.setattr("likewise.geo.run._write_labels", cut_short)
    pair = place / "land.tif", tmp_path / "a.tif"
    (failed,) = segment_rasters(segmenter, [pair], RasterOptions())
    assert "free space" in str(failed)


def test_raster_without_a_place_is_segmented(segmenter: Segmenter, tmp_path: Path) -> None:
    bare = write(tmp_path / "bare.tif", scene((200, 240), [(40, 50, 40, 60)])[0], crs=None)
    _, found = segment(segmenter, bare, tmp_path / "out.tif", RasterOptions())
    assert np.isnan(found["area_m2"]).tolist() == [True]
    with pytest.raises(ImageError):
        segment_raster(segmenter, bare, tmp_path / "out.tif", RasterOptions(min_area=1))


def test_command(tiny: Path, place: Path, tmp_path: Path) -> None:
    words = ["geo", "-r", place / "ref.tif", "-m", place / "ref.gpkg", place / "land.tif"]
    words += ["-o", tmp_path / "out", "--polygons", tmp_path / "found.geojson", "--bands", "1,2,3"]
    words += ["--backbone", tiny, "--image-size", 224, "--tile", 56, "--json"]
    ran = run([str(word) for word in words])
    assert (ran.code, "tiles" in ran.err) == (0, False), ran.err
    report = json.loads(ran.out)
    assert report["targets"][0]["polygons"] == len(FIELDS)
    _, shown = run_on_a_terminal([str(word) for word in words])
    assert f"0/{report['targets'][0]['tiles']}" in shown
    found = json.loads((tmp_path / "found.geojson").read_text())
    properties = [feature["properties"] for feature in found["features"]]
    assert {p["class"] for p in properties} == {"object"}
    assert sorted(p["area_m2"] for p in properties) == pytest.approx(AREAS, rel=CLOSE)
    x, y = found["features"][0]["geometry"]["coordinates"][0][0]
    assert 14 < x < 16  # degrees
    assert 36 < y < 37


def test_nothing_of_rasterio_is_printed(tiny: Path, tmp_path: Path) -> None:
    pixels, mask = scene((200, 240), [(40, 50, 40, 60)])
    nowhere = {"crs": None, "transform": None}
    bare = write(tmp_path / "bare.tif", pixels, **nowhere)
    marked = write(tmp_path / "mask.tif", mask[None].astype(np.uint8), **nowhere)
    words = ["geo", "-r", bare, "-m", marked, bare, "-o", tmp_path / "out"]
    ran = run([str(word) for word in [*words, "--backbone", tiny, "--image-size", 224]])
    assert (ran.code, "Warning" in ran.err) == (0, False), ran.err


@pytest.mark.parametrize(
    "where", ["likewise.geo.vectors._margin", "rasterio.shutil.copy", "pyogrio.raw.write"]
)
def test_ctrl_c_leaves_no_temporary_file(
    where: str, tiny: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    words = ["geo", "-r", place / "ref.tif", "-m", place / "ref.gpkg", place / "land.tif"]
    words += ["-o", tmp_path / "out", "--polygons", tmp_path / "found.gpkg", "--backbone", tiny]
    ran = run([str(word) for word in [*words, "--image-size", 224, "--tile", 56]])
    assert (ran.code, "stopped by Ctrl-C" in ran.err) == (1, True)
    assert not list(tmp_path.rglob(".likewise*"))
    assert not (tmp_path / "found.gpkg").exists()
