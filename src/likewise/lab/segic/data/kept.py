"""What was read last, so that files are not decoded again for every sample."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import numpy as np

K = TypeVar("K", bound=Hashable)
LIMIT = 256 << 20


class ReadCache(Generic[K]):
    """A function of reading that remembers its last results, as many as fit into a limit."""

    def __init__(self, read: Callable[[K], tuple[np.ndarray, ...]], limit: int = LIMIT) -> None:
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
