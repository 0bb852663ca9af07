"""Cache of features on disk, by the hash of the pixels and of all that encoding depends on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ...backbones.encoder import BATCH, Encoder
from ...backbones.files import cache_folder, save_quietly
from ...backbones.loading import Backbone
from ...features.patch_features import PatchFeatures
from ...io.hashing import fingerprint
from ...io.prefetch import batched
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    import torch

LAYOUT = 1  # version of the files; files of other versions are not read


class CachedEncoder(Encoder):
    """An Encoder that caches features on disk and measures its time.

    Features are rounded to float16 also when they are computed, so that the first run and all later
    ones give equal results. Files hold original features, debiased after reading for any rank.

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
        self.keep = keep
        self.watch = watch or Stopwatch()
        self._counted = True  # False for parts of a joined encoder: the whole counts images
        super().__init__(backbone, **options)
        self.watch.device = self.device
        # The hash of a preprocessed test image stands for the preprocessing.
        probe = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
        made = self.facts | {"rank": None, "device": self.device.type}
        self._made = fingerprint(LAYOUT, made, self.preprocess([probe]).numpy())

    def _part(
        self, backbone: Backbone, size: tuple[int, int], rank: int | float | None
    ) -> CachedEncoder:
        part = CachedEncoder(
            backbone, keep=self.keep, watch=self.watch, image_size=size, svd_components=rank
        )
        part._counted = False
        return part

    def encode_many(
        self, images: Iterable[np.ndarray], batch_size: int | None = None
    ) -> Iterator[PatchFeatures]:
        """As ``Encoder.encode_many``: one ``PatchFeatures`` for each image, in order.

        Joined backbones cache their features separately; an image counts as computed if one of them
        has to compute it.
        """
        for batch in batched(images, batch_size or BATCH):
            if self.parts:
                parts = cast("tuple[CachedEncoder, ...]", self.parts)
                lacking = {self.key(i) for i in batch if any(p.lacks(i) for p in parts)}
                known = {self.key(i) for i in batch} - lacking
                self._count(encode=len(lacking), cached=len(known))
                with self.watch.stage("cached", 0):
                    encoded = list(super().encode_many(batch, len(batch)))
                yield from encoded
            elif self.keep:
                yield from self._through_cache(batch)
            else:
                with self.watch.stage("encode", 0):
                    encoded = list(super().encode_many(batch, len(batch)))
                self._count(encode=len(batch))
                yield from encoded

    def lacks(self, image: np.ndarray) -> bool:
        """Whether (H, W, 3) uint8 pixels are not cached."""
        return not self.keep or not self._path(self.key(image)).is_file()

    def _count(self, **images: int) -> None:
        for stage, number in images.items():
            if self._counted:
                self.watch.images[stage] = self.watch.images.get(stage, 0) + number

    def _through_cache(self, batch: Sequence[np.ndarray]) -> Iterator[PatchFeatures]:
        keys = [self.key(image) for image in batch]
        stored: dict[str, dict[str, torch.Tensor]] = {}
        missing: dict[str, np.ndarray] = {}
        for key, image in zip(keys, batch, strict=True):
            if key not in stored and key not in missing:
                with self.watch.stage("cached", 0):
                    found = self._load(key)
                if found is None:
                    missing[key] = image
                else:
                    stored[key] = found
        self._count(cached=len(stored))
        if missing:
            self._count(encode=len(missing))
            with self.watch.stage("encode", 0):
                made = super().encode_many(list(missing.values()), len(missing))
                for key, encoded in zip(missing, made, strict=True):
                    stored[key] = {"features": encoded.features.half().cpu()}
                    if encoded.colour is not None:
                        stored[key]["colour"] = encoded.colour.cpu()
            for key in missing:
                save_quietly(stored[key], self._path(key))
        for key, image in zip(keys, batch, strict=True):
            with self.watch.stage("encode" if key in missing else "cached", 0):
                size, cached = (image.shape[0], image.shape[1]), stored[key]
                encoded = self.restore(cached["features"], size, cached.get("colour"))
            yield encoded

    def key(self, image: np.ndarray) -> str:
        """32 hex digits of (H, W, 3) uint8 pixels and everything that their features depend on."""
        return fingerprint(self._made, image)

    def _path(self, key: str) -> Path:
        return cache_folder() / "features" / key[:2] / f"{key}.safetensors"

    def _load(self, key: str) -> dict[str, torch.Tensor] | None:
        """Cached tensors; None if there is no file or it is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        shape = (self.grid[0] * self.grid[1], self.spec.dim)
        with suppress(OSError, SafetensorError, KeyError):
            tensors = load_file(self._path(key))
            if tensors["features"].shape == shape:
                return tensors
        return None
