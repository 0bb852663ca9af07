"""Image files from outside: which kind they are, their size and orientation, nothing decoded."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import ImageError
from .formats import advice
from .tiff import open_tiff

MAX_PIXELS = 179_000_000
"""Largest image that is decoded, in pixels; the variable LIKEWISE_MAX_PIXELS replaces it."""
RESAVE = "copy or download it again, or open it in a viewer and save it as PNG"
_PILLOW_LIMIT_LOCK = threading.Lock()
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# All that Pillow's format plugins let through when a file is cut short, garbled or hostile.
DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError),
    *(NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError),
)


class Sent(io.BytesIO):
    """The content of an image file that came from elsewhere."""

    most: int | None = None
    """Pixels that it may have: pyramids are read at the finest level that has no more."""


def why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def pixel_limit(file: object = None) -> int:
    """``MAX_PIXELS``, or what replaces it, or less of a file that was sent.

    Raises:
        ImageError: it is no number.
    """
    setting = os.environ.get("LIKEWISE_MAX_PIXELS", "") or str(MAX_PIXELS)
    if not setting.isdecimal() or int(setting) == 0:
        raise ImageError(
            f"the variable LIKEWISE_MAX_PIXELS is {setting!r}: set it to a number of pixels such "
            f"as {MAX_PIXELS}, or unset it."
        )
    sent = file.most if isinstance(file, Sent) else None
    return int(setting) if sent is None else min(int(setting), sent)


def check_size(height: int, width: int, name: str, instead: str = "shrink it") -> None:
    """Refuses nothing and too much; ``instead`` is what helps then.

    Raises:
        ImageError: no pixels, more than the limit, or a limit that is no number.
    """
    limit = pixel_limit()
    if height <= 0 or width <= 0:
        raise ImageError(f"{name} has no pixels (width {width}, height {height}): give another.")
    if height * width > limit:
        raise ImageError(
            f"{name} is {width} × {height} = {height * width} pixels, over the limit of {limit}: "
            f"{instead}, or raise the limit with the variable LIKEWISE_MAX_PIXELS."
        )


def is_turned(path: Path, orientations: range = range(2, 9)) -> bool:
    """Whether an image file is stored turned or mirrored and says so in EXIF.

    Args:
        path: the file.
        orientations: those of EXIF that count; from 5 on, width and height change places.

    Raises:
        ImageError: the file cannot be opened.
    """
    return _header(path)[1] in orientations


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) pixels of an image file, upright, from its header alone.

    Raises:
        ImageError: the file cannot be opened.
    """
    (height, width), orientation = _header(path)
    return (width, height) if orientation >= 5 else (height, width)


def _header(path: Path) -> tuple[tuple[int, int], int]:
    """(H, W) as stored, and the orientation of EXIF."""
    with opened(path, str(path)) as file:
        head = file.read(4)
        file.seek(0)
        tiff = open_tiff(file) if head in TIFF_HEADS else None
        if tiff is not None:
            return tiff.size, tiff.orientation
        file.seek(0)
        image = open_image(file, str(path))
        return (image.height, image.width), orientation_of(image)


def orientation_of(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except DAMAGE:
        return 1  # as in _decode
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def opened(path: Path, name: str) -> Iterator[BinaryIO]:
    """An image file to read from, with what can be wrong with it explained."""
    try:
        if path.is_dir():
            raise ImageError(f"{name} is a folder: give one file in it.")
        if path.is_fifo():  # opening it would wait for a writer
            raise ImageError(f"{name} is no regular file: give an image file.")
        # A file handle, not its name: Pillow 13 maps some turned TIFFs by name, and wrongly.
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ImageError(f"{name} is empty (0 bytes): copy or download it again.")
            yield file
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist: check its spelling and folder.") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read: give yourself read permission on it.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be opened ({why(error)}): check the path.") from error


@contextmanager
def no_pillow_limit() -> Iterator[None]:
    """Lifts Pillow's own pixel limit, which warns below ours and cannot be raised by ours.

    The limit is global to the process, so it is lifted by one thread at a time and put back.
    """
    with _PILLOW_LIMIT_LOCK:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def open_image(file: BinaryIO, name: str, formats: tuple[str, ...] | None = None) -> Image.Image:
    """The size and mode of an image file, nothing decoded yet.

    Args:
        file: stays open for as long as the image is used.
        name: of it in messages.
        formats: Pillow's names of those that are read; None for all that it knows.

    Raises:
        ImageError: it is none of these, or its header is damaged.
    """
    _know_heif(file, name, formats)
    try:
        with no_pillow_limit():
            return Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        known = advice(Path(name))
        if known is not None:
            raise ImageError(f"{name} cannot be read ({known}).") from error
        raise ImageError(
            f"{name} is not an image that can be read: its kind or its kind of pixels is unknown "
            "(known are JPEG, PNG, WebP, TIFF and BMP), or its beginning is damaged; open it in a "
            "viewer and save it as PNG."
        ) from error
    except DAMAGE as error:
        raise ImageError(f"{name} has a damaged header ({why(error)}): {RESAVE}.") from error


def _know_heif(file: BinaryIO, name: str, formats: tuple[str, ...] | None) -> None:
    """Lets Pillow know HEIF files, when one comes.

    Raises:
        ImageError: without pillow-heif, or if HEIF is none of the ``formats``.
    """
    head = file.read(12)
    file.seek(0)
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF:
        return
    if formats is not None:
        raise ImageError(f"{name} is a HEIC picture, which is not taken here: send it as JPEG.")
    if ".heic" in Image.registered_extensions():
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(
            f"{name} is a HEIC picture: pip install 'likewise[heic]', or save it as JPEG."
        ) from error
    register_heif_opener()
