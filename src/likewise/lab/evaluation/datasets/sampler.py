"""Drawing episodes with the random numbers of the papers' released code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ....errors import LikewiseError

T = TypeVar("T")
P = TypeVar("P")
TRIES = 10_000


class Draw:
    """Draws from NumPy's legacy generator in the order of the released code.

    That code calls ``np.random.choice(items, 1, replace=False)`` after ``np.random.seed(0)``; with
    the same lists and one shot the episodes are the same. It seeds once for each fold, so there is
    one ``Draw`` for each fold. With several shots it may draw a reference twice; here it draws
    again.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.RandomState(seed)

    def one(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._random.choice(len(items), 1, replace=False)[0])]

    def shuffled(self, count: int) -> list[int]:
        """The numbers below ``count`` in random order."""
        return [int(number) for number in self._random.permutation(count)]

    def usable(self, items: Sequence[T], pick: Callable[[T], P | None], what: str) -> tuple[T, P]:
        """A drawn item and ``pick(item)``; drawn again if that is None."""
        for _ in range(TRIES):
            item = self.one(items)
            chosen = pick(item)
            if chosen is not None:
                return item, chosen
        raise LikewiseError(f"{what}: none of {TRIES} draws can be used: check the annotations.")

    def references(
        self,
        items: Sequence[T],
        target: T,
        shots: int,
        pick: Callable[[T], P | None],
        what: str,
    ) -> list[P]:
        """``pick`` of ``shots`` drawn items, all different and none the target."""
        taken, chosen = {target}, []
        for _ in range(TRIES * shots):
            item = self.one(items)
            found = None if item in taken else pick(item)
            if found is not None:
                taken.add(item)
                chosen.append(found)
                if len(chosen) == shots:
                    return chosen
        raise LikewiseError(
            f"{what}: fewer than {shots} references can be used: give less --shots."
        )


def check_pools(pools: Mapping[str, Sequence[Any]], shots: int, what: str) -> None:
    """Raises LikewiseError if a class has too few images for a target and its references."""
    if not pools:
        raise LikewiseError(f"{what}: there is no class to draw from: check --data-root.")
    for name, items in pools.items():
        if len(items) <= shots:
            raise LikewiseError(
                f"{what}: class {name} has {len(items)} images, but a target and {shots} "
                f"references need {shots + 1}: give a smaller --shots, or complete the download."
            )


def sample(
    pools: Mapping[str, Sequence[T]],
    count: int,
    shots: int,
    what: str,
    *,
    cycle: bool,
    pick: Callable[[T], P | None],
    draw: Draw | None = None,
) -> Iterator[tuple[str, P, list[P]]]:
    """Episodes of one fold: class, ``pick`` of the target, ``pick`` of each reference.

    Args:
        pools: class → its items, hashable.
        count: how many episodes.
        shots: references for each.
        what: the fold, for messages.
        cycle: take the classes in turn; otherwise each is drawn.
        pick: entry of an item (it may draw one of its objects); None: the item cannot be used.
        draw: to be shared with ``pick``; with seed 0 by default.

    Raises:
        LikewiseError: if a class has too few images.
    """
    check_pools(pools, shots, what)
    draw, names = draw or Draw(), list(pools)
    for number in range(count):
        name = names[number % len(names)] if cycle else draw.one(names)
        where = f"{what}, class {name}"
        target, chosen = draw.usable(pools[name], pick, where)
        yield name, chosen, draw.references(pools[name], target, shots, pick, where)
