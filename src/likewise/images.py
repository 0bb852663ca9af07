"""Pixels in and out: the one place that reads and writes image files.

Everything that can be wrong with an input ends in an `ImageError`: one sentence that names the
file (or the array), says what is wrong with it and how to mend it.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from .errors import ImageError
from .writing import write_whole

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor"

MAX_PIXELS = 179_000_000
"""Largest image that is decoded, in pixels; the variable LIKEWISE_MAX_PIXELS replaces it."""

SENT_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""What is read of images that strangers send. Not all that Pillow knows: EPS, for one, starts
another program."""
SENT_BYTES = 1_000_000_000
"""Memory that reading one of them may take: a small file may hold very many pixels."""

PATH = (str, os.PathLike)
_FULL_SCALES = (255, 1023, 4095, 16383, 65535)  # 8, 10, 12, 14 and 16 bits
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_RESAVE = "copy or download it again, or open it in a viewer and save it as PNG"
_PILLOW_LIMIT_LOCK = threading.Lock()

# All that Pillow's format plugins let through when a file is cut short, garbled or hostile.
_DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError),
    *(NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError),
)


def read_image(source: ImageLike, *, name: str | None = None) -> npt.NDArray[np.uint8]:
    """Any picture as 8-bit RGB, upright.

    Args:
        source: path of any file Pillow opens (the first frame of several); PIL image; numpy array
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); torch tensor of those shapes or with the
            channels first, which wins where both readings fit. Arrays and tensors are bool, uint8,
            uint16, or floats in 0..1.
        name: what messages call an image that is no file; default "the image array" and the like.

    Returns:
        (H, W, 3) uint8, C-contiguous, never sharing memory with `source`.

    The rules, in the order they apply:
        * EXIF orientation is applied (files and PIL images).
        * Alpha is dropped, not composited: transparent pixels keep the colour stored under them.
        * Palette, CMYK, YCbCr, LAB, HSV and 1-bit become RGB the way Pillow converts them. 16-bit
          colour files are cut to 8 bits by Pillow on reading.
        * 16-bit values are divided by the smallest of the 8-, 10-, 12-, 14- and 16-bit full scales
          (255, 1023, 4095, 16383, 65535) that holds the image's maximum.
        * Modes I and F (32-bit files): floats that all lie in 0..1 are taken as they are; values
          in 0..65535 follow the 16-bit rule; anything else is stretched from its minimum..maximum.

    Raises:
        ImageError: missing, unreadable, empty, damaged or over-large file, NaN or infinity, or an
            array of another shape, dtype or range.
    """
    name = source_name(source, name, "image")
    if isinstance(source, (Image.Image, *PATH)):
        image = read_pillow(source, name)
        if image.mode[0] not in "IF":  # I, F, and I;16 in its byte orders
            # Pillow knows no way from these to RGB, or one that warns about transparency.
            detour = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(image.mode)
            return np.array((image.convert(detour) if detour else image).convert("RGB"))
        pixels = _wide_to_uint8(np.asarray(image), name)
    else:
        pixels = read_array(source, name)
        pixels = pixels if pixels.ndim == 2 else pixels[..., :3]
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8) * np.uint8(255)
        elif pixels.dtype.kind == "f":
            if pixels.min() < -1e-5 or pixels.max() > 1 + 1e-5:
                raise ImageError(
                    f"{name} holds floats from {pixels.min():g} to {pixels.max():g}, but floats "
                    "must lie in 0..1: divide by the largest possible value, or convert to uint8."
                )
            pixels = _wide_to_uint8(pixels.clip(0, 1), name)
        elif pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
            pixels = _wide_to_uint8(pixels, name)
        elif pixels.dtype != np.uint8:
            raise ImageError(
                f"{name} has the dtype {pixels.dtype}: convert it to uint8, uint16, bool, or "
                "floats in 0..1."
            )
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.array(pixels, dtype=np.uint8, order="C")


def read_image_bytes(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """``read_image`` of a file's content that came from elsewhere, such as over a network.

    Args:
        content: of a file in one of SENT_FORMATS.
        name: what messages call it.

    Raises:
        ImageError: as for a file; or it would take more than SENT_BYTES.
    """
    if not content:
        raise ImageError(f"{name} is empty (0 bytes): copy or download it again.")
    image = open_image(io.BytesIO(content), name, SENT_FORMATS)
    if (needed := reading_bytes(image)) > SENT_BYTES:
        raise ImageError(
            f"{name} is {image.width} × {image.height} pixels, which take {needed // 10**6} MB to "
            f"read, over the limit of {SENT_BYTES // 10**6}: shrink it."
        )
    return read_image(image, name=name)


def reading_bytes(image: Image.Image) -> int:
    """About how much memory ``read_image`` takes at most: what is decoded and all copies of it."""
    wide = image.mode[0] in "IF"
    each = 30 if wide else 12 if image.mode in ("1", "L", "P") else 20
    return image.width * image.height * each


def write_mask(path: str | os.PathLike[str], mask: npt.NDArray[np.bool_]) -> None:
    """Writes a mask as 8-bit grey PNG, 0 and 255. `path` is whole at every moment, old or new.

    Args:
        path: file to write, ending in .png; its folder must exist.
        mask: (H, W) bool.

    Raises:
        ImageError: another suffix, shape or dtype, or the file cannot be written.
    """
    write_whole(Path(path), encode_mask(path, mask))


def encode_mask(path: str | os.PathLike[str], mask: npt.NDArray[np.bool_]) -> bytes:
    """The file that `write_mask` writes, with the same errors; `path` only gives its name."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool or not mask.size:
        raise ImageError(
            f"the mask for {path} has the shape {mask.shape} and dtype {mask.dtype}: give a "
            "non-empty (H, W) array of bool."
        )
    if Path(path).suffix.lower() != ".png":
        raise ImageError(f"{path} cannot hold a mask: masks are PNG, name it with .png.")
    return _encode(path, Image.fromarray(mask.astype(np.uint8) * np.uint8(255)), "PNG")


def write_label_map(
    path: str | os.PathLike[str],
    label_map: npt.NDArray[np.unsignedinteger[Any]],
    palette: Sequence[tuple[int, int, int]],
) -> None:
    """Writes a label map as palette PNG (16-bit grey if it is uint16). `path` is always whole.

    Args:
        path: file to write, ending in .png; its folder must exist.
        label_map: (H, W) uint8 or uint16.
        palette: RGB of 0, 1, 2, ...; readers that want the labels take the index.

    Raises:
        ImageError: the file cannot be written.
    """
    write_whole(Path(path), encode_label_map(path, label_map, palette))


def encode_label_map(
    path: str | os.PathLike[str],
    label_map: npt.NDArray[np.unsignedinteger[Any]],
    palette: Sequence[tuple[int, int, int]],
) -> bytes:
    """The file that `write_label_map` writes, with the same errors; `path` only gives its name."""
    image = Image.fromarray(label_map)
    if label_map.dtype == np.uint8:
        image.putpalette([channel for colour in palette[:256] for channel in colour])
    return _encode(path, image, "PNG")


def write_image(path: str | os.PathLike[str], rgb: npt.NDArray[np.uint8]) -> None:
    """Writes a picture as PNG, JPEG or WebP. `path` is whole at every moment, old or new.

    Args:
        path: file to write, ending in .png, .jpg, .jpeg or .webp; its folder must exist.
        rgb: (H, W, 3) uint8.

    Raises:
        ImageError: another suffix, shape or dtype, or the file cannot be written.
    """
    write_whole(Path(path), encode_image(path, rgb))


def encode_image(path: str | os.PathLike[str], rgb: npt.NDArray[np.uint8]) -> bytes:
    """The file that `write_image` writes, with the same errors; `path` only gives its name."""
    rgb = np.asarray(rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise ImageError(
            f"the image for {path} has the shape {rgb.shape} and dtype {rgb.dtype}: give a "
            "non-empty (H, W, 3) array of uint8."
        )
    return _encode(path, Image.fromarray(np.ascontiguousarray(rgb)), picture_format(path))


def picture_format(path: str | os.PathLike[str]) -> str:
    """Pillow's name for the format of ``path``'s suffix. Raises ImageError if it has none."""
    image_format = _FORMATS.get(Path(path).suffix.lower())
    if image_format is None:
        raise ImageError(f"{path} has no known suffix: name it with one of {', '.join(_FORMATS)}.")
    return image_format


def _is_tensor(source: object) -> bool:
    """Known by its classes' modules, so that reading a file never imports torch."""
    return any(base.__module__.split(".")[0] == "torch" for base in type(source).__mro__[:-1])


def why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def source_name(source: object, name: str | None, what: str) -> str:
    """What messages call `source`."""
    if isinstance(source, PATH):
        return os.fspath(source) or "''"
    kinds = (np.ndarray, "array"), (Image.Image, "picture"), (Mapping, "annotation")
    kind = next((word for kind, word in kinds if isinstance(source, kind)), "tensor")
    return name or f"the {what} {kind}"


def check_size(height: int, width: int, name: str) -> None:
    """Refuses nothing and too much.

    Raises:
        ImageError: no pixels, more than the limit, or a limit that is no number.
    """
    setting = os.environ.get("LIKEWISE_MAX_PIXELS", "") or str(MAX_PIXELS)
    if not setting.isdecimal() or int(setting) == 0:
        raise ImageError(
            f"the variable LIKEWISE_MAX_PIXELS is {setting!r}: set it to a number of pixels such "
            f"as {MAX_PIXELS}, or unset it."
        )
    if height <= 0 or width <= 0:
        raise ImageError(f"{name} has no pixels (width {width}, height {height}): give another.")
    if height * width > int(setting):
        raise ImageError(
            f"{name} is {width} × {height} = {height * width} pixels, over the limit of {setting}: "
            "shrink it, or raise the limit with the variable LIKEWISE_MAX_PIXELS."
        )


def read_pillow(source: Any, name: str) -> Image.Image:
    """Decoded and upright; a copy of a PIL image, or the first frame of the file at a path."""
    if isinstance(source, Image.Image):
        return _decode(source, name)
    with _opened(Path(source), name) as file:
        return _decode(open_image(file, name), name)


def is_turned(path: Path, orientations: range = range(2, 9)) -> bool:
    """Whether an image file is stored turned or mirrored and says so in EXIF.

    Args:
        path: the file.
        orientations: those of EXIF that count; from 5 on, width and height change places.

    Raises:
        ImageError: the file cannot be opened.
    """
    with _opened(path, str(path)) as file:
        image = open_image(file, str(path))
        try:
            return image.getexif().get(ExifTags.Base.Orientation) in orientations
        except _DAMAGE:
            return False  # as in _decode


def is_cut_out(path: Path) -> bool:
    """Whether an image file has an alpha channel that says something: not the same everywhere.

    Raises:
        ImageError: the file cannot be read.
    """
    image = read_pillow(path, str(path))
    alpha = [channel for channel in image.getbands() if channel in "Aa"]
    if not alpha:
        return False
    low, high = image.getchannel(alpha[0]).getextrema()
    return low != high


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) pixels of an image file, upright, from its header alone.

    Raises:
        ImageError: the file cannot be opened.
    """
    with _opened(path, str(path)) as file:
        width, height = open_image(file, str(path)).size
    return (width, height) if is_turned(path, range(5, 9)) else (height, width)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
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
def _no_pillow_limit() -> Iterator[None]:
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
    try:
        with _no_pillow_limit():
            return Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that can be read: its kind or its kind of pixels is unknown "
            "(known are JPEG, PNG, WebP, TIFF and BMP), or its beginning is damaged; open it in a "
            "viewer and save it as PNG."
        ) from error
    except _DAMAGE as error:
        raise ImageError(f"{name} has a damaged header ({why(error)}): {_RESAVE}.") from error


def _decode(image: Image.Image, name: str) -> Image.Image:
    """An upright copy, with the size checked before anything is decoded."""
    check_size(image.height, image.width, name)
    # Some formats check again on decoding; smaller images need no lock and decode in parallel.
    large = image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0)
    try:
        with _no_pillow_limit() if large else nullcontext():
            image.load()
    except MemoryError as error:
        raise ImageError(
            f"{name} ({image.width} × {image.height} pixels) does not fit in memory: shrink it."
        ) from error
    except _DAMAGE as error:
        raise ImageError(f"{name} is cut short or damaged ({why(error)}): {_RESAVE}.") from error
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE:
        return image.copy()  # The pixels are whole; garbled EXIF only means no known orientation.


def read_array(source: Any, name: str) -> npt.NDArray[Any]:
    """(H, W), (H, W, 3) or (H, W, 4) of bool, integers or finite floats."""
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
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ImageError(
            f"{name} has the shape {tuple(source.shape)}: give (height, width), or (height, "
            "width, channels) with 1, 3 or 4 channels."
        )
    check_size(array.shape[0], array.shape[1], name)
    if array.dtype.kind not in "biuf":
        raise ImageError(f"{name} has the dtype {array.dtype}: convert it to uint8.")
    check_finite(array, name)
    return array


def check_finite(values: npt.NDArray[Any], name: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ImageError(f"{name} holds NaN or infinity: replace those with numbers.")


def _wide_to_uint8(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """The rules of `read_image` for more than 8 bits; any shape, same shape out."""
    check_finite(values, name)
    low, high = float(values.min()), float(values.max())
    start, span = 0.0, 1.0
    if low < 0 or high > _FULL_SCALES[-1]:
        start, span = low, (high - low) or 1.0
    elif values.dtype.kind != "f" or high > 1:
        span = next(scale for scale in _FULL_SCALES if high <= scale)
    scaled = (values.astype(np.float64) - start) * (255 / span)
    return np.rint(scaled).astype(np.uint8)


def _encode(path: str | os.PathLike[str], image: Image.Image, image_format: str) -> bytes:
    file = io.BytesIO()
    try:
        image.save(file, format=image_format, quality=95)
    except (OSError, ValueError) as error:
        size = f"{image.width} × {image.height} pixels"
        raise ImageError(
            f"{path} cannot be written ({why(error)}): {size} may be too many for it, so try .png."
        ) from error
    return file.getvalue()
