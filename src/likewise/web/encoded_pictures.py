"""Pictures that were prompted last stay encoded: a click costs no run of the encoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

from ..session import EncodedPicture

KEPT = 4
"""Pictures: up to 100 MB each at 64 × 64 patches, and 3 bytes for each of their pixels."""


class EncodedPictures:
    """The last KEPT, fewer if they are large; of one thread.

    Args:
        max_pixels: of all together; the last one stays, whatever its size.
    """

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._kept: OrderedDict[Hashable, tuple[EncodedPicture, Sequence[str]]] = OrderedDict()

    def get(self, key: Hashable) -> tuple[EncodedPicture, Sequence[str]] | None:
        """A picture and what was assumed of it; None if it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def add(self, key: Hashable, picture: EncodedPicture, notes: Sequence[str] = ()) -> None:
        """Keep a picture; the one not used for longest goes first."""
        self._kept[key] = picture, notes
        while len(self._kept) > 1 and (len(self._kept) > KEPT or self._pixels > self.max_pixels):
            self._kept.popitem(last=False)

    @property
    def _pixels(self) -> int:
        sizes = (picture.picture.pixels.shape for picture, _ in self._kept.values())
        return sum(height * width for height, width, _ in sizes)
