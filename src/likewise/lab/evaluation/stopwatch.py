"""Seconds of each stage of a run, and how many images went through it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Stopwatch:
    """Adds up; a stage that runs inside another is counted once, as its own."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.images: dict[str, int] = {}
        self._inner = [0.0]
        self.device: torch.device | None = None
        """An accelerator to wait for at both ends of a stage."""

    @contextmanager
    def stage(self, name: str, images: int = 1) -> Iterator[None]:
        """Time what happens inside, for so many images."""
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
        """Mean seconds an image; None if none went through the stage."""
        images = self.images.get(name, 0)
        return self.seconds[name] / images if images else None

    def _settle(self) -> None:
        if self.device is not None and self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
