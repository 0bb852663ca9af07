"""The slices of a volume as the frames of a clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..io.opening import check_size
from ..io.stretch import Range, to_uint8
from ..video.video_file import FOLDER_RATE, RGB
from .volume import Cut, Volume


class Slices:
    """Slice k is frame k, grey, in one window for the whole volume.

    Args:
        volume: it.
        cut: which way it is cut.
        window: values that become black and white.

    Raises:
        ImageError: if a slice is larger than pictures may be.
    """

    rate = FOLDER_RATE

    def __init__(self, volume: Volume, cut: Cut, window: Range) -> None:
        self.volume, self.cut, self.window = volume, cut, window
        self.path = volume.path
        self._slices = cut.slices(volume.values)
        self.size: tuple[int, int] = self._slices.shape[1], self._slices.shape[2]
        check_size(*self.size, f"a slice of {volume.path}")

    def __len__(self) -> int:
        return len(self._slices)

    def name(self, number: int) -> str:
        return f"{number:05d}"

    def file_name(self, number: int) -> str:
        return f"{self.path.name}/{self.name(number)}"

    def picture(self, number: int) -> Path:
        return self.path / self.name(number)

    def files(self) -> Sequence[Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]

    def read(self, numbers: range) -> Iterator[RGB]:
        for number in numbers:
            values = self._slices[number]
            if values.dtype.kind == "f":
                values = np.where(np.isfinite(values), values, self.window[0])
            yield np.repeat(to_uint8(values, self.window)[..., None], 3, axis=2)

    @property
    def stretch(self) -> float:
        """How many times higher than wide a pixel is."""
        spacing = self.volume.spacing or (1.0, 1.0, 1.0)
        return spacing[self.cut.order[1]] / spacing[self.cut.order[2]]
