"""Sets of references by the hash of their content; the one not used for longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import RefusedError

if TYPE_CHECKING:
    from ...segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class StoredReferences:
    """One set of references."""

    segmenter: Segmenter
    notes: Sequence[str]
    """What was assumed of its images and masks."""


class Store:
    """At most ``most`` fitted segmenters; of one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._sets: OrderedDict[str, StoredReferences] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sets)

    def __iter__(self) -> Iterator[tuple[str, StoredReferences]]:
        return iter(self._sets.items())

    def __contains__(self, name: str) -> bool:
        return name in self._sets

    def get(self, name: str) -> StoredReferences:
        """A set, which is now the one used last. Raises RefusedError 404."""
        if name not in self._sets:
            raise RefusedError(
                404,
                f"there are no references {name}: send them (again; the last {self.most} stay).",
            )
        self._sets.move_to_end(name)
        return self._sets[name]

    def add(self, name: str, kept: StoredReferences) -> None:
        """Keep a set, and let the oldest go if there are too many."""
        self._sets[name] = kept
        self._sets.move_to_end(name)
        while len(self._sets) > self.most:
            self._sets.popitem(last=False)

    def remove(self, name: str) -> None:
        """Raises RefusedError 404."""
        self.get(name)
        del self._sets[name]
