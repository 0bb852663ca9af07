"""Which picture of a file is meant: pages, frames, planes, channels and levels of microscopes."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import ImageError, note
from .tiff import Tiff, Values, dark_is_zero

if TYPE_CHECKING:
    from tifffile import TiffPageSeries


@dataclass(frozen=True)
class Plane(os.PathLike[str]):
    """A picture of a file that holds several: its path, with a choice."""

    path: str | os.PathLike[str]
    page: int | None = None
    """From 0, of pages or frames; None: the first that is not blank. Where ``channels`` are chosen
    and lie in pages of their own (OME, ImageJ), only those along the other axes count."""
    channels: tuple[int, ...] = ()
    """One, seen as grey, or three, seen as red, green and blue, from 0; none: as they are."""
    mpp: float | None = None
    """µm a pixel that files are read at which say how large theirs are; instead of ``level``."""
    level: int | None = None
    """Of a pyramid, 0 the finest; None: the finest that is within the limit of pixels."""
    source: str = field(default="", compare=False, repr=False)
    """The settings file whose `[picture]` says so; "" where options do."""

    def __post_init__(self) -> None:
        if self.mpp is not None and (self.level is not None or not 0 < self.mpp < math.inf):
            raise ImageError("--mpp is a number of µm above 0, and --level stands instead of it.")

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def said(self, key: str) -> str:
        """How messages name what was chosen as ``page``, ``channel``, ``mpp`` or ``level``."""
        value = list(self.channels) if key == "channel" else getattr(self, key)
        if self.source:
            return f"{key} = {value} in [picture] of {self.source}"
        return f"--{key} {','.join(map(str, value)) if key == 'channel' else value}"


@dataclass(frozen=True)
class Choice:
    """The same choice for many files, see ``Plane``."""

    page: int | None = None
    channels: tuple[int, ...] = ()
    mpp: float | None = None
    level: int | None = None
    source: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        Plane("", **vars(self))  # which checks them

    def of(self, path: Path) -> Path | Plane:
        """What is read of a file: the file itself where nothing is chosen."""
        return path if self == AS_IT_IS else Plane(path, **vars(self))

    @property
    def said(self) -> dict[str, Any]:
        """The fields that say something."""
        said = {name: value for name, value in vars(self).items() if value not in (None, ())}
        return {name: value for name, value in said.items() if name != "source"}


AS_IT_IS = Choice()
"""Nothing is chosen."""


def chosen(image: Path | Plane) -> dict[str, Any]:
    """What is chosen of a file, as ``Choice.said``."""
    if not isinstance(image, Plane):
        return {}
    return Choice(image.page, image.channels, image.mpp, image.level).said


def read_plane(tiff: Tiff, plane: Plane, name: str) -> Values:
    """Decodes one plane of a TIFF file; axes are told apart where OME or ImageJ name them.

    Returns:
        (H, W) or (H, W, 3); or (H, W, C) as its pages are, where no channels are chosen.

    Raises:
        ImageError: there is no such page or channel.
        What tifffile and its codecs raise; ValueError for what is no picture.
    """
    series = tiff.file.series[0]
    axes, shape = series.axes, tuple(map(int, series.shape))
    lead = [k for k, axis in enumerate(axes) if axis not in "YXS"]
    numbers, apart = planes_of(series, plane, name)

    def decoded(number: int) -> Values:
        planes = [shape[k] for k in lead]
        one = series.pages[number] if len(series.pages) == math.prod(planes) else None
        if one is not None:
            values = one.asarray()
        else:  # all in one, as ImageJ writes large ones
            at = dict(zip(lead, np.unravel_index(number, planes), strict=True)) if lead else {}
            values = series.asarray()[tuple(at.get(k, slice(None)) for k in range(len(axes)))]
        if values.ndim == 3 and axes.index("S") < axes.index("Y"):
            values = np.moveaxis(values, 0, -1)
        if values.ndim == 3 and values.shape[2] > 4 and not plane.channels:
            note(name, f"channels 0, 1 and 2 of {values.shape[2]} were taken.")
            values = values[..., :3]
        return dark_is_zero(values, tiff.pages[0])

    if not apart:
        return np.asarray(with_channels(decoded(numbers[0]), plane, name))
    values = np.stack([decoded(number) for number in numbers], axis=-1)
    return values[..., 0] if len(numbers) == 1 else values


def planes_of(series: TiffPageSeries, plane: Plane, name: str) -> tuple[list[int], bool]:
    """Which of the planes (Y, X) of a series are meant, from 0 in the order of its axes.

    Returns:
        One; or, where channels are chosen and lie in planes of their own, which the flag says, one
        for each of them.

    Raises:
        ImageError: there is no such page or channel. ValueError for what is no picture.
    """
    axes, shape = series.axes, tuple(map(int, series.shape))
    lead = [k for k, axis in enumerate(axes) if axis not in "YXS"]
    if axes.replace("S", "") != "".join(axes[k] for k in lead) + "YX":
        raise ValueError(f"its axes are {axes}")
    of_channels = [k for k in lead if axes[k] == "C" and shape[k] > 1] if plane.channels else []
    rest = [k for k in lead if k not in of_channels]
    counts = [shape[k] for k in rest]
    pages = math.prod(counts)
    page = chosen_page(plane, pages, name)
    if page is None:
        page = 0
        if pages > 1:
            note(name, f"page 0 was taken, of 0 to {pages - 1}.")
    place = dict(zip(rest, np.unravel_index(page, counts), strict=True)) if rest else {}
    if of_channels:
        check_channels(plane, shape[of_channels[0]], name)

    def number(channel: int) -> int:
        at = tuple(int(place.get(k, channel)) for k in lead)
        return int(np.ravel_multi_index(at, [shape[k] for k in lead])) if at else 0

    wanted = plane.channels if of_channels else (0,)
    return [number(channel) for channel in wanted], bool(of_channels)


def chosen_page(plane: Plane | None, pages: int, name: str) -> int | None:
    """The page that is chosen; of a file with one that one, which is noted.

    Raises:
        ImageError: a file with several does not have it.
    """
    if plane is None or plane.page is None or 0 <= plane.page < pages:
        return None if plane is None else plane.page
    if pages > 1:
        raise ImageError(
            f"{name} has pages 0 to {pages - 1}: {plane.said('page')} is none of them."
        )
    note(name, "it has one page, which was taken.")
    return 0


def check_channels(plane: Plane, count: int, name: str) -> None:
    """Raises ImageError unless its channels are one or three of so many."""
    if len(plane.channels) not in (1, 3) or not all(0 <= k < count for k in plane.channels):
        raise ImageError(
            f"{name} has channels 0 to {count - 1}: {plane.said('channel')} is no choice, give one "
            "or three of these."
        )


def with_channels(
    pixels: Image.Image | Values, plane: Plane | None, name: str
) -> Image.Image | Values:
    """The chosen channels of a picture: (H, W) or (H, W, 3) of it; all of it if none are.

    What has only one channel is taken as it is, which is noted.

    Raises:
        ImageError: it has several, but not these.
    """
    if plane is None or not plane.channels:
        return pixels
    if isinstance(pixels, Image.Image):
        pixels = np.asarray(pixels.convert("RGB") if pixels.mode in ("P", "PA") else pixels)
    if pixels.ndim == 2:
        note(name, "it has one channel, which was taken.")
        return pixels
    check_channels(plane, pixels.shape[2], name)
    channels = plane.channels
    return pixels[..., channels[0]] if len(channels) == 1 else pixels[..., list(channels)]
