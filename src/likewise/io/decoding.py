"""What an image file, picture or array holds: pages, frames, TIFF, wide PNG, NumPy, tensors."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ..errors import ImageError, note, noting
from .formats import advice
from .opening import (
    DAMAGE,
    RESAVE,
    TIFF_HEADS,
    check_size,
    no_pillow_limit,
    open_image,
    opened,
    orientation_of,
    pixel_limit,
    why,
)
from .planes import Plane, chosen_page, read_plane, with_channels
from .pyramid import note_no_levels, read_smaller
from .stretch import as_rgb
from .tiff import Tiff, open_tiff, read_page

PATH = (str, os.PathLike)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a file, picture or array holds, before anything is made of it."""

    pixels: Image.Image | npt.NDArray[Any]
    """Upright: a PIL image where Pillow keeps all values, else (H, W) or (H, W, 2 to 4)."""
    shown: npt.NDArray[np.bool_] | None = None
    """(H, W) where the file's own mask shows the pixels."""
    nodata: float | None = None
    """The value that says that there is no data, where the file names it."""


def _is_tensor(source: object) -> bool:
    """Whether it is a torch tensor, by the module of its classes: torch is not imported for it."""
    return any(base.__module__.split(".")[0] == "torch" for base in type(source).__mro__[:-1])


def decode(source: object, name: str, *, first: bool = False) -> Decoded:
    """What a source holds, nothing converted.

    Args:
        source: as for ``read_picture``; or the content of a file as BytesIO.
        name: what messages call it.
        first: take the first page or frame, even if it is blank: a mask goes with a picture.

    Raises:
        ImageError: it cannot be read.
    """
    if isinstance(source, Image.Image):
        return Decoded(_decode(source, name))
    if isinstance(source, io.BytesIO):
        return _decode_file(source, name, first)
    if not isinstance(source, PATH):
        return Decoded(read_array(source, name))
    with opened(Path(source), name) as file:
        return _decode_file(file, name, first, source if isinstance(source, Plane) else None)


def _decode_file(file: BinaryIO, name: str, first: bool, plane: Plane | None = None) -> Decoded:
    """Choose the reader that keeps all values of a file: Pillow, tifffile or imagecodecs."""
    head = file.read(4096)
    file.seek(0)
    if head[:6] == b"\x93NUMPY":
        array = read_array(_load_numpy(file, name), name)
        return Decoded(with_channels(array, plane, name))
    if head[:4] in TIFF_HEADS:
        known = advice(Path(name))
        if known is not None:  # many are TIFF within, of which only a thumbnail can be read
            raise ImageError(f"{name} cannot be read ({known}).")
        tiff = open_tiff(file)
        file.seek(0)
        if tiff is not None:
            return _decode_tiff(tiff, file, name, first, plane)
    if plane is not None:
        note_no_levels(plane, name)
    wide = wide_codec(head)
    if wide is not None:
        image = open_image(file, name)
        check_size(image.height, image.width, name)
        file.seek(0)
        try:
            import imagecodecs

            values = getattr(imagecodecs, f"{wide}_decode")(file.read())
        except (RuntimeError, *DAMAGE) as error:
            raise ImageError(f"{name} is cut short or damaged ({why(error)}): {RESAVE}.") from error
        return Decoded(with_channels(_upright(values, orientation_of(image)), plane, name))
    image = _decode(_frame(open_image(file, name), name, first, plane), name)
    return Decoded(with_channels(image, plane, name))


def _load_numpy(file: BinaryIO, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise ImageError(
            f"{name} cannot be used ({why(error)}): save one plain array of numbers with np.save."
        ) from error


def wide_codec(head: bytes) -> str | None:
    """The codec of imagecodecs for what Pillow would cut to 8 bits: PNG or JPEG 2000 in colour."""
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png" if head[24:25] == b"\x10" and head[25:26] in b"\2\4\6" else None
    size = head.find(b"\xff\x51") if head[4:8] == b"jP  " or head[:2] == b"\xff\x4f" else -1
    if size < 0 or len(head) < size + 41:
        return None
    channels = int.from_bytes(head[size + 38 : size + 40], "big")
    return "jpeg2k" if channels > 1 and head[size + 40] & 127 > 7 else None


def _decode_tiff(
    tiff: Tiff, file: BinaryIO, name: str, first: bool, plane: Plane | None
) -> Decoded:
    if tiff.is_raw:  # of which only a thumbnail can be read
        raise ImageError(f"{name} cannot be read ({advice(Path('a.dng'))}).")
    if tiff.pages[0].dtype is not None and tiff.pages[0].dtype.kind == "c":
        raise ImageError(f"{name} holds complex numbers: save their magnitude, for instance.")
    try:
        values = read_smaller(tiff, plane or Plane(name), name, pixel_limit(file))
        if values is None and plane and (plane.channels or len(tiff.pages) != tiff.total):
            if len(tiff.file.pages) > 1 and len(tiff.pages) <= (plane.page or 0) < tiff.total:
                raise ImageError(
                    f"{name} has pages of several sizes, and {plane.said('page')} is none of the "
                    "first's: save that page as a file of its own."
                )
            values = read_plane(tiff, plane, name)
    except MemoryError as error:
        raise ImageError(f"{name} does not fit in memory: shrink it.") from error
    except (RuntimeError, *DAMAGE) as error:
        raise _damaged(name, error) from error
    if values is not None:
        height, width = values.shape[:2]
        shown = _shown(tiff, (height, width))
        return Decoded(_upright(values, tiff.orientation), shown, tiff.nodata)
    page = chosen_page(plane, len(tiff.pages), name)
    image = None
    if tiff.is_plain:
        with suppress(ImageError):  # kinds of pixels that only tifffile knows
            image = open_image(file, name)
    number = 0
    try:
        if image is not None:
            numbers = [tiff.number(page) for page in tiff.pages]
            number = 0 if first or len(numbers) == 1 else _first_not_blank(image, numbers)
            number = number if page is None else page
            image.seek(numbers[number])
            upright, shown = _decode(image, name), None if number else _shown(tiff, tiff.size)
            decoded = Decoded(upright, shown, tiff.nodata)
        else:
            for number, one in enumerate(tiff.pages):
                if page is not None and number != page:
                    continue
                values, shown, bands = read_page(one)
                if first or page is not None or values.min() != values.max():
                    break
            else:
                number = 0
                values, shown, bands = read_page(tiff.pages[0])
            if bands is not None:
                note(name, f"{bands} taken.")
            shown = None if shown is None else _upright(shown, tiff.orientation)
            seen = None if number else _shown(tiff, tiff.size)
            if seen is not None:
                shown = seen if shown is None else shown & seen
            decoded = Decoded(_upright(values, tiff.orientation), shown, tiff.nodata)
    except MemoryError as error:
        raise ImageError(f"{name} does not fit in memory: shrink it.") from error
    except (RuntimeError, *DAMAGE) as error:
        raise _damaged(name, error) from error
    if tiff.total > 1 and page is None:
        _tell_frame(name, "page", number, tiff.total)
    return decoded


def _shown(tiff: Tiff, size: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    hidden = tiff.hidden(size)
    return None if hidden is None else _upright(~hidden, tiff.orientation)


def _upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """A stored (H, W, ...) array turned as EXIF asks."""
    if orientation >= 5:
        values = np.swapaxes(values, 0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _frame(image: Image.Image, name: str, first: bool, plane: Plane | None) -> Image.Image:
    """Seek the frame to read, and note which it is unless it was chosen."""
    try:
        total = getattr(image, "n_frames", 1)
        if total > 1 and image.format == "MPO":  # later ones may be previews or gain maps
            size = image.size
            image.seek(1)
            total = total if image.size == size else 1
            image.seek(0)
            first = True
        page = chosen_page(plane, total, name)
        if page is not None:
            image.seek(page)
        if total == 1 or page is not None:
            return image
        number = 0 if first else _first_not_blank(image, range(total))
        image.seek(number)
    except DAMAGE as error:
        raise _damaged(name, error) from error
    _tell_frame(name, "frame", number, total)
    return image


def _first_not_blank(image: Image.Image, numbers: Sequence[int]) -> int:
    """Which of an image's frames shows more than one colour first; 0 if none does."""
    for k, number in enumerate(numbers):
        image.seek(number)
        pixels, shown = as_rgb(image) if image.mode[0] not in "IF" else (np.asarray(image), None)
        seen = pixels if shown is None else pixels[shown]
        flat = seen.reshape(-1, seen.shape[-1] if pixels.ndim == 3 else 1)
        if (flat != flat[:1]).any():
            return k
    return 0


def _tell_frame(name: str, word: str, number: int, total: int) -> None:
    blank = " (those before it are blank)" if number else ""
    note(name, f"{word} {number} was taken, of 0 to {total - 1}{blank}.")


def picture_size(path: Path | Plane) -> tuple[int, int]:
    """(H, W) pixels of an image file, upright, decoded to be sure that it is not damaged.

    Raises:
        ImageError: it cannot be read.
    """
    with noting():
        pixels = decode(path, os.fspath(path)).pixels
    if isinstance(pixels, Image.Image):
        return pixels.height, pixels.width
    return pixels.shape[0], pixels.shape[1]


def is_cut_out(path: Path) -> bool:
    """Whether an image file has an alpha channel that says something: not the same everywhere.

    Raises:
        ImageError: the file cannot be read.
    """
    pixels = decode(path, str(path)).pixels
    if isinstance(pixels, Image.Image):
        if "transparency" in pixels.info:
            pixels = pixels.convert("RGBA")
        alpha = [channel for channel in pixels.getbands() if channel in "Aa"]
        low, high = pixels.getchannel(alpha[0]).getextrema() if alpha else (0, 0)
        return low != high
    alpha_or_less = pixels[..., -1] if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else None
    return alpha_or_less is not None and bool(alpha_or_less.min() != alpha_or_less.max())


def _damaged(name: str, error: BaseException) -> ImageError:
    return ImageError(f"{name} is cut short or damaged ({why(error)}): {RESAVE}.")


def _decode(image: Image.Image, name: str) -> Image.Image:
    """It upright, maybe the same object; the size is checked before anything is decoded."""
    check_size(image.height, image.width, name)
    # Some formats check again on decoding; smaller images need no lock and decode in parallel.
    large = image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0)
    try:
        with no_pillow_limit() if large else nullcontext():
            image.load()
    except MemoryError as error:
        raise ImageError(
            f"{name} ({image.width} × {image.height} pixels) does not fit in memory: shrink it."
        ) from error
    except DAMAGE as error:
        raise _damaged(name, error) from error
    try:
        return image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)
    except DAMAGE:
        return image  # The pixels are whole; garbled EXIF only means no known orientation.


def read_array(source: Any, name: str) -> npt.NDArray[Any]:
    """(H, W), (H, W, 3) or (H, W, 4) of bool, integers or floats."""
    if _is_tensor(source):
        tensor = source.detach().cpu()
        # As float32, for numpy has no bfloat16.
        array = np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            array = np.moveaxis(array, 0, -1)
    elif isinstance(source, np.ndarray):
        array = source
    else:
        raise ImageError(
            f"a {type(source).__name__} was given where an image or mask is needed: give a path, "
            "a PIL image, a numpy array or a torch tensor."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    elif array.ndim == 3 and array.shape[0] == 1 and array.shape[2] not in (3, 4):
        array = array[0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ImageError(
            f"{name} has the shape {tuple(source.shape)}: give (height, width), or (height, "
            "width, channels) with 1, 3 or 4 channels."
        )
    check_size(array.shape[0], array.shape[1], name)
    if array.dtype.kind not in "biuf":
        raise ImageError(f"{name} has the dtype {array.dtype}: convert it to uint8.")
    return array


def check_finite(values: npt.NDArray[Any], name: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ImageError(f"{name} holds NaN or infinity: replace those with numbers.")
