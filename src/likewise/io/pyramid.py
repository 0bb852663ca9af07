"""Pyramids in TIFF files: the levels, the size of a pixel, and parts of them at any size between.

tifffile knows the levels of Aperio (SVS), Hamamatsu (NDPI), Leica (SCN), Ventana (BIF), OME-TIFF
and plain pyramids; only the tiles that a part touches are decoded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import ImageError, note
from .opening import DAMAGE, TIFF_HEADS, check_size, pixel_limit
from .planes import Plane, planes_of, with_channels
from .tiff import PALETTE, Tiff, Values, dark_is_zero, edges_mm, open_tiff

if TYPE_CHECKING:
    from tifffile import TiffFile

WHOLE = 64_000_000
"""Values of a level without tiles that are read at once, at most."""
PLAUSIBLE = 0.01, 100.0
"""µm a pixel; the resolution of other files is that of a printer."""
STRIP = 48_000_000
"""Pixels of a level that are decoded at once where it is made smaller."""


class Pyramid:
    """The levels of a TIFF file; one that is no pyramid has one.

    Args:
        file: stays open for as long as it is used.
        name: of it in messages.

    Raises:
        What tifffile raises.
    """

    def __init__(self, file: TiffFile, name: str) -> None:
        self.file, self.name = file, name
        self.levels = list(file.series[0].levels)
        self.full = self.size_of(0)
        """(H, W) of level 0."""
        self.mpp = self._microns()
        """(height, width) µm of a pixel of level 0; None where the file does not say."""

    def size_of(self, level: int) -> tuple[int, int]:
        """(H, W) of a level."""
        page = self.levels[level].keyframe
        return int(page.imagelength), int(page.imagewidth)

    def _microns(self) -> tuple[float, float] | None:
        page = self.levels[0].keyframe
        edges = edges_mm(self.file)
        if {"Y", "X"} <= edges.keys():
            return 1000 * edges["Y"], 1000 * edges["X"]
        try:
            told = re.search(r"\bMPP\s*=\s*([\d.]+)", page.description)
            if told:
                edge = float(told[1])
                return (edge, edge) if edge > 0 else None
            unit = {2: 25400.0, 3: 10000.0}[int(page.resolutionunit or 1)]
            height, width = (unit / r for r in page.get_resolution()[::-1])
        except (ValueError, TypeError, LookupError, ArithmeticError):
            return None  # not said, or garbled
        low, high = PLAUSIBLE
        return (height, width) if low <= min(height, width) <= max(height, width) <= high else None

    def size(self, plane: Plane) -> tuple[int, int]:
        """(H, W) at a size of pixel or a level; of level 0 without both.

        Raises:
            ImageError: there is no such level, or the file does not say how large a pixel is.
        """
        mpp, level = plane.mpp, plane.level
        if level is not None:
            if not 0 <= level < len(self.levels):
                last = len(self.levels) - 1
                if not last:
                    raise ImageError(
                        f"{self.name} has level 0 alone, {level} is none: leave out --level, or, "
                        "if it was a pyramid, copy it again, for it is cut short."
                    )
                raise ImageError(
                    f"{self.name} has the levels 0 to {last}: {plane.said('level')} is none of "
                    "them."
                )
            return self.size_of(level)
        if mpp is None:
            return self.full
        if self.mpp is None:
            raise ImageError(
                f"{self.name} does not say how large a pixel is: give "
                f"{'level' if plane.source else '--level'} instead of {plane.said('mpp')}."
            )
        scale = mpp / self.mpp[1]
        if scale < 0.95:
            note(self.name, f"it has no {mpp:g} µm a pixel: {self.mpp[1]:.4g} were read.")
        H, W = (max(1, round(n / max(1.0, scale))) for n in self.full)
        return H, W

    def read(
        self,
        size: tuple[int, int],
        rows: slice,
        columns: slice,
        planes: Sequence[int],
        most: int = WHOLE,
    ) -> Values:
        """(h, w, C) values of a part, of the nearest level that is as fine.

        Args:
            size: (H, W) of all of it, from ``size``.
            rows, columns: the part.
            planes: of the series, as ``planes_of`` counts; their channels one after the other.
            most: values of a level without tiles that are decoded.

        Raises:
            What tifffile and its codecs raise; ValueError for a level that is too large.
        """
        level = self._level(size)
        H, W = self.size_of(level)
        down, along = H / size[0], W / size[1]
        y0, y1 = rows.start * down, rows.stop * down
        x0, x1 = columns.start * along, columns.stop * along
        top, left = max(0, math.floor(y0) - 2), max(0, math.floor(x0) - 2)
        part = slice(top, min(H, math.ceil(y1) + 2)), slice(left, min(W, math.ceil(x1) + 2))
        if (down, along) == (1, 1):
            return self.window(level, rows, columns, planes, most)
        values = self.window(level, *part, planes, most)
        box = x0 - left, y0 - top, min(x1 - left, values.shape[1]), min(y1 - top, values.shape[0])
        shape = columns.stop - columns.start, rows.stop - rows.start
        return np.stack(
            [_resized(values[..., k], shape, box) for k in range(values.shape[2])], axis=2
        )

    def _level(self, size: tuple[int, int]) -> int:
        """The coarsest level that has no fewer pixels."""

        def zoom(level: int) -> float:
            return min(n / m for n, m in zip(self.size_of(level), size, strict=True))

        return max((k for k in range(len(self.levels)) if zoom(k) >= 0.999), default=0)

    def window(
        self, level: int, rows: slice, columns: slice, planes: Sequence[int], most: int = WHOLE
    ) -> Values:
        """As ``read``, of a level as it is."""
        pages = [self.levels[level].pages[k] for k in planes]
        parts = [_part(self.file, p, rows, columns, most) for p in pages]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)

    def whole(self, size: tuple[int, int], planes: Sequence[int]) -> Values:
        """(H, W, C): ``read`` of everything, strip by strip."""
        level = self._level(size)
        tiled, (H, W) = self.levels[level].keyframe.is_tiled, self.size_of(level)
        rows = max(1, round(STRIP / W * size[0] / H)) if tiled else size[0]
        most = max(WHOLE, 4 * pixel_limit())
        strips = (slice(top, min(top + rows, size[0])) for top in range(0, size[0], rows))
        out: Values | None = None
        for strip in strips:
            values = self.read(size, strip, slice(0, size[1]), planes, most)
            if out is None:
                out = np.empty((*size, values.shape[2]), values.dtype)
            out[strip] = values
        assert out is not None
        return out


def finest_within(pyramid: Pyramid, most: int) -> int | None:
    """The first level of no more pixels than that; None if all have more."""
    sizes = map(pyramid.size_of, range(len(pyramid.levels)))
    return next((k for k, (h, w) in enumerate(sizes) if h * w <= most), None)


def read_smaller(tiff: Tiff, plane: Plane, name: str, most: int) -> Values | None:
    """A pyramid at the level that is wanted, or at the finest that is within the limit of pixels.

    Args:
        tiff: the file.
        plane: what is wanted.
        name: of the file in messages.
        most: pixels that are within the limit.

    Returns:
        (H, W) or (H, W, C); None where that is level 0, which is read as other files are.

    Raises:
        ImageError: what is wanted is not there, or is over the limit.
        What tifffile and its codecs raise; ValueError for what is no picture.
    """
    mpp, level = plane.mpp, plane.level
    if tiff.levels == 1:
        known = mpp is not None and tiff.pages[0].photometric != PALETTE
        if not known or _lacks_microns(tiff, name):
            note_no_levels(plane, name)
            check_size(*tiff.size, name)
            return None
        level = None
    pyramid = Pyramid(tiff.file, name)
    fits = finest_within(pyramid, most)
    if mpp is None and level is None:
        level = fits or 0
        h, w = pyramid.size_of(level)
        if level or pyramid.mpp is not None:  # of a GeoTIFF there is nothing to tell
            note(name, f"level {level} was taken, of 0 to {tiff.levels - 1}: {w} × {h} pixels.")
    size = pyramid.size(replace(plane, level=level))
    if fits:
        h, w = pyramid.size_of(fits)
        other = replace(plane, mpp=None, level=fits).said("level")
        check_size(*size, name, f"{other} fits ({w} × {h})")
    check_size(*size, name, "shrink it" if tiff.levels == 1 else "give it to likewise slide")
    if size == pyramid.full:
        return None
    numbers, apart = planes_of(pyramid.levels[0], plane, name)
    values = dark_is_zero(pyramid.whole(size, numbers), tiff.pages[0])
    if values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim == 3 and values.shape[2] > 4 and not plane.channels:
        note(name, f"channels 0, 1 and 2 of {values.shape[2]} were taken.")
        values = values[..., :3]
    return np.asarray(values if apart else with_channels(values, plane, name))


def note_no_levels(plane: Plane, name: str) -> None:
    """Note that a size of pixel or a level was asked of a file that has only one."""
    if plane.mpp is not None or plane.level:
        note(name, "it has no other level or size of pixel, and was read as it is.")


def full_scale(
    path: Path, size: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """What a pixel of a picture measures in its file.

    Args:
        path: of the file.
        size: (H, W) of the picture, as it was read.

    Returns:
        (height, width) in pixels of level 0, which is (1, 1) but for pyramids that were read at
        another size; and in µm of a pixel of level 0, of TIFF files of microscopes that say so.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            tiff = open_tiff(file) if head in TIFF_HEADS else None
            if tiff is None:
                return (1, 1), None
            H, W = tiff.size if tiff.orientation < 5 else tiff.size[::-1]
            known = tiff.levels > 1 or {"Y", "X"} <= edges_mm(tiff.file).keys()
            mpp = Pyramid(tiff.file, str(path)).mpp if known else None
            return (H / size[0], W / size[1]), mpp
    except (RuntimeError, *DAMAGE):
        return (1, 1), None


def _lacks_microns(tiff: Tiff, name: str) -> bool:
    """Whether a file of one level does not say how large the pixels are of what is read of it."""
    pyramid = Pyramid(tiff.file, name)
    return pyramid.mpp is None or pyramid.full != tiff.size


def _resized(
    values: Values, shape: tuple[int, int], box: tuple[float, float, float, float]
) -> Values:
    """(h, w) values of one channel from a box in it, as (width, height)."""
    kind, bilinear = values.dtype, Image.Resampling.BILINEAR
    if kind == np.uint8:
        return np.asarray(
            Image.fromarray(np.ascontiguousarray(values)).resize(shape, bilinear, box)
        )
    wide = Image.fromarray(np.ascontiguousarray(values, np.float32))
    found = np.asarray(wide.resize(shape, bilinear, box))
    return found.astype(kind) if kind.kind == "f" else np.rint(found).astype(kind)


def _part(file: Any, page: Any, rows: slice, columns: slice, most: int) -> Values:
    """(h, w, C) values of a part of a page; what was never written is white.

    Without tiles all of it is decoded, if it has at most so many values.
    """
    page = page.aspage() if hasattr(page, "aspage") else page
    H, W, C = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    if not page.is_tiled:
        if most < H * W * C:
            raise ValueError(f"a level of {W} × {H} pixels has no tiles")
        values = page.asarray()
        values = values[..., None] if values.ndim == 2 else values
        values = np.moveaxis(values, 0, -1) if page.axes[0] == "S" else values
        return np.asarray(values[rows, columns])
    th, tw = int(page.tilelength), int(page.tilewidth)
    across, planes = -(-W // tw), C if page.planarconfig == 2 else 1
    count = -(-H // th) * across
    top = np.iinfo(page.dtype).max if page.dtype.kind in "iu" else 0
    shape = rows.stop - rows.start, columns.stop - columns.start
    out = np.full((*shape, C), top, page.dtype)
    for row in range(rows.start // th, -(-rows.stop // th)):
        for column in range(columns.start // tw, -(-columns.stop // tw)):
            for plane in range(planes):
                index = plane * count + row * across + column
                data = file.filehandle.read_segments(
                    [page.dataoffsets[index]], [page.databytecounts[index]], [index]
                )
                tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
                segment, _, _ = page.decode(*next(iter(data)), **tables)
                if segment is None:
                    continue
                tile = segment[0]
                y0, x0 = row * th, column * tw
                r0, r1 = max(rows.start, y0), min(rows.stop, y0 + tile.shape[0])
                c0, c1 = max(columns.start, x0), min(columns.stop, x0 + tile.shape[1])
                into = slice(plane, plane + 1) if planes > 1 else slice(None)
                there = slice(r0 - rows.start, r1 - rows.start)
                along = slice(c0 - columns.start, c1 - columns.start)
                out[there, along, into] = tile[r0 - y0 : r1 - y0, c0 - x0 : c1 - x0]
    return out
