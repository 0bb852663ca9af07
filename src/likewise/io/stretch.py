"""From numbers of any type and range to 8 bits: which are no data, and which range is shown.

The range has to survive dead and hot pixels, but must not cut off what is small and bright on a
large background. So it is told by the neighbourhood of a pixel: what a 3 x 3 median leaves, widened
to all but the outer 0.5 % of the values. A range depends on the values alone, and scaling or
shifting them gives the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

Range: TypeAlias = tuple[float, float]
"""Values that become 0 and 255."""
Ranges: TypeAlias = Mapping[str, Range]
"""By kind of number: ``u`` unsigned and ``i`` signed integers, ``f`` floats."""

BAND = 1 << 22
"""Pixels that are converted at once."""
SAMPLE = 250_000
"""Pixels that a range is told by, spread evenly."""
OUTER = 0.5
"""Percent of the values at each end that the range need not hold."""
HEADROOM = 4.0
"""How far the range goes beyond those, in multiples of what lies between them."""
OVERLAP = 0.5
"""Share of a picture's own range that must lie in another one for that to be used instead."""
FLAT = 0.1
"""Share of another range that a picture's own must fill for that to be used instead."""
CUSTOMARY = (-999.0, -9999.0, -32767.0, -32768.0, -99999.0, 9999.0, 99999.0)
"""Values by which programs say that there is no data, where a file does not name one."""
HUGE = 1e15
"""Floats beyond are no measurement, but one of the customary 1e20, 9.97e36 and 3.4e38."""


def as_rgb(image: Image.Image) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
    """(H, W, 3), and (H, W) where it is not fully transparent, None where it knows no alpha."""
    premultiplied = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    if premultiplied:
        image = image.convert(premultiplied)
    width, height = image.size
    mode = "RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB"
    pixels = np.empty((height, width, 3), np.uint8)
    shown = np.empty((height, width), bool) if mode == "RGBA" else None
    rows = max(1, BAND // width)
    for top in range(0, height, rows):  # whole, a picture would be in memory four times
        part = image.crop((0, top, width, min(top + rows, height)))
        values = np.asarray(part if part.mode == mode else part.convert(mode))
        pixels[top : top + rows] = values[..., :3]
        if shown is not None:
            shown[top : top + rows] = values[..., 3] > 0
    return pixels, shown


def missing(values: npt.NDArray[Any], nodata: float) -> npt.NDArray[np.bool_]:
    """(H, W) bool: where (H, W) or (H, W, C) values say that there is no data.

    Zeros, and values of unsigned integers, may be true of one band: there all must be the same.
    """
    if values.dtype.kind == "f":
        equal = np.isclose(values, nodata, rtol=1e-6, atol=0)
        equal |= np.isnan(values) if math.isnan(nodata) else False
    else:
        equal = values == nodata
    if values.ndim == 2:
        return np.asarray(equal)
    strict = nodata == 0 or values.dtype.kind == "u"
    return np.asarray(equal.all(axis=2) if strict else equal.any(axis=2))


def find_nodata(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> float | None:
    """The value that stands for "no data", of a file that does not say so; None if there is none.

    It is the lowest below zero, or the highest that its type or custom allows; several pixels have
    it, and between it and all others lies a gap as wide as these are apart: 1/20 of that for
    customary ones. Stray pixels do not count. Zero never is: it is what backgrounds are.

    Args:
        values: (H, W) or (H, W, C), finite where valid.
        valid: (H, W).
    """
    known = values[valid]
    step = max(1, len(known) // SAMPLE)
    sample = np.sort(known[::step].ravel().astype(np.float64))
    if not len(sample):
        return None
    top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else math.inf
    for end, value in ((1, float(known.min())), (-1, float(known.max()))):
        customary = value in CUSTOMARY or abs(value) >= HUGE or value == top
        if not (value < 0 if end == 1 else customary) or (known == value).sum() < 2:
            continue
        rest = sample[sample != value]
        stray = max(8, len(rest) // 2000)
        rest = rest[stray : len(rest) - stray]
        if not len(rest):
            continue
        gap = rest[0] - value if end == 1 else value - rest[-1]
        if gap > 0 and gap >= (0.05 if customary else 1.0) * (rest[-1] - rest[0]):
            return value
    return None


def own_range(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Range:
    """The range of a picture, see the head of this file.

    Args:
        values: (H, W) or (H, W, C).
        valid: (H, W), somewhere true.
    """
    height, width = valid.shape
    step = max(1, math.isqrt(height * width // SAMPLE))
    rows, columns = np.arange(0, height, step), np.arange(0, width, step)
    plain = values[::step, ::step][valid[::step, ::step]].astype(np.float64)
    if not plain.size:  # what is valid lies between the rows and columns looked at
        plain = values[valid].astype(np.float64)
        return float(plain.min()), float(plain.max())
    typical = np.median(plain)
    around = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            at = np.ix_((rows + down).clip(0, height - 1), (columns + right).clip(0, width - 1))
            there = valid[at] if values.ndim == 2 else valid[at][..., None]
            around.append(np.where(there, values[at].astype(np.float64), typical))
    calm = np.median(around, axis=0)[valid[::step, ::step]]
    inner = np.percentile(plain, [OUTER, 100 - OUTER])
    low, high = float(calm.min()), float(calm.max())
    spread = float(inner[1] - inner[0])
    if spread > 0:
        low = min(float(inner[0]), max(low, float(inner[0]) - HEADROOM * spread))
        high = max(float(inner[1]), min(high, float(inner[1]) + HEADROOM * spread))
    if low == high:
        low, high = float(plain.min()), float(plain.max())
    return low, high


def suits(own: Range, other: Range) -> bool:
    """Whether a picture may be shown in another range than its own, without going flat."""
    length, inside = own[1] - own[0], min(own[1], other[1]) - max(own[0], other[0])
    return inside >= OVERLAP * length and length >= FLAT * (other[1] - other[0])


def pooled(ranges: Iterable[tuple[str, Range]]) -> dict[str, Range]:
    """The range that holds all of a kind, from (kind, range) pairs."""
    found: dict[str, Range] = {}
    for kind, (low, high) in ranges:
        known = found.get(kind, (low, high))
        found[kind] = min(low, known[0]), max(high, known[1])
    return found


def to_uint8(values: npt.NDArray[Any], shown: Range) -> npt.NDArray[np.uint8]:
    """Values of any shape as 0..255; what lies outside of the range is clipped."""
    low, high = shown
    scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1.0))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)
