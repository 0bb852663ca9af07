"""Which picture of a file is meant: pages, frames, planes and channels of microscopes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import ImageError, note
from .tiff import Tiff, Values, dark_is_zero


@dataclass(frozen=True)
class Plane(os.PathLike[str]):
    """A picture of a file that holds several: its path, with a choice."""

    path: str | os.PathLike[str]
    page: int | None = None
    """From 0, of pages or frames; None: the first that is not blank. Where ``channels`` are chosen
    and lie in pages of their own (OME, ImageJ), only those along the other axes count."""
    channels: tuple[int, ...] = ()
    """One, seen as grey, or three, seen as red, green and blue, from 0; none: as they are."""

    def __fspath__(self) -> str:
        return os.fspath(self.path)


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
    if axes.replace("S", "") != "".join(axes[k] for k in lead) + "YX":
        raise ValueError(f"its axes are {axes}")
    of_channels = [k for k in lead if axes[k] == "C" and shape[k] > 1] if plane.channels else []
    rest = [k for k in lead if k not in of_channels]
    counts = [shape[k] for k in rest]
    pages = math.prod(counts)
    page = chosen_page(plane.page, pages, name)
    if page is None:
        page = 0
        if pages > 1:
            note(name, f"page 0 was taken, of 0 to {pages - 1}.")
    place = dict(zip(rest, np.unravel_index(page, counts), strict=True)) if rest else {}

    def decoded(channel: int) -> Values:
        at = tuple(int(place.get(k, channel)) for k in lead)
        planes = [shape[k] for k in lead]
        number = int(np.ravel_multi_index(at, planes)) if at else 0
        one = series.pages[number] if len(series.pages) == math.prod(planes) else None
        if one is not None:
            values = one.asarray()
        else:  # all in one, as ImageJ writes large ones
            values = series.asarray()[
                tuple(at[lead.index(k)] if k in lead else slice(None) for k in range(len(axes)))
            ]
        if values.ndim == 3 and axes.index("S") < axes.index("Y"):
            values = np.moveaxis(values, 0, -1)
        if values.ndim == 3 and values.shape[2] > 4 and not plane.channels:
            note(name, f"channels 0, 1 and 2 of {values.shape[2]} were taken.")
            values = values[..., :3]
        return dark_is_zero(values, tiff.pages[0])

    if not of_channels:
        return np.asarray(with_channels(decoded(0), plane.channels, name))
    check_channels(plane.channels, shape[of_channels[0]], name)
    values = np.stack([decoded(channel) for channel in plane.channels], axis=-1)
    return values[..., 0] if len(plane.channels) == 1 else values


def chosen_page(page: int | None, pages: int, name: str) -> int | None:
    """The page that is chosen; of a file with one that one, which is noted.

    Raises:
        ImageError: a file with several does not have it.
    """
    if page is None or 0 <= page < pages:
        return page
    if pages > 1:
        raise ImageError(f"{name} has pages 0 to {pages - 1}: --page {page} is none of them.")
    note(name, "it has one page, which was taken.")
    return 0


def check_channels(channels: Sequence[int], count: int, name: str) -> None:
    """Raises ImageError unless these are one or three of so many channels."""
    if len(channels) not in (1, 3) or not all(0 <= channel < count for channel in channels):
        chosen = ",".join(map(str, channels))
        raise ImageError(
            f"{name} has channels 0 to {count - 1}: --channel {chosen} is no choice, give one or "
            "three of these."
        )


def with_channels(
    pixels: Image.Image | Values, channels: Sequence[int], name: str
) -> Image.Image | Values:
    """These channels of a picture: (H, W) or (H, W, 3) of it; all of it if none are chosen.

    What has only one channel is taken as it is, which is noted.

    Raises:
        ImageError: it has several, but not these.
    """
    if not channels:
        return pixels
    if isinstance(pixels, Image.Image):
        pixels = np.asarray(pixels.convert("RGB") if pixels.mode in ("P", "PA") else pixels)
    if pixels.ndim == 2:
        note(name, "it has one channel, which was taken.")
        return pixels
    check_channels(channels, pixels.shape[2], name)
    return pixels[..., channels[0]] if len(channels) == 1 else pixels[..., list(channels)]
