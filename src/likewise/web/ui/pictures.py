"""Pictures for the page: decoded once, and sent shrunk, or in tiles of a level."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...io.images import read_image
from ...io.planes import Plane
from ...run.file_state import stamp
from .marks import Part, window, working_size
from .state import GoneError

Pixels = npt.NDArray[np.uint8]
SIDES = (320, 1600)
"""Pictures are sent with at most so many pixels a side."""
TILE = 512
"""Pixels of a tile in each direction."""
KEPT_BYTES = 256 * 2**20
"""Of decoded pictures that are kept; the last one is, however large it is."""
BAND = 1024
"""Rows that are halved together: an even number."""
DECODERS = 2
"""Pictures that are decoded at the same time."""


class Levels:
    """A picture, and the same at half the width and height, again and again; made when needed."""

    _decoders = threading.Semaphore(DECODERS)

    def __init__(self, picture: Path | Plane) -> None:
        self.picture = picture
        self._lock = threading.Lock()
        self._made: list[Pixels] = []

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) pixels of the picture. Raises ImageError if it cannot be read."""
        height, width = self.level(0).shape[:2]
        return height, width

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return sum(level.nbytes for level in self._made)

    def level(self, number: int) -> Pixels:
        """(h, w, 3) RGB, upright: 0 the whole, 1 its half. Raises ImageError."""
        with self._lock:
            if not self._made:
                with self._decoders:
                    self._made.append(read_image(self.picture))
            while len(self._made) <= number:
                self._made.append(_halved(self._made[-1]))
            return self._made[number]

    def part(self, part: Part | None, size: tuple[int, int]) -> Pixels:
        """(h, w, 3) of a part of it, or of all of it, shrunk to that size.

        Raises:
            LikewiseError: it is not inside.
        """
        rows, columns = window(part, self.size)
        times = min((rows.stop - rows.start) // size[0], (columns.stop - columns.start) // size[1])
        number = max(1, times).bit_length() - 1
        step = 2**number
        cut = self.level(number)[
            rows.start // step : -(-rows.stop // step),
            columns.start // step : -(-columns.stop // step),
        ]
        if cut.shape[:2] == size:
            return np.ascontiguousarray(cut)
        shrunk = Image.fromarray(cut).resize(size[::-1], Image.Resampling.BOX, reducing_gap=2)
        return np.asarray(shrunk)

    def shrunk(self, side: int) -> bytes:
        """JPEG of the whole, at most so many pixels a side, within SIDES."""
        return _jpeg(self.part(None, working_size(self.size, min(max(side, SIDES[0]), SIDES[1]))))

    def tile(self, level: int, x: int, y: int) -> bytes:
        """JPEG of at most TILE pixels a side: the x-th from the left and y-th from above.

        Raises:
            GoneError: there is none.
        """
        if 0 <= level < 16 and min(x, y) >= 0 and max(self.size) > 2**level:
            pixels = self.level(level)[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE]
            if pixels.size:
                return _jpeg(pixels)
        raise GoneError("the picture has no such tile: reload the page.")


class Pictures:
    """The pictures that were used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, Levels] = OrderedDict()

    def get(self, picture: Path | Plane) -> Levels:
        """A picture as it is on disk now."""
        key = picture, stamp(Path(picture))
        with self._lock:
            found = self._kept.setdefault(key, Levels(picture))
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(p.held for p in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        return found


def _halved(pixels: Pixels) -> Pixels:
    """(⌈h/2⌉, ⌈w/2⌉, 3): means of 2 × 2 pixels, some rows at a time: Pillow takes more memory."""
    bands = (pixels[top : top + BAND] for top in range(0, len(pixels), BAND))
    return np.concatenate([np.asarray(Image.fromarray(band).reduce(2)) for band in bands])


def _jpeg(pixels: Pixels) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=90, subsampling=0)
    return data.getvalue()
