"""``backbones.feature_cache`` for measuring: without a limit, and with a stopwatch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...backbones import feature_cache
from ...backbones.encoder import BATCH
from ...backbones.feature_cache import FeatureCache
from ...backbones.files import cache_folder
from ...backbones.loading import Backbone
from ...features.patch_features import PatchFeatures
from ...io.prefetch import batched
from .stopwatch import Stopwatch


class TimedEncoder(feature_cache.CachedEncoder):
    """An encoder that keeps features in the user's cache folder and measures its time.

    Args:
        backbone: as for Encoder, as are ``options``.
        keep: False: no rounding, and features are neither read nor written.
        watch: gets the seconds of ``encode`` (computed) and ``cached`` (read).
    """

    def __init__(
        self,
        backbone: str | Path | Backbone = "embedded",
        *,
        keep: bool = True,
        watch: Stopwatch | None = None,
        **options: Any,
    ) -> None:
        self.watch = watch or Stopwatch()
        self._counted = True  # False for parts of a joined encoder: the whole counts images
        cache = FeatureCache(cache_folder() / "features") if keep else None
        super().__init__(backbone, cache=cache, **options)
        self.watch.device = self.device

    def like(
        self, backbone: Backbone, size: int | tuple[int, int], rank: int | float | None
    ) -> TimedEncoder:
        """As ``Encoder.like``, with the same cache and stopwatch, which counts no image twice."""
        keep = self.cache is not None
        other = TimedEncoder(
            backbone, keep=keep, watch=self.watch, image_size=size, svd_components=rank
        )
        other._counted = False
        return other

    def images_at_once(self, count: int) -> int:
        """One, for the stopwatch."""
        return 1

    def encode_many(
        self, images: Iterable[np.ndarray], batch_size: int | None = None
    ) -> Iterator[PatchFeatures]:
        """As ``Encoder.encode_many``: one ``PatchFeatures`` for each image, in order.

        Joined backbones cache their features separately; an image counts as computed if one of them
        has to compute it.
        """
        for batch in batched(images, batch_size or BATCH):
            if self.parts:
                parts = cast("tuple[TimedEncoder, ...]", self.parts)
                lacking = {self.key(i) for i in batch if any(p.lacks(i) for p in parts)}
                known = {self.key(i) for i in batch} - lacking
                self._count(encode=len(lacking), cached=len(known))
                with self.watch.stage("cached", 0):
                    encoded = list(super().encode_many(batch, len(batch)))
                yield from encoded
            elif self.cache is not None:
                yield from super().encode_many(batch, len(batch))
            else:
                with self._stage("encode", len(batch)):
                    encoded = list(super().encode_many(batch, len(batch)))
                yield from encoded

    @contextmanager
    def _stage(self, name: str, images: int = 0) -> Iterator[None]:
        self._count(**{name: images})
        with self.watch.stage(name, 0):
            yield

    def _count(self, **images: int) -> None:
        for stage, number in images.items():
            if self._counted:
                self.watch.images[stage] = self.watch.images.get(stage, 0) + number
