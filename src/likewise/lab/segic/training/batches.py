"""What is trained on at which step: a function of the seed and the step alone."""

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
    """Numbers of the pairs of a step, from 0: each pool in another order, or always new ones."""
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
    """Pairs by number, for a DataLoader."""

    draw: Draw
    seed: int

    def __getitem__(self, number: int) -> TrainingPair | LikewiseError:
        try:
            return self.draw(self.seed, number)
        except LikewiseError as error:  # raised in a worker, it would be a page of text
            return error


def batches(
    config: Config, source: SamplePool | Draw, encoder: Encoder, start: int, part: slice
) -> Iterator[Samples]:
    """The samples of every step from ``start`` on; of each batch a part.

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
        worker_init_fn=_deaf,
    )
    yield from loader


def _deaf(_: int) -> None:
    """Ctrl-C is for the process that trains, which ends its workers when it is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
