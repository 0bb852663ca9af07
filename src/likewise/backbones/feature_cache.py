"""Features of pictures on disk, by the hash of the pixels and of all that encoding depends on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..features.patch_features import PatchFeatures
from ..io.hashing import fingerprint
from ..io.prefetch import batched
from .encoder import BATCH, Encoder
from .files import save_quietly
from .loading import Backbone

if TYPE_CHECKING:
    import torch

LAYOUT = 1  # version of the files; files of other versions are not read
SUFFIX = ".safetensors"
LIMIT = 2 * 10**9
"""Bytes, where nothing else is said."""
LOW = 0.9
"""Share of the limit that files are deleted down to, so that not every picture deletes one."""


@dataclass(frozen=True)
class FeatureCache:
    """A folder of features, float16. What of it is missing or damaged is made again."""

    folder: Path
    limit: int | None = None
    """Bytes that it holds at most, the files used last; None: all of them, 0: none."""

    def path(self, key: str) -> Path:
        """The file of a picture."""
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def files(self) -> list[tuple[int, int, Path]]:
        """(time of the last use in ns, bytes, path) of the files, the oldest first."""
        found = []
        for path in self.folder.glob(f"??/*{SUFFIX}"):
            with suppress(OSError):  # another process has deleted it
                now = path.stat()
                found.append((now.st_mtime_ns, now.st_size, path))
        return sorted(found)

    def size(self) -> tuple[int, int]:
        """Pictures and bytes."""
        sizes = [size for _, size, _ in self.files()]
        return len(sizes), sum(sizes)

    def shrink(self) -> int:
        """Delete what was not used for longest, if there is too much; the bytes that are left."""
        files = self.files()
        total = sum(size for _, size, _ in files)
        if self.limit is not None and total > self.limit:
            for _, size, path in files:
                if total <= LOW * self.limit:
                    break
                with suppress(OSError):  # it cannot be deleted, or is already
                    path.unlink()
                    total -= size
        return total


class CachedEncoder(Encoder):
    """An Encoder that keeps features on disk.

    Features are rounded to float16 also when they are computed, and also if no file is kept, so
    that results do not depend on what is in the cache. Files hold original features, debiased after
    reading for any rank.

    Args:
        backbone: as for Encoder, as are ``options``.
        cache: where; None: features are neither kept nor rounded, as of an Encoder.
    """

    def __init__(
        self,
        backbone: str | Path | Backbone = "embedded",
        *,
        cache: FeatureCache | None = None,
        **options: Any,
    ) -> None:
        self.cache = cache
        super().__init__(backbone, **options)
        # The hash of a preprocessed test image stands for the preprocessing.
        probe = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
        made = self.facts | {"rank": None, "device": self.device.type}
        self._made = fingerprint(LAYOUT, made, self.preprocess([probe]).numpy())
        self._bytes: int | None = None  # in the cache, as far as this process knows

    def like(
        self, backbone: Backbone, size: int | tuple[int, int], rank: int | float | None
    ) -> Encoder:
        """As ``Encoder.like``, with the same cache."""
        return CachedEncoder(backbone, cache=self.cache, image_size=size, svd_components=rank)

    def encode_many(
        self, images: Iterable[np.ndarray], batch_size: int | None = None
    ) -> Iterator[PatchFeatures]:
        """As ``Encoder.encode_many``; joined backbones keep their features separately."""
        if self.cache is None or self.parts:
            yield from super().encode_many(images, batch_size)
            return
        for batch in batched(images, batch_size or BATCH):
            yield from self._through(self.cache, batch)

    def key(self, image: np.ndarray) -> str:
        """32 hex digits of (H, W, 3) uint8 pixels and everything that their features depend on."""
        return fingerprint(self._made, image)

    def lacks(self, image: np.ndarray) -> bool:
        """Whether (H, W, 3) uint8 pixels are not cached."""
        return self.cache is None or not self.cache.path(self.key(image)).is_file()

    def _stage(self, name: str, images: int = 0) -> AbstractContextManager[None]:
        """Around the work of ``encode`` and ``cached``, of so many new images: for who measures."""
        return nullcontext()

    def _through(self, cache: FeatureCache, batch: Sequence[np.ndarray]) -> Iterator[PatchFeatures]:
        keys = [self.key(image) for image in batch]
        stored: dict[str, dict[str, torch.Tensor]] = {}
        missing: dict[str, np.ndarray] = {}
        for key, image in zip(keys, batch, strict=True):
            if key not in stored and key not in missing:
                with self._stage("cached"):
                    found = self._load(cache.path(key)) if cache.limit != 0 else None
                if found is None:
                    missing[key] = image
                else:
                    stored[key] = found
        with self._stage("cached", len(stored)):
            pass
        if missing:
            with self._stage("encode", len(missing)):
                made = super().encode_many(list(missing.values()), len(missing))
                for key, encoded in zip(missing, made, strict=True):
                    stored[key] = {"features": encoded.features.half().cpu()}
                    if encoded.colour is not None:
                        stored[key]["colour"] = encoded.colour.cpu()
            if cache.limit != 0:
                for key in missing:
                    save_quietly(stored[key], cache.path(key))
                self._bound(cache, [stored[key] for key in missing])
        for key, image in zip(keys, batch, strict=True):
            with self._stage("encode" if key in missing else "cached"):
                size, cached = (image.shape[0], image.shape[1]), stored[key]
                encoded = self.restore(cached["features"], size, cached.get("colour"))
            yield encoded

    def _bound(self, cache: FeatureCache, new: Sequence[dict[str, torch.Tensor]]) -> None:
        """Keep the limit after new files; the folder is only read where it may be reached."""
        if cache.limit is None:
            return
        if self._bytes is not None:
            self._bytes += sum(t.nbytes for tensors in new for t in tensors.values())
        if self._bytes is None or self._bytes > cache.limit:
            self._bytes = cache.shrink()

    def _load(self, path: Path) -> dict[str, torch.Tensor] | None:
        """Cached tensors, now used; None if there is no file or it is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        shape = (self.grid[0] * self.grid[1], self.spec.dim)
        with suppress(OSError, SafetensorError, KeyError):
            tensors = load_file(path)
            if tensors["features"].shape == shape:
                with suppress(OSError):  # a folder that can only be read is as good
                    os.utime(path)
                return tensors
        return None
