"""Images that strangers send: looked at before anything is decoded; and files below the root."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from ...io.images import reading_bytes
from ..errors import RefusedError

KEPT = 3
"""Bytes of a pixel when it is read."""
TOGETHER = 4
"""All images of a request together may have so many times the pixels of one."""
BYTES = 36
"""Memory that reading them may take, for each pixel that one may have."""


class Intake:
    """The images of one request.

    Args:
        most: pixels of an image.
    """

    def __init__(self, most: int) -> None:
        self.most, self._sum, self._peak = most, 0, 0

    def open(self, file: BinaryIO, name: str) -> io.BytesIO:
        """The content of an image file, of which only the header was looked at.

        Args:
            file: what was sent; the limit of a body is one of it too.
            name: of it in messages.

        Raises:
            RefusedError: 413, too many pixels, or too much memory to read all images.
            ImageError: it is no image.
        """
        content = io.BytesIO(file.read())
        (height, width), reading = reading_bytes(content, name)
        pixels = width * height
        if pixels > self.most:
            raise RefusedError(
                413,
                f"{name} is {width} × {height} = {pixels} pixels, over the limit of "
                f"{self.most}: shrink it.",
            )
        self._sum += pixels
        if self._sum > TOGETHER * self.most:
            raise RefusedError(
                413, f"the images have more than {TOGETHER * self.most} pixels together: send less."
            )
        # One is read at a time, in more memory than it takes from then on.
        self._peak = max(self._peak, reading)
        needed, limit = KEPT * self._sum + self._peak, BYTES * self.most
        if needed > limit:
            raise RefusedError(
                413,
                f"the images take {needed / 1e6:.0f} MB to read, over the limit of "
                f"{limit / 1e6:.0f} for a request: send less at once, or 8-bit ones.",
            )
        return content


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
