"""Any picture as 8-bit RGB, with the pixels that are valid.

Everything that can be wrong with an input ends in an `ImageError`: one sentence that names the
file (or the array), says what is wrong with it and how to mend it.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError, note, noting
from .decoding import PATH, decode, wide_codec
from .opening import TIFF_HEADS, open_image, opened, pixel_limit
from .pyramid import Pyramid, finest_within
from .stretch import Range, Ranges, as_rgb, find_nodata, missing, own_range, suits, to_uint8
from .tiff import open_tiff

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor | Picture | io.BytesIO"
)
"""Of a picture; BytesIO is the content of an image file."""
SENT_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
"""What is read of images that strangers send. Not all that Pillow knows: EPS, for one, starts
another program."""
JPEG_HEAD = b"\xff\xd8\xff"
WIDE_BYTES = 30
"""Memory for each pixel of more than 8 bits while it is read: what is decoded and all copies."""
SENT_BYTES = 1_000_000_000
"""Memory that reading one of them may take: a small file may hold very many pixels."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as 8-bit RGB, and which of its pixels are one at all."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3); where not ``valid``, the mean colour of what is."""
    valid: npt.NDArray[np.bool_] | None = None
    """(H, W): neither fully transparent nor "no data"; None where all pixels are valid."""
    kind: str = ""
    """Of the numbers that were stretched to 8 bits: "u", "i", "f"; "" where none were."""
    range: Range = (0.0, 255.0)
    """The picture's own range of values, see ``stretch.own_range``."""
    name: str = ""
    """What messages call it."""


def read_image(source: ImageLike, *, name: str | None = None) -> npt.NDArray[np.uint8]:
    """The ``pixels`` of ``read_picture``: (H, W, 3) uint8, C-contiguous, a copy."""
    pixels = read_picture(source, name=name).pixels
    return pixels.copy() if isinstance(source, Picture) else pixels


def read_picture(
    source: ImageLike, *, name: str | None = None, stretch: Ranges | None = None
) -> Picture:
    """Any picture as 8-bit RGB, upright.

    Args:
        source: path of a file (image, or .npy); PIL image; numpy array (H, W), (1, H, W) or (H, W,
            C) with 1, 3 or 4 channels; torch tensor of those shapes or with the channels first,
            which wins where both readings fit; content of a file as BytesIO; a Picture, which is
            returned as it is.
        name: what messages call an image that is no file; default "the image array" and the like.
        stretch: ranges of values to show, by kind of number, as of the references of a call.

    Returns:
        Its ``pixels`` never share memory with ``source``, unless that is a Picture.

    The rules, in the order they apply:
        * Of several pages or frames, the first that is not blank is taken. Of more than three bands
          the first three are, of two the first.
        * EXIF orientation is applied (files and PIL images).
        * Palette, CMYK, YCbCr, LAB, HSV and 1-bit become RGB the way Pillow converts them.
        * Not valid is what is fully transparent, what GDAL's tag or the file's own mask says is no
          data, and NaN and infinity. Half transparent pixels keep the colour stored in them.
        * 8-bit pictures, bool arrays, and arrays of floats in 0..1 keep their values.
        * In others, a value that evidently means "no data" is not valid either: see
          ``stretch.find_nodata``. Their values are stretched to 0..255, all channels alike: from
          the range in ``stretch`` for their kind, unless that would flatten them, else from their
          own (``stretch.own_range``, which passes over hot pixels).
        * Pixels that are not valid get the mean colour of the others.

    Warns:
        InputWarning: a page, bands, a range or a value for "no data" was chosen.

    Raises:
        ImageError: missing, unreadable, empty, damaged or over-large file, or an array of another
            shape or dtype.
    """
    if isinstance(source, Picture):
        return source
    name = source_name(source, name, "image")
    decoded = decode(source, name)
    pixels, shown, nodata = decoded.pixels, decoded.shown, decoded.nodata
    del decoded  # large pictures fill the memory
    as_is = False
    if isinstance(pixels, Image.Image):
        if pixels.mode[0] in "IF":  # I, F, and I;16 in its byte orders
            key = pixels.info.get("transparency")
            nodata = key if nodata is None and isinstance(key, int) else nodata
            pixels = np.asarray(pixels)
        else:
            pixels, alpha = as_rgb(pixels)
            shown = alpha if shown is None else shown if alpha is None else shown & alpha
            as_is = True
    elif pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1] > 0
        shown = alpha if shown is None else shown & alpha
        pixels = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
    is_file = isinstance(source, (Image.Image, io.BytesIO, *PATH))
    valid = np.ones(pixels.shape[:2], dtype=bool) if shown is None else shown
    if nodata is not None:
        valid = valid & ~missing(pixels, nodata)
    kind, own = "", (0.0, 255.0)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype.kind == "f" and not is_file and _is_share(pixels):
        valid = valid & np.isfinite(pixels.reshape(*valid.shape, -1)).all(axis=2)
        pixels = to_uint8(np.where(np.isfinite(pixels), pixels, 0), (0.0, 1.0))
    elif not (as_is or pixels.dtype == np.uint8):
        kind = pixels.dtype.kind
        pixels, valid, own = _stretched(pixels, valid, nodata, name, stretch or {})
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if not as_is:  # else it is so already
        pixels = np.array(pixels, dtype=np.uint8, order="C")
    if valid.all():
        return Picture(pixels, None, kind, own, name)
    if not valid.any():
        note(name, "all of it is transparent or without data, so nothing can be found in it.")
    pixels[~valid] = np.rint(pixels[valid].mean(axis=0)) if valid.any() else 128
    return Picture(pixels, valid, kind, own, name)


def _is_share(values: npt.NDArray[Any]) -> bool:
    """Whether all floats lie in 0..1, but for a rounding error."""
    known = values[np.isfinite(values)]
    return not known.size or bool(known.min() >= -1e-5 and known.max() <= 1 + 1e-5)


def _stretched(
    values: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
    nodata: float | None,
    name: str,
    stretch: Ranges,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], Range]:
    """The rules of ``read_picture`` for more than 8 bits: 8 bits, what is valid, own range."""
    if values.dtype.kind == "f":
        valid = valid & np.isfinite(values.reshape(*valid.shape, -1)).all(axis=2)
    found = find_nodata(values, valid) if nodata is None else None
    if found is not None:
        without = missing(values, found) & valid
        valid = valid & ~without
        share = without.mean()
        note(name, f"the value {found:g} was taken for no data ({share:.1%} of the pixels).")
    if not valid.any():
        return np.full(values.shape, 128, np.uint8), valid, (0.0, 0.0)
    own = own_range(values, valid)
    shown = stretch.get(values.dtype.kind)
    text = f"its values {own[0]:g} to {own[1]:g} were stretched to 8 bits"
    if shown is None:
        note(name, f"{text}.")
    elif suits(own, shown):
        note(name, f"its values {shown[0]:g} to {shown[1]:g} were stretched to 8 bits, all alike.")
    else:
        note(name, f"{text}: {shown[0]:g} to {shown[1]:g} of the references would flatten it.")
    shown = shown if shown is not None and suits(own, shown) else own
    known = valid if values.ndim == 2 else valid[..., None]
    return to_uint8(np.where(known, values, values.dtype.type(0)), shown), valid, own


def find_range(source: ImageLike) -> tuple[str, Range] | None:
    """Kind and own range of a picture of more than 8 bits, None of others; nothing is told.

    JPEG has 8 bits and is not decoded for it.

    Raises:
        ImageError: as for ``read_picture``.
    """
    if isinstance(source, PATH):
        with opened(Path(source), os.fspath(source)) as file:
            if file.read(3) == JPEG_HEAD:
                return None
    with noting():
        picture = read_picture(source)
    return (picture.kind, picture.range) if picture.kind else None


def read_image_bytes(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """``read_image`` of a file's content that came from elsewhere, such as over a network.

    Args:
        content: of a file in one of SENT_FORMATS.
        name: what messages call it.

    Raises:
        ImageError: as for a file; or it would take more than SENT_BYTES.
    """
    file = io.BytesIO(content)
    (height, width), needed = reading_bytes(file, name)
    if needed > SENT_BYTES:
        raise ImageError(
            f"{name} is {width} × {height} pixels, which take {needed // 10**6} MB to read, over "
            f"the limit of {SENT_BYTES // 10**6}: shrink it."
        )
    return read_picture(file, name=name).pixels


def reading_bytes(file: io.BytesIO, name: str) -> tuple[tuple[int, int], int]:
    """(H, W) that will be read, as stored, and about how much memory that takes at most, of an
    image that was sent.

    Args:
        file: its content, in one of SENT_FORMATS; only its header is read.
        name: what messages call it.

    Raises:
        ImageError: it is no image.
    """
    if not file.getbuffer().nbytes:
        raise ImageError(f"{name} is empty (0 bytes): copy or download it again.")
    tiff = open_tiff(file) if file.getbuffer()[:4] in TIFF_HEADS else None
    file.seek(0)
    if tiff is not None:
        size = tiff.size
        if tiff.levels > 1:
            pyramid = Pyramid(tiff.file, name)
            size = pyramid.size_of(finest_within(pyramid, pixel_limit(file)) or 0)
        return size, WIDE_BYTES * math.prod(size)
    image = open_image(file, name, SENT_FORMATS)
    each = 12 if image.mode in ("1", "L", "P") else 20
    if image.mode[0] in "IF" or wide_codec(bytes(file.getbuffer()[:4096])) is not None:
        each = WIDE_BYTES
    file.seek(0)
    return (image.height, image.width), each * image.width * image.height


def source_name(source: object, name: str | None, what: str) -> str:
    """What messages call `source`."""
    if isinstance(source, PATH):
        return os.fspath(source) or "''"
    if isinstance(source, Picture):
        return source.name
    kinds = (np.ndarray, "array"), (Image.Image, "picture"), (Mapping, "annotation")
    kind = next((word for kind, word in kinds if isinstance(source, kind)), "tensor")
    return name or f"the {what} {kind}"
