"""What the colours and greys of a mask stand for: label maps, black and white, soft edges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError, note
from .decoding import check_finite
from .opening import why
from .stretch import BAND
from .text_files import normal, read_text

RGB: TypeAlias = tuple[int, int, int]
S = TypeVar("S", bound=np.generic)
DARK = 32
"""How far from 0 a grey value, or from 255, is still black, or white."""
GREY = 16
"""How far the channels of a grey colour lie apart at most."""
MOSTLY = 0.85
"""Share of a two-valued mask that is black or white, not an edge."""
MANY = 64
"""Different values above which a picture may be a photo."""
CALM = 0.1
"""Minimum share of pixels in a uniform 3 × 3 neighbourhood; photos have less."""
FAINT = 64
"""Minimum peak of soft brush strokes that are not white."""


def list_values(values: npt.NDArray[Any]) -> str:
    return ", ".join(str(v.item()) for v in values[:12]) + (", ..." if len(values) > 12 else "")


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


def labels_of_palette(
    image: Image.Image, value: int | None, colours: Mapping[RGB, int] | None, name: str
) -> tuple[npt.NDArray[np.integer[Any]], bool | None]:
    """Values of a palette picture, and as for `_by_meaning`."""
    indices, palette = np.asarray(image), np.zeros((256, 3), dtype=np.int16)
    entries = np.array(image.getpalette("RGB"), dtype=np.int16).reshape(-1, 3)
    palette[: len(entries)] = entries
    used = np.flatnonzero(image.histogram())
    key = image.info.get("transparency")
    alpha = [255] * key + [0] if isinstance(key, int) else list(key or ())
    hidden = [k for k in used.tolist() if k < len(alpha) and alpha[k] == 0]
    if hidden and len(used) == len(hidden) + 1:
        shown = next(k for k in used.tolist() if k not in hidden)
        return np.where(indices == shown, shown or 255, 0), True
    palette[hidden] = 0
    own = palette[used]
    if colours and are_known(own[None], colours):
        table = np.zeros(256, np.int64)
        table[used] = name_colours(own[None], colours, name)[0]
        return looked_up(table.astype(np.uint8) if table.max() < 256 else table, indices), None
    if _is_grey(own[None]):
        if len(used) > 1:
            mask = two_valued(looked_up(palette[:, 0], indices))
            if mask is not None:
                return np.where(mask, 255, 0), False
        elif set(map(_end, entries[:, 0])) == {0, 255} and _is_grey(entries[None]):
            return np.full(indices.shape, _end(own[0, 0])), False
    dark = used[(own <= DARK).all(axis=1)]
    if len(used) == 2 and not len(dark):
        dark = used[(own >= 255 - DARK).all(axis=1)]
    if value is None and used[0] == 0 and len(dark) == 1 and dark[0] != 0:
        places = np.arange(256, dtype=np.uint8)
        places[[0, dark[0]]] = dark[0], 0
        return looked_up(places, indices), True
    return indices, True


def looked_up(table: npt.NDArray[S], indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[S]:
    """(H, W) ``table[indices]``; rows at a time, for NumPy makes 8 bytes of each index."""
    found = np.empty(indices.shape, table.dtype)
    rows = max(1, BAND // max(1, indices.shape[1]))
    for top in range(0, len(indices), rows):
        found[top : top + rows] = table[indices[top : top + rows]]
    return found


def _end(grey: int) -> int:
    """0 for near black, 255 for near white, else -1."""
    return 0 if grey <= DARK else 255 if grey >= 255 - DARK else -1


def labels_of_colours(
    pixels: npt.NDArray[Any], colours: Mapping[RGB, int] | None, any_value: bool, name: str
) -> tuple[npt.NDArray[np.integer[Any]], bool | None]:
    """Values of (H, W, 3) that are not grey."""
    pixels = eight_bits(pixels)
    if colours:
        return name_colours(pixels, colours, name), None
    present, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    filled = filled_areas(colour_codes(pixels))
    if len(present) > MANY and filled.mean() < CALM:
        raise no_mask(name, len(present))
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
        mask = two_valued(((pixels - nothing) @ way / (way @ way)).clip(0, 1))
        if mask is not None:
            if is_white:
                note(
                    name,
                    f"its {to_hex(most)} was taken for the example, and white for nothing.",
                )
            return np.where(mask, 255, 0), False
    listed = ", ".join(to_hex(colour) for colour in solid[:8]) + ", ..." * (len(solid) > 8)
    raise ImageError(
        f"{name} is a colour picture of {listed}: say which one is the example with mask_value= "
        f"(--mask-value '{to_hex(most)}'), or save it as greyscale with 0 for background and 255 "
        "for the example, or a value for each of several."
    )


def eight_bits(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Colours of 16 bits, or floats in 0..1, as 0..255."""
    if pixels.dtype == np.uint16 and pixels.max() > 255:
        pixels = pixels >> 8
    if pixels.dtype.kind == "f" and pixels.max() <= 1:
        pixels = np.rint(pixels * 255)
    return pixels.astype(np.int16)


def colour_codes(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """(H, W) of (H, W, 3) colours: 0xRRGGBB."""
    return np.asarray((pixels.astype(np.int64) * (65536, 256, 1)).sum(axis=2))


def filled_areas(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """(H - 2, W - 2) of (H, W): whether a pixel and the eight around it are all the same."""
    same = values[1:] == values[:-1]
    down = same[1:] & same[:-1]
    row = values[1:-1]
    across = (row[:, :-2] == row[:, 1:-1]) & (row[:, 1:-1] == row[:, 2:])
    return np.asarray(across & down[:, :-2] & down[:, 1:-1] & down[:, 2:])


def no_mask(name: str, values: int) -> ImageError:
    return ImageError(
        f"{name} is no mask but a photo or the like, of {values} colours or values without an even "
        "area: give the mask drawn on the reference."
    )


def known_codes(colours: Mapping[RGB, int]) -> dict[int, int]:
    """Value by 0xRRGGBB. Black is 0 unless another colour is."""
    black = {} if 0 in colours.values() else {0: 0}
    return black | {r * 65536 + g * 256 + b: k for (r, g, b), k in colours.items()}


def are_known(pixels: npt.NDArray[Any], colours: Mapping[RGB, int]) -> bool:
    """Whether all (H, W, 3) of 8 bits are among the colours."""
    return set(np.unique(colour_codes(pixels)).tolist()) <= known_codes(colours).keys()


def to_hex(colour: npt.NDArray[Any]) -> str:
    red, green, blue = np.broadcast_to(colour, 3).astype(np.int64).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _is_grey(pixels: npt.NDArray[Any]) -> bool:
    """Whether the channels of all (H, W, 3) pixels are nearly equal, as JPEG leaves them."""
    return bool((np.ptp(pixels.astype(np.int32), axis=2) <= GREY).mean() >= 0.99)


def to_grey(pixels: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """(H, W) of nearly grey (H, W, 1) or (H, W, 3), None of colours."""
    if pixels.shape[2] == 1 or (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    if pixels.dtype != np.uint8 or not _is_grey(pixels):
        return None
    return np.asarray(np.median(pixels, axis=2).astype(np.uint8))


def two_valued(
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


def present_values(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Distinct values, rising; bytes are counted, which takes a fifth of the time of sorting."""
    return (
        np.flatnonzero(np.bincount(values.ravel()))
        if values.dtype == np.uint8
        else np.unique(values)
    )


def labels_of_grey(pixels: npt.NDArray[Any], name: str) -> npt.NDArray[np.integer[Any]]:
    """Values of (H, W) of any type."""
    check_finite(pixels, name)
    if pixels.dtype == bool:
        return np.where(pixels, 255, 0)
    if pixels.dtype.kind == "f" and (pixels == np.rint(pixels)).all() and _fits(pixels):
        pixels = pixels.astype(np.int64)
    whole = pixels.dtype.kind != "f"
    present = present_values(pixels)
    if whole and len(present) - (0 in present) <= 1:
        return pixels
    mask = two_valued(pixels)
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
    return not bool((filled_areas(np.where(plain, pixels, 0)) & plain[1:-1, 1:-1]).any())


def name_colours(
    pixels: npt.NDArray[Any], colours: Mapping[RGB, int], name: str
) -> npt.NDArray[np.integer[Any]]:
    """Values of (H, W, 3) colours."""
    codes = colour_codes(pixels)
    known = known_codes(colours)
    strange = [code for code in np.unique(codes).tolist() if code not in known]
    if strange:
        raise ImageError(
            f"{name} holds the colour #{strange[0]:06x}, which its label map does not name: export "
            "it again, with its label map and without smoothing."
        )
    found, where = np.unique(codes, return_inverse=True)
    return np.array([known[code] for code in found.tolist()])[where].reshape(codes.shape)
