"""A slide or another pyramid in a TIFF file, read window by window at a chosen size of pixel.

tifffile knows the levels of Aperio (SVS), Hamamatsu (NDPI), Leica (SCN), Ventana (BIF), OME-TIFF
and plain pyramids; only the tiles that a window touches are decoded.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError, note
from ..io.images import Picture
from ..io.opening import DAMAGE, RESAVE, why
from ..io.planes import check_channels
from ..io.stretch import Ranges, own_range, suits, to_uint8
from ..io.tiff import edges_mm

SUFFIXES = (".svs", ".ndpi", ".scn", ".bif", ".tif", ".tiff", ".btf", ".qptiff")
"""Of files that are looked for in a folder."""
SMALL = 1024
"""Pixels a side, at most, of the picture of a whole slide that tissue is told by."""
WHOLE = 64_000_000
"""Values of a level without tiles that are read at once, at most."""
PLAUSIBLE = 0.01, 100.0
"""µm a pixel; the resolution of other files is that of a printer."""
GLASS = 180.0
"""Grey level that glass exceeds where light shines through the slide."""
COLOUR = 8.0, 20.0
"""Between these the difference of a pixel's channels, above which it is tissue, is chosen."""


class Slide:
    """A slide as a ``large.image.ImageSource``, at one size of pixel.

    Args:
        path: of a TIFF file, tiled where it is large.
        mpp: µm a pixel to read it at; None: as ``level`` is.
        level: of the pyramid, 0 the finest; None: 0, or what ``mpp`` wants.
        channels: one or three, from 0; by default the first three, or the first of fewer.
        ranges: of the references, see ``stretch``.

    Raises:
        ImageError: it cannot be read, or lacks the level, the channels or a known size of pixel.
    """

    def __init__(
        self,
        path: Path,
        mpp: float | None = None,
        level: int | None = None,
        channels: Sequence[int] = (),
        ranges: Ranges | None = None,
    ) -> None:
        import tifffile

        self.path, self.name = path, str(path)
        if not path.is_file():
            raise ImageError(f"{path} does not exist: check its spelling and folder.")
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is told once
        with self._damage():
            self._file = tifffile.TiffFile(path)
            series = self._file.series[0]
        if series.axes not in ("YX", "YXS", "SYX", "CYX"):
            raise ImageError(
                f"{path} has the axes {series.axes}: save one time and plane of it as a pyramid."
            )
        self._levels = list(series.levels)
        self.full = self._size_of(0)
        """(H, W) of level 0."""
        self.mpp_full = self._microns()
        """(height, width) µm of a pixel of level 0; None where the file does not say."""
        self.scale = self._scale(mpp, level)
        """Pixels of level 0 that a pixel measures, as it is read."""
        finer = [k for k in range(len(self._levels)) if self._zoom(k) >= 0.999]
        self._level = level if level is not None else max(finer, default=0)
        self.channels = self._choose(channels)
        small, _ = self._small()
        self.kind, self._range, self.own_range = "", (0.0, 255.0), (0.0, 255.0)
        if small.dtype != np.uint8:
            self.kind = small.dtype.kind
            self.own_range = own_range(small, np.ones(small.shape[:2], bool))
            other = (ranges or {}).get(self.kind)
            fits = other is not None and suits(self.own_range, other)
            self._range = other if other is not None and fits else self.own_range
            low, high = self._range
            note(self.name, f"its values {low:g} to {high:g} were stretched to 8 bits.")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) pixels, as it is read."""
        H, W = self.full
        return max(1, round(H / self.scale)), max(1, round(W / self.scale))

    @property
    def mpp(self) -> tuple[float, float] | None:
        """(height, width) µm of a pixel, as it is read; None where the file does not say."""
        full = self.mpp_full
        return None if full is None else (full[0] * self.scale, full[1] * self.scale)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        import tifffile

        try:
            yield
        except (tifffile.TiffFileError, RuntimeError, *DAMAGE) as error:
            raise ImageError(
                f"{self.name} cannot be read as a slide ({why(error)}): {RESAVE}."
            ) from error

    def _size_of(self, level: int) -> tuple[int, int]:
        page = self._levels[level].keyframe
        return int(page.imagelength), int(page.imagewidth)

    def _zoom(self, level: int) -> float:
        """Pixels of a level for one as it is read, along the side where there are fewer."""
        return self.scale * min(n / m for n, m in zip(self._size_of(level), self.full, strict=True))

    def _microns(self) -> tuple[float, float] | None:
        page = self._levels[0].keyframe
        edges = edges_mm(self._file)
        if {"Y", "X"} <= edges.keys():
            return 1000 * edges["Y"], 1000 * edges["X"]
        told = re.search(r"\bMPP\s*=\s*([\d.]+)", page.description)
        if told:
            return float(told[1]), float(told[1])
        unit = {2: 25400.0, 3: 10000.0}.get(int(page.resolutionunit or 1))
        if unit is None:
            return None
        found = [unit / r if r else 0.0 for r in page.get_resolution()[::-1]]
        low, high = PLAUSIBLE
        return (found[0], found[1]) if all(low <= edge <= high for edge in found) else None

    def _scale(self, mpp: float | None, level: int | None) -> float:
        if level is not None:
            if not 0 <= level < len(self._levels):
                last = len(self._levels) - 1
                if not last:
                    raise ImageError(
                        f"{self.name} has level 0 alone, {level} is none: leave out --level, or, "
                        "if it was a pyramid, copy it again, for it is cut short."
                    )
                raise ImageError(f"{self.name} has the levels 0 to {last}: {level} is none.")
            return self.full[1] / self._size_of(level)[1]
        if mpp is None:
            return 1.0
        if self.mpp_full is None:
            raise ImageError(
                f"{self.name} does not say how large a pixel is: give --level instead of --mpp."
            )
        scale = mpp / self.mpp_full[1]
        if scale < 0.95:
            note(self.name, f"it has no {mpp:g} µm a pixel: {self.mpp_full[1]:.4g} were read.")
        return max(1.0, scale)

    def _choose(self, channels: Sequence[int]) -> list[int]:
        series = self._levels[0]
        axis = next((k for k, name in enumerate(series.axes) if name in "SC"), None)
        count = 1 if axis is None else int(series.shape[axis])
        if channels:
            check_channels(channels, count, self.name)
            return list(channels)
        chosen = [0, 1, 2] if count >= 3 else [0]
        if count > 4:
            note(self.name, f"channels 0, 1 and 2 of {count} were taken: --channel takes others.")
        return chosen

    def _small(self) -> tuple[npt.NDArray[Any], float]:
        """(h, w) or (h, w, C) values of the whole slide, and the pixels of level 0 of one."""
        level = len(self._levels) - 1
        H, W = self._size_of(level)
        step = max(1, -(-max(H, W) // SMALL))
        bands = [
            self._window(level, slice(top, min(top + 512 * step, H)), slice(0, W))[::step, ::step]
            for top in range(0, H, 512 * step)
        ]
        return np.concatenate(bands), step * self.full[1] / W

    def read(self, rows: slice, columns: slice) -> Picture:
        """A window as 8-bit RGB.

        Raises:
            ImageError: if it cannot be read.
        """
        H, W = self._size_of(self._level)
        down, along = H / self.size[0], W / self.size[1]
        y0, y1 = rows.start * down, rows.stop * down
        x0, x1 = columns.start * along, columns.stop * along
        top, left = max(0, math.floor(y0) - 2), max(0, math.floor(x0) - 2)
        part = slice(top, min(H, math.ceil(y1) + 2)), slice(left, min(W, math.ceil(x1) + 2))
        values = self._window(self._level, *part)
        pixels = to_uint8(values, self._range) if self.kind else values
        shape = rows.stop - rows.start, columns.stop - columns.start
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        box = x0 - left, y0 - top, min(x1 - left, pixels.shape[1]), min(y1 - top, pixels.shape[0])
        if (down, along) == (1, 1):
            cut = pixels[int(box[1]) : int(box[1]) + shape[0], int(box[0]) :][:, : shape[1]]
            return Picture(np.ascontiguousarray(cut), None, self.kind, self.own_range, self.name)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        small = image.resize(shape[::-1], Image.Resampling.BILINEAR, box)
        return Picture(np.asarray(small), None, self.kind, self.own_range, self.name)

    def _window(self, level: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """(h, w, C) values of the chosen channels of a part of a level."""
        series, page = self._levels[level], self._levels[level].keyframe
        separate = series.axes == "CYX"
        with self._damage():
            if separate:
                planes = [_part(self._file, series.pages[k], rows, columns) for k in self.channels]
                return np.concatenate(planes, axis=2)
            return _part(self._file, page, rows, columns)[..., self.channels]

    def tissue(self) -> tuple[npt.NDArray[np.bool_], float] | None:
        """(h, w) bool, where there is tissue in a small picture of the slide, and how many pixels
        one of it measures as it is read; None where no light shines through glass.

        Tissue is where the channels differ by more than a threshold, that of Otsu, which is kept
        from cutting tissue in two where there is no glass.
        """
        values, step = self._small()
        if self.kind or values.shape[2] < 3:
            return None
        brightest = values.mean(axis=2) >= np.percentile(values.mean(axis=2), 90)
        if values[brightest].mean() < GLASS:
            return None
        colour = values.max(axis=2).astype(np.float64) - values.min(axis=2)
        threshold = float(np.clip(_otsu(colour), *COLOUR))
        dark = values.mean(axis=2) < GLASS - 60
        return (colour > threshold) | dark, step / self.scale


def _otsu(values: npt.NDArray[np.float64]) -> float:
    """The threshold between two groups of values in 0..255 that differ most."""
    counts = np.bincount(values.astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(np.nan_to_num(apart).argmax())


def _part(file: Any, page: Any, rows: slice, columns: slice) -> npt.NDArray[Any]:
    """(h, w, C) values of a part of a page; what was never written is white."""
    page = page.aspage() if hasattr(page, "aspage") else page
    H, W, C = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    if not page.is_tiled:
        if H * W * C > WHOLE:
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
