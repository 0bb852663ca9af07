"""Photographs to put things on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ....errors import LikewiseError
from ....io.formats import is_image_name
from ....io.images import read_image
from .augment import shrink
from .kept import ReadCache

_LONGEST = 1400  # pixels


class Photos:
    """Random parts of photographs."""

    def __init__(self, places: Sequence[Path]) -> None:
        """Files, and folders with all below them.

        Raises:
            LikewiseError: a place does not exist, or none holds a picture.
        """
        files = []
        for place in places:
            if not place.exists():
                raise LikewiseError(f"{place} does not exist: give folders of photographs.")
            inside = sorted(place.rglob("*")) if place.is_dir() else [place]
            files += [p for p in inside if is_image_name(p) and p.is_file()]
        if not files:
            raise LikewiseError(
                f"there is no picture in {', '.join(map(str, places)) or 'no folder'} to put "
                "things on: give folders of photographs."
            )
        self.files = files
        self._read = ReadCache(_read)

    def part(self, rng: np.random.Generator, size: int) -> Image.Image:
        """A square of a photograph, sometimes mirrored, RGB, of ``size`` pixels."""
        (pixels,) = self._read(self.files[rng.integers(len(self.files))])
        height, width = pixels.shape[:2]
        side = max(1, round(min(height, width) * rng.uniform(0.3, 1.0)))
        top, left = (int(rng.integers(0, full - side + 1)) for full in (height, width))
        square = Image.fromarray(pixels[top : top + side, left : left + side])
        square = square.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=1.5)
        mirrored = rng.random() < 0.5
        return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else square


def _read(file: Path) -> tuple[np.ndarray, ...]:
    return (shrink(read_image(file), [], _LONGEST)[0],)
