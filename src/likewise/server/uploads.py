"""Images that strangers send: looked at before anything is decoded; and files below the root."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from PIL import Image

from ..images import open_image
from .problems import RefusedError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""Not all that Pillow knows: EPS, for one, starts another program."""
TOGETHER = 4
"""All images of a request together may have so many times the pixels of one."""


class Intake:
    """The images of one request.

    Args:
        most: pixels of an image.
    """

    def __init__(self, most: int) -> None:
        self.most, self._sum = most, 0

    def open(self, file: BinaryIO, name: str) -> Image.Image:
        """An image of which only the header is read.

        Args:
            file: stays open for as long as the image is used.
            name: of it in messages.

        Raises:
            RefusedError: 413, too many pixels.
            ImageError: it is no image.
        """
        image = open_image(file, name, FORMATS)
        pixels = image.width * image.height
        self._sum += pixels
        if pixels > self.most:
            raise RefusedError(
                413,
                f"{name} is {image.width} × {image.height} = {pixels} pixels, over the limit of "
                f"{self.most}: shrink it.",
            )
        if self._sum > TOGETHER * self.most:
            raise RefusedError(
                413, f"the images have more than {TOGETHER * self.most} pixels together: send less."
            )
        return image


def open_below(root: Path | None, path: str) -> BinaryIO:
    """A file that a request names, opened.

    Args:
        root: resolved; None where the server reads no files.
        path: relative to it.

    Raises:
        RefusedError: 403, there is no root; 404, it is no file, or not below the root, by ``..`` or
            by symbolic links.
    """
    if root is None:
        raise RefusedError(403, "this server reads no files of its own: send the image itself.")
    # The same words for all, so that nobody learns what lies elsewhere.
    missing = RefusedError(404, "there is no such file below the server's root: check path.")
    try:
        file = (root / path).resolve(strict=True)
        if file.is_relative_to(root) and file.is_file():
            return file.open("rb")
    except (OSError, ValueError, RuntimeError) as error:  # also NUL in it, or a ring of links
        raise missing from error
    raise missing
