"""Pairs from annotated images: two images of a class, or two views of an object."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from .augment import (
    View,
    degrade,
    flip,
    jitter_colour,
    large_scale_jitter,
    look_at,
    random_crop,
)
from .pairs import NEGATIVES, TrainingPair

LONGEST = 1024
"""Longer side, in pixels, to which images are reduced when read."""
SMALLEST = 0.002
"""Share of its image that an entity must cover."""
K = TypeVar("K", bound=Hashable)
CACHE_BYTES = 256 << 20
"""Of ``ReadCache``."""


@dataclass(frozen=True)
class Augmentation:
    """Parameters of the augmentation; probabilities are 0..1."""

    scales: tuple[float, float] = (0.1, 2.0)
    """``scales`` of ``large_scale_jitter``, for pairs of a class."""
    areas: tuple[float, float] = (0.3, 1.0)
    """``areas`` of ``random_crop``, for pairs of an object."""
    stretched: float = 0.3
    """Probability of a random crop instead of jitter: it changes the aspect, as inference does."""
    colour: float = 0.2
    """Probability of ``jitter_colour``."""
    flip: float = 0.1
    """Probability of a horizontal flip."""
    wear: float = 0.1
    """``chance`` of ``degrade``: blur, noise and JPEG (not in the paper)."""


def class_pair(
    reference: View,
    target: View,
    category: str,
    size: int,
    rng: np.random.Generator,
    augmentation: Augmentation,
) -> TrainingPair:
    """A pair of one class in two images, each at its own scale.

    Args:
        reference: its mask is not empty.
        target: its mask may be empty.
        category: name of the class.
        size: S of the pair.
        rng: of the draws.
        augmentation: parameters.
    """
    a = augmentation
    jitter = partial(large_scale_jitter, scales=a.scales)
    crop = partial(random_crop, areas=a.areas)
    views = [
        look_at(view, size, rng, crop if rng.random() < a.stretched else jitter)
        for view in (reference, target)
    ]
    return _pair(views, "semantic", category, rng, a)


def object_pair(
    view: View, category: str, size: int, rng: np.random.Generator, augmentation: Augmentation
) -> TrainingPair:
    """A pair of one object in two views of one image; arguments as for ``class_pair``."""
    crop = partial(random_crop, areas=augmentation.areas)
    views = [look_at(view, size, rng, crop) for _ in range(2)]
    return _pair(views, "instance", category, rng, augmentation)


def some(entities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most NEGATIVES of (n, ...) entities, drawn at random."""
    return entities[rng.permutation(len(entities))[:NEGATIVES]]


def _pair(
    views: list[View],
    task: str,
    category: str,
    rng: np.random.Generator,
    a: Augmentation,
) -> TrainingPair:
    reference, target = (_relit(flip(v) if rng.random() < a.flip else v, rng, a) for v in views)
    return TrainingPair(
        reference.image,
        reference.mask,
        target.image,
        target.mask,
        reference.others,
        task,
        category,
        target.valid,
    )


def _relit(view: View, rng: np.random.Generator, a: Augmentation) -> View:
    image = Image.fromarray(view.image)
    if rng.random() < a.colour:
        image = jitter_colour(image, rng, 0.4)
    return View(np.asarray(degrade(image, rng, a.wear)), view.mask, view.others, view.valid)


class ReadCache(Generic[K]):
    """LRU cache of a reading function, limited by the bytes of its arrays."""

    def __init__(
        self, read: Callable[[K], tuple[np.ndarray, ...]], limit: int = CACHE_BYTES
    ) -> None:
        """``read``: key → arrays; ``limit`` in bytes."""
        self._read, self._limit, self._bytes = read, limit, 0
        self._found: dict[K, tuple[np.ndarray, ...]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled without its content, for worker processes."""
        return type(self), (self._read, self._limit)

    def __call__(self, key: K) -> tuple[np.ndarray, ...]:
        """``read(key)``, from the cache if it is there; do not write to the arrays."""
        with self._lock:
            found = self._found.pop(key, None)
            if found is not None:
                self._found[key] = found  # to the end of the dict: most recently used
                return found
        read = self._read(key)
        with self._lock:
            if key not in self._found:
                self._found[key] = read
                self._bytes += _bytes(read)
            while self._bytes > self._limit:
                self._bytes -= _bytes(self._found.pop(next(iter(self._found))))
        return read


def _bytes(arrays: tuple[np.ndarray, ...]) -> int:
    return sum(array.nbytes for array in arrays)
