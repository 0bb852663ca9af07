"""An encoder that remembers the pictures it saw last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...backbones.feature_cache import CachedEncoder
from ...features.patch_features import PatchFeatures
from ...io.hashing import sha256

KEPT_BYTES = 512 * 2**20
"""Of features in memory: some 240 pictures at the embedded backbone's size."""


class KeepingEncoder(CachedEncoder):
    """Encodes a picture once, as long as there is room; the features are the same to the bit."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kept: OrderedDict[str, PatchFeatures] = OrderedDict()
        bytes_each = 4 * self.spec.dim * self.grid[0] * self.grid[1]
        self.room = max(8, KEPT_BYTES // bytes_each)
        """How many pictures are remembered."""

    def images_at_once(self, count: int) -> int:
        """One: what is remembered is for one thread, and the first result is waited for."""
        return 1

    def encode_many(
        self, images: Iterable[np.ndarray], batch_size: int | None = None
    ) -> Iterator[PatchFeatures]:
        """As ``Encoder.encode_many``, of pictures that fit in memory together."""
        keyed = [(_key(image), image) for image in images]
        pictures = dict(keyed)
        new = [key for key in pictures if key not in self._kept]
        known = {key: self._kept[key] for key in pictures if key in self._kept}
        encoded = super().encode_many((pictures[key] for key in new), batch_size)
        # Without what is quickly made of the rest.
        known |= {
            key: PatchFeatures(e.features.cpu(), e.features[:0], e.grid, e.size, e.colour)
            for key, e in zip(new, encoded, strict=True)
        }
        for key, kept in known.items():
            self._kept[key] = kept
            self._kept.move_to_end(key)
        while len(self._kept) > self.room:
            self._kept.popitem(last=False)
        for key, _ in keyed:
            yield self.restore(known[key].features, known[key].size, known[key].colour)


def _key(image: np.ndarray) -> str:
    return sha256(str(image.shape).encode(), image)
