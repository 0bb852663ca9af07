"""What is computed of one target alone: once, at first use, for all classes looked for in it."""

from __future__ import annotations

from functools import cached_property

from .affinity import Affinities
from .clustering import MergeTree, average_linkage
from .density import Match, PatchPool, match
from .patch_features import PatchFeatures


class TargetCache:
    """Lazily computed clustering, affinities and pool matches of one target.

    One is made for each target, used by every class that is looked for in it, then dropped.

    Args:
        target: its patch features.
        classes: how many are looked for.
    """

    def __init__(self, target: PatchFeatures, classes: int = 1) -> None:
        self.target = target
        self.classes = classes
        self._matches: dict[tuple[int, float], tuple[PatchPool, Match]] = {}

    @cached_property
    def tree(self) -> MergeTree:
        """Average-linkage clustering of the target's patches."""
        return average_linkage(self.target.features)

    @cached_property
    def affinities(self) -> Affinities:
        """Affinity matrix of the target's patches, for smoothing."""
        return Affinities(self.target.features, self.target.grid)

    def match(self, pool: PatchPool, temperature: float) -> Match:
        """Kernel sums of the target against a pool; several classes may share one pool."""
        key = id(pool), temperature  # the value keeps the pool alive, so that no other gets its id
        if key not in self._matches:
            self._matches[key] = pool, match(pool, self.target.debiased, temperature)
        return self._matches[key][1]
