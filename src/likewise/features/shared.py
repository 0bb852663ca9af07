"""What depends on one target alone: worked out when first asked for, then for all its classes."""

from __future__ import annotations

from functools import cached_property

from .affinity import Affinities
from .clustering import MergeTree, average_linkage
from .encoded import Encoded
from .evidence import Match, Pool, match


class Shared:
    """Made for one target, used by every class that is looked for in it, then forgotten.

    Args:
        target: its patches.
        classes: how many are looked for.
    """

    def __init__(self, target: Encoded, classes: int = 1) -> None:
        self.target = target
        self.classes = classes
        self._matches: dict[tuple[int, float], tuple[Pool, Match]] = {}

    @cached_property
    def tree(self) -> MergeTree:
        """The clustering of the target's patches."""
        return average_linkage(self.target.features)

    @cached_property
    def affinities(self) -> Affinities:
        """How alike the target's patches are."""
        return Affinities(self.target.features, self.target.grid)

    def match(self, pool: Pool, temperature: float) -> Match:
        """The target against a pool, which several classes may have in common."""
        key = id(pool), temperature  # the pool is kept too, so that its id stays its own
        if key not in self._matches:
            self._matches[key] = pool, match(pool, self.target.debiased, temperature)
        return self._matches[key][1]
