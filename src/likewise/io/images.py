"""Pixels in and out: the one place that reads and writes image files.

Everything that can be wrong with an input ends in an `ImageError`: one sentence that names the
file (or the array), says what is wrong with it and how to mend it.
"""

from __future__ import annotations

import io
import math
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError, note, noting
from .files import write_whole
from .formats import advice
from .stretch import Range, Ranges, find_nodata, missing, own_range, suits, to_uint8
from .tiff import Tiff, open_tiff, read_page

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor | Picture | io.BytesIO"
)
"""Of a picture; BytesIO is the content of an image file."""

MAX_PIXELS = 179_000_000
"""Largest image that is decoded, in pixels; the variable LIKEWISE_MAX_PIXELS replaces it."""

SENT_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
"""What is read of images that strangers send. Not all that Pillow knows: EPS, for one, starts
another program."""
WIDE_BYTES = 30
"""Memory for each pixel of more than 8 bits while it is read: what is decoded and all copies."""
SENT_BYTES = 1_000_000_000
"""Memory that reading one of them may take: a small file may hold very many pixels."""

PATH = (str, os.PathLike)
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_RESAVE = "copy or download it again, or open it in a viewer and save it as PNG"
_PILLOW_LIMIT_LOCK = threading.Lock()
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# All that Pillow's format plugins let through when a file is cut short, garbled or hostile.
_DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError),
    *(NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError),
)


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


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a file, picture or array holds, before anything is made of it."""

    pixels: Image.Image | npt.NDArray[Any]
    """Upright: what Pillow reads truthfully, or (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)."""
    shown: npt.NDArray[np.bool_] | None = None
    """(H, W) where the file's own mask shows the pixels."""
    nodata: float | None = None
    """The value that says that there is no data, where the file names it."""


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
    as_is = False
    if isinstance(pixels, Image.Image):
        if pixels.mode[0] in "IF":  # I, F, and I;16 in its byte orders
            key = pixels.info.get("transparency")
            nodata = key if nodata is None and isinstance(key, int) else nodata
            pixels = np.asarray(pixels)
        else:
            pixels, alpha = _rgb(pixels)
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


def _rgb(image: Image.Image) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
    """(H, W, 3), and (H, W) where it is not fully transparent, None where it knows no alpha."""
    premultiplied = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    if premultiplied:
        image = image.convert(premultiplied)
    if "A" in image.getbands() or "transparency" in image.info:
        pixels = np.array(image.convert("RGBA"))
        return pixels[..., :3], pixels[..., 3] > 0
    return np.array(image.convert("RGB")), None


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

    Raises:
        ImageError: as for ``read_picture``.
    """
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
    """(H, W) as stored, and about how much memory reading an image that was sent takes at most.

    Args:
        file: its content, in one of SENT_FORMATS; only its header is read.
        name: what messages call it.

    Raises:
        ImageError: it is no image.
    """
    if not file.getbuffer().nbytes:
        raise ImageError(f"{name} is empty (0 bytes): copy or download it again.")
    tiff = open_tiff(file) if file.getbuffer()[:4] in _TIFF else None
    file.seek(0)
    if tiff is not None:
        return tiff.size, WIDE_BYTES * math.prod(tiff.size)
    image = open_image(file, name, SENT_FORMATS)
    each = 12 if image.mode in ("1", "L", "P") else 20
    if image.mode[0] in "IF" or _wide_codec(bytes(file.getbuffer()[:4096])) is not None:
        each = WIDE_BYTES
    file.seek(0)
    return (image.height, image.width), each * image.width * image.height


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
    if isinstance(source, Picture):
        return source.name
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


def decode(source: ImageLike, name: str, *, first: bool = False) -> Decoded:
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
    with _opened(Path(source), name) as file:
        return _decode_file(file, name, first)


def _decode_file(file: BinaryIO, name: str, first: bool) -> Decoded:
    """The one place that knows which reader is true to which file."""
    head = file.read(4096)
    file.seek(0)
    if head[:6] == b"\x93NUMPY":
        return Decoded(read_array(_load_numpy(file, name), name))
    if head[:4] in _TIFF:
        known = advice(Path(name))
        if known is not None:  # many are TIFF within, of which only a thumbnail can be read
            raise ImageError(f"{name} cannot be read ({known}).")
        tiff = open_tiff(file)
        file.seek(0)
        if tiff is not None:
            return _decode_tiff(tiff, file, name, first)
    wide = _wide_codec(head)
    if wide is not None:
        image = open_image(file, name)
        check_size(image.height, image.width, name)
        file.seek(0)
        try:
            import imagecodecs

            values = getattr(imagecodecs, f"{wide}_decode")(file.read())
        except (RuntimeError, *_DAMAGE) as error:
            raise ImageError(
                f"{name} is cut short or damaged ({why(error)}): {_RESAVE}."
            ) from error
        return Decoded(_upright(values, _orientation(image)))
    return Decoded(_decode(_frame(open_image(file, name), name, first), name))


def _load_numpy(file: BinaryIO, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise ImageError(
            f"{name} cannot be used ({why(error)}): save one plain array of numbers with np.save."
        ) from error


def _wide_codec(head: bytes) -> str | None:
    """The codec of imagecodecs for what Pillow would cut to 8 bits: PNG or JPEG 2000 in colour."""
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png" if head[24:25] == b"\x10" and head[25:26] in b"\2\4\6" else None
    size = head.find(b"\xff\x51") if head[4:8] == b"jP  " or head[:2] == b"\xff\x4f" else -1
    if size < 0 or len(head) < size + 41:
        return None
    channels = int.from_bytes(head[size + 38 : size + 40], "big")
    return "jpeg2k" if channels > 1 and head[size + 40] & 127 > 7 else None


def _decode_tiff(tiff: Tiff, file: BinaryIO, name: str, first: bool) -> Decoded:
    check_size(*tiff.size, name)
    if tiff.is_raw:  # of which only a thumbnail can be read
        raise ImageError(f"{name} cannot be read ({advice(Path('a.dng'))}).")
    if tiff.pages[0].dtype is not None and tiff.pages[0].dtype.kind == "c":
        raise ImageError(f"{name} holds complex numbers: save their magnitude, for instance.")
    image = None
    if tiff.is_plain:
        with suppress(ImageError):  # kinds of pixels that only tifffile knows
            image = open_image(file, name)
    number = 0
    try:
        if image is not None:
            numbers = [tiff.number(page) for page in tiff.pages]
            number = 0 if first or len(numbers) == 1 else _first_not_blank(image, numbers)
            image.seek(numbers[number])
            upright, shown = _decode(image, name), None
            hidden = None if number else tiff.hidden()
            shown = None if hidden is None else _upright(~hidden, tiff.orientation)
            decoded = Decoded(upright, shown, tiff.nodata)
        else:
            for number, page in enumerate(tiff.pages):  # noqa: B007
                values, shown, bands = read_page(page)
                if first or values.min() != values.max():
                    break
            else:
                number = 0
                values, shown, bands = read_page(tiff.pages[0])
            if bands is not None:
                note(name, f"{bands} taken.")
            shown = None if shown is None else _upright(shown, tiff.orientation)
            hidden = None if number else tiff.hidden()
            if hidden is not None:
                seen = _upright(~hidden, tiff.orientation)
                shown = seen if shown is None else shown & seen
            decoded = Decoded(_upright(values, tiff.orientation), shown, tiff.nodata)
    except MemoryError as error:
        raise ImageError(f"{name} does not fit in memory: shrink it.") from error
    except (RuntimeError, *_DAMAGE) as error:
        raise _damaged(name, error) from error
    if tiff.total > 1:
        _tell_frame(name, "page", number, tiff.total)
    return decoded


def _upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """A stored (H, W, ...) array turned as EXIF asks."""
    if orientation >= 5:
        values = np.swapaxes(values, 0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _frame(image: Image.Image, name: str, first: bool) -> Image.Image:
    """Moved to the frame to take, which is told."""
    try:
        total = getattr(image, "n_frames", 1)
        if total > 1 and image.format == "MPO":  # later ones may be previews or gain maps
            size = image.size
            image.seek(1)
            total = total if image.size == size else 1
            image.seek(0)
            first = True
        if total == 1:
            return image
        number = 0 if first else _first_not_blank(image, range(total))
        image.seek(number)
    except _DAMAGE as error:
        raise _damaged(name, error) from error
    _tell_frame(name, "frame", number, total)
    return image


def _first_not_blank(image: Image.Image, numbers: Sequence[int]) -> int:
    """Which of an image's frames shows more than one colour first; 0 if none does."""
    for k, number in enumerate(numbers):
        image.seek(number)
        pixels, shown = _rgb(image) if image.mode[0] not in "IF" else (np.asarray(image), None)
        seen = pixels if shown is None else pixels[shown]
        flat = seen.reshape(-1, seen.shape[-1] if pixels.ndim == 3 else 1)
        if (flat != flat[:1]).any():
            return k
    return 0


def _tell_frame(name: str, word: str, number: int, total: int) -> None:
    blank = " (those before it are blank)" if number else ""
    note(name, f"{word} {number + 1} of {total} was taken{blank}.")


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) pixels of an image file, upright, decoded to be sure that it is not damaged.

    Raises:
        ImageError: it cannot be read.
    """
    with noting():
        pixels = decode(path, str(path)).pixels
    if isinstance(pixels, Image.Image):
        return pixels.height, pixels.width
    return pixels.shape[0], pixels.shape[1]


def is_turned(path: Path, orientations: range = range(2, 9)) -> bool:
    """Whether an image file is stored turned or mirrored and says so in EXIF.

    Args:
        path: the file.
        orientations: those of EXIF that count; from 5 on, width and height change places.

    Raises:
        ImageError: the file cannot be opened.
    """
    return _header(path)[1] in orientations


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


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) pixels of an image file, upright, from its header alone.

    Raises:
        ImageError: the file cannot be opened.
    """
    (height, width), orientation = _header(path)
    return (width, height) if orientation >= 5 else (height, width)


def _header(path: Path) -> tuple[tuple[int, int], int]:
    """(H, W) as stored, and the orientation of EXIF."""
    with _opened(path, str(path)) as file:
        head = file.read(4)
        file.seek(0)
        tiff = open_tiff(file) if head in _TIFF else None
        if tiff is not None:
            return tiff.size, tiff.orientation
        file.seek(0)
        image = open_image(file, str(path))
        return (image.height, image.width), _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except _DAMAGE:
        return 1  # as in _decode
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


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
    _know_heif(file, name, formats)
    try:
        with _no_pillow_limit():
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
    except _DAMAGE as error:
        raise ImageError(f"{name} has a damaged header ({why(error)}): {_RESAVE}.") from error


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


def _damaged(name: str, error: BaseException) -> ImageError:
    return ImageError(f"{name} is cut short or damaged ({why(error)}): {_RESAVE}.")


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
        raise _damaged(name, error) from error
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE:
        return image.copy()  # The pixels are whole; garbled EXIF only means no known orientation.


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
