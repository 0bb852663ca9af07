"""Pictures, masks and label maps as the bytes of image files, and written."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError
from .files import write_whole
from .opening import why

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


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
    _check_png(path)
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
        ImageError: another suffix, or the file cannot be written.
    """
    write_whole(Path(path), encode_label_map(path, label_map, palette))


def encode_label_map(
    path: str | os.PathLike[str],
    label_map: npt.NDArray[np.unsignedinteger[Any]],
    palette: Sequence[tuple[int, int, int]],
) -> bytes:
    """The file that `write_label_map` writes, with the same errors; `path` only gives its name."""
    _check_png(path)
    image = Image.fromarray(label_map)
    if label_map.dtype == np.uint8:
        image.putpalette([channel for colour in palette[:256] for channel in colour])
    return _encode(path, image, "PNG")


def _check_png(path: str | os.PathLike[str]) -> None:
    if Path(path).suffix.lower() != ".png":
        raise ImageError(f"{path} cannot hold a mask: masks are PNG, name it with .png.")


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
