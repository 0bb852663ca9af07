"""Seconds and images of each stage of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Stopwatch:
    """Sums of seconds and images by stage; time of a nested stage counts for that stage only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.images: dict[str, int] = {}
        self._inner = [0.0]
        self.device: torch.device | None = None
        """CUDA device to synchronise with at both ends of a stage; None: none."""

    @contextmanager
    def stage(self, name: str, images: int = 1) -> Iterator[None]:
        """Time the body of a ``with`` statement, which handles so many images."""
        self._settle()
        start = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            self._settle()
            spent, inner = time.perf_counter() - start, self._inner.pop()
            self._inner[-1] += spent
            self.seconds[name] = self.seconds.get(name, 0.0) + spent - inner
            self.images[name] = self.images.get(name, 0) + images

    def per_image(self, name: str) -> float | None:
        """Mean seconds per image; None if there was no image."""
        images = self.images.get(name, 0)
        return self.seconds[name] / images if images else None

    def _settle(self) -> None:
        if self.device is not None and self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
