"""Dry run: each part of a training once, with estimates of time and memory."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....backbones.device import memory
from ....backbones.encoder import Encoder
from ....io.encoding import write_image
from ..data.pairs import grid
from .batches import order
from .config import Config
from .processes import Processes
from .samples import Draw, encode_pairs
from .train import Trainer, parameters
from .validate import judge

SHOWN = 12
"""Pairs in ``pairs.jpg``."""


def dry_run_report(config: Config, encoder: Encoder, draw: Draw, all_: Processes) -> dict[str, Any]:
    """Run two steps and a validation on 2 samples; write ``pairs.jpg`` and nothing else.

    Args:
        config: of the training.
        encoder: of the features.
        draw: of the pairs.
        all_: the processes of the training.

    Returns:
        Report for JSON; times in seconds, ``hours`` of the whole training.

    Raises:
        LikewiseError: as ``train`` would.
    """
    trainer = Trainer(config, encoder, all_)
    numbers = order(config, 0)[all_.part(config.batch)]
    start = time.perf_counter()
    pairs = [draw(config.data_seed, number) for number in numbers]
    drawn = time.perf_counter() - start
    if all_.rank == 0:
        write_image(config.path(config.out) / "pairs.jpg", grid(pairs[:SHOWN]))
    _ = encoder.basis  # computed before the timing
    start = time.perf_counter()
    samples = encode_pairs(encoder, pairs)
    encoded = time.perf_counter() - start
    losses = []
    for _ in range(2):  # the second is timed: the first also allocates
        start = time.perf_counter()
        losses.append(trainer.step(samples))
        step = time.perf_counter() - start
    v = config.validation
    few = replace(v, limit=min(v.limit or 2, 2), pairs=min(v.pairs, 2))
    with tempfile.TemporaryDirectory() as folder:
        place = all_.gathered(folder)[0]
        judged = judge(replace(config, validation=few), encoder, draw, Path(place), all_)
        miou = judged(trainer.best) if judged else None
        all_.wait()  # the folder of rank 0 must not be removed earlier
    once = (drawn + encoded) * config.pairs / config.batch
    each = step if config.pairs else step + encoded + drawn / max(1, config.workers)
    return {
        "pairs": str(config.path(config.out) / "pairs.jpg"),
        "losses": losses,
        "miou": miou,
        "parameters": parameters(trainer),
        "memory_gb": memory(encoder.device),
        "draw_s": drawn,
        "encode_s": encoded,
        "step_s": step,
        "hours": (once + each * config.steps) / 3600,
    }
