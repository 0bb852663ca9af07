"""Masks in any form people have them: files, arrays, label maps, alpha channels, COCO entries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import ImageError
from .images import (
    PATH,
    check_finite,
    check_size,
    read_array,
    read_pillow,
    source_name,
    why,
)

if TYPE_CHECKING:
    from torch import Tensor

MaskLike: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor | Mapping[str, Any]"
)


def read_mask(
    source: MaskLike,
    *,
    size: tuple[int, int] | None = None,
    value: int | None = None,
    name: str | None = None,
) -> npt.NDArray[np.bool_]:
    """What a mask marks, as booleans.

    Args:
        source: path; PIL image; numpy array (H, W), (H, W, 1), (1, H, W), (H, W, 3) or (H, W, 4);
            torch tensor of those shapes or with the channels first; COCO run-length encoding
            {"size": [h, w], "counts": text, bytes or list}; COCO annotation whose "segmentation"
            is such an encoding or a list of polygons [[x, y, x, y, ...], ...].
        size: (H, W) of the mask's image. A mask of another size but the same shape (aspect ratio
            within 1 %, or one pixel of rounding) is resized to it, nearest neighbour. Polygons
            are drawn at the annotation's own "height" and "width" (or "size"), else at `size`.
        value: the one grey value or palette index that is foreground.
        name: what messages call a mask that is no file; default "the mask array" and the like.

    Returns:
        (H, W) bool with at least one True and one False.

    The rules, in the order they apply:
        * EXIF orientation is applied (files and PIL images), as for images.
        * Of LA, RGBA and (H, W, 4) masks the alpha channel (above half) is the mask, unless it is
          constant or `value` is given; then the colours are.
        * Colours must be grey (three equal channels).
        * With `value`, foreground is what equals it. Bool counts as 0 and 1.
        * Floats with fractions must lie in 0..1; foreground is above 0.5. Whole floats count as
          integers.
        * Palette masks: the index counts, not its colour, and 0 is background. Index 255, the
          usual "void", is left out where other labels exist, and can be asked for with `value`.
        * Values 0 and one other: foreground is the other.
        * 8-bit grey with soft edges or JPEG noise (at least 90 % of the pixels within 10 of 0 or
          255, both present, and in-between values on both sides of the middle): foreground is
          above 127.
        * Anything else is a label map, an error without `value`.

    Raises:
        ImageError: as for `read_image`; and for a label map without `value`, a `value` that does
            not occur, colours, an unfit size, a malformed COCO entry, or a mask that marks
            nothing or everything.
    """
    name = source_name(source, name, "mask")
    palette = False
    if isinstance(source, Mapping):
        pixels = read_coco(source, size, name)
    elif isinstance(source, (Image.Image, *PATH)):
        image = read_pillow(source, name)
        palette = image.mode[0] == "P"
        premultiplied = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
        if premultiplied:
            image = image.convert(premultiplied)
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
            image = image.convert("RGB")
        pixels = np.asarray(image)
    else:
        if isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[0] == 1:
            source = source if source.shape[2] in (1, 3, 4) else source[0]
        pixels = read_array(source, name)
    mask = _foreground(_single_channel(pixels, value, name), value, palette, name)
    if size is not None and mask.shape != tuple(size):
        mask = _resized(mask, size, name)
    if not mask.any():
        raise ImageError(f"{name} marks nothing: mark the pixels of the example in it.")
    if mask.all():
        raise ImageError(f"{name} marks the whole image: mark the pixels of the example only.")
    return mask


def read_label_map(
    source: MaskLike, *, size: tuple[int, int] | None = None, name: str | None = None
) -> npt.NDArray[np.integer[Any]]:
    """The value of every pixel of a mask or label map, by meaning; 0 is nothing.

    Args:
        source: as for ``read_mask``.
        size: (H, W) of its image; a map of another size but the same shape is resized to it.
        name: what messages call a mask that is no file.

    Returns:
        (H, W) integers. Masks of two values, however they are stored (black and white in any
        palette, alpha, soft edges, bool), are 0 and 255, or 0 and the one label that they hold;
        label maps have their own values. Nothing or everything may be marked.

    Raises:
        ImageError: it cannot be read, holds colours or fractions, or does not fit ``size``.
    """
    name = source_name(source, name, "mask")
    image = read_pillow(source, name)  # type: ignore[arg-type]
    values = _single_channel(np.asarray(image), None, name)
    return np.where(values, 255, 0) if values.dtype == bool else values


def _single_channel(pixels: npt.NDArray[Any], value: int | None, name: str) -> npt.NDArray[Any]:
    """(H, W): alpha where it says something, else the grey of equal colour channels."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        alpha, pixels = pixels[..., -1], pixels[..., :-1]
        if value is None and alpha.min() != alpha.max():
            opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
            return np.asarray(alpha > opaque / 2)
    if pixels.ndim == 3:
        if not (pixels == pixels[..., :1]).all():
            raise ImageError(
                f"{name} is a colour picture, and colours are not understood as a mask: save it "
                "as greyscale with 0 for background and 255 for the example."
            )
        pixels = pixels[..., 0]
    return pixels


def _foreground(
    pixels: npt.NDArray[Any], value: int | None, palette: bool, name: str
) -> npt.NDArray[np.bool_]:
    """(H, W) bool from (H, W) values by the rules of `read_mask`."""
    check_finite(pixels, name)
    if pixels.dtype.kind == "f" and (pixels == np.rint(pixels)).all():
        pixels = pixels.astype(np.int64)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    values = np.unique(pixels)
    listed = ", ".join(str(v.item()) for v in values[:12]) + (", ..." if len(values) > 12 else "")
    if value is not None:
        if value not in values:
            raise ImageError(
                f"{name} does not hold the value {value}, only {listed}: give one of these as "
                "value= (--mask-value)."
            )
        return np.asarray(pixels == value)
    if pixels.dtype.kind == "f":
        if values[0] < 0 or values[-1] > 1:
            raise ImageError(
                f"{name} holds floats from {values[0]:g} to {values[-1]:g}, but floats must lie "
                "in 0..1: rescale them, or give a bool mask."
            )
        return np.asarray(pixels > 0.5)
    labels = values[values != 0]
    if palette and len(labels) > 1:
        labels = labels[labels != 255]
    if len(labels) <= 1:
        return np.asarray(pixels == labels[0]) if len(labels) else np.zeros(pixels.shape, bool)
    if not palette and pixels.dtype == np.uint8 and is_soft(pixels):
        return np.asarray(pixels > 127)
    raise ImageError(
        f"{name} is a label map with the values {listed}: say which one is the example with "
        "value= (--mask-value)."
    )


def is_soft(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether 8-bit grey is a two-valued mask with soft edges or JPEG noise.

    Asking for values on both sides of the middle keeps out label maps of a few classes and a
    void of 255, which also sit near both ends.
    """
    counts = np.bincount(pixels.ravel(), minlength=256)
    low, high = counts[:11].sum(), counts[245:].sum()
    between = counts[1:128].any() and counts[128:255].any()
    return bool(low and high and between and low + high >= 0.9 * pixels.size)


def _resized(
    mask: npt.NDArray[np.bool_], size: tuple[int, int], name: str
) -> npt.NDArray[np.bool_]:
    """Nearest neighbour to `size` (H, W), which must have the same shape, give or take 1 %."""
    (h, w), (H, W) = mask.shape, size
    if abs(w * H - h * W) > 0.01 * h * W and abs(w - W * h / H) > 1 and abs(h - H * w / W) > 1:
        raise ImageError(
            f"{name} is {w} × {h} pixels, but its image is {W} × {H}: draw the mask on that very "
            "image, upright and uncropped."
        )
    rows = (2 * np.arange(H) + 1) * h // (2 * H)
    columns = (2 * np.arange(W) + 1) * w // (2 * W)
    resized: npt.NDArray[np.bool_] = mask[rows[:, None], columns]
    return resized


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
