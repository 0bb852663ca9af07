"""The frames of a clip by number: of a video file or a folder of pictures, never all in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ..errors import ImageError, note
from ..io.images import find_range, read_picture
from ..io.opening import image_size
from ..io.prefetch import WORKERS, prefetch_map
from ..io.stretch import pooled
from ..run.targets import find_images
from .video_file import FOLDER_RATE, RGB, Video


class Clip(Protocol):
    """Frames 0, 1, 2, ... of one size."""

    path: Path
    size: tuple[int, int]
    """(H, W) pixels, upright."""
    rate: float
    """Frames a second."""

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """What files made of a frame are called, without suffix."""

    def file_name(self, number: int) -> str:
        """What a list of frames calls it."""

    def picture(self, number: int) -> Path:
        """The file of a frame; of a video, which has none, a name below the video's."""

    def files(self) -> Sequence[Path]:
        """What must not be overwritten."""

    def read(self, numbers: range) -> Iterator[RGB]:
        """(H, W, 3) uint8 of the frames, in that order, whose step may be negative.

        Raises:
            ImageError: if one cannot be read.
        """


def open_clip(path: str | Path) -> Clip:
    """A video file, or a folder of pictures in natural order (frame 2 before frame 10).

    Raises:
        LikewiseError: if it is neither, is damaged, or PyAV is needed and not there.
    """
    path = Path(path)
    return FrameFolder(path) if path.is_dir() else Video(path)


class FrameFolder:
    """A folder of pictures."""

    def __init__(self, path: Path) -> None:
        self.path, self.rate = path, FOLDER_RATE
        self._files = sorted(find_images(path), key=lambda file: _natural(file.name))
        stems: dict[str, Path] = {}
        for file in self._files:
            other = stems.setdefault(file.stem, file)
            if other is not file:
                raise ImageError(
                    f"{other} and {file} would share a mask's name: keep one of them in the folder."
                )
        self.size = image_size(self._files[0])
        self._ranges = pooled(filter(None, [find_range(self._files[0])]))
        """Of more than 8 bits: all frames are stretched like the first."""
        for file in self._files:
            self._check(file, image_size(file))

    def __len__(self) -> int:
        return len(self._files)

    def name(self, number: int) -> str:
        return self._files[number].stem

    def file_name(self, number: int) -> str:
        return self._files[number].name

    def picture(self, number: int) -> Path:
        return self._files[number]

    def files(self) -> Sequence[Path]:
        return self._files

    def read(self, numbers: range) -> Iterator[RGB]:
        return prefetch_map(self._read, numbers, min(WORKERS, len(numbers)))

    def _read(self, number: int) -> RGB:
        pixels = read_picture(self._files[number], stretch=self._ranges).pixels
        self._check(self._files[number], pixels.shape)
        return pixels

    def _check(self, file: Path, size: Sequence[int]) -> None:
        if tuple(size[:2]) != self.size:
            raise ImageError(
                f"{file} is {size[1]} × {size[0]} pixels, but {self._files[0].name} is "
                f"{self.size[1]} × {self.size[0]}: the frames of a clip must have one size."
            )


def tell_order(clip: Clip, numbers: Sequence[int]) -> None:
    """Says which files annotated frames are, where their names hold other numbers.

    Args:
        clip: its frames are counted from 0, in the order of their names.
        numbers: of annotated frames that a person gave.
    """
    for number in numbers:
        name = clip.file_name(number) if 0 < number < len(clip) else ""
        digits = re.findall(r"\d+", Path(name).stem)
        if digits and int(digits[-1]) != number:
            note(clip.picture(number), f"is frame {number}: frames are counted from 0.")


def _natural(name: str) -> list[tuple[int, str]]:
    """For sorting: runs of digits as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if k % 2 else (-1, part) for k, part in enumerate(parts)] + [(-2, name)]
