"""A slide or another pyramid in a TIFF file, read window by window at a chosen size of pixel."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, note
from ..io.formats import SLIDES
from ..io.images import Picture
from ..io.opening import DAMAGE, RESAVE, why
from ..io.planes import Plane, check_channels
from ..io.pyramid import Pyramid
from ..io.stretch import Ranges, own_range, suits, to_uint8

SUFFIXES = (*SLIDES, ".tif", ".tiff")
"""Of files that are looked for in a folder."""
SMALL = 1024
"""Pixels a side, at most, of the picture of a whole slide that tissue is told by."""
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
            file = tifffile.TiffFile(path)
            weakref.finalize(self, file.close)
            series = file.series[0]
            if series.axes not in ("YX", "YXS", "SYX", "CYX"):
                raise ImageError(
                    f"{path} has the axes {series.axes}: save one time and plane of it as a "
                    "pyramid."
                )
            self._pyramid = Pyramid(file, self.name)
        self.full = self._pyramid.full
        """(H, W) of level 0."""
        self.mpp_full = self._pyramid.mpp
        """(height, width) µm of a pixel of level 0; None where the file does not say."""
        self.size = self._pyramid.size(Plane(path, mpp=mpp, level=level))
        """(H, W) pixels, as it is read."""
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
    def mpp(self) -> tuple[float, float] | None:
        """(height, width) µm of a pixel, as it is read; None where the file does not say."""
        full = self.mpp_full
        down, along = (n / m for n, m in zip(self.full, self.size, strict=True))
        return None if full is None else (full[0] * down, full[1] * along)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        import tifffile

        try:
            yield
        except (tifffile.TiffFileError, RuntimeError, *DAMAGE) as error:
            raise ImageError(
                f"{self.name} cannot be read as a slide ({why(error)}): {RESAVE}."
            ) from error

    def _choose(self, channels: Sequence[int]) -> list[int]:
        series = self._pyramid.levels[0]
        axis = next((k for k, name in enumerate(series.axes) if name in "SC"), None)
        count = 1 if axis is None else int(series.shape[axis])
        if channels:
            check_channels(Plane(self.name, channels=tuple(channels)), count, self.name)
            return list(channels)
        chosen = [0, 1, 2] if count >= 3 else [0]
        if count > 4:
            note(self.name, f"channels 0, 1 and 2 of {count} were taken: --channel takes others.")
        return chosen

    def _small(self) -> tuple[npt.NDArray[Any], float]:
        """(h, w, C) values of the whole slide, and the pixels of level 0 of one."""
        level = len(self._pyramid.levels) - 1
        H, W = self._pyramid.size_of(level)
        step = max(1, -(-max(H, W) // SMALL))
        bands = []
        for top in range(0, H, 512 * step):
            rows, columns = slice(top, min(top + 512 * step, H)), slice(0, W)
            with self._damage():
                band = self._pyramid.window(level, rows, columns, self._planes)
            bands.append(self._chosen(band)[::step, ::step])
        return np.concatenate(bands), step * self.full[1] / W

    @property
    def _planes(self) -> list[int]:
        """Of the series, that hold the channels."""
        return self.channels if self._pyramid.levels[0].axes == "CYX" else [0]

    def _chosen(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The channels, of the values of the planes."""
        return values if self._planes is self.channels else values[..., self.channels]

    def read(self, rows: slice, columns: slice) -> Picture:
        """A window as 8-bit RGB.

        Raises:
            ImageError: if it cannot be read.
        """
        with self._damage():
            values = self._chosen(self._pyramid.read(self.size, rows, columns, self._planes))
        pixels = to_uint8(values, self._range) if self.kind else values
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        return Picture(np.ascontiguousarray(pixels), None, self.kind, self.own_range, self.name)

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
        return (colour > threshold) | dark, step * self.size[1] / self.full[1]


def _otsu(values: npt.NDArray[np.float64]) -> float:
    """The threshold between two groups of values in 0..255 that differ most."""
    counts = np.bincount(values.astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(np.nan_to_num(apart).argmax())
