"""One raster after the other: labels on the raster's own grid, scores, polygons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError
from ..io.annotations.shapes import LABEL
from ..io.draw import class_palette
from ..io.hashing import fingerprint
from ..io.masks import MaskValue
from ..large.image import RefinedBlock
from ..reference import Reference
from ..run.windows import BLOCK, check_reads_windows, decide
from ..segmenter import Segmenter
from .raster import Raster, drawn, gdal
from .vectors import Polygon, is_vector, polygons, read_vectors, window_of, write_polygons

REFERENCE_SIDE = 4096
"""Of a larger reference only a part of so many pixels a side is read, around what is marked."""
ROOM = "give a folder that can be written to, with free space"
RUN = "LIKEWISE_RUN"
"""Tag of a file of labels: what it was made of, for ``resume``."""


@dataclass(frozen=True)
class RasterOptions:
    """What is read of a raster, and what is written beside its labels."""

    bands: tuple[int, ...] = ()
    roi: Path | None = None
    """Vector file: what lies outside its polygons is neither looked at nor found."""
    min_area: float = 0.0
    """m²; smaller pieces are left out of labels and polygons."""
    save_scores: bool = False
    """Also write <stem>_scores.tif, on the grid of patches."""


@dataclass(frozen=True, eq=False)
class RasterResult:
    """What became of one raster."""

    path: Path
    labels: Path
    polygons: tuple[Polygon, ...]
    """Largest first; those of a file that was kept are read from it."""
    crs: Any
    area: float
    """Share of its pixels that are in a class, 0..1."""
    tiles: int
    """That it was read in; 1 if at once, 0 if it was kept."""


def read_georeferenced(
    image: Path,
    mask: Path | None,
    value: MaskValue | None = None,
    label: str = LABEL,
    negative: bool = False,
    *,
    bands: Sequence[int] = (),
) -> Reference:
    """A reference whose image is a raster, in memory; its mask may be a vector file.

    Of a raster beyond ``REFERENCE_SIDE`` the part around the marked polygons is read.

    Args:
        image, mask, value, label, negative: as for ``Reference``.
        bands: see ``Raster``.

    Raises:
        ImageError: if one of them cannot be used.
    """
    raster = Raster(image, bands)
    rows, columns = slice(0, raster.size[0]), slice(0, raster.size[1])
    if not is_vector(mask):
        if max(raster.size) > REFERENCE_SIDE:
            raise ImageError(
                f"{image} is over {REFERENCE_SIDE} pixels a side: as a reference, give its mask as "
                "a vector file, or cut out a part of both."
            )
        return Reference(raster.read(rows, columns), mask, value, label, negative)
    geometries = read_vectors(Path(str(mask)), raster)
    marked = window_of(geometries, raster)
    rows, columns = (_around(*pair) for pair in zip(marked, raster.size, strict=True))
    pixels = drawn(geometries, raster, rows, columns)
    if not pixels.any():
        raise ImageError(f"{mask} marks no pixel of {image}: check that both show one place.")
    return Reference(raster.read(rows, columns), pixels, None, label, negative)


def _around(marked: slice, length: int) -> slice:
    if length <= REFERENCE_SIDE:
        return slice(0, length)
    middle = (marked.start + min(marked.stop, marked.start + REFERENCE_SIDE // 2)) // 2
    start = min(max(0, middle - REFERENCE_SIDE // 2), length - REFERENCE_SIDE)
    return slice(start, start + REFERENCE_SIDE)


def segment_rasters(
    segmenter: Segmenter,
    targets: Iterable[tuple[Path, Path]],
    options: RasterOptions,
    *,
    resume: bool = False,
) -> Iterator[RasterResult | ImageError]:
    """Segment rasters; one that cannot be read is yielded as its error.

    Args:
        segmenter: fitted, with a method that reads tiles.
        targets: (raster, file for its labels) pairs.
        options: for all of them.
        resume: keep labels that were made of the same.

    Raises:
        LikewiseError: if the method reads no tiles.
    """
    check_reads_windows(segmenter.method, "rasters")
    for path, labels in targets:
        try:
            yield segment_raster(segmenter, path, labels, options, resume=resume)
        except ImageError as error:
            yield error


def segment_raster(
    segmenter: Segmenter, path: Path, labels: Path, options: RasterOptions, *, resume: bool = False
) -> RasterResult:
    """Segment one raster: a cloud-optimised GeoTIFF on its grid, 0 none, k the k-th class.

    Memory is bounded by a tile and by the patch scores; files are written whole.

    Raises:
        ImageError: if it, or the region of interest, cannot be used, or a file not be written.
    """
    raster = Raster(path, options.bands, segmenter.fitted().ranges)
    if options.min_area and raster.crs is None:
        raise ImageError(
            f"{path} has no coordinate reference system, which areas in m² need: assign one, for "
            "instance with gdal_edit, or leave out --min-area."
        )
    if options.roi is not None:
        raster.roi = read_vectors(options.roi, raster)
    made_of = _made_of(segmenter, path, options)
    part = labels.with_name(f".likewise-{labels.name}")
    try:
        with gdal(str(labels), ROOM):
            if resume and labels.exists() and (kept := _kept(raster, labels, made_of)) is not None:
                return kept
        decided = decide(segmenter, raster)
        _write_labels(part, raster, decided.blocks, made_of)
        scores, cell = decided.scores, decided.cell
        with gdal(str(labels), ROOM) as rasterio:
            with rasterio.open(part, "r+") as file:
                found = _large_enough(
                    file, polygons(file, scores, cell, decided.confidences), options
                )
            if options.save_scores:
                _write_scores(labels.with_name(f"{labels.stem}_scores.tif"), raster, scores, cell)
            _as_cog(rasterio, part, labels)
    finally:
        part.unlink(missing_ok=True)
    H, W = raster.size
    pixel = abs(raster.transform.determinant)
    return RasterResult(
        path, labels, found, raster.crs, _covered(found, pixel) / (H * W), decided.tiles
    )


def _covered(found: Sequence[Polygon], pixel: float) -> float:
    """Pixels in polygons, of which one has this area in the raster's units."""
    return sum(float(p.geometry.area) for p in found) / pixel


def _write_labels(part: Path, raster: Raster, blocks: Iterable[RefinedBlock], made_of: str) -> None:
    from rasterio.windows import Window

    with gdal(str(part), ROOM) as rasterio:
        file = rasterio.open(part, "w", **_profile(raster, "uint8", 1), sparse_ok=True)
    with file:
        file.write_colormap(1, dict(enumerate(class_palette(255))))
        file.update_tags(**{RUN: made_of})
        for block in blocks:  # an error of theirs is of the raster that is read
            rows, columns = block.rows, block.columns
            shape = rows.stop - rows.start, columns.stop - columns.start
            window = Window(columns.start, rows.start, shape[1], shape[0])
            with gdal(str(part), ROOM):
                file.write(block.label_map.astype(np.uint8), 1, window=window)


def _profile(raster: Raster, dtype: str, count: int) -> dict[str, Any]:
    H, W = raster.size
    return {
        "driver": "GTiff",
        "dtype": dtype,
        "count": count,
        "height": H,
        "width": W,
        "crs": raster.crs,
        "transform": raster.transform,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }


def _write_scores(
    path: Path, raster: Raster, scores: Sequence[npt.NDArray[np.float32]], cell: tuple[float, float]
) -> None:
    """One band a class, on the grid of patches."""
    import rasterio
    from rasterio.transform import Affine

    h, w = scores[0].shape
    a, b, c, d, e, f = raster.transform[:6]
    transform = Affine(a * cell[1], b * cell[0], c, d * cell[1], e * cell[0], f)
    size = {"height": h, "width": w, "transform": transform}
    part = path.with_name(f".likewise-{path.name}")
    try:
        profile = _profile(raster, "float32", len(scores)) | size
        with rasterio.open(part, "w", **profile) as file:
            file.write(np.stack(scores))
        _as_cog(rasterio, part, path)
    finally:
        part.unlink(missing_ok=True)


def _as_cog(rasterio: Any, part: Path, path: Path) -> None:
    """Make a cloud-optimised GeoTIFF of a finished file; ``path`` is whole at every moment."""
    from rasterio.shutil import copy

    whole = path.with_name(f".likewise-cog-{path.name}")
    try:
        copy(part, whole, driver="COG", compress="DEFLATE", overview_resampling="NEAREST")
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)


def _large_enough(
    file: Any, found: Iterable[Polygon], options: RasterOptions
) -> tuple[Polygon, ...]:
    """Pieces of ``min_area``, the largest first; the others are taken out of the labels."""
    import shapely
    from rasterio.features import geometry_window, rasterize

    kept, small = list[Polygon](), list[Polygon]()
    for polygon in found:
        is_small = polygon.area is not None and polygon.area < options.min_area
        (small if is_small else kept).append(polygon)
    for polygon in small:
        geometry = shapely.geometry.mapping(polygon.geometry)
        window = geometry_window(file, [geometry])
        labels = file.read(1, window=window)
        transform = file.window_transform(window)
        inside = rasterize([geometry], labels.shape, transform=transform, dtype="uint8")
        labels[(inside > 0) & (labels == polygon.number)] = 0
        file.write(labels, 1, window=window)
    return tuple(sorted(kept, key=lambda p: -(p.area or 0)))


def _made_of(segmenter: Segmenter, path: Path, options: RasterOptions) -> str:
    """Fingerprint of all that labels depend on; of the raster its size and time of change."""
    files = [path, *([options.roi] if options.roi else [])]
    known = [file.stat() for file in files if file.exists()]
    stamps = [(one.st_size, one.st_mtime_ns) for one in known]
    return fingerprint(segmenter.fingerprint, str(options), stamps)


def _kept(raster: Raster, labels: Path, made_of: str) -> RasterResult | None:
    """What a file of labels holds, if it was made of just this."""
    import rasterio

    with rasterio.open(labels) as file:
        if file.tags().get(RUN) != made_of:
            return None
        none = np.ones((1, 1), np.float32)
        found = tuple(polygons(file, [none] * 255, (1, 1), [1.0] * 255))
    H, W = raster.size
    pixel = abs(raster.transform.determinant)
    path = Path(raster.name)
    return RasterResult(path, labels, found, raster.crs, _covered(found, pixel) / (H * W), 0)


def write_found(path: Path, done: Sequence[RasterResult], labels: Sequence[str]) -> None:
    """The polygons of all rasters in one file, in the coordinates of the first.

    Raises:
        ImageError: if it cannot be written, or only some have a coordinate reference system.
    """
    import shapely
    from rasterio.warp import transform_geom

    crs, found = done[0].crs, []
    for result in done:
        if (result.crs is None) != (crs is None):
            raise ImageError(
                f"{result.path} and {done[0].path} cannot share {path}: only one of them has a "
                "coordinate reference system."
            )
        for polygon in result.polygons:
            if result.crs != crs:
                known = shapely.geometry.mapping(polygon.geometry)
                moved = transform_geom(result.crs, crs, known)
                polygon = replace(polygon, geometry=shapely.geometry.shape(moved))
            found.append((result.path.name, polygon))
    write_polygons(path, found, labels, crs)


def numbers_of(segmenter: Segmenter) -> Mapping[str, int]:
    """Class → its value in the labels."""
    return {label: k for k, label in enumerate(segmenter.models, 1)}
