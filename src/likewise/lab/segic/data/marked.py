"""Pairs from pictures that people have marked: two pictures of a class, two views of an object."""

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
"""Longer side in pixels at which pictures are kept."""
SMALLEST = 0.002
"""Share of its picture that an entity needs to be asked for."""
K = TypeVar("K", bound=Hashable)
CACHE_BYTES = 256 << 20


@dataclass(frozen=True)
class Augmentation:
    """How differently a picture may look each time; chances are 0..1."""

    scales: tuple[float, float] = (0.1, 2.0)
    """Large-scale jitter, of pairs of a class."""
    areas: tuple[float, float] = (0.3, 1.0)
    """Random crops, of pairs of an object."""
    stretched: float = 0.3
    """Chance of a random crop in place of jitter: stretched, as inference sees pictures (ours)."""
    colour: float = 0.2
    """Chance of another light."""
    flip: float = 0.1
    """Chance of left and right exchanged."""
    wear: float = 0.1
    """Chance each of blur, noise and JPEG (ours)."""


def class_pair(
    reference: View,
    target: View,
    category: str,
    size: int,
    rng: np.random.Generator,
    augmentation: Augmentation,
) -> TrainingPair:
    """The same class in two pictures, each at its own scale.

    Args:
        reference: at least one pixel of its mask is True.
        target: a mask without any stays so.
        category: the class.
        size: S of the pair.
        rng: chance.
        augmentation: how much.
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
    """The same object in two views of one picture; for the rest see ``class_pair``."""
    crop = partial(random_crop, areas=augmentation.areas)
    views = [look_at(view, size, rng, crop) for _ in range(2)]
    return _pair(views, "instance", category, rng, augmentation)


def some(entities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most so many as a pair has negatives, at random; (n, ...) in and out."""
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
    """A function of reading that remembers its last results, as many as fit into a limit."""

    def __init__(
        self, read: Callable[[K], tuple[np.ndarray, ...]], limit: int = CACHE_BYTES
    ) -> None:
        """``limit`` is in bytes of arrays; the result used longest ago goes first."""
        self._read, self._limit, self._bytes = read, limit, 0
        self._found: dict[K, tuple[np.ndarray, ...]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Another process begins with nothing."""
        return type(self), (self._read, self._limit)

    def __call__(self, key: K) -> tuple[np.ndarray, ...]:
        """What ``read(key)`` returned, not to be written to."""
        with self._lock:
            found = self._found.pop(key, None)
            if found is not None:
                self._found[key] = found  # the last used is the last
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
