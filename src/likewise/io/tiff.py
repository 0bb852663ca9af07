"""What Pillow does not know of TIFF files: wide pixels, bands, pages, no data."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

Values: TypeAlias = npt.NDArray[Any]
PALETTE, SEPARATED, WHITE_IS_ZERO, RGB = 3, 5, 0, 2
ALPHA = (1, 2)
"""Kinds of extra samples that are alpha."""
MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "µm": 1e-3, "μm": 1e-3, "um": 1e-3, "micron": 1e-3}
MM |= {"\\u00B5m": 1e-3, "nm": 1e-6, "Å": 1e-7, "pm": 1e-9}
"""Millimetres of the units of length in OME and ImageJ."""


@dataclass(frozen=True, eq=False)
class Tiff:
    """An open TIFF file, nothing decoded yet."""

    file: TiffFile
    pages: list[TiffPage]
    """The first that is neither mask nor overview nor thumbnail, and those of its shape."""
    masks: list[TiffPage]
    total: int
    """How many pages a person sees; some programs write thousands of them as one."""
    levels: int = 1
    """Sizes of the picture that it holds: of a pyramid more than one, unless its pixels are numbers
    of colours, which are not made smaller."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pages[0].imagelength, self.pages[0].imagewidth

    @property
    def is_plain(self) -> bool:
        """Whether Pillow reads it truthfully: up to 8 bits, unsigned."""
        page = self.pages[0]
        bits = page.bitspersample
        wide = (max(bits) if isinstance(bits, tuple) else bits) > 8
        return not wide and page.sampleformat in (0, 1, 4)

    @property
    def is_raw(self) -> bool:
        """Whether it is what a camera's sensor saw: DNG."""
        return 50706 in self.pages[0].tags

    @property
    def orientation(self) -> int:
        """As in EXIF, 1..8."""
        tag = self.pages[0].tags.get("Orientation")
        return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1

    @property
    def nodata(self) -> float | None:
        """What GDAL says is no data (tag 42113)."""
        tag = self.pages[0].tags.get(42113)
        try:
            value = None if tag is None else float(str(tag.value).strip("\0 "))
        except ValueError:
            return None
        return value

    def number(self, page: TiffPage) -> int:
        """Of a page in the file, from 0, as Pillow counts."""
        return int(page.index)

    def hidden(self, size: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
        """(H, W) where a transparency mask of that size hides the first page; None without one."""
        of_size = (page.asarray() for page in self.masks if page.shape[:2] == size)
        mask = next(of_size, None)
        return None if mask is None or mask.ndim != 2 else np.asarray(mask == 0)


def open_tiff(file: BinaryIO) -> Tiff | None:
    """None for what tifffile cannot open, which Pillow explains then."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with it is told once
    try:
        tiff = tifffile.TiffFile(file)
        every = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
        if not every:
            return None
        whole_pages = [page for page in every if not page.is_mask and not page.is_reduced]
        levels, finest = _levels(tiff)  # not all of them say that they are reduced
        if levels > 1:
            whole_pages = [page for page in whole_pages if page.index in finest] or whole_pages
        first = (whole_pages or every)[0]
        pages = [page for page in whole_pages if page.shape == first.shape] or [first]
        masks = [page for page in every if page.is_mask]
        total = max(1, len(whole_pages))
        if len(every) == 1:
            whole, one = (math.prod(map(int, s)) for s in (tiff.series[0].shape, first.shape))
            total = max(1, whole // max(1, one))
    except (tifffile.TiffFileError, OSError, ValueError, LookupError, TypeError, ArithmeticError):
        return None
    return Tiff(tiff, pages, masks, total, 1 if first.photometric == PALETTE else levels)


def _levels(tiff: TiffFile) -> tuple[int, set[object]]:
    """How many levels a pyramid has, and where the pages of its finest are; 1 of other files."""
    try:
        levels = tiff.series[0].levels
        return len(levels), {page.index for page in levels[0].pages if page is not None}
    except (RuntimeError, OSError, ValueError, LookupError, TypeError, ArithmeticError):
        return 1, set()


def read_page(page: TiffPage) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None, str | None]:
    """Decodes one.

    Returns:
        (H, W) or (H, W, 3) values of any type; (H, W) bool where alpha shows them, None without;
        and which channels "were" taken, if not all.

    Raises:
        What tifffile and its codecs raise; ValueError for what is no picture.
    """
    values = page.asarray()
    if values.ndim == 3 and page.axes[0] == "S":
        values = np.moveaxis(values, 0, -1)
    if values.ndim not in (2, 3) or values.dtype.kind not in "buif":
        raise ValueError(f"its pixels are {page.axes} of {page.dtype}")
    if values.ndim == 2:
        return dark_is_zero(values, page), None, None
    extra = tuple(int(kind) for kind in page.extrasamples)
    shown = None
    if extra and extra[-1] in ALPHA:
        shown, values = values[..., -1] > 0, values[..., :-1]
    bands = values.shape[2]
    if page.photometric == SEPARATED and bands >= 4:
        top = float(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 1.0
        ink = values[..., :4].astype(np.float32) / top
        light = (1 - ink[..., :3]) * (1 - ink[..., 3:])
        return np.rint(light * 255).astype(np.uint8), shown, None
    take = 3 if bands >= 3 else 1
    whole = bands in (1, 3)
    said = "channels 0, 1 and 2 of {} were" if take == 3 else "channel 0 of {} was"
    kept = values[..., :3] if take == 3 else values[..., 0]
    return dark_is_zero(kept, page), shown, None if whole else said.format(bands)


def dark_is_zero(values: Values, page: TiffPage) -> Values:
    """Values of a page, turned round where it stores white as 0."""
    if page.photometric != WHITE_IS_ZERO or values.dtype.kind == "f":
        return values
    return ~values if values.dtype.kind in "bu" else -1 - values


def edges_mm(tiff: TiffFile) -> dict[str, float]:
    """Edges of a pixel along Z, Y and X, of those that OME or ImageJ say; else nothing."""
    if tiff.is_ome:
        head = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", tiff.ome_metadata or "")
        found = dict(re.findall(r'(PhysicalSize\w+)="([^"]*)"', head[0] if head else ""))
        sizes = {a: found.get(f"PhysicalSize{a}") for a in "ZYX"}
        units = {a: MM.get(found.get(f"PhysicalSize{a}Unit", "µm"), 0.0) for a in "ZYX"}
    elif tiff.is_imagej:
        told, tags = tiff.imagej_metadata or {}, tiff.pages.first.tags
        each = {"Y": tags.get("YResolution"), "X": tags.get("XResolution")}
        sizes = {a: t.value[1] / t.value[0] for a, t in each.items() if t and t.value[0]}
        sizes["Z"] = told.get("spacing")
        units = dict.fromkeys("ZYX", MM.get(str(told.get("unit", "")), 0.0))
    else:
        return {}
    edges = {}
    for axis in "ZYX":
        try:
            edge = float(sizes.get(axis) or 0) * units[axis]
        except ValueError:
            continue
        if math.isfinite(edge) and edge > 0:
            edges[axis] = edge
    return edges
