"""A georeferenced raster, read window by window: only what is asked for is ever in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, needs, note
from ..io.images import Picture
from ..io.opening import why
from ..io.stretch import Range, Ranges, own_range, suits, to_uint8

OVERVIEW = 1024
"""Pixels a side of the small version that the range of values is told by."""
SAMPLE, SAMPLES = 128, 12
"""Side in pixels, and number along each side, of the samples of large rasters without overviews."""
CACHE = 128_000_000
"""Bytes of blocks that GDAL keeps; rasterio takes bytes, though GDAL itself takes megabytes."""
DAMAGED = "it is cut short or damaged, copy or download it again"


@contextmanager
def gdal(name: str, mend: str = DAMAGED) -> Iterator[Any]:
    """rasterio, with bounded memory; what GDAL cannot read is an ImageError with a mend."""
    with needs("geo"):
        import rasterio
        from rasterio.errors import RasterioError
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE, GDAL_PAM_ENABLED="NO"):
            yield rasterio
    except (RasterioError, OSError) as error:
        reason = why(error.__cause__ or error)  # rasterio's own words say to look there
        raise ImageError(f"{name} cannot be used ({reason.rstrip('.')}): {mend}.") from error


class Raster:
    """A raster as a ``large.image.ImageSource``.

    Args:
        path: what GDAL reads; GeoTIFF and COG above all.
        bands: numbers from 1 of the bands to use, one or three; by default the first three that
            are no alpha, or the first one if there are fewer.
        ranges: of the references, see ``stretch``; more than 8 bits are stretched alike if that
            suits them.
        roi: geometries (as GeoJSON) in the raster's coordinates; what lies outside is not valid.

    Raises:
        ImageError: if it cannot be read, or lacks a band.
        LikewiseError: if rasterio is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        bands: Sequence[int] = (),
        ranges: Ranges | None = None,
        roi: Sequence[Any] | None = None,
    ) -> None:
        self.name, self.roi = os.fspath(path), roi
        if not Path(path).is_file():
            raise ImageError(f"{self.name} does not exist: check its spelling and folder.")
        with gdal(self.name, "give a GeoTIFF or another raster that GDAL reads") as rasterio:
            self.file = rasterio.open(path)
        self.bands = self._choose(bands)
        self.crs, self.transform = self.file.crs, self.file.transform
        self.kind, self.range, self._own = "", (0.0, 255.0), (0.0, 255.0)
        small, shown = self._small()
        if small.dtype != np.uint8:
            self.kind = small.dtype.kind
            self._own = own_range(small, shown) if shown.any() else (0.0, 1.0)
            other = (ranges or {}).get(self.kind)
            self.range = other if other is not None and suits(self._own, other) else self._own
            low, high = self.range
            note(self.name, f"its values {low:g} to {high:g} were stretched to 8 bits.")
        seen = to_uint8(small, self.range) if self.kind else small
        mean = seen[shown].mean(axis=0) if shown.any() else np.full(3, 128.0)
        self._filler = np.rint(np.broadcast_to(mean, 3)).astype(np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) pixels."""
        return self.file.height, self.file.width

    @property
    def own_range(self) -> Range:
        """Values that the whole raster spans, see ``stretch.own_range``."""
        return self._own

    def _choose(self, bands: Sequence[int]) -> list[int]:
        count = self.file.count
        if bands:
            if len(bands) not in (1, 3) or not all(1 <= band <= count for band in bands):
                raise ImageError(
                    f"{self.name} has {count} bands: {','.join(map(str, bands))} is no choice, "
                    f"give one or three of 1 to {count}."
                )
            return list(bands)
        colours = [k for k, c in enumerate(self.file.colorinterp, 1) if c.name != "alpha"]
        chosen = colours[:3] if len(colours) >= 3 else colours[:1] or [1]
        if len(colours) != len(chosen):
            some = ", ".join(map(str, chosen))
            note(self.name, f"bands {some} of {len(colours)} were taken: --bands takes others.")
        return chosen

    def _small(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """(h, w) or (h, w, 3) values of the whole raster, smaller, and (h, w) what is valid.

        Overviews are read where there are some; of a large raster without, samples.
        """
        H, W = self.size
        if max(H, W) > 8 * OVERVIEW and not self.file.overviews(1):
            values, shown = self._samples()
        else:
            step = max(1.0, max(H, W) / OVERVIEW)
            shape = max(1, round(H / step)), max(1, round(W / step))
            with gdal(self.name):
                values = self.file.read(self.bands, out_shape=(len(self.bands), *shape))
                shown = self.file.dataset_mask(out_shape=shape) > 0
        values = np.moveaxis(values, 0, -1)
        if values.dtype.kind not in "uif":
            raise ImageError(f"{self.name} holds {values.dtype} numbers: convert them to integers.")
        finite = np.isfinite(values).all(axis=2)
        return values[..., 0] if len(self.bands) == 1 else values, shown & finite

    def _samples(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """(C, h, w) values and (h, w) what is valid, of windows spread evenly over the raster."""
        sides = [min(SAMPLE, side) for side in self.size[::-1]]
        values, shown = [], []
        with gdal(self.name) as rasterio:
            for top in np.linspace(0, max(0, self.size[0] - SAMPLE), SAMPLES).astype(int):
                for left in np.linspace(0, max(0, self.size[1] - SAMPLE), SAMPLES).astype(int):
                    window = rasterio.windows.Window(left, top, *sides)
                    values.append(self.file.read(self.bands, window=window))
                    shown.append(self.file.dataset_mask(window=window) > 0)
        return np.concatenate(values, axis=1), np.concatenate(shown)

    def read(self, rows: slice, columns: slice) -> Picture:
        """A window as 8-bit RGB, with what is valid in it.

        Raises:
            ImageError: if it cannot be read.
        """
        shape = rows.stop - rows.start, columns.stop - columns.start
        inside = self._inside(rows, columns)
        if inside is not None and not inside.any():
            return Picture(
                np.broadcast_to(self._filler, (*shape, 3)).copy(), inside, name=self.name
            )
        with gdal(f"{self.name}, rows {rows.start} to {rows.stop - 1},") as rasterio:
            window = rasterio.windows.Window(columns.start, rows.start, shape[1], shape[0])
            values = np.moveaxis(self.file.read(self.bands, window=window), 0, -1)
            valid = self.file.dataset_mask(window=window) > 0
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=2)
            values = np.where(np.isfinite(values), values, 0)
        if inside is not None:
            valid &= inside
        pixels = to_uint8(values, self.range) if self.kind else values
        pixels = np.ascontiguousarray(np.broadcast_to(pixels, (*shape, 3)))
        if valid.all():
            return Picture(pixels, None, self.kind, self._own, self.name)
        pixels[~valid] = self._filler
        return Picture(pixels, valid, self.kind, self._own, self.name)

    def transform_of(self, rows: slice, columns: slice) -> Any:
        """The affine transform of a window."""
        from rasterio.windows import Window

        return self.file.window_transform(Window(columns.start, rows.start, 1, 1))

    def _inside(self, rows: slice, columns: slice) -> npt.NDArray[np.bool_] | None:
        if self.roi is None:
            return None
        return drawn(self.roi, self, rows, columns)


def drawn(
    geometries: Sequence[Any], raster: Raster, rows: slice, columns: slice
) -> npt.NDArray[np.bool_]:
    """(h, w) bool: the pixels of a window whose centre lies in one of the geometries."""
    from rasterio.features import rasterize

    shape = rows.stop - rows.start, columns.stop - columns.start
    if not geometries:
        return np.zeros(shape, bool)
    transform = raster.transform_of(rows, columns)
    found = rasterize(geometries, shape, transform=transform, dtype="uint8")
    return np.asarray(found > 0)
