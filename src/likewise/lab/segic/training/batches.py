"""The batch of each training step; it depends on the seed and the step alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import LikewiseError
from .samples import Draw, SamplePool, Samples, encode_pairs

if TYPE_CHECKING:
    from ....backbones.encoder import Encoder
    from ..data.pairs import TrainingPair
    from .config import Config


def order(config: Config, step: int) -> list[int]:
    """Numbers of the pairs of a step, from 0: of a pool shuffled anew each epoch, or new pairs."""
    numbers = range(step * config.batch, (step + 1) * config.batch)
    if not config.pairs:
        return list(numbers)
    epochs = sorted({number // config.pairs for number in numbers})
    shuffled = chain.from_iterable(
        np.random.default_rng((config.seed, epoch)).permutation(config.pairs).tolist()
        for epoch in epochs
    )
    first = numbers.start - epochs[0] * config.pairs
    return list(shuffled)[first : first + config.batch]


@dataclass(frozen=True)
class Drawn:
    """Map-style dataset of pairs by number, for a DataLoader."""

    draw: Draw
    seed: int

    def __getitem__(self, number: int) -> TrainingPair | LikewiseError:
        try:
            return self.draw(self.seed, number)
        except LikewiseError as error:  # a DataLoader would wrap it in the worker's traceback
            return error


def batches(
    config: Config, source: SamplePool | Draw, encoder: Encoder, start: int, part: slice
) -> Iterator[Samples]:
    """Samples of every step from ``start`` on; ``part``: the rows of each batch to yield.

    Raises:
        LikewiseError: if a pair cannot be drawn or read.
    """
    numbers = (order(config, step)[part] for step in range(start, config.steps))
    if isinstance(source, SamplePool):
        yield from map(source.batch, numbers)
        return
    for drawn in _loaded(Drawn(source, config.data_seed), list(numbers), config.workers):
        for pair in drawn:
            if isinstance(pair, LikewiseError):
                raise pair
        yield encode_pairs(encoder, drawn)


def _loaded(drawn: Drawn, batches: Sequence[list[int]], workers: int) -> Iterator[list[Any]]:
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        drawn,  # type: ignore[arg-type] # a Dataset is what has __getitem__
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_ignore_interrupts,
    )
    yield from loader


def _ignore_interrupts(_: int) -> None:
    """Workers ignore SIGINT: the training process handles it and stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
