"""COCO's masks: run lengths, packed or not, and polygons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError
from .opening import check_size, why


def read_coco(
    entry: Mapping[str, Any], size: tuple[int, int] | None, name: str
) -> npt.NDArray[np.bool_]:
    """(H, W) bool from run lengths or polygons, at the entry's own size if it has one.

    Raises:
        ImageError: it is malformed, or nothing says its size.
    """
    shape = entry.get("segmentation", entry)
    own = shape.get("size") if isinstance(shape, Mapping) else entry.get("size")
    if own is None and "height" in entry and "width" in entry:
        own = entry["height"], entry["width"]
    try:
        if own is None and size is None:
            raise ValueError("it has no size")
        height, width = (int(side) for side in own or size or ())
        check_size(height, width, name)
        if isinstance(shape, Mapping):
            return decode_runs(shape.get("counts"), height, width)
        mask = np.zeros((height, width), bool)
        for polygon in shape:
            fill_polygon(mask, polygon)
        return mask
    except (ValueError, TypeError, OverflowError) as error:
        raise ImageError(
            f"{name} is not a usable COCO mask ({why(error)}): give "
            '{"size": [height, width], "counts": ...} or {"segmentation": [[x, y, x, y, x, y, '
            '...]], "height": ..., "width": ...}.'
        ) from error


def decode_runs(counts: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    """(H, W) from COCO run lengths, which alternate background and foreground down the columns.

    Raises:
        ValueError, TypeError, OverflowError: the runs are malformed or do not fill the size.
    """
    if isinstance(counts, (str, bytes)):
        counts = _unpack_runs(counts.encode("ascii") if isinstance(counts, str) else counts)
    runs = np.asarray(counts, dtype=np.int64)
    total = height * width
    if runs.ndim != 1 or (runs < 0).any() or (runs > total).any() or runs.sum() != total:
        raise ValueError(f"its counts do not add up to {height} × {width} pixels")
    marks = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(marks.reshape(width, height).T)


def _unpack_runs(text: bytes) -> list[int]:
    """Run lengths from COCO's compressed text.

    Each character carries five bits, lowest first, and a sixth that says more follow; the last
    one's top bit is the sign. From the fourth run on, what is stored is the difference from the
    run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for code in text:
        bits = code - 48
        if not 0 <= bits < 64:
            raise ValueError("its counts hold a character that COCO does not use")
        value |= (bits & 31) << shift
        shift += 5
        if shift > 60:
            raise ValueError("its counts hold a number that no picture needs")
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its counts end in the middle of a number")
    return runs


def encode_runs(
    mask: npt.NDArray[np.bool_], size: tuple[int, int], top: int = 0, left: int = 0
) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask that lies in an image.

    Args:
        mask: (h, w) bool.
        size: (H, W) of the image.
        top, left: where in the image the mask's first pixel is.

    Returns:
        {"size": [H, W], "counts": text}, as `read_mask` and pycocotools read it.
    """
    height, width = size
    # In every column a run begins below a step up and ends at the next step down.
    columns = np.pad(mask.T, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(columns, axis=1)
    first, last = (
        (left + column) * height + top + row
        for column, row in (np.nonzero(steps == 1), np.nonzero(steps == -1))
    )
    # A run at the bottom goes on at the top of the next column.
    split = np.append(True, first[1:] != last[:-1]) if len(first) else np.zeros(0, bool)
    first, last = first[split], last[np.roll(split, -1)]
    edges = np.stack([first, last], axis=1).ravel()
    runs = np.diff(edges, prepend=0, append=height * width)
    if len(edges) and edges[-1] == height * width:
        runs = runs[:-1]
    return {"size": [height, width], "counts": _pack_runs(runs.tolist())}


def _pack_runs(runs: list[int]) -> str:
    """COCO's compressed text of run lengths; see `_unpack_runs`."""
    text = bytearray()
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(48 + bits + 32 * more)
    return text.decode("ascii")


def fill_polygon(mask: npt.NDArray[np.bool_], polygon: Any) -> None:
    """Marks in `mask` (H, W) the pixels whose centre lies in the polygon, by the even-odd rule.

    Not ImageDraw: it also fills every pixel that the outline touches, half a pixel too much all
    around. COCO's origin is the corner of the first pixel, so centres lie at halves.
    """
    xy = np.asarray(polygon, dtype=np.float64)
    if xy.ndim != 1 or len(xy) < 6 or len(xy) % 2 or not np.isfinite(xy).all():
        raise ValueError("a polygon is not a list of three or more x, y pairs")
    x, y = xy[0::2], xy[1::2]
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    for row in range(max(0, int(y.min())), min(len(mask), int(y.max()) + 1)):
        middle = row + 0.5
        cut = (y <= middle) != (next_y <= middle)
        along = (middle - y[cut]) / (next_y[cut] - y[cut])
        crossings = np.sort(x[cut] + along * (next_x[cut] - x[cut]))
        ends = np.ceil(crossings - 0.5).clip(0, mask.shape[1]).astype(np.int64)
        for left, right in ends.reshape(-1, 2):
            mask[row, left:right] = True
