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
from .images import PATH, check_finite, check_size, decode, source_name, why
from .text_files import normal, read_text

if TYPE_CHECKING:
    from torch import Tensor

MaskLike: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor | io.BytesIO"
    " | Mapping[str, Any]"
)
RGB: TypeAlias = tuple[int, int, int]
MaskValue: TypeAlias = "int | str | RGB"
"""A label, "any" for all above 0, or a colour; see `parse_value`."""
S = TypeVar("S", bound=np.generic)

ANY = "any"
DARK = 32
"""How far from 0 a grey value, or from 255, is still black, or white."""
GREY = 16
"""How far the channels of a grey colour lie apart at most."""
MOSTLY = 0.85
"""Share of a two-valued mask that is black or white, not an edge."""
MANY = 64
"""Values of a mask, more than which may be those of a photo."""
CALM = 0.1
"""Share of a mask that lies inside of even areas, which a photo has less of."""
FAINT = 64
"""Least value of soft brush strokes that are not white."""


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


def cvat_classes(mask: Path) -> tuple[dict[str, RGB], RGB]:
    """Class → colour, and the background's, of CVAT's labelmap.txt with segmentation masks.

    Args:
        mask: the file lies beside it or one folder above.

    Returns:
        The classes without the background, which is black unless the file says another colour; no
        classes if there is no such file.

    Raises:
        ImageError: the file cannot be used.
    """
    found = [f / "labelmap.txt" for f in (mask.absolute().parent, mask.absolute().parent.parent)]
    file = next((f for f in found if f.is_file()), None)
    black: RGB = (0, 0, 0)
    if file is None:
        return {}, black
    classes: dict[str, RGB] = {}
    try:
        for line in read_text(file).splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                parts = re.match(r"(.+?)\s*:\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(:|$)", line)
                if parts is None:
                    raise ValueError(f"it holds the line {line.strip()[:60]!r}")
                red, green, blue = (int(part) for part in parts.groups()[1:4])
                classes[normal(parts[1].strip())] = red, green, blue
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{file} is no label map of CVAT ({why(error)}): its lines must be label:r,g,b:parts:"
            "actions."
        ) from error
    nothing = next((classes[k] for k in classes if k.casefold() == "background"), black)
    return {k: colour for k, colour in classes.items() if colour != nothing}, nothing


def _marked(
    values: npt.NDArray[Any],
    value: MaskValue | None,
    void: bool | None,
    label: str | None,
    classes: Sequence[str],
    name: str,
) -> npt.NDArray[np.bool_]:
    """(H, W) bool: the part of a label map that is meant."""
    present = np.unique(values)
    labels = [int(v) for v in present if v != 0]
    if void and any(v != 255 for v in labels):
        labels = [v for v in labels if v != 255]
    if value in (None, ANY) and len(present) > MANY and _filled(values).mean() < CALM:
        raise _no_mask(name, len(present))
    if value == ANY:
        return np.asarray(np.isin(values, [v for v in labels if v > 0]))
    if value is not None:
        if value not in present:
            raise ImageError(
                f"{name} does not hold the value {value}, only {_listed(present)}: give one of "
                "these as value= (--mask-value)."
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
            f"{name} is a label map with the values {_listed(present)}: say which one is the "
            "example with value= (--mask-value), or mark all above 0 with --mask-value any."
        )
    return np.asarray(values == labels[0]) if labels else np.zeros(values.shape, bool)


def _listed(values: npt.NDArray[Any]) -> str:
    return ", ".join(str(v.item()) for v in values[:12]) + (", ..." if len(values) > 12 else "")


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
        return _of_palette(pixels, value, colours, name)
    values: npt.NDArray[Any] = pixels
    if values.ndim == 3 and values.shape[2] in (2, 4):
        alpha, values = values[..., -1], values[..., :-1]
        low, high = float(alpha.min()), float(alpha.max())
        shown = np.asarray(alpha > (low + high) / 2)
        if value is None and low != high and not any_value:
            own = _two_valued(_grey(values), shown)
            return np.where(shown if own is None else own & shown, 255, 0), False
        if low != high and any_value:  # hidden colours are no labels
            values = np.where(shown[..., None], values, values.dtype.type(0))
    if values.ndim == 3:
        if colours and values.shape[2] == 3 and _are_known(values, colours):
            return _named(values, colours, name), None
        exact = bool((values == values[..., :1]).all())
        near = values[..., 0] if exact else _grey(values)
        if near is None or not (exact or _two_valued(near) is not None):
            return _of_colours(values, colours, any_value, name)
        values = near
    return _of_grey(values, name), False


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


def _of_palette(
    image: Image.Image, value: int | None, colours: Mapping[RGB, int] | None, name: str
) -> tuple[npt.NDArray[np.integer[Any]], bool | None]:
    """Values of a palette picture, and as for `_by_meaning`."""
    indices, palette = np.asarray(image), np.zeros((256, 3), dtype=np.int16)
    entries = np.array(image.getpalette("RGB"), dtype=np.int16).reshape(-1, 3)
    palette[: len(entries)] = entries
    used = np.unique(indices)
    key = image.info.get("transparency")
    alpha = [255] * key + [0] if isinstance(key, int) else list(key or ())
    hidden = [k for k in used.tolist() if k < len(alpha) and alpha[k] == 0]
    if hidden and len(used) == len(hidden) + 1:
        shown = next(k for k in used.tolist() if k not in hidden)
        return np.where(indices == shown, shown or 255, 0), True
    palette[hidden] = 0
    own = palette[used]
    if colours and _are_known(own[None], colours):
        return _named(palette[indices], colours, name), None
    if _is_grey(own[None]):
        if len(used) > 1:
            mask = _two_valued(palette[:, 0][indices])
            if mask is not None:
                return np.where(mask, 255, 0), False
        elif set(map(_end, entries[:, 0])) == {0, 255} and _is_grey(entries[None]):
            return np.full(indices.shape, _end(own[0, 0])), False
    dark = used[(own <= DARK).all(axis=1)]
    if len(used) == 2 and not len(dark):
        dark = used[(own >= 255 - DARK).all(axis=1)]
    if value is None and used[0] == 0 and len(dark) == 1 and dark[0] != 0:
        places = np.arange(256)
        places[[0, dark[0]]] = dark[0], 0
        return places[indices], True
    return indices, True


def _end(grey: int) -> int:
    """0 for near black, 255 for near white, else -1."""
    return 0 if grey <= DARK else 255 if grey >= 255 - DARK else -1


def _of_colours(
    pixels: npt.NDArray[Any], colours: Mapping[RGB, int] | None, any_value: bool, name: str
) -> tuple[npt.NDArray[np.integer[Any]], bool | None]:
    """Values of (H, W, 3) that are not grey."""
    pixels = _eight_bits(pixels)
    if colours:
        return _named(pixels, colours, name), None
    present, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    filled = _filled(_codes(pixels))
    if len(present) > MANY and filled.mean() < CALM:
        raise _no_mask(name, len(present))
    solid = np.unique(pixels[1:-1, 1:-1][filled], axis=0)
    solid = solid if len(solid) else present
    is_white = not (present <= DARK).all(axis=1).any() and (solid >= 255 - DARK).all(axis=1).any()
    nothing = 255 if is_white else 0
    marks = solid[(np.abs(solid - nothing) > DARK).any(axis=1)]
    if any_value and len(marks):
        return np.where((np.abs(pixels - nothing) > DARK).any(axis=2), 255, 0), False
    if not len(marks):
        marks = present[(np.abs(present - nothing) > DARK).any(axis=1)]
    shares = {tuple(colour): n for colour, n in zip(present.tolist(), counts.tolist(), strict=True)}
    most = marks[np.argmax([shares[tuple(colour)] for colour in marks.tolist()])]
    if (np.abs(marks - most) <= GREY).all() and len(marks) < len(solid):
        # From black, or white, to this colour: the rest are soft edges and JPEG noise.
        way = (most - nothing).astype(np.float64)
        mask = _two_valued(((pixels - nothing) @ way / (way @ way)).clip(0, 1))
        if mask is not None:
            if is_white:
                note(name, f"its {_hex(most)} was taken for the example, and white for nothing.")
            return np.where(mask, 255, 0), False
    listed = ", ".join(_hex(colour) for colour in solid[:8]) + ", ..." * (len(solid) > 8)
    raise ImageError(
        f"{name} is a colour picture of {listed}: say which one is the example with value= "
        f"(--mask-value '{_hex(most)}'), or save it as greyscale with 0 for background and 255 "
        "for the example, or a value for each of several."
    )


def _eight_bits(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Colours of 16 bits, or floats in 0..1, as 0..255."""
    if pixels.dtype == np.uint16 and pixels.max() > 255:
        pixels = pixels >> 8
    if pixels.dtype.kind == "f" and pixels.max() <= 1:
        pixels = np.rint(pixels * 255)
    return pixels.astype(np.int16)


def _codes(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """(H, W) of (H, W, 3) colours: 0xRRGGBB."""
    return np.asarray((pixels.astype(np.int64) * (65536, 256, 1)).sum(axis=2))


def _filled(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """(H - 2, W - 2) of (H, W): whether a pixel and the eight around it are all the same."""
    same = values[1:] == values[:-1]
    down = same[1:] & same[:-1]
    row = values[1:-1]
    across = (row[:, :-2] == row[:, 1:-1]) & (row[:, 1:-1] == row[:, 2:])
    return np.asarray(across & down[:, :-2] & down[:, 1:-1] & down[:, 2:])


def _no_mask(name: str, values: int) -> ImageError:
    return ImageError(
        f"{name} is no mask but a photo or the like, of {values} colours or values without an even "
        "area: give the mask drawn on the reference."
    )


def _named(
    pixels: npt.NDArray[Any], colours: Mapping[RGB, int], name: str
) -> npt.NDArray[np.integer[Any]]:
    """Values of (H, W, 3) colours."""
    codes = _codes(pixels)
    known = _known(colours)
    strange = [code for code in np.unique(codes).tolist() if code not in known]
    if strange:
        raise ImageError(
            f"{name} holds the colour #{strange[0]:06x}, which its label map does not name: export "
            "it again, with its label map and without smoothing."
        )
    found, where = np.unique(codes, return_inverse=True)
    return np.array([known[code] for code in found.tolist()])[where].reshape(codes.shape)


def _known(colours: Mapping[RGB, int]) -> dict[int, int]:
    """Value by 0xRRGGBB. Black is 0 unless another colour is."""
    black = {} if 0 in colours.values() else {0: 0}
    return black | {r * 65536 + g * 256 + b: k for (r, g, b), k in colours.items()}


def _are_known(pixels: npt.NDArray[Any], colours: Mapping[RGB, int]) -> bool:
    """Whether all (H, W, 3) of 8 bits are among the colours."""
    return set(np.unique(_codes(pixels)).tolist()) <= _known(colours).keys()


def _of_colour(source: MaskLike, colour: RGB, name: str) -> npt.NDArray[np.bool_]:
    """(H, W) bool: where a mask has this very colour."""
    if isinstance(source, Mapping):
        raise ImageError(f"{name} has no colours: give no colour as value= (--mask-value).")
    pixels = _pixels(source, name)
    if isinstance(pixels, Image.Image):
        pixels = np.asarray(pixels.convert("RGB"))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    pixels = _eight_bits(pixels[..., : 3 if pixels.shape[2] > 2 else 1])
    equal = np.asarray((pixels == np.array(colour)).all(axis=2))
    if equal.any():
        return equal
    asked, close = _hex(np.array(colour)), (np.abs(pixels - np.array(colour)) <= GREY).all(axis=2)
    if close.any():
        note(name, f"does not hold the colour {asked} itself: what is close to it was taken.")
        return np.asarray(close)
    present = np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)
    listed = ", ".join(map(_hex, present[:8])) + ", ..." * (len(present) > 8)
    raise ImageError(
        f"{name} does not hold the colour {asked}, only {listed}: give one of these as value= "
        "(--mask-value)."
    )


def _hex(colour: npt.NDArray[Any]) -> str:
    red, green, blue = np.broadcast_to(colour, 3).astype(np.int64).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _is_grey(pixels: npt.NDArray[Any]) -> bool:
    """Whether the channels of all (H, W, 3) pixels are nearly equal, as JPEG leaves them."""
    return bool((np.ptp(pixels.astype(np.int32), axis=2) <= GREY).mean() >= 0.99)


def _grey(pixels: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """(H, W) of nearly grey (H, W, 1) or (H, W, 3), None of colours."""
    if pixels.shape[2] == 1 or (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    if pixels.dtype != np.uint8 or not _is_grey(pixels):
        return None
    return np.asarray(np.median(pixels, axis=2).astype(np.uint8))


def _two_valued(
    grey: npt.NDArray[Any] | None, shown: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.bool_] | None:
    """(H, W) bool: the white of a black and white mask; None if it is none.

    Args:
        grey: (H, W) of 8 or 16 bits, or floats of their size or in 0..1.
        shown: (H, W) where it counts.
    """
    if grey is None or grey.dtype == bool:
        return grey
    seen = grey if shown is None else grey[shown]
    known = seen[np.isfinite(seen)] if grey.dtype.kind == "f" else seen
    if known.size < seen.size or not seen.size or seen.min() < 0:
        return None
    most = float(seen.max())
    top = next((t for t in (255, 65535) if most <= t), None)
    if grey.dtype.kind == "f" and most <= 1:
        top = 1
    if top is None:
        return None
    small = np.rint(grey.astype(np.float64).clip(0, top) * (255.0 / top)).astype(np.uint8)
    ends = [_end(v) for v in np.unique(small if shown is None else small[shown]).tolist()]
    if not (ends == [0, 255] or is_soft(small, shown)):
        return None
    return np.asarray(small > 127)


def _of_grey(pixels: npt.NDArray[Any], name: str) -> npt.NDArray[np.integer[Any]]:
    """Values of (H, W) of any type."""
    check_finite(pixels, name)
    if pixels.dtype == bool:
        return np.where(pixels, 255, 0)
    if pixels.dtype.kind == "f" and (pixels == np.rint(pixels)).all() and _fits(pixels):
        pixels = pixels.astype(np.int64)
    whole = pixels.dtype.kind != "f"
    present = np.unique(pixels)
    if whole and len(present) - (0 in present) <= 1:
        return pixels
    mask = _two_valued(pixels)
    top = pixels.max()
    if mask is None and whole and FAINT <= top < 255 - DARK and pixels.min() >= 0:
        small = np.rint(pixels * (255 / top)).astype(np.uint8)
        mask = small > 127 if is_soft(small) and len(present) > 8 else None
    if mask is not None:
        return np.where(mask, 255, 0)
    if whole:
        return pixels
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 1:
        raise ImageError(
            f"{name} holds floats from {low:g} to {high:g}, but floats must lie in 0..1: rescale "
            "them, or give a bool mask."
        )
    return np.where(pixels > 0.5, 255, 0)


def _fits(values: npt.NDArray[Any]) -> bool:
    return float(np.abs(values).max()) < 2**53


def is_soft(pixels: npt.NDArray[np.uint8], shown: npt.NDArray[np.bool_] | None = None) -> bool:
    """Whether 8-bit grey (H, W) is a two-valued mask with soft edges or JPEG noise.

    Most of it is black or white, values between are on both sides of the middle, and none of them
    fills a square of 3 x 3 pixels: a label would. Only what is ``shown`` counts.
    """
    counts = np.bincount((pixels if shown is None else pixels[shown]).ravel(), minlength=256)
    low, high = counts[: DARK + 1].sum(), counts[255 - DARK :].sum()
    between = counts[1:128].any() and counts[128:255].any()
    if not (low and high and between and low + high >= MOSTLY * counts.sum()):
        return False
    plain = (pixels > DARK) & (pixels < 255 - DARK)
    if shown is not None:
        plain &= shown
    return not bool((_filled(np.where(plain, pixels, 0)) & plain[1:-1, 1:-1]).any())


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
