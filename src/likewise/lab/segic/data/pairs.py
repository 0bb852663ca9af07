"""Training samples: pairs of reference and target, drawn from sources (SegIC, Algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ....errors import LikewiseError
from ....io.draw import contact_sheet, overlay
from .augment import RGB, Mask

NEGATIVES = 3
"""Greatest number of negative entities of a pair."""


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """One training sample: a reference with its mask and a target, both S × S."""

    reference: RGB
    """(S, S, 3) uint8."""
    reference_mask: Mask
    """(S, S) bool, never empty."""
    target: RGB
    """(S, S, 3) uint8."""
    target_mask: Mask
    """(S, S) bool; empty only in the share ``absent`` of a source's pairs."""
    negatives: Mask
    """(n, S, S) bool, n ≤ 3: other entities of the reference, not overlapping its mask."""
    task: str
    """``semantic``: all of the class; ``instance``: the same object."""
    category: str
    """Name of the class."""
    valid: Mask | None = None
    """(S, S) bool: pixels of the target that count in the loss; None: all."""


class Source(Protocol):
    """A data set, or a generator of data."""

    name: str

    def __len__(self) -> int:
        """Samples per epoch."""
        ...

    def sample(self, rng: np.random.Generator, size: int) -> TrainingPair:
        """A pair at S = ``size``; it depends on the state of ``rng`` only.

        Raises:
            LikewiseError: if a file cannot be read.
        """
        ...


class Mixture:
    """Sources from which samples are drawn with equal probability, or by weight."""

    def __init__(
        self, sources: Sequence[Source], size: int, weights: Sequence[float] | None = None
    ) -> None:
        """Sources and their shares.

        Args:
            sources: at least one.
            size: S of all pairs, in pixels.
            weights: relative, one for each source; None: equal, whatever the sources' sizes.

        Raises:
            LikewiseError: if there is no source, or not one positive weight for each.
        """
        if not sources:
            raise LikewiseError("there is nothing to train on: give at least one source of data.")
        shares = np.ones(len(sources)) if weights is None else np.asarray(weights, np.float64)
        if shares.shape != (len(sources),) or not (np.isfinite(shares) & (shares > 0)).all():
            raise LikewiseError(
                f"{len(sources)} sources of data need as many weights, each above 0, not "
                f"{list(weights or ())}: give one for each."
            )
        self.sources, self.size, self._shares = list(sources), size, shares / shares.sum()

    def __len__(self) -> int:
        """Samples per epoch, of all sources together."""
        return sum(len(source) for source in self.sources)

    def pair(self, seed: int, index: int) -> TrainingPair:
        """Sample number ``index`` of a training; it depends on the arguments only.

        Args:
            seed: of the training, not negative.
            index: counted on from epoch to epoch, not negative, with no upper limit.

        Raises:
            LikewiseError: if a file cannot be read.
        """
        rng = np.random.default_rng((seed, index))
        source = self.sources[int(rng.choice(len(self.sources), p=self._shares))]
        return source.sample(rng, self.size)


def grid(pairs: Sequence[TrainingPair], height: int = 240) -> RGB:
    """A picture with a row for each pair: reference and target, without and with their masks.

    The mask is red, negatives are blue, ignored pixels are dark.

    Args:
        pairs: at least one.
        height: of each picture, in pixels.

    Returns:
        (H, W, 3) uint8.
    """
    rows = []
    for pair in pairs:
        reference, target = overlay(pair.reference, pair.reference_mask), pair.target
        for negative in pair.negatives:
            reference = overlay(reference, negative, colour=(40, 90, 255))
        target = overlay(target, pair.target_mask)
        if pair.valid is not None:
            target = np.where(pair.valid[..., None], target, target // 3)
        caption = f"{pair.category} ({pair.task})"
        rows.append(
            [
                (pair.reference, "reference"),
                (reference, caption),
                (pair.target, "target"),
                (target, caption),
            ]
        )
    return contact_sheet(rows, height)
