"""Masks in any form people have them: files, arrays, label maps, alpha channels, COCO entries."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError, LikewiseError, note
from .coco_masks import read_coco
from .decoding import PATH, decode
from .images import source_name
from .mask_values import (
    CALM,
    GREY,
    MANY,
    RGB,
    are_known,
    cvat_classes,
    eight_bits,
    filled_areas,
    labels_of_colours,
    labels_of_grey,
    labels_of_palette,
    list_values,
    name_colours,
    no_mask,
    present_values,
    to_grey,
    to_hex,
    two_valued,
)
from .text_files import normal

if TYPE_CHECKING:
    from torch import Tensor

MaskLike: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor | io.BytesIO"
    " | Mapping[str, Any]"
)
MaskValue: TypeAlias = "int | str | RGB"
"""A label, "any" for all above 0, or a colour; see `parse_value`."""
S = TypeVar("S", bound=np.generic)
ANY = "any"


def read_mask(
    source: MaskLike,
    *,
    size: tuple[int, int] | None = None,
    value: MaskValue | None = None,
    label: str | None = None,
    name: str | None = None,
) -> npt.NDArray[np.bool_]:
    """What a mask marks, as booleans; ``read_label_map`` says how it is read.

    Args:
        source: path of an image or .npy; PIL image; numpy array (H, W), (H, W, 1), (1, H, W),
            (H, W, 3) or (H, W, 4); torch tensor of those shapes or with the channels first; COCO
            run-length encoding {"size": [h, w], "counts": text, bytes or list}; COCO annotation
            whose "segmentation" is such an encoding or a list of polygons [[x, y, x, y, ...], ...].
        size: (H, W) of the mask's image. A mask of another size but the same shape (aspect ratio
            within 1 %, or one pixel of rounding) is resized to it, nearest neighbour. Polygons
            are drawn at the annotation's own "height" and "width" (or "size"), else at `size`.
        value: what is foreground: the one label of a label map; "any", everything above 0; or a
            colour (r, g, b). Text is read by `parse_value`.
        label: the class, for colour masks with CVAT's labelmap.txt beside them or one folder above;
            None is the only class marked.
        name: what messages call a mask that is no file; default "the mask array" and the like.

    Returns:
        (H, W) bool with at least one True and one False.

    Without `value`, foreground is the one label besides 0. Index 255 of a palette, the usual
    "void", is left out where other labels exist, also by "any"; it can be asked for.

    Raises:
        ImageError: as for `read_image`; and for a label map or colours without `value`, a `value`
            or `label` that does not occur, an unfit size, a malformed COCO entry, or a mask that
            marks nothing or everything.
    """
    name = source_name(source, name, "mask")
    value = parse_value(value, name) if isinstance(value, str) else value
    classes: Mapping[str, RGB] = {}
    nothing: RGB = (0, 0, 0)
    if value is None and isinstance(source, PATH):
        classes, nothing = cvat_classes(Path(source))
    asked = value if isinstance(value, int) else None
    colours = {colour: k for k, colour in enumerate(classes.values(), 1)} or None
    colours = None if colours is None else {nothing: 0, **colours}
    if isinstance(value, tuple):
        mask = _of_colour(source, value, name)
    else:
        values, void = _by_meaning(source, size, asked, colours, name, any_value=value == ANY)
        mask = _marked(values, value, void, label, list(classes), name)
    if size is not None and mask.shape != tuple(size):
        mask = _resized(mask, size, name)
    if not mask.any():
        raise ImageError(f"{name} marks nothing: mark the pixels of the example in it.")
    if mask.all():
        raise ImageError(f"{name} marks the whole image: mark the pixels of the example only.")
    return mask


def read_label_map(
    source: MaskLike,
    *,
    size: tuple[int, int] | None = None,
    colours: Mapping[RGB, int] | None = None,
    name: str | None = None,
) -> npt.NDArray[np.integer[Any]]:
    """The value of every pixel of a mask or label map, by meaning; 0 is nothing.

    Args:
        source: as for ``read_mask``.
        size: (H, W) of its image; a map of another size but the same shape is resized to it.
        colours: what the colours of a colour mask mean; black is 0 unless said. A palette whose
            colours are others is a label map all the same.
        name: what messages call a mask that is no file.

    Returns:
        (H, W) integers. Masks of two values are 0 and 255, or 0 and the one label that they hold;
        label maps have their own values. Nothing or everything may be marked.

    The rules, in the order they apply:
        * The first page or frame counts; EXIF orientation is applied, as for images.
        * Palette: if the colours used are black and white (and greys between, of soft edges), they
          count, in whatever order they are. Other palettes are label maps: the index counts, but
          if 0 is a colour and another index is black, black is nothing: the two change places.
          Where two colours are used and 0 is not black but the other is white, so does white.
        * Alpha that is not constant is the mask (above the middle of its range), unless what it
          shows is a black and white mask of its own.
        * Colours whose channels are equal, or nearly so and black and white, are grey. Black and
          one other colour, with soft edges or JPEG noise or not, are a mask; so is white and one
          other colour, which is told. More colours are an error without ``colours``.
        * bool, 1-bit, floats above half of 0..1, and grey with soft edges or JPEG noise, of 8 or 16
          bits (see `is_soft`), are 0 and 255; also where their white is rather a grey.
        * Anything else are labels.

    Raises:
        ImageError: it cannot be read, holds unknown colours or fractions, or does not fit ``size``.
    """
    name = source_name(source, name, "mask")
    values, _ = _by_meaning(source, size, None, colours, name)
    return values if size is None or values.shape == tuple(size) else _resized(values, size, name)


def parse_value(text: str, name: str = "the mask value") -> MaskValue:
    """A label, "any", or a colour from ``3``, ``any``, ``#ff0000`` or ``255,0,0``.

    Raises:
        LikewiseError: it is none of these.
    """
    plain = text.strip().lower()
    if plain == ANY:
        return ANY
    if re.fullmatch(r"[+-]?\d+", plain):
        return int(plain)
    if re.fullmatch(r"#([0-9a-f]{3}|[0-9a-f]{6})", plain):
        digits = plain[1:] if len(plain) == 7 else "".join(2 * digit for digit in plain[1:])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    parts = [part.strip() for part in plain.strip("()[]").split(",")]
    if len(parts) == 3 and all(part.isdecimal() and int(part) < 256 for part in parts):
        return int(parts[0]), int(parts[1]), int(parts[2])
    raise LikewiseError(
        f"{name}: {text!r} is no value of a mask: give a number such as 3, any, or a colour such "
        "as #ff0000 or 255,0,0."
    )


def _marked(
    values: npt.NDArray[Any],
    value: MaskValue | None,
    void: bool | None,
    label: str | None,
    classes: Sequence[str],
    name: str,
) -> npt.NDArray[np.bool_]:
    """(H, W) bool: the part of a label map that is meant."""
    present = present_values(values)
    labels = [int(v) for v in present if v != 0]
    if void and any(v != 255 for v in labels):
        labels = [v for v in labels if v != 255]
    if value in (None, ANY) and len(present) > MANY and filled_areas(values).mean() < CALM:
        raise no_mask(name, len(present))
    if value == ANY:
        return np.asarray(np.isin(values, [v for v in labels if v > 0]))
    if value is not None:
        if value not in present:
            raise ImageError(
                f"{name} does not hold the value {value}, only {list_values(present)}: give one of "
                "these as mask_value= (--mask-value)."
            )
        return np.asarray(values == value)
    if classes and void is None and labels:
        label = None if label is None else normal(label)
        marked = [classes[v - 1] for v in labels]
        if label is None and len(marked) > 1:
            raise ImageError(
                f"{name} marks {', '.join(marked)}: say which is the example by its label."
            )
        if marked and label not in (None, *marked):
            raise ImageError(
                f"{name} marks no {label}, only {', '.join(marked)}: give one of these as its "
                "label."
            )
        return np.asarray(values == (labels[0] if label is None else [*classes].index(label) + 1))
    if len(labels) > 1:
        raise ImageError(
            f"{name} is a label map with the values {list_values(present)}: say which one is the "
            "example with mask_value= (--mask-value), or mark all above 0 with --mask-value any."
        )
    return np.asarray(values == labels[0]) if labels else np.zeros(values.shape, bool)


def _by_meaning(
    source: MaskLike,
    size: tuple[int, int] | None,
    value: int | None,
    colours: Mapping[RGB, int] | None,
    name: str,
    any_value: bool = False,
) -> tuple[npt.NDArray[np.integer[Any]], bool | None]:
    """The rules of `read_label_map`, but for the size.

    Args:
        value: the one label that is asked for: then alpha says nothing.
        any_value: of a colour mask, everything but black is asked for.

    Returns:
        The values; and whether 255 is "void", None if the values are those of ``colours``.
    """
    if isinstance(source, Mapping):
        return np.where(read_coco(source, size, name), 255, 0), False
    pixels = _pixels(source, name)
    if isinstance(pixels, Image.Image):
        return labels_of_palette(pixels, value, colours, name)
    values: npt.NDArray[Any] = pixels
    if values.ndim == 3 and values.shape[2] in (2, 4):
        alpha, values = values[..., -1], values[..., :-1]
        low, high = float(alpha.min()), float(alpha.max())
        shown = np.asarray(alpha > (low + high) / 2)
        if value is None and low != high and not any_value:
            own = two_valued(to_grey(values), shown)
            return np.where(shown if own is None else own & shown, 255, 0), False
        if low != high and any_value:  # hidden colours are no labels
            values = np.where(shown[..., None], values, values.dtype.type(0))
    if values.ndim == 3:
        if colours and values.shape[2] == 3 and are_known(values, colours):
            return name_colours(values, colours, name), None
        exact = bool((values == values[..., :1]).all())
        near = values[..., 0] if exact else to_grey(values)
        if near is None or not (exact or two_valued(near) is not None):
            return labels_of_colours(values, colours, any_value, name)
        values = near
    return labels_of_grey(values, name), False


def _pixels(source: Any, name: str) -> Image.Image | npt.NDArray[Any]:
    """A palette picture, or (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) of any type."""
    pixels = decode(source, name, first=True).pixels
    if not isinstance(pixels, Image.Image):
        return pixels
    mode = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(pixels.mode, pixels.mode)
    if mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        mode = "RGB"
    pixels = pixels if pixels.mode == mode else pixels.convert(mode)
    return pixels if mode == "P" else np.asarray(pixels)


def _of_colour(source: MaskLike, colour: RGB, name: str) -> npt.NDArray[np.bool_]:
    """(H, W) bool: where a mask has this very colour."""
    if isinstance(source, Mapping):
        raise ImageError(f"{name} has no colours: give no colour as mask_value= (--mask-value).")
    pixels = _pixels(source, name)
    if isinstance(pixels, Image.Image):
        pixels = np.asarray(pixels.convert("RGB"))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    pixels = eight_bits(pixels[..., : 3 if pixels.shape[2] > 2 else 1])
    equal = np.asarray((pixels == np.array(colour)).all(axis=2))
    if equal.any():
        return equal
    asked, close = (
        to_hex(np.array(colour)),
        (np.abs(pixels - np.array(colour)) <= GREY).all(axis=2),
    )
    if close.any():
        note(name, f"does not hold the colour {asked} itself: what is close to it was taken.")
        return np.asarray(close)
    present = np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)
    listed = ", ".join(map(to_hex, present[:8])) + ", ..." * (len(present) > 8)
    raise ImageError(
        f"{name} does not hold the colour {asked}, only {listed}: give one of these as mask_value= "
        "(--mask-value)."
    )


def _resized(mask: npt.NDArray[S], size: tuple[int, int], name: str) -> npt.NDArray[S]:
    """Nearest neighbour to `size` (H, W), which must have the same shape, give or take 1 %."""
    (h, w), (H, W) = mask.shape, size
    if abs(w * H - h * W) > 0.01 * h * W and abs(w - W * h / H) > 1 and abs(h - H * w / W) > 1:
        raise ImageError(
            f"{name} is {w} × {h} pixels, but its image is {W} × {H}: draw the mask on that very "
            "image, upright and uncropped."
        )
    return nearest(mask, size)


def nearest(values: npt.NDArray[S], size: tuple[int, int]) -> npt.NDArray[S]:
    """(H, W) values at another size, each that of the nearest pixel, whatever the shape."""
    (h, w), (H, W) = values.shape, size
    rows = (2 * np.arange(H) + 1) * h // (2 * H)
    columns = (2 * np.arange(W) + 1) * w // (2 * W)
    resized: npt.NDArray[S] = values[rows[:, None], columns]
    return resized
