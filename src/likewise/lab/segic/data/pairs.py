"""What the decoder is trained on: pairs of pictures, drawn from sources (SegIC, Algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ....errors import LikewiseError
from ....io.draw import contact_sheet, overlay
from .augment import RGB, Mask

NEGATIVES = 3
"""Other entities of a reference that are told, at most."""


@dataclass(frozen=True, eq=False)
class TrainingPair:
    """One training sample: an in-context example and a target, at one square size S."""

    reference: RGB
    """(S, S, 3) uint8."""
    reference_mask: Mask
    """(S, S) bool, never empty."""
    target: RGB
    """(S, S, 3) uint8."""
    target_mask: Mask
    """(S, S) bool; empty only for the share of samples that a source is told to leave out."""
    negatives: Mask
    """(n, S, S) bool, n at most 3: other entities in the reference, apart from its mask."""
    task: str
    """``semantic``: all of the class. ``instance``: that very object."""
    category: str
    """Name of the class."""
    valid: Mask | None = None
    """(S, S) bool of the target: what counts in the loss. None: all of it."""


class Source(Protocol):
    """A data set, or a generator of data."""

    name: str

    def __len__(self) -> int:
        """Samples that make an epoch."""
        ...

    def sample(self, rng: np.random.Generator, size: int) -> TrainingPair:
        """A pair at S = ``size``, which depends on the state of ``rng`` only.

        Raises:
            LikewiseError: if a file cannot be read.
        """
        ...


class Mixture:
    """Sources from which samples are drawn evenly, or by weight."""

    def __init__(
        self, sources: Sequence[Source], size: int, weights: Sequence[float] | None = None
    ) -> None:
        """Sources and their shares.

        Args:
            sources: at least one.
            size: S of all pairs, in pixels.
            weights: of each source, in any unit; None: all alike, however large they are.

        Raises:
            LikewiseError: no source, or weights that are not positive, one for each.
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
        """Samples that make an epoch: of all sources together."""
        return sum(len(source) for source in self.sources)

    def pair(self, seed: int, index: int) -> TrainingPair:
        """Sample number ``index`` of a training, the same in every process and order.

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
    """A row for each pair: reference and target as they are, then marked.

    The mask is red, negatives are blue, and what does not count is dark.

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
