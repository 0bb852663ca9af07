"""One raster after the other: labels on the raster's own grid, scores, polygons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, WriteError
from ..io.annotations.shapes import LABEL
from ..io.draw import class_palette
from ..io.files import remove_parts, unfinished
from ..io.hashing import fingerprint
from ..io.masks import MaskValue
from ..large.image import RefinedBlock
from ..reference import Reference
from ..run.windows import BLOCK, check_reads_windows, decide, plan_of
from ..segmenter import Segmenter
from .polygon_file import PolygonFile
from .raster import Raster, drawn, gdal
from .vectors import Polygon, is_vector, polygons, read_vectors, square_metres, window_of

REFERENCE_SIDE = 4096
"""Of a larger reference only a part of so many pixels a side is read, around what is marked."""
ROOM = "give a folder that can be written to, with free space"
Add: TypeAlias = "Callable[[Polygon], None]"
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
    polygons: int
    """How many connected pieces."""
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
    vectors: PolygonFile | None = None,
) -> Iterator[RasterResult | ImageError]:
    """Segment rasters; one that cannot be read is yielded as its error.

    Args:
        segmenter: fitted, with a method that reads tiles.
        targets: (raster, file for its labels) pairs.
        options: for all of them.
        resume: keep labels that were made of the same.
        vectors: takes the polygons, also those of labels that were kept; nothing is written yet.

    Raises:
        LikewiseError: if the method reads no tiles.
        WriteError: if the disk refuses polygons (it would refuse those of further rasters too).
    """
    check_reads_windows(segmenter.method, "rasters")
    targets = list(targets)
    remove_parts({labels.parent for _, labels in targets})
    for path, labels in targets:
        try:
            yield segment_raster(segmenter, path, labels, options, resume=resume, vectors=vectors)
        except WriteError:
            raise
        except ImageError as error:
            yield error


def segment_raster(
    segmenter: Segmenter,
    path: Path,
    labels: Path,
    options: RasterOptions,
    *,
    resume: bool = False,
    vectors: PolygonFile | None = None,
) -> RasterResult:
    """Segment one raster: a cloud-optimised GeoTIFF on its grid, 0 none, k the k-th class.

    Memory is bounded by a tile and by the patch scores; files are written whole.

    Raises:
        ImageError: if it, or the region of interest, cannot be used, or a file not be written.
    """
    raster = Raster(path, options.bands, segmenter.fitted().ranges)
    import shapely

    if options.min_area and raster.crs is None:
        raise ImageError(
            f"{path} has no coordinate reference system, which areas in m² need: assign one, for "
            "instance with gdal_edit, or leave out --min-area."
        )
    if options.roi is not None:
        raster.roi = read_vectors(options.roi, raster)
    square_metres(np.array([shapely.Point(0, 0)], object), raster.crs)  # fails now, not in the end
    made_of = _made_of(segmenter, path, options)
    adding = nullcontext(None) if vectors is None else vectors.of(path, raster.crs)
    with adding as add, unfinished(labels) as part:
        with gdal(str(labels), ROOM):
            if resume and labels.exists() and (kept := _kept(path, labels, made_of, add)):
                return kept
        decided = decide(segmenter, raster, plan_of(segmenter, raster.size))
        _write_labels(part, raster, decided.blocks, made_of)
        scores, cell = decided.scores, decided.cell
        with gdal(str(labels), ROOM) as rasterio:
            with rasterio.open(part, "r+", driver="GTiff") as file:
                found = polygons(file, scores, cell, decided.confidences)
                counted = _counted(file, found, options.min_area, add)
            if options.save_scores:
                _write_scores(labels.with_name(f"{labels.stem}_scores.tif"), raster, scores, cell)
            _as_cog(rasterio, part, labels)
    return RasterResult(path, labels, *counted, decided.tiles)


def _counted(
    file: Any, found: Iterable[Polygon], min_area: float, add: Add | None
) -> tuple[int, float]:
    """How many pieces of ``min_area`` a file of labels has, and their share of its pixels; ``add``
    gets each. Smaller ones are taken out of the labels."""
    count, covered = 0, 0.0
    for polygon in found:
        if polygon.area is not None and polygon.area < min_area:
            _erase(file, polygon)
            continue
        count += 1
        covered += float(polygon.geometry.area)
        if add is not None:
            add(polygon)
    return count, covered / abs(file.transform.determinant) / (file.height * file.width)


def _erase(file: Any, polygon: Polygon) -> None:
    import shapely
    from rasterio.features import geometry_window, rasterize

    geometry = shapely.geometry.mapping(polygon.geometry)
    window = geometry_window(file, [geometry])
    labels = file.read(1, window=window)
    transform = file.window_transform(window)
    inside = rasterize([geometry], labels.shape, transform=transform, dtype="uint8")
    labels[(inside > 0) & (labels == polygon.number)] = 0
    file.write(labels, 1, window=window)


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
    with unfinished(path) as part:
        profile = _profile(raster, "float32", len(scores)) | size
        with rasterio.open(part, "w", **profile) as file:
            file.write(np.stack(scores))
        _as_cog(rasterio, part, path)


def _as_cog(rasterio: Any, part: Path, path: Path) -> None:
    """Make a cloud-optimised GeoTIFF of a finished file; ``path`` is whole at every moment."""
    from rasterio.shutil import copy

    with unfinished(path) as whole:
        copy(part, whole, driver="COG", compress="DEFLATE", overview_resampling="NEAREST")
        whole.replace(path)


def _made_of(segmenter: Segmenter, path: Path, options: RasterOptions) -> str:
    """Fingerprint of all that labels depend on; of the raster its size and time of change."""
    files = [path, *([options.roi] if options.roi else [])]
    known = [file.stat() for file in files if file.exists()]
    stamps = [(one.st_size, one.st_mtime_ns) for one in known]
    return fingerprint(segmenter.fingerprint, str(options), stamps)


def _kept(path: Path, labels: Path, made_of: str, add: Add | None) -> RasterResult | None:
    """What a file of labels holds, if it was made of just this."""
    import rasterio

    with rasterio.open(labels) as file:
        if file.tags().get(RUN) != made_of:
            return None
        none = np.ones((1, 1), np.float32)
        found = polygons(file, [none] * 255, (1, 1), [1.0] * 255)
        return RasterResult(path, labels, *_counted(file, found, 0, add), 0)


def numbers_of(segmenter: Segmenter) -> Mapping[str, int]:
    """Class → its value in the labels."""
    return {label: k for k, label in enumerate(segmenter.models, 1)}
